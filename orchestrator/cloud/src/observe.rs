//! One look at the world: every read at once, each on its own.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use futures_util::{FutureExt, join};
use plan::Observed;
use plan::intent::Slot;

use crate::connect::Cloud;
use crate::ec2::InUse;
use crate::error::ReadError;
use crate::scope::Scope;

impl Cloud {
    /// Reads everything of the stack that AWS shows. A read that fails is named in
    /// `Observed::unknown` by the field that it would have filled (`images/<region>` for images), with
    /// the error's text; its field stays as it is by default, and nothing may be concluded from it.
    ///
    /// What AWS does not show stays empty: `databases`, `nodes`, `traffic`, `streaks`, `chat`.
    pub async fn observe(&self, scope: &Scope) -> Observed {
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
        // Each read is boxed: the SDK's futures are large, and all of them in one would not fit a
        // worker thread's stack.
        let images = join_all(regions.iter().map(|region| async move {
            (
                region.clone(),
                self.observe_images(scope, region).boxed().await,
            )
        }));
        let database = async {
            join!(
                self.observe_db_and_lag(scope, &primary).boxed(),
                self.observe_db_subnet_group(&subnet_group).boxed(),
                self.observe_db_parameter_group(&names, major).boxed(),
                self.observe_db_snapshots(&primary).boxed(),
                self.observe_engine_versions().boxed(),
            )
        };
        let front = async {
            join!(
                self.observe_load_balancer(&load_balancer).boxed(),
                self.observe_listeners_and_rules(&load_balancer).boxed(),
                self.observe_target_groups(&target_groups).boxed(),
            )
        };
        let fleet = async {
            join!(
                self.observe_template(&template).boxed(),
                self.observe_groups().boxed(),
                self.observe_alarms().boxed(),
                self.observe_instances().boxed(),
            )
        };
        let base = async {
            join!(
                self.observe_network(scope).boxed(),
                self.observe_security_groups().boxed(),
                self.observe_secrets().boxed(),
                self.observe_files(scope).boxed(),
                self.observe_offers(scope).boxed(),
                self.files_key(&scope.spec).boxed(),
            )
        };
        let (base, database, front, fleet, images) = join!(base, database, front, fleet, images);

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
        seen.load_balancer = note.value("load_balancer", front.0);
        let (listeners, rules) = front.1;
        seen.listeners = note.value("listeners", listeners);
        match rules {
            Some(rules) => seen.rules = note.value("rules", rules),
            None => {
                let why = "the listeners are not known".to_owned();
                note.0.insert("rules".to_owned(), why);
            }
        }
        seen.target_groups = note.value("target_groups", front.2);
        seen.template = note.value("template", fleet.0);
        let groups_known = fleet.1.is_ok();
        (seen.groups, seen.policies) = note.value("groups", fleet.1);
        if !groups_known {
            note.0
                .insert("policies".to_owned(), "the groups are not known".to_owned());
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
        seen
    }

    /// The DB instances, then the lag of those that are replicas.
    async fn observe_db_and_lag(
        &self,
        scope: &Scope,
        primary: &str,
    ) -> (
        Result<BTreeMap<String, plan::observed::DbInstance>, ReadError>,
        Result<BTreeMap<String, f64>, ReadError>,
    ) {
        let instances = self.observe_db_instances(primary).await;
        let replicas = instances
            .iter()
            .flatten()
            .filter(|(_, instance)| instance.replica_of.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        let lag = self.replica_lag(&replicas, scope.now).await;
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
    fn value<T: Default>(&mut self, what: &str, read: Result<T, ReadError>) -> T {
        read.unwrap_or_else(|error| {
            log::warn!(what, error:err = error; "a read failed");
            self.0.insert(what.to_owned(), error.to_string());
            T::default()
        })
    }
}
