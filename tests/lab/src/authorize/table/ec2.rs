//! EC2. Nothing that exists only after the call has an id yet: it is asked about as `security-group/*`.

use super::{Asking, SentTags, sent};
use crate::authorize::evaluate::Ask;
use crate::ec2::Regional;

pub(super) fn asks(it: &Asking<'_>) -> Option<Vec<Ask>> {
    Some(match it.call.action.as_str() {
        "DescribeAccountAttributes"
        | "DescribeAddresses"
        | "DescribeAvailabilityZones"
        | "DescribeImages"
        | "DescribeInstanceStatus"
        | "DescribeInstanceTypeOfferings"
        | "DescribeInstanceTypes"
        | "DescribeInstances"
        | "DescribeInternetGateways"
        | "DescribeKeyPairs"
        | "DescribeLaunchTemplateVersions"
        | "DescribeLaunchTemplates"
        | "DescribeRegions"
        | "DescribeRouteTables"
        | "DescribeSecurityGroupRules"
        | "DescribeSecurityGroups"
        | "DescribeSnapshots"
        | "DescribeSubnets"
        | "DescribeTags"
        | "DescribeVolumes"
        | "DescribeVpcs"
        | "DisableEbsEncryptionByDefault"
        | "EnableEbsEncryptionByDefault"
        | "GetEbsDefaultKmsKeyId"
        | "GetEbsEncryptionByDefault"
        | "ModifyEbsDefaultKmsKeyId"
        | "ResetEbsDefaultKmsKeyId" => it.anything(),
        "DescribeVpcAttribute" => vec![it.on("vpc", &it.text("VpcId"))],
        "CreateSecurityGroup" => {
            let vpc = it.params.given("VpcId").or_else(|| it.default_vpc());
            let vpc = it.on("vpc", vpc.as_deref().unwrap_or("*"));
            it.making(vec![vpc], &["security-group"])
        }
        "AuthorizeSecurityGroupIngress" => {
            let group = it.on("security-group", &it.group());
            // "Policies using the security-group-rule resource-level permission are only enforced when the
            // API request includes TagSpecifications."
            if it.params.structs("TagSpecification").is_empty() {
                vec![group]
            } else {
                it.making(vec![group], &["security-group-rule"])
            }
        }
        "RevokeSecurityGroupIngress" | "DeleteSecurityGroup" => {
            vec![it.on("security-group", &it.group())]
        }
        "CreateLaunchTemplate" => it.making(Vec::new(), &["launch-template"]),
        "CreateLaunchTemplateVersion"
        | "DeleteLaunchTemplate"
        | "DeleteLaunchTemplateVersions"
        | "ModifyLaunchTemplate" => vec![it.on("launch-template", &it.template())],
        "CopyImage" => {
            let (region, image) = (it.text("SourceRegion"), it.text("SourceImageId"));
            let source = it.ask(format!("arn:aws:ec2:{region}::image/{image}"));
            it.making(vec![source], &["image", "snapshot"])
        }
        "DeregisterImage" => it.deregistration(),
        "DeleteSnapshot" => vec![it.on("snapshot", &it.text("SnapshotId"))],
        "CreateTags" | "DeleteTags" => {
            let tags = sent(&it.params, "Tag");
            let ids = it.params.list("ResourceId");
            ids.iter()
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

    /// What a call makes of these types, after what else it is asked on; and `ec2:CreateTags` for each that
    /// is tagged as it is made (EC2 user guide, "Grant permission to tag Amazon EC2 resources during
    /// creation").
    fn making(&self, mut asks: Vec<Ask>, kinds: &[&str]) -> Vec<Ask> {
        for kind in kinds {
            let made = self.ec2(kind, "*");
            let tags = self.tags_for(kind);
            asks.push(self.ask(&made).requesting(&tags));
            let tagging = self.tagging("ec2:CreateTags", made, &tags);
            asks.extend(tagging.map(|ask| ask.with("ec2:CreateAction", &self.call.action)));
        }
        asks
    }

    /// The image, and its snapshot when that goes with it.
    fn deregistration(&self) -> Vec<Ask> {
        let image = self.text("ImageId");
        let mut asks = vec![self.on("image", &image)];
        let deletes = self.params.opt("DeleteAssociatedSnapshots");
        if deletes.as_deref() == Some("true") {
            asks.extend(self.snapshot_of(&image).map(|id| {
                self.other("ec2:DeleteSnapshot", self.ec2("snapshot", &id))
                    .tagged(&self.tags_of(&id))
            }));
        }
        asks
    }

    fn default_vpc(&self) -> Option<String> {
        let region = self.lab.ec2.region(&self.call.region).ok()?;
        region.default_vpc().map(|vpc| vpc.id.clone())
    }

    fn group(&self) -> String {
        self.by_id_or_name("GroupId", "GroupName", |region, name| {
            let group = region.groups.values().find(|it| it.name == name)?;
            Some(group.id.clone())
        })
    }

    fn template(&self) -> String {
        let (id, name) = ("LaunchTemplateId", "LaunchTemplateName");
        self.by_id_or_name(id, name, |region, name| {
            let template = region.templates.values().find(|it| it.name == name)?;
            Some(template.id.clone())
        })
    }

    /// The id in one parameter, or of what another one names; `*` when there is no such thing.
    fn by_id_or_name(
        &self,
        id: &str,
        name: &str,
        find: impl FnOnce(&Regional, &str) -> Option<String>,
    ) -> String {
        let named = || {
            let name = self.params.given(name)?;
            find(&*self.lab.ec2.region(&self.call.region).ok()?, &name)
        };
        let id = self.params.given(id).or_else(named);
        id.unwrap_or_else(|| "*".to_owned())
    }

    fn snapshot_of(&self, image: &str) -> Option<String> {
        let region = self.lab.ec2.region(&self.call.region).ok()?;
        region.images.get(image).map(|image| image.snapshot.clone())
    }
}
