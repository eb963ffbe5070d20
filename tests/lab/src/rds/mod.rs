//! RDS for PostgreSQL, with a real PostgreSQL behind every instance.
//!
//! ```text
//!  API call ──► state (Mutex, by region) ──► a task per operation, cancelled when the instance goes
//!                                                 │ real work: initdb, base backup, promotion …
//!                                                 │ lab time: as long as AWS takes
//!   creating ──► backing-up ──► available ◄──► modifying / rebooting / backing-up / stopped …
//!       │                           │                         (the later of the two ends a state)
//!       └──► failed                 └──► deleting ──► gone
//! ```
//!
//! Invariants:
//! * The state's lock is never held across an await; a [`model::Machine`] is, by one operation at a
//!   time. Who needs two machines locks the replica's first, then its source's.
//! * A server that ends without having been asked to is started again ([`recovery`]).
//! * No server outlives the lab: [`stop_all`] ends them, and the kernel does when the lab is killed.
//! * A password is never in an argument, a log, an event or an error.

mod backup;
mod classes;
mod configuration;
mod create;
mod describe;
mod engine;
mod events;
mod failover;
mod lifecycle;
mod metrics;
mod model;
mod modify;
mod names;
mod nodes;
mod nursery;
mod operate;
mod page;
mod parameter_groups;
mod parameter_list;
mod parameters;
mod place;
mod postgres;
mod promises;
mod recovery;
mod rename;
mod render;
mod replica;
mod restore;
mod roles;
mod server;
mod snapshots;
mod storage;
mod subnet_groups;
mod support;
mod tags;
mod wal;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};
use crate::iam::ACCOUNT;
use engine::Engine;
use model::{Instance, Region};
pub(crate) use tags::tags_by_arn;

/// The service's state and its engine.
#[derive(Debug, Default)]
pub struct Rds {
    regions: Mutex<BTreeMap<String, Region>>,
    engine: tokio::sync::OnceCell<Arc<Engine>>,
}

impl Rds {
    /// Runs `f` on a region's state. `f` must not call into other services.
    fn with<R>(&self, region: &str, f: impl FnOnce(&mut Region) -> R) -> R {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        f(regions.entry(region.to_owned()).or_default())
    }

    /// Runs `f` on an instance, if it (still) exists.
    fn edit<R>(&self, region: &str, id: &str, f: impl FnOnce(&mut Instance) -> R) -> Option<R> {
        self.with(region, |state| state.instances.get_mut(id).map(f))
    }

    /// A copy of an instance.
    fn instance(&self, region: &str, id: &str) -> Option<Instance> {
        self.with(region, |state| state.instances.get(id).cloned())
    }

    /// A copy of an instance, or RDS's error. `id` may be an ARN, as RDS allows.
    fn find(&self, region: &str, id: &str) -> Result<Instance, ApiError> {
        let id = id.rsplit(':').next().unwrap_or(id).to_ascii_lowercase();
        self.instance(region, &id)
            .ok_or_else(|| not_found("DBInstanceNotFound", &format!("DBInstance {id} not found.")))
    }

    /// The installed PostgreSQL; looked for at the first need, and again after a failure.
    async fn engine(&self, lab: &Lab) -> Result<Arc<Engine>, ApiError> {
        self.engine
            .get_or_try_init(|| async { Engine::find(&lab.config.directory).await.map(Arc::new) })
            .await
            .cloned()
            .map_err(|error| {
                log::error!("the lab has no database engine: {error}");
                ApiError::new("InsufficientDBInstanceCapacity", error.to_string())
            })
    }
}

/// What policies speak of in an instance, besides its tags.
pub(crate) struct InstanceFacts {
    pub engine_version: String,
    pub subnet_group: String,
    pub copy_tags: bool,
}

/// An instance that exists.
pub(crate) fn instance_facts(lab: &Lab, region: &str, id: &str) -> Option<InstanceFacts> {
    lab.rds.edit(region, id, |instance| InstanceFacts {
        engine_version: instance.engine_version.clone(),
        subnet_group: instance.subnet_group.clone(),
        copy_tags: instance.copy_tags,
    })
}

