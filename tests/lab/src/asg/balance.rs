//! The decisions of a group, as pure functions: where to launch, whom to end, when to even out.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::model::Subnet;

/// How scale-in narrows down its candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationPolicy {
    /// Oldest template, then closest to the next instance hour.
    Default,
    /// Launched first.
    OldestInstance,
    /// Launched last.
    NewestInstance,
    /// The lab has no launch configurations: narrows nothing down.
    OldestLaunchConfiguration,
    /// Another template than the group's, then the lowest version.
    OldestLaunchTemplate,
    /// Closest to the end of a running hour.
    ClosestToNextInstanceHour,
    /// The lab has one instance type a group: narrows nothing down.
    AllocationStrategy,
}

impl TerminationPolicy {
    const ALL: [Self; 7] = [
        Self::Default,
        Self::OldestInstance,
        Self::NewestInstance,
        Self::OldestLaunchConfiguration,
        Self::OldestLaunchTemplate,
        Self::ClosestToNextInstanceHour,
        Self::AllocationStrategy,
    ];

    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "Default",
            Self::OldestInstance => "OldestInstance",
            Self::NewestInstance => "NewestInstance",
            Self::OldestLaunchConfiguration => "OldestLaunchConfiguration",
            Self::OldestLaunchTemplate => "OldestLaunchTemplate",
            Self::ClosestToNextInstanceHour => "ClosestToNextInstanceHour",
            Self::AllocationStrategy => "AllocationStrategy",
        }
    }
}

impl FromStr for TerminationPolicy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or(())
    }
}

/// Where capacity is: one entry for each member or launch that is not on its way out.
pub type Occupied<'a> = Vec<(&'a str, &'a str)>;

/// The subnet for the next launch: of the zone with the fewest instances, the subnet with the
/// fewest; ties go to the group's own order. Zones in `blocked` (launches failed there lately) are
/// left out; nothing when all are blocked.
pub fn place<'a>(
    subnets: &'a [Subnet],
    occupied: &Occupied<'_>,
    blocked: &BTreeSet<String>,
) -> Option<&'a Subnet> {
    let in_zone = |zone: &str| occupied.iter().filter(|(at, _)| *at == zone).count();
    let in_subnet = |id: &str| occupied.iter().filter(|(_, at)| *at == id).count();
    subnets
        .iter()
        .filter(|subnet| !blocked.contains(&subnet.zone))
        .min_by_key(|subnet| (in_zone(&subnet.zone), in_subnet(&subnet.id)))
}

/// Whether the zones differ by two or more (or somebody is in a zone that the group left), and so a
/// launch followed by a termination would even them out.
pub fn is_unbalanced(
    subnets: &[Subnet],
    occupied: &Occupied<'_>,
    blocked: &BTreeSet<String>,
) -> bool {
    let mut counts: BTreeMap<&str, usize> = subnets
        .iter()
        .map(|subnet| (subnet.zone.as_str(), 0))
        .collect();
    let mut stranger = false;
    for (zone, _) in occupied {
        match counts.get_mut(zone) {
            Some(count) => *count += 1,
            None => stranger = true,
        }
    }
    let most = counts.values().max().copied().unwrap_or(0);
    let least = counts
        .iter()
        .filter(|(zone, _)| !blocked.contains(**zone))
        .map(|(_, count)| *count)
        .min();
    least.is_some_and(|least| stranger || most >= least + 2)
}

/// A member that scale-in may look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// `i-…`.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// Scale-in must not take it.
    pub protected: bool,
    /// Its template is the group's present one.
    pub own_template: bool,
    /// Its template's version.
    pub version: i64,
    /// Seconds since 1970 at which it was launched.
    pub launched: i64,
}

