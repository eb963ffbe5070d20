//! The nodes: `[fleet]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// The Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// AMI in the home region: `ami-…`, or a name whose newest match by our own account is taken
    /// once, at the first `up`, and recorded by id.
    pub image: String,
    /// EC2 instance type.
    #[serde(default = "defaults::instance_type")]
    pub instance_type: String,
    /// Smallest group.
    #[serde(default = "defaults::min")]
    pub min: u32,
    /// Largest group.
    #[serde(default = "defaults::max")]
    pub max: u32,
    /// Scale out when average CPU is above this many percent …
    #[serde(default = "defaults::cpu_percent")]
    pub scale_out_cpu_percent: u32,
    /// … for this many minutes (one-minute metrics).
    #[serde(default = "defaults::minutes")]
    pub scale_out_minutes: u32,
    /// Scale in by one when average CPU is below this many percent; 0 switches it off.
    #[serde(default = "defaults::scale_in_percent")]
    pub scale_in_cpu_percent: u32,
    /// … for this many minutes.
    #[serde(default = "defaults::scale_in_minutes")]
    pub scale_in_minutes: u32,
    /// Name of the instance profile whose role the nodes have.
    #[serde(default = "defaults::profile")]
    pub instance_profile: String,
    /// Seconds that a booting node may take before Auto Scaling gives it up (launch hook heartbeat).
    #[serde(default = "defaults::boot_seconds")]
    pub boot_seconds: u32,
    /// Seconds that a leaving node may take (terminate hook).
    #[serde(default = "defaults::drain_seconds")]
    pub drain_seconds: u32,
    /// Clients that may come back in one second because a node leaves.
    #[serde(default = "defaults::reconnects_per_second")]
    pub reconnects_per_second: u32,
    /// Name of an EC2 key pair, of the home region, whose owner may log in to nodes that do not come up. None: nobody
    /// may. SSH's port is opened by `ports`.
    #[serde(default)]
    pub key_pair: Option<String>,
    /// Ports of the nodes that others than the load balancer reach, for example Mattermost Calls' 8443.
    #[serde(default)]
    pub ports: Vec<Port>,
}

impl Fleet {
    /// What a leaving node closes in a second: three fifths of the limit. Clients wait for a random time
    /// before they come back, so that arrivals of a second scatter as a Poisson count does: with the
    /// default of 100, 60 on average and 84 at three deviations; at three quarters, it would be 101.
    /// The rest is for pauses of a busy node or client, after which two waves arrive together.
    pub fn closed_per_second(&self) -> u32 {
        (self.reconnects_per_second.saturating_mul(3) / 5).max(1)
    }
}

/// A port of every node that is open to somebody: `[[fleet.ports]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// 1–65535; not the ports that the stack opens itself (8065/tcp, 8074).
    pub port: u16,
    /// Networks, and ids of security groups, that may reach it.
    pub from: Vec<String>,
}

/// What a port is spoken to with.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As the specification and EC2 name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}
