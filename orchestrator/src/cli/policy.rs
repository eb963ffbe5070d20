//! `iam-policy`: the exact policies of orchestrator and node.

use anyhow::Context;
use clap::Args as ClapArgs;
use cloud::{Cloud, Policies};
use plan::Spec;
use serde_json::json;

use super::{Cli, Exit, output};

/// Flags of `iam-policy`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Only what `down --delete-files` needs besides: for whoever runs it, as long as it runs
    #[arg(long)]
    delete_files: bool,
}

/// Of the specification, in the account of whoever asks. It needs none of the files that the specification
/// names: whoever asks before the installation has none of them.
async fn policies(spec: &Spec, cloud: &Cloud) -> anyhow::Result<Policies> {
    let identity = cloud
        .caller_identity()
        .await
        .context("the policies name the account; asking which it is")?;
    Ok(cloud::iam_policies(spec, &identity.account))
}

/// Runs it.
pub async fn run(cli: &Cli, args: &Args) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let cloud = Cloud::connect(&spec.stack, &spec.home_region(), &spec.regions()).await;
    let policies = policies(&spec, &cloud).await?;
    if args.delete_files {
        let Some(policy) = &policies.delete_files else {
            output::talk(
                "the stack has no bucket of its own: a bucket that the specification names is never deleted",
            );
            return Ok(Exit::Refused);
        };
        output::talk("# for whoever runs `down --delete-files`, besides the orchestrator's policy");
        output::json(policy);
        return Ok(Exit::Done);
    }
    if cli.json() {
        output::json(&json!({ "orchestrator": policies.orchestrator, "node": policies.node }));
    } else {
        for (name, policy) in &policies.orchestrator {
            output::talk(&format!(
                "# managed policy `{name}` of the role of the orchestrator's control host"
            ));
            output::json(policy);
        }
        output::talk("# role of the nodes' instance profile");
        output::json(&policies.node);
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use cloud::Credentials;
    use plan::spec::{Answers, template};

    use super::*;

    #[tokio::test]
    async fn it_needs_no_file_that_the_specification_names() {
        let roots = "# trust_file = \"/usr/share/mattermost-orchestrator/rds-ca.pem\"";
        let text = template(&Answers::default());
        assert!(text.contains(roots));
        let text = text.replace(roots, "trust_file = \"/nowhere/roots.pem\"");
        let spec = Spec::parse(&text, "test.toml").unwrap();
        let credentials = Credentials {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "none".to_owned().into(),
            session_token: None,
        };
        // Nobody answers there: the account is all that is missing.
        let cloud = Cloud::connect_with(
            &spec.stack,
            &spec.home_region(),
            &spec.regions(),
            "http://127.0.0.1:9",
            &credentials,
        );
        let Err(error) = policies(&spec, &cloud).await else {
            panic!("an account from nowhere");
        };
        let told = format!("{error:#}");
        assert!(
            told.contains("asking which it is") && !told.contains("roots.pem"),
            "{told}"
        );
    }
}
