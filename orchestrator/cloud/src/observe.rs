//! One look at the world: every read at once, each on its own.

mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::{FutureExt, join};
use plan::Observed;
use plan::intent::Slot;
use plan::observed::KmsAnswer;

pub use answers::{Answers, Seen};

use crate::connect::Cloud;
use crate::ec2::InUse;
use crate::error::ReadError;
use crate::kept::{Pass, Reading};
use crate::s3::FilesSeen;
use crate::scope::Scope;

impl Cloud {
    /// Reads everything of the stack that AWS shows. A read that fails is named in
    /// `Observed::unknown` by the field that it would have filled (`images/<region>` for images), with
    /// the error's text; its field stays as it is by default, and nothing may be concluded from it.
    ///
    /// What AWS does not show stays empty: `databases`, `nodes`, `traffic`, `streaks`, `chat`.
    pub async fn observe(&self, scope: &Scope) -> Observed {
        let kept = Answers::default();
        let seen = self.observe_with(scope, &kept, Reading::ANEW);
        Box::pin(seen).await.observed
    }

    /// As [`Cloud::observe`], with answers that were given before where `reading` lets them be so old and we
    /// changed nothing of their service since.
    pub async fn observe_with(&self, scope: &Scope, kept: &Answers, reading: Reading) -> Seen {
        let names = scope.spec.names();
        let load_balancer = names.load_balancer();
        let template = names.template();
        let primary = names.database();
        let subnet_group = names.db_subnet_group();
        let target_groups = [Slot::A, Slot::B].map(|slot| names.target_group(slot));
        let major = scope
            .spec
            .database
            .engine_version
            .as_deref()
            .map(|version| version.split('.').next().unwrap_or(version));
        let regions = scope.regions();
        let pass = Pass::new(reading, self.counted(), Instant::now());
        self.widen(reading.is_wide());
        let with = (&pass, kept);
        // Each read is boxed: the SDK's futures are large, and all of them in one would not fit a
        // worker thread's stack.
        let images = join_all(regions.iter().map(|region| async move {
            let about = format!("{region} {:?}", scope.images);
            let read = self.observe_images(scope, region).boxed();
            (region.clone(), kept.images.or(with.0, &about, read).await)
        }));
        let database = async {
            join!(
                self.observe_db_and_lag(with, scope, &primary).boxed(),
                kept.db_subnet_group.or(
                    &pass,
                    "",
                    self.observe_db_subnet_group(&subnet_group).boxed()
                ),
                kept.db_parameter_group.or(
                    &pass,
                    "",
                    self.observe_db_parameter_group(&names, major).boxed()
                ),
                kept.db_snapshots
                    .or(&pass, "", self.observe_db_snapshots(&primary).boxed()),
                kept.engine_versions
                    .or(&pass, "", self.observe_engine_versions().boxed()),
            )
        };
        let front = self.observe_front(with, &load_balancer, &target_groups);
        let fleet = async {
            join!(
                kept.template
                    .or(&pass, "", self.observe_template(&template).boxed()),
                self.observe_groups(with).boxed(),
                kept.alarms.or(&pass, "", self.observe_alarms().boxed()),
                kept.instances
                    .or(&pass, "", self.observe_instances().boxed()),
            )
        };
        let base = async {
            join!(
                kept.network
                    .or(&pass, "", self.observe_network(scope).boxed()),
                kept.security_groups
                    .or(&pass, "", self.observe_security_groups().boxed()),
                kept.secrets.or(&pass, "", self.observe_secrets().boxed()),
                self.files(with, scope).boxed(),
                self.observe_offers(with, scope).boxed(),
                self.key(with, scope).boxed(),
            )
        };
        let (base, database, front, fleet, images) =
            join!(base, database, front.boxed(), fleet, images);

        let mut seen = Observed::default();
        let mut note = Notes(BTreeMap::new());
        seen.security_groups = note.value("security_groups", base.1);
        seen.secrets = note.value("secrets", base.2);
        seen.account = base.3.account;
        seen.files_bucket = base.3.bucket;
        note.0.extend(base.3.unknown);
        let (offers, unread) = base.4;
        seen.offers = offers;
        for (what, error) in unread {
            note.value::<()>(what, Err(error));
        }
        seen.files_key = base.5;
        let ((instances, lag), subnet_group, parameter_group, snapshots, versions) = database;
        seen.db_instances = note.value("db_instances", instances);
        seen.replica_lag_seconds = note.value("replica_lag_seconds", lag);
        seen.db_subnet_group = note.value("db_subnet_group", subnet_group);
        seen.db_parameter_group = note.value("db_parameter_group", parameter_group);
        seen.db_snapshots = note.value("db_snapshots", snapshots);
        seen.engine_versions = note.value("engine_versions", versions);
        seen.load_balancer = note.value("load_balancer", front.load_balancer);
        match front.listeners {
            Some(listeners) => seen.listeners = note.value("listeners", listeners),
            None => note.miss("listeners", "the load balancer is not known"),
        }
        match front.rules {
            Some(rules) => seen.rules = note.value("rules", rules),
            None => note.miss("rules", "the listeners are not known"),
        }
        seen.target_groups = note.value("target_groups", front.target_groups);
        seen.template = note.value("template", fleet.0);
        let groups_known = fleet.1.is_ok();
        (seen.groups, seen.policies) = note.value("groups", fleet.1);
        if !groups_known {
            note.miss("policies", "the groups are not known");
        }
        seen.alarms = note.value("alarms", fleet.2);
        seen.instances = note.value("instances", fleet.3);
        for (region, found) in images {
            let found = note.value(&format!("images/{region}"), found);
            seen.images.insert(region, found);
        }
        let network = base.0.and_then(|found| {
            let settled =
                found.map(|it| it.settle(&scope.zones_in(self.home_region()), &in_use(&seen)));
            settled.transpose()
        });
        seen.network = note.value("network", network);
        seen.unknown = note.0;
        Seen::new(seen, &pass.given())
    }

