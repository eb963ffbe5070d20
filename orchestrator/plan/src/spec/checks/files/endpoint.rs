//! Where the store answers: nothing that nodes must not ask, and the store's own name, without the bucket's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::is_region;
use crate::spec::{Endpoint, Spec};

/// Addresses at which an instance reaches AWS's services about itself (EC2 and VPC user guides).
const OF_INSTANCE: &str = "is an address of an instance for itself alone (link-local, or the metadata service's): users' files and what signs for them would go there. Name the store's own host";

/// Why this is no endpoint for the bucket; none: it is one.
pub(super) fn problem(spec: &Spec, text: &str) -> Option<String> {
    let Some(endpoint) = Endpoint::parse(text) else {
        return Some("is not `https://host` or `https://host:port`, without a path".to_owned());
    };
    let host = endpoint.host.to_ascii_lowercase();
    if is_of_instance(&host) {
        return Some(OF_INSTANCE.to_owned());
    }
    if is_odd_number(&host) {
        return Some(
            "is a number that programs read as an address: write the address as `https://10.0.0.1`"
                .to_owned(),
        );
    }
    if !endpoint.tls && !endpoint.is_near() {
        return Some("is plain HTTP to another network: users' files would cross it readable. Use `https://…`; `http://` is for literal loopback and private addresses only".to_owned());
    }
    if let Some(bucket) = bucket_in_front(spec, &host) {
        return Some(format!(
            "has the bucket in front of the store's host (`{bucket}.`): leave it out, the bucket is named by `files.bucket` or is the stack's own"
        ));
    }
    let region = spec.files_region();
    let named = aws_region(&host).filter(|named| *named != region)?;
    Some(format!(
        "is S3 of `{named}`, and the bucket lies in `{region}`: name the endpoint of that region, or leave it out on AWS"
    ))
}

/// Link-local addresses and those of the metadata service, by name too.
fn is_of_instance(host: &str) -> bool {
    // `fd00:ec2::254`, and its neighbours for time and names.
    let aws = |address: Ipv6Addr| address.segments()[..2] == [0xfd00, 0x0ec2];
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local() || aws(address),
        Err(_) => {
            matches!(host, "instance-data" | "instance-data.ec2.internal")
                || as_number(host).is_some_and(|address| address.is_link_local())
        }
    }
}

/// Ends in a number, as addresses do, and is not the usual form of one.
fn is_odd_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let digits = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    (digits || last.starts_with("0x")) && host.parse::<Ipv4Addr>().is_err()
}

/// As programs read `2852039166`, `0xa9fea9fe`, `0251.0376.169.254` and `169.254.43518`.
fn as_number(host: &str) -> Option<Ipv4Addr> {
    let mut numbers = host.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let last = numbers.pop()?;
    if numbers.len() > 3 || numbers.iter().any(|it| *it > 255) {
        return None;
    }
    let left = 4 - numbers.len() as u32;
    let front = numbers
        .iter()
        .enumerate()
        .map(|(index, it)| it << (24 - 8 * index))
        .sum::<u64>();
    (last < 1 << (8 * left))
        .then(|| u32::try_from(front + last).ok())
        .flatten()
        .map(Ipv4Addr::from)
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = if let Some(rest) = text.strip_prefix("0x") {
        (rest, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    u64::from_str_radix(digits, radix).ok()
}

/// The bucket, when it stands in front of the host. The host of an interface endpoint begins with
/// `vpce-…`, or with `bucket.` before it.
fn bucket_in_front<'a>(spec: &'a Spec, host: &'a str) -> Option<&'a str> {
    let own = format!("{}-files-", spec.stack);
    let (first, rest) = host.split_once('.')?;
    if first.starts_with("vpce-") || rest.starts_with("vpce-") {
        return None;
    }
    let named = match &spec.files.bucket {
        Some(bucket) => {
            let behind = host.strip_prefix(bucket.as_str());
            behind
                .is_some_and(|it| it.starts_with('.'))
                .then_some(bucket.as_str())
        }
        None => first.starts_with(&own).then_some(first),
    };
    named.or_else(|| (is_aws(host) && is_of_s3(rest)).then_some(first))
}

fn is_aws(host: &str) -> bool {
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// `s3.…`, `s3-fips.…`, `s3-us-west-2.…`.
fn is_of_s3(host: &str) -> bool {
    host.starts_with("s3.") || host.starts_with("s3-")
}

/// The region of an endpoint of AWS's S3; none: it is none, or names no region.
fn aws_region(host: &str) -> Option<&str> {
    if !is_aws(host) {
        return None;
    }
    if host == "s3.amazonaws.com" {
        return Some("us-east-1");
    }
    host.split('.')
        .map(|label| label.strip_prefix("s3-").unwrap_or(label))
        .find(|label| is_region(label))
}

#[cfg(test)]
mod tests {
    use super::super::tests::problems;

    #[test]
    fn an_endpoint_is_the_stores_own_host_and_nothing_that_nodes_must_not_ask() {
        let own = "is an address of an instance for itself alone";
        let front = "has the bucket in front of the store's host";
        for (endpoint, says) in [
            ("https://169.254.169.254", own),
            ("http://169.254.170.2:80", own),
            ("https://[fd00:ec2::254]", own),
            ("https://[fe80::1]", own),
            ("https://[::ffff:169.254.169.254]", own),
            ("https://2852039166", own),
            ("https://0xa9fea9fe", own),
            ("https://0xA9.0xFE.43518", own),
            ("https://0251.0376.0251.0376", own),
            ("https://instance-data.ec2.internal", own),
            ("https://167772161", "read as an address"),
            ("https://10.1", "read as an address"),
            ("https://chat.s3.us-east-1.amazonaws.com", front),
            ("https://chat.minio.example:9000", front),
            ("https://other.s3.us-east-1.amazonaws.com", front),
            (
                "https://chat.s3-fips.dualstack.us-east-1.amazonaws.com",
                front,
            ),
            (
                "https://s3.eu-west-1.amazonaws.com",
                "is S3 of `eu-west-1`, and the bucket lies in `us-east-1`",
            ),
            ("https://s3-eu-west-1.amazonaws.com", "is S3 of `eu-west-1`"),
            (
                "https://s3.dualstack.eu-west-1.amazonaws.com",
                "is S3 of `eu-west-1`",
            ),
            (
                "https://s3.cn-north-1.amazonaws.com.cn",
                "is S3 of `cn-north-1`",
            ),
            (
                "https://vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com",
                "is S3 of `eu-west-1`",
            ),
            ("https://s3.us-east-1.amazonaws.com", "none"),
            ("https://s3.amazonaws.com", "none"),
            ("https://s3-fips.us-east-1.amazonaws.com", "none"),
            (
                "https://bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com",
                "none",
            ),
            ("https://chats.example", "none"),
            ("https://192.0.2.7:9000", "none"),
            ("http://10.0.0.1:9000", "none"),
        ] {
            let text = problems(
                &format!("bucket = \"chat\"\nendpoint = \"{endpoint}\"\n"),
                &[],
            );
            assert!(text.contains(says), "{endpoint}: {text}");
        }
        let west =
            "bucket = \"chat\"\nregion = \"us-west-2\"\nendpoint = \"https://s3.amazonaws.com\"\n";
        assert!(problems(west, &[]).contains("is S3 of `us-east-1`"));
        let own = "endpoint = \"https://mattermost-files-123456789012-us-east-1.minio.example\"\n";
        assert!(problems(own, &[]).contains(front));
    }
}
