//! A rule for a header: who sends it comes to the rule's group, whatever the listener does for everybody else.

use crate::support::*;

fn rule<'a>(listener: &'a str, priority: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("ListenerArn", listener),
        ("Priority", priority),
        ("Conditions.member.1.Field", "http-header"),
        ("Conditions.member.1.HttpHeaderConfig.HttpHeaderName", name),
        (
            "Conditions.member.1.HttpHeaderConfig.Values.member.1",
            "0a1b",
        ),
    ]
}

fn forward(group: &str) -> Vec<(&str, &str)> {
    vec![
        ("Actions.member.1.Type", "forward"),
        ("Actions.member.1.TargetGroupArn", group),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_leads_to_its_group_behind_a_maintenance_page_too() {
    let world = World::start().await;
    let (blue, green) = (Backend::start("blue").await, Backend::start("green").await);
    let serving = world.serving(&[&blue]).await;
    let other = world.group("green").await;
    world.register(&other, &green).await;
    let fields = [
        rule(&serving.listener, "1", "X-Mattermost-Probe"),
        forward(&other),
    ]
    .concat();
    let made = world.call("CreateRule", &fields).await;
    let arn = text_of(&made, "RuleArn").expect("an ARN");
    // Named by the rule alone, the group is probed.
    world.until(&other, green.address, "healthy", "").await;
    let mut client = Client::connect(serving.address).await;
    for page in [false, true] {
        if page {
            let fields = [
                ("ListenerArn", serving.listener.as_str()),
                ("DefaultActions.member.1.Type", "fixed-response"),
                (
                    "DefaultActions.member.1.FixedResponseConfig.StatusCode",
                    "503",
                ),
            ];
            world.call("ModifyListener", &fields).await;
        }
        let users = client.get("/").await;
        let expected = if page { 503 } else { 200 };
        assert_eq!(users.status, expected);
        let probed = client
            .get_with("/", &[("x-mattermost-probe", "0A1B")])
            .await;
        assert_eq!(probed.text, "green", "the value's case does not matter");
        let wrong = client.get_with("/", &[("x-mattermost-probe", "0a1")]).await;
        assert_eq!(wrong.status, expected);
    }
    world.call("DeleteRule", &[("RuleArn", &arn)]).await;
    let again = world.try_call("DeleteRule", &[("RuleArn", &arn)]).await;
    assert_eq!(again.unwrap_err(), "RuleNotFound");
    let users = client
        .get_with("/", &[("x-mattermost-probe", "0a1b")])
        .await;
    assert_eq!(users.status, 503);
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_aws_refuses_of_rules_is_refused() {
    let world = World::start().await;
    let blue = Backend::start("blue").await;
    let serving = world.serving(&[&blue]).await;
    let create = async |priority: &str, name: &str| {
        let fields = [
            rule(&serving.listener, priority, name),
            forward(&serving.group),
        ]
        .concat();
        world.try_call("CreateRule", &fields).await
    };
    for name in ["Host", "X-*", &"X".repeat(41)] {
        assert_eq!(create("1", name).await.unwrap_err(), "ValidationError");
    }
    for priority in ["0", "50001"] {
        assert_eq!(create(priority, "X").await.unwrap_err(), "ValidationError");
    }
    for priority in 1..=100 {
        create(&priority.to_string(), "X").await.expect("a rule");
    }
    assert_eq!(create("100", "X").await.unwrap_err(), "PriorityInUse");
    assert_eq!(create("101", "X").await.unwrap_err(), "TooManyRules");
    world.lab.stop().await;
}
