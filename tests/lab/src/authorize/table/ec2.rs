//! EC2. Nothing that exists only after the call has an id yet: it is asked about as `security-group/*`.

use super::{Asking, SentTags, sent};
use crate::authorize::evaluate::Ask;

pub(super) fn asks(it: &Asking<'_>) -> Option<Vec<Ask>> {
    let p = &it.params;
    Some(match it.call.action.as_str() {
        "DescribeAvailabilityZones"
        | "DescribeImages"
        | "DescribeInstanceStatus"
        | "DescribeInstances"
        | "DescribeLaunchTemplateVersions"
        | "DescribeLaunchTemplates"
        | "DescribeRegions"
        | "DescribeSecurityGroupRules"
        | "DescribeSecurityGroups"
        | "DescribeSnapshots"
        | "DescribeSubnets"
        | "DescribeTags"
        | "DescribeVpcs" => it.anything(),
        "CreateSecurityGroup" => {
            let vpc = p.given("VpcId").or_else(|| it.default_vpc());
            let vpc = vpc.unwrap_or_else(|| "*".to_owned());
            let group = it.arn("security-group/*");
            let mut asks = vec![it.ask(group).requesting(&it.tags_for("security-group"))];
            asks.push(it.on("vpc", &vpc));
            asks.extend(it.tagging());
            asks
        }
        "AuthorizeSecurityGroupIngress" => {
            let mut asks = vec![it.on("security-group", &it.group())];
            // "Policies using the security-group-rule resource-level permission are only enforced when the
            // API request includes TagSpecifications."
            if !p.structs("TagSpecification").is_empty() {
                let tags = it.tags_for("security-group-rule");
                asks.push(it.ask(it.arn("security-group-rule/*")).requesting(&tags));
                asks.extend(it.tagging());
            }
            asks
        }
        "RevokeSecurityGroupIngress" | "DeleteSecurityGroup" => {
            vec![it.on("security-group", &it.group())]
        }
        "CreateLaunchTemplate" => {
            let tags = it.tags_for("launch-template");
            let mut asks = vec![it.ask(it.arn("launch-template/*")).requesting(&tags)];
            asks.extend(it.tagging());
            asks
        }
        "CreateLaunchTemplateVersion"
        | "DeleteLaunchTemplate"
        | "DeleteLaunchTemplateVersions"
        | "ModifyLaunchTemplate" => vec![it.on("launch-template", &it.template())],
        "CopyImage" => {
            let source = format!(
                "arn:aws:ec2:{}::image/{}",
                it.text("SourceRegion"),
                it.text("SourceImageId")
            );
            let mut asks = vec![it.ask(source)];
            for kind in ["image", "snapshot"] {
                asks.push(it.ask(it.ec2(kind, "*")).requesting(&it.tags_for(kind)));
            }
            asks.extend(it.tagging());
            asks
        }
        "DeregisterImage" => {
            let image = it.text("ImageId");
            let mut asks = vec![it.on("image", &image)];
            if p.opt("DeleteAssociatedSnapshots").as_deref() == Some("true") {
                let snapshot = it.snapshot_of(&image);
                asks.extend(snapshot.map(|id| {
                    let tags = it.tags_of(&id);
                    let arn = it.ec2("snapshot", &id);
                    it.other("ec2:DeleteSnapshot", arn).tagged(&tags)
                }));
            }
            asks
        }
        "DeleteSnapshot" => vec![it.on("snapshot", &it.text("SnapshotId"))],
        "CreateTags" | "DeleteTags" => {
            let tags = sent(p, "Tag");
            p.list("ResourceId")
                .iter()
                .map(|id| it.on(kind_of(id), id).requesting(&tags))
                .collect()
        }
        _ => return None,
    })
}

/// The resource type that an id names, as ARNs spell it.
fn kind_of(id: &str) -> &'static str {
    match id.split('-').next().unwrap_or_default() {
        "i" => "instance",
        "ami" => "image",
        "snap" => "snapshot",
        "vol" => "volume",
        "lt" => "launch-template",
        "sg" => "security-group",
        "sgr" => "security-group-rule",
        "subnet" => "subnet",
        "vpc" => "vpc",
        "key" => "key-pair",
        "rtb" => "route-table",
        "igw" => "internet-gateway",
        "eni" => "network-interface",
        _ => "*",
    }
}

impl Asking<'_> {
    /// The ARN of a resource; images and snapshots are of no account.
    pub(super) fn ec2(&self, kind: &str, id: &str) -> String {
        let region = &self.call.region;
        match kind {
            "image" | "snapshot" => format!("arn:aws:ec2:{region}::{kind}/{id}"),
            _ => format!("arn:aws:ec2:{region}:{}:{kind}/{id}", crate::iam::ACCOUNT),
        }
    }

    /// The call's action on a resource that has tags.
    fn on(&self, kind: &str, id: &str) -> Ask {
        self.ask(self.ec2(kind, id)).tagged(&self.tags_of(id))
    }

    pub(super) fn tags_of(&self, id: &str) -> super::Tags {
        let region = self.lab.ec2.region(&self.call.region);
        region.map(|it| it.tags_of(id)).unwrap_or_default()
    }

    /// What `TagSpecification` says for a type of resource.
    fn tags_for(&self, kind: &str) -> SentTags {
        self.params
            .structs("TagSpecification")
            .iter()
            .filter(|entry| entry.opt("ResourceType").as_deref() == Some(kind))
            .flat_map(|entry| sent(entry, "Tag"))
            .collect()
    }

    /// `ec2:CreateTags` for each type of resource that is tagged as it is made (EC2 user guide, "Grant
    /// permission to tag Amazon EC2 resources during creation").
    fn tagging(&self) -> Vec<Ask> {
        let specifications = self.params.structs("TagSpecification");
        specifications
            .iter()
            .filter_map(|entry| Some((entry.opt("ResourceType")?, sent(entry, "Tag"))))
            .filter(|(_, tags)| !tags.is_empty())
            .map(|(kind, tags)| {
                self.other("ec2:CreateTags", self.ec2(&kind, "*"))
                    .requesting(&tags)
                    .with("ec2:CreateAction", &self.call.action)
            })
            .collect()
    }

    fn default_vpc(&self) -> Option<String> {
        let region = self.lab.ec2.region(&self.call.region).ok()?;
        region.default_vpc().map(|vpc| vpc.id.clone())
    }

    fn group(&self) -> String {
        let name = self.params.given("GroupName");
        self.params.given("GroupId").unwrap_or_else(|| {
            let Ok(region) = self.lab.ec2.region(&self.call.region) else {
                return "*".to_owned();
            };
            let named = region
                .groups
                .values()
                .find(|it| Some(&it.name) == name.as_ref());
            named.map_or_else(|| "*".to_owned(), |group| group.id.clone())
        })
    }

    fn template(&self) -> String {
        let name = self.params.given("LaunchTemplateName");
        self.params.given("LaunchTemplateId").unwrap_or_else(|| {
            let Ok(region) = self.lab.ec2.region(&self.call.region) else {
                return "*".to_owned();
            };
            let named = region
                .templates
                .values()
                .find(|it| Some(&it.name) == name.as_ref());
            named.map_or_else(|| "*".to_owned(), |template| template.id.clone())
        })
    }

    fn snapshot_of(&self, image: &str) -> Option<String> {
        let region = self.lab.ec2.region(&self.call.region).ok()?;
        region.images.get(image).map(|image| image.snapshot.clone())
    }
}
