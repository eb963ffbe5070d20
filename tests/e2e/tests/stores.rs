//! Users' files in another place: from the stack's own bucket to one of another region, below a prefix, copied
//! with the AWS CLI as docs/operate.md says; then that bucket refuses the nodes, and everybody; in the end
//! servers sign with keys of their own. What users made is there all the time.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::processes::{Program, left_behind};
use e2e::secrets::Secrets;
use e2e::{Ended, Options, Orchestrator, Stage, binaries, role};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const BUCKET: &str = "chat-files-in-the-west";
const WEST: &str = "us-west-2";
const PREFIX: &str = "chat/files";
const KEYS: &str = "demo/files";
/// So many files are uploaded, then only read: what is written during a move is copied a third time.
const FILES: usize = 12;
/// For one verb, or one thing that a node does; all take seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);
const ROLLOUT: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn files_move_to_another_region_and_outlive_a_bucket_that_refuses() -> anyhow::Result<()> {
    let mut options = Options::new(binaries());
    options.octet = 150;
    options.speed = 120.0;
    options.licence = None;
    options.rollout =
        "step_seconds = 3\nbake_seconds = 3\nretention_seconds = 1\nquiet_is_fine = true\n"
            .to_owned();
    let stage = Stage::set(options).await?;
    let orchestrator = &stage.orchestrator;
    orchestrator.run(&["up"], ROLLOUT).await?.expect(0)?;
    let mut serve = orchestrator.serve().await?;
    let url = serves(orchestrator).await?;
    let users = users(&stage, &url).await?;
    all_uploaded(&users).await?;

    serve.stop(PATIENCE).await?;
    serve = move_to_the_west(&stage).await?;
    kept(&users, "after the move").await?;

    refuse_the_nodes(&stage).await?;
    refuse_everybody(&stage).await?;
    forgive(&stage).await?;
    kept(&users, "after the bucket refused").await?;

    serve.stop(PATIENCE).await?;
    serve = sign_with_own_keys(&stage).await?;
    kept(&users, "with keys of its own").await?;
    let report = users.finish().await;
    ensure!(
        report.not_kept().is_empty()
            && report
                .files
                .as_ref()
                .is_some_and(|it| it.uploaded == FILES as u64),
        "in the end: {:?} {:?}",
        report.kept(),
        report.not_kept()
    );
    serve.stop(PATIENCE).await?;
    strike(stage).await
}

/// Waits until the one node serves; gives the address.
async fn serves(orchestrator: &Orchestrator) -> anyhow::Result<String> {
    let status = orchestrator
        .until("the node serves", PATIENCE, |status| {
            let node = &status["nodes"][0];
            node["phase"] == "serving"
                && node["connected"] == true
                && node["target_health"] == "healthy"
        })
        .await?;
    Ok(status["url"].as_str().context("no address")?.to_owned())
}

async fn users(stage: &Stage, url: &str) -> anyhow::Result<load::Running> {
    let mut options = load::Options::new(url);
    (options.clients, options.users) = (2, 2);
    (options.rate, options.get_rate) = (0.5, 0.5);
    options.files = Some(load::FileOptions {
        rate: 4.0,
        read_rate: 1.0,
        largest: 20_000,
        large_every: 0,
        limit: FILES,
        ..load::FileOptions::default()
    });
    let release = stage.releases.get(&stage.versions[0])?;
    options.lasting = Some(load::LastingOptions {
        plugin: load::Plugin::Release(release.file.clone()),
        ..load::LastingOptions::default()
    });
    Ok(load::start(options).await?)
}

