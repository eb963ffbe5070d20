use std::cell::Cell;

use futures_util::FutureExt;

use super::*;

const AGES: Ages = Ages {
    state: Duration::from_secs(60),
    settings: Duration::from_secs(900),
};

const ALL: [Read; 26] = [
    Read::Instances,
    Read::Groups,
    Read::Listeners,
    Read::Targets,
    Read::DbInstances,
    Read::ReplicaLag,
    Read::Secrets,
    Read::LoadBalancer,
    Read::Images,
    Read::DbSnapshots,
    Read::Activities,
    Read::LoadBalancerSettings,
    Read::TargetGroups,
    Read::Hooks,
    Read::ScalingPolicies,
    Read::Template,
    Read::SecurityGroups,
    Read::Network,
    Read::Alarms,
    Read::DbSubnetGroup,
    Read::DbParameterGroup,
    Read::Bucket,
    Read::FilesKey,
    Read::EngineVersions,
    Read::TypeOffer,
    Read::ClassOffer,
];

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A memory of one read, and a world that gives another answer each time: how often it was asked.
struct Stage {
    kept: Kept<u32>,
    calls: Calls,
    asked: Cell<u32>,
    began: Instant,
}

impl Stage {
    fn new(read: Read) -> Self {
        Self {
            kept: Kept::new(read),
            calls: Calls::default(),
            asked: Cell::new(0),
            began: Instant::now(),
        }
    }

    fn pass(&self, reading: Reading, at: u64) -> Pass<'_> {
        Pass::new(reading, &self.calls, self.began + seconds(at))
    }

    /// What a pass sees so many seconds after the beginning, and whether the world was asked.
    fn look(&self, reading: Reading, at: u64) -> (u32, bool) {
        let before = self.asked.get();
        let pass = self.pass(reading, at);
        let read = self.kept.or(&pass, "it", async {
            self.asked.set(self.asked.get() + 1);
            Ok::<_, ()>(self.asked.get())
        });
        let value = read.now_or_never().expect("at once").expect("read");
        let asked = self.asked.get() > before;
        assert_eq!(pass.given().is_empty(), asked);
        (value, asked)
    }
}

/// A quiet stack is observed every 15 seconds, and a pass shows what it saw until the next one: nothing gets
/// older than it may, and little is asked for it.
#[test]
fn nothing_is_shown_older_than_it_may_be() {
    for read in ALL {
        let stage = Stage::new(read);
        let (limit, most) = match read.class() {
            Class::Members | Class::State => (60, 80),
            Class::Awaited | Class::Settings => (900, 5),
            Class::Offers => (915, 5),
        };
        let mut asked_at = 0;
        for at in (0..3600).step_by(15) {
            assert!(
                at - asked_at <= limit,
                "{read:?} is {} s old",
                at - asked_at
            );
            if stage.look(Reading::quiet(AGES), at).1 {
                asked_at = at;
            }
        }
        let asked = stage.asked.get();
        assert!(asked <= most, "{read:?} is asked {asked} times an hour");
    }
}

#[test]
fn how_old_an_answer_may_be_by_reading() {
    let busy = Reading::BUSY;
    let quiet = Reading::quiet(AGES);
    let following = Reading::following(AGES);
    // A read of each class, a reading, an answer's age in seconds, and whether it is given again.
    for (read, reading, age, again) in [
        (Read::Instances, Reading::ANEW, 1, false),
        (Read::Bucket, Reading::ANEW, 1, false),
        (Read::EngineVersions, Reading::ANEW, 1, false),
        (Read::Targets, busy, 1, false),
        (Read::Images, busy, 1, false),
        (Read::Bucket, busy, 9, true),
        (Read::Bucket, busy, 10, false),
        (Read::ClassOffer, busy, 899, true),
        (Read::Targets, quiet, 41, true),
        (Read::Targets, quiet, 42, false),
        (Read::Bucket, quiet, 869, true),
        (Read::Bucket, quiet, 870, false),
        (Read::Images, quiet, 869, true),
        (Read::Instances, quiet.members_anew(), 1, false),
        (Read::Targets, quiet.members_anew(), 1, true),
        (Read::Targets, quiet.state_anew(), 1, false),
        (Read::Bucket, quiet.state_anew(), 1, true),
        (Read::Instances, following, 42, false),
        (Read::Targets, following, 299, true),
        (Read::Bucket, following, 3599, true),
        (Read::Bucket, following, 3600, false),
    ] {
        let stage = Stage::new(read);
        stage.look(Reading::ANEW, 0);
        let (_, asked) = stage.look(reading, age);
        assert_eq!(!asked, again, "{read:?} of {age} s, {reading:?}");
    }
}

#[test]
fn a_change_of_ours_makes_every_answer_of_its_service_void() {
    let quiet = Reading::quiet(AGES);
    let (tags, bucket) = (
        Stage::new(Read::LoadBalancerSettings),
        Stage::new(Read::Bucket),
    );
    for stage in [&tags, &bucket] {
        stage.look(quiet, 0);
        stage.calls.touch(Service::Elb, stage.began + seconds(100));
    }
    for at in [101, 105, 109] {
        assert!(tags.look(quiet, at).1, "AWS may not show it yet: {at} s");
    }
    assert!(!bucket.look(quiet, 101).1, "another service's");
    assert_eq!(tags.look(quiet, 110), (4, false), "the newest answer");
}

#[test]
fn an_answer_that_a_change_overtook_is_not_kept() {
    let stage = Stage::new(Read::TargetGroups);
    let pass = stage.pass(Reading::ANEW, 0);
    let overtaken = stage.kept.or(&pass, "it", async {
        stage.calls.touch(Service::Elb, stage.began);
        Ok::<_, ()>(9)
    });
    assert_eq!(overtaken.now_or_never(), Some(Ok(9)));
    assert_eq!(stage.look(Reading::quiet(AGES), 60), (1, true));
}

#[test]
fn a_failed_read_is_not_kept_and_takes_the_answer_before_it_away() {
    let stage = Stage::new(Read::Bucket);
    let quiet = Reading::quiet(AGES);
    assert_eq!(stage.look(quiet, 0), (1, true));
    let pass = stage.pass(Reading::ANEW, 1);
    let failed = stage.kept.or(&pass, "it", async { Err("throttled") });
    assert_eq!(failed.now_or_never(), Some(Err("throttled")));
    assert_eq!(
        stage.look(quiet, 2),
        (2, true),
        "neither the failure nor what was true before it"
    );
}

#[test]
fn answers_are_kept_by_what_was_asked_about_and_ages_are_told() {
    let stage = Stage::new(Read::Hooks);
    let ask = |pass: &Pass<'_>, group: &str, world: u32| {
        let read = stage.kept.or(pass, group, async { Ok::<_, ()>(world) });
        read.now_or_never().expect("at once")
    };
    for (group, value, at) in [("chat-g1", 1, 0), ("chat-g2", 2, 5)] {
        let pass = stage.pass(Reading::ANEW, at);
        assert_eq!(ask(&pass, group, value), Ok(value));
        assert!(pass.given().is_empty());
    }
    let pass = stage.pass(Reading::quiet(AGES), 10);
    assert_eq!(ask(&pass, "chat-g2", 9), Ok(2));
    assert_eq!(ask(&pass, "chat-g1", 9), Ok(1));
    assert_eq!(ask(&pass, "chat-g3", 9), Ok(9));
    let ages = pass.given();
    assert_eq!(ages.get(&Read::Hooks), Some(&seconds(10)));
}
