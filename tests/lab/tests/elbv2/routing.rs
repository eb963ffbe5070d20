//! Which target a request goes to: weights, rules, redirects, cookies, algorithms.

use std::collections::BTreeMap;

use http::header::{LOCATION, SET_COOKIE};

use crate::support::*;

async fn tally(client: &mut Client, requests: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..requests {
        *seen.entry(client.get("/").await.text).or_default() += 1;
    }
    seen
}

fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_decide_and_are_read_back() {
    let world = World::start().await;
    let (blue, green) = (Backend::start("blue").await, Backend::start("green").await);
    let serving = world.serving(&[&blue]).await;
    let other = world.group("green").await;
    let both = |one, two| [(serving.group.as_str(), one), (other.as_str(), two)];
    world.set_weights(&serving.listener, &both(100, 0)).await;
    world.register(&other, &green).await;
    world.until(&other, green.address, "healthy", "").await;

    let mut client = Client::connect(serving.address).await;
    for (one, two) in [(100, 0), (90, 10), (50, 50), (0, 100)] {
        world.set_weights(&serving.listener, &both(one, two)).await;
        let seen = tally(&mut client, 100).await;
        let expected = counts(&[("blue", one as usize), ("green", two as usize)])
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(seen, expected, "{one}/{two}");
        let fields = [("ListenerArns.member.1", serving.listener.as_str())];
        let xml = world.call("DescribeListeners", &fields).await;
        for (arn, weight) in both(one, two) {
            let tuple = format!("<TargetGroupArn>{arn}</TargetGroupArn><Weight>{weight}</Weight>");
            assert!(xml.contains(&tuple), "{tuple} not in {xml}");
        }
    }
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_redirects_and_fixed_responses() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    let rule = |priority: &'static str, more: &[(&'static str, &'static str)]| {
        let mut fields = vec![
            ("ListenerArn", serving.listener.clone()),
            ("Priority", priority.to_owned()),
        ];
        fields.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        fields
    };
    for fields in [
        rule(
            "10",
            &[
                ("Conditions.member.1.Field", "path-pattern"),
                ("Conditions.member.1.Values.member.1", "/old/*"),
                ("Actions.member.1.Type", "redirect"),
                ("Actions.member.1.RedirectConfig.Protocol", "HTTPS"),
                ("Actions.member.1.RedirectConfig.Port", "443"),
                ("Actions.member.1.RedirectConfig.StatusCode", "HTTP_301"),
            ],
        ),
        rule(
            "20",
            &[
                ("Conditions.member.1.Field", "host-header"),
                (
                    "Conditions.member.1.HostHeaderConfig.Values.member.1",
                    "*.example.com",
                ),
                ("Conditions.member.2.Field", "http-header"),
                (
                    "Conditions.member.2.HttpHeaderConfig.HttpHeaderName",
                    "X-Maintenance",
                ),
                ("Conditions.member.2.HttpHeaderConfig.Values.member.1", "on"),
                ("Actions.member.1.Type", "fixed-response"),
                ("Actions.member.1.FixedResponseConfig.StatusCode", "503"),
                (
                    "Actions.member.1.FixedResponseConfig.ContentType",
                    "text/html",
                ),
                (
                    "Actions.member.1.FixedResponseConfig.MessageBody",
                    "<h1>back soon</h1>",
                ),
            ],
        ),
    ] {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        world.call("CreateRule", &fields).await;
        assert_eq!(
            world.try_call("CreateRule", &fields).await.unwrap_err(),
            "PriorityInUse"
        );
    }
    let mut client = Client::connect(serving.address).await;
    assert_eq!(client.get("/").await.text, "a");
    let redirect = client.get("/old/page?x=1").await;
    assert_eq!(redirect.status, 301);
    assert_eq!(
        redirect.headers[LOCATION],
        "https://chat.example.com:443/old/page?x=1"
    );
    let fixed = client.get_with("/", &[("x-maintenance", "on")]).await;
    assert_eq!(
        (fixed.status, fixed.text.as_str()),
        (503, "<h1>back soon</h1>")
    );
    assert_eq!(fixed.headers["content-type"], "text/html");

    let xml = world
        .call("DescribeRules", &[("ListenerArn", &serving.listener)])
        .await;
    let order: Vec<&str> = xml
        .split("<Priority>")
        .skip(1)
        .map(|rest| &rest[..rest.find('<').unwrap()])
        .collect();
    assert_eq!(order, ["10", "20", "default"]);
    world.lab.stop().await;
}