async fn all_uploaded(users: &load::Running) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while users.snapshot().files < FILES as u64 {
        ensure!(
            Instant::now() < until,
            "{} of {FILES} files are uploaded",
            users.snapshot().files
        );
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn kept(users: &load::Running, when: &str) -> anyhow::Result<()> {
    let found = users.verify_kept().await;
    ensure!(found.is_kept(), "{when}: {found}");
    let troubled = users.snapshot().files_troubled;
    ensure!(troubled == 0, "{when}: {troubled} files were missing");
    Ok(())
}

/// Writes these lines at the beginning of `[files]`.
fn edit_files(stage: &Stage, lines: &str) -> anyhow::Result<()> {
    let path = &stage.orchestrator.spec;
    let spec = std::fs::read_to_string(path)?;
    ensure!(spec.contains("\n[files]\n"));
    let with = spec.replace("\n[files]\n", &format!("\n[files]\n{lines}"));
    Ok(std::fs::write(path, with)?)
}

/// The policies that the edited specification needs: `data` for the control host, as a second document; and
/// the nodes', to be put in force by the caller.
async fn policies(stage: &Stage, name: &str) -> anyhow::Result<String> {
    let policies = stage
        .orchestrator
        .run(&["iam-policy", "--output", "json"], PATIENCE)
        .await?
        .expect(0)?
        .json()?;
    let data = policies["orchestrator"]["data"].to_string();
    role::attach(&stage.region, role::ROLE, name, &data).await?;
    Ok(policies["node"].to_string())
}

async fn put_node_policy(stage: &Stage, name: &str, document: &str) -> anyhow::Result<()> {
    let put = ["iam", "put-role-policy", "--role-name", role::NODE_ROLE];
    let more = ["--policy-name", name, "--policy-document", document];
    stage.aws(&[&put[..], &more[..]].concat()).await.map(drop)
}

async fn verb(stage: &Stage, arguments: &[&str], code: i32) -> anyhow::Result<Ended> {
    let ended = stage.orchestrator.run(arguments, ROLLOUT).await?;
    ended.expect(code)
}

/// As docs/operate.md says, "To another place".
async fn move_to_the_west(stage: &Stage) -> anyhow::Result<Program> {
    let own = stage.aws(&["s3api", "list-buckets"]).await?;
    let own = own["Buckets"][0]["Name"].as_str();
    let own = own.context("the stack has no bucket")?.to_owned();
    let place = format!("LocationConstraint={WEST}");
    let create = ["s3api", "create-bucket", "--bucket", BUCKET];
    let create = [&create[..], &["--create-bucket-configuration", &place]].concat();
    stage.aws_in(WEST, &create).await?;
    let place = format!("bucket = \"{BUCKET}\"\nregion = \"{WEST}\"\nprefix = \"{PREFIX}\"\n");
    edit_files(stage, &place)?;
    let node = policies(stage, "data-west").await?;
    put_node_policy(stage, "stack-new", &node).await?;
    let serve = stage.orchestrator.serve().await?;
    serves(&stage.orchestrator).await?;

    let plan = verb(stage, &["plan"], 0).await?.stdout;
    ensure!(
        plan.contains("orchestrator rollout --files-moved"),
        "{plan}"
    );
    let refused = verb(stage, &["rollout", "--yes"], 3).await?.stderr;
    ensure!(
        refused.contains(&format!("bucket `{own}`")) && refused.contains("--files-moved"),
        "{refused}"
    );
    let (from, to) = (format!("s3://{own}"), format!("s3://{BUCKET}/{PREFIX}"));
    let sync = ["s3", "sync", &from, &to, "--source-region", "us-east-1"];
    let sync = [&sync[..], &["--only-show-errors"]].concat();
    stage.aws_in(WEST, &sync).await?;
    stage.aws_in(WEST, &sync).await?;
    let moved = ["rollout", "--files-moved", "--yes", "--output", "json"];
    let moved = verb(stage, &moved, 0).await?.json()?;
    ensure!(moved["outcome"] == "done", "{moved:#}");
    stage.aws_in(WEST, &sync).await?;
    put_node_policy(stage, "stack", &node).await?;
    let delete = ["iam", "delete-role-policy", "--policy-name", "stack-new"];
    let delete = [&delete[..], &["--role-name", role::NODE_ROLE]].concat();
    stage.aws(&delete).await?;
    looks_well(stage).await?;
    Ok(serve)
}

/// `doctor` and `plan` of a named bucket in another region.
async fn looks_well(stage: &Stage) -> anyhow::Result<()> {
    serves(&stage.orchestrator).await?;
    let doctor = doctor(stage, 0).await?;
    let found = |name: &str| {
        let row = doctor.iter().find(|row| row["check"] == name);
        row.map(|row| (row["result"].as_str(), row["detail"].as_str().unwrap_or("")))
    };
    let place = format!("`{BUCKET}` in {WEST}");
    ensure!(
        found("files bucket") == Some((Some("ok"), &*place)),
        "{doctor:#?}"
    );
    let results = [
        ("files public access", "ok"),
        ("files versioning", "warn"),
        ("files owner", "ok"),
        ("files endpoint", "ok"),
        ("files rights", "skip"),
    ];
    for (name, result) in results {
        let seen = found(name).and_then(|(result, _)| result);
        ensure!(seen == Some(result), "{name}: {doctor:#?}");
    }
    let plan = verb(stage, &["plan"], 0).await?.stdout;
    ensure!(plan.contains("nothing to do"), "{plan}");
    Ok(())
}

async fn doctor(stage: &Stage, code: i32) -> anyhow::Result<Vec<Value>> {
    let said = verb(stage, &["doctor", "--output", "json"], code).await?;
    Ok(serde_json::from_value(said.json()?)?)
}

/// The bucket's policy denies these actions to these roles.
async fn deny(stage: &Stage, roles: &[&str], actions: &[&str]) -> anyhow::Result<()> {
    let identity = stage.aws(&["sts", "get-caller-identity"]).await?;
    let account = identity["Account"].as_str().context("no account")?;
    let roles: Vec<String> = roles
        .iter()
        .map(|role| format!("arn:aws:iam::{account}:role/{role}"))
        .collect();
    let bucket = format!("arn:aws:s3:::{BUCKET}");
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Deny",
        "Principal": { "AWS": roles },
        "Action": actions,
        "Resource": [bucket, format!("{bucket}/*")],
    }] });
    let put = ["s3api", "put-bucket-policy", "--bucket", BUCKET];
    let put = [&put[..], &["--policy", &policy.to_string()]].concat();
    stage.aws_in(WEST, &put).await.map(drop)
}

