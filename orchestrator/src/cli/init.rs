//! `init`: a commented specification to begin with.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;

use super::{BadFile, Cli, Exit, output};

/// Flags of `init`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Name of the stack
    #[arg(long, default_value = "mattermost")]
    stack: String,
    /// Zones, the home region's first
    #[arg(long, value_delimiter = ',', default_values_t = ["us-east-1a".to_owned(), "us-east-1b".to_owned()])]
    zones: Vec<String>,
    /// Print the JSON schema of the specification instead
    #[arg(long)]
    schema: bool,
    /// Where to write; `-` for stdout. Default: the file that --spec names
    #[arg(long, short)]
    to: Option<PathBuf>,
}

/// Runs it.
pub fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    if args.schema {
        output::json(&plan::Spec::json_schema());
        return Ok(Exit::Done);
    }
    let answers = plan::spec::Answers {
        stack: args.stack.clone(),
        zones: args.zones.clone(),
        ..plan::spec::Answers::default()
    };
    let text = plan::spec::template(&answers);
    let path = args.to.as_ref().unwrap_or(&cli.spec);
    if path.as_os_str() == "-" {
        output::data(&text);
        return Ok(Exit::Done);
    }
    let mut file = match std::fs::File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(BadFile(format!(
                "`{}` exists and stays as it is\nhint: --to names another file",
                path.display()
            ))
            .into());
        }
        Err(error) => return Err(error).with_context(|| format!("writing `{}`", path.display())),
    };
    file.write_all(text.as_bytes())
        .with_context(|| format!("writing `{}`", path.display()))?;
    output::talk(&format!(
        "wrote `{}`: set image, digest, and addresses and source of the orchestrator, then `orchestrator doctor` and `orchestrator plan`",
        path.display()
    ));
    Ok(Exit::Done)
}
