//! `rollout`: ask for one, follow it, steer it. The running orchestrator does the work.

use std::fmt::Write as _;
use std::io::IsTerminal;

use clap::{Args as ClapArgs, Subcommand};
use fleet_proto::v1;
use serde_json::{Value, json};

use super::client::Client;
use super::{Cli, Exit, follow, output};

/// Flags of `rollout`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    start: Start,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask for a rollout and follow it to its end (the default). Without version and image it brings what the specification says now of instances and settings
    Start(Start),
    /// Where a rollout stands
    Status(Which),
    /// Why it waits: the unmet gate with its numbers and its deadline
    Explain(Which),
    /// Follow a rollout to its end
    Follow(Which),
    /// Times of every phase and what was waited for
    Report(Which),
    /// Hold before the next phase
    Pause(Which),
    /// Go on after a pause
    Resume(Which),
    /// End the bake now
    Promote(Which),
    /// Turn back: traffic to blue, green removed
    Abort(Which),
}

#[derive(Debug, ClapArgs)]
struct Start {
    /// Mattermost version to go to, for example 11.10.0
    #[arg(long)]
    mattermost: Option<String>,
    /// SHA-256 of its tarball, when the specification does not know it
    #[arg(long, requires = "mattermost")]
    sha256: Option<String>,
    /// Where the tarball lies, when not in Mattermost's archive
    #[arg(long, requires = "mattermost")]
    url: Option<String>,
    /// AMI to go to, in the home region
    #[arg(long)]
    image: Option<String>,
    /// Users' files were copied to where `[files]` says now that they live
    #[arg(long)]
    files_moved: bool,
    /// With `[files] store = "local"`: users' files may be lost with the node. With --files-moved: what is not in
    /// the new place may be lost
    #[arg(long)]
    lose_files: bool,
    /// Show what the rollout would do, and stop
    #[arg(long)]
    plan: bool,
    /// Return as soon as the request is written down
    #[arg(long)]
    detach: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Names the request: the same key again is the same rollout. Default: made from version and image
    #[arg(long)]
    request_key: Option<String>,
    /// `orchestrator move`: not a rollout
    #[arg(skip)]
    moves: bool,
}

impl Start {
    fn verb(&self) -> &'static str {
        if self.moves { "move" } else { "rollout" }
    }
}

/// Flags of `move`.
#[derive(Debug, ClapArgs)]
pub struct MoveArgs {
    /// Show what would be moved where, and stop
    #[arg(long)]
    plan: bool,
    /// Return as soon as the request is written down
    #[arg(long)]
    detach: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Names the request: the same key again is the same move. Default: made from the time
    #[arg(long)]
    request_key: Option<String>,
}

/// Asks for a move, and follows it to its end.
pub async fn moves(cli: &Cli, args: &MoveArgs) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let mut client = cli.client(&spec).await?;
    let args = Start {
        mattermost: None,
        sha256: None,
        url: None,
        image: None,
        files_moved: false,
        lose_files: false,
        plan: args.plan,
        detach: args.detach,
        yes: args.yes,
        request_key: args.request_key.clone(),
        moves: true,
    };
    start(cli, &mut client, &args).await
}

#[derive(Debug, ClapArgs)]
struct Which {
    /// Id; default: the newest
    #[arg(default_value = "")]
    id: String,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let mut client = cli.client(&spec).await?;
    match &args.verb {
        None => start(cli, &mut client, &args.start).await,
        Some(Verb::Start(args)) => start(cli, &mut client, args).await,
        Some(Verb::Status(which) | Verb::Explain(which) | Verb::Report(which)) => {
            let rollout = get(&mut client, &which.id).await?;
            show(cli, &rollout);
            Ok(exit_of(&rollout).unwrap_or(Exit::Done))
        }
        Some(Verb::Follow(which)) => {
            let rollout = get(&mut client, &which.id).await?;
            follow_to_end(cli, &mut client, rollout).await
        }
        Some(Verb::Pause(which)) => steer(cli, &mut client, which, v1::Steer::Pause).await,
        Some(Verb::Resume(which)) => steer(cli, &mut client, which, v1::Steer::Resume).await,
        Some(Verb::Promote(which)) => steer(cli, &mut client, which, v1::Steer::Promote).await,
        Some(Verb::Abort(which)) => steer(cli, &mut client, which, v1::Steer::Abort).await,
    }
}

