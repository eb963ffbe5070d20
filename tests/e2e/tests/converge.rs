//! `up` from nothing, killed at several moments and run again; drift seen by `plan` and mended by `up`;
//! what is not ours left alone; `down`, and nothing left.

#[path = "converge/database.rs"]
mod database;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::processes::Program;
use e2e::{Options, Stage, binaries};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

/// What users type. There is no DNS: clients are told the address.
const NAME: &str = "chat.example.com";

fn changes(plan: &Value) -> Vec<String> {
    let changes = plan["changes"].as_array();
    changes
        .into_iter()
        .flatten()
        .map(|change| {
            format!("{} {} {}", change["sign"], change["kind"], change["name"]).replace('"', "")
        })
        .collect()
}

async fn plan(stage: &Stage) -> anyhow::Result<Vec<String>> {
    Ok(changes(
        &stage
            .orchestrator
            .run(&["plan", "--output", "json"], Duration::from_secs(60))
            .await?
            .expect(0)?
            .json()?,
    ))
}

/// Kills `up` when its talk shows each of these: before RDS, while it is made, when the store moves,
/// and while the first node boots.
const MOMENTS: [&str; 4] = [
    "ensure_load_balancer",
    "ensure_db_primary",
    "the store is in the stack's own database",
    "is migrating",
];

/// Kills `down` while nodes leave, when the database and its store go, and after that.
const LAST_MOMENTS: [&str; 4] = [
    "set_group_size",
    "delete_listener",
    "the store leaves the stack's database",
    "delete_security_group",
];

