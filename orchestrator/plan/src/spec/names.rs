//! Names of everything that the stack makes: a function of the stack's name alone, so that two
//! executors, or one that crashed and came back, always mean the same thing.

use sha2::{Digest, Sha256};

use crate::intent::Slot;
use crate::spec::Spec;

/// S3's limit for a bucket's name.
const BUCKET_LENGTH: usize = 63;

/// The names of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    stack: String,
}

impl Names {
    /// Of the stack with this name.
    pub fn new(stack: &str) -> Self {
        Self {
            stack: stack.to_owned(),
        }
    }

    /// The stack: the value of the tag `mattermost:stack`.
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// A security group; `part` is `load-balancer`, `fleet` or `database`.
    pub fn security_group(&self, part: &str) -> String {
        format!("{}-{part}", self.stack)
    }

    /// The DB primary.
    pub fn database(&self) -> String {
        format!("{}-db", self.stack)
    }

    /// A read replica, counted from 1.
    pub fn replica(&self, number: u8) -> String {
        format!("{}-db-replica-{number}", self.stack)
    }

    /// The DB subnet group.
    pub fn db_subnet_group(&self) -> String {
        format!("{}-db", self.stack)
    }

    /// The DB parameter group of a family, for example `demo-db-postgres16`: a new major version needs
    /// a new one.
    pub fn db_parameter_group(&self, family: &str) -> String {
        format!("{}-db-{family}", self.stack)
    }

    /// The snapshot that a rollout takes before its migration.
    pub fn rollout_snapshot(&self, generation: u64) -> String {
        format!("{}-before-g{generation}", self.stack)
    }

    /// The generation of the rollout that took this snapshot, when one did.
    pub fn rollout_snapshot_generation(&self, id: &str) -> Option<u64> {
        let generation = id.rsplit("-before-g").next()?.parse().ok()?;
        (self.rollout_snapshot(generation) == id).then_some(generation)
    }

    /// The snapshot that `down --delete-database` leaves; a stack of the same name that went before
    /// left one too, so the primary's generation is in it.
    pub fn final_snapshot(&self, generation: u64) -> String {
        format!("{}-final-g{generation}", self.stack)
    }

    /// Secret with the master's name and password.
    pub fn master_secret(&self) -> String {
        format!("{}/database/master", self.stack)
    }

    /// Secret with the password of Mattermost's own role.
    pub fn mattermost_secret(&self) -> String {
        format!("{}/database/mattermost", self.stack)
    }

    /// Secret with the password of the orchestrator's store role.
    pub fn orchestrator_secret(&self) -> String {
        format!("{}/database/orchestrator", self.stack)
    }

    /// Secret with the node CA.
    pub fn ca_secret(&self) -> String {
        format!("{}/orchestrator-ca", self.stack)
    }

    /// All of the stack's own secrets.
    pub fn secrets(&self) -> [String; 4] {
        [
            self.master_secret(),
            self.mattermost_secret(),
            self.orchestrator_secret(),
            self.ca_secret(),
        ]
    }

    /// The load balancer.
    pub fn load_balancer(&self) -> String {
        self.stack.clone()
    }

    /// A slot's target group.
    pub fn target_group(&self, slot: Slot) -> String {
        format!("{}-{}", self.stack, slot.letter())
    }

    /// The bucket of users' files: names of buckets are worldwide, so account and region are in it. At
    /// most 63 characters; of a longer one the tail is a digest.
    pub fn files_bucket(&self, account: &str, region: &str) -> String {
        let name = format!("{}-files-{account}-{region}", self.stack);
        if name.len() <= BUCKET_LENGTH {
            return name;
        }
        let digest = hex::encode(Sha256::digest(&name));
        let tail = &digest[..8];
        let head: String = name.chars().take(BUCKET_LENGTH - 1 - tail.len()).collect();
        format!("{}-{tail}", head.trim_end_matches('-'))
    }

    /// The launch template.
    pub fn template(&self) -> String {
        format!("{}-node", self.stack)
    }

    /// A generation's Auto Scaling group. The first generation is 1.
    pub fn group(&self, generation: u64) -> String {
        format!("{}-g{}", self.stack, generation.max(1))
    }

    /// The generation of a group of this stack, by its name.
    pub fn group_generation(&self, name: &str) -> Option<u64> {
        let generation = name.rsplit("-g").next()?.parse().ok()?;
        (self.group(generation) == name).then_some(generation)
    }

    /// A group's policy that adds a node.
    pub fn scale_out_policy(&self, group: &str) -> String {
        format!("{group}-scale-out")
    }

    /// A group's policy that takes a node away.
    pub fn scale_in_policy(&self, group: &str) -> String {
        format!("{group}-scale-in")
    }

    /// A group's alarm for high CPU.
    pub fn cpu_high_alarm(&self, group: &str) -> String {
        format!("{group}-cpu-high")
    }

    /// A group's alarm for low CPU.
    pub fn cpu_low_alarm(&self, group: &str) -> String {
        format!("{group}-cpu-low")
    }

    /// The copy of the home region's image.
    pub fn image_copy(&self, source_image: &str) -> String {
        format!("{}-{source_image}", self.stack)
    }

    /// The cluster that serving nodes are members of.
    pub fn cluster(&self) -> String {
        self.stack.clone()
    }

    /// The cluster in which a rollout's green nodes are alone until they join.
    pub fn quarantine(&self, generation: u64) -> String {
        format!("{}-quarantine-g{generation}", self.stack)
    }
}

impl Spec {
    /// The names of this stack.
    pub fn names(&self) -> Names {
        Names::new(&self.stack)
    }
}