/// The nodes' role may not write: a rollout is turned back before anybody is sent away.
async fn refuse_the_nodes(stage: &Stage) -> anyhow::Result<()> {
    deny(stage, &[role::NODE_ROLE], &["s3:PutObject"]).await?;
    let rollout = ["rollout", "--mattermost", "11.9.0", "--yes"];
    let rollout = [&rollout[..], &["--output", "json"]].concat();
    let ended = verb(stage, &rollout, 4).await?.json()?;
    let told = ended["failure"].to_string();
    for part in ["file_store_denied", BUCKET, "AccessDenied", "s3:PutObject"] {
        ensure!(told.contains(part), "{part} is not told: {told}");
    }
    let phases = ended["phases"].to_string();
    ensure!(
        phases.contains("Prepared") && !phases.contains("Closed"),
        "users were sent away: {phases}"
    );
    serves(&stage.orchestrator).await.map(drop)
}

/// Nobody may look into it: everything that a person reads names the bucket, and the server serves on.
async fn refuse_everybody(stage: &Stage) -> anyhow::Result<()> {
    let roles = [role::NODE_ROLE, role::ROLE];
    deny(stage, &roles, &["s3:PutObject", "s3:ListBucket"]).await?;
    let status = stage
        .orchestrator
        .until("the node says why", PATIENCE, |status| {
            let note = status["nodes"][0]["note"].as_str().unwrap_or_default();
            note.contains(BUCKET) && note.contains("AccessDenied")
        })
        .await?;
    ensure!(status["nodes"][0]["phase"] == "serving", "{status:#}");
    let failed = doctor(stage, 3).await?;
    let failed: Vec<&Value> = failed
        .iter()
        .filter(|row| row["result"] == "fail")
        .collect();
    let names = |row: &Value| {
        let detail = row["detail"].as_str().unwrap_or_default();
        detail.contains(BUCKET) && (detail.contains("403") || detail.contains("AccessDenied"))
    };
    ensure!(
        !failed.is_empty() && failed.iter().all(|row| names(row)),
        "{failed:#?}"
    );
    let plan = verb(stage, &["plan"], 5).await?.stdout;
    ensure!(
        plan.contains(&format!("bucket `{BUCKET}` of `files.bucket` answers 403")),
        "{plan}"
    );
    Ok(())
}

