//! `load run` and `load chat-probe`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use load::{
    FileOptions, LastingOptions, Options, Plugin, ProbeOptions, Running, chat_probe, start,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// Load generator and chat probe for a Mattermost server
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 clean, 1 failures or losses, 2 usage, 3 could not start"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Holds chat clients, posts and gets, until the duration is over or SIGINT
    Run(Box<Run>),
    /// Posts on one node and waits for it on the other, both ways
    ChatProbe(Probe),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Args)]
struct Account {
    /// The administrator; made when the server is empty
    #[arg(long, default_value = Options::ADMIN)]
    admin: String,
    /// Authorities to trust for `https`, PEM
    #[arg(long)]
    ca: Option<PathBuf>,
    /// `text` for people, `json` for programs
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
struct Run {
    /// The load balancer, `http://host:port`
    #[arg(long)]
    url: String,
    /// WebSocket clients
    #[arg(long, default_value_t = 20)]
    clients: usize,
    /// Users they belong to; a tenth of the clients, at least 2, at most 50, by default
    #[arg(long)]
    users: Option<usize>,
    /// Posts a second
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// GET requests a second; as many as posts by default
    #[arg(long)]
    get_rate: Option<f64>,
    /// How long to send, as in `30s` or `5m`; until SIGINT by default
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Where to compare in the end, `postgres://…`; rather set `LOAD_DATABASE_URL`, which no process list shows
    #[arg(long, env = "LOAD_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Later than this a message is late
    #[arg(long, value_parser = duration, default_value = "5s")]
    late_after: Duration,
    /// How long the last messages have to arrive
    #[arg(long, value_parser = duration, default_value = "20s")]
    settle: Duration,
    /// Prints a JSON line `{"progress":{…}}` to stdout this often
    #[arg(long, value_parser = duration, num_args = 0..=1, default_missing_value = "1s")]
    progress: Option<Duration>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    lasting: Lasting,
    #[command(flatten)]
    account: Account,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
struct Files {
    /// Uploads and reads no files
    #[arg(long = "no-files")]
    none: bool,
    /// Files uploaded a second, some hundred bytes to 1 MB, one in 25 of 6 MiB
    #[arg(long, default_value_t = FileOptions::default().rate)]
    file_rate: f64,
    /// Earlier files read a second, any of them, and compared
    #[arg(long, default_value_t = FileOptions::default().read_rate)]
    file_read_rate: f64,
    /// With so many files there, no more are uploaded, only read
    #[arg(long, default_value_t = FileOptions::default().limit)]
    file_limit: usize,
}

impl Files {
    fn options(&self) -> Option<FileOptions> {
        (!self.none).then(|| FileOptions {
            rate: self.file_rate,
            read_rate: self.file_read_rate,
            limit: self.file_limit,
            ..FileOptions::default()
        })
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What an administrator makes, checked at the start and in the end")]
struct Lasting {
    /// Leaves `SiteName` of the System Console as it is
    #[arg(long)]
    no_settings: bool,
    /// Makes no public link; with one the server needs `FileSettings.EnablePublicLink`
    #[arg(long)]
    no_link: bool,
    /// Installs the plugin in this bundle; the server needs `PluginSettings.EnableUploads`
    #[arg(long, value_name = "BUNDLE")]
    plugin: Option<PathBuf>,
    /// Installs the smallest plugin that this Mattermost tarball carries
    #[arg(long, value_name = "TARBALL", conflicts_with = "plugin")]
    plugin_from: Option<PathBuf>,
}

impl Lasting {
    fn options(self) -> Option<LastingOptions> {
        let plugin = self.plugin.map(Plugin::Bundle);
        let plugin = plugin.or_else(|| self.plugin_from.map(Plugin::Release));
        let options = LastingOptions {
            settings: !self.no_settings,
            link: !self.no_link,
            plugin: plugin.unwrap_or_default(),
            ..LastingOptions::default()
        };
        let is_wanted = options.settings || options.link || options.plugin != Plugin::None;
        is_wanted.then_some(options)
    }
}

#[derive(Debug, Args)]
struct Probe {
    /// One node
    #[arg(long)]
    from: String,
    /// The other
    #[arg(long)]
    to: String,
    /// How long a message may take
    #[arg(long, value_parser = duration, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    account: Account,
}

/// `250ms`, `30s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = split.map_or((text, "s"), |at| text.split_at(at));
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "`{unit}` is not a unit: wanted is `ms`, `s`, `m` or `h`"
            ));
        }
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * factor).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            format!(
                "`{text}` is not a duration: wanted is a number above 0 and a unit, as in `30s`"
            )
        })
}

