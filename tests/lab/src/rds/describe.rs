//! Describe calls: instances, engine versions, orderable options, certificates, quotas.

use super::model::Instance;
use super::{classes, create, page, render, snapshots};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// `DescribeDBInstances`.
pub fn instances(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = p.opt("DBInstanceIdentifier");
    let known = [
        "db-instance-id",
        "dbi-resource-id",
        "db-cluster-id",
        "domain",
        "engine",
    ];
    let filters = super::refuse_filters(p, &known)?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    let id = id
        .map(|id| lab.rds.find(region, &id).map(|instance| instance.id))
        .transpose()?;
    let matches = |instance: &Instance| {
        id.as_deref().is_none_or(|id| id == instance.id)
            && filters.iter().all(|(name, values)| {
                values.iter().any(|wanted| match name.as_str() {
                    "db-instance-id" => wanted
                        .rsplit(':')
                        .next()
                        .unwrap_or_default()
                        .eq_ignore_ascii_case(&instance.id),
                    "dbi-resource-id" => *wanted == instance.resource_id,
                    "engine" => wanted == "postgres",
                    // No instance of the lab is in a cluster or a directory domain.
                    _ => false,
                })
            })
    };
    Ok(lab.rds.with(region, |state| {
        let found: Vec<&Instance> = state.instances.values().filter(|i| matches(i)).collect();
        let (shown, marker) = paging.cut(found);
        Xml::new()
            .opt("Marker", marker)
            .list(
                "DBInstances",
                "DBInstance",
                shown
                    .into_iter()
                    .map(|instance| render::instance(region, state, instance)),
            )
            .into()
    }))
}

/// `DescribeDBEngineVersions`: the one server that is installed.
pub async fn engine_versions(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let name = p.opt("Engine");
    let version = p.opt("EngineVersion");
    let family = p.opt("DBParameterGroupFamily");
    p.accept(&[
        "DefaultOnly",
        "ListSupportedCharacterSets",
        "ListSupportedTimezones",
        "IncludeAll",
    ]);
    let known = [
        "engine",
        "engine-version",
        "parameter-group-family",
        "status",
        "engine-mode",
    ];
    let filters = super::refuse_filters(p, &known)?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    let engine = lab.rds.engine(lab).await?;
    let own_family = format!("postgres{}", engine.major);
    let fits = name.as_deref().is_none_or(|name| name == "postgres")
        && version.is_none_or(|v| v == engine.version || v == engine.major)
        && family.is_none_or(|family| family == own_family)
        && filters.iter().all(|(filter, values)| {
            let value = match filter.as_str() {
                "engine" => "postgres",
                "engine-version" => &engine.version,
                "parameter-group-family" => &own_family,
                "status" => "available",
                _ => "provisioned",
            };
            values.iter().any(|wanted| wanted == value)
        });
    let all: Vec<Xml> = fits
        .then(|| {
            Xml::new()
                .text("Engine", "postgres")
                .text("MajorEngineVersion", &engine.major)
                .text("EngineVersion", &engine.version)
                .text("DBParameterGroupFamily", &own_family)
                .text("DBEngineDescription", "PostgreSQL")
                .text(
                    "DBEngineVersionDescription",
                    format!("PostgreSQL {}", engine.version),
                )
                .text(
                    "DBEngineVersionArn",
                    format!(
                        "arn:aws:rds:{region}::engine-version:postgres/{}",
                        engine.version
                    ),
                )
                .list("ValidUpgradeTarget", "UpgradeTarget", [])
                .list(
                    "ExportableLogTypes",
                    "member",
                    ["postgresql", "upgrade"].map(Xml::value),
                )
                .text("SupportsLogExportsToCloudwatchLogs", true)
                .text("SupportsReadReplica", true)
                .list("SupportedFeatureNames", "member", [])
                .text("Status", "available")
                .text("SupportsParallelQuery", false)
                .text("SupportsGlobalDatabases", false)
                .text("SupportsBabelfish", false)
                .text("SupportsCertificateRotationWithoutRestart", true)
                .list(
                    "SupportedCACertificateIdentifiers",
                    "member",
                    create::AUTHORITIES.map(Xml::value),
                )
                .list("TagList", "Tag", [])
        })
        .into_iter()
        .collect();
    let (shown, marker) = paging.cut(all);
    Ok(Xml::new()
        .opt("Marker", marker)
        .list("DBEngineVersions", "DBEngineVersion", shown)
        .into())
}

