//! `image`: the stack's images in every region.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use super::{Cli, Exit, output};
use crate::host;

/// Flags of `image`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Images by region, with their state (the default)
    List,
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let (Some(Verb::List) | None) = &args.verb;
    let spec = cli.load()?;
    let core = host::core(spec, plan::Want::Up).await?;
    let scope = cloud::Scope {
        spec: core.spec.clone(),
        images: [core.spec.fleet.image.clone()].into(),
        now: core.now(),
        deletes_files: false,
    };
    let observed = core.cloud.observe(&scope).await;
    for (read, why) in &observed.unknown {
        if read.starts_with("images") {
            anyhow::bail!("{read} could not be read: {why}");
        }
    }
    let rows: Vec<(&String, &plan::observed::Image)> = observed
        .images
        .iter()
        .flat_map(|(region, images)| images.values().map(move |image| (region, image)))
        .collect();
    if cli.json() {
        let rows: Vec<_> = rows
            .iter()
            .map(|(region, image)| {
                json!({ "region": region, "id": image.id, "name": image.name, "state": image.state,
                        "source": image.source.as_ref().map(|(region, id)| json!({ "region": region, "id": id })) })
            })
            .collect();
        output::json(&rows);
    } else {
        let rows = rows
            .iter()
            .map(|(region, image)| {
                let source = image
                    .source
                    .as_ref()
                    .map_or(String::new(), |(region, id)| format!("{id} in {region}"));
                vec![
                    (*region).clone(),
                    image.id.clone(),
                    image.state.clone(),
                    image.name.clone(),
                    source,
                ]
            })
            .collect();
        output::data(&output::table(
            &["REGION", "IMAGE", "STATE", "NAME", "COPY OF"],
            rows,
        ));
    }
    Ok(Exit::Done)
}
