//! When a rotation of the CA goes on. Pure: what was seen is passed in.

use jiff::Timestamp;

use super::{NODE_LIFETIME, SKEW};

/// Where a rotation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One CA.
    Steady,
    /// A new one is trusted, too.
    Announced {
        /// Seconds since 1970.
        since: i64,
        /// SHA-256 (hex) of its certificate.
        next: String,
    },
    /// The new one signs, the old one is still trusted.
    Signing {
        /// Seconds since 1970.
        since: i64,
        /// SHA-256 (hex) of the old one's certificate.
        previous: String,
    },
}

impl Step {
    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Announced { .. } => "announced",
            Self::Signing { .. } => "signing",
        }
    }
}

/// What the fleet still holds against the next step.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// Nodes that run and enrolled, and have no session: they may know only the old CA.
    pub away: Vec<String>,
    /// Groups that launch from a template version with the old CA's pin.
    pub old_pins: Vec<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: there is no rotation.
    Rest,
    /// Wait, for these reasons.
    Wait(Vec<String>),
    /// Take the next step.
    Advance,
}

/// Every certificate of before ends within this, and with it every bundle that is older: a node with a
/// session renewed meanwhile. The clocks' difference on top.
fn overlap() -> i64 {
    (NODE_LIFETIME + SKEW).as_secs() as i64
}

/// Whether the next step is due. Before the new CA signs, every node with a session shall know it; that
/// others may be away does not matter, they get there by the old CA's certificate for the new one. Before
/// the old one is dropped, nobody may need it.
pub fn next(step: &Step, now: Timestamp, fleet: &Fleet) -> Next {
    let until = |since: i64| (since + overlap() > now.as_second()).then_some(since + overlap());
    let at = |second: i64| {
        Timestamp::from_second(second).map_or_else(
            |_| second.to_string(),
            |at| at.strftime("%H:%M:%S UTC").to_string(),
        )
    };
    let reasons: Vec<String> = match step {
        Step::Steady => return Next::Rest,
        Step::Announced { since, .. } => until(*since)
            .map(|end| format!("nodes learn the new CA when they renew: until {}", at(end)))
            .into_iter()
            .collect(),
        Step::Signing { since, .. } => {
            let time = until(*since)
                .map(|end| format!("certificates of the old CA are good until {}", at(end)));
            let away = fleet
                .away
                .iter()
                .map(|node| format!("{node} has no session and may know only the old CA"));
            let pins = fleet
                .old_pins
                .iter()
                .map(|group| format!("`{group}` still launches nodes with the old CA's digest"));
            time.into_iter().chain(away).chain(pins).collect()
        }
    };
    if reasons.is_empty() {
        Next::Advance
    } else {
        Next::Wait(reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_rotation_waits_for_whoever_could_be_cut_off() {
        let since = 1_800_000_000;
        let announced = Step::Announced {
            since,
            next: "b".into(),
        };
        let signing = Step::Signing {
            since,
            previous: "a".into(),
        };
        let all_here = Fleet::default();
        let away = Fleet {
            away: vec!["i-1".into()],
            old_pins: vec!["chat-g1".into()],
        };
        assert_eq!(next(&Step::Steady, at(0), &away), Next::Rest);
        assert!(matches!(
            next(&announced, at(3899), &all_here),
            Next::Wait(_)
        ));
        // Who is away gets there by the old CA's word for the new one.
        assert_eq!(next(&announced, at(3900), &away), Next::Advance);
        let Next::Wait(reasons) = next(&signing, at(3899), &away) else {
            panic!("it goes on");
        };
        assert_eq!(
            reasons,
            [
                "certificates of the old CA are good until 09:05:00 UTC",
                "i-1 has no session and may know only the old CA",
                "`chat-g1` still launches nodes with the old CA's digest",
            ]
        );
        assert!(matches!(next(&signing, at(3900), &away), Next::Wait(_)));
        assert_eq!(next(&signing, at(3900), &all_here), Next::Advance);
    }
}