/// How long the overview waits (real time) for an instance that is being worked on.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// 404 with this code.
fn not_found(code: &str, message: &str) -> ApiError {
    ApiError::new(code, message).status(404)
}

fn bad_state(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidDBInstanceState", message)
}

fn bad_combination(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterCombination", message)
}

/// `arn:aws:rds:REGION:ACCOUNT:RESOURCE:NAME`.
fn arn(region: &str, resource: &str, name: &str) -> String {
    format!("arn:aws:rds:{region}:{ACCOUNT}:{resource}:{name}")
}

/// A password that is hard to guess, of letters and digits.
fn random_password(length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}

/// Hexadecimal digits that no other lab has.
fn random_hex(length: usize) -> String {
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from_digit(random.random_range(0..16), 16).unwrap_or('0'))
        .collect()
}

/// Filters as names with values; a name that is not in `known` is refused.
fn refuse_filters(params: &Params, known: &[&str]) -> Result<Vec<(String, Vec<String>)>, ApiError> {
    params
        .structs("Filters")
        .iter()
        .map(|filter| {
            let name = filter.str("Name")?;
            if known.contains(&name.as_str()) {
                Ok((name, filter.list("Values")))
            } else {
                Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("Unrecognized filter name: {name}"),
                ))
            }
        })
        .collect()
}

/// Starts the service's tasks.
pub fn start(lab: &Arc<Lab>) {
    metrics::start(lab);
}

/// Whether a DB instance uses a security group: then EC2 keeps it.
pub fn uses_security_group(lab: &Lab, region: &str, id: &str) -> bool {
    lab.rds.with(region, |state| {
        let mut instances = state.instances.values();
        instances.any(|instance| instance.security_groups.iter().any(|group| group == id))
    })
}

/// Answers a call.
pub async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "CreateDBInstance" => create::create(lab, call).await,
        "CreateDBInstanceReadReplica" => replica::create(lab, call),
        "RestoreDBInstanceFromDBSnapshot" => restore::restore(lab, call).await,
        "RestoreDBInstanceToPointInTime" => wal::restore(lab, call).await,
        "PromoteReadReplica" => replica::promote(lab, call),
        "DescribeDBInstances" => describe::instances(lab, call),
        "ModifyDBInstance" => modify::modify(lab, call).await,
        "RebootDBInstance" => operate::reboot(lab, call),
        "StartDBInstance" => operate::start(lab, call),
        "StopDBInstance" => operate::stop(lab, call),
        "DeleteDBInstance" => operate::delete(lab, call),
        "CreateDBSnapshot" => snapshots::create(lab, call),
        "CopyDBSnapshot" => snapshots::copy(lab, call).await,
        "DeleteDBSnapshot" => snapshots::delete(lab, call),
        "DescribeDBSnapshots" => snapshots::describe(lab, call),
        "CreateDBSubnetGroup" => subnet_groups::create(lab, call),
        "ModifyDBSubnetGroup" => subnet_groups::modify(lab, call),
        "DeleteDBSubnetGroup" => subnet_groups::delete(lab, call),
        "DescribeDBSubnetGroups" => subnet_groups::describe(lab, call),
        "CreateDBParameterGroup" => parameter_groups::create(lab, call).await,
        "ModifyDBParameterGroup" => parameter_groups::modify(lab, call).await,
        "ResetDBParameterGroup" => parameter_groups::reset(lab, call).await,
        "DeleteDBParameterGroup" => parameter_groups::delete(lab, call),
        "DescribeDBParameterGroups" => parameter_groups::describe(lab, call).await,
        "DescribeDBParameters" => parameter_list::describe(lab, call).await,
        "DescribeDBEngineVersions" => describe::engine_versions(lab, call).await,
        "DescribeOrderableDBInstanceOptions" => describe::orderable(lab, call).await,
        "DescribePendingMaintenanceActions" => describe::maintenance(lab, call),
        "DescribeCertificates" => describe::certificates(call),
        "DescribeAccountAttributes" => describe::account(lab, call),
        "DescribeEvents" => events::describe(lab, call),
        "AddTagsToResource" => tags::add(lab, call),
        "RemoveTagsFromResource" => tags::remove(lab, call),
        "ListTagsForResource" => tags::list(lab, call),
        action => Err(ApiError::invalid_action(action)),
    }
}

