//! Before anything is touched: may this rollout be, and is the stack in a state to begin it?

use crate::configuration::ConfigurationHome;
use crate::draft::Draft;
use crate::hindrances;
use crate::intent::{Mode, Phase, RolloutIntent, Target};
use crate::licence;
use crate::observed::DbOperation;
use crate::rollout::Step;
use crate::rollout::scene::Scene;
use crate::stack::{Place, launch_problems, place};
use crate::versions::Skew;
use crate::view::{View, live_members};

/// Seconds that a replica may be behind.
const LAG_SECONDS: f64 = 60.0;
/// Connections that stay free for people, backups and the orchestrator.
const RESERVE: u32 = 15;
/// `MaxOpenConns` of Mattermost 11 (mattermost.md).
const OPEN_CONNECTIONS: u32 = 100;
/// `MaxOpenConns` before that.
const OPEN_CONNECTIONS_BEFORE_11: u32 = 300;
/// The migration lock, and listening.
const EXTRA_CONNECTIONS: u32 = 2;
/// A server whose settings live in the database has a pool of its own for them (mattermost.md).
const CONFIGURATION_CONNECTIONS: u32 = 2;

/// The request becomes a rollout: what it starts from is written down once.
pub(super) fn requested(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let record = scene.view.record();
    let oldest = if scene.is_move() {
        // Whose settings are the stack's is written down once: not from a look that failed.
        let Some(oldest) = oldest(draft, scene) else {
            return Step::Stay;
        };
        Some(oldest)
    } else {
        None
    };
    if let Some(rollout) = &mut draft.rollout {
        rollout.blue_group = Some(scene.view.owner());
        rollout.blue_slot = record.slot;
        rollout.migrations_before = record
            .migrations
            .or_else(|| scene.view.observed.migrations_applied());
        if oldest.is_some() {
            rollout.migrator = oldest;
        }
    }
    draft.record.generation = record.generation.max(scene.rollout.generation);
    Step::Go(Phase::Preflight)
}

/// The node of blue that was launched first.
fn oldest(draft: &mut Draft, scene: &Scene<'_>) -> Option<String> {
    for field in ["groups", "instances"] {
        if !draft.knows(scene.view, field) {
            return None;
        }
    }
    let members = scene.blue.map(|blue| live_members(scene.view, blue));
    let oldest = members.and_then(|members| members.first().map(|id| (*id).to_owned()));
    if oldest.is_none() {
        draft.wait("blue", "no node of the group that serves is visible");
    }
    oldest
}

/// Refusals end the rollout at once; a state that may pass is waited for until the deadline.
pub(super) fn preflight(draft: &mut Draft, scene: &Scene<'_>) -> Step {
    let refusals = refusals(scene);
    if !refusals.is_empty() {
        return Step::Stop(refusals);
    }
    let before = draft.reasons.len();
    database(draft, scene);
    blue(draft, scene);
    if !scene.is_move() {
        room(draft, scene);
    }
    secrets(draft, scene);
    licence::held_back(scene.view, draft);
    if scene
        .base
        .is_some_and(|base| place(scene.view, base, &scene.rollout.to) == Place::Unready)
    {
        draft.wait("files", "the place for users' files is not ready");
    }
    if scene.base.is_none() || scene.balancer.is_none() {
        draft.wait("stack", "the stack is not complete");
    }
    if draft.reasons.len() > before {
        Step::Stay
    } else {
        Step::Go(if scene.is_move() {
            Phase::Copying
        } else {
            Phase::Imaging
        })
    }
}

