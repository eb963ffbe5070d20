//! Both colours as they are seen now, and what each of their nodes should be.

use crate::decision::NodeGoal;
use crate::draft::Draft;
use crate::intent::{Mode, Phase, RestorePoint, RolloutIntent, Slot};
use crate::launches::{FailedLaunches, cannot_launch};
use crate::lifecycle::{Members, tend};
use crate::nodes::{Colour, failure_of, runs_no_server};
use crate::observed::{Group, ListenerAction, Node};
use crate::rollout::{moving, restore};
use crate::stack::{Balancer, Base, observed_balancer};
use crate::versions::Skew;
use crate::view::{View, live_members};

/// Everything that a phase looks at.
pub(crate) struct Scene<'a> {
    pub view: &'a View<'a>,
    pub rollout: &'a RolloutIntent,
    pub base: Option<&'a Base>,
    pub balancer: Option<Balancer>,
    pub blue: Option<&'a Group>,
    pub green: Option<&'a Group>,
    pub blue_name: String,
    pub green_name: String,
    pub blue_members: Members,
    pub green_members: Members,
    /// The green node that migrates, or the canary where there is nothing to migrate.
    pub migrator: Option<String>,
    /// Why no node may migrate any more.
    pub no_migrator: Option<String>,
}

/// What is asked of a colour's servers.
#[derive(Clone, Copy)]
enum Servers {
    Run,
    Stop,
    AsTheyAre,
}

impl<'a> Scene<'a> {
    pub fn new(view: &'a View<'a>, rollout: &'a RolloutIntent, base: Option<&'a Base>) -> Self {
        let blue_name = rollout.blue_group.clone().unwrap_or_else(|| view.owner());
        let green_name = view.names.group(rollout.generation);
        let mut scene = Self {
            view,
            rollout,
            base,
            balancer: observed_balancer(view),
            blue: view.group(&blue_name),
            green: view.group(&green_name).filter(|_| green_name != blue_name),
            blue_name,
            green_name,
            blue_members: Members::default(),
            green_members: Members::default(),
            migrator: None,
            no_migrator: None,
        };
        match scene.choose_migrator() {
            Ok(migrator) => scene.migrator = migrator,
            Err(why) => scene.no_migrator = Some(why),
        }
        scene
    }

    pub fn green_slot(&self) -> Slot {
        self.rollout.blue_slot.other()
    }

    pub fn blue_slot(&self) -> Slot {
        self.rollout.blue_slot
    }

    pub fn is_cutover(&self) -> bool {
        self.rollout.mode == Mode::Cutover
    }

    /// The snapshot is the restore point of a cutover: it is taken while no server runs.
    pub fn takes_snapshot_in_pause(&self) -> bool {
        self.is_cutover() && self.rollout.restore == RestorePoint::Snapshot
    }

    /// The same nodes before and after.
    pub fn is_move(&self) -> bool {
        self.rollout.mode == Mode::Move
    }

