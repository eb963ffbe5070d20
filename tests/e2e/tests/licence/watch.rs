//! What each node was told and what its server says, written down whenever it changes: the node's environment
//! file on disk, and the server's own word of its licence, which needs no login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two looks at a node: much less than a restart takes.
const EVERY: Duration = Duration::from_millis(50);
/// A server may be slow on a busy machine; one that is not there refuses at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A value that an environment file may hold: its name here, and the text.
pub type Text = (&'static str, String);

/// What a server says of its licence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Says {
    /// It does not answer.
    #[default]
    Nothing,
    /// It runs without a licence.
    Unlicensed,
    /// It runs on the licence of this company.
    Licensed(String),
}

/// One node at one moment. Values are told by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Which licence its environment file holds.
    pub licence: Option<&'static str>,
    /// Which password.
    pub password: Option<&'static str>,
    /// Of its server.
    pub says: Says,
}

/// A node that was seen otherwise than before.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Which.
    pub node: String,
    /// How it is since.
    pub seen: Seen,
}

/// Looks at nodes until it is dropped.
pub struct Watch {
    changes: Arc<Mutex<Vec<Change>>>,
    _tasks: JoinSet<()>,
}

/// One node's places.
struct Place {
    node: String,
    environment: PathBuf,
    url: String,
    licences: Vec<Text>,
    passwords: Vec<Text>,
}

impl Watch {
    /// Of these nodes: by instance, the address of its server and its root directory.
    pub fn start(
        nodes: &BTreeMap<String, (String, PathBuf)>,
        path: &str,
        licences: &[Text],
        passwords: &[Text],
    ) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(PATIENCE)
            .build()?;
        let changes = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for (node, (address, root)) in nodes {
            let place = Place {
                node: node.clone(),
                environment: root.join("etc/mattermost/mattermost.env"),
                url: format!("http://{address}:8065{path}/api/v4/license/client?format=old"),
                licences: licences.to_vec(),
                passwords: passwords.to_vec(),
            };
            let (client, changes) = (client.clone(), Arc::clone(&changes));
            tasks.spawn(async move { follow(&place, &client, &changes).await });
        }
        Ok(Self {
            changes,
            _tasks: tasks,
        })
    }

    /// How many changes there were: where what comes next begins.
    pub fn mark(&self) -> usize {
        self.all().len()
    }

    /// How the nodes are now.
    pub fn now(&self) -> BTreeMap<String, Seen> {
        let all = self.all();
        let all = all.into_iter();
        all.map(|change| (change.node, change.seen)).collect()
    }

    /// The changes since a mark.
    pub fn since(&self, mark: usize) -> Vec<Change> {
        self.all().split_off(mark)
    }

    fn all(&self) -> Vec<Change> {
        let changes = self.changes.lock();
        changes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `wanted` holds of all nodes.
    pub async fn until(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        while !self.now().values().all(&wanted) {
            let last = self.all().split_off(self.mark().saturating_sub(12));
            ensure!(
                Instant::now() < until,
                "not within {within:?}: {what}; seen was {last:#?}"
            );
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Fails unless since `mark` the nodes were told one after the other, each next one only when `is_up` held
    /// of the one before, and the servers of the others never went away meanwhile. Gives the order.
    pub fn one_by_one(
        &self,
        before: &BTreeMap<String, Seen>,
        mark: usize,
        is_told: impl Fn(&Seen) -> bool,
        is_up: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<Vec<String>> {
        let mut now = before.clone();
        let mut order: Vec<String> = Vec::new();
        let changes = self.since(mark);
        for Change { node, seen, .. } in &changes {
            now.insert(node.clone(), seen.clone());
            if is_told(seen) && !order.contains(node) {
                if let Some(earlier) = order.last() {
                    ensure!(
                        is_up(&now[earlier]),
                        "{node} was told before {earlier} came up with it: {changes:#?}"
                    );
                }
                order.push(node.clone());
            }
            let down = now.values().filter(|seen| seen.says == Says::Nothing);
            ensure!(
                down.count() <= 1,
                "more than one server is away: {changes:#?}"
            );
        }
        ensure!(
            order.len() == before.len(),
            "not all were told, but {order:?}: {changes:#?}"
        );
        Ok(order)
    }
}

/// Writes down what changes at one node.
async fn follow(place: &Place, client: &reqwest::Client, changes: &Mutex<Vec<Change>>) {
    let mut before = None;
    loop {
        let environment = std::fs::read_to_string(&place.environment).unwrap_or_default();
        let holds = |setting: &str, values: &[Text]| {
            let line = environment
                .lines()
                .find(|line| line.starts_with(&format!("{setting}=")))?;
            let known = values.iter().find(|(_, text)| line.contains(text.as_str()));
            Some(known.map_or("another", |(name, _)| *name))
        };
        let seen = Seen {
            licence: holds("MM_LICENSE", &place.licences),
            password: holds("MM_EMAILSETTINGS_SMTPPASSWORD", &place.passwords),
            says: ask(client, &place.url).await.unwrap_or_default(),
        };
        if before.as_ref() != Some(&seen) {
            before = Some(seen.clone());
            let node = place.node.clone();
            let mut changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
            let at = Instant::now();
            changes.push(Change { at, node, seen });
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn ask(client: &reqwest::Client, url: &str) -> anyhow::Result<Says> {
    let answer = client.get(url).send().await?;
    let body = answer.error_for_status()?.bytes().await?;
    let said: Value = serde_json::from_slice(&body)?;
    Ok(
        match said["IsLicensed"].as_str().context("no `IsLicensed`")? {
            "true" => Says::Licensed(said["Company"].as_str().unwrap_or_default().to_owned()),
            "false" => Says::Unlicensed,
            other => bail!("`IsLicensed` is `{other}`"),
        },
    )
}
