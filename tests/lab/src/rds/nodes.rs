//! From what RDS knows of an instance to servers that run so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::configuration::{Follow, Settings};
use super::engine::{Engine, EngineError};
use super::model::{Instance, Machine};
use super::parameters::{self, Effective};
use super::postgres::Node;
use super::{classes, recovery, roles};
use crate::Lab;

/// Standby parameters that must not be below the source's, else its recovery stops
/// (PostgreSQL, "Hot Standby", administrator's overview).
const NOT_BELOW_SOURCE: [&str; 4] = [
    "max_connections",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_worker_processes",
];
/// A new standby streams within this (real time) of its start, or something is wrong.
const STREAMING_DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks whether it does.
const LOOK: Duration = Duration::from_millis(50);

/// An instance that vanished while it was worked on.
pub fn vanished(id: &str) -> EngineError {
    EngineError::NotStarted(format!("the DB instance {id} is being deleted"))
}

/// The engine, and an instance as it is now: what every work on an instance's servers begins with.
pub async fn at_hand(
    lab: &Lab,
    region: &str,
    id: &str,
) -> Result<(Arc<Engine>, Instance), EngineError> {
    let engine = lab
        .rds
        .engine(lab)
        .await
        .map_err(|error| EngineError::NotStarted(error.message))?;
    let instance = lab.rds.instance(region, id).ok_or_else(|| vanished(id))?;
    Ok((engine, instance))
}

fn effective(lab: &Lab, engine: &Engine, region: &str, instance: &Instance) -> Effective {
    let values = lab.rds.with(region, |state| {
        state
            .parameter_groups
            .get(&instance.running_group)
            .map_or_else(BTreeMap::new, super::model::ParameterGroup::plain)
    });
    let memory = classes::memory(&instance.class).unwrap_or(1 << 30);
    parameters::resolve(&engine.specifications, &values, memory)
}

/// How the serving node of an instance is to run.
pub fn settings(
    lab: &Lab,
    engine: &Engine,
    region: &str,
    id: &str,
) -> Result<Settings, EngineError> {
    let instance = lab.rds.instance(region, id).ok_or_else(|| vanished(id))?;
    let mut effective = effective(lab, engine, region, &instance);
    let source = instance
        .source
        .as_deref()
        .and_then(|source| lab.rds.instance(region, source));
    let mut follow = None;
    if let Some(source) = source {
        let theirs = self::effective(lab, engine, region, &source);
        for name in NOT_BELOW_SOURCE {
            raise(&mut effective, &theirs, name);
        }
        follow = Some(Follow {
            host: source.address,
            port: source.port,
            slot: instance.slot(region),
        });
    }
    Ok(Settings {
        address: instance.address,
        port: instance.port,
        listening: true,
        effective,
        follow,
        log: super::wal::folder(engine, &instance),
        synchronous: None,
    })
}

fn raise(ours: &mut Effective, theirs: &Effective, name: &str) {
    let number = |effective: &Effective| {
        effective
            .settings
            .get(name)
            .and_then(|text| text.parse::<f64>().ok())
    };
    if let Some(least) = number(theirs)
        && number(ours).is_none_or(|value| value < least)
    {
        ours.settings.insert(name.to_owned(), least.to_string());
    }
}

/// Gives a new node the name after the last one's.
pub fn new_node(
    engine: &Engine,
    machine: &mut Machine,
    instance: &Instance,
    zone: &str,
) -> Result<Node, EngineError> {
    machine.made += 1;
    Node::create(
        engine,
        &format!("{}-{}", instance.resource_id.to_lowercase(), machine.made),
        zone,
    )
}

/// The server certificate for the endpoint's address, from the lab's authority.
pub fn certificate(
    lab: &Lab,
    machine: &mut Machine,
    instance: &Instance,
) -> Result<crate::ca::Issued, EngineError> {
    if let Some(issued) = &machine.certificate {
        return Ok(issued.clone());
    }
    let issued = lab
        .ca
        .issue(&[], &[instance.address.into()])
        .map_err(|error| EngineError::NotStarted(format!("no certificate: {error:#}")))?;
    machine.certificate = Some(issued.clone());
    Ok(issued)
}

