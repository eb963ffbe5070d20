//! Settings of the account that let a stack be made and keep it from working: the default key of volumes, the
//! routes of the load balancer's subnets, the key pair that the file names.

use cloud::ReadError;
use plan::Spec;
use plan::observed::Network;

use super::{Check, Outcome};
use crate::core::Core;

/// All of them. Routes are of interest only where the internet is to come in.
pub(super) async fn checks(core: &Core, network: Option<&Network>) -> Vec<Check> {
    let account = core.cloud.caller_identity().await;
    let account = account.map(|identity| identity.account).unwrap_or_default();
    let key = core.cloud.default_volume_key().await;
    let mut checks = vec![volume_key(&core.spec, &account, key)];
    if let Some(network) = network.filter(|_| core.spec.load_balancer.scheme == "internet-facing") {
        let closed = core.cloud.without_internet_gateway(network).await;
        checks.push(internet(closed));
    }
    if let Some(name) = &core.spec.fleet.key_pair {
        let found = core.cloud.has_key_pair(name).await;
        checks.push(key_pair(&core.spec, name, found));
    }
    checks
}

/// Auto Scaling launches with the rights of its service-linked role, and that has none on a key of the account's
/// own: EC2 begins the launch and ends it with `Client.InternalError`.
fn volume_key(spec: &Spec, account: &str, key: Result<Option<String>, ReadError>) -> Check {
    let (result, detail) = match key {
        Err(error) => (Outcome::Warn, crate::chain(&error)),
        Ok(None) => (
            Outcome::Ok,
            "volumes need no key of the account's own".to_owned(),
        ),
        Ok(Some(key)) => (Outcome::Warn, grant(spec, account, &key)),
    };
    Check {
        name: "volume key".to_owned(),
        result,
        detail,
    }
}

/// Operations as the Auto Scaling user guide names them in "Required AWS KMS key policy for use with encrypted
/// volumes".
const OPERATIONS: &str = "Decrypt Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo DescribeKey CreateGrant";

fn grant(spec: &Spec, account: &str, key: &str) -> String {
    let home = spec.home_region();
    let partition = plan::spec::partition_of(&home);
    format!(
        "volumes in `{home}` are encrypted with `{key}` by default, and Auto Scaling's role may not use a key of the account's own unless it is let: launches then end in `Client.InternalError`. Whether it is let cannot be seen from here\nhint: once: `aws kms create-grant --region {home} --key-id {key} --grantee-principal arn:{partition}:iam::{account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling --operations {OPERATIONS}`"
    )
}

fn internet(closed: Result<Vec<String>, ReadError>) -> Check {
    let (result, detail) = match closed {
        Err(error) => (Outcome::Warn, crate::chain(&error)),
        Ok(closed) if closed.is_empty() => (
            Outcome::Ok,
            "the load balancer's subnets have a route to an internet gateway".to_owned(),
        ),
        Ok(closed) => (
            Outcome::Fail,
            format!(
                "no route to an internet gateway from {}: a load balancer that faces the internet is made there and nobody reaches it. Name public subnets in `network.public_subnets`, or give `load_balancer.scheme = \"internal\"`",
                closed.join(", ")
            ),
        ),
    };
    Check {
        name: "internet gateway".to_owned(),
        result,
        detail,
    }
}

/// A launch with a key pair that is not there is refused.
fn key_pair(spec: &Spec, name: &str, found: Result<bool, ReadError>) -> Check {
    let home = spec.home_region();
    let (result, detail) = match found {
        Err(error) => (Outcome::Warn, crate::chain(&error)),
        Ok(true) => (Outcome::Ok, format!("`{name}` is there")),
        Ok(false) => (
            Outcome::Fail,
            format!(
                "no key pair of this account in `{home}` is named `{name}`: import one (`aws ec2 import-key-pair --region {home}`), or name another in `fleet.key_pair`"
            ),
        ),
    };
    Check {
        name: "key pair".to_owned(),
        result,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec;
    use super::*;

    #[test]
    fn a_key_of_the_accounts_own_comes_with_the_grant_to_make() {
        let key = "arn:aws:kms:us-east-1:123456789012:key/1";
        let check = volume_key(&spec(), "123456789012", Ok(Some(key.to_owned())));
        assert_eq!(check.result, Outcome::Warn);
        let command = "`aws kms create-grant --region us-east-1 --key-id arn:aws:kms:us-east-1:123456789012:key/1 --grantee-principal arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling --operations Decrypt ";
        assert!(check.detail.contains(command), "{}", check.detail);
        assert_eq!(
            volume_key(&spec(), "123456789012", Ok(None)).result,
            Outcome::Ok
        );
    }

    #[test]
    fn a_key_pair_that_is_not_there_fails() {
        assert_eq!(key_pair(&spec(), "operators", Ok(true)).result, Outcome::Ok);
        let check = key_pair(&spec(), "operators", Ok(false));
        assert_eq!(check.result, Outcome::Fail);
        assert!(
            check.detail.contains("`us-east-1` is named `operators`"),
            "{}",
            check.detail
        );
    }

    #[test]
    fn subnets_that_nobody_reaches_are_named() {
        assert_eq!(internet(Ok(Vec::new())).result, Outcome::Ok);
        let check = internet(Ok(vec!["subnet-1".to_owned(), "subnet-2".to_owned()]));
        assert_eq!(check.result, Outcome::Fail);
        assert!(
            check.detail.contains("from subnet-1, subnet-2:"),
            "{}",
            check.detail
        );
    }
}
