//! `plan`: what `up` would do. Looks and decides, changes nothing.

use plan::Want;
use plan::intent::Phase;

use super::{Cli, Exit, output};
use crate::reconcile;

/// Runs it.
pub async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let core = crate::host::core(spec, Want::Up).await?;
    let (_, _, decision) = reconcile::decide_once(&core).await?;
    if cli.json() {
        output::json(&decision);
    } else {
        let lines: Vec<String> = decision.actions.iter().map(|action| action.key()).collect();
        output::data(&lines.join("\n"));
    }
    Ok(match decision.next {
        Phase::Stuck { .. } => Exit::Stuck,
        _ => Exit::Done,
    })
}
