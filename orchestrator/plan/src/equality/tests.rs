use super::*;

const WRITTEN: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(WRITTEN + seconds).unwrap()
}

fn goal(change: impl FnOnce(&mut String, &mut Option<String>, &mut Option<Timestamp>)) -> NodeGoal {
    let (mut version, mut licence, mut started_after) = ("11.10.0".to_owned(), None, None);
    change(&mut version, &mut licence, &mut started_after);
    NodeGoal::Serve {
        version,
        sha256: "ab".to_owned(),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        migrate: false,
        expected_migrations: 147,
        cluster: None,
        scheduler: true,
        rollout: None,
        settings: BTreeMap::new(),
        licence,
        started_after,
        configuration: ConfigurationHome::Database,
        files: None,
        copy: None,
    }
}

/// A node that serves since so many seconds after the row was written.
fn node(since: Option<i64>, hash: &str) -> Node {
    Node {
        phase: "serving".to_owned(),
        current: true,
        connected: true,
        version_id: format!("11.10.0.11.10.0.{hash}.true"),
        server_since: since.map(at),
        ..Node::default()
    }
}

fn judge(one: (NodeGoal, Node), other: (NodeGoal, Node)) -> Vec<String> {
    judge_at(at(600), one, other)
}

fn judge_at(now: Timestamp, one: (NodeGoal, Node), other: (NodeGoal, Node)) -> Vec<String> {
    let (one, other) = ([("a", one)], [("b", other)]);
    let all: Vec<_> = one.into_iter().chain(other).collect();
    let given = all
        .iter()
        .map(|(id, (goal, _))| ((*id).to_owned(), goal.clone()))
        .collect();
    let nodes = all
        .iter()
        .map(|(id, (_, node))| ((*id).to_owned(), node.clone()))
        .collect();
    let found = stale(&given, &nodes, at(0), now);
    found.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_older_one_of_two_that_differ_is_stale() {
    let plain = || goal(|_, _, _| {});
    let cases = [
        (
            "it began before",
            (Some(-500), "old"),
            (Some(500), "new"),
            &["a"][..],
        ),
        (
            "the same hash",
            (Some(-500), "new"),
            (Some(500), "new"),
            &[][..],
        ),
        (
            "both read the row",
            (Some(400), "old"),
            (Some(500), "new"),
            &[][..],
        ),
        (
            "both are older",
            (Some(-500), "old"),
            (Some(-400), "new"),
            &[][..],
        ),
        (
            "it may have read before",
            (Some(20), "old"),
            (Some(500), "new"),
            &["a"][..],
        ),
        (
            "the later one began just after it",
            (Some(-500), "old"),
            (Some(20), "new"),
            &["a"][..],
        ),
        (
            "both began just after it",
            (Some(20), "old"),
            (Some(30), "new"),
            &[][..],
        ),
        (
            "its start is not known",
            (None, "old"),
            (Some(500), "new"),
            &[][..],
        ),
        (
            "the later's is not",
            (Some(-500), "old"),
            (None, "new"),
            &[][..],
        ),
    ];
    for (what, one, other, expected) in cases {
        let [one, other] = [one, other].map(|(since, hash)| (plain(), node(since, hash)));
        assert_eq!(judge(one, other), expected, "{what}");
    }
}

/// Beside a server of the minute after the row either one may be right: the one that surely is older goes
/// first, and what it read then judges the other.
#[test]
fn who_was_restarted_for_the_row_has_read_it() {
    let older = || (goal(|_, _, _| {}), node(Some(-500), "one"));
    let later = || (goal(|_, _, _| {}), node(Some(20), "another"));
    // A cluster may be telling its members of the row just now.
    assert_eq!(judge_at(at(10), older(), later()), [""; 0]);
    assert_eq!(judge(older(), later()), ["a"]);
    let restarted = |hash| {
        let goal = goal(|_, _, started| *started = Some(at(0)));
        (goal, node(Some(40), hash))
    };
    assert_eq!(judge(restarted("another"), later()), [""; 0]);
    assert_eq!(judge(restarted("one"), later()), ["b"]);
    assert_eq!(judge(restarted("one"), restarted("another")), [""; 0]);
}

#[test]
fn only_siblings_are_compared() {
    let old = || node(Some(-500), "old");
    let new = || node(Some(500), "new");
    let plain = || goal(|_, _, _| {});
    for other in [
        goal(|version, _, _| *version = "11.11.0".to_owned()),
        goal(|_, licence, _| *licence = Some("v2".to_owned())),
        NodeGoal::Drain,
    ] {
        assert_eq!(judge((plain(), old()), (other, new())), [""; 0]);
    }
    // What a `config.json` says is no row: neither side of such a pair is judged.
    let on_its_file = || {
        let mut goal = plain();
        if let NodeGoal::Serve { configuration, .. } = &mut goal {
            *configuration = ConfigurationHome::File;
        }
        goal
    };
    for (one, other) in [
        (on_its_file(), plain()),
        (plain(), on_its_file()),
        (on_its_file(), on_its_file()),
    ] {
        assert_eq!(judge((one, old()), (other, new())), [""; 0]);
    }
    // Restarted for this row already: once is enough.
    let restarted = goal(|_, _, started| *started = Some(at(0)));
    assert_eq!(judge((restarted, old()), (plain(), new())), [""; 0]);
    let earlier = goal(|_, _, started| *started = Some(at(-1000)));
    assert_eq!(judge((earlier, old()), (plain(), new())), ["a"]);
    for change in [
        |node: &mut Node| node.phase = "starting".to_owned(),
        |node: &mut Node| node.connected = false,
        |node: &mut Node| node.current = false,
        |node: &mut Node| node.version_id.clear(),
    ] {
        let mut silent = new();
        change(&mut silent);
        assert_eq!(judge((plain(), old()), (plain(), silent)), [""; 0]);
    }
}

#[test]
fn the_hash_is_the_last_part_but_one() {
    for (version_id, expected) in [
        ("11.10.0.11.10.0.d41d8cd9.true", Some("d41d8cd9")),
        ("6.7.0.6.7.0.abc.false", Some("abc")),
        ("6.7.0.dev.abc.false", Some("abc")),
        ("11.10.0", None),
        ("", None),
        ("...true", None),
        ("a.b.c.maybe", None),
    ] {
        assert_eq!(hash(version_id), expected, "{version_id}");
    }
}
