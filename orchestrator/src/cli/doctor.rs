//! `doctor`: everything that can be known to fail, before anything is touched.

use serde::Serialize;

use super::{Cli, Exit, named_secrets, output};
use crate::host;

mod account;
mod endpoints;
mod files;
mod licence;
mod load_balancer;
mod offers;

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    /// `ok`, `warn`, `fail`; `skip`: not looked at, and the detail says what shows it instead.
    result: &'static str,
    detail: String,
}

/// Runs it.
pub async fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let spec = cli.load()?;
    let mut checks = vec![Check {
        name: "specification".to_owned(),
        result: "ok",
        detail: format!(
            "stack `{}`, home {}, {} region(s)",
            spec.stack,
            spec.home_region(),
            spec.regions().len()
        ),
    }];
    if spec.mattermost.licence_secret.is_none() {
        checks.push(Check {
            name: "licence".to_owned(),
            result: "warn",
            detail: "none: one node at a time, and rollouts announce a short pause (cutover)"
                .to_owned(),
        });
    }
    let core = match host::core(spec, plan::Want::Up).await {
        Ok(core) => core,
        Err(error) => {
            checks.push(Check {
                name: "files".to_owned(),
                result: "fail",
                detail: format!("{error:#}"),
            });
            return Ok(report(cli, &checks));
        }
    };
    let certificate = core.spec.load_balancer.certificate_arn.as_deref();
    let region = core.spec.files_region();
    let key = core.spec.files.kms_key.as_deref();
    let endpoints = core
        .cloud
        .endpoints(certificate, key.map(|arn| (arn, region.as_str())));
    checks.push(endpoints::judge(&endpoints.await));
    let mut add = |check: &str, result: Result<String, String>| {
        let (result, detail) = match result {
            Ok(detail) => ("ok", detail),
            Err(detail) => ("fail", detail),
        };
        checks.push(Check {
            name: check.to_owned(),
            result,
            detail,
        });
    };
    let identity = core.cloud.caller_identity().await;
    let known = identity.is_ok();
    add(
        "credentials",
        identity
            .map(|identity| format!("{} in account {}", identity.arn, identity.account))
            .map_err(|error| format!("{}\nhint: AWS_PROFILE, the environment or the instance profile gives credentials", crate::chain(&error))),
    );
    if known {
        let image = core.cloud.resolve_image(&core.spec.fleet.image).await;
        add(
            "image",
            image
                .as_ref()
                .map(|image| {
                    format!(
                        "`{}` is {} ({})",
                        core.spec.fleet.image, image.id, image.state
                    )
                })
                .map_err(|error| {
                    format!(
                        "{}\nhint: `packer build packer/` makes one",
                        crate::chain(error)
                    )
                }),
        );
        let observed = core
            .cloud
            .observe(&cloud::Scope {
                spec: core.spec.clone(),
                images: [core.spec.fleet.image.clone()].into(),
                now: core.now(),
                deletes_files: false,
            })
            .await;
        add(
            "network",
            observed.network.as_ref().map_or_else(
                || {
                    Err(observed
                        .unknown
                        .get("network")
                        .cloned()
                        .unwrap_or_else(|| "no VPC was found".to_owned()))
                },
                |network| {
                    let zones = network.zones();
                    let free: u32 = network
                        .subnets
                        .iter()
                        .map(|subnet| subnet.free_addresses)
                        .sum();
                    match plan::network_problem(&core.spec, network) {
                        Some(problem) => Err(problem),
                        None => Ok(format!(
                            "{} with subnets in {zones}, {free} addresses free",
                            network.vpc_id
                        )),
                    }
                },
            ),
        );
        for (check, result) in offers::offers(&core.spec, &observed, image.as_ref().ok()) {
            add(&check, result);
        }
        for (check, result) in named_secrets::read(&core).await {
            add(&check, result);
        }
        if let Some(arn) = &core.spec.load_balancer.certificate_arn {
            let certificate = core.cloud.certificate(arn).await;
            add(
                "certificate",
                certificate
                    .map_err(|error| crate::chain(&error))
                    .and_then(|found| {
                        let text = format!("{} for {}", found.status, found.names.join(", "));
                        if found.status == "ISSUED" {
                            Ok(text)
                        } else {
                            Err(text)
                        }
                    }),
            );
        } else {
            checks.push(Check {
                name: "certificate".to_owned(),
                result: "warn",
                detail: "none: users speak plain HTTP to the load balancer; `load_balancer.certificate_arn` names one".to_owned(),
            });
        }
        checks.extend(licence::licence(&core).await);
        checks.extend(account::checks(&core, observed.network.as_ref()).await);
        checks.extend(files::files(&core, &observed).await);
        checks.push(load_balancer::asked(&core, &observed).await);
        let vpc = observed.network.as_ref().map(|it| it.vpc_id.as_str());
        for permission in core.cloud.dry_run_permissions(vpc).await {
            checks.push(permission_check(&permission));
        }
        match core.cloud.quotas().await {
            Ok(quotas) => checks.extend(quotas.iter().map(quota_check)),
            Err(error) => checks.push(Check {
                name: "quotas".to_owned(),
                result: "warn",
                detail: crate::chain(&error),
            }),
        }
    }
    Ok(report(cli, &checks))
}

fn permission_check(permission: &cloud::Permission) -> Check {
    let (result, detail) = match &permission.verdict {
        cloud::Verdict::Allowed => ("ok", String::new()),
        cloud::Verdict::Denied(why) => ("fail", why.clone()),
        cloud::Verdict::Unknown(why) => ("warn", why.clone()),
    };
    Check {
        name: format!("may {}", permission.name),
        result,
        detail,
    }
}

fn quota_check(quota: &cloud::Quota) -> Check {
    let full = quota.used.is_some_and(|used| used >= quota.limit);
    let used = quota
        .used
        .map_or(String::new(), |used| format!("{used} of "));
    Check {
        name: format!("quota {}", quota.name),
        result: if full { "fail" } else { "ok" },
        detail: format!("{used}{}", quota.limit),
    }
}

fn report(cli: &Cli, checks: &[Check]) -> Exit {
    if cli.json() {
        output::json(&checks);
    } else {
        let rows = checks
            .iter()
            .map(|check| {
                vec![
                    check.result.to_owned(),
                    check.name.clone(),
                    check.detail.clone(),
                ]
            })
            .collect();
        output::data(&output::table(&["", "CHECK", "FOUND"], rows));
        let failed = checks.iter().filter(|check| check.result == "fail").count();
        output::talk(&if failed == 0 {
            "nothing stands against `orchestrator plan` and `up`".to_owned()
        } else {
            format!("{failed} check(s) failed")
        });
    }
    if checks.iter().any(|check| check.result == "fail") {
        Exit::Refused
    } else {
        Exit::Done
    }
}
