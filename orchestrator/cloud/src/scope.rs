//! What one look at the world is about.

use std::collections::BTreeSet;

use jiff::Timestamp;
use plan::Spec;

/// The stack to look at: names, tags and zones come from its specification.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The specification.
    pub spec: Spec,
    /// Images of the home region that are looked at besides those that carry the stack's tag, by id or by
    /// name: what serves, what a rollout brings, and until something serves what the specification names.
    pub images: BTreeSet<String>,
    /// The moment of the look: the end of metric windows, and what ages are counted from.
    pub now: Timestamp,
    /// The bucket of users' files is to be deleted: whether it is empty is asked then.
    pub deletes_files: bool,
}

impl Scope {
    /// Every region that the stack's zones lie in.
    pub(crate) fn regions(&self) -> BTreeSet<String> {
        self.spec.zones.iter().map(|zone| region_of(zone)).collect()
    }

    /// The zones of `region`, in the specification's order.
    pub(crate) fn zones_in(&self, region: &str) -> Vec<&str> {
        self.spec
            .zones
            .iter()
            .map(String::as_str)
            .filter(|zone| region_of(zone) == region)
            .collect()
    }
}

/// `us-east-1` of `us-east-1a`. Local and Wavelength zones (`us-west-2-lax-1a`) belong to the region
/// that their name begins with: three parts joined by hyphens.
pub(crate) fn region_of(zone: &str) -> String {
    let zone = zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    zone.split('-').take(3).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::region_of;

    #[test]
    fn a_zone_names_its_region() {
        for (zone, region) in [
            ("us-east-1a", "us-east-1"),
            ("eu-central-1c", "eu-central-1"),
            ("us-west-2-lax-1a", "us-west-2"),
            ("ap-southeast-2b", "ap-southeast-2"),
        ] {
            assert_eq!(region_of(zone), region);
        }
    }
}
