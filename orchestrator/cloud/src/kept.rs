//! What AWS answered a while ago, and how long that counts for an answer.
//!
//! ```text
//!   Read ---> Class ---> how old it may be, by Reading     (the two tables below)
//!
//!   Kept::or:  young enough, and nothing of the service was changed since?
//!                yes -> the kept answer, and its age is noted
//!                no  -> AWS is asked; an answer is kept with the moment at which it was asked for
//! ```
//!
//! A failed read is never kept, and takes the answer before it away: what was not read is unknown.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::calls::{Calls, Service};

/// An answer that nobody asked for again in this time is forgotten: of a group that is gone, for example.
const FORGOTTEN: Duration = Duration::from_secs(3 * 3600);

/// While something is under way: what only we or a person changes is read this often all the same.
pub(crate) const BUSY_SETTINGS: Duration = Duration::from_secs(10);

/// What AWS offers changes by the month, and a class alone costs several calls.
const OFFERS: Duration = Duration::from_secs(15 * 60);

/// One read of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Read {
    Instances,
    Groups,
    Listeners,
    Rules,
    Targets,
    DbInstances,
    ReplicaLag,
    Secrets,
    LoadBalancer,
    Images,
    DbSnapshots,
    Activities,
    LoadBalancerSettings,
    TargetGroups,
    Hooks,
    ScalingPolicies,
    Template,
    SecurityGroups,
    Network,
    Alarms,
    DbSubnetGroup,
    DbParameterGroup,
    Bucket,
    FilesKey,
    EngineVersions,
    TypeOffer,
    ClassOffer,
}

/// What kind of thing a read shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Who is a node, and where, and the secrets that prove it: nodes are served by them on every control host.
    Members,
    /// What changes at any moment by itself: health, weights, the database.
    State,
    /// What changes by itself after somebody asked for something: images that are copied, snapshots that are made.
    Awaited,
    /// What only we change, or a person by hand: attributes, tags, rules, policies.
    Settings,
    /// What AWS offers.
    Offers,
}

impl Read {
    /// Of every read, what it shows.
    pub(crate) fn class(self) -> Class {
        match self {
            Self::Instances | Self::Groups | Self::Secrets => Class::Members,
            Self::Listeners | Self::Targets | Self::DbInstances | Self::ReplicaLag => Class::State,
            Self::LoadBalancer | Self::Images | Self::DbSnapshots | Self::Activities => {
                Class::Awaited
            }
            Self::LoadBalancerSettings
            | Self::Rules
            | Self::TargetGroups
            | Self::Hooks
            | Self::ScalingPolicies
            | Self::Template
            | Self::SecurityGroups
            | Self::Network
            | Self::Alarms
            | Self::DbSubnetGroup
            | Self::DbParameterGroup
            | Self::Bucket
            | Self::FilesKey => Class::Settings,
            Self::EngineVersions | Self::TypeOffer | Self::ClassOffer => Class::Offers,
        }
    }

    /// Of every read, whom it asks: a change that we make there makes every kept answer of it void.
    fn service(self) -> Service {
        match self {
            Self::Instances
            | Self::Images
            | Self::Template
            | Self::SecurityGroups
            | Self::Network
            | Self::TypeOffer => Service::Ec2,
            Self::Groups | Self::Activities | Self::Hooks | Self::ScalingPolicies => {
                Service::AutoScaling
            }
            Self::Listeners
            | Self::Rules
            | Self::Targets
            | Self::LoadBalancer
            | Self::LoadBalancerSettings
            | Self::TargetGroups => Service::Elb,
            Self::DbInstances
            | Self::DbSnapshots
            | Self::DbSubnetGroup
            | Self::DbParameterGroup
            | Self::EngineVersions
            | Self::ClassOffer => Service::Rds,
            Self::ReplicaLag | Self::Alarms => Service::CloudWatch,
            Self::Secrets => Service::Secrets,
            Self::Bucket => Service::S3,
            Self::FilesKey => Service::Kms,
        }
    }
}

/// How old at most what is shown of a quiet stack may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Instances, targets, weights, the database.
    pub state: Duration,
    /// Attributes, tags, rules, the bucket, policies.
    pub settings: Duration,
}

impl Ages {
    /// How often a quiet stack is observed, from kept answers mostly.
    pub fn pass(self) -> Duration {
        self.state / 4
    }

    /// A kept answer is asked for again with the last pass before it would be too old: a pass is a quarter of
    /// the age, and takes a while itself.
    fn hold_state(self) -> Duration {
        self.state.mul_f64(0.7)
    }

    fn hold_settings(self) -> Duration {
        self.settings.saturating_sub(self.state / 2)
    }
}

