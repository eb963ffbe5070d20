//! What an instance's metadata service answers: a tree of names and texts, made anew for each request.

use std::collections::BTreeMap;

use serde_json::json;

use crate::Lab;
use crate::ec2::{Instance, Regional, decode_base64};
use crate::iam::ACCOUNT;
use crate::iam_api::credentials;

/// The leaves below `meta-data/`, by path.
type Leaves = BTreeMap<String, String>;

/// The body for a path; none is 404.
pub(super) fn get(lab: &Lab, region: &str, instance_id: &str, path: &str) -> Option<Vec<u8>> {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let rest = match segments.as_slice() {
        [] => return Some(b"latest".to_vec()),
        // Dated versions exist on AWS; what the lab answers is the latest of each.
        [version, rest @ ..] if *version == "latest" || version.starts_with("20") => rest,
        _ => return None,
    };
    match rest {
        [] => Some(b"dynamic\nmeta-data\nuser-data".to_vec()),
        ["user-data"] => {
            let region = lab.ec2.region(region).ok()?;
            let instance = region.instances.get(instance_id)?;
            decode_base64(instance.data.user_data.as_deref()?)
        }
        ["dynamic"] => Some(b"instance-identity/".to_vec()),
        ["dynamic", "instance-identity"] => Some(b"document".to_vec()),
        ["dynamic", "instance-identity", "document"] => {
            let region = lab.ec2.region(region).ok()?;
            let document = identity(&region, region.instances.get(instance_id)?);
            Some(document.into_bytes())
        }
        ["meta-data", rest @ ..] => {
            let leaves = leaves(lab, region, instance_id)?;
            look_up(&leaves, &rest.join("/")).map(String::into_bytes)
        }
        _ => None,
    }
}

