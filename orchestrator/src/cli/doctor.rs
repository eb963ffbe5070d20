//! `doctor`: everything that can be known to fail, before anything is touched.

use serde::Serialize;

use super::{Cli, Exit, named_secrets, output};
use crate::core::Core;
use crate::host;

mod account;
mod certificate;
mod endpoints;
mod files;
mod hosts;
mod images;
mod licence;
mod load_balancer;
mod offers;
mod release;
mod report;
mod subnets;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Nothing stands against it.
    Ok,
    /// It works, or may; the detail says what is to be known.
    Warn,
    /// `up`, a rollout or users will meet it.
    Fail,
    /// It was not looked at, and the detail says what shows it instead.
    Skip,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Account,
    Network,
    Nodes,
    Secrets,
    LoadBalancer,
    Files,
    Permissions,
    Quotas,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Account,
        Self::Network,
        Self::Nodes,
        Self::Secrets,
        Self::LoadBalancer,
        Self::Files,
        Self::Permissions,
        Self::Quotas,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Network => "network",
            Self::Nodes => "nodes",
            Self::Secrets => "secrets",
            Self::LoadBalancer => "load balancer",
            Self::Files => "files",
            Self::Permissions => "permissions",
            Self::Quotas => "quotas",
        }
    }
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    result: Outcome,
    detail: String,
}

impl Check {
    fn new(name: impl Into<String>, result: Outcome, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            result,
            detail: detail.into(),
        }
    }

    /// Fine with what was found, or failed with the reason.
    fn of(name: impl Into<String>, result: Result<String, String>) -> Self {
        match result {
            Ok(detail) => Self::new(name, Outcome::Ok, detail),
            Err(detail) => Self::new(name, Outcome::Fail, detail),
        }
    }
}

/// The checks so far, each with its part.
#[derive(Default)]
struct Checks(Vec<(Part, Check)>);

impl Checks {
    fn add(&mut self, part: Part, checks: impl IntoIterator<Item = Check>) {
        self.0.extend(checks.into_iter().map(|check| (part, check)));
    }
}

/// Runs it.
pub async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let mut checks = Checks::default();
    let detail = format!(
        "stack `{}`, home {}, {} region(s)",
        spec.stack,
        spec.home_region(),
        spec.regions().len()
    );
    let parsed = Check::new("specification", Outcome::Ok, detail);
    checks.add(Part::Account, [parsed]);
    if spec.mattermost.licence_secret.is_none() {
        let detail = "none: one node at a time, and rollouts announce a short pause (cutover)";
        checks.add(Part::Nodes, [Check::new("licence", Outcome::Warn, detail)]);
    }
    checks.add(Part::Nodes, release::release(&spec).await);
    match host::core(spec, plan::Want::Up).await {
        Ok(core) => Box::pin(of_aws(&core, &mut checks)).await,
        Err(error) => {
            let failed = Check::new("specification's files", Outcome::Fail, format!("{error:#}"));
            checks.add(Part::Account, [failed]);
        }
    }
    Ok(report(cli, &checks.0))
}

