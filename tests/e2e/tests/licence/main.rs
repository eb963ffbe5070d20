//! What the operator keeps in Secrets Manager, and a site below a path: a licence that no server takes, a good
//! one after it, a password that is missing and then rotated, and a server that has read older settings.
//! Users go on all the while.

mod stack;
mod watch;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::fleet::{program, serving};
use e2e::processes::Program;
use e2e::search::nothing_leaks;
use e2e::stage::{LICENCE_SECRET, SMTP_SECRET};
use e2e::{Options, Stage, binaries};
use serde_json::{Value, json};
use stack::{
    COMPANIES, DAYS, Licences, Nodes, PASSWORDS, PATH, SOON, again, both_serve, current, put,
    running, site, texts, two_nodes_below_a_path, users,
};
use watch::{Says, Seen, Watch};

/// A setting whose value is a named secret.
const SETTING: &str = "MM_EMAILSETTINGS_SMTPPASSWORD";
/// Id of a row of settings.
const ROW: &str = "savedwithoutamessage000001";
/// Saves another name of the site as that row.
const SAVED: &str = "WITH former AS ( \
         UPDATE configurations SET active = NULL WHERE active RETURNING value \
     ), new AS ( \
         SELECT replace(value, '\"SiteName\": \"Mattermost\"', '\"SiteName\": \"Changed\"') AS value FROM former \
     ) \
     INSERT INTO configurations (id, value, createat, active, sha) \
     SELECT 'savedwithoutamessage000001', value, (extract(epoch FROM now()) * 1000)::bigint, true, \
            encode(sha256(convert_to(value, 'UTF8')), 'hex') \
     FROM new";
/// The lab's speed once the stack is up.
const SPEED: f64 = 0.2;

#[tokio::test(flavor = "multi_thread")]
async fn secrets_change_one_node_at_a_time_below_a_path() -> anyhow::Result<()> {
    let licences = Licences::new();
    let mut options = Options::new(binaries());
    options.octet = 216;
    options.speed = 120.0;
    options.licence = Some(licences.first.clone());
    let stage = Stage::set(options).await?;
    two_nodes_below_a_path(&stage.orchestrator.spec)?;
    let up = stage
        .orchestrator
        .run(&["-v", "up"], Duration::from_secs(180));
    let up = up.await?.expect(0)?;
    // A restart takes no time by the lab's clock now: it is no sickness, however busy the machine is.
    stage.control("speed", json!({ "speed": SPEED })).await?;
    let site = site(&stage).await?;
    let users = users(&site).await?;
    let nodes = running(&stage).await?;
    let watch = watch(&nodes, &licences)?;
    below_the_path(&stage, &site, &nodes).await?;
    users.mark("bad licence");
    let proven = current(&stage, LICENCE_SECRET).await?;
    let bad = put(&stage, LICENCE_SECRET, &licences.bad).await?;
    let mut serve = stage.orchestrator.serve().await?;
    a_bad_licence_stays_with_one(&stage, &watch, (&proven, &bad)).await?;
    users.mark("next licence");
    serve = a_good_one_goes_round(&stage, &watch, serve, &licences.next).await?;
    its_end_is_told(&stage, licences.ends).await?;
    users.mark("password");
    serve = a_missing_password_is_named(&stage, &watch, serve).await?;
    a_rotated_password_goes_round(&stage, &watch, &nodes).await?;
    users.mark("older settings");
    who_read_older_settings_restarts(&stage, &nodes).await?;
    let report = users.finish().await;
    let _ = writeln!(std::io::stderr(), "{report}");
    ensure!(
        report.messages.abandoned == 0 && report.messages.duplicated == 0,
        "users lost something: {report}"
    );

    let earlier = [
        ("the first licence", licences.first.as_str()),
        ("the bad licence", &licences.bad),
        ("the first password", PASSWORDS[0]),
    ];
    let addresses = nodes.iter().map(|(id, node)| (id.clone(), node.0.clone()));
    let said = [up.stdout.as_str(), &up.stderr];
    nothing_leaks(&stage, &addresses.collect(), &said, &earlier).await?;
    serve.stop(Duration::from_secs(20)).await?;
    let behind = stage.strike().await?;
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(())
}

fn watch(nodes: &Nodes, licences: &Licences) -> anyhow::Result<Watch> {
    let known = [
        ("first", licences.first.clone()),
        ("bad", licences.bad.clone()),
        ("next", licences.next.clone()),
    ];
    let passwords = [
        ("first", PASSWORDS[0].to_owned()),
        ("next", PASSWORDS[1].to_owned()),
    ];
    Watch::start(nodes, PATH, &known, &passwords)
}

