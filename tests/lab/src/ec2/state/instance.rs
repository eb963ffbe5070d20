//! An instance.

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::ec2::launch_data::LaunchData;
use crate::runtime::Tree;

/// An instance profile as the instance carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub arn: String,
    pub id: String,
    pub role: Option<Role>,
}

/// A role as its sessions show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub name: String,
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// AWS's numbers (API reference, InstanceState).
    pub fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    pub fn ended(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

#[derive(Clone, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "`instance_type` is AWS's own word"
)]
pub(crate) struct Instance {
    pub id: String,
    pub reservation: String,
    pub launch_index: usize,
    pub state: InstanceState,
    /// Rises with every change of state that was asked for; a task that finds another one ends.
    pub epoch: u64,
    /// Held while something touches the runtime on the instance's behalf.
    pub gate: Arc<tokio::sync::Mutex<()>>,
    /// Code and message of why it is in its state, when somebody or something made it so.
    pub state_reason: Option<(String, String)>,
    /// For example `User initiated (2026-11-22 12:00:00 GMT)`.
    pub transition_reason: String,
    pub image: String,
    pub instance_type: String,
    pub zone: String,
    pub subnet: String,
    pub vpc: String,
    pub private_ip: Ipv4Addr,
    pub public: bool,
    pub mac: String,
    pub network_interface: String,
    pub attachment: String,
    pub launched: Timestamp,
    pub groups: Vec<String>,
    pub profile: Option<Profile>,
    pub profile_association: String,
    /// Template id and version number.
    pub template: Option<(String, i64)>,
    pub client_token: String,
    /// All that the launch asked for, the template's part merged in.
    pub data: LaunchData,
    pub root_volume: Option<String>,
    pub source_dest_check: bool,
    /// Whether both status checks have passed.
    pub status_ok: bool,
    /// Set by a fault: the system check fails.
    pub impaired: bool,
    /// The last part of the address of its container credentials: whoever knows it gets them.
    pub credentials_secret: String,
    /// The tree that its root is a copy of.
    pub tree: Option<Arc<Tree>>,
}

impl Instance {
    /// For example `ip-127-32-0-4.ec2.internal`.
    pub fn private_dns(&self, region: &str) -> String {
        let dashed = self.private_ip.to_string().replace('.', "-");
        if region == "us-east-1" {
            format!("ip-{dashed}.ec2.internal")
        } else {
            format!("ip-{dashed}.{region}.compute.internal")
        }
    }
}
