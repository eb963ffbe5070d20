//! The lab: how fast it is ready, how many describe calls one core answers, what it holds in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::processes::Program;
use serde_json::Value;
use tokio::process::Command;

use super::proc::{cpu_seconds, memory_mb};
use super::table::{Table, median, progress};

/// Starts of the lab; the middle one counts.
const STARTS: usize = 5;
/// Instances that a describe call answers.
const INSTANCES: usize = 50;
/// How long calls are made.
const CALLS_FOR: Duration = Duration::from_secs(5);
/// Promises of the lab (docs/lab.md): seconds to ready, calls a second on one core, MB.
const PROMISED: (f64, f64, f64) = (2.0, 1000.0, 100.0);
/// Second octet of its addresses: away from the demo's and the tests'.
const OCTET: &str = "60";

/// A program that starts and waits, as the instances' agent.
const IDLE_AGENT: &str = "#!/bin/sh\nexec sleep 86400\n";

pub async fn measure(bin: &Path, table: &mut Table) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("image");
    let agent = image.join("usr/bin/mattermost-agent");
    std::fs::create_dir_all(agent.parent().context("it has one")?)?;
    std::fs::write(&agent, IDLE_AGENT)?;
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755))?;

    let mut starts = Vec::new();
    for number in 0..STARTS {
        let folder = directory.path().join(format!("start-{number}"));
        let began = Instant::now();
        let (mut lab, _) = start(bin, &folder, &image, false).await?;
        starts.push(began.elapsed().as_secs_f64());
        lab.stop(Duration::from_secs(20)).await?;
    }
    table.compare(
        "lab: spawned to ready (no Postgres)",
        "s",
        median(starts),
        ("promised <", PROMISED.0),
    );

    let pinned = Command::new("taskset").arg("--version").output().await;
    let pinned = pinned.is_ok_and(|output| output.status.success());
    if !pinned {
        table.note("`taskset` is missing: the lab was not held to one core");
    }
    let (mut lab, ready) = start(bin, &directory.path().join("calls"), &image, pinned).await?;
    let result = calls(&lab, &ready, pinned, table).await;
    lab.stop(Duration::from_secs(30)).await?;
    result
}

async fn start(
    bin: &Path,
    directory: &Path,
    image: &Path,
    pinned: bool,
) -> anyhow::Result<(Program, Value)> {
    let lab = bin.join("../release/lab");
    ensure!(
        lab.exists(),
        "`{}` is missing; hint: `cargo build --release -p lab`",
        lab.display()
    );
    let mut command = if pinned {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(lab);
        command
    } else {
        Command::new(lab)
    };
    command
        .args(["run", "--listen", "127.0.0.1:0", "--octet", OCTET])
        // Instances run within a second, not within a minute.
        .args(["--speed", "60", "--directory"])
        .arg(directory)
        .arg("--image")
        .arg(format!("bench={}", image.display()))
        .env("LAB_LOG", "warn");
    let log = directory.with_extension("log");
    let mut program = Program::start("lab", &command, &log)?;
    let line = program.first_line(Duration::from_secs(60)).await?;
    Ok((program, serde_json::from_str(&line)?))
}

async fn calls(
    lab: &Program,
    ready: &Value,
    pinned: bool,
    table: &mut Table,
) -> anyhow::Result<()> {
    let pid = lab.pid().context("the lab ended")?;
    let client = Client::new(ready)?;
    let image = ready["images"]["bench"].as_str().context("no image")?;
    let count = INSTANCES.to_string();
    client
        .call(&[
            ("Action", "RunInstances"),
            ("ImageId", image),
            ("InstanceType", "t3.micro"),
            ("MinCount", &count),
            ("MaxCount", &count),
        ])
        .await?;
    progress("lab: waiting for 50 running instances");
    let describe = [("Action", "DescribeInstances")];
    let until = Instant::now() + Duration::from_secs(120);
    while running(&client.call(&describe).await?) < INSTANCES {
        ensure!(
            Instant::now() < until,
            "50 instances do not run within 120 s"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let request = client.signed(&describe);
    for _ in 0..20 {
        client.send(&request).await?;
    }
    let (began, cpu) = (Instant::now(), cpu_seconds(pid)?);
    let mut answered = 0_u32;
    let mut bytes = 0;
    while began.elapsed() < CALLS_FOR {
        bytes = client.send(&request).await?.len();
        answered += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds(pid)? - cpu;
    let place = if pinned { "one core" } else { "any core" };
    table.compare(
        &format!("lab: DescribeInstances of 50, one connection, {place}"),
        "calls/s",
        f64::from(answered) / seconds,
        ("promised >=", PROMISED.1),
    );
    if cpu > 0.0 {
        table.compare(
            "lab: the same by the lab's own CPU time",
            "calls/CPU s",
            f64::from(answered) / cpu,
            ("promised >=", PROMISED.1),
        );
    }
    table.note(format!(
        "one DescribeInstances answer has {:.0} kB; the client signs once and waits for each answer",
        bytes as f64 / 1000.0
    ));
    table.compare(
        "lab: resident memory with 50 instances, without them",
        "MB",
        memory_mb(pid, "VmRSS")?,
        ("promised <", PROMISED.2),
    );
    Ok(())
}

fn running(answer: &str) -> usize {
    answer.matches("<name>running</name>").count()
}

/// One keep-alive connection to the lab.
struct Client {
    http: reqwest::Client,
    endpoint: String,
    host: String,
    key: (String, String),
}

/// A signed request; SigV4 lets it be sent again for minutes.
struct Signed {
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Client {
    fn new(ready: &Value) -> anyhow::Result<Self> {
        let text = |key: &str| {
            let text = ready[key].as_str().map(str::to_owned);
            text.with_context(|| format!("the lab did not say `{key}`"))
        };
        let endpoint = text("endpoint")?;
        let host = endpoint.trim_start_matches("http://").to_owned();
        Ok(Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(1)
                .tcp_nodelay(true)
                .build()?,
            endpoint,
            host,
            key: (text("access_key_id")?, text("secret_access_key")?),
        })
    }

    fn signed(&self, pairs: &[(&str, &str)]) -> Signed {
        // Every value here is plain: letters, digits, `-` and `.`.
        let mut body = "Version=2016-11-15".to_owned();
        for (name, value) in pairs {
            for part in ["&", name, "=", value] {
                body.push_str(part);
            }
        }
        let headers = ::lab::api::sign_for_tests(
            (&self.key.0, &self.key.1),
            ("us-east-1", "ec2"),
            &self.host,
            &body,
            ::lab::Clock::new(1.0).now(),
        );
        Signed { headers, body }
    }

    async fn send(&self, signed: &Signed) -> anyhow::Result<String> {
        let mut request = self
            .http
            .post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in &signed.headers {
            request = request.header(*name, value);
        }
        let answer = request.body(signed.body.clone()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "the lab answered {status}: {text}");
        Ok(text)
    }

    async fn call(&self, pairs: &[(&str, &str)]) -> anyhow::Result<String> {
        self.send(&self.signed(pairs)).await
    }
}
