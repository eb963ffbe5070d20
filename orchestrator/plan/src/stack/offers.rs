//! Whether EC2 and RDS have what the specification names, in the zones that it is wanted in: known before the
//! first database is made, which takes minutes and costs money.

use std::collections::BTreeSet;

use super::{database, image};
use crate::draft::Draft;
use crate::observed::{ClassOffer, Image, Network, TypeOffer};
use crate::spec::Spec;
use crate::view::View;

/// Whether nothing that is still to be made is known to be refused. What serves is not asked about: its type
/// and class were there when it was made.
pub(super) fn can_be_made(view: &View<'_>, draft: &mut Draft, network: &Network) -> bool {
    let mut problems = Vec::new();
    if view.record().proven.is_none() && !view.record_is_missing() {
        if !draft.knows(view, "offers") {
            return false;
        }
        let home = view.observed.images.get(&view.spec().home_region());
        let image = image::chosen(view).and_then(|id| home?.get(&id));
        problems.extend(
            view.observed
                .offers
                .instance_type
                .iter()
                .flat_map(|offer| launch_problems(view.spec(), network, offer, image)),
        );
        if let (None, Some(offer)) = (view.primary(), &view.observed.offers.db_class) {
            let versions = &view.observed.engine_versions;
            problems.extend(class_problem(view.spec(), network, offer, versions));
        }
    }
    for problem in &problems {
        draft.stick("offers", problem.clone());
    }
    problems.is_empty()
}

/// Why no node of this type can be launched from the image in the subnets, each with what would be right.
pub fn launch_problems(
    spec: &Spec,
    network: &Network,
    offer: &TypeOffer,
    image: Option<&Image>,
) -> Vec<String> {
    let TypeOffer {
        name,
        architectures,
        zones,
    } = offer;
    let home = spec.home_region();
    if architectures.is_empty() {
        return vec![format!(
            "EC2 has no instance type `{name}` in `{home}`: name another one in `fleet.instance_type` (`aws ec2 describe-instance-types --region {home}` lists them)"
        )];
    }
    let mut problems = Vec::new();
    let used: BTreeSet<&String> = network.subnets.iter().map(|subnet| &subnet.zone).collect();
    let missing = listed(used.iter().copied().filter(|zone| !zones.contains(*zone)));
    if !missing.is_empty() {
        problems.push(format!(
            "instance type `{name}` is not offered in {missing} (in `{home}`: {}): name another one in `fleet.instance_type`, or leave the zone out of `zones` and `network`",
            or_nowhere(listed(zones.iter()))
        ));
    }
    if let Some(image) = image.filter(|image| !image.architecture.is_empty())
        && !architectures.contains(&image.architecture)
    {
        problems.push(format!(
            "image `{}` is for {}, instance type `{name}` for {}: name a type for {} in `fleet.instance_type`, or an image for the type in `fleet.image`",
            image.id,
            image.architecture,
            listed(architectures.iter()),
            image.architecture
        ));
    }
    problems
}

/// Why RDS would not make an instance of this class with the engine version that is taken of `versions`
/// (what RDS offers), with what would be right.
pub fn class_problem(
    spec: &Spec,
    network: &Network,
    offer: &ClassOffer,
    versions: &[String],
) -> Option<String> {
    let ClassOffer { name, zones } = offer;
    let home = spec.home_region();
    let version = database::engine_version(spec, versions);
    let version = version.as_deref();
    if zones.is_empty() {
        return Some(format!(
            "RDS has no class `{name}` for PostgreSQL on gp3 in `{home}`: name another one in `database.class` (`aws rds describe-orderable-db-instance-options --engine postgres --region {home}` lists them)"
        ));
    }
    let fits = |one: &str| {
        version.is_none_or(|wanted| one == wanted || one.starts_with(&format!("{wanted}.")))
    };
    let offering: BTreeSet<&String> = zones
        .iter()
        .filter(|(one, _)| fits(one))
        .flat_map(|(_, zones)| zones)
        .collect();
    if offering.is_empty() {
        return Some(format!(
            "RDS has class `{name}` in `{home}` not with PostgreSQL {} (it has it with {}): name another class or `database.engine_version`",
            version.unwrap_or_default(),
            listed(zones.keys())
        ));
    }
    // RDS takes a zone that has the class; the standby of a Multi-AZ instance needs another one.
    let needed = if spec.database.multi_az { 2 } else { 1 };
    let used: BTreeSet<&String> = network.subnets.iter().map(|subnet| &subnet.zone).collect();
    if used.intersection(&offering).count() < needed {
        return Some(format!(
            "class `{name}` is needed in {needed} of the zones {}, and RDS has it in {}: name another one in `database.class`, or other zones",
            listed(used.into_iter()),
            or_nowhere(listed(offering.into_iter()))
        ));
    }
    None
}