/// L8: nodes and load balancer are asked below the path, and at the root there is no ping.
async fn below_the_path(stage: &Stage, site: &str, nodes: &Nodes) -> anyhow::Result<()> {
    let groups = stage.aws(&["elbv2", "describe-target-groups"]).await?;
    let wanted = format!("{PATH}/api/v4/system/ping");
    for group in groups["TargetGroups"].as_array().into_iter().flatten() {
        ensure!(group["HealthCheckPath"] == wanted.as_str(), "{group}");
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let servers = nodes.values();
    let servers = servers.map(|(address, _)| format!("http://{address}:8065"));
    for base in servers.chain([site.to_owned()]) {
        let at_root = client.get(format!("{base}/api/v4/system/ping")).send();
        let at_root = at_root.await?.status();
        ensure!(at_root == 302, "at the root of {base}: {at_root}");
        let below = client.get(format!("{base}{wanted}")).send().await?;
        ensure!(below.status() == 200, "below the path of {base}: {below:?}");
    }
    Ok(())
}

fn runs_on(seen: &Seen, which: usize) -> bool {
    seen.says == Says::Licensed(COMPANIES[which].to_owned())
}

/// L6: one node shows it, the other is never told; the proven version comes back into force.
async fn a_bad_licence_stays_with_one(
    stage: &Stage,
    watch: &Watch,
    (proven, bad): (&str, &str),
) -> anyhow::Result<()> {
    let told = format!("the proven version {proven} is in force again");
    let status = both_serve(stage, |texts| texts.contains(&told)).await?;
    let seen = watch.since(0);
    let first = seen
        .iter()
        .find(|change| change.seen.licence == Some("bad"));
    let first = &first.context("no node was told the bad licence")?.node;
    let notice = format!("licence version {bad} was not taken by {first} (it runs unlicensed)");
    ensure!(texts(&status).contains(&notice), "{status:#}");
    let showed =
        |change: &watch::Change| change.node == *first && change.seen.says == Says::Unlicensed;
    ensure!(
        seen.iter().any(showed),
        "no server ran unlicensed: {seen:#?}"
    );
    let mut of_first = seen.iter().filter(|change| change.node == *first);
    let from = of_first.find(|change| change.seen.says == Says::Unlicensed);
    let to = of_first.find(|change| change.seen.says != Says::Unlicensed);
    if let (Some(from), Some(to)) = (from, to) {
        let seconds = (to.at - from.at).as_secs_f64();
        let _ = writeln!(
            std::io::stderr(),
            "{first} served {seconds:.1} s without a licence"
        );
    }
    for change in seen.iter().filter(|change| change.node != *first) {
        ensure!(
            change.seen.licence == Some("first") && runs_on(&change.seen, 0),
            "the second node was not left alone: {change:?}"
        );
    }
    let now = watch.now();
    let proven_again = |seen: &Seen| seen.licence == Some("first") && runs_on(seen, 0);
    ensure!(now.values().all(proven_again), "{now:#?}");
    let version = current(stage, LICENCE_SECRET).await?;
    ensure!(version == proven, "version {version} is in force");
    Ok(())
}

/// The second node is told the next licence when the first one's server came up with it.
async fn a_good_one_goes_round(
    stage: &Stage,
    watch: &Watch,
    serve: Program,
    next: &str,
) -> anyhow::Result<Program> {
    let (before, mark) = (watch.now(), watch.mark());
    put(stage, LICENCE_SECRET, next).await?;
    let serve = again(stage, serve).await?;
    let is_told = |seen: &Seen| seen.licence == Some("next");
    let is_up = |seen: &Seen| is_told(seen) && runs_on(seen, 1);
    watch
        .until("both run on the next licence", SOON, is_up)
        .await?;
    watch.one_by_one(&before, mark, is_told, is_up)?;
    // The refused one is forgotten.
    both_serve(stage, |texts| !texts.contains("was not taken")).await?;
    Ok(serve)
}

/// Within thirty days of it: `status`, the metric and the page.
async fn its_end_is_told(stage: &Stage, ends: i64) -> anyhow::Result<()> {
    let status = stage.orchestrator.status().await?;
    let notice = format!("in {DAYS} day(s): put the next one into that secret");
    let warned =
        |text: &str| text.contains(&format!("secret `{LICENCE_SECRET}`")) && text.contains(&notice);
    ensure!(warned(&texts(&status)), "{status:#}");
    let get = async |path: &str| -> anyhow::Result<String> {
        let url = format!("http://{}/{path}", stage.orchestrator.console);
        Ok(reqwest::get(url).await?.error_for_status()?.text().await?)
    };
    let metric = format!(
        "orchestrator_licence_expiry_timestamp_seconds{{secret=\"{LICENCE_SECRET}\"}} {ends}"
    );
    let metrics = get("metrics").await?;
    ensure!(metrics.lines().any(|line| line == metric), "{metrics}");
    let page = get("").await?;
    ensure!(warned(&page), "the page does not warn:\n{page}");
    Ok(())
}

/// Without a value nobody is told anything, and `status` and `doctor` name it.
async fn a_missing_password_is_named(
    stage: &Stage,
    watch: &Watch,
    serve: Program,
) -> anyhow::Result<Program> {
    let (before, mark) = (watch.now(), watch.mark());
    put(stage, SMTP_SECRET, r#"{"user":"chat"}"#).await?;
    let serve = again(stage, serve).await?;
    let named =
        format!("`{SETTING}` has no value: secret `{SMTP_SECRET}#password` has no such key");
    let orchestrator = &stage.orchestrator;
    orchestrator
        .until("it is named", SOON, |status| {
            texts(status).contains(&named) && serving(status).len() == 2
        })
        .await?;
    let doctor = orchestrator.run(&["doctor"], Duration::from_secs(60));
    let doctor = doctor.await?.expect(3)?;
    ensure!(
        doctor.stdout.contains(&format!("{SMTP_SECRET}#password")),
        "{}",
        doctor.stdout
    );
    let changed = watch.since(mark);
    ensure!(changed.is_empty(), "from {before:#?} to {changed:#?}");
    Ok(serve)
}

/// The new value reaches the nodes one by one, without a word.
async fn a_rotated_password_goes_round(
    stage: &Stage,
    watch: &Watch,
    nodes: &Nodes,
) -> anyhow::Result<()> {
    let (before, mark) = (watch.now(), watch.mark());
    let value = json!({ "password": PASSWORDS[1] }).to_string();
    put(stage, SMTP_SECRET, &value).await?;
    let is_told = |seen: &Seen| seen.password == Some("next");
    let is_up = |seen: &Seen| is_told(seen) && runs_on(seen, 1);
    watch
        .until("both have the new password", SOON, is_up)
        .await?;
    both_serve(stage, |_| true).await?;
    watch.one_by_one(&before, mark, is_told, is_up)?;
    let wanted = format!("{SETTING}={}", PASSWORDS[1]);
    for node in nodes.keys() {
        let pid = program(node, "mattermost").with_context(|| format!("{node} has no server"))?;
        let environment = std::fs::read(format!("/proc/{pid}/environ"))?;
        let has = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes());
        ensure!(has, "the server of {node} runs with another password");
    }
    Ok(())
}

/// A setting is saved, and the message that tells the servers is lost: written in SQL as a server does.
/// One that starts afterwards reads it and is right; the other one is restarted, and the newer one is not
/// touched.
async fn who_read_older_settings_restarts(stage: &Stage, nodes: &Nodes) -> anyhow::Result<()> {
    let mut nodes = nodes.iter().map(|(node, (address, _))| (node, address));
    let (newer, older) = nodes.next().zip(nodes.next()).context("not two nodes")?;
    let pid =
        |node: &str| program(node, "mattermost").with_context(|| format!("{node} has no server"));
    let (killed, before) = (pid(newer.0)?, pid(older.0)?);
    let database = stage.database("mattermost").await?;
    database.ask(SAVED).await?;
    let killed = rustix::process::Pid::from_raw(killed.cast_signed());
    let killed = killed.context("no process has number 0")?;
    rustix::process::kill_process(killed, rustix::process::Signal::KILL)?;
    is_named(newer.1, "Changed").await?;
    let started = pid(newer.0)?;
    ensure!(pid(older.0)? == before, "the older server did not wait");
    is_named(older.1, "Changed").await?;
    both_serve(stage, |_| true).await?;
    ensure!(
        pid(newer.0)? == started,
        "the newer server was restarted, too"
    );
    ensure!(
        pid(older.0)? != before,
        "settings changed without a restart"
    );
    let row = "SELECT id FROM configurations WHERE active";
    let row = database.ask(row).await?;
    ensure!(row.trim() == ROW, "another row is active: {row}");
    Ok(())
}

/// Until clients of this server are told this name of the site.
async fn is_named(address: &str, wanted: &str) -> anyhow::Result<()> {
    let url = format!("http://{address}:8065{PATH}/api/v4/config/client?format=old");
    let name = async || {
        let answer = reqwest::get(&url).await?.bytes().await?;
        let said: Value = serde_json::from_slice(&answer)?;
        anyhow::Ok(said["SiteName"].as_str().unwrap_or_default().to_owned())
    };
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let said = name().await;
        if said.as_ref().is_ok_and(|said| said == wanted) {
            return Ok(());
        }
        let late = tokio::time::Instant::now() > until;
        ensure!(!late, "{address} is named {said:?}, not `{wanted}`");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
