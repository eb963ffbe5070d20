//! The command line. Data goes to stdout, talk to stderr; exit codes are part of the interface.

mod ca;
mod client;
mod doctor;
mod down;
mod follow;
mod image;
mod init;
mod named_secrets;
mod nodes;
mod output;
mod plan_verb;
mod policy;
mod rollout;
mod serve;
mod status_verb;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use plan::Spec;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// What a command ended with: the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something failed.
    Failed = 1,
    /// Usage, or a bad file.
    Usage = 2,
    /// Refused by a gate; nothing was changed.
    Refused = 3,
    /// Rolled back.
    RolledBack = 4,
    /// A person is needed.
    Stuck = 5,
    /// Interrupted; the work goes on.
    Interrupted = 130,
}

/// Mattermost, highly available on AWS: database, load balancer, fleet, images and rollouts.
///
/// Exit codes: 0 done, 1 failed, 2 usage or a bad file, 3 refused by a gate, 4 rolled back, 5 stuck (a
/// person is needed), 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "orchestrator", version, max_term_width = 100)]
pub struct Cli {
    /// The specification of the stack
    #[arg(
        long,
        short = 'f',
        global = true,
        env = "MATTERMOST_SPEC",
        default_value = "mattermost.toml"
    )]
    pub spec: PathBuf,
    /// Text for people, JSON for programs
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// Folder of the operators' socket and the host's lock
    #[arg(long, global = true, env = "RUNTIME_DIRECTORY", default_value_os_t = default_runtime())]
    pub runtime_dir: PathBuf,
    /// More of the log on stderr; twice for libraries too
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented specification to begin with
    Init(init::Args),
    /// Check credentials, permissions, network and specification before anything is touched
    Doctor,
    /// Show what `up` would create, change and delete; changes nothing
    Plan,
    /// Create or mend the stack until it is as specified
    Up(up::Args),
    /// Run the orchestrator: watch the stack, serve nodes and operators
    Serve(serve::Args),
    /// Bring a new Mattermost version or image into service, blue/green
    Rollout(rollout::Args),
    /// Bring what lives on the nodes of an older stack to where it lasts: files to the bucket, settings to the database
    Move(rollout::MoveArgs),
    /// What the stack is, and the one thing that it waits for
    Status(status_verb::Args),
    /// Every node: where it is, what it runs, why it failed
    Nodes,
    /// The stack's images in every region
    Image(image::Args),
    /// The fleet's certificate authority: which one signs, and its rotation
    Ca(ca::Args),
    /// The least that orchestrator and nodes need from IAM, as policies
    IamPolicy(policy::Args),
    /// Remove the stack; the database stays unless asked
    Down(down::Args),
}

fn default_runtime() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || PathBuf::from("/run/mattermost-orchestrator"),
        |base| PathBuf::from(base).join("mattermost-orchestrator"),
    )
}

/// The databases' passwords and the CA's key are in this process: no core file, and no other user's
/// debugger.
fn keep_memory_private() -> rustix::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return ExitCode::from(code as u8);
        }
    };
    let following = matches!(
        cli.command,
        Command::Up(_) | Command::Down(_) | Command::Rollout(_) | Command::Move(_)
    );
    crate::logging::start(cli.verbose, following);
    if let Err(error) = keep_memory_private() {
        log::warn!("a core file could show secrets: {error}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&anyhow::Error::new(error).context("starting the runtime"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(&cli));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            let exit = error
                .downcast_ref::<BadFile>()
                .map_or(Exit::Failed, |_| Exit::Usage);
            output::error(&error);
            ExitCode::from(exit as u8)
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Init(args) => init::run(cli, args),
        Command::Doctor => Box::pin(doctor::run(cli)).await,
        Command::Plan => plan_verb::run(cli).await,
        Command::Up(args) => Box::pin(up::run(cli, args)).await,
        Command::Serve(args) => serve::run(cli, args).await,
        Command::Rollout(args) => rollout::run(cli, args).await,
        Command::Move(args) => rollout::moves(cli, args).await,
        Command::Status(args) => status_verb::run(cli, args).await,
        Command::Nodes => nodes::run(cli).await,
        Command::Image(args) => image::run(cli, args).await,
        Command::Ca(args) => ca::run(cli, args).await,
        Command::IamPolicy(args) => policy::run(cli, args).await,
        Command::Down(args) => Box::pin(down::run(cli, args)).await,
    }
}

/// The specification is not usable: exit code 2.
#[derive(Debug)]
pub struct BadFile(String);

impl std::fmt::Display for BadFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadFile {}

impl Cli {
    /// Reads the specification.
    pub fn load(&self) -> anyhow::Result<Spec> {
        let name = self.spec.display().to_string();
        let text = std::fs::read_to_string(&self.spec).map_err(|error| {
            BadFile(format!("reading `{name}`: {error}\nhint: `orchestrator init` writes one; --spec names another"))
        })?;
        Spec::parse(&text, &name).map_err(|error| anyhow::Error::new(BadFile(error.to_string())))
    }

    /// Whether programs read the output.
    pub fn json(&self) -> bool {
        self.output == Format::Json
    }

    /// A client of the running orchestrator.
    pub async fn client(&self, spec: &Spec) -> anyhow::Result<client::Client> {
        let socket = crate::host::socket(&self.runtime_dir, &spec.stack);
        client::connect(&socket).await.with_context(|| {
            format!(
                "no orchestrator answers on `{}`\nhint: `orchestrator serve` runs one; --runtime-dir (or RUNTIME_DIRECTORY) says where its socket is",
                socket.display()
            )
        })
    }
}

/// Who asks: for the record.
pub fn operator() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "unknown".to_owned())
}
