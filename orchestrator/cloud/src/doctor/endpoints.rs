//! Whether this host reaches the services at all: in a private subnet without the right endpoints every call
//! ends in a time-out, and none says which way is missing.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use crate::connect::Cloud;
use crate::error::{Called, Failure};

/// A service in a region, and whether it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As in the name of its VPC endpoint, `com.amazonaws.<region>.<service>`.
    pub service: &'static str,
    /// Region.
    pub region: String,
    /// Why it cannot be reached, if so.
    pub unreachable: Option<String>,
}

type Ask<'a> = (&'static str, String, BoxFuture<'a, Result<(), Failure>>);

impl Cloud {
    /// Every service that a control host speaks to, but S3, which the bucket's own checks ask. Whatever a
    /// service answers counts, a refusal too. `certificate`: ACM is asked about it; `key`, with its region: KMS.
    pub async fn endpoints(
        &self,
        certificate: Option<&str>,
        key: Option<(&str, &str)>,
    ) -> Vec<Endpoint> {
        let look = self.look();
        let home = || self.home_region().to_owned();
        let mut asks: Vec<Ask<'_>> = Vec::new();
        macro_rules! ask {
            ($service:literal, $region:expr, $call:expr) => {{
                let call = $call;
                let answer = async move { call.send().await.called($service).map(drop) };
                asks.push(($service, $region, answer.boxed()));
            }};
        }
        for name in self.regions() {
            if let Some(region) = self.region(name) {
                let images = region.look.ec2.describe_images().owners("self");
                ask!("ec2", name.to_owned(), images.dry_run(true));
            }
        }
        ask!("sts", home(), look.sts.get_caller_identity());
        ask!(
            "autoscaling",
            home(),
            look.autoscaling.describe_account_limits()
        );
        ask!(
            "elasticloadbalancing",
            home(),
            look.elb.describe_account_limits()
        );
        ask!("rds", home(), look.rds.describe_account_attributes());
        let alarms = look.cloudwatch.describe_alarms().max_records(1);
        ask!("monitoring", home(), alarms);
        let secrets = look.secrets.list_secrets().max_results(1);
        ask!("secretsmanager", home(), secrets);
        if let Some(arn) = certificate {
            let certificate = look.acm.describe_certificate().certificate_arn(arn);
            ask!("acm", home(), certificate);
        }
        if let Some((arn, region)) = key {
            let key = self.kms_in(region).describe_key().key_id(arn);
            ask!("kms", region.to_owned(), key);
        }
        let answers = asks
            .into_iter()
            .map(|(service, region, answer)| async move {
                Endpoint {
                    service,
                    region,
                    unreachable: answer.await.err().and_then(|failure| failure.unreachable()),
                }
            });
        join_all(answers).await
    }
}