/// How old an answer may be in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    members: Duration,
    state: Duration,
    awaited: Duration,
    settings: Duration,
    offers: Duration,
    wide: bool,
}

impl Reading {
    /// All of it is asked now: for `plan`, for the start of a rollout, and before anything is done about what was
    /// seen in kept answers.
    pub const ANEW: Self = Self {
        members: Duration::ZERO,
        state: Duration::ZERO,
        awaited: Duration::ZERO,
        settings: Duration::ZERO,
        offers: Duration::ZERO,
        wide: false,
    };

    /// Something is under way: whatever may change by itself is asked now.
    pub const BUSY: Self = Self {
        settings: BUSY_SETTINGS,
        offers: OFFERS,
        ..Self::ANEW
    };

    /// All is as it should be.
    pub fn quiet(ages: Ages) -> Self {
        Self {
            members: ages.hold_state(),
            state: ages.hold_state(),
            awaited: ages.hold_settings(),
            settings: ages.hold_settings(),
            offers: OFFERS.max(ages.hold_settings()),
            wide: false,
        }
    }

    /// Another orchestrator decides; here nodes are served, whose membership is what counts.
    pub fn following(ages: Ages) -> Self {
        Self {
            members: ages.hold_state(),
            state: ages.state * 5,
            awaited: ages.settings * 4,
            settings: ages.settings * 4,
            offers: ages.settings * 4,
            wide: false,
        }
    }

    /// The same, but who is a node is asked now: somebody came whom nobody knows.
    #[must_use]
    pub fn members_anew(self) -> Self {
        Self {
            members: Duration::ZERO,
            ..self
        }
    }

    /// The same, but whatever changes by itself is asked now.
    #[must_use]
    pub fn state_anew(self) -> Self {
        Self {
            members: Duration::ZERO,
            state: Duration::ZERO,
            ..self
        }
    }

    /// The same in a rollout: bursts may take half of a bucket of tokens.
    #[must_use]
    pub fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    pub(crate) fn is_wide(self) -> bool {
        self.wide
    }

    fn hold(self, class: Class) -> Duration {
        match class {
            Class::Members => self.members,
            Class::State => self.state,
            Class::Awaited => self.awaited,
            Class::Settings => self.settings,
            Class::Offers => self.offers,
        }
    }
}

/// What is kept of one read, by what it was asked about.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    read: Read,
    answers: Mutex<BTreeMap<String, Answer<T>>>,
}

#[derive(Clone, Debug)]
struct Answer<T> {
    /// When the pass that asked for it began.
    at: Instant,
    /// Of the service, then.
    generation: u64,
    value: T,
}

/// One pass: how old answers may be in it, and how old those were that were given again.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    /// When it began: what ages are counted from, and the moment of its answers.
    now: Instant,
    reading: Reading,
    calls: &'a Calls,
    given: Mutex<BTreeMap<Read, Duration>>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(reading: Reading, calls: &'a Calls, now: Instant) -> Self {
        Self {
            now,
            reading,
            calls,
            given: Mutex::default(),
        }
    }

    fn note(&self, read: Read, age: Duration) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = given.entry(read).or_default();
        *oldest = age.max(*oldest);
    }

    /// Reads that were answered from what was kept, with the oldest answer's age.
    pub(crate) fn given(self) -> BTreeMap<Read, Duration> {
        self.given
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Kept<T> {
    pub(crate) fn new(read: Read) -> Self {
        Self {
            read,
            answers: Mutex::default(),
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<String, Answer<T>>) -> R) -> R {
        f(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The kept answer about `subject`, or what `read` says now.
    pub(crate) async fn or<E>(
        &self,
        pass: &Pass<'_>,
        subject: &str,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let service = self.read.service();
        let touched = pass.calls.touched(service);
        let hold = pass.reading.hold(self.read.class());
        let age = |answer: &Answer<T>| pass.now.saturating_duration_since(answer.at);
        let kept = self.with(|answers| answers.get(subject).cloned());
        if let Some(answer) = kept
            && !touched.is_recent(pass.now)
            && answer.generation == touched.generation
            && age(&answer) < hold
        {
            pass.note(self.read, age(&answer));
            return Ok(answer.value);
        }
        let read = read.await;
        // What was asked before a change and answered after it may be either.
        let undisturbed = pass.calls.touched(service).generation == touched.generation;
        self.with(|answers| match &read {
            Ok(value) if undisturbed => {
                let answer = Answer {
                    at: pass.now,
                    generation: touched.generation,
                    value: value.clone(),
                };
                answers.insert(subject.to_owned(), answer);
                answers.retain(|_, answer| age(answer) < FORGOTTEN);
            }
            _ => drop(answers.remove(subject)),
        });
        read
    }
}

#[cfg(test)]
mod tests;