/// What waiting would not change.
fn refusals(scene: &Scene<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let rollout = scene.rollout;
    let record = scene.view.record();
    match &record.proven {
        None => found.push("nothing is proven that one could come back to".to_owned()),
        Some(proven) if *proven != rollout.from => {
            found.push("what serves is not what this rollout was made for: ask again".to_owned());
        }
        Some(_) => {}
    }
    let tables = &scene.view.spec().mattermost.versions;
    match tables.skew(&rollout.from.version, &rollout.to.version) {
        Err(text) => found.push(text),
        Ok(Skew::SameWindow | Skew::NextExtendedSupport) if rollout.mode == Mode::Overlap => {
            found.push(
                "versions this far apart must not run together: only a cutover is allowed"
                    .to_owned(),
            );
        }
        Ok(_) => {}
    }
    let ours = &scene.view.spec().mattermost;
    if rollout.mode == Mode::Overlap && !ours.cluster && !ours.accept_unlicensed_nodes {
        found.push(
            "both colours at once need a cluster licence: only a cutover is allowed".to_owned(),
        );
    }
    found.extend(connection_budget(scene.view, scene.rollout).err());
    found.extend(other_place(scene));
    if !scene.is_move() {
        found.extend(launch(scene));
    }
    let known = scene.view.observed.template.as_ref();
    if let (Some(template), Some(number)) = (known, rollout.from.template_version)
        && !template.versions.contains_key(&number)
    {
        found.push(format!("template version {number}, to which one would come back, is gone: `orchestrator up` makes it again"));
    }
    found
}

/// Why the place that green nodes would have for users' files is not what the file says.
fn other_place(scene: &Scene<'_>) -> Option<String> {
    match place(scene.view, scene.base?, &scene.rollout.to) {
        Place::Nobodys { target, file } => Some(format!(
            "this rollout was asked for while `[files]` said {}, and it says {} now: undo the edit, or ask again",
            target.words(),
            file.words()
        )),
        Place::Ready | Place::Unready | Place::Serves => None,
    }
}

/// Why no green node can be launched, as far as EC2 tells beforehand.
fn launch(scene: &Scene<'_>) -> Vec<String> {
    let (observed, spec) = (scene.view.observed, scene.view.spec());
    let (Some(offer), Some(network)) = (&observed.offers.instance_type, &observed.network) else {
        return Vec::new();
    };
    let home = observed.images.get(&spec.home_region());
    let image = home.and_then(|images| images.get(&scene.rollout.to.image_id));
    launch_problems(spec, network, offer, image)
}

/// Connections of both colours against the server's limit: (needed, limit). None: not known.
pub(crate) fn connection_budget(
    view: &View<'_>,
    rollout: &RolloutIntent,
) -> Result<Option<(u32, u32)>, String> {
    let Some(seen) = view
        .observed
        .databases
        .as_ref()
        .filter(|seen| seen.max_connections > 0)
    else {
        return Ok(None);
    };
    let size = Scene::new(view, rollout, None).size();
    let home = view.record().configuration();
    let (blue, green) = (
        connections(&rollout.from, home),
        connections(&rollout.to, home),
    );
    // In a cutover they never run at once.
    let pair = match rollout.mode {
        Mode::Cutover | Mode::Move => blue.max(green),
        Mode::Overlap => blue.saturating_add(green),
    };
    let needed = size.saturating_mul(pair).saturating_add(RESERVE);
    if needed <= seen.max_connections {
        return Ok(Some((needed, seen.max_connections)));
    }
    Err(format!(
        "{size} blue and {size} green node(s) may open {needed} connections ({RESERVE} of them in reserve), the database allows {}: raise `database.max_connections` or set MM_SQLSETTINGS_MAXOPENCONNS",
        seen.max_connections
    ))
}

/// Connections that one node may open to the primary.
fn connections(target: &Target, home: ConfigurationHome) -> u32 {
    let major: u32 = target
        .version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    let default = if major >= 11 {
        OPEN_CONNECTIONS
    } else {
        OPEN_CONNECTIONS_BEFORE_11
    };
    let set = target
        .settings
        .get("MM_SQLSETTINGS_MAXOPENCONNS")
        .and_then(|value| value.parse().ok());
    let configuration = match home {
        ConfigurationHome::Database => CONFIGURATION_CONNECTIONS,
        ConfigurationHome::File => 0,
    };
    set.unwrap_or(default)
        .saturating_add(EXTRA_CONNECTIONS)
        .saturating_add(configuration)
}