async fn get(client: &mut Client, id: &str) -> anyhow::Result<v1::Rollout> {
    Ok(client
        .get_rollout(v1::GetRolloutRequest {
            id: id.to_owned(),
            ..v1::GetRolloutRequest::default()
        })
        .await
        .map_err(|status| plain(&status))?
        .into_inner())
}

/// A refusal in the orchestrator's own words.
fn plain(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

async fn steer(
    cli: &Cli,
    client: &mut Client,
    which: &Which,
    steer: v1::Steer,
) -> anyhow::Result<Exit> {
    let request = v1::SteerRolloutRequest {
        id: which.id.clone(),
        steer: steer.into(),
        operator: super::operator(),
    };
    let rollout = match client.steer_rollout(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => return refused(&status),
    };
    show(cli, &rollout);
    Ok(Exit::Done)
}

async fn start(cli: &Cli, client: &mut Client, args: &Start) -> anyhow::Result<Exit> {
    let mut request = v1::StartRolloutRequest {
        mattermost_version: args.mattermost.clone().unwrap_or_default(),
        sha256: args.sha256.clone().unwrap_or_default(),
        url: args.url.clone().unwrap_or_default(),
        image_id: args.image.clone().unwrap_or_default(),
        request_key: args.request_key.clone().unwrap_or_else(|| own_key(args)),
        operator: super::operator(),
        files_moved: args.files_moved,
        lose_files: args.lose_files,
        moves: args.moves,
    };
    if args.plan {
        // The plan says what would be lost; nothing is lost by looking at it.
        request.lose_files = true;
        let plan = match client.plan_rollout(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) => return refused(&status),
        };
        output::data(if cli.json() { &plan.json } else { &plan.text });
        return Ok(Exit::Done);
    }
    match asked_before(client, &request.request_key).await? {
        // A second try of a moment later means the same one only while that goes on.
        Some(rollout) if args.request_key.is_none() && exit_of(&rollout).is_some() => {
            let second = crate::reconcile::now().as_second();
            request.request_key = format!("{}/{second}", request.request_key);
        }
        Some(rollout) => {
            output::talk(&format!("this request is rollout {} already", rollout.id));
            return begin(cli, client, args, request).await;
        }
        None => {}
    }
    let plan = match client.plan_rollout(request.clone()).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => return refused(&status),
    };
    if !args.detach {
        output::talk(&plan.text);
    }
    if !args.yes {
        if !std::io::stdin().is_terminal() {
            output::talk(&format!(
                "refused: `{}` has no terminal to ask on; --yes answers",
                args.verb()
            ));
            return Ok(Exit::Refused);
        }
        output::talk("Go on? [y/N]");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        if !matches!(line.trim(), "y" | "Y" | "yes") {
            output::talk("nothing was touched");
            return Ok(Exit::Refused);
        }
    }
    begin(cli, client, args, request).await
}

/// Different every minute, so that going back and forth is possible, and the same for an impatient second try.
fn own_key(args: &Start) -> String {
    let minute = crate::reconcile::now().as_second() / 60;
    let or_none = |given: &Option<String>| given.clone().unwrap_or_else(|| "-".to_owned());
    if args.moves {
        return format!("move/{minute}");
    }
    format!(
        "{}/{}/{minute}",
        or_none(&args.mattermost),
        or_none(&args.image)
    )
}

/// What a request with this key became: its answer may have been lost.
async fn asked_before(client: &mut Client, key: &str) -> anyhow::Result<Option<v1::Rollout>> {
    let asked = v1::GetRolloutRequest {
        request_key: key.to_owned(),
        ..v1::GetRolloutRequest::default()
    };
    match client.get_rollout(asked).await {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(plain(&status)),
    }
}

/// Has the request written down, and follows it unless that is not wanted.
async fn begin(
    cli: &Cli,
    client: &mut Client,
    args: &Start,
    request: v1::StartRolloutRequest,
) -> anyhow::Result<Exit> {
    let rollout = match client.start_rollout(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => return refused(&status),
    };
    if args.detach {
        show(cli, &rollout);
        return Ok(Exit::Done);
    }
    follow_to_end(cli, client, rollout).await
}

/// A request that cannot be: exit code 3 when a gate says so, 2 when the request itself is wrong.
fn refused(status: &tonic::Status) -> anyhow::Result<Exit> {
    match status.code() {
        tonic::Code::FailedPrecondition => {
            output::talk(&format!("refused: {}", status.message()));
            Ok(Exit::Refused)
        }
        tonic::Code::InvalidArgument => {
            output::talk(&format!("error: {}", status.message()));
            Ok(Exit::Usage)
        }
        _ => Err(plain(status)),
    }
}

