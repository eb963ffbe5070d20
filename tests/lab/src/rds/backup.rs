//! Backups: the files of a running server, taken over the wire while it works.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, EngineError};
use super::model::{Instance, Snapshot, Tags};
use super::postgres::Node;
use super::{events, lifecycle, wal};
use crate::Lab;

/// `backing-up` of a small instance (AWS: the first snapshot is full; an empty volume takes about a
/// minute).
pub const BACKING_UP: Duration = Duration::from_mins(1);

/// Registers a snapshot that is being made. Its files do not exist yet.
pub fn register(
    lab: &Lab,
    region: &str,
    instance: &Instance,
    (id, kind): (&str, &'static str),
    tags: Tags,
    engine_root: &Path,
) -> Snapshot {
    let vpc = lab.rds.with(region, |state| {
        state
            .subnet_groups
            .get(&instance.subnet_group)
            .map_or_else(String::new, |group| group.vpc.clone())
    });
    // A colon has no place in a folder's name that goes through other programs' arguments.
    let name = format!("snapshot-{region}-{}", id.replace(':', "_"));
    let mut tags = tags;
    if instance.copy_tags {
        for (key, value) in &instance.tags {
            if !tags.iter().any(|(known, _)| known == key) {
                tags.push((key.clone(), value.clone()));
            }
        }
    }
    let snapshot = Snapshot {
        id: id.to_owned(),
        kind,
        status: "creating",
        progress: 0,
        created: Some(lab.clock.now()),
        whole: None,
        instance: Instance {
            // A snapshot holds no server: dropping the last copy of an instance frees its machine.
            machine: Arc::default(),
            ..instance.clone()
        },
        vpc,
        tags,
        copied_from: None,
        directory: engine_root.join(name),
    };
    lab.rds.with(region, |state| {
        state
            .snapshots
            .insert(snapshot.id.clone(), snapshot.clone());
    });
    snapshot
}

/// Copies the server's files to the snapshot's folder.
async fn copy(
    engine: &Engine,
    instance: &Instance,
    snapshot: &Snapshot,
) -> Result<(), EngineError> {
    let folder = snapshot
        .directory
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let node = Node::create(engine, &folder, &instance.zone)?;
    node.copy_server(engine, instance.address, instance.port)
        .await
}

/// Takes the real backup of `snapshot` while `takes` of lab time passes; the snapshot is then
/// `available` or `failed`.
pub async fn take(
    lab: &Lab,
    region: &str,
    instance: &Instance,
    snapshot: &Snapshot,
    takes: Duration,
) -> Result<(), EngineError> {
    let work = async {
        let engine = lab
            .rds
            .engine(lab)
            .await
            .map_err(|error| EngineError::NotStarted(error.message))?;
        copy(&engine, instance, snapshot).await
    };
    let (done, ()) = tokio::join!(work, lab.clock.sleep(takes));
    let status = if done.is_ok() { "available" } else { "failed" };
    let whole = done.is_ok().then(|| lab.clock.now());
    lab.rds.with(region, |state| {
        if let Some(snapshot) = state.snapshots.get_mut(&snapshot.id) {
            snapshot.status = status;
            snapshot.whole = whole;
            snapshot.progress = 100;
        }
    });
    done
}

/// The backup of the daily window, begun at once.
///
/// # Errors
///
/// An instance without automated backups, or one that is not at rest, takes none.
pub fn nightly(lab: &Arc<Lab>, region: &str, id: &str) -> Result<(), String> {
    let instance = lab
        .rds
        .instance(region, id)
        .ok_or_else(|| format!("there is no DB instance `{id}`"))?;
    if instance.retention == 0 {
        return Err(format!("`{id}` takes no automated backups"));
    }
    if !matches!(instance.status, "available" | "storage-optimization") {
        return Err(format!("`{id}` is `{}`", instance.status));
    }
    lab.rds
        .edit(region, id, |instance| instance.status = "backing-up");
    let (lab2, region, id) = (Arc::clone(lab), region.to_owned(), id.to_owned());
    lifecycle::spawn(lab, &instance, async move {
        automated(&lab2, &region, &id).await;
        lifecycle::rest(&lab2, &region, &id);
    });
    Ok(())
}

/// The automated backup that follows creation; status `backing-up` for its duration.
pub async fn automated(lab: &Lab, region: &str, id: &str) {
    lab.rds
        .edit(region, id, |instance| instance.status = "backing-up");
    events::instance(lab, region, id, &["backup"], "Backing up DB instance");
    let (Some(instance), Ok(engine)) = (lab.rds.instance(region, id), lab.rds.engine(lab).await)
    else {
        return;
    };
    let name = format!("rds:{id}-{}", lab.clock.now().strftime("%Y-%m-%d-%H-%M"));
    let root = engine.root.clone();
    let snapshot = register(
        lab,
        region,
        &instance,
        (&name, "automated"),
        Vec::new(),
        &root,
    );
    events::snapshot(
        lab,
        region,
        &name,
        &["creation"],
        "Creating automated snapshot",
    );
    match take(lab, region, &instance, &snapshot, BACKING_UP).await {
        Ok(()) => {
            events::snapshot(
                lab,
                region,
                &name,
                &["creation"],
                "Automated snapshot created",
            );
            events::instance(lab, region, id, &["backup"], "Finished DB Instance backup");
            let machine = instance.machine.lock().await;
            if let Some(node) = machine
                .primary
                .as_ref()
                .filter(|_| instance.source.is_none())
            {
                wal::advance(lab, &engine, region, node, &instance).await;
            }
        }
        Err(error) => events::instance(
            lab,
            region,
            id,
            &["backup"],
            format!("The automated backup failed: {error}"),
        ),
    }
}
