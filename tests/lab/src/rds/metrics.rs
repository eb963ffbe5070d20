//! One sample a lab minute and instance: CPU, connections, free storage, replica lag.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::model::{Instance, Replication};
use super::postgres::Node;
use super::{events, lifecycle, replica, wal};
use crate::Lab;
use crate::cloudwatch;

/// RDS's metrics have a period of one minute.
const PERIOD: Duration = Duration::from_mins(1);
/// However fast the clock runs, servers are not asked more often than this (real time).
const NOT_BELOW: Duration = Duration::from_secs(1);
/// A replica that has not streamed for this many samples, its source being well, is made anew.
const LOST_AFTER: u32 = 5;
/// Clock ticks a second in /proc/<pid>/stat; 100 on every Linux that Debian builds.
const TICKS: f64 = 100.0;

/// What the collector remembers from one sample to the next, by resource id.
#[derive(Debug, Default)]
struct Memory {
    /// When, and how many CPU seconds the server had used until then.
    cpu: BTreeMap<String, (tokio::time::Instant, f64)>,
    /// How many samples in a row a replica has not streamed.
    silent: BTreeMap<String, u32>,
}

/// Starts the collector.
pub fn start(lab: &Arc<Lab>) {
    let collector = Arc::clone(lab);
    lab.spawn(async move {
        let mut memory = Memory::default();
        loop {
            tokio::join!(collector.clock.sleep(PERIOD), tokio::time::sleep(NOT_BELOW));
            let Some(engine) = collector.rds.engine.get().cloned() else {
                continue;
            };
            for region in &collector.config.regions {
                let instances: Vec<Instance> = collector.rds.with(&region.name, |state| {
                    state.instances.values().cloned().collect()
                });
                for instance in instances {
                    if !matches!(
                        instance.status,
                        "creating" | "deleting" | "stopped" | "failed"
                    ) {
                        sample(&collector, &engine, &region.name, &instance, &mut memory).await;
                    }
                }
            }
        }
    });
}

async fn sample(
    lab: &Arc<Lab>,
    engine: &Engine,
    region: &str,
    instance: &Instance,
    memory: &mut Memory,
) {
    // A machine that is being worked on has no sample this minute, as a restarting one on AWS.
    let Ok(machine) = instance.machine.try_lock() else {
        return;
    };
    let Some(node) = machine.primary.as_ref().filter(|node| node.is_up()) else {
        return;
    };
    let put = |name: &str, value: f64, unit: &str| {
        let dimensions = [("DBInstanceIdentifier", instance.id.as_str())];
        cloudwatch::put(lab, region, "AWS/RDS", name, &dimensions, value, unit);
    };
    if let Some(server) = &node.server {
        let (now, used) = (
            tokio::time::Instant::now(),
            cpu_seconds(server.pid().as_raw_nonzero().get()),
        );
        let last = memory.cpu.insert(instance.resource_id.clone(), (now, used));
        if let Some((before, had)) = last {
            let passed = now.duration_since(before).as_secs_f64().max(0.001);
            let percent = ((used - had).max(0.0) / passed * 100.0).min(100.0);
            put("CPUUtilization", percent, "Percent");
        }
    }
    if let Some((connections, used)) = load(engine, node, instance.port).await {
        put("DatabaseConnections", connections, "Count");
        let allocated = instance.storage as f64 * (1_u64 << 30) as f64;
        put("FreeStorageSpace", (allocated - used).max(0.0), "Bytes");
    }
    if instance.source.is_some() {
        let lag = lag(engine, node, instance.port).await;
        if let Some((_, seconds)) = lag {
            put("ReplicaLag", seconds, "Seconds");
        }
        let streaming = lag.is_some_and(|(streaming, _)| streaming);
        note_replication(lab, region, instance, streaming);
        mend_replica(lab, region, instance, streaming, memory);
    }
    let late = |uploaded| lab.clock.elapsed(uploaded) >= wal::EVERY;
    if instance.retention > 0 && instance.latest_restorable.is_some_and(late) {
        wal::advance(lab, engine, region, node, instance).await;
    }
}

/// Has a replica made anew that is lost to its source.
fn mend_replica(
    lab: &Arc<Lab>,
    region: &str,
    instance: &Instance,
    streaming: bool,
    memory: &mut Memory,
) {
    let silent = memory
        .silent
        .entry(instance.resource_id.clone())
        .or_default();
    let source = instance.source.as_deref();
    let well = source
        .and_then(|source| lab.rds.instance(region, source))
        .is_some_and(|source| matches!(source.status, "available" | "storage-optimization"));
    *silent =
        if streaming || !well || !matches!(instance.status, "available" | "storage-optimization") {
            0
        } else {
            *silent + 1
        };
    if *silent < LOST_AFTER {
        return;
    }
    *silent = 0;
    let (lab2, region, id) = (Arc::clone(lab), region.to_owned(), instance.id.clone());
    lifecycle::spawn(lab, instance, async move {
        let done = replica::rebuild(&lab2, &region, &id).await;
        let message = match done {
            Ok(()) => "The Read Replica was made anew from its source".to_owned(),
            Err(error) => format!("The Read Replica could not be made anew: {error}"),
        };
        events::instance(&lab2, &region, &id, &["read replica"], message);
    });
}

fn note_replication(lab: &Lab, region: &str, instance: &Instance, streaming: bool) {
    let wanted = if streaming {
        Replication::replicating()
    } else {
        Replication {
            normal: false,
            status: "error",
            message: "The replica does not receive the source's write-ahead log.".to_owned(),
        }
    };
    if instance.replication.as_ref() == Some(&wanted) {
        return;
    }
    events::instance(
        lab,
        region,
        &instance.id,
        &["read replica"],
        if streaming {
            "Replication for the Read Replica resumed"
        } else {
            "Replication has stopped."
        },
    );
    lab.rds.edit(region, &instance.id, |instance| {
        instance.replication = Some(wanted);
    });
}

/// Sessions of clients, and bytes on disk: databases and write-ahead log.
async fn load(engine: &Engine, node: &Node, port: u16) -> Option<(f64, f64)> {
    let client = node.connect(engine, port, "postgres").await.ok()?;
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM pg_stat_activity
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())::float8,
                    (SELECT sum(pg_database_size(oid)) FROM pg_database)::float8
                  + (SELECT sum(size) FROM pg_ls_waldir())::float8",
            &[],
        )
        .await
        .ok()?;
    Some((row.get(0), row.get(1)))
}

/// Whether the replica streams, and how many seconds it is behind (0 when it has replayed all that it
/// received).
async fn lag(engine: &Engine, node: &Node, port: u16) -> Option<(bool, f64)> {
    let client = node.connect(engine, port, "postgres").await.ok()?;
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
                    pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn(),
                    COALESCE(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0)::float8",
            &[],
        )
        .await
        .ok()?;
    let (streaming, caught_up, behind): (bool, bool, f64) = (row.get(0), row.get(1), row.get(2));
    Some((
        streaming,
        if streaming && caught_up {
            0.0
        } else {
            behind.max(0.0)
        },
    ))
}

/// CPU seconds of a postmaster, its living children, and those it has waited for.
fn cpu_seconds(pid: i32) -> f64 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let own = ticks(pid, true);
    let living: f64 = children
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .map(|child| ticks(child, false))
        .sum();
    (own + living) / TICKS
}

fn ticks(pid: i32, with_dead_children: bool) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may hold anything, come: state, and from the 12th field on the times.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return 0.0;
    };
    let times = if with_dead_children { 4 } else { 2 };
    rest.split_whitespace()
        .skip(11)
        .take(times)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum()
}
