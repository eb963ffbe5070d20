//! The instance types that the lab offers. Sizes are those of AWS's pages; the lab does not enforce
//! them (an instance is a process), it only answers with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

use super::filter::{Fields, Filters, Page, all_exist};
use super::launch_data::one_of;
use super::proceed;
use super::state::Tags;

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

impl InstanceType {
    /// As EC2 names it.
    pub fn architecture(&self) -> &'static str {
        if self.arm { "arm64" } else { "x86_64" }
    }

    fn xml(&self) -> Xml {
        let texts = |values: &[&str]| values.iter().map(Xml::value).collect::<Vec<_>>();
        let threads = self.vcpus / self.cores;
        Xml::new()
            .text("instanceType", self.name)
            .text("currentGeneration", self.nitro)
            .text("freeTierEligible", self.name == "t3.micro")
            .list("supportedUsageClasses", "item", texts(&["on-demand"]))
            .list("supportedRootDeviceTypes", "item", texts(&["ebs"]))
            .list("supportedVirtualizationTypes", "item", texts(&["hvm"]))
            .text("bareMetal", false)
            .text("hypervisor", if self.nitro { "nitro" } else { "xen" })
            .child(
                "processorInfo",
                Xml::new().list(
                    "supportedArchitectures",
                    "item",
                    texts(&[self.architecture()]),
                ),
            )
            .child(
                "vCpuInfo",
                Xml::new()
                    .text("defaultVCpus", self.vcpus)
                    .text("defaultCores", self.cores)
                    .text("defaultThreadsPerCore", threads),
            )
            .child("memoryInfo", Xml::new().text("sizeInMiB", self.memory_mib))
            .text("instanceStorageSupported", false)
            .child(
                "ebsInfo",
                Xml::new()
                    .text(
                        "ebsOptimizedSupport",
                        if self.nitro { "default" } else { "unsupported" },
                    )
                    .text("encryptionSupport", "supported")
                    .text(
                        "nvmeSupport",
                        if self.nitro {
                            "required"
                        } else {
                            "unsupported"
                        },
                    ),
            )
            .child(
                "networkInfo",
                Xml::new()
                    .text("networkPerformance", self.network)
                    .text("maximumNetworkInterfaces", 1)
                    .text("maximumNetworkCards", 1)
                    .text("ipv4AddressesPerInterface", 1)
                    .text("ipv6AddressesPerInterface", 0)
                    .text("ipv6Supported", false)
                    .text(
                        "enaSupport",
                        if self.nitro {
                            "required"
                        } else {
                            "unsupported"
                        },
                    )
                    .text("efaSupported", false),
            )
            .text("hibernationSupported", false)
            .text("burstablePerformanceSupported", self.burstable)
            .text("dedicatedHostsSupported", false)
            .text("autoRecoverySupported", true)
            .list(
                "supportedBootModes",
                "item",
                texts(if self.nitro {
                    &["legacy-bios", "uefi"]
                } else {
                    &["legacy-bios"]
                }),
            )
    }
}

/// DescribeInstanceTypes.
pub(crate) fn describe(_lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let names = p.list("InstanceType");
    let known = [
        "bare-metal",
        "burstable-performance-supported",
        "current-generation",
        "free-tier-eligible",
        "hypervisor",
        "instance-type",
        "memory-info.size-in-mib",
        "processor-info.supported-architecture",
        "supported-root-device-type",
        "supported-usage-class",
        "supported-virtualization-type",
        "vcpu-info.default-vcpus",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::parse(p, 5, 100)?;
    proceed(p)?;
    all_exist(
        &names,
        |name| find(name).is_some(),
        |name| {
            ApiError::new(
                "InvalidInstanceType",
                format!("The following supplied instance types do not exist: [{name}]"),
            )
        },
    )?;
    let mut entries = Vec::new();
    for kind in &ALL {
        let fields: Fields = vec![
            ("bare-metal", "false".to_owned()),
            (
                "burstable-performance-supported",
                kind.burstable.to_string(),
            ),
            ("current-generation", kind.nitro.to_string()),
            ("free-tier-eligible", (kind.name == "t3.micro").to_string()),
            (
                "hypervisor",
                if kind.nitro { "nitro" } else { "xen" }.to_owned(),
            ),
            ("instance-type", kind.name.to_owned()),
            ("memory-info.size-in-mib", kind.memory_mib.to_string()),
            (
                "processor-info.supported-architecture",
                kind.architecture().to_owned(),
            ),
            ("supported-root-device-type", "ebs".to_owned()),
            ("supported-usage-class", "on-demand".to_owned()),
            ("supported-virtualization-type", "hvm".to_owned()),
            ("vcpu-info.default-vcpus", kind.vcpus.to_string()),
        ];
        if (names.is_empty() || names.iter().any(|name| name == kind.name))
            && filters.pass(&fields, &Tags::new())
        {
            entries.push((kind.name.to_owned(), kind.xml()));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("instanceTypeSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// Families that a region's third zone does not offer in a new lab, as AWS's zones differ by their newest
/// types. No image of the lab runs on them, so that nobody meets it by accident.
const NOT_EVERYWHERE: [&str; 2] = ["c7g.", "m7g."];

/// What the zones of a new region do not offer: zone and type.
pub(crate) fn not_offered(zones: &[String]) -> BTreeSet<(String, String)> {
    let newest = |kind: &&InstanceType| {
        let mut families = NOT_EVERYWHERE.iter();
        families.any(|family| kind.name.starts_with(family))
    };
    let mut pairs = BTreeSet::new();
    for zone in zones.iter().skip(2) {
        let missing = ALL.iter().filter(newest);
        pairs.extend(missing.map(|kind| (zone.clone(), kind.name.to_owned())));
    }
    pairs
}

/// DescribeInstanceTypeOfferings. A region offers what one of its zones does.
pub(crate) fn offerings(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let kinds = ["region", "availability-zone", "availability-zone-id"];
    let location_type = one_of(p, "LocationType", &kinds)?.unwrap_or_else(|| "region".to_owned());
    let filters = Filters::parse(p, &["instance-type", "location"])?;
    let page = Page::parse(p, 5, 1000)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    // Each location with the zones in it.
    let locations: Vec<(String, &[String])> = match location_type.as_str() {
        "region" => vec![(region.name.clone(), region.zones.as_slice())],
        kind => {
            let zones = region.zones.iter();
            let named = zones.map(|zone| match kind {
                "availability-zone" => (zone.clone(), std::slice::from_ref(zone)),
                _ => (region.zone_id(zone), std::slice::from_ref(zone)),
            });
            named.collect()
        }
    };
    let mut entries = Vec::new();
    for kind in &ALL {
        for (location, zones) in &locations {
            if !zones.iter().any(|zone| region.offers(zone, kind.name)) {
                continue;
            }
            let fields: Fields = vec![
                ("instance-type", kind.name.to_owned()),
                ("location", location.clone()),
            ];
            if filters.pass(&fields, &Tags::new()) {
                let xml = Xml::new()
                    .text("instanceType", kind.name)
                    .text("locationType", &location_type)
                    .text("location", location);
                entries.push((format!("{} {location}", kind.name), xml));
            }
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("instanceTypeOfferingSet", "item", entries)
        .opt("nextToken", token)
        .into())
}