/// Whom scale-in takes: first the zone with the most instances (a zone that the group left goes
/// before all) among those with an unprotected one, then the policies one after the other, then
/// the longest running. Nothing when everybody is protected.
pub fn choose_victim<'a>(
    candidates: &'a [Candidate],
    zones: &[String],
    policies: &[TerminationPolicy],
    now: i64,
) -> Option<&'a Candidate> {
    let weight = |zone: &str| {
        let count = candidates.iter().filter(|other| other.zone == zone).count();
        (!zones.iter().any(|own| own == zone), count)
    };
    let heaviest = candidates
        .iter()
        .filter(|candidate| !candidate.protected)
        .map(|candidate| weight(&candidate.zone))
        .max()?;
    let mut left: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| !candidate.protected && weight(&candidate.zone) == heaviest)
        .collect();
    for policy in policies {
        narrow(&mut left, *policy, now);
    }
    left.into_iter()
        .min_by_key(|candidate| (candidate.launched, candidate.id.clone()))
}

fn narrow(left: &mut Vec<&Candidate>, policy: TerminationPolicy, now: i64) {
    use TerminationPolicy as P;
    match policy {
        P::Default => {
            narrow(left, P::OldestLaunchTemplate, now);
            narrow(left, P::ClosestToNextInstanceHour, now);
        }
        P::OldestInstance => keep_least(left, |candidate| candidate.launched),
        P::NewestInstance => keep_least(left, |candidate| -candidate.launched),
        P::OldestLaunchTemplate => keep_least(left, |candidate| {
            if candidate.own_template {
                candidate.version
            } else {
                -1
            }
        }),
        P::ClosestToNextInstanceHour => keep_least(left, |candidate| {
            3600 - (now - candidate.launched).max(0) % 3600
        }),
        P::OldestLaunchConfiguration | P::AllocationStrategy => {}
    }
}

fn keep_least(left: &mut Vec<&Candidate>, key: impl Fn(&Candidate) -> i64) {
    if let Some(least) = left.iter().map(|candidate| key(candidate)).min() {
        left.retain(|candidate| key(candidate) == least);
    }
}

