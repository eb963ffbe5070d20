//! `doctor`'s look at the way from this host to AWS's services.

use cloud::Endpoint;

use super::{Check, Outcome};

/// One check for all of them: who does not answer is named.
pub(super) fn judge(endpoints: &[Endpoint]) -> Check {
    let silent: Vec<String> = endpoints
        .iter()
        .filter_map(|one| {
            let why = one.unreachable.as_deref()?;
            Some(format!("{} in {}: {why}", one.service, one.region))
        })
        .collect();
    let (result, detail) = if silent.is_empty() {
        (Outcome::Ok, format!("{} answer this host", endpoints.len()))
    } else {
        (
            Outcome::Fail,
            format!(
                "{}\nhint: this host reaches AWS through a NAT gateway or a public address, or through a VPC endpoint `com.amazonaws.<region>.<service>` with private DNS, whose security group lets it in on 443",
                silent.join("; ")
            ),
        )
    };
    Check {
        name: "endpoints".to_owned(),
        result,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(service: &'static str, unreachable: Option<&str>) -> Endpoint {
        Endpoint {
            service,
            region: "eu-central-1".to_owned(),
            unreachable: unreachable.map(str::to_owned),
        }
    }

    #[test]
    fn who_does_not_answer_is_named_with_the_way_to_it() {
        let fine = judge(&[endpoint("ec2", None), endpoint("rds", None)]);
        assert_eq!(
            (fine.result, fine.detail.as_str()),
            (Outcome::Ok, "2 answer this host")
        );
        let silent = judge(&[
            endpoint("ec2", None),
            endpoint("rds", Some("no answer in time")),
        ]);
        assert_eq!(silent.result, Outcome::Fail);
        assert!(
            silent
                .detail
                .starts_with("rds in eu-central-1: no answer in time\n"),
            "{}",
            silent.detail
        );
        assert!(silent.detail.contains("com.amazonaws.<region>.<service>"));
    }
}