/// What AWS answers; without credentials only that there are none.
async fn of_aws(core: &Core, checks: &mut Checks) {
    let certificate = core.spec.load_balancer.certificate_arn.as_deref();
    let region = core.spec.files_region();
    let key = core.spec.files.kms_key.as_deref();
    let endpoints = core
        .cloud
        .endpoints(certificate, key.map(|arn| (arn, region.as_str())))
        .await;
    checks.add(Part::Account, [endpoints::judge(&endpoints)]);
    let identity = core.cloud.caller_identity().await;
    let known = identity.is_ok();
    let identity = identity
        .map(|identity| format!("{} in account {}", identity.arn, identity.account))
        .map_err(|error| {
            format!(
                "{}\nhint: AWS_PROFILE, the environment or the instance profile gives credentials",
                crate::chain(&error)
            )
        });
    checks.add(Part::Account, [Check::of("credentials", identity)]);
    if !known {
        return;
    }
    let (check, image) = images::of_the_file(core).await;
    checks.add(Part::Nodes, [check]);
    let observed = core
        .cloud
        .observe(&cloud::Scope {
            spec: core.spec.clone(),
            images: [core.spec.fleet.image.clone()].into(),
            now: core.now(),
            deletes_files: false,
        })
        .await;
    checks.add(Part::Nodes, images::of_groups(core, &observed).await);
    checks.add(Part::Network, [network(core, &observed)]);
    if let Some(network) = &observed.network {
        let made = observed.load_balancer.as_ref();
        checks.add(Part::Network, subnets::room(&core.spec, network, made));
    }
    checks.add(Part::Network, hosts::hosts(&core.spec, &observed).await);
    let of = |(name, result)| Check::of(name, result);
    let offers = offers::offers(&core.spec, &observed, image.as_ref());
    checks.add(Part::Nodes, offers.into_iter().map(of));
    let secrets = named_secrets::read(core).await;
    checks.add(Part::Secrets, secrets.into_iter().map(of));
    checks.add(Part::LoadBalancer, [certificate::certificate(core).await]);
    checks.add(
        Part::LoadBalancer,
        [load_balancer::asked(core, &observed).await],
    );
    checks.add(Part::Nodes, licence::licence(core).await);
    let account = account::checks(core, observed.network.as_ref()).await;
    checks.add(Part::Account, account);
    checks.add(Part::Files, files::files(core, &observed).await);
    let vpc = observed.network.as_ref().map(|it| it.vpc_id.as_str());
    let permissions = core.cloud.dry_run_permissions(vpc).await;
    checks.add(Part::Permissions, permissions.iter().map(permission));
    match core.cloud.quotas().await {
        Ok(quotas) => checks.add(Part::Quotas, quotas.iter().map(quota)),
        Err(error) => {
            let unread = Check::new("quotas", Outcome::Warn, crate::chain(&error));
            checks.add(Part::Quotas, [unread]);
        }
    }
}

fn network(core: &Core, observed: &plan::Observed) -> Check {
    let result = match &observed.network {
        None => {
            let why = observed.unknown.get("network").cloned();
            Err(why.unwrap_or_else(|| "no VPC was found".to_owned()))
        }
        Some(network) => match plan::network_problem(&core.spec, network) {
            Some(problem) => Err(problem),
            None => Ok(format!(
                "{} with subnets in {}",
                network.vpc_id,
                network.zones()
            )),
        },
    };
    Check::of("network", result)
}

fn permission(permission: &cloud::Permission) -> Check {
    let (outcome, detail) = match &permission.verdict {
        cloud::Verdict::Allowed => (Outcome::Ok, String::new()),
        cloud::Verdict::Denied(why) => (Outcome::Fail, why.clone()),
        cloud::Verdict::Unknown(why) => (Outcome::Warn, why.clone()),
    };
    Check::new(format!("may {}", permission.name), outcome, detail)
}

fn quota(quota: &cloud::Quota) -> Check {
    let full = quota.used.is_some_and(|used| used >= quota.limit);
    let used = quota
        .used
        .map_or(String::new(), |used| format!("{used} of "));
    let outcome = if full { Outcome::Fail } else { Outcome::Ok };
    Check::new(
        quota.name.clone(),
        outcome,
        format!("{used}{}", quota.limit),
    )
}

fn report(cli: &Cli, checks: &[(Part, Check)]) -> Exit {
    if cli.json() {
        output::json(&report::rows(checks));
    } else {
        output::data(&report::text(checks));
        output::talk(&report::verdict(checks));
    }
    let failed = |(_, check): &(Part, Check)| check.result == Outcome::Fail;
    if checks.iter().any(failed) {
        Exit::Refused
    } else {
        Exit::Done
    }
}

/// A specification for tests.
#[cfg(test)]
fn spec() -> plan::Spec {
    let text = plan::spec::template(&plan::spec::Answers::default());
    plan::Spec::parse(&text, "test.toml").unwrap()
}
