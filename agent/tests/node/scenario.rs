//! One node with everything around it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use fleet_proto::tls::Pin;
use fleet_proto::v1::{Artefact, Desired, Goal, Verification};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::imds::Imds;
use crate::mattermost;
use crate::orchestrator::{Ca, Orchestrator, STACK};
use crate::releases::{Releases, sha256, tarball};

pub const INSTANCE: &str = "i-0123456789abcdef0";

pub struct Scenario {
    pub root: TempDir,
    pub orchestrator: Orchestrator,
    pub releases: Releases,
    pub imds: Imds,
    agent: Option<Child>,
    /// What the agent is started with besides.
    pub arguments: Vec<&'static str>,
    /// And its environment.
    pub environment: Vec<(&'static str, String)>,
    /// This binary instead of the agent's own: it can kill itself (see `kills.rs`).
    pub mortal: bool,
}

impl Scenario {
    /// `address` is the node's own: each test has another one, because the port is fixed.
    pub async fn new(address: &str) -> Self {
        let mut scenario = Self::before_boot(address).await;
        scenario.start_agent();
        scenario
    }

    /// Everything but the agent.
    pub async fn before_boot(address: &str) -> Self {
        let ca = Arc::new(Ca::new());
        let orchestrator = Orchestrator::start(Arc::clone(&ca), INSTANCE).await;
        let user_data = format!(
            r#"{{"version":1,"stack":"{STACK}","orchestrators":["{}"],"ca_sha256":"{}"}}"#,
            orchestrator.address,
            Pin::of(ca.0.der())
        );
        Self {
            root: tempfile::tempdir().unwrap(),
            orchestrator,
            releases: Releases::start().await,
            imds: Imds::start(INSTANCE, address, user_data).await,
            agent: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            mortal: false,
        }
    }

    pub fn start_agent(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.path().join("agent.log"))
            .unwrap();
        let mut command = if self.mortal {
            crate::kills::command(self.root.path())
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mattermost-agent"));
            command
                .args(["--service-manager", "child", "--log-level", "debug"])
                .arg("--root")
                .arg(self.root.path())
                .args(&self.arguments);
            command
        };
        let child = command
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.imds.endpoint)
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.agent.as_ref().and_then(Child::id).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), signal)
            .unwrap();
    }

    /// SIGTERM, and gone.
    pub async fn stop_agent(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let mut agent = self.agent.take().unwrap();
        assert!(agent.wait().await.unwrap().success(), "{}", self.log());
    }

    /// Until it died of what it did to itself.
    pub async fn agent_died(&mut self, why: &str) {
        let mut agent = self.agent.take().unwrap();
        let wait = tokio::time::timeout(std::time::Duration::from_secs(60), agent.wait());
        let status = wait.await.unwrap_or_else(|_| {
            panic!("`{why}` was not reached: {}", self.log());
        });
        let signal = std::os::unix::process::ExitStatusExt::signal(&status.unwrap());
        assert_eq!(signal, Some(9), "{why}: {}", self.log());
    }

    /// SIGKILL: the server stays behind.
    pub async fn kill_agent(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.agent.take().unwrap().wait().await.unwrap();
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// Publishes a good release and describes how to serve it.
    pub fn release(&self, generation: u64, version: &str) -> Desired {
        self.release_of(generation, version, &mattermost::script(version))
    }

    pub fn release_of(&self, generation: u64, version: &str, program: &str) -> Desired {
        self.release_packed(generation, version, tarball(program))
    }

    /// Of a tarball that was made elsewhere.
    pub fn release_packed(&self, generation: u64, version: &str, bytes: Vec<u8>) -> Desired {
        let digest = sha256(&bytes);
        self.releases.publish(bytes);
        Desired {
            generation,
            goal: Goal::Serve.into(),
            artefact: Some(Artefact {
                version: version.to_owned(),
                url: self.releases.url.clone(),
                sha256: digest.clone(),
                max_bytes: 256 << 20,
                max_files: 100,
                trust_pem: self.releases.trust_pem.clone(),
                ..Artefact::default()
            }),
            configuration_digest: digest,
            verification: Some(Verification {
                consecutive: 2,
                interval_ms: 50,
                start_timeout_s: 20,
            }),
            ..Desired::default()
        }
    }
}

impl Drop for Scenario {
    /// The agent first, so that nothing starts the server again; then what it left.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if let Some(agent) = &mut self.agent {
            let _ = agent.start_kill();
        }
        let pid = std::fs::read_to_string(self.path("run/mattermost/server.pid"))
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}