/// The administrator's password, from the environment: no process list shows it.
fn password() -> String {
    std::env::var("LOAD_ADMIN_PASSWORD").unwrap_or_else(|_| Options::PASSWORD.to_owned())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("cannot write to stdout")
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(flags) => run(*flags).await,
        Command::ChatProbe(flags) => probe(flags).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::from(3)
        }
    }
}

async fn run(flags: Run) -> anyhow::Result<bool> {
    let options = Options {
        ca: flags.account.ca,
        clients: flags.clients,
        users: flags.users.unwrap_or((flags.clients / 10).clamp(2, 50)),
        rate: flags.rate,
        get_rate: flags.get_rate.unwrap_or(flags.rate),
        admin: flags.account.admin,
        password: password(),
        database_url: flags.database_url,
        late_after: flags.late_after,
        settle: flags.settle,
        files: flags.files.options(),
        lasting: flags.lasting.options(),
        ..Options::new(flags.url)
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let running = tokio::select! {
        running = start(options) => running?,
        _ = interrupt.recv() => anyhow::bail!("interrupted before it started"),
        _ = terminate.recv() => anyhow::bail!("terminated before it started"),
    };
    tokio::select! {
        () = progress(&running, flags.progress) => {}
        () = over(flags.duration) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let report = running.finish().await;
    match flags.account.output {
        Output::Json => print(&serde_json::to_string(&report)?)?,
        Output::Text => print(report.to_string().trim_end())?,
    }
    Ok(report.is_clean())
}

async fn over(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Prints how it stands, for ever; a reader who went away ends nothing.
async fn progress(running: &Running, every: Option<Duration>) {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let _ = print(&json!({ "progress": running.snapshot() }).to_string());
    }
}

async fn probe(flags: Probe) -> anyhow::Result<bool> {
    let options = ProbeOptions {
        ca: flags.account.ca,
        admin: flags.account.admin,
        password: password(),
        timeout: flags.timeout,
    };
    let report = chat_probe(&flags.from, &flags.to, &options).await?;
    match flags.account.output {
        Output::Json => print(&serde_json::to_string(&report)?)?,
        Output::Text => {
            for way in &report.directions {
                let outcome = match (&way.error, way.latency_ms) {
                    (Some(error), _) => error.clone(),
                    (None, Some(latency)) => format!("arrived after {latency:.1} ms"),
                    (None, None) if way.found_by_since => {
                        "did not arrive, but is in the database: the nodes share no cluster"
                            .to_owned()
                    }
                    (None, None) => "did not arrive, and is not in the database".to_owned(),
                };
                print(&format!("{} -> {}: {outcome}", way.from, way.to))?;
            }
        }
    }
    Ok(report.ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, seconds) in [
            ("30s", 30.0),
            ("250ms", 0.25),
            ("5m", 300.0),
            ("1h", 3600.0),
            ("1.5", 1.5),
        ] {
            let parsed = duration(text).unwrap().as_secs_f64();
            assert!((parsed - seconds).abs() < 1e-9, "{text}");
        }
        for text in ["", "s", "0s", "-1s", "5d", "NaNs", "1e300h"] {
            assert!(duration(text).is_err(), "`{text}`");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