/// Follows until the rollout ends; a lost orchestrator is waited for, since the rollout outlives it.
async fn follow_to_end(
    cli: &Cli,
    client: &mut Client,
    mut rollout: v1::Rollout,
) -> anyhow::Result<Exit> {
    let mut progress = follow::Progress::new();
    let id = rollout.id.clone();
    progress.line(&format!(
        "rollout {id}: {} -> {}",
        rollout.from_version, rollout.to_version
    ));
    let mut phase = String::new();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(700));
    let exit = loop {
        if rollout.phase != phase {
            phase.clone_from(&rollout.phase);
            progress.line(&format!("{id} is {phase}"));
        }
        if let Some(exit) = exit_of(&rollout) {
            break exit;
        }
        if let Some(reason) = rollout.reasons.first() {
            progress.waits(reason);
        }
        tokio::select! {
            _ = tick.tick() => {}
            () = follow::interrupted() => {
                progress.finish();
                output::talk(&format!("interrupted; the rollout goes on: `orchestrator rollout follow {id}` takes it up again, `orchestrator rollout abort {id}` turns it back"));
                return Ok(Exit::Interrupted);
            }
        }
        let asked = v1::GetRolloutRequest {
            id: id.clone(),
            ..v1::GetRolloutRequest::default()
        };
        match client.get_rollout(asked).await {
            Ok(reply) => rollout = reply.into_inner(),
            Err(status)
                if matches!(
                    status.code(),
                    tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::Unknown
                ) =>
            {
                progress.waits(
                    "the orchestrator does not answer; the rollout waits for it to come back",
                );
            }
            Err(status) => {
                progress.finish();
                return Err(plain(&status));
            }
        }
    };
    progress.finish();
    show(cli, &rollout);
    Ok(exit)
}

fn exit_of(rollout: &v1::Rollout) -> Option<Exit> {
    match rollout.outcome.as_str() {
        "done" => Some(Exit::Done),
        "rolled_back" => Some(Exit::RolledBack),
        "stuck" => Some(Exit::Stuck),
        _ => None,
    }
}

fn show(cli: &Cli, rollout: &v1::Rollout) {
    if cli.json() {
        output::json(&as_json(rollout));
    } else {
        output::data(&as_text(rollout));
    }
}

/// For people.
pub fn as_text(rollout: &v1::Rollout) -> String {
    let mut text = format!(
        "rollout  {}\nfrom     {} on {}\nto       {} on {}\nphase    {}\n",
        rollout.id,
        rollout.from_version,
        rollout.from_image,
        rollout.to_version,
        rollout.to_image,
        rollout.phase
    );
    let _ = writeln!(
        text,
        "asked by {}\noutcome  {}{}",
        rollout.operator,
        rollout.outcome.replace('_', " "),
        if rollout.paused { " (paused)" } else { "" }
    );
    if rollout.outcome == "live" {
        for reason in &rollout.reasons {
            let _ = writeln!(text, "waits    {reason}");
        }
    }
    if !rollout.restore_point.is_empty() {
        let _ = writeln!(
            text,
            "restore  the database to {} to undo the migration",
            rollout.restore_point
        );
    }
    for line in &rollout.failure {
        let _ = writeln!(text, "failed   {line}");
    }
    let rows = rollout
        .phases
        .iter()
        .map(|phase| {
            let took = if phase.left > 0 {
                output::duration(phase.left - phase.entered)
            } else {
                "…".to_owned()
            };
            vec![phase.phase.clone(), took, phase.waited_for.join("; ")]
        })
        .collect();
    text.push('\n');
    text.push_str(&output::table(&["PHASE", "TOOK", "WAITED FOR"], rows));
    text
}

/// For programs.
pub fn as_json(rollout: &v1::Rollout) -> Value {
    json!({
        "id": rollout.id,
        "phase": rollout.phase,
        "outcome": rollout.outcome,
        "operator": rollout.operator,
        "paused": rollout.paused,
        "reasons": rollout.reasons,
        "failure": rollout.failure,
        "restore_point": (!rollout.restore_point.is_empty()).then_some(&rollout.restore_point),
        "from": { "version": rollout.from_version, "image": rollout.from_image },
        "to": { "version": rollout.to_version, "image": rollout.to_image },
        "phases": rollout.phases.iter().map(|phase| json!({
            "phase": phase.phase, "entered_ms": phase.entered,
            "left_ms": (phase.left > 0).then_some(phase.left), "waited_for": phase.waited_for,
        })).collect::<Vec<_>>(),
    })
}
