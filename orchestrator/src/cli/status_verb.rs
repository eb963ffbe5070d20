//! `status`: what the stack is, and the one thing that it waits for.

use std::fmt::Write as _;

use clap::Args as ClapArgs;
use fleet_proto::v1;
use serde_json::{Value, json};

use super::client::Client;
use super::{Cli, Exit, follow, output};

/// Flags of `status`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Then follow events until interrupted
    #[arg(long, short)]
    watch: bool,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let mut client = cli.client(&spec).await?;
    let reply = client.status(v1::StatusRequest {}).await?.into_inner();
    let exit = if reply.phase == "stuck" {
        Exit::Stuck
    } else {
        Exit::Done
    };
    if cli.json() {
        output::json(&as_json(&reply));
    } else {
        output::data(&as_text(&reply));
    }
    if args.watch {
        watch(cli, &mut client).await?;
        return Ok(Exit::Done);
    }
    Ok(exit)
}

async fn watch(cli: &Cli, client: &mut Client) -> anyhow::Result<()> {
    let mut events = client
        .events(v1::EventsRequest { after: i64::MAX })
        .await?
        .into_inner();
    loop {
        let event = tokio::select! {
            event = events.message() => event?,
            () = follow::interrupted() => return Ok(()),
        };
        let Some(event) = event else { return Ok(()) };
        if cli.json() {
            output::data(&json!({ "id": event.id, "at_ms": event.at, "subject": event.subject, "what": event.what, "cause": event.cause }).to_string());
        } else if let Some(line) = follow::line(&event.subject, &event.what, &event.cause) {
            let at = jiff::Timestamp::from_millisecond(event.at)
                .unwrap_or_default()
                .strftime("%H:%M:%S")
                .to_string();
            output::data(&format!("{at}  {line}"));
        }
    }
}

/// Follows a running orchestrator until the stack is ready; one that is started again is waited for.
pub async fn until_ready(cli: &Cli, client: &mut Client) -> anyhow::Result<Exit> {
    let mut progress = follow::Progress::new();
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        match client.status(v1::StatusRequest {}).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                if let Some(exit) = ended(cli, &mut progress, &reply) {
                    return Ok(exit);
                }
            }
            Err(status) if status.code() == tonic::Code::Unavailable => {
                progress.waits("the orchestrator does not answer");
            }
            Err(status) => return Err(status.into()),
        }
        tokio::select! {
            _ = tick.tick() => {}
            () = follow::interrupted() => {
                progress.finish();
                output::talk("interrupted; the orchestrator goes on, `orchestrator status --watch` follows it");
                return Ok(Exit::Interrupted);
            }
        }
    }
}

/// How it ended, if it did; else what it waits for is shown.
fn ended(cli: &Cli, progress: &mut follow::Progress, reply: &v1::StatusReply) -> Option<Exit> {
    let reason = reply.reasons.first().map(String::as_str);
    match reply.phase.as_str() {
        "ready" | "done" => {
            progress.finish();
            if cli.json() {
                output::json(&as_json(reply));
            } else {
                output::data(&format!("stack `{}` is ready: {}", reply.stack, reply.url));
            }
            Some(Exit::Done)
        }
        "stuck" => {
            progress.finish();
            output::talk(&format!("stuck: {}", reason.unwrap_or("no reason given")));
            Some(Exit::Stuck)
        }
        phase => {
            progress.waits(reason.unwrap_or(phase));
            None
        }
    }
}

/// For people.
pub fn as_text(reply: &v1::StatusReply) -> String {
    let mut text = format!("stack    {}\nphase    {}\n", reply.stack, reply.phase);
    if !reply.url.is_empty() {
        let _ = writeln!(text, "address  {}", reply.url);
    }
    if !reply.leader.is_empty() {
        let _ = writeln!(text, "leader   {}", reply.leader);
    }
    for reason in &reply.reasons {
        let _ = writeln!(text, "waits    {reason}");
    }
    if let Some(rollout) = &reply.rollout {
        let _ = writeln!(
            text,
            "rollout  {} {} -> {}: {} ({})",
            rollout.id, rollout.from_version, rollout.to_version, rollout.phase, rollout.outcome
        );
        for line in rollout.failure.iter().take(3) {
            let _ = writeln!(text, "         {line}");
        }
    }
    if !reply.resources.is_empty() {
        let rows = reply
            .resources
            .iter()
            .map(|row| {
                vec![
                    row.kind.clone(),
                    row.name.clone(),
                    row.state.clone(),
                    row.id.clone(),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&output::table(&["KIND", "NAME", "STATE", "WHERE"], rows));
        text.push('\n');
    }
    if !reply.nodes.is_empty() {
        text.push('\n');
        text.push_str(&super::nodes::as_text(&reply.nodes));
    }
    text
}

/// For programs.
pub fn as_json(reply: &v1::StatusReply) -> Value {
    json!({
        "stack": reply.stack,
        "phase": reply.phase,
        "reasons": reply.reasons,
        "url": reply.url,
        "leader": reply.leader,
        "resources": reply.resources.iter().map(|row| json!({
            "kind": row.kind, "name": row.name, "id": row.id, "state": row.state,
        })).collect::<Vec<_>>(),
        "rollout": reply.rollout.as_ref().map(super::rollout::as_json),
        "nodes": reply.nodes.iter().map(super::nodes::as_json).collect::<Vec<_>>(),
    })
}