    /// Blue has fewer nodes than it should, and Auto Scaling cannot launch them.
    pub fn blue_cannot_launch(&self) -> Option<FailedLaunches<'_>> {
        cannot_launch(self.blue?, self.blue_members.live.len())
    }

    /// Nobody serves, and blue cannot change that: green alone can.
    pub fn blue_is_lost(&self) -> bool {
        self.blue_members.live.is_empty() && self.blue_cannot_launch().is_some()
    }

    /// Green is the recorded owner.
    pub fn is_promoted(&self) -> bool {
        self.view.record().group.as_deref() == Some(self.green_name.as_str())
    }

    /// Another version migrates; another image or other settings do not.
    pub fn needs_migration(&self) -> bool {
        self.rollout.from.version != self.rollout.to.version
    }

    /// Nodes that green needs: what blue had when it was pinned.
    pub fn size(&self) -> u32 {
        let floor = self.view.spec().fleet.min;
        self.rollout
            .pinned
            .map(|(_, _, desired)| desired)
            .or_else(|| self.blue.map(|blue| blue.desired))
            .unwrap_or(floor)
            .max(floor)
    }

    pub fn floor(&self) -> u32 {
        self.view.spec().fleet.min
    }

    /// Green's percent of the traffic as the listener says; none while it answers itself.
    pub fn green_weight(&self) -> Option<u32> {
        let balancer = self.balancer.as_ref()?;
        match &self.view.listener()?.action {
            ListenerAction::Forward(forward) => Some(
                forward
                    .weights
                    .get(balancer.target_group(self.green_slot()))
                    .copied()
                    .unwrap_or(0),
            ),
            _ => None,
        }
    }

    /// All that users ask goes to green.
    pub fn green_carries_all(&self) -> bool {
        let weights = self
            .balancer
            .as_ref()
            .map(|balancer| balancer.all_to(self.green_slot()));
        let sent = self.view.listener().map(|listener| &listener.action);
        matches!((weights, sent), (Some(wanted), Some(ListenerAction::Forward(sent))) if wanted == *sent)
    }

    /// The listener answers 503 by itself.
    pub fn is_closed(&self) -> bool {
        self.view.is_closed()
    }

    /// Migrations that were read back, or none were needed.
    pub fn migrations(&self) -> Option<u32> {
        if self.needs_migration() {
            self.rollout.migrations
        } else {
            Some(self.rollout.migrations_before.unwrap_or(0))
        }
    }

    /// Goals and hooks of both colours.
    pub fn tend(&mut self, draft: &mut Draft) {
        if let Some(blue) = self.blue {
            let asked = self.blue_servers();
            let colour = Colour {
                expected_migrations: self.rollout.migrations_before.unwrap_or(0),
                ..Colour::serving(self.view, &self.rollout.from, self.view.record())
            };
            self.blue_members = tend(self.view, draft, blue, |instance| match asked {
                _ if self.is_move() => moving::goal(self, instance),
                Servers::Run => colour.serve(false),
                Servers::Stop if self.may_wait(self.blue, instance) => colour.prepare(),
                Servers::Stop => NodeGoal::Drain,
                Servers::AsTheyAre => self.kept(instance, &colour, self.green_weight() == Some(0)),
            });
        }
        if let Some(green) = self.green {
            self.green_members = tend(self.view, draft, green, |instance| {
                self.green_goal(instance)
            });
        }
        if let Some(rollout) = &mut draft.rollout {
            if rollout.migrator.is_none() || self.migrator.is_some() {
                rollout.migrator.clone_from(&self.migrator);
            }
            if self.needs_migration()
                && rollout.migrations.is_none()
                && self
                    .migrator
                    .as_ref()
                    .is_some_and(|id| self.green_members.verified.contains(id))
            {
                // SQL's count: the node's own word for it is a claim.
                rollout.migrations = self.view.observed.migrations_applied();
            }
        }
    }

    /// Cutover: blue is stopped between closing and its end, or until green is stopped on the way back.
    /// What could not be read changes nothing.
    fn blue_servers(&self) -> Servers {
        if !self.is_cutover() {
            return Servers::Run;
        }
        match self.rollout.phase {
            // Only once nobody is sent there any more.
            Phase::Closed if self.is_closed() => Servers::Stop,
            Phase::Closed if self.view.unknown("listeners").is_some() => Servers::AsTheyAre,
            Phase::Snapshot if !self.takes_snapshot_in_pause() => Servers::Run,
            Phase::Snapshot
            | Phase::Canary
            | Phase::Full
            | Phase::Shifting { .. }
            | Phase::Baking
            | Phase::Promoted
            | Phase::Draining => Servers::Stop,
            Phase::ReturningTraffic if !self.green_is_stopped() => Servers::Stop,
            Phase::ReturningTraffic if self.blue_fits_the_schema() != Some(true) => {
                Servers::AsTheyAre
            }
            // Which colour serves is for a person to say: no server starts or stops meanwhile.
            Phase::Stuck { .. } => Servers::AsTheyAre,
            _ => Servers::Run,
        }
    }

    /// A node whose launch Auto Scaling still waits for, and on which no server runs: it waits as it is. Told to
    /// drain its launch would be abandoned, and Auto Scaling would launch another one, again and again. While
    /// the group shrinks it goes.
    pub fn may_wait(&self, group: Option<&Group>, instance: &str) -> bool {
        let shrinks = matches!(self.rollout.phase, Phase::Draining | Phase::Retained);
        is_launching(group, instance)
            && !shrinks
            && self.view.node(instance).is_none_or(runs_no_server)
    }

    /// Blue has as many nodes as it should, each in service and serving: what a way back stands on.
    pub fn blue_is_whole(&self) -> bool {
        self.blue.is_some_and(|blue| {
            let all = blue.desired as usize;
            blue.members.len() == all && self.blue_members.serving.len() == all
        })
    }

    /// Why there is no way back to blue: green migrated, and blue cannot run on the schema.
    pub fn no_way_back(&self) -> Option<String> {
        (self.is_cutover() && self.blue_fits_the_schema() == Some(false)).then(|| {
            format!(
                "the schema is {}'s and {} cannot run on it: {}, then abort again; where users are served, `orchestrator rollout promote` goes on instead",
                self.rollout.to.version,
                self.rollout.from.version,
                restore::instruction(self.view, self.rollout)
            )
        })
    }

    /// The goal that the node has. A new one serves where the listener sends; elsewhere no server starts.
    fn kept(&self, instance: &str, colour: &Colour<'_>, is_sent_to: bool) -> NodeGoal {
        let given = self.view.node(instance).and_then(|node| node.goal.clone());
        given.unwrap_or_else(|| {
            if is_sent_to {
                colour.serve(false)
            } else {
                colour.prepare()
            }
        })
    }

    /// Blue's release runs on the schema as it is. None: the schema could not be read.
    pub fn blue_fits_the_schema(&self) -> Option<bool> {
        let (from, to) = (&self.rollout.from.version, &self.rollout.to.version);
        let skew = self.view.spec().mattermost.versions.skew(from, to);
        if !self.needs_migration() || matches!(skew, Ok(Skew::Neighbours | Skew::SameWindow)) {
            return Some(true);
        }
        let applied = self.view.observed.migrations_applied()?;
        Some(self.rollout.migrations_before == Some(applied))
    }

    /// No green node runs a server any more.
    pub fn green_is_stopped(&self) -> bool {
        self.green.is_none_or(|green| {
            green.members.keys().all(|id| {
                let gone = self.view.observed.instances.get(id).is_some_and(|seen| {
                    matches!(seen.state.as_str(), "terminated" | "shutting-down")
                });
                gone || self.view.node(id).is_none_or(runs_no_server)
            })
        })
    }

    /// The node got as far as the migration in a rollout that has one.
    pub fn may_have_migrated(&self, instance: &str) -> bool {
        self.needs_migration() && self.view.node(instance).is_some_and(may_have_migrated)
    }

    fn green_goal(&self, instance: &str) -> NodeGoal {
        let phase = &self.rollout.phase;
        let waits = *phase == Phase::ReturningTraffic && self.may_wait(self.green, instance);
        if self.is_cutover()
            && matches!(phase, Phase::ReturningTraffic | Phase::RemovingGreen)
            && !waits
        {
            return NodeGoal::Drain;
        }
        // Auto Scaling does not end a node whose launch it still waits for.
        if matches!(phase, Phase::RemovingGreen) && is_launching(self.green, instance) {
            return NodeGoal::Drain;
        }
        let serving = self.is_cutover()
            || self.rollout.joined.contains(instance)
            || matches!(
                phase,
                Phase::Shifting { .. }
                    | Phase::Baking
                    | Phase::Promoted
                    | Phase::Draining
                    | Phase::Retained
            );
        let mut colour = Colour {
            expected_migrations: self.migrations().unwrap_or(0),
            rollout: Some(self.rollout.id.clone()),
            ..Colour::serving(self.view, &self.rollout.to, self.view.record())
        };
        if !serving {
            colour.scheduler = false;
            colour.cluster = colour
                .cluster
                .map(|_| self.view.names.quarantine(self.rollout.generation));
        }
        let chosen = self.migrator.as_deref() == Some(instance);
        match phase {
            Phase::Stuck { .. } if self.is_cutover() => {
                let is_sent_to = self.green_weight().is_some_and(|weight| weight > 0);
                self.kept(instance, &colour, is_sent_to)
            }
            Phase::Prepared | Phase::Closed | Phase::Snapshot => colour.prepare(),
            _ if waits => colour.prepare(),
            Phase::Canary if self.is_cutover() && !chosen => colour.prepare(),
            _ if self.migrations().is_some() => colour.serve(false),
            // Until the migration was read back only one node may touch the schema.
            Phase::Canary if chosen => colour.serve(true),
            _ => colour.prepare(),
        }
    }

    /// The recorded migrator while it lives; another only when the former one is gone and the schema is
    /// provably as it was. Never a node of the old colour.
    fn choose_migrator(&self) -> Result<Option<String>, String> {
        let Some(green) = self.green.filter(|_| self.rollout.phase == Phase::Canary) else {
            return Ok(self.rollout.migrator.clone());
        };
        let live = live_members(self.view, green);
        let Some(recorded) = &self.rollout.migrator else {
            return Ok(live.first().map(|id| (*id).to_owned()));
        };
        let there = green.members.contains_key(recorded);
        let failed = self
            .view
            .node(recorded)
            .is_some_and(|node| failure_of(node).is_some());
        if there && (!failed || live.contains(&recorded.as_str())) {
            return Ok(Some(recorded.clone()));
        }
        let next = live.first().map(|id| (*id).to_owned());
        if self.migrations().is_some() {
            return Ok(next);
        }
        let before = self.rollout.migrations_before;
        match (self.view.observed.migrations_applied(), before) {
            (Some(applied), Some(before)) if applied == before => {
                if self.may_have_migrated(recorded) {
                    Err(format!(
                        "node {recorded} ended during the migration; no other node may repeat it"
                    ))
                } else {
                    Ok(next)
                }
            }
            (Some(applied), _) => Err(format!(
                "node {recorded} ended during the migration, {applied} migrations are applied; to undo them, {}",
                restore::instruction(self.view, self.rollout)
            )),
            // Not known: wait.
            (None, _) => Ok(None),
        }
    }
}

/// Auto Scaling still waits for the launch of this member.
fn is_launching(group: Option<&Group>, instance: &str) -> bool {
    group
        .and_then(|group| group.members.get(instance))
        .is_some_and(|member| member.lifecycle.starts_with("Pending"))
}

fn may_have_migrated(node: &Node) -> bool {
    matches!(node.phase.as_str(), "migrating" | "starting" | "serving")
        || node.failure.as_ref().is_some_and(|failure| {
            matches!(failure.phase.as_str(), "migrating" | "starting" | "serving")
        })
}