    /// The bucket; what could not be read whole is not kept.
    async fn files(&self, (pass, kept): (&Pass<'_>, &Answers), scope: &Scope) -> FilesSeen {
        let about = format!("deleting {}", scope.deletes_files);
        let read = async {
            let seen = self.observe_files(scope).await;
            if seen.unknown.is_empty() {
                Ok(seen)
            } else {
                Err(seen)
            }
        };
        let (Ok(seen) | Err(seen)) = kept.files.or(pass, &about, read.boxed()).await;
        seen
    }

    /// The bucket's key.
    async fn key(&self, (pass, kept): (&Pass<'_>, &Answers), scope: &Scope) -> KmsAnswer {
        let read = async {
            match self.files_key(&scope.spec).await {
                failed @ KmsAnswer::None { .. } => Err(failed),
                answer => Ok(answer),
            }
        };
        let (Ok(answer) | Err(answer)) = kept.files_key.or(pass, "", read.boxed()).await;
        answer
    }

    /// The DB instances, then the lag of those that are replicas.
    async fn observe_db_and_lag(
        &self,
        (pass, kept): (&Pass<'_>, &Answers),
        scope: &Scope,
        primary: &str,
    ) -> (
        Result<BTreeMap<String, plan::observed::DbInstance>, ReadError>,
        Result<BTreeMap<String, f64>, ReadError>,
    ) {
        let instances = self.observe_db_instances(primary).boxed();
        let instances = kept.db_instances.or(pass, "", instances).await;
        let replicas: BTreeSet<String> = instances
            .iter()
            .flatten()
            .filter(|(_, instance)| instance.replica_of.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        let about = format!("{replicas:?}");
        let lag = self.replica_lag(&replicas, scope.now).boxed();
        let lag = if replicas.is_empty() {
            lag.await
        } else {
            kept.replica_lag.or(pass, &about, lag).await
        };
        (instances, lag)
    }
}

/// The subnets that the stack's resources lie in. Of what could not be read nothing is planned either.
fn in_use(seen: &Observed) -> InUse {
    let groups = seen.groups.values().flat_map(|group| group.subnets.clone());
    let database = seen.db_subnet_group.as_ref();
    let balancer = seen.load_balancer.as_ref();
    InUse {
        nodes: vec![
            groups.collect(),
            database.map_or_else(BTreeSet::new, |group| group.subnets.clone()),
        ],
        load_balancer: vec![balancer.map_or_else(BTreeSet::new, |it| it.subnets.clone())],
    }
}

/// Where failed reads are written down.
struct Notes(BTreeMap<String, String>);

impl Notes {
    fn miss(&mut self, what: &str, why: &str) {
        self.0.insert(what.to_owned(), why.to_owned());
    }

    fn value<T: Default>(&mut self, what: &str, read: Result<T, ReadError>) -> T {
        read.unwrap_or_else(|error| {
            log::warn!(what, error:err = error; "a read failed");
            self.0.insert(what.to_owned(), error.to_string());
            T::default()
        })
    }
}
