//! What people read of the licence, and rows of before it.

use jiff::{SignedDuration, Timestamp};

use super::{NO_CLUSTER, UNLICENSED, licensed};
use crate::NodeGoal;
use crate::fixtures::epoch;
use crate::licence::words;
use crate::observed::{Node, ServerLicence, Term};
use crate::view::View;

#[test]
fn who_took_it_is_verified() {
    let (world, intent) = licensed(1);
    let view = View::new(&intent, &world.observed, world.now);
    let (id, node) = world.observed.nodes.first_key_value().unwrap();
    let goal = node.goal.clone().unwrap();
    let taken = ServerLicence {
        licensed: true,
        cluster: true,
    };
    let cases: [(Option<ServerLicence>, &str, Result<(), &str>); 5] = [
        (Some(taken), "11.10.0.1.abc.true", Ok(())),
        (
            Some(UNLICENSED),
            "11.10.0.1.abc.false",
            Err("runs unlicensed"),
        ),
        (
            Some(NO_CLUSTER),
            "11.10.0.1.abc.true",
            Err("allows no cluster"),
        ),
        (None, "11.10.0.1.abc.true", Err("has not said whether")),
        // An agent from before cannot be asked.
        (None, "", Ok(())),
    ];
    for (licence, version_id, expected) in cases {
        let node = Node {
            licence,
            version_id: version_id.to_owned(),
            ..node.clone()
        };
        match (words::taken(&view, id, &node, &goal), expected) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) => assert!(why.contains(part) && why.contains(id), "{why}"),
            (got, wanted) => panic!("{licence:?} {version_id}: {got:?}, not {wanted:?}"),
        }
    }
}

#[test]
fn the_end_is_told_thirty_days_before_and_afterwards() {
    let (world, intent) = licensed(1);
    let days = |days: i64| {
        let ends = world
            .now
            .checked_add(SignedDuration::from_hours(24 * days + 1))
            .unwrap();
        let term = Term {
            id: "abc".to_owned(),
            starts: epoch(),
            expires: ends,
            cluster: true,
            sku: "enterprise".to_owned(),
            customer: "Example".to_owned(),
        };
        let view = View::new(&intent, &world.observed, world.now);
        words::term(&view, "l", Some(&term), true).join("; ")
    };
    assert_eq!(days(30), "");
    let soon = days(29);
    assert!(
        soon.contains("(abc, enterprise, Example) ends on ") && soon.contains("in 29 day(s)"),
        "{soon}"
    );
    assert!(days(0).contains("in 0 day(s)"));
    assert!(days(-1).contains("servers run on it until"), "{}", days(-1));
    assert!(
        days(-11).contains("grace period of 10 days"),
        "{}",
        days(-11)
    );

    let view = View::new(&intent, &world.observed, world.now);
    let term = Term {
        id: String::new(),
        starts: Timestamp::MAX,
        expires: Timestamp::MAX,
        cluster: false,
        sku: String::new(),
        customer: String::new(),
    };
    let texts = words::term(&view, "l", Some(&term), true);
    assert!(
        texts[0].contains("allows no cluster") && texts[1].contains("valid from"),
        "{texts:?}"
    );
    // A text that a server took is no reason to say anything.
    assert_eq!(words::term(&view, "l", None, true), [""; 0]);
    assert!(words::term(&view, "l", None, false)[0].contains("not readable"));
}

#[test]
fn rows_of_before_are_readable() {
    let node: Node = serde_json::from_str(
        r#"{"phase":"serving","generation":7,"mattermost_version":"11.10.0","configuration_digest":"ab",
            "consecutive_ok":3,"migrations_applied":147,"migrated":true,"goal":null,"current":false,
            "connected":true,"disconnected_since":null,"at":"2026-11-01T00:00:00Z","failure":null,
            "connections":3,"note":""}"#,
    )
    .unwrap();
    assert_eq!((node.licence, node.server_since), (None, None));
    assert_eq!(node.version_id, "");
    let goal: NodeGoal = serde_json::from_str(
        r#"{"goal":"serve","version":"11.10.0","sha256":"ab","url":"https://x","migrate":false,
            "expected_migrations":147,"cluster":"chat","scheduler":true,"rollout":null,"settings":{}}"#,
    )
    .unwrap();
    assert_eq!(goal.licence(), None);
    let record: crate::intent::Record = serde_json::from_str(
        r#"{"proven":null,"slot":"a","group":null,"image_id":null,"generation":1}"#,
    )
    .unwrap();
    assert_eq!(record.licence, crate::intent::LicenceRecord::default());
}
