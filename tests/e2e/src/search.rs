//! Every secret of a running stack, and every place where none may be.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::secrets::{Kept, Secrets, kept};
use crate::stage::{LICENCE_SECRET, SMTP_SECRET, Stage};

/// Where an instance of the process runtime finds its metadata.
const METADATA_PORT: u16 = 1338;
/// What a node may keep below its root, readable by root alone.
const KEPT_BY_NODES: [&str; 3] = [
    "etc/mattermost/mattermost.env",
    "etc/mattermost/database.password",
    "var/lib/mattermost-agent/node.key",
];
/// A secret that is put into a log by this test: found, it proves that the search can find.
const CANARY: &str = "canary-of-the-secret-search-7f3a";

/// Fails with everything that was found; else tells how many secrets were looked for: all that the stack has
/// now, and `earlier` ones by name.
pub async fn nothing_leaks(
    stage: &Stage,
    nodes: &BTreeMap<String, String>,
    said: &[&str],
    earlier: &[(&str, &str)],
) -> anyhow::Result<usize> {
    let mut secrets = known(stage, nodes).await?;
    for (name, value) in earlier {
        secrets.add(name, value)?;
    }
    let mut leaks = Vec::new();
    for (number, text) in said.iter().enumerate() {
        note(
            &mut leaks,
            &secrets,
            &format!("output {number} of `up`"),
            text,
        );
    }
    outputs(stage, &secrets, &mut leaks).await?;
    account(stage, nodes, &secrets, &mut leaks).await?;
    databases(stage, &secrets, &mut leaks).await?;
    processes(stage, &secrets, &mut leaks)?;
    files(stage, nodes, &secrets, &mut leaks)?;
    ensure!(
        leaks.is_empty(),
        "secrets were found:\n{}",
        leaks.join("\n")
    );
    Ok(secrets.len())
}

fn note(leaks: &mut Vec<String>, secrets: &Secrets, place: &str, text: impl AsRef<[u8]>) {
    for secret in secrets.found_in(text.as_ref()) {
        leaks.push(format!("`{secret}` in {place}"));
    }
}

/// From where they are at home: Secrets Manager, the nodes' disks, their metadata, the operator.
async fn known(stage: &Stage, nodes: &BTreeMap<String, String>) -> anyhow::Result<Secrets> {
    let mut secrets = Secrets::default();
    secrets.add("canary", CANARY)?;
    secrets.add_account(stage).await?;
    for needed in ["chat/database/master", LICENCE_SECRET, SMTP_SECRET] {
        let value = kept(stage, needed).await?;
        let text = value["password"].as_str().or(value.as_str());
        let text = text.with_context(|| format!("`{needed}`"))?;
        ensure!(
            !secrets.found_in(text.as_bytes()).is_empty(),
            "`{needed}` is not looked for"
        );
    }
    for (instance, address) in nodes {
        let key = std::fs::read_to_string(root(stage, instance).join(KEPT_BY_NODES[2]))?;
        secrets.add(&format!("key of {instance}"), &key)?;
        let role = credentials(address).await?;
        for part in ["SecretAccessKey", "Token"] {
            let value = role[part].as_str().with_context(|| format!("no {part}"))?;
            secrets.add(&format!("{part} of {instance}"), value)?;
        }
    }
    // Master, Mattermost's, orchestrator's password, CA, licence, SMTP; operator and canary; three per node.
    let least = 8 + 3 * nodes.len();
    ensure!(
        secrets.len() >= least,
        "{} secrets are known, not {least}",
        secrets.len()
    );
    Ok(secrets)
}

