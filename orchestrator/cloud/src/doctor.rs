//! What `doctor` asks before anything is touched: may we, and is there room.
//!
//! EC2 answers with `DryRun` whether a call would be allowed. The other services have no such question:
//! of them harmless reads are tried, which shows whether the service is reachable and readable at all.
//! An effect's permission is `Unknown` there until it is made.

mod endpoints;
mod reads;
mod volume_key;

pub use endpoints::Endpoint;

use aws_sdk_ec2::types::{InstanceType, RequestLaunchTemplateData, ResourceType};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, join};

use crate::connect::Cloud;
use crate::ec2::tag_specification;
use crate::error::{Called, Failure, ReadError};

/// A permission and whether we have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// As IAM names it: `ec2:CreateSecurityGroup`.
    pub name: &'static str,
    /// The answer.
    pub verdict: Verdict,
}

/// Whether a call is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Allowed,
    /// It is not; AWS's words.
    Denied(String),
    /// Nobody knows; why.
    Unknown(String),
}

/// A permission, and the call that shows whether we have it.
type Probe<'a> = (&'static str, BoxFuture<'a, Result<(), Failure>>);

/// A limit of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is limited, in AWS's words.
    pub name: String,
    /// How much of it is used, where AWS says so.
    pub used: Option<u64>,
    /// How much there may be.
    pub limit: u64,
}

impl Cloud {
    /// Every permission that can be tried without consequence, in the home region. `vpc` is the stack's, by
    /// id, where it is known.
    pub async fn dry_run_permissions(&self, vpc: Option<&str>) -> Vec<Permission> {
        let look = self.look();
        let (ec2, elb, rds) = (&look.ec2, &look.elb, &look.rds);
        let mut probes: Vec<Probe<'_>> = reads::of_services(ec2, vpc);
        macro_rules! probe {
            ($name:literal, $call:expr) => {
                probes.push((
                    $name,
                    async move { $call.send().await.called($name).map(drop) }.boxed(),
                ));
            };
        }
        // Dry runs: EC2 judges the permission before it looks at what is named. They carry our tag and name
        // our VPC as the real calls do, for without them our own policy does not allow them.
        let tagged = |kind| tag_specification(kind, &self.our_tags([]));
        probe!("ec2:CreateSecurityGroup", {
            ec2.create_security_group()
                .dry_run(true)
                .set_vpc_id(vpc.map(str::to_owned))
                .tag_specifications(tagged(ResourceType::SecurityGroup))
                .group_name(format!("{}-doctor", self.stack()))
                .description("Never made: a dry run")
        });
        probe!("ec2:CreateLaunchTemplate", {
            ec2.create_launch_template()
                .dry_run(true)
                .tag_specifications(tagged(ResourceType::LaunchTemplate))
                .launch_template_name(format!("{}-doctor", self.stack()))
                // Of an empty structure nothing is sent, and its absence is refused before anything is judged.
                .launch_template_data(
                    RequestLaunchTemplateData::builder()
                        .instance_type(InstanceType::T3Small)
                        .build(),
                )
        });
        probe!("ec2:DescribeVpcs", ec2.describe_vpcs().dry_run(true));
        probe!("ec2:DescribeSubnets", ec2.describe_subnets().dry_run(true));
        probe!(
            "ec2:DescribeSecurityGroups",
            ec2.describe_security_groups().dry_run(true)
        );
        probe!(
            "ec2:DescribeSecurityGroupRules",
            ec2.describe_security_group_rules().dry_run(true)
        );
        probe!(
            "ec2:DescribeLaunchTemplates",
            ec2.describe_launch_templates().dry_run(true)
        );
        probe!(
            "ec2:DescribeImages",
            ec2.describe_images().owners("self").dry_run(true)
        );
        probe!(
            "ec2:DescribeInstances",
            ec2.describe_instances().dry_run(true)
        );
        // Reads of the other services.
        probe!(
            "elasticloadbalancing:DescribeLoadBalancers",
            elb.describe_load_balancers()
        );
        probe!(
            "elasticloadbalancing:DescribeTargetGroups",
            elb.describe_target_groups()
        );
        probe!("rds:DescribeDBInstances", rds.describe_db_instances());
        probe!(
            "rds:DescribeDBEngineVersions",
            rds.describe_db_engine_versions().engine("postgres")
        );
        probe!(
            "autoscaling:DescribeAutoScalingGroups",
            look.autoscaling.describe_auto_scaling_groups()
        );
        probe!(
            "cloudwatch:DescribeAlarms",
            look.cloudwatch.describe_alarms()
        );
        probe!("secretsmanager:ListSecrets", look.secrets.list_secrets());
        let verdicts = probes.into_iter().map(|(name, answer)| async move {
            Permission {
                name,
                verdict: verdict(answer.await),
            }
        });
        futures_util::future::join_all(verdicts).await
    }

    /// The limits that AWS tells without the Service Quotas API. A service that does not tell is not in
    /// the list; the error says why when none does.
    pub async fn quotas(&self) -> Result<Vec<Quota>, ReadError> {
        let look = self.look();
        let (groups, balancers, databases) = join!(
            look.autoscaling.describe_account_limits().send(),
            look.elb.describe_account_limits().send(),
            look.rds.describe_account_attributes().send(),
        );
        let mut quotas = Vec::new();
        let mut failed = None;
        match groups.called("autoscaling:DescribeAccountLimits") {
            Ok(answer) => quotas.extend(number(answer.max_number_of_auto_scaling_groups()).map(
                |limit| Quota {
                    name: "auto-scaling-groups".to_owned(),
                    used: number(answer.number_of_auto_scaling_groups()),
                    limit,
                },
            )),
            Err(failure) => failed = Some(failure),
        }
        match balancers.called("elasticloadbalancing:DescribeAccountLimits") {
            Ok(answer) => quotas.extend(answer.limits().iter().filter_map(|limit| {
                Some(Quota {
                    name: limit.name()?.to_owned(),
                    used: None,
                    limit: limit.max()?.parse().ok()?,
                })
            })),
            Err(failure) => failed = Some(failure),
        }
        match databases.called("rds:DescribeAccountAttributes") {
            Ok(answer) => quotas.extend(answer.account_quotas().iter().filter_map(|quota| {
                Some(Quota {
                    name: quota.account_quota_name()?.to_owned(),
                    used: quota.used().and_then(|used| u64::try_from(used).ok()),
                    limit: quota.max().and_then(|limit| u64::try_from(limit).ok())?,
                })
            })),
            Err(failure) => failed = Some(failure),
        }
        match failed {
            Some(failure) if quotas.is_empty() => Err(failure.into()),
            _ => Ok(quotas),
        }
    }
}

fn number(value: Option<i32>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

fn verdict(answer: Result<(), Failure>) -> Verdict {
    match answer {
        Ok(()) => Verdict::Allowed,
        Err(failure) if failure.is("DryRunOperation") => Verdict::Allowed,
        Err(failure) if failure.is_denied() => Verdict::Denied(failure.message().to_owned()),
        Err(failure) => Verdict::Unknown(format!("{} {}", failure.code(), failure.message())),
    }
}
