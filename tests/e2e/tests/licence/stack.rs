//! The stack of these tests: two nodes below a path, and what is asked of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::Stage;
use e2e::fleet::serving;
use e2e::processes::Program;
use serde_json::Value;
use standin::licence::Licence;

/// Where the site lies. Users come by the load balancer's address: there is no DNS.
pub const PATH: &str = "/mattermost";
/// Passwords before and after the rotation.
pub const PASSWORDS: [&str; 2] = ["smtp-password-5b1f77", "smtp-password-9c02ae"];
/// Companies on the first licence and on the next: what a server says without a login.
pub const COMPANIES: [&str; 2] = ["Example", "Example Next"];
/// How many days the next licence is still valid: less than the thirty before which people are told.
pub const DAYS: i64 = 20;
/// A start of the server on a machine that is busy with other things, twice.
pub const SOON: Duration = Duration::from_secs(90);

/// Texts of licences.
pub struct Licences {
    /// In force when the stack is made.
    pub first: String,
    /// Cut off, as by a careless copy.
    pub bad: String,
    /// The one after it, of another company, which ends soon.
    pub next: String,
    /// When `next` ends, in seconds since 1970.
    pub ends: i64,
}

impl Licences {
    pub fn new() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let licence = |company: &str| {
            let mut licence = Licence::new(now - 1000);
            company.clone_into(&mut licence.customer.company);
            licence
        };
        let mut bad = licence(COMPANIES[1]).text();
        bad.truncate(bad.len() / 2);
        let mut next = licence(COMPANIES[1]);
        next.expires_at = now + DAYS * 24 * 3600 * 1000 + 3_600_000;
        Self {
            first: licence(COMPANIES[0]).text(),
            bad,
            ends: next.expires_at / 1000,
            next: next.text(),
        }
    }
}

pub fn two_nodes_below_a_path(spec: &Path) -> anyhow::Result<()> {
    let mut text = std::fs::read_to_string(spec)?;
    let table = "[load_balancer]\n";
    for (from, to) in [
        ("\nmax = 3\n", "\nmin = 2\nmax = 2\n".to_owned()),
        (
            table,
            format!("{table}site_url = \"http://chat.example.com{PATH}\"\n"),
        ),
    ] {
        ensure!(text.contains(from), "no `{from}` in the specification");
        text = text.replacen(from, &to, 1);
    }
    Ok(std::fs::write(spec, text)?)
}

/// The load balancer's address.
pub async fn site(stage: &Stage) -> anyhow::Result<String> {
    let balancers = stage.aws(&["elbv2", "describe-load-balancers"]).await?;
    let address = balancers["LoadBalancers"][0]["DNSName"].as_str();
    Ok(format!("http://{}", address.context("no load balancer")?))
}

/// People who write and read below the path.
pub async fn users(site: &str) -> anyhow::Result<load::Running> {
    let mut options = load::Options::new(format!("{site}{PATH}"));
    (options.clients, options.users) = (6, 3);
    (options.rate, options.get_rate) = (2.0, 8.0);
    Ok(load::start(options).await?)
}

/// Version id of what is in force.
pub async fn current(stage: &Stage, secret: &str) -> anyhow::Result<String> {
    let get = ["secretsmanager", "get-secret-value", "--secret-id", secret];
    let value = stage.aws(&get).await?;
    let id = value["VersionId"].as_str();
    id.map(str::to_owned).context("no version id")
}

/// Another text; gives its version id.
pub async fn put(stage: &Stage, secret: &str, text: &str) -> anyhow::Result<String> {
    let put = ["secretsmanager", "put-secret-value", "--secret-id", secret];
    let put = [&put[..], &["--secret-string", text]].concat();
    let version = stage.aws(&put).await?;
    let id = version["VersionId"].as_str();
    id.map(str::to_owned).context("no version id")
}

/// A control host that was restarted reads all secrets at once.
pub async fn again(stage: &Stage, mut serve: Program) -> anyhow::Result<Program> {
    serve.stop(Duration::from_secs(20)).await?;
    stage.orchestrator.serve().await
}

pub type Nodes = BTreeMap<String, (String, PathBuf)>;

/// The nodes with their addresses and folders.
pub async fn running(stage: &Stage) -> anyhow::Result<Nodes> {
    let running = "Name=instance-state-name,Values=running";
    let of = "Reservations[].Instances[].[InstanceId,PrivateIpAddress]";
    let find = ["ec2", "describe-instances", "--filters", running];
    let found = stage.aws(&[&find[..], &["--query", of]].concat()).await?;
    let pairs: Vec<(String, String)> = serde_json::from_value(found)?;
    ensure!(pairs.len() == 2, "{pairs:?}");
    let instances = stage.directory.path().join("lab/instances");
    let place = |id: &str| instances.join(id).join("root");
    let nodes = pairs.into_iter();
    Ok(nodes
        .map(|(id, address)| (id.clone(), (address, place(&id))))
        .collect())
}

/// Until both nodes serve and the stack waits for nothing.
pub async fn both_serve(stage: &Stage, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Value> {
    let ready = |status: &Value| {
        status["phase"] == "ready" && serving(status).len() == 2 && wanted(&texts(status))
    };
    let orchestrator = &stage.orchestrator;
    orchestrator.until("both nodes serve", SOON, ready).await
}

pub fn texts(status: &Value) -> String {
    let reasons = status["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    reasons.join("\n")
}
