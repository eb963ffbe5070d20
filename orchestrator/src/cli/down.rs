//! `down`: the stack goes; the database stays unless asked.

use std::io::IsTerminal;

use clap::Args as ClapArgs;
use plan::intent::Phase;
use plan::{Spec, Want};

use files::Files;
use nodes::Before;

use super::{Cli, Exit, follow, output};
use crate::core::Look;
use crate::host::{Host, Options};
use crate::store::Holder;

mod files;
mod nodes;

/// Flags of `down`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Delete the database too: a final snapshot is taken, deletion protection is lifted
    #[arg(long)]
    delete_database: bool,
    /// Delete the stack's own bucket too, with every version of every file: nothing of it comes back. Asks
    /// for the bucket's name; with --yes it is given here. A bucket that the specification names is never deleted
    #[arg(long, value_name = "BUCKET", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    delete_files: Option<String>,
    /// What lies on the nodes alone may be lost with them: users' files with `store = "local"`; files and
    /// settings of a stack that was not moved (`orchestrator move`)
    #[arg(long)]
    lose_files: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    if cli.client(&spec).await.is_ok() {
        output::talk(&format!(
            "refused: an orchestrator of this host keeps stack `{}` up\nhint: stop `orchestrator serve` first, on every control host",
            spec.stack
        ));
        return Ok(Exit::Refused);
    }
    let before = Before::read(&spec).await?;
    if let Some(exit) = before.on_nodes.confirm(args.lose_files) {
        return Ok(exit);
    }
    let files = Files::of(&spec, args, &before).await?;
    if let Some(exit) = confirm(&spec, args, &files)? {
        return Ok(exit);
    }
    if let Some(exit) = files.confirm(args)? {
        return Ok(exit);
    }
    let stack = spec.stack.clone();
    let options = Options {
        runtime: cli.runtime_dir.clone(),
        console: None,
        console_names: Vec::new(),
    };
    let host = Host::start(
        spec,
        Want::Down {
            delete_database: args.delete_database,
            delete_files: files.deletes(),
        },
        &options,
    )
    .await?;
    let core = host.core.clone();
    let exit = follow::follow(cli, &core, &again(args, &files), ended).await;
    if let Some(holder) = &core.looks.borrow().held_by
        && matches!(exit, Ok(Exit::Refused))
    {
        output::talk(&refusal(&stack, holder));
    }
    if matches!(exit, Ok(Exit::Done)) {
        if cli.json() {
            output::json(&serde_json::json!({
                "stack": stack, "phase": "gone", "bucket_kept": files.kept(),
            }));
        } else {
            output::data(&format!("stack `{stack}` is gone"));
            output::talk(&files.summary(before.on_nodes.loses_files()));
        }
    }
    host.stop().await;
    exit
}

/// Has the stack's name typed, unless --yes. An exit: it ends here.
fn confirm(spec: &Spec, args: &Args, files: &Files) -> anyhow::Result<Option<Exit>> {
    if args.yes {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() {
        output::talk("refused: there is no terminal to ask on; --yes answers");
        return Ok(Some(Exit::Refused));
    }
    output::talk(&format!(
        "{} Type the stack's name to go on:",
        files.stays(&spec.names(), args.delete_database)
    ));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() != spec.stack {
        output::talk("not the stack's name; nothing was touched");
        return Ok(Some(Exit::Refused));
    }
    Ok(None)
}

/// The verb that takes an interrupted end up again: with every flag that says what goes.
fn again(args: &Args, files: &Files) -> String {
    let mut verb = "down".to_owned();
    if args.delete_database {
        verb.push_str(" --delete-database");
    }
    if let Some(bucket) = files.deleted() {
        verb.push_str(" --delete-files=");
        verb.push_str(bucket);
    }
    if args.lose_files {
        verb.push_str(" --lose-files");
    }
    verb
}

/// How it ended, if it did.
fn ended(look: &Look) -> Option<Exit> {
    if look.held_by.is_some() {
        return Some(Exit::Refused);
    }
    match &look.decision.as_ref()?.next {
        // What is gone is also written down, or the next `up` would look for it.
        Phase::Gone if look.trouble.is_empty() => Some(Exit::Done),
        Phase::Stuck { .. } => Some(Exit::Stuck),
        _ => None,
    }
}

fn refusal(stack: &str, holder: &Holder) -> String {
    format!(
        "refused: another orchestrator, `{}`, holds the lease of stack `{stack}` until {}\n\
         hint: stop `orchestrator serve` on every control host; the lease of one that is dead ends by itself",
        holder.name,
        holder.until.strftime("%H:%M:%S UTC")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::now;

    fn deciding(next: Phase, trouble: &[&str]) -> Look {
        Look {
            decision: Some(plan::Decision {
                next,
                actions: Vec::new(),
                nodes: std::collections::BTreeMap::new(),
                restarts_held: false,
                requeue: plan::Requeue::Now,
                reasons: Vec::new(),
                record: None,
                rollout: None,
            }),
            trouble: trouble.iter().map(|text| (*text).to_owned()).collect(),
            ..Look::default()
        }
    }

    #[test]
    fn what_is_taken_up_again_deletes_what_was_to_be_deleted() {
        let mut args = Args {
            delete_database: false,
            delete_files: None,
            lose_files: false,
            yes: true,
        };
        let kept = Files::Kept(Some("ours".to_owned()));
        assert_eq!(again(&args, &kept), "down");
        (args.delete_database, args.lose_files) = (true, true);
        assert_eq!(
            again(&args, &Files::Deleted("ours".to_owned())),
            "down --delete-database --delete-files=ours --lose-files"
        );
    }

    #[test]
    fn it_ends_when_all_is_gone_and_written_down_or_another_one_holds_the_lease() {
        assert_eq!(ended(&Look::default()), None);
        assert_eq!(ended(&deciding(Phase::Removing, &[])), None);
        assert_eq!(ended(&deciding(Phase::Gone, &["not written"])), None);
        assert_eq!(ended(&deciding(Phase::Gone, &[])), Some(Exit::Done));
        let stuck = Phase::Stuck {
            reason: "it".to_owned(),
        };
        assert_eq!(ended(&deciding(stuck, &[])), Some(Exit::Stuck));
        let holder = Holder {
            name: "other/1".to_owned(),
            until: now(),
        };
        let text = refusal("chat", &holder);
        assert!(
            text.contains("`other/1`") && text.contains("`chat` until "),
            "{text}"
        );
        let held = Look {
            held_by: Some(holder),
            ..deciding(Phase::Gone, &[])
        };
        assert_eq!(ended(&held), Some(Exit::Refused));
    }
}
