//! What Auto Scaling asks of who gives it a launch template: whether they could launch from it themselves
//! (Auto Scaling user guide, "Control Amazon EC2 launch template usage in Auto Scaling groups").

use super::Asking;
use crate::authorize::evaluate::Ask;
use crate::ec2::LaunchFacts;

/// Nothing when the call names no template, or one that does not exist: the service refuses that itself.
pub(super) fn asks(it: &Asking<'_>, subnets: &[String]) -> Vec<Ask> {
    let Some(sent) = it.params.sub("LaunchTemplate") else {
        return Vec::new();
    };
    let wanted = sent
        .given("LaunchTemplateId")
        .or_else(|| sent.given("LaunchTemplateName"))
        .unwrap_or_default();
    let version = sent.given("Version").unwrap_or_default();
    let Some(facts) = LaunchFacts::of(it.lab, &it.call.region, &wanted, &version) else {
        return Vec::new();
    };
    let mut asks = run_instances(it, &facts, subnets);
    // The launched instances and volumes are tagged as the template says.
    asks.extend(facts.tags.iter().map(|(kind, tags)| {
        it.other("ec2:CreateTags", it.ec2(kind, "*"))
            .requesting(tags)
            .with("ec2:CreateAction", "RunInstances")
    }));
    asks.extend(facts.role.as_ref().map(|role| {
        it.other("iam:PassRole", role)
            .with("iam:PassedToService", "ec2.amazonaws.com")
    }));
    asks
}

/// `ec2:RunInstances` on everything that a launch from the template uses and makes.
fn run_instances(it: &Asking<'_>, facts: &LaunchFacts, subnets: &[String]) -> Vec<Ask> {
    let template = it.ec2("launch-template", &facts.template);
    let mut resources = vec![("launch-template", facts.template.clone(), false)];
    resources.extend(facts.image.iter().map(|id| ("image", id.clone(), true)));
    for kind in ["instance", "network-interface", "volume"] {
        resources.push((kind, "*".to_owned(), true));
    }
    let groups = facts.security_groups.iter();
    resources.extend(groups.map(|id| ("security-group", id.clone(), true)));
    let key = facts.key_pair.iter();
    resources.extend(key.map(|name| ("key-pair", name.clone(), true)));
    resources.extend(subnets.iter().map(|id| ("subnet", id.clone(), false)));
    resources
        .into_iter()
        .map(|(kind, id, from_template)| {
            let tags = facts.tags.iter().find(|(tagged, _)| tagged == kind);
            it.other("ec2:RunInstances", it.ec2(kind, &id))
                .tagged(&it.tags_of(&id))
                .requesting(tags.map_or(&[], |(_, tags)| tags))
                .with("ec2:LaunchTemplate", &template)
                .with("ec2:IsLaunchTemplateResource", from_template.to_string())
        })
        .collect()
}
