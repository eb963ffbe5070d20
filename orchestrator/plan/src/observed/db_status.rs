//! The states of a DB instance as RDS names them, and what may be done in each: one table for the whole
//! planner.
//!
//! Taken from "Viewing Amazon RDS DB instance status" of the *Amazon RDS User Guide* (which says of
//! `storage-initialization` and `storage-optimization` that the instance remains available), and from the API
//! reference: `CreateDBSnapshot` wants `available` or `storage-optimization`. Where AWS says nothing, nothing
//! is allowed: waiting is cheaper than a call that is refused. A new state without its row does not compile.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one may want to do with a DB instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbOperation {
    /// Ask it by SQL.
    Read,
    /// `ModifyDBInstance`, except its storage.
    Modify,
    /// `ModifyDBInstance` with more storage.
    GrowStorage,
    /// `CreateDBSnapshot`, and a deletion with a final snapshot.
    Snapshot,
    /// `CreateDBInstanceReadReplica` with it as the source.
    Replicate,
    /// `RebootDBInstance`.
    Reboot,
    /// Begin a rollout: its snapshot comes later and waits for its own state.
    RollOut,
}

/// What comes of a state when nobody does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing is waited for: users are served, hours of it are nothing to worry about.
    Rest,
    /// RDS leaves it by itself, in minutes as a rule; until then it is waited for.
    Passes,
    /// RDS does not leave it by itself; the text says what an operator must do.
    NeedsAPerson(&'static str),
    /// AWS has added it; nothing is concluded from it.
    Unknown,
}

use DbOperation::{GrowStorage, Modify, Read, Reboot, Replicate, RollOut, Snapshot};
use Outlook::{NeedsAPerson, Passes, Rest, Unknown};