async fn forgive(stage: &Stage) -> anyhow::Result<()> {
    let delete = ["s3api", "delete-bucket-policy", "--bucket", BUCKET];
    stage.aws_in(WEST, &delete).await?;
    stage
        .orchestrator
        .until("the node is well again", PATIENCE, |status| {
            status["nodes"][0]["note"] == "" && status["phase"] == "ready"
        })
        .await
        .map(drop)
}

/// The same bucket with keys of its own, by reference: no rollout, the server restarts. The nodes' role loses
/// its rights, so that nothing but the keys can sign.
async fn sign_with_own_keys(stage: &Stage) -> anyhow::Result<Program> {
    let given = |name: &str| {
        let environment = stage.region.environment.iter();
        let mut found = environment.filter(|(key, _)| key == name);
        found
            .next()
            .map(|(_, value)| value.clone())
            .context("no keys")
    };
    let key = given("AWS_ACCESS_KEY_ID")?;
    let value = json!({ "key": key, "secret": given("AWS_SECRET_ACCESS_KEY")? }).to_string();
    let create = ["secretsmanager", "create-secret", "--name", KEYS];
    let create = [&create[..], &["--secret-string", &value]].concat();
    stage.aws(&create).await?;
    edit_files(
        stage,
        &format!("access_key = \"{KEYS}#key\"\nsecret_key = \"{KEYS}#secret\"\n"),
    )?;
    let node = policies(stage, "data-keys").await?;
    let serve = stage.orchestrator.serve().await?;
    let mut secrets = Secrets::default();
    secrets.add("the store's key", &key)?;
    let until = Instant::now() + PATIENCE;
    while !has_keys(stage, &secrets).await? {
        ensure!(Instant::now() < until, "the node was not told the keys");
        sleep(Duration::from_millis(200)).await;
    }
    put_node_policy(stage, "stack", &node).await?;
    serves(&stage.orchestrator).await?;
    let doctor = doctor(stage, 0).await?;
    let well = |row: &Value| row["check"] == "files endpoint" && row["result"] == "ok";
    ensure!(doctor.iter().any(well), "{doctor:#?}");
    let plan = verb(stage, &["plan"], 0).await?.stdout;
    ensure!(plan.contains("nothing to do"), "{plan}");
    Ok(serve)
}

/// Whether a node's server has the keys in its environment.
async fn has_keys(stage: &Stage, secrets: &Secrets) -> anyhow::Result<bool> {
    let all: Vec<Value> = serde_json::from_value(stage.region.read("ec2/instances").await?)?;
    let mut folders = all
        .iter()
        .filter(|instance| instance["state"] == "running")
        .filter_map(|instance| instance["directory"].as_str().map(PathBuf::from));
    folders.try_fold(false, |found, folder| {
        let kept = secrets.found_below(&folder, &["opt"])?;
        let environment = kept
            .iter()
            .any(|kept| kept.path.ends_with("mattermost.env"));
        Ok(found || environment)
    })
}

/// As [`Stage::strike`]; only the bucket may have refused the product's roles anything.
async fn strike(stage: Stage) -> anyhow::Result<()> {
    let refused = role::refused(&stage.region).await?;
    let strange: Vec<&String> = refused
        .iter()
        .filter(|what| !what.contains(BUCKET))
        .collect();
    ensure!(
        strange.is_empty(),
        "the policies do not suffice: {strange:?}"
    );
    let (directory, region, releases) = stage.keep();
    region.stop(Duration::from_secs(30)).await?;
    drop(releases);
    let needle = directory.display().to_string();
    let until = Instant::now() + Duration::from_secs(10);
    while !left_behind(&needle).is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(100)).await;
    }
    let behind = left_behind(&needle);
    ensure!(behind.is_empty(), "processes were left behind: {behind:?}");
    Ok(std::fs::remove_dir_all(directory)?)
}