/// Configures and starts the serving node; it runs with its parameter group as it is now.
pub async fn start_primary(
    lab: &Arc<Lab>,
    engine: &Engine,
    region: &str,
    id: &str,
    machine: &mut Machine,
) -> Result<(), EngineError> {
    // A starting server reads its group as it is now, whatever waited for a reboot included.
    lab.rds.edit(region, id, |instance| {
        instance.running_group.clone_from(&instance.parameter_group);
    });
    let instance = lab.rds.instance(region, id).ok_or_else(|| vanished(id))?;
    let mut settings = settings(lab, engine, region, id)?;
    if machine.standby.as_ref().is_some_and(Node::is_up) {
        settings.synchronous = Some(instance.standby_slot());
    }
    let certificate = certificate(lab, machine, &instance)?;
    let node = machine.primary()?;
    node.configure(engine, &settings, &certificate)?;
    let on_crash = recovery::on_crash(lab, region, &instance, recovery::Role::Primary);
    node.start(engine, &settings, on_crash).await?;
    lab.rds.edit(region, id, |instance| {
        instance.parameter_status = "in-sync";
    });
    Ok(())
}

/// Writes the configuration of a running primary again and makes it read that.
pub fn reconfigure_primary(
    lab: &Lab,
    engine: &Engine,
    region: &str,
    id: &str,
    machine: &mut Machine,
    synchronous: bool,
) -> Result<(), EngineError> {
    let instance = lab.rds.instance(region, id).ok_or_else(|| vanished(id))?;
    let mut settings = settings(lab, engine, region, id)?;
    if synchronous {
        settings.synchronous = Some(instance.standby_slot());
    }
    let certificate = certificate(lab, machine, &instance)?;
    let node = machine.primary()?;
    node.configure(engine, &settings, &certificate)?;
    node.reload();
    Ok(())
}

/// Configures and starts the hidden standby; the primary waits for it at each commit from the
/// moment it streams.
pub async fn start_standby(
    lab: &Arc<Lab>,
    engine: &Engine,
    region: &str,
    id: &str,
    machine: &mut Machine,
) -> Result<(), EngineError> {
    let instance = lab.rds.instance(region, id).ok_or_else(|| vanished(id))?;
    let slot = instance.standby_slot();
    let mut settings = settings(lab, engine, region, id)?;
    settings.listening = false;
    settings.follow = Some(Follow {
        host: instance.address,
        port: instance.port,
        slot: slot.clone(),
    });
    let certificate = certificate(lab, machine, &instance)?;
    let on_crash = recovery::on_crash(lab, region, &instance, recovery::Role::Standby);
    let Some(standby) = machine.standby.as_mut() else {
        return Err(EngineError::NotStarted("there is no standby".to_owned()));
    };
    standby.configure(engine, &settings, &certificate)?;
    standby.start(engine, &settings, on_crash).await?;
    let primary = machine.primary()?;
    await_streaming(engine, primary, instance.port, &slot).await?;
    reconfigure_primary(lab, engine, region, id, machine, true)
}

/// Makes the hidden standby from a copy of the primary.
pub async fn add_standby(
    lab: &Arc<Lab>,
    engine: &Engine,
    region: &str,
    id: &str,
    machine: &mut Machine,
) -> Result<(), EngineError> {
    let instance = lab.rds.instance(region, id).ok_or_else(|| vanished(id))?;
    let zone = instance
        .secondary_zone
        .clone()
        .unwrap_or_else(|| instance.zone.clone());
    let node = new_node(engine, machine, &instance, &zone)?;
    let primary = machine.primary()?;
    roles::ensure_slot(engine, primary, instance.port, &instance.standby_slot()).await?;
    node.copy_server(engine, instance.address, instance.port)
        .await?;
    machine.standby = Some(node);
    start_standby(lab, engine, region, id, machine).await
}

/// Takes the hidden standby away; the primary no longer waits for it.
pub async fn drop_standby(
    lab: &Arc<Lab>,
    engine: &Engine,
    region: &str,
    id: &str,
    machine: &mut Machine,
) -> Result<(), EngineError> {
    let instance = lab.rds.instance(region, id).ok_or_else(|| vanished(id))?;
    reconfigure_primary(lab, engine, region, id, machine, false)?;
    if let Some(mut standby) = machine.standby.take() {
        standby.stop(super::postgres::Stop::Immediate).await;
        standby.remove();
    }
    let primary = machine.primary()?;
    roles::drop_slot(engine, primary, instance.port, &instance.standby_slot()).await
}

/// Until a follower with this slot receives the write-ahead log.
pub async fn await_streaming(
    engine: &Engine,
    source: &Node,
    port: u16,
    slot: &str,
) -> Result<(), EngineError> {
    let deadline = tokio::time::Instant::now() + STREAMING_DEADLINE;
    loop {
        if roles::is_followed(engine, source, port, slot).await? {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(EngineError::NotStarted(format!(
                "the standby `{slot}` does not stream after {STREAMING_DEADLINE:?}"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}