/// Starts a verb and kills it when its talk shows `moment`; gives all of the talk.
async fn kill_at(stage: &Stage, arguments: &[&str], moment: &str) -> anyhow::Result<String> {
    let log = tempfile::NamedTempFile::new_in(stage.directory.path())?;
    let talk = || std::fs::read_to_string(log.path());
    let command = stage.orchestrator.command(arguments);
    let mut verb = Program::start(&format!("orchestrator {arguments:?}"), &command, log.path())?;
    let until = tokio::time::Instant::now() + Duration::from_secs(90);
    while !talk()?.contains(moment) {
        ensure!(
            verb.is_running()?,
            "it ended before `{moment}`:\n{}",
            talk()?
        );
        ensure!(
            tokio::time::Instant::now() < until,
            "`{moment}` did not come:\n{}",
            talk()?
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    verb.kill().await?;
    Ok(talk()?)
}

/// `down` and `up` again on the database that stayed, whose store remembers all that was done before: until
/// a node serves; gives what `up` said. The image's copy may be made again some minutes later, by its client
/// token.
async fn down_and_up_again(stage: &Stage) -> anyhow::Result<String> {
    stage
        .orchestrator
        .run(&["down", "--yes"], Duration::from_secs(120))
        .await?
        .expect(0)?;
    let there = plan(stage).await?;
    ensure!(
        there
            .iter()
            .any(|change| change == "add Auto Scaling group chat-g1")
            && !there.iter().any(|change| change.contains("DB instance")),
        "not all but the database is made again: {there:?}"
    );
    kill_at(stage, &["-v", "up"], "complete_lifecycle/mattermost-launch").await
}

/// `down`: refused while an orchestrator of another host holds the lease, killed at several moments, and
/// then finished. It knows its nodes from the start.
async fn take_down(stage: &Stage) -> anyhow::Result<()> {
    const DOWN: [&str; 4] = ["-v", "down", "--delete-database", "--yes"];
    let lease = |seconds: u32| {
        format!(
            "UPDATE lease SET holder = 'elsewhere/1', epoch = epoch + 1, expires = now() + interval '{seconds} s'"
        )
    };
    let store = stage.database("orchestrator").await?;
    store.ask(&lease(3600)).await?;
    let refused = stage
        .orchestrator
        .run(&DOWN, Duration::from_secs(60))
        .await?
        .expect(3)?;
    ensure!(
        refused
            .stderr
            .contains("`elsewhere/1`, holds the lease of stack `chat` until "),
        "{}",
        refused.stderr
    );
    ensure!(
        plan(stage).await?.is_empty(),
        "a refused `down` touched something: {:?}",
        plan(stage).await?
    );
    store.ask(&lease(0)).await?;
    let mut talk = down_and_up_again(stage).await?;
    for moment in LAST_MOMENTS {
        talk += &kill_at(stage, &DOWN, moment).await?;
    }
    talk += &stage
        .orchestrator
        .run(&DOWN, Duration::from_secs(150))
        .await?
        .expect(0)?
        .stderr;
    // One that is new (Auto Scaling may have replaced an unhealthy one) enrols once, as everybody did.
    let mut enrolled = BTreeSet::new();
    let strange: Vec<&str> = talk
        .lines()
        .filter(|line| {
            let again = line
                .split_once(" enrolled i-")
                .and_then(|(_, rest)| rest.split_whitespace().next())
                .is_some_and(|id| !enrolled.insert(id));
            again || line.contains("not_enrolled")
        })
        .collect();
    ensure!(
        strange.is_empty() && !enrolled.is_empty(),
        "nodes were taken for strangers: {strange:?}; enrolled were {enrolled:?}"
    );
    Ok(())
}

/// The region's authority certifies the name, and the specification names the certificate.
async fn give_certificate(stage: &Stage) -> anyhow::Result<()> {
    let wanted = json!({ "domain": NAME, "region": "us-east-1" });
    let issued = stage.control("acm/certificates", wanted).await?;
    let arn = issued["arn"].as_str().context("no ARN")?;
    let path = &stage.orchestrator.spec;
    let spec = std::fs::read_to_string(path)?;
    let table = "\n[load_balancer]\n";
    ensure!(spec.contains(table));
    let named = format!("{table}certificate_arn = \"{arn}\"\n");
    Ok(std::fs::write(path, spec.replace(table, &named))?)
}

/// Who trusts that authority and nobody else gets the ping by HTTPS; who asks by HTTP is sent there.
async fn users_have_https(stage: &Stage) -> anyhow::Result<()> {
    let balancers = stage.aws(&["elbv2", "describe-load-balancers"]).await?;
    let address = balancers["LoadBalancers"][0]["DNSName"].as_str();
    let address: IpAddr = address.context("no load balancer")?.parse()?;
    let authority = std::fs::read(stage.region.said("ca")?)?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority)?])
        .redirect(Policy::none())
        .resolve(NAME, SocketAddr::from((address, 0)))
        .build()?;
    let ping = |scheme| {
        let address = format!("{scheme}://{NAME}/api/v4/system/ping?get_server_status=true");
        client.get(address).send()
    };
    let answer = ping("https").await?;
    ensure!(answer.status() == 200, "by HTTPS: {answer:?}");
    let answer = ping("http").await?;
    let there = answer.headers().get("location");
    let there = there.and_then(|there| there.to_str().ok());
    let wanted = format!("https://{NAME}:443/api/v4/system/ping?get_server_status=true");
    ensure!(
        answer.status() == 301 && there == Some(&wanted),
        "by HTTP: {answer:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn up_is_killed_and_finishes_and_drift_is_mended() -> anyhow::Result<()> {
    let mut options = Options::new(binaries());
    options.octet = 200;
    options.speed = 120.0;
    let stage = Stage::set(options).await?;
    let first = plan(&stage).await?;
    ensure!(
        first.iter().any(|change| change.starts_with("add")),
        "the first plan makes nothing: {first:?}"
    );

    for moment in MOMENTS {
        kill_at(&stage, &["-v", "up"], moment).await?;
    }
    stage
        .orchestrator
        .run(&["up"], Duration::from_secs(150))
        .await?
        .expect(0)?;
    ensure!(
        plan(&stage).await?.is_empty(),
        "a second plan is not empty: {:?}",
        plan(&stage).await?
    );
    let databases = stage.aws(&["rds", "describe-db-instances"]).await?;
    ensure!(
        databases["DBInstances"]
            .as_array()
            .is_some_and(|all| all.len() == 2),
        "not one primary and one replica: {databases}"
    );
    let groups = stage
        .aws(&["autoscaling", "describe-auto-scaling-groups"])
        .await?;
    ensure!(
        groups["AutoScalingGroups"]
            .as_array()
            .is_some_and(|all| all.len() == 1),
        "not one group: {groups}"
    );

    // Drift, made by a client that is not ours, a neighbour that must not be touched, and a certificate.
    let group = |part: &'static str| {
        let stage = &stage;
        async move {
            let filter = format!("Name=group-name,Values={part}");
            let found = stage
                .aws(&["ec2", "describe-security-groups", "--filters", &filter])
                .await?;
            found["SecurityGroups"][0]["GroupId"]
                .as_str()
                .map(str::to_owned)
                .context("no such security group")
        }
    };
    let database = group("chat-database").await?;
    stage
        .aws(&[
            "ec2",
            "authorize-security-group-ingress",
            "--group-id",
            &database,
            "--protocol",
            "tcp",
            "--port",
            "5432",
            "--cidr",
            "0.0.0.0/0",
        ])
        .await?;
    let alarm = "chat-g1-cpu-high";
    stage
        .aws(&["cloudwatch", "delete-alarms", "--alarm-names", alarm])
        .await?;
    let neighbour = stage
        .aws(&[
            "ec2",
            "create-security-group",
            "--group-name",
            "neighbour",
            "--description",
            "not ours",
        ])
        .await?;
    let neighbour = neighbour["GroupId"].as_str().context("no id")?.to_owned();
    give_certificate(&stage).await?;
    database::by_hand(&stage).await?;
    let drift = plan(&stage).await?;
    ensure!(
        drift
            .iter()
            .any(|change| change == "change DB instance chat-db"),
        "the database's attributes are not seen: {drift:?}"
    );
    ensure!(
        drift.iter().any(|change| change.contains("chat-database")),
        "the open rule is not seen: {drift:?}"
    );
    ensure!(
        drift.iter().any(|change| change.contains(alarm)),
        "the missing alarm is not seen: {drift:?}"
    );
    ensure!(
        !drift.iter().any(|change| change.contains("neighbour")),
        "the neighbour is planned about: {drift:?}"
    );
    stage
        .orchestrator
        .run(&["up"], Duration::from_secs(90))
        .await?
        .expect(0)?;
    ensure!(
        plan(&stage).await?.is_empty(),
        "drift is still there: {:?}",
        plan(&stage).await?
    );
    users_have_https(&stage).await?;
    database::is_mended(&stage).await?;
    let rules = stage
        .aws(&["ec2", "describe-security-groups", "--group-ids", &database])
        .await?;
    let ingress = rules["SecurityGroups"][0]["IpPermissions"].to_string();
    ensure!(
        !ingress.contains("0.0.0.0/0"),
        "the door is still open: {ingress}"
    );

    take_down(&stage).await?;
    let left = stage
        .aws(&[
            "ec2",
            "describe-security-groups",
            "--filters",
            "Name=tag:mattermost:stack,Values=chat",
        ])
        .await?;
    ensure!(
        left["SecurityGroups"].as_array().is_some_and(Vec::is_empty),
        "left: {left}"
    );
    stage
        .aws(&["ec2", "describe-security-groups", "--group-ids", &neighbour])
        .await?;
    let behind = stage.strike().await?;
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(())
}