/// `us-east-1a, us-east-1b`.
fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn or_nowhere(names: String) -> String {
    if names.is_empty() {
        "nowhere".to_owned()
    } else {
        names
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixtures::{empty_account, unlicensed};

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn offer(architectures: &[&str], zones: &[&str]) -> TypeOffer {
        TypeOffer {
            name: "m7g.large".to_owned(),
            architectures: set(architectures),
            zones: set(zones),
        }
    }

    #[test]
    fn a_type_is_known_offered_in_every_zone_and_of_the_images_architecture() {
        let (spec, network) = (unlicensed(), empty_account().network.unwrap());
        let image = Image {
            id: "ami-1".to_owned(),
            architecture: "x86_64".to_owned(),
            ..Image::default()
        };
        let both = ["us-east-1a", "us-east-1b"];
        for (offer, words) in [
            (offer(&["x86_64"], &both), &[][..]),
            (offer(&[], &[]), &["no instance type `m7g.large`"]),
            (
                offer(&["x86_64"], &["us-east-1a", "us-east-1c"]),
                &["not offered in us-east-1b (in `us-east-1`: us-east-1a, us-east-1c)"],
            ),
            (
                offer(&["arm64"], &both),
                &["image `ami-1` is for x86_64, instance type `m7g.large` for arm64"],
            ),
            (offer(&["arm64"], &["us-east-1a"]), &["us-east-1b", "arm64"]),
        ] {
            let found = launch_problems(&spec, &network, &offer, Some(&image));
            assert_eq!(found.len(), words.len(), "{found:?}");
            for (text, word) in found.iter().zip(words) {
                assert!(text.contains(word), "{text}");
            }
        }
    }

    #[test]
    fn a_class_is_known_with_the_version_in_enough_zones() {
        let network = empty_account().network.unwrap();
        let spec = unlicensed();
        let mut standby = spec.clone();
        standby.database.multi_az = true;
        standby.database.engine_version = Some("16".to_owned());
        let offer = |zones: &[(&str, &[&str])]| ClassOffer {
            name: "db.m7g.large".to_owned(),
            zones: zones
                .iter()
                .map(|(version, zones)| ((*version).to_owned(), set(zones)))
                .collect::<BTreeMap<_, _>>(),
        };
        let one = offer(&[("16.4", &["us-east-1a"]), ("17.2", &["us-east-1c"])]);
        let nothing = offer(&[]);
        for (spec, offer, newest, words) in [
            (&spec, &one, "16.4", None),
            (&spec, &nothing, "16.4", Some("no class `db.m7g.large`")),
            (
                &spec,
                &one,
                "15.8",
                Some("not with PostgreSQL 15.8 (it has it with 16.4, 17.2)"),
            ),
            (
                &spec,
                &one,
                "17.2",
                Some("in 1 of the zones us-east-1a, us-east-1b, and RDS has it in us-east-1c"),
            ),
            (&standby, &one, "16.4", Some("in 2 of the zones")),
        ] {
            let found = class_problem(spec, &network, offer, &[newest.to_owned()]);
            assert_eq!(found.is_some(), words.is_some(), "{found:?}");
            if let (Some(text), Some(word)) = (found, words) {
                assert!(text.contains(word), "{text}");
            }
        }
    }
}