async fn credentials(address: &str) -> anyhow::Result<Value> {
    let base = format!("http://{address}:{METADATA_PORT}/latest");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let token = client
        .put(format!("{base}/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "60")
        .send()
        .await?
        .text()
        .await?;
    let get = async |path: &str| -> anyhow::Result<String> {
        let request = client.get(format!("{base}/meta-data/iam/security-credentials/{path}"));
        let answer = request.header("x-aws-ec2-metadata-token", &token).send();
        Ok(answer.await?.error_for_status()?.text().await?)
    };
    let role = get("").await?;
    Ok(serde_json::from_str(&get(role.trim()).await?)?)
}

fn root(stage: &Stage, instance: &str) -> std::path::PathBuf {
    let instances = stage.directory.path().join("lab/instances");
    instances.join(instance).join("root")
}

/// What operators and programs are told.
async fn outputs(stage: &Stage, secrets: &Secrets, leaks: &mut Vec<String>) -> anyhow::Result<()> {
    for verb in [
        "status",
        "nodes",
        "plan",
        "doctor",
        "image list",
        "rollout status",
    ] {
        let mut arguments = vec!["-vv", "--output", "json"];
        arguments.extend(verb.split(' '));
        let ended = stage
            .orchestrator
            .run(&arguments, Duration::from_secs(60))
            .await?;
        note(leaks, secrets, &format!("`{verb}`, stdout"), ended.stdout);
        note(leaks, secrets, &format!("`{verb}`, stderr"), ended.stderr);
    }
    for path in ["", "events.json", "metrics"] {
        let url = format!("http://{}/{path}", stage.orchestrator.console);
        let page = reqwest::get(&url).await?.error_for_status()?.text().await?;
        ensure!(!page.is_empty(), "`{url}` is empty");
        note(leaks, secrets, &format!("the console's /{path}"), page);
    }
    Ok(())
}

/// What whoever may describe instances sees.
async fn account(
    stage: &Stage,
    nodes: &BTreeMap<String, String>,
    secrets: &Secrets,
    leaks: &mut Vec<String>,
) -> anyhow::Result<()> {
    let decoded = |value: &Value| -> anyhow::Result<Vec<u8>> {
        let text = value.as_str().context("no user data")?;
        Ok(STANDARD.decode(text.split_whitespace().collect::<String>())?)
    };
    for instance in nodes.keys() {
        let about = [
            "ec2",
            "describe-instance-attribute",
            "--instance-id",
            instance,
        ];
        let about = [&about[..], &["--attribute", "userData"]].concat();
        let data = decoded(&stage.aws(&about).await?["UserData"]["Value"])?;
        note(leaks, secrets, &format!("user data of {instance}"), data);
        let console = ["ec2", "get-console-output", "--instance-id", instance];
        let console = stage.aws(&console).await?;
        note(
            leaks,
            secrets,
            &format!("console of {instance}"),
            console.to_string(),
        );
    }
    for call in [
        ["ec2", "describe-instances"],
        ["ec2", "describe-launch-templates"],
        ["autoscaling", "describe-auto-scaling-groups"],
        ["autoscaling", "describe-scaling-activities"],
        ["rds", "describe-db-instances"],
        ["elbv2", "describe-target-groups"],
    ] {
        let answer = stage.aws(&call).await?;
        note(leaks, secrets, &call.join(" "), answer.to_string());
    }
    Ok(())
}

/// Where Mattermost keeps its settings: the first row's data source is the one that it was started with, its
/// own role's password included. The role that owns the table has that password anyway.
const SETTINGS: &str = "public.configurations";
/// The secret with that password.
const OWN_PASSWORD: &str = "chat/database/mattermost";

/// Both databases, whole: journal, events, reports, intent, and what Mattermost keeps.
async fn databases(
    stage: &Stage,
    secrets: &Secrets,
    leaks: &mut Vec<String>,
) -> anyhow::Result<()> {
    for name in ["orchestrator", "mattermost"] {
        let but = format!("--exclude-table-data={SETTINGS}");
        let rows = dump(stage, name, &but).await?;
        let count = rows.split(|byte| *byte == b'\n');
        let count = count
            .filter(|line| line.starts_with(b"INSERT INTO"))
            .count();
        ensure!(
            count > 10,
            "database `{name}` has {count} rows: that is not the one in use"
        );
        note(leaks, secrets, &format!("database `{name}`"), rows);
    }
    let settings = dump(stage, "mattermost", &format!("--table={SETTINGS}")).await?;
    ensure!(
        settings.windows(14).any(|part| part == b"PublicLinkSalt"),
        "`{SETTINGS}` holds no settings"
    );
    let mut found = Vec::new();
    note(&mut found, secrets, &format!("`{SETTINGS}`"), settings);
    found.retain(|leak| !leak.starts_with(&format!("`{OWN_PASSWORD}` ")));
    leaks.extend(found);
    Ok(())
}

async fn dump(stage: &Stage, name: &str, which: &str) -> anyhow::Result<Vec<u8>> {
    let dump = stage
        .database(name)
        .await?
        .client("pg_dump")
        .args(["--data-only", "--inserts", which])
        .output()
        .await
        .context("running `pg_dump`")?;
    let talk = String::from_utf8_lossy(&dump.stderr);
    ensure!(dump.status.success(), "pg_dump of `{name}`: {talk}");
    Ok(dump.stdout)
}

/// Arguments of all, the environment of those that need none; no core file of ours.
fn processes(stage: &Stage, secrets: &Secrets, leaks: &mut Vec<String>) -> anyhow::Result<()> {
    let mut programs = BTreeMap::from([("mattermost-agent", 0), ("orchestrator", 0)]);
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        note(
            leaks,
            secrets,
            &format!("the arguments of process {pid}"),
            &arguments,
        );
        let program = arguments.split(' ').next().unwrap_or_default();
        let name = Path::new(program).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let environment = read("environ");
        let of_stage = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).contains(&*stage.directory.path().to_string_lossy())
        };
        if !of_stage(&environment) && !of_stage(arguments.as_bytes()) {
            continue;
        }
        // Mattermost takes its settings from there; the operator's own credentials stand in the orchestrator's.
        if !["mattermost", "orchestrator"].contains(&name.as_str()) {
            note(
                leaks,
                secrets,
                &format!("the environment of `{name}`"),
                &environment,
            );
        }
        if let Some(count) = programs.get_mut(name.as_str()) {
            let limits = String::from_utf8_lossy(&read("limits")).into_owned();
            let core = limits
                .lines()
                .find(|line| line.starts_with("Max core file size"));
            let core: Vec<&str> = core.context("no limits")?.split_whitespace().collect();
            ensure!(
                core[4..6] == ["0", "0"],
                "`{name}` may leave a core file: {core:?}"
            );
            *count += 1;
        }
    }
    ensure!(
        programs.values().all(|count| *count > 0),
        "not all run: {programs:?}"
    );
    Ok(())
}