/// A leaf's text, or a directory's listing: one name a line, a directory's with a slash.
fn look_up(leaves: &Leaves, path: &str) -> Option<String> {
    if let Some(text) = leaves.get(path) {
        return Some(text.clone());
    }
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut names: Vec<String> = Vec::new();
    for leaf in leaves.keys() {
        let Some(rest) = leaf.strip_prefix(&prefix) else {
            continue;
        };
        let name = match rest.split_once('/') {
            Some((directory, _)) => format!("{directory}/"),
            None => rest.to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join("\n"))
}

fn leaves(lab: &Lab, region_name: &str, instance_id: &str) -> Option<Leaves> {
    let mut leaves = Leaves::new();
    {
        let region = lab.ec2.region(region_name).ok()?;
        let instance = region.instances.get(instance_id)?;
        machine(&mut leaves, &region, instance);
        network(&mut leaves, &region, instance);
        if let Some(profile) = &instance.profile {
            let info = json!({
                "Code": "Success",
                "LastUpdated": seconds(instance.launched),
                "InstanceProfileArn": profile.arn,
                "InstanceProfileId": profile.id,
            });
            leaves.insert("iam/info".to_owned(), pretty(&info));
        }
    }
    role(&mut leaves, lab, region_name, instance_id);
    if let Some(state) = crate::asg::target_lifecycle_state(lab, region_name, instance_id) {
        leaves.insert("autoscaling/target-lifecycle-state".to_owned(), state);
    }
    Some(leaves)
}

fn machine(leaves: &mut Leaves, region: &Regional, instance: &Instance) {
    let name = instance.private_dns(&region.name);
    let mut put = |path: &str, text: String| {
        leaves.insert(path.to_owned(), text);
    };
    put("ami-id", instance.image.clone());
    put("ami-launch-index", instance.launch_index.to_string());
    put("ami-manifest-path", "(unknown)".to_owned());
    put("block-device-mapping/ami", "/dev/xvda".to_owned());
    put("block-device-mapping/root", "/dev/xvda".to_owned());
    put("hostname", name.clone());
    put("instance-action", "none".to_owned());
    put("instance-id", instance.id.clone());
    put("instance-life-cycle", "on-demand".to_owned());
    put("instance-type", instance.instance_type.clone());
    put("local-hostname", name);
    put("local-ipv4", instance.private_ip.to_string());
    put("mac", instance.mac.clone());
    put("placement/availability-zone", instance.zone.clone());
    put(
        "placement/availability-zone-id",
        region.zone_id(&instance.zone),
    );
    put("placement/region", region.name.clone());
    put("profile", "default-hvm".to_owned());
    put("reservation-id", instance.reservation.clone());
    put("services/domain", "amazonaws.com".to_owned());
    put("services/partition", "aws".to_owned());
    put("system", "nitro".to_owned());
    let groups = instance
        .groups
        .iter()
        .filter_map(|id| region.groups.get(id))
        .map(|group| group.name.clone());
    put("security-groups", groups.collect::<Vec<_>>().join("\n"));
    let key = instance
        .data
        .key_name
        .as_ref()
        .and_then(|name| region.key_pairs.values().find(|pair| pair.name == *name));
    if let Some(pair) = key {
        put("public-keys/0/openssh-key", pair.public_key.clone());
    }
    let shows_tags = instance
        .data
        .metadata
        .as_ref()
        .is_some_and(|options| options.tags.as_deref() == Some("enabled"));
    if shows_tags {
        for (key, value) in region.tags_of(&instance.id) {
            put(&format!("tags/instance/{key}"), value);
        }
    }
}

fn network(leaves: &mut Leaves, region: &Regional, instance: &Instance) {
    let base = format!("network/interfaces/macs/{}", instance.mac);
    let mut put = |name: &str, text: String| {
        leaves.insert(format!("{base}/{name}"), text);
    };
    put("device-number", "0".to_owned());
    put("interface-id", instance.network_interface.clone());
    put("local-hostname", instance.private_dns(&region.name));
    put("local-ipv4s", instance.private_ip.to_string());
    put("mac", instance.mac.clone());
    put("owner-id", ACCOUNT.to_owned());
    put("security-group-ids", instance.groups.join("\n"));
    put("subnet-id", instance.subnet.clone());
    put("vpc-id", instance.vpc.clone());
    if let Some(subnet) = region.subnets.get(&instance.subnet) {
        put("subnet-ipv4-cidr-block", subnet.cidr.to_string());
    }
    if let Some(vpc) = region.vpcs.get(&instance.vpc) {
        put("vpc-ipv4-cidr-block", vpc.cidr.to_string());
        put("vpc-ipv4-cidr-blocks", vpc.cidr.to_string());
    }
}

fn role(leaves: &mut Leaves, lab: &Lab, region_name: &str, instance_id: &str) {
    let role = lab
        .ec2
        .region(region_name)
        .ok()
        .and_then(|region| region.instances.get(instance_id)?.profile.clone()?.role);
    let Some(role) = role else { return };
    let Some(session) = credentials::present(lab, region_name, instance_id) else {
        return;
    };
    let shown = json!({
        "Code": "Success",
        "LastUpdated": seconds(session.issued),
        "Type": "AWS-HMAC",
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "Token": session.token,
        "Expiration": seconds(session.expires),
    });
    leaves.insert(
        format!("iam/security-credentials/{}", role.name),
        pretty(&shown),
    );
}

/// The role's credentials for processes of the instance: the same ones, renewed alike.
pub(super) fn container_credentials(lab: &Lab, region: &str, instance_id: &str) -> Option<String> {
    let role = lab.ec2.region(region).ok().and_then(|region| {
        let profile = region.instances.get(instance_id)?.profile.clone()?;
        profile.role
    })?;
    let session = credentials::present(lab, region, instance_id)?;
    Some(pretty(&json!({
        "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/{}", role.name),
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "Token": session.token,
        "Expiration": seconds(session.expires),
    })))
}

fn identity(region: &Regional, instance: &Instance) -> String {
    pretty(&json!({
        "accountId": ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": seconds(instance.launched),
        "privateIp": instance.private_ip.to_string(),
        "ramdiskId": null,
        "region": region.name,
        "version": "2017-09-30",
    }))
}

fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("a value made here has string keys only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_list_their_names_and_leaves_their_text() {
        let leaves = Leaves::from([
            ("ami-id".to_owned(), "ami-1".to_owned()),
            ("iam/info".to_owned(), "{}".to_owned()),
            ("iam/security-credentials/node".to_owned(), "{k}".to_owned()),
        ]);
        for (path, expected) in [
            ("", Some("ami-id\niam/")),
            ("ami-id", Some("ami-1")),
            ("iam", Some("info\nsecurity-credentials/")),
            ("iam/security-credentials", Some("node")),
            ("iam/security-credentials/node", Some("{k}")),
            ("spot/instance-action", None),
            ("am", None),
        ] {
            assert_eq!(look_up(&leaves, path).as_deref(), expected, "{path}");
        }
    }
}
