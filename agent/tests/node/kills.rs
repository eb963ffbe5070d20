//! `kill -9` of the agent at every step of install, migration, activation and drain: what is current
//! is always whole, and the next start completes.
//!
//! The steps are the product's own list; each must have its case here, or this does not compile, and
//! each must be reached, or this fails. The agent that dies is this test binary: the library's own
//! `run` with an observer of its steps.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use fleet_proto::v1::{Database, Desired, Goal, Migration, MigrationRole, Phase};
use mattermost_agent::run::{Manager, run};
use mattermost_agent::steps::{self, Step};
use tokio::process::Command;

use crate::postgres::{PASSWORD, Postgres};
use crate::s3::Bucket;
use crate::scenario::Scenario;

const ROOT: &str = "MORTAL_AGENT_ROOT";
/// Below the root: the name of the step at which the agent dies, once.
const ORDER: &str = "die-at";

/// The agent that dies as it is told.
pub fn command(root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "kills::agent", "--ignored", "--nocapture"])
        .env(ROOT, root);
    command
}

#[test]
#[ignore = "the agent that the test below kills"]
fn agent() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    mattermost_agent::logging::install(log::LevelFilter::Debug);
    let order = Path::new(&root).join(ORDER);
    steps::observe(move |step| {
        if std::fs::read_to_string(&order).is_ok_and(|wanted| wanted == step.name()) {
            std::fs::remove_file(&order).unwrap();
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
    });
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run(root.into(), Manager::Child, Duration::from_secs(300)))
        .unwrap();
}

/// What is wanted of the node when the agent dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Another version.
    Upgrade,
    /// The version that runs, from another tarball.
    Replace,
    /// Another version, whose migration fails.
    Fail,
    /// To leave.
    Drain,
    /// To move what lies on the node to where it lasts: see `moving.rs`.
    Move,
}

/// Which step needs what.
fn case(step: Step) -> Case {
    match step {
        Step::LeftoversRemoved
        | Step::PartialMade
        | Step::FileWritten
        | Step::Unpacked
        | Step::Verified
        | Step::VersionAsked
        | Step::SharedMade
        | Step::SharedLinked
        | Step::Marked
        | Step::Synced
        | Step::Published
        | Step::PasswordWritten
        | Step::EnvironmentWritten
        | Step::LinkMade
        | Step::PreviousPointed
        | Step::CurrentPointed
        | Step::StartDue
        | Step::Restarted
        | Step::StartRecorded
        | Step::Ready
        | Step::FileStored
        | Step::Serving
        | Step::Retired
        | Step::Pruned
        | Step::DatabaseRootsWritten
        | Step::MigrationDue
        | Step::Migrated
        | Step::MigrationRecorded => Case::Upgrade,
        Step::MigrationFailed => Case::Fail,
        Step::Exchanged => Case::Replace,
        Step::Draining | Step::ConnectionsClosed | Step::Stopped => Case::Drain,
        Step::MoverDue
        | Step::MoverStarted
        | Step::ConfigurationMoved
        | Step::MoverStopped
        | Step::FileCopied
        | Step::FilesRecorded
        | Step::Moved => Case::Move,
    }
}

/// Steps of a move alone, in order.
pub fn steps_of_a_move() -> impl Iterator<Item = Step> {
    let all = Step::ALL.iter().copied();
    all.filter(|step| case(*step) == Case::Move)
}

/// Has the agent of this root die at a step, once.
pub fn order(root: &Path, step: Step) {
    let order = root.join(ORDER);
    // In one step: the agent must not read half of it.
    std::fs::write(order.with_extension("new"), step.name()).unwrap();
    std::fs::rename(order.with_extension("new"), &order).unwrap();
}

/// `current` names nothing, or a release that is complete.
fn assert_whole(node: &Scenario, when: &str) {
    let current = node.path("opt/mattermost/current");
    if !current.exists() {
        assert!(!current.is_symlink(), "{when}: `current` dangles");
        return;
    }
    for part in [
        "bin/mattermost",
        "i18n/en.json",
        "templates/mail.html",
        ".release.json",
        "config",
    ] {
        assert!(current.join(part).exists(), "{when}: `{part}` is missing");
    }
    // Nor is anything else in sight that is not.
    for release in std::fs::read_dir(node.path("opt/mattermost/releases")).unwrap() {
        let release = release.unwrap();
        let hidden = release.file_name().to_string_lossy().starts_with('.');
        let marked = release.path().join(".release.json").exists();
        let there = release.path().join("templates/mail.html").exists();
        assert!(hidden || (marked && there), "{when}: {release:?}");
    }
}

struct Lane {
    node: Scenario,
    database: Database,
    generation: u64,
    version: String,
    address: String,
    files: Bucket,
}