/// Logs hold none; what is kept on nodes is kept from everybody else. The lab's own books are left out.
fn files(
    stage: &Stage,
    nodes: &BTreeMap<String, String>,
    secrets: &Secrets,
    leaks: &mut Vec<String>,
) -> anyhow::Result<()> {
    let base = stage.directory.path();
    let planted = base.join("canary.log");
    std::fs::write(&planted, format!("level=info msg=\"{CANARY}\"\n"))?;
    let mut found = secrets.found_below(base, &["lab", "image", "releases"])?;
    let console = |instance: &str| {
        base.join("lab/instances")
            .join(instance)
            .join("console.log")
    };
    for instance in nodes.keys() {
        let log = std::fs::read(console(instance))?;
        ensure!(!log.is_empty(), "the console of {instance} is empty");
        note(leaks, secrets, &format!("console.log of {instance}"), log);
        let kept = secrets.found_below(&root(stage, instance), &["usr", "releases"])?;
        for name in KEPT_BY_NODES {
            let there = kept.iter().any(|kept| kept.path.ends_with(name));
            ensure!(there, "`{name}` of {instance} was not looked at: {kept:#?}");
        }
        found.extend(kept);
    }
    let canary = found.iter().position(|kept| kept.path == planted);
    let canary = found.remove(canary.context("the planted secret was not found")?);
    ensure!(canary.secrets == ["canary"], "{canary:?}");
    std::fs::remove_file(planted)?;
    let own = rustix::process::geteuid().as_raw();
    let at_home = |kept: &Kept| {
        let place = KEPT_BY_NODES.iter().any(|name| kept.path.ends_with(name));
        place && kept.mode == 0o600 && kept.owner == own
    };
    found.retain(|kept| !at_home(kept));
    leaks.extend(found.iter().map(|kept| {
        format!(
            "{:?} in `{}`, mode {:o}, owner {}",
            kept.secrets,
            kept.path.display(),
            kept.mode,
            kept.owner
        )
    }));
    Ok(())
}
