//! The lab as a program: `lab run` until SIGINT or SIGTERM.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use lab::runtime::{self, ExecInstance, ExecMachine, exec_instance, exec_machine};
use lab::{Config, Lab};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// An AWS region on one machine, with real instances in it
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a lab until SIGINT or SIGTERM; prints one JSON line when it is ready
    Run(Run),
    /// Run an instance's program below this process, and end everything below it with the lab
    #[command(hide = true)]
    ExecInstance {
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Boot an instance's system below this process, and end all of it with the lab
    #[command(hide = true)]
    ExecMachine(ExecMachine),
}

/// What instances run on
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Runtime {
    /// The agent as a process on loopback; needs nothing
    Process,
    /// A booted system in a container with a network of its own; needs root
    Machine,
}

#[derive(Debug, Args)]
struct Run {
    /// Where everything lives: instance roots, database clusters, logs; made if absent
    #[arg(long)]
    directory: PathBuf,
    /// The API endpoint [default: 127.0.0.1:4566; with machines 10.N.0.2:4566, which they can reach]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// What instances run on
    #[arg(long, value_enum, default_value_t = Runtime::Process)]
    runtime: Runtime,
    /// Lab seconds per real second
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// For ids, and for what RDS chooses by itself
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Second octet of the first region's addresses (127.N.0.0/16, with machines 10.N.0.0/16), the
    /// next region's is N + 1; two labs on one machine need different ones
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=250))]
    octet: u8,
    /// Never refuse a call for AWS's token buckets
    #[arg(long)]
    no_throttling: bool,
    /// A base image, registered in the first region: its name and the directory with its files
    #[arg(long = "image", value_name = "NAME=TREE", value_parser = parse_image)]
    images: Vec<(String, PathBuf)>,
    /// An instance profile to begin with, with a role of the same name
    #[arg(long = "instance-profile", value_name = "NAME")]
    profiles: Vec<String>,
}

fn parse_image(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, tree)) if !name.is_empty() && !tree.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(tree)))
        }
        _ => Err("expected NAME=TREE, for example base=/srv/images/base".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_log();
    let result = match arguments.command {
        Command::Run(run) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(run_lab(run)))
            .map(|()| ExitCode::SUCCESS),
        Command::ExecInstance { command } => launch(exec_instance(ExecInstance { command })),
        Command::ExecMachine(exec) => launch(exec_machine(exec)),
    };
    result.unwrap_or_else(|error| {
        log::error!("{error:#}");
        ExitCode::FAILURE
    })
}

fn launch(launcher: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<ExitCode> {
    // One thread: the kernel ties a child to the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(launcher).map(ExitCode::from)
}

async fn run_lab(run: Run) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut config = Config::new(
        std::path::absolute(&run.directory)
            .with_context(|| format!("directory `{}`", run.directory.display()))?,
    );
    config.runtime = match run.runtime {
        Runtime::Process => runtime::Kind::Process,
        Runtime::Machine => runtime::Kind::Machine,
    };
    config.listen = run.listen.unwrap_or_else(|| match run.runtime {
        Runtime::Process => SocketAddr::from(([127, 0, 0, 1], 4566)),
        Runtime::Machine => SocketAddr::from(([10, run.octet, 0, 2], 4566)),
    });
    let listen = config.listen;
    config.speed = run.speed;
    config.seed = run.seed;
    config.throttling = !run.no_throttling;
    for (index, region) in config.regions.iter_mut().enumerate() {
        region.octet = run.octet + index as u8;
    }
    config.launcher = Some(std::env::current_exe().context("the path of this program")?);
    let (lab, address) = Lab::start(config)
        .await
        .with_context(|| format!("the lab cannot start at {listen}"))?;
    let ready = ready(&lab, address, &run).await;
    let result = match ready {
        Ok(line) => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}")
                .and_then(|()| out.flush())
                .context("standard output")
        }
        Err(error) => Err(error),
    };
    if result.is_ok() {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        log::info!("the lab ends");
    }
    lab.stop().await;
    result
}

/// Seeds what the flags ask for; gives the line that says how to reach the lab.
async fn ready(
    lab: &std::sync::Arc<Lab>,
    address: SocketAddr,
    run: &Run,
) -> anyhow::Result<serde_json::Value> {
    let region = lab
        .config
        .regions
        .first()
        .map(|region| region.name.clone())
        .context("the lab has no region")?;
    let mut images = serde_json::Map::new();
    for (name, tree) in &run.images {
        let id = lab::ec2::register_image(lab, &region, name, Some(tree), Vec::new())
            .await
            .with_context(|| format!("image `{name}`"))?;
        images.insert(name.clone(), json!(id));
    }
    for profile in &run.profiles {
        lab::iam_api::seed_profile(lab, profile);
    }
    Ok(json!({
        "endpoint": format!("http://{address}"),
        "ca": lab.ca.path(),
        "regions": lab.config.regions.iter().map(|region| &region.name).collect::<Vec<_>>(),
        // The lab's operator is the same everywhere and guards nothing: no secret.
        "access_key_id": OPERATOR_KEY,
        "secret_access_key": OPERATOR_SECRET,
        "images": images,
    }))
}

/// Lines on standard error; the level comes from LAB_LOG (error, warn, info, debug, trace).
struct StderrLog;

impl log::Log for StderrLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // The S3 wire's crate calls every refusal an error of its own; the lab says what matters of them.
        metadata.target().starts_with("lab")
            || (metadata.level() <= log::Level::Warn && !metadata.target().starts_with("s3s"))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{:<5} {}", record.level(), record.args());
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }

    fn flush(&self) {}
}

fn init_log() {
    let level = std::env::var("LAB_LOG")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(log::LevelFilter::Info);
    // Fails only when a logger is set already, and this is the first.
    if log::set_boxed_logger(Box::new(StderrLog)).is_ok() {
        log::set_max_level(level);
    }
}