/// The cookies of an answer, as a client sends them back.
fn jar(answer: &Answer) -> Vec<String> {
    let values = answer.headers.get_all(SET_COOKIE).iter();
    let pairs = values.map(|value| value.to_str().unwrap().split(';').next().unwrap());
    pairs.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_stays_with_its_group_whatever_the_weight_until_stickiness_is_off() {
    let world = World::start().await;
    let (blue, green) = (Backend::start("blue").await, Backend::start("green").await);
    let serving = world.serving(&[&blue]).await;
    let other = world.group("green").await;
    let both = |one, two| [(serving.group.as_str(), one), (other.as_str(), two)];
    let listener = &serving.listener;
    // Lab seconds: a week of them passes in a quarter of an hour.
    world.set_sticky(listener, &both(0, 1), 604_800).await;
    world.register(&other, &green).await;
    world.until(&other, green.address, "healthy", "").await;
    let mut client = Client::connect(serving.address).await;
    let first = client.get("/").await;
    assert_eq!(first.text, "green");
    let jar = jar(&first).join("; ");
    let cookie = [("cookie", jar.as_str())];

    world.set_sticky(listener, &both(1, 0), 604_800).await;
    assert_eq!(client.get("/").await.text, "blue");
    assert_eq!(client.get_with("/", &cookie).await.text, "green");
    // Nobody is left in the group, and the client is still sent there.
    world.deregister(&other, &green).await;
    assert_eq!(client.get_with("/", &cookie).await.status, 503);
    // Without stickiness the cookie says nothing.
    world.set_weights(listener, &both(1, 0)).await;
    assert_eq!(client.get_with("/", &cookie).await.text, "blue");
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_keep_a_client_on_its_group_and_target() {
    let world = World::start().await;
    let (blue, green, more) = (
        Backend::start("blue").await,
        Backend::start("green").await,
        Backend::start("more").await,
    );
    let serving = world.serving(&[&blue]).await;
    let other = world.group("green").await;
    let groups = [(serving.group.as_str(), 1), (other.as_str(), 1)];
    world.set_sticky(&serving.listener, &groups, 604_800).await;
    world.set_group(&other, "stickiness.enabled", "true").await;
    for backend in [&green, &more] {
        world.register(&other, backend).await;
        world.until(&other, backend.address, "healthy", "").await;
    }
    let mut client = Client::connect(serving.address).await;
    let mut first = client.get("/").await;
    while first.text == "blue" {
        first = client.get("/").await;
    }
    let jar = jar(&first);
    let names: Vec<&str> = jar.iter().map(|it| it.split('=').next().unwrap()).collect();
    assert_eq!(names, ["AWSALBTG", "AWSALBTGCORS", "AWSALB", "AWSALBCORS"]);
    let jar = jar.join("; ");
    for _ in 0..10 {
        let kept = client.get_with("/", &[("cookie", &jar)]).await;
        assert_eq!(kept.text, first.text);
    }
    world.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn least_outstanding_requests_avoids_the_busy_target() {
    let world = World::start().await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let serving = world.serving(&[&one, &two]).await;
    let mut client = Client::connect(serving.address).await;
    assert_eq!(
        tally(&mut client, 10).await,
        counts(&[("one", 5), ("two", 5)]),
        "round robin"
    );
    world
        .set_group(
            &serving.group,
            "load_balancing.algorithm.type",
            "least_outstanding_requests",
        )
        .await;
    let address = serving.address;
    let slow = tokio::spawn(async move { get(address, "/slow").await.text });
    let (busy, idle) = tokio::select! {
        () = one.script.slow.notified() => (&one, "two"),
        () = two.script.slow.notified() => (&two, "one"),
    };
    assert_eq!(tally(&mut client, 10).await, counts(&[(idle, 10)]));
    busy.script.release.notify_one();
    assert_eq!(slow.await.unwrap(), busy.script.name);
    world.lab.stop().await;
}
