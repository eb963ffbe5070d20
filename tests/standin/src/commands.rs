//! The command line of `mattermost`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::environment::Environment;
use crate::config::{Access, ConfigError, Configuration, is_database};
use crate::database::Database;
use crate::release::Manifest;
use crate::schema::{self, MigrateError, MigrateOptions, Plan};
use crate::server::{Pace, Server};
use crate::settings::{FileSettings, Settings};

/// Open source, self-hosted Slack-alternative (the stand-in).
#[derive(Debug, Parser)]
#[command(name = "mattermost", disable_version_flag = true)]
pub struct Cli {
    /// Configuration file or database to use; `MM_CONFIG` otherwise, `config/config.json` of the release by default
    #[arg(short, long, global = true)]
    config: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the Mattermost server
    Server,
    /// Display version information
    Version,
    /// Commands related to the database
    #[command(subcommand)]
    Db(DbCommand),
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Initialize the database: migrations, and the first configuration. `MM_CONFIG` must name a database
    Init,
    /// Migrate the database if there are any unapplied migrations
    Migrate(MigrateFlags),
    /// Downgrade the database with the given plan or migration numbers
    Downgrade(DowngradeFlags),
    /// Returns the recent applied version number
    Version {
        /// Returns all applied migrations
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct MigrateFlags {
    /// Undo what was applied when a migration fails
    #[arg(long)]
    auto_recover: bool,
    /// Save the plan that undoes the migration in the file store
    #[arg(long)]
    save_plan: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct DowngradeFlags {
    /// A plan file's name or path, or numbers as in `152,150`
    plan: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What a command needs to know about its place.
struct Place {
    tree: PathBuf,
    manifest: Manifest,
    config: Option<String>,
}

/// Runs the command line and says with which code to exit.
pub async fn run(cli: Cli) -> ExitCode {
    match act(cli).await {
        Ok(code) => code,
        Err(error) => {
            log::error!("{error:#}");
            let _ = writeln!(std::io::stderr().lock(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(cli: Cli) -> anyhow::Result<ExitCode> {
    let place = Place::find(cli.config)?;
    match cli.command {
        Some(Command::Version) => version(&place.manifest)?,
        None | Some(Command::Server) => server(place).await?,
        Some(Command::Db(DbCommand::Init)) => init(&place).await?,
        Some(Command::Db(DbCommand::Migrate(flags))) => migrate(&place, &flags).await?,
        Some(Command::Db(DbCommand::Downgrade(flags))) => downgrade(&place, &flags).await?,
        Some(Command::Db(DbCommand::Version { all })) => db_version(&place, all).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Place {
    /// The release tree is where the binary lies: `<tree>/bin/mattermost`.
    fn find(config: Option<String>) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("cannot tell where the binary lies")?;
        let tree = binary
            .parent()
            .and_then(Path::parent)
            .context("the binary does not lie in a release tree")?
            .to_owned();
        Ok(Self {
            manifest: Manifest::read(&tree)?,
            tree,
            config,
        })
    }

    /// What holds the configuration: the option, `MM_CONFIG`, or the file of the release.
    fn config_place(&self) -> String {
        let named = self
            .config
            .clone()
            .or_else(|| std::env::var("MM_CONFIG").ok())
            .filter(|named| !named.is_empty());
        place(&self.tree, named.as_deref().unwrap_or("config.json"))
    }

    async fn configuration(&self, access: Access) -> Result<Configuration, ConfigError> {
        let variables = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let environment = Environment::new(variables);
        let manifest = self.manifest.clone();
        Configuration::open(&self.config_place(), environment, manifest, access).await
    }

    /// For commands: nothing is written, but in a database the configuration's tables are made.
    async fn settings(&self) -> Result<Settings, ConfigError> {
        let config = self.configuration(Access::Read).await?;
        Ok(config.view().settings.clone())
    }
}

/// A configuration's place, the way the real server looks for it: a database or an absolute path as it
/// is; a relative path in `config` of the working directory, then of the release, then as it is.
pub(crate) fn place(tree: &Path, named: &str) -> String {
    if is_database(named) || Path::new(named).is_absolute() {
        return named.to_owned();
    }
    let candidates = [
        Path::new("config").join(named),
        tree.join("config").join(named),
        PathBuf::from(named),
    ];
    let found = candidates.iter().find(|path| path.is_file());
    found.unwrap_or(&candidates[1]).display().to_string()
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write to stdout")
}

fn version(manifest: &Manifest) -> anyhow::Result<()> {
    print(&format!(
        "Version: {}\nBuild Number: {}\nBuild Hash: {}\nBuild Enterprise Ready: true",
        manifest.reported(),
        manifest.build_number(),
        manifest.build_hash()
    ))
}

/// Until it serves, SIGTERM ends the process as it ends any other: by the signal.
async fn server(place: Place) -> anyhow::Result<()> {
    let config = place
        .configuration(Access::Write)
        .await
        .context("failed to load configuration")?;
    log::info!(
        "Current version is {} ({})",
        place.manifest.reported(),
        place.manifest.build_number()
    );
    let server = Server::start(place.manifest, config, place.tree, Pace::default()).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        log::error!("Failed to tell the service manager: {error}");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.stop().await;
    Ok(())
}

/// The only command that writes the first configuration into a database.
async fn init(place: &Place) -> anyhow::Result<()> {
    anyhow::ensure!(
        is_database(&place.config_place()),
        "this command should be run using a database configuration DSN"
    );
    let config = place
        .configuration(Access::Write)
        .await
        .context("failed to load configuration")?;
    let database = connect(&config.view().settings)?;
    schema::migrate(&database, &place.manifest, MigrateOptions::default()).await?;
    print("Database store correctly initialised")
}

fn connect(settings: &Settings) -> anyhow::Result<Database> {
    Database::new(
        &settings.dsn,
        settings.max_open_connections,
        settings.max_idle_connections,
    )
    .map_err(Into::into)
}

async fn migrate(place: &Place, flags: &MigrateFlags) -> anyhow::Result<()> {
    let settings = place.settings().await?;
    let options = MigrateOptions {
        auto_recover: flags.auto_recover,
        dry_run: flags.dry_run,
    };
    let outcome = schema::migrate(&connect(&settings)?, &place.manifest, options).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        // The real command swallows this one: whoever believes its exit code believes a lie.
        Err(error @ MigrateError::LostRace { .. }) => {
            log::error!("{error}");
            return print("Database successfully migrated");
        }
        Err(error) => return Err(error.into()),
    };
    if flags.dry_run {
        for migration in &outcome.applied {
            print(&format!("{:06}_{}", migration.number, migration.name))?;
        }
        return print("Database migration dry run completed");
    }
    if flags.save_plan {
        save_plan(place, &settings, &outcome.applied)?;
    }
    print("Database successfully migrated")
}

fn plan_folder(settings: &Settings) -> anyhow::Result<&Path> {
    match &settings.files {
        FileSettings::Local(directory) => Ok(directory),
        FileSettings::S3(_) => anyhow::bail!(
            "the stand-in stores plans in a local file store only (`FileSettings.DriverName` is `amazons3`)"
        ),
    }
}

fn save_plan(
    place: &Place,
    settings: &Settings,
    applied: &[schema::Migration],
) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (applied.first(), applied.last()) else {
        return print("No migrations to apply: no plan was saved");
    };
    let folder = plan_folder(settings)?;
    let path = folder.join(format!(
        "migration_plan_{}_{}.json",
        first.number, last.number
    ));
    let plan = serde_json::to_vec_pretty(&Plan::undo(&place.manifest, applied))?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, plan))
        .with_context(|| format!("cannot save the plan `{}`", path.display()))?;
    print(&format!("Migration plan saved as {}", path.display()))
}

async fn downgrade(place: &Place, flags: &DowngradeFlags) -> anyhow::Result<()> {
    let settings = place.settings().await?;
    let mut folders = vec![Path::new("")];
    if let FileSettings::Local(directory) = &settings.files {
        folders.push(directory);
    }
    let steps = schema::select(&flags.plan, &folders, &place.manifest)?;
    if flags.dry_run {
        for step in &steps {
            print(&format!("{:06}_{}", step.number, step.name))?;
        }
        return print("Database downgrade dry run completed");
    }
    let database = connect(&settings)?;
    let mut connection = database.connection().await?;
    schema::downgrade(&mut connection, &steps).await?;
    print("Database successfully downgraded")
}

/// As the real command: it migrates first, and only then reads.
async fn db_version(place: &Place, all: bool) -> anyhow::Result<()> {
    let settings = place.settings().await?;
    let database = connect(&settings)?;
    schema::migrate(&database, &place.manifest, MigrateOptions::default()).await?;
    let applied = schema::applied(&*database.connection().await?)
        .await
        .context("cannot read `db_migrations`")?;
    if all {
        for (number, name) in &applied {
            print(&format!("Version: {number}, Name: {name}"))?;
        }
        return Ok(());
    }
    let last = applied.last().map_or(0, |(number, _)| *number);
    print(&format!("Current database version: {last}"))
}