fn database(draft: &mut Draft, scene: &Scene<'_>) {
    let view = scene.view;
    if view.observed.databases.is_none() {
        draft.wait("databases", "the database could not be looked into yet");
    }
    match view.primary() {
        Some(primary) if view.db_is_settled(primary, DbOperation::RollOut) => {}
        Some(primary) => draft.wait(
            "primary",
            format!(
                "`{}` is `{}`; it must be read {} times in a row in a state in which a rollout may begin",
                primary.id,
                primary.status,
                view.reads_in_a_row()
            ),
        ),
        None => draft.wait("primary", "the DB primary is not there"),
    }
    for number in 1..=view.spec().database.replicas {
        let id = view.names.replica(number);
        match view.observed.db_instances.get(&id) {
            Some(replica) if replica.status.allows(DbOperation::RollOut) => {}
            Some(replica) => {
                draft.wait("replica", format!("replica `{id}` is `{}`", replica.status));
            }
            None => {
                draft.wait("replica", format!("replica `{id}` is not there"));
                continue;
            }
        }
        if draft.knows(view, "replica_lag_seconds")
            && let Some(text) = lag(view, &id)
        {
            draft.wait("replica_lag", text);
        }
    }
}

/// Why a replica is not close enough to its primary. CloudWatch says -1 when replication is broken.
fn lag(view: &View<'_>, id: &str) -> Option<String> {
    match view.observed.replica_lag_seconds.get(id) {
        None => Some(format!(
            "how far replica `{id}` is behind is not measured yet"
        )),
        Some(lag) if *lag < 0.0 => Some(format!("replication to `{id}` is broken")),
        Some(lag) if *lag > LAG_SECONDS => Some(format!(
            "replica `{id}` is {lag:.0} s behind, {LAG_SECONDS:.0} s are allowed"
        )),
        Some(_) => None,
    }
}

/// Blue is whole, and nothing alarms.
fn blue(draft: &mut Draft, scene: &Scene<'_>) {
    let view = scene.view;
    let Some(blue) = scene.blue else {
        draft.wait("blue", format!("group `{}` is not there", scene.blue_name));
        return;
    };
    let serving = scene
        .blue_members
        .serving
        .iter()
        .filter(|id| view.is_settled(scene.blue_slot(), id))
        .count() as u32;
    let live = scene.blue_members.live.len() as u32;
    // Blue leaves at the end, hours from here.
    if let Some(text) = hindrances::ending(blue).filter(|_| !scene.is_move()) {
        draft.wait("suspended", text);
    }
    // What cannot become whole is not waited for: another image or type is the way out.
    let wanted = match scene.blue_cannot_launch() {
        Some(_) if !scene.is_move() => live,
        _ => blue.desired.max(scene.floor()),
    };
    if serving < wanted || blue.members.len() as u32 != wanted.min(blue.desired) {
        let text = format!("{serving} of {wanted} blue nodes are verified and healthy");
        draft.wait("blue", scene.blue_members.explain(text, Some(blue)));
    }
    let alarm = view.names.cpu_high_alarm(&blue.name);
    if draft.knows(view, "alarms")
        && view
            .observed
            .alarms
            .get(&alarm)
            .is_some_and(|alarm| alarm.state == "ALARM")
    {
        draft.wait(
            "alarm",
            format!("`{alarm}` is in ALARM: the fleet is about to grow"),
        );
    }
}

/// Green nodes could not be configured.
fn secrets(draft: &mut Draft, scene: &Scene<'_>) {
    let missing = scene.view.observed.missing_secrets.iter();
    for (setting, missing) in missing.filter(|(_, missing)| !missing.kept) {
        draft.wait(
            "secret_missing",
            format!("`{setting}` has no value: {}", missing.why),
        );
    }
}

/// Addresses for a second colour.
fn room(draft: &mut Draft, scene: &Scene<'_>) {
    let Some(network) = &scene.view.observed.network else {
        draft.wait("network", "the subnets could not be read");
        return;
    };
    let free: u32 = network
        .subnets
        .iter()
        .map(|subnet| subnet.free_addresses)
        .sum();
    let needed = scene.size() + 1;
    if free < needed {
        draft.wait(
            "addresses",
            format!("the subnets have {free} free addresses, {needed} are needed"),
        );
    }
}
