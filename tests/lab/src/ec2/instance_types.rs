//! The instance types that the lab offers. Sizes are those of AWS's pages; the lab does not enforce
//! them (an instance is a process), it only answers with them.

/// One type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstanceType {
    pub name: &'static str,
    pub vcpus: u32,
    pub cores: u32,
    pub memory_mib: u64,
    pub burstable: bool,
    pub arm: bool,
    /// The first generations lack it; decides `currentGeneration` and `hypervisor`.
    pub nitro: bool,
    pub network: &'static str,
}

const fn of(
    name: &'static str,
    vcpus: u32,
    memory_mib: u64,
    network: &'static str,
) -> InstanceType {
    InstanceType {
        name,
        vcpus,
        cores: if vcpus > 1 { vcpus / 2 } else { 1 },
        memory_mib,
        burstable: false,
        arm: false,
        nitro: true,
        network,
    }
}

const fn burstable(name: &'static str, vcpus: u32, memory_mib: u64) -> InstanceType {
    InstanceType {
        burstable: true,
        ..of(name, vcpus, memory_mib, "Up to 5 Gigabit")
    }
}

const fn arm(base: InstanceType) -> InstanceType {
    InstanceType {
        arm: true,
        cores: base.vcpus,
        ..base
    }
}

const UP_TO_10: &str = "Up to 10 Gigabit";
const UP_TO_12: &str = "Up to 12.5 Gigabit";

/// All of them, in the order of their names.
pub(crate) const ALL: [InstanceType; 29] = [
    of("c5.2xlarge", 8, 16384, UP_TO_10),
    of("c5.4xlarge", 16, 32768, UP_TO_10),
    of("c5.large", 2, 4096, UP_TO_10),
    of("c5.xlarge", 4, 8192, UP_TO_10),
    of("c6i.2xlarge", 8, 16384, UP_TO_12),
    of("c6i.4xlarge", 16, 32768, UP_TO_12),
    of("c6i.large", 2, 4096, UP_TO_12),
    of("c6i.xlarge", 4, 8192, UP_TO_12),
    arm(of("c7g.large", 2, 4096, UP_TO_12)),
    arm(of("c7g.xlarge", 4, 8192, UP_TO_12)),
    of("c7i.large", 2, 4096, UP_TO_12),
    of("c7i.xlarge", 4, 8192, UP_TO_12),
    InstanceType {
        nitro: false,
        ..of("m1.small", 1, 1741, "Low")
    },
    of("m5.2xlarge", 8, 32768, UP_TO_10),
    of("m5.large", 2, 8192, UP_TO_10),
    of("m5.xlarge", 4, 16384, UP_TO_10),
    of("m6i.large", 2, 8192, UP_TO_12),
    of("m6i.xlarge", 4, 16384, UP_TO_12),
    arm(of("m7g.large", 2, 8192, UP_TO_12)),
    of("m7i.large", 2, 8192, UP_TO_12),
    of("m7i.xlarge", 4, 16384, UP_TO_12),
    of("r5.large", 2, 16384, UP_TO_10),
    burstable("t3.large", 2, 8192),
    burstable("t3.medium", 2, 4096),
    burstable("t3.micro", 2, 1024),
    burstable("t3.small", 2, 2048),
    burstable("t3.xlarge", 4, 16384),
    arm(burstable("t4g.medium", 2, 4096)),
    arm(burstable("t4g.small", 2, 2048)),
];

/// What `RunInstances` takes without an InstanceType.
pub(crate) const DEFAULT: &str = "m1.small";

/// A type by name.
pub(crate) fn find(name: &str) -> Option<&'static InstanceType> {
    ALL.iter().find(|kind| kind.name == name)
}