/// `DescribeOrderableDBInstanceOptions`.
pub async fn orderable(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("Engine")?;
    let version = p.opt("EngineVersion");
    let class = p.opt("DBInstanceClass");
    let license = p.opt("LicenseModel");
    p.accept(&["Vpc", "AvailabilityZoneGroup"]);
    super::refuse_filters(p, &[])?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    let engine = lab.rds.engine(lab).await?;
    let fits = name == "postgres"
        && version.is_none_or(|v| v == engine.version || v == engine.major)
        && license.is_none_or(|license| license == "postgresql-license");
    let zones: Vec<String> = lab
        .region(&call.region)
        .map(|region| region.zones.clone())
        .unwrap_or_default();
    let mut all = Vec::new();
    for known in classes::all() {
        if fits && class.as_deref().is_none_or(|wanted| wanted == known) {
            for (kind, least, most) in classes::STORAGE {
                all.push((known.clone(), kind, least, most));
            }
        }
    }
    let (shown, marker) = paging.cut(all);
    let option = |(class, kind, least, most): (String, &str, i64, i64)| {
        Xml::new()
            .text("Engine", "postgres")
            .text("EngineVersion", &engine.version)
            .text("DBInstanceClass", class)
            .text("LicenseModel", "postgresql-license")
            .list(
                "AvailabilityZones",
                "AvailabilityZone",
                zones.iter().map(|zone| Xml::new().text("Name", zone)),
            )
            .text("MultiAZCapable", true)
            .text("ReadReplicaCapable", true)
            .text("Vpc", true)
            .text("SupportsStorageEncryption", true)
            .text("StorageType", kind)
            .text("SupportsIops", kind.starts_with("io") || kind == "gp3")
            .text("SupportsEnhancedMonitoring", true)
            .text("SupportsIAMDatabaseAuthentication", false)
            .text("SupportsPerformanceInsights", true)
            .text("MinStorageSize", least)
            .text("MaxStorageSize", most)
            .text("SupportsStorageAutoscaling", kind != "standard")
            .text("SupportsKerberosAuthentication", false)
            .text("OutpostCapable", false)
            .text("SupportsGlobalDatabases", false)
            .list("SupportedNetworkTypes", "member", [Xml::value("IPV4")])
            .text("SupportsClusters", false)
    };
    Ok(Xml::new()
        .opt("Marker", marker)
        .list(
            "OrderableDBInstanceOptions",
            "OrderableDBInstanceOption",
            shown.into_iter().map(option),
        )
        .into())
}

/// `DescribePendingMaintenanceActions`: the lab's engine has no newer version to be moved to, so
/// there never are any.
pub fn maintenance(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let resource = p.opt("ResourceIdentifier");
    super::refuse_filters(p, &["db-instance-id", "db-cluster-id"])?;
    page::Request::read(p)?;
    p.finish()?;
    if let Some(resource) = resource
        && lab.rds.find(&call.region, &resource).is_err()
    {
        return Err(super::not_found(
            "ResourceNotFoundFault",
            &format!("The resource {resource} was not found."),
        ));
    }
    Ok(Xml::new()
        .list(
            "PendingMaintenanceActions",
            "ResourcePendingMaintenanceActions",
            [],
        )
        .into())
}

/// `DescribeCertificates`.
pub fn certificates(call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let id = p.opt("CertificateIdentifier");
    super::refuse_filters(p, &[])?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    if let Some(id) = &id {
        create::authority(Some(id.clone()))?;
    }
    let all: Vec<Xml> = create::AUTHORITIES
        .iter()
        .filter(|name| id.as_deref().is_none_or(|wanted| wanted == **name))
        .map(|name| {
            Xml::new()
                .text("CertificateIdentifier", name)
                .text("CertificateType", "CA")
                .time("ValidFrom", render::CERTIFICATE_BEGIN)
                .time("ValidTill", render::CERTIFICATE_END)
                .text(
                    "CertificateArn",
                    format!("arn:aws:rds:{}::cert:{name}", call.region),
                )
                .text("CustomerOverride", false)
        })
        .collect();
    let (shown, marker) = paging.cut(all);
    Ok(Xml::new()
        .text("DefaultCertificateForNewLaunches", create::DEFAULT_CA)
        .opt("Marker", marker)
        .list("Certificates", "Certificate", shown)
        .into())
}

/// `DescribeAccountAttributes`: the quotas that the lab has things for.
pub fn account(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    call.params.finish()?;
    let quotas = lab.rds.with(&call.region, |state| {
        let storage: i64 = state.instances.values().map(|i| i.storage).sum();
        let manual = state.snapshots.values().filter(|s| s.kind == "manual");
        let subnets = state.subnet_groups.values().map(|g| g.subnets.len()).max();
        [
            ("DBInstances", state.instances.len(), create::QUOTA),
            ("AllocatedStorage", storage as usize, 100_000),
            ("DBParameterGroups", state.parameter_groups.len(), 50),
            ("ManualSnapshots", manual.count(), snapshots::QUOTA),
            ("DBSubnetGroups", state.subnet_groups.len(), 50),
            ("SubnetsPerDBSubnetGroup", subnets.unwrap_or(0), 20),
            ("ReadReplicasPerMaster", 0, 15),
        ]
    });
    Ok(Xml::new()
        .list(
            "AccountQuotas",
            "AccountQuota",
            quotas.into_iter().map(|(name, used, most)| {
                Xml::new()
                    .text("AccountQuotaName", name)
                    .text("Used", used)
                    .text("Max", most)
            }),
        )
        .into())
}