type Row = (&'static [DbOperation], Outlook);

const EVERYTHING: &[DbOperation] = &[
    Read,
    Modify,
    GrowStorage,
    Snapshot,
    Replicate,
    Reboot,
    RollOut,
];
/// Its volume is worked on in the background: everything but another change of the volume.
const ALL_BUT_STORAGE: &[DbOperation] = &[Read, Modify, Snapshot, Replicate, Reboot, RollOut];
/// Something is done to it while it serves.
const SERVES: &[DbOperation] = &[Read, RollOut];
const NOTHING: &[DbOperation] = &[];

const RESTORE: &str =
    "restore it to a new instance, from a snapshot or to a point in time (docs/runbook.md)";

macro_rules! states {
    ($($(#[$text:meta])* $state:ident = $name:literal,)*) => {
        /// `DBInstanceStatus`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum DbStatus {
            $($(#[$text])* $state,)*
            /// A state that this version does not know, as RDS says it.
            Other(String),
        }

        impl DbStatus {
            /// RDS's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$state => $name,)*
                    Self::Other(name) => name,
                }
            }

            #[cfg(test)]
            const KNOWN: &'static [Self] = &[$(Self::$state),*];
        }

        impl From<String> for DbStatus {
            fn from(name: String) -> Self {
                match name.as_str() {
                    $($name => Self::$state,)*
                    _ => Self::Other(name),
                }
            }
        }
    };
}

states! {
    /// It serves, and every change is taken.
    Available = "available",
    /// An automated backup or a snapshot is made.
    BackingUp = "backing-up",
    /// Enhanced Monitoring is switched.
    ConfiguringEnhancedMonitoring = "configuring-enhanced-monitoring",
    /// IAM authentication is switched.
    ConfiguringIamDatabaseAuth = "configuring-iam-database-auth",
    /// The publishing of logs is switched.
    ConfiguringLogExports = "configuring-log-exports",
    /// It moves from EC2-Classic into a VPC.
    ConvertingToVpc = "converting-to-vpc",
    /// It is being made.
    #[default]
    Creating = "creating",
    /// RDS looks whether a replica may go.
    DeletePrecheck = "delete-precheck",
    /// It is being deleted.
    Deleting = "deleting",
    /// It is lost.
    Failed = "failed",
    /// Its KMS key is out of reach for good.
    InaccessibleEncryptionCredentials = "inaccessible-encryption-credentials",
    /// Its KMS key is out of reach.
    InaccessibleEncryptionCredentialsRecoverable = "inaccessible-encryption-credentials-recoverable",
    /// It could not be made with what it was to use.
    IncompatibleCreate = "incompatible-create",
    /// The VPC is in the way, for example without a free address.
    IncompatibleNetwork = "incompatible-network",
    /// The option group could not be applied.
    IncompatibleOptionGroup = "incompatible-option-group",
    /// The server does not start with its parameters.
    IncompatibleParameters = "incompatible-parameters",
    /// It could not be restored.
    IncompatibleRestore = "incompatible-restore",
    /// AWS has no capacity to make it.
    InsufficientCapacity = "insufficient-capacity",
    /// AWS's own maintenance.
    Maintenance = "maintenance",
    /// A change is being made.
    Modifying = "modifying",
    /// It moves into another VPC.
    MovingToVpc = "moving-to-vpc",
    /// It restarts.
    Rebooting = "rebooting",
    /// It gets another identifier.
    Renaming = "renaming",
    /// The master's password is being set.
    ResettingMasterCredentials = "resetting-master-credentials",
    /// A restore failed.
    RestoreError = "restore-error",
    /// It starts.
    Starting = "starting",
    /// It does not run.
    Stopped = "stopped",
    /// It stops.
    Stopping = "stopping",
    /// A replica's file system gets another form.
    StorageConfigUpgrade = "storage-config-upgrade",
    /// Nothing can be written any more.
    StorageFull = "storage-full",
    /// Blocks come from a snapshot in the background.
    StorageInitialization = "storage-initialization",
    /// The volume is rearranged in the background, up to more than a day.
    StorageOptimization = "storage-optimization",
    /// Another version of the engine or the system.
    Upgrading = "upgrading",
    /// The upgrade failed.
    UpgradeFailed = "upgrade_failed",
}

impl DbStatus {
    /// Whether this may be done now.
    pub fn allows(&self, operation: DbOperation) -> bool {
        self.row().0.contains(&operation)
    }

    /// What comes of it.
    pub fn outlook(&self) -> Outlook {
        self.row().1
    }

    fn row(&self) -> Row {
        match self {
            Self::Available => (EVERYTHING, Rest),
            Self::StorageInitialization | Self::StorageOptimization => (ALL_BUT_STORAGE, Rest),
            Self::BackingUp
            | Self::ConfiguringEnhancedMonitoring
            | Self::ConfiguringIamDatabaseAuth
            | Self::ConfiguringLogExports => (SERVES, Rest),
            Self::Modifying | Self::ResettingMasterCredentials => (&[Read], Passes),
            Self::ConvertingToVpc
            | Self::Creating
            | Self::DeletePrecheck
            | Self::Deleting
            | Self::Maintenance
            | Self::MovingToVpc
            | Self::Rebooting
            | Self::Renaming
            | Self::Starting
            | Self::Stopping
            | Self::StorageConfigUpgrade
            | Self::Upgrading => (NOTHING, Passes),
            Self::StorageFull => (
                &[Read, GrowStorage],
                NeedsAPerson("raise `database.storage_gib`"),
            ),
            Self::IncompatibleParameters => (
                &[Modify, Reboot],
                NeedsAPerson(
                    "set parameters with which the server starts (RDS's events name them), then reboot it",
                ),
            ),
            Self::Stopped => (
                NOTHING,
                NeedsAPerson("start it: `aws rds start-db-instance`"),
            ),
            Self::InaccessibleEncryptionCredentialsRecoverable => (
                NOTHING,
                NeedsAPerson(
                    "make its KMS key usable within seven days, then `aws rds start-db-instance`",
                ),
            ),
            Self::IncompatibleNetwork => (
                NOTHING,
                NeedsAPerson("free addresses in its subnets; AWS Support may have to recover it"),
            ),
            Self::IncompatibleOptionGroup => {
                (NOTHING, NeedsAPerson("give it an option group that fits"))
            }
            Self::IncompatibleCreate | Self::InsufficientCapacity => (
                NOTHING,
                NeedsAPerson(
                    "delete it; it is then made anew. Another class or other zones may be needed",
                ),
            ),
            Self::Failed
            | Self::InaccessibleEncryptionCredentials
            | Self::IncompatibleRestore
            | Self::RestoreError
            | Self::UpgradeFailed => (NOTHING, NeedsAPerson(RESTORE)),
            Self::Other(_) => (NOTHING, Unknown),
        }
    }
}

impl fmt::Display for DbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&str> for DbStatus {
    fn from(name: &str) -> Self {
        Self::from(name.to_owned())
    }
}

impl From<DbStatus> for String {
    fn from(status: DbStatus) -> Self {
        match status {
            DbStatus::Other(name) => name,
            known => known.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went() {
        for status in DbStatus::KNOWN {
            assert_eq!(&DbStatus::from(status.as_str()), status);
            assert_ne!(status.outlook(), Unknown, "{status}");
        }
        let new = DbStatus::from("rewinding");
        assert_eq!(new.as_str(), "rewinding");
        assert_eq!(new.outlook(), Unknown);
        assert!(EVERYTHING.iter().all(|operation| !new.allows(*operation)));
        assert_eq!(
            serde_json::to_string(&DbStatus::StorageOptimization).unwrap(),
            "\"storage-optimization\""
        );
    }

    /// What AWS's pages say, state by state, for those that an operator meets in the first month.
    #[test]
    fn what_may_be_done_in_a_state() {
        for (state, allowed) in [
            ("available", EVERYTHING),
            ("backing-up", &[Read, RollOut][..]),
            ("configuring-log-exports", &[Read, RollOut]),
            ("storage-optimization", ALL_BUT_STORAGE),
            ("storage-full", &[Read, GrowStorage]),
            ("incompatible-parameters", &[Modify, Reboot]),
            ("modifying", &[Read]),
            ("resetting-master-credentials", &[Read]),
            ("rebooting", NOTHING),
            ("upgrading", NOTHING),
            ("stopped", NOTHING),
            ("failed", NOTHING),
        ] {
            let status = DbStatus::from(state);
            for operation in EVERYTHING {
                assert_eq!(
                    status.allows(*operation),
                    allowed.contains(operation),
                    "{state}: {operation:?}"
                );
            }
        }
    }

    #[test]
    fn a_state_in_which_nothing_is_waited_for_serves_users() {
        for status in DbStatus::KNOWN {
            if status.outlook() == Rest {
                assert!(status.allows(Read) && status.allows(RollOut), "{status}");
            }
        }
    }
}