/// The service's part of the control endpoint, `/lab/rds/…`.
///
/// | request | does |
/// |---|---|
/// | `GET /lab/rds` | every instance: region, id, status, zone, address, folder and process of its nodes |
/// | `POST /lab/rds/crash {"id", "region"?}` | `kill -9` to the server; RDS starts it again |
/// | `POST /lab/rds/failover {"id", "region"?}` | the primary's host dies; the standby takes over |
/// | `POST /lab/rds/backup {"id", "region"?}` | the nightly backup begins: `backing-up` |
pub async fn control(
    lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    body: Value,
) -> Result<Value, String> {
    match (method.as_str(), path) {
        ("GET", []) => Ok(overview(lab).await),
        ("POST", ["crash"]) => {
            let (region, id) = target(lab, &body)?;
            recovery::crash(lab, &region, &id).await?;
            Ok(json!({}))
        }
        ("POST", ["failover"]) => {
            let (region, id) = target(lab, &body)?;
            failover::host_failure(lab, &region, &id)?;
            Ok(json!({}))
        }
        ("POST", ["backup"]) => {
            let (region, id) = target(lab, &body)?;
            backup::nightly(lab, &region, &id)?;
            Ok(json!({}))
        }
        _ => Err(format!(
            "there is no `{method} /lab/rds/{}`",
            path.join("/")
        )),
    }
}

fn target(lab: &Lab, body: &Value) -> Result<(String, String), String> {
    let id = body["id"]
        .as_str()
        .ok_or("`id` must name a DB instance")?
        .to_owned();
    let wanted = body["region"].as_str();
    lab.config
        .regions
        .iter()
        .map(|region| region.name.clone())
        .filter(|name| wanted.is_none_or(|region| region == name))
        .find(|name| lab.rds.instance(name, &id).is_some())
        .map(|region| (region, id.clone()))
        .ok_or_else(|| format!("there is no DB instance `{id}`"))
}

async fn overview(lab: &Lab) -> Value {
    let mut all = Vec::new();
    for region in &lab.config.regions {
        let instances: Vec<Instance> = lab.rds.with(&region.name, |state| {
            state.instances.values().cloned().collect()
        });
        for instance in instances {
            let machine = tokio::time::timeout(PATIENCE, instance.machine.lock()).await;
            let nodes: Vec<Value> = machine.iter().flat_map(|machine| {
                [("primary", &machine.primary), ("standby", &machine.standby)]
                    .into_iter()
                    .filter_map(|(role, node)| node.as_ref().map(|node| json!({
                        "role": role,
                        "zone": node.zone,
                        "directory": node.directory,
                        "pid": node.server.as_ref().filter(|server| !server.is_gone()).map(|server| server.pid().as_raw_nonzero().get()),
                    })))
                    .collect::<Vec<_>>()
            }).collect();
            all.push(json!({
                "region": region.name,
                "id": instance.id,
                "status": instance.status,
                "zone": instance.zone,
                "address": instance.address,
                "port": instance.port,
                "busy": machine.is_err(),
                "nodes": nodes,
            }));
        }
    }
    json!({ "instances": all })
}

/// Ends every database; returns when they are gone and their folder is removed where it does not
/// lie in the lab's directory.
pub async fn stop_all(lab: &Arc<Lab>) {
    let machines: Vec<_> = {
        let regions = lab
            .rds
            .regions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        regions
            .values()
            .flat_map(|region| region.instances.values())
            .map(|instance| Arc::clone(&instance.machine))
            .collect()
    };
    let stops = machines.into_iter().map(|machine| async move {
        let mut machine = machine.lock().await;
        let nodes = [machine.primary.take(), machine.standby.take()];
        for mut node in nodes.into_iter().flatten() {
            node.stop(postgres::Stop::Immediate).await;
        }
    });
    futures_util::future::join_all(stops).await;
    if let Some(engine) = lab.rds.engine.get() {
        let outside: PathBuf = engine.root.clone();
        if engine::is_ours_elsewhere(&outside) {
            let _ = std::fs::remove_dir_all(&outside);
            let _ = std::fs::remove_file(lab.config.directory.join("rds"));
        }
    }
}
