//! `plan`: what `up` would do. Looks and decides, changes nothing.

use plan::Want;
use plan::intent::Phase;

use super::{Cli, Exit, output};
use crate::reconcile;

/// Runs it.
pub async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let core = crate::host::core(spec, Want::Up).await?;
    let (intent, observed, decision) = reconcile::decide_once(&core).await?;
    let forecast = plan::forecast(&intent, &observed, reconcile::now());
    if cli.json() {
        output::json(&forecast);
    } else {
        output::data(&forecast.to_string());
    }
    Ok(match decision.next {
        Phase::Stuck { .. } => Exit::Stuck,
        _ => Exit::Done,
    })
}