impl Lane {
    async fn new(number: usize, postgres: &Postgres) -> Self {
        let address = format!("127.77.4.{}", number + 1);
        let mut node = Scenario::before_boot(&address).await;
        node.mortal = true;
        node.start_agent();
        let name = format!("lane{number}");
        postgres
            .run("postgres", &format!("CREATE DATABASE {name} OWNER mmuser"))
            .await;
        let source = postgres
            .data_source()
            .replace("/mattermost?", &format!("/{name}?"));
        let shared = &node.orchestrator.shared;
        let key = "MM_SQLSETTINGS_DATASOURCE".to_owned();
        shared.secrets.lock().unwrap().insert(key, source);
        PASSWORD.clone_into(&mut shared.password.lock().unwrap());
        let database = Database {
            name,
            ..postgres.wanted()
        };
        let mut lane = Self {
            node,
            database,
            generation: 0,
            version: String::new(),
            address,
            files: Bucket::start().await,
        };
        // Two releases, so that the third has one to retire.
        for _ in 0..2 {
            lane.want(Case::Upgrade);
            lane.settled(Case::Upgrade, "before").await;
        }
        lane
    }

    fn want(&mut self, case: Case) {
        self.generation += 1;
        let generation = self.generation;
        if case == Case::Drain {
            return self.node.orchestrator.want(Desired {
                generation,
                goal: Goal::Drain.into(),
                ..Desired::default()
            });
        }
        if matches!(case, Case::Upgrade | Case::Fail) {
            self.version = format!("11.{generation}.0");
        }
        // The comment makes it another tarball, also of the same version.
        let mut program = crate::mattermost::script(&self.version) + &format!("# {generation}\n");
        if case == Case::Fail {
            program = crate::mattermost::crashing(&self.version);
        }
        let mut desired = self.node.release_of(generation, &self.version, &program);
        desired.database = Some(self.database.clone());
        desired.file_store = Some(self.files.wanted("chat/"));
        desired.migration = Some(Migration {
            role: MigrationRole::Migrate.into(),
            expected_applied: 0,
        });
        self.node.orchestrator.want(desired);
    }

    /// Until the agent has done all of it.
    async fn settled(&mut self, case: Case, when: &str) {
        let generation = self.generation;
        let phase = match case {
            Case::Fail => Phase::Failed,
            Case::Drain => Phase::Drained,
            Case::Upgrade | Case::Replace => Phase::Serving,
            Case::Move => Phase::Moved,
        };
        self.node
            .orchestrator
            .until(when, |report| {
                report.generation == generation && report.phase() == phase
            })
            .await;
    }

    async fn kill_at(&mut self, step: Step, case: Case) {
        let when = step.name();
        order(self.node.root.path(), step);
        self.want(case);
        self.node.agent_died(when).await;
        assert_eq!(
            self.files.keys().len(),
            usize::from(step == Step::FileStored),
            "{when}"
        );
        assert_whole(&self.node, when);
        self.node.start_agent();
        self.settled(case, when).await;
        assert_whole(&self.node, when);
        assert!(
            self.files.keys().is_empty(),
            "{when}: {:?}",
            self.files.keys()
        );
        let server = tokio::net::TcpStream::connect((self.address.as_str(), 8065)).await;
        if matches!(case, Case::Drain | Case::Fail) {
            assert!(
                case == Case::Fail || server.is_err(),
                "{when}: the server still listens"
            );
            // Back, for the next.
            self.want(Case::Upgrade);
            return self.settled(Case::Upgrade, "back").await;
        }
        let link = std::fs::read_link(self.node.path("opt/mattermost/current")).unwrap();
        assert_eq!(link, Path::new("releases").join(&self.version), "{when}");
    }
}

#[tokio::test]
async fn killed_at_every_step_the_next_start_completes() {
    let postgres = Postgres::start().await;
    postgres.provision().await;
    // Most of the time is waiting: three nodes at once.
    let lanes = (0..3).map(async |number| {
        let mut lane = Lane::new(number, &postgres).await;
        let mut killed = 0;
        let here = |step: &&Step| case(**step) != Case::Move;
        for step in Step::ALL.iter().filter(here).skip(number).step_by(3) {
            lane.kill_at(*step, case(*step)).await;
            killed += 1;
        }
        // What kills left behind goes with the next install, at the latest.
        lane.want(Case::Upgrade);
        lane.settled(Case::Upgrade, "afterwards").await;
        let hidden = || {
            std::fs::read_dir(lane.node.path("opt/mattermost/releases"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with('.'))
                .count()
        };
        // The last of them goes after `Serving` is said.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while hidden() > 0 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} trees are left",
                hidden()
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        killed
    });
    let killed: usize = futures_util::future::join_all(lanes).await.iter().sum();
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "kill matrix: {killed} moments, each completed by the next start"
    );
    assert_eq!(killed + steps_of_a_move().count(), Step::ALL.len());
}