/// How many members with a slow illness (see [`super::model::Illness::is_immediate`]) may be ended
/// now: a tenth of the group at a time, one at least, and none while launches are under way and
/// the group is a tenth or more below its goal.
pub fn slow_replacements(desired: i64, in_service: i64, arriving: i64, leaving_sick: i64) -> i64 {
    if arriving > 0 && in_service * 10 <= desired * 9 {
        return 0;
    }
    (desired / 10).max(1) - arriving - leaving_sick
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnets(zones: &[&str]) -> Vec<Subnet> {
        zones
            .iter()
            .enumerate()
            .map(|(index, zone)| Subnet {
                id: format!("subnet-{index}"),
                zone: (*zone).to_owned(),
            })
            .collect()
    }

    fn candidate(id: &str, zone: &str, version: i64, launched: i64) -> Candidate {
        Candidate {
            id: id.to_owned(),
            zone: zone.to_owned(),
            protected: false,
            own_template: true,
            version,
            launched,
        }
    }

    fn zones(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn launches_go_to_the_emptiest_zone_that_is_not_blocked() {
        let subnets = subnets(&["a", "b", "c"]);
        let occupied = vec![("a", "subnet-0"), ("b", "subnet-1")];
        let none = BTreeSet::new();
        assert_eq!(place(&subnets, &occupied, &none).unwrap().zone, "c");
        let blocked = BTreeSet::from(["c".to_owned()]);
        assert_eq!(place(&subnets, &occupied, &blocked).unwrap().zone, "a");
        let all = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!(place(&subnets, &occupied, &all), None);
    }

    #[test]
    fn two_subnets_of_a_zone_share_its_instances() {
        let subnets = subnets(&["a", "a"]);
        let occupied = vec![("a", "subnet-0")];
        assert_eq!(
            place(&subnets, &occupied, &BTreeSet::new()).unwrap().id,
            "subnet-1"
        );
    }

    #[test]
    fn the_default_policy_takes_zone_then_template_then_hour() {
        let own = zones(&["a", "b"]);
        let policies = [TerminationPolicy::Default];
        // (members, who goes, why)
        let table: Vec<(Vec<Candidate>, &str, &str)> = vec![
            (
                vec![
                    candidate("i-1", "a", 1, 0),
                    candidate("i-2", "b", 2, 0),
                    candidate("i-3", "b", 2, 50),
                ],
                "i-2",
                "b has most, and i-2's hour ends first",
            ),
            (
                vec![candidate("i-1", "a", 2, 0), candidate("i-2", "b", 1, 900)],
                "i-2",
                "zones are even, version 1 is older",
            ),
            (
                vec![
                    candidate("i-1", "a", 1, 0),
                    candidate("i-2", "a", 1, -3000),
                    candidate("i-3", "b", 1, 0),
                ],
                "i-2",
                "4000 s of running are 600 s into the hour, but 3400 left is less than 3600 - 1000",
            ),
            (
                vec![candidate("i-1", "a", 1, 0), candidate("i-2", "gone", 9, 0)],
                "i-2",
                "its zone is no longer the group's",
            ),
        ];
        for (members, expected, why) in table {
            let now = if expected == "i-2" && members.len() == 3 && members[1].launched < 0 {
                500
            } else {
                1000
            };
            let victim = choose_victim(&members, &own, &policies, now).unwrap();
            assert_eq!(victim.id, expected, "{why}");
        }
    }

    #[test]
    fn another_template_is_older_than_any_version() {
        let mut members = vec![candidate("i-1", "a", 1, 0), candidate("i-2", "a", 7, 0)];
        members[1].own_template = false;
        let victim = choose_victim(
            &members,
            &zones(&["a"]),
            &[TerminationPolicy::OldestLaunchTemplate],
            10,
        );
        assert_eq!(victim.unwrap().id, "i-2");
    }

    #[test]
    fn sick_members_go_a_tenth_at_a_time() {
        // (desired, in service, arriving, leaving) -> allowed
        for ((desired, serving, arriving, leaving), allowed) in [
            ((3, 3, 0, 0), 1),
            ((3, 2, 1, 0), 0),
            ((3, 3, 0, 1), 0),
            ((20, 20, 0, 0), 2),
            ((20, 19, 1, 0), 1),
            ((20, 18, 2, 0), 0),
        ] {
            assert_eq!(
                slow_replacements(desired, serving, arriving, leaving).max(0),
                allowed,
                "{desired} {serving} {arriving} {leaving}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_number_of_launches_leaves_zones_within_one(count in 0_usize..40, zone_count in 1_usize..5) {
            let names = ["a", "b", "c", "d"];
            let subnets = subnets(&names[..zone_count]);
            let mut placed: Vec<Subnet> = Vec::new();
            for _ in 0..count {
                let occupied = placed.iter().map(|s| (s.zone.as_str(), s.id.as_str())).collect();
                placed.push(place(&subnets, &occupied, &BTreeSet::new()).unwrap().clone());
            }
            let occupied: Occupied<'_> = placed.iter().map(|s| (s.zone.as_str(), s.id.as_str())).collect();
            prop_assert!(!is_unbalanced(&subnets, &occupied, &BTreeSet::new()));
        }

        #[test]
        fn scale_in_never_takes_the_protected_and_keeps_balance(
            members in prop::collection::vec((0_usize..3, any::<bool>(), 0_i64..4, 0_i64..9000), 1..20)
        ) {
            let names = ["a", "b", "c"];
            let all: Vec<Candidate> = members.iter().enumerate().map(|(index, (zone, protected, version, launched))| {
                let mut made = candidate(&format!("i-{index}"), names[*zone], *version, *launched);
                made.protected = *protected;
                made
            }).collect();
            let own = zones(&names);
            match choose_victim(&all, &own, &[TerminationPolicy::Default], 9000) {
                None => prop_assert!(all.iter().all(|candidate| candidate.protected)),
                Some(victim) => {
                    prop_assert!(!victim.protected);
                    let size = |zone: &str| all.iter().filter(|other| other.zone == zone).count();
                    prop_assert!(all.iter().filter(|other| !other.protected).all(|other| size(&other.zone) <= size(&victim.zone)));
                }
            }
        }
    }
}
