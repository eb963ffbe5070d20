//! `CreateDBInstance`, and what the three ways to create an instance share.

use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::lifecycle::{self, Origin};
use super::model::{Hidden, Instance, Pending};
use super::place::{self, Place, Wish};
use super::{bad_combination, classes, names, random_password, render, storage, support, tags};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};
use crate::{ec2, secrets};

/// DB instances a region may have (user guide, "Quotas and constraints").
pub const QUOTA: usize = 40;
/// What RDS gives instances made today.
pub const DEFAULT_CA: &str = "rds-ca-rsa2048-g1";
/// Certificate authorities that RDS has; in the lab all are the lab's own.
pub const AUTHORITIES: [&str; 3] = [DEFAULT_CA, "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"];

/// Parameters without consequence in the lab (docs/lab/rds.md).
pub const ACCEPTED: [&str; 10] = [
    "PerformanceInsightsKMSKeyId",
    "PerformanceInsightsRetentionPeriod",
    "MonitoringRoleArn",
    "DatabaseInsightsMode",
    "LicenseModel",
    "NetworkType",
    "StorageThroughput",
    "MasterUserSecretKmsKeyId",
    "OptionGroupName",
    "PromotionTier",
];

/// Members that creating, replicating and restoring read the same way.
#[derive(Debug)]
pub struct Common {
    pub port: Option<u16>,
    pub class: Option<String>,
    pub security_groups: Vec<String>,
    pub parameter_group: Option<String>,
    pub storage: Option<i64>,
    pub storage_type: Option<String>,
    pub iops: Option<i64>,
    pub auto_minor: Option<bool>,
    pub public: Option<bool>,
    pub copy_tags: Option<bool>,
    pub deletion_protection: Option<bool>,
    pub monitoring_interval: i64,
    pub insights: bool,
    pub certificate_authority: String,
    pub log_exports: Vec<String>,
    pub max_storage: Option<i64>,
    /// Default: yes, charged by vCPU and hour once standard support has ended.
    pub extended_support: bool,
    pub tags: super::model::Tags,
    pub wish: Wish,
}

impl Common {
    /// Reads and checks them.
    pub fn read(p: &Params) -> Result<Self, ApiError> {
        p.accept(&ACCEPTED);
        let class = p.opt("DBInstanceClass");
        if let Some(class) = &class {
            classes::check(class)?;
        }
        let interval = p.opt_int("MonitoringInterval")?.unwrap_or(0);
        if ![0, 1, 5, 10, 15, 30, 60].contains(&interval) {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Invalid MonitoringInterval: {interval}. Valid values are 0, 1, 5, 10, 15, 30, 60."
                ),
            ));
        }
        if p.opt_bool("EnableIAMDatabaseAuthentication")? == Some(true) {
            return Err(bad_combination(
                "The lab does not implement IAM database authentication.",
            ));
        }
        Ok(Self {
            port: p.opt_int("Port")?.map(names::port).transpose()?,
            class,
            security_groups: p.list("VpcSecurityGroupIds"),
            parameter_group: p.opt("DBParameterGroupName"),
            storage: p.opt_int("AllocatedStorage")?,
            storage_type: p.opt("StorageType"),
            iops: p.opt_int("Iops")?,
            auto_minor: p.opt_bool("AutoMinorVersionUpgrade")?,
            public: p.opt_bool("PubliclyAccessible")?,
            copy_tags: p.opt_bool("CopyTagsToSnapshot")?,
            deletion_protection: p.opt_bool("DeletionProtection")?,
            monitoring_interval: interval,
            insights: p.opt_bool("EnablePerformanceInsights")?.unwrap_or(false),
            certificate_authority: authority(p.opt("CACertificateIdentifier"))?,
            log_exports: p.list("EnableCloudwatchLogsExports"),
            max_storage: p.opt_int("MaxAllocatedStorage")?,
            extended_support: support::read(p)?,
            tags: tags::read(p)?,
            wish: Wish {
                subnet_group: p.opt("DBSubnetGroupName"),
                zone: p.opt("AvailabilityZone"),
                multi_az: p.opt_bool("MultiAZ")?.unwrap_or(false),
            },
        })
    }
}

/// A certificate authority by name, or the default one.
pub fn authority(name: Option<String>) -> Result<String, ApiError> {
    match name {
        None => Ok(DEFAULT_CA.to_owned()),
        Some(name) if AUTHORITIES.contains(&name.as_str()) => Ok(name),
        Some(name) => Err(super::not_found(
            "CertificateNotFound",
            &format!(
                "Certificate {name} not found. RDS has {}.",
                AUTHORITIES.join(", ")
            ),
        )),
    }
}

/// A random window of half an hour, as RDS assigns one.
fn backup_window(lab: &Lab) -> String {
    let half = (lab.ids.fraction() * 46.0) as u32;
    let time = |half: u32| format!("{:02}:{:02}", half / 2, half % 2 * 30);
    format!("{}-{}", time(half), time(half + 1))
}

fn maintenance_window(lab: &Lab) -> String {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let day = DAYS[((lab.ids.fraction() * 7.0) as usize).min(6)];
    let hour = (lab.ids.fraction() * 22.0) as u32;
    format!("{day}:{hour:02}:00-{day}:{hour:02}:30")
}

/// `db-` and 26 capital letters and digits.
fn resource_id(lab: &Lab) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters: String = (0..26)
        .map(|_| char::from(LETTERS[((lab.ids.fraction() * 32.0) as usize).min(31)]))
        .collect();
    format!("db-{letters}")
}

/// An instance from the common members; what only one way of creating knows is filled in after.
pub fn instance(lab: &Lab, id: String, common: Common, place: Place, group: String) -> Instance {
    Instance {
        id,
        resource_id: resource_id(lab),
        class: common.class.unwrap_or_default(),
        status: "creating",
        engine_version: String::new(),
        master: String::new(),
        database: None,
        address: place.address,
        port: common.port.unwrap_or(5432),
        endpoint_shown: false,
        storage: common.storage.unwrap_or_default(),
        storage_type: common
            .storage_type
            .unwrap_or_else(|| if common.iops.is_some() { "io1" } else { "gp3" }.to_owned()),
        iops: common.iops,
        created: None,
        backup_window: backup_window(lab),
        maintenance_window: maintenance_window(lab),
        retention: 0,
        security_groups: if common.security_groups.is_empty() {
            place.default_security_group.into_iter().collect()
        } else {
            common.security_groups
        },
        running_group: group.clone(),
        parameter_group: group,
        parameter_status: "in-sync",
        zone: place.zone,
        secondary_zone: place.secondary_zone,
        subnet_group: place.subnet_group,
        multi_az: common.wish.multi_az,
        auto_minor: common.auto_minor.unwrap_or(true),
        source: None,
        replication: None,
        public: common.public.unwrap_or(false),
        encrypted: false,
        kms_key: None,
        certificate_authority: common.certificate_authority,
        copy_tags: common.copy_tags.unwrap_or(false),
        monitoring_interval: common.monitoring_interval,
        insights: common.insights,
        deletion_protection: common.deletion_protection.unwrap_or(false),
        log_exports: common.log_exports,
        max_storage: common.max_storage,
        tags: common.tags,
        secret: None,
        pending: Pending::default(),
        latest_restorable: None,
        storage_changed_at: None,
        optimised_at: None,
        extended_support: common.extended_support,
        applying: false,
        cancel: CancellationToken::new(),
        machine: Arc::default(),
    }
}

/// Refuses an identifier that is in use, and one instance too many.
pub fn check_free(lab: &Lab, region: &str, id: &str) -> Result<(), ApiError> {
    lab.rds.with(region, |state| {
        if state.instances.contains_key(id) {
            return Err(ApiError::new(
                "DBInstanceAlreadyExists",
                "DB instance already exists",
            ));
        }
        if state.instances.len() >= QUOTA {
            return Err(ApiError::new(
                "InstanceQuotaExceeded",
                format!("The region has its {QUOTA} DB instances already."),
            ));
        }
        Ok(())
    })
}

/// Registers the instance and starts the making of it; gives the reply.
pub fn begin(
    lab: &Arc<Lab>,
    region: &str,
    instance: &Instance,
    origin: Origin,
) -> Result<Reply, ApiError> {
    let id = instance.id.clone();
    let address = instance.address;
    let taken = lab.rds.with(region, |state| {
        let taken = state.instances.contains_key(&id);
        if !taken {
            state.instances.insert(id.clone(), instance.clone());
        }
        taken
    });
    if taken {
        // Another call was faster between the check and here.
        ec2::release_address(lab, region, address);
        if let Some(secret) = &instance.secret {
            secrets::delete_owned(lab, region, secret);
        }
        return Err(ApiError::new(
            "DBInstanceAlreadyExists",
            "DB instance already exists",
        ));
    }
    let task = lifecycle::make(Arc::clone(lab), region.to_owned(), id.clone(), origin);
    lifecycle::spawn(lab, instance, task);
    let xml = lab
        .rds
        .with(region, |state| render::instance(region, state, instance));
    Ok(Xml::new().child("DBInstance", xml).into())
}

/// Makes the managed master secret, `rds!db-…`.
pub fn managed_secret(lab: &Lab, region: &str, instance: &mut Instance, password: &str) {
    let value = json!({ "username": instance.master, "password": password });
    let arn = secrets::create_owned(
        lab,
        region,
        &format!("rds!db-{}", lab.ids.uuid()),
        &format!(
            "Secret associated with primary RDS DB instance: {}",
            super::arn(region, "db", &instance.id)
        ),
        &value.to_string(),
        "rds",
        vec![
            (
                "aws:secretsmanager:owningService".to_owned(),
                "rds".to_owned(),
            ),
            (
                "aws:rds:primaryDBInstanceArn".to_owned(),
                super::arn(region, "db", &instance.id),
            ),
        ],
    );
    instance.secret = Some(arn);
}

/// The master password of a request: given, or managed.
fn password(p: &Params) -> Result<(Hidden, bool), ApiError> {
    let given = p.opt("MasterUserPassword");
    let managed = p.opt_bool("ManageMasterUserPassword")?.unwrap_or(false);
    match (given, managed) {
        (Some(_), true) => Err(bad_combination(
            "You can't specify MasterUserPassword for an instance with ManageMasterUserPassword enabled.",
        )),
        (None, false) => Err(ApiError::new(
            "InvalidParameterValue",
            "The parameter MasterUserPassword must be provided and must not be blank.",
        )),
        (Some(password), false) => {
            names::password(&password)?;
            Ok((Hidden(password), false))
        }
        (None, true) => Ok((Hidden(random_password(32)), true)),
    }
}

/// `CreateDBInstance`.
pub async fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let (p, region) = (&call.params, call.region.as_str());
    let id = names::identifier("DBInstanceIdentifier", &p.str("DBInstanceIdentifier")?)?;
    let engine_name = p.str("Engine")?;
    let version = p.opt("EngineVersion");
    p.str("DBInstanceClass")?;
    let common = Common::read(p)?;
    let master = p
        .str("MasterUsername")
        .and_then(|name| names::master(&name))?;
    let database = p
        .opt("DBName")
        .map(|name| names::database(&name))
        .transpose()?;
    let retention = names::retention(p.opt_int("BackupRetentionPeriod")?.unwrap_or(1))?;
    let backup = p
        .opt("PreferredBackupWindow")
        .map(|w| names::backup_window(&w))
        .transpose()?;
    let maintenance = p
        .opt("PreferredMaintenanceWindow")
        .map(|w| names::maintenance_window(&w))
        .transpose()?;
    let encrypted = p.opt_bool("StorageEncrypted")?.unwrap_or(false);
    let kms_key = p.opt("KmsKeyId");
    let (password, managed) = password(p)?;
    p.finish()?;
    if engine_name != "postgres" {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("Invalid DB engine: {engine_name}. The lab has postgres."),
        ));
    }
    if kms_key.is_some() && !encrypted {
        return Err(bad_combination(
            "KmsKeyId can only be specified with StorageEncrypted.",
        ));
    }
    let storage = common
        .storage
        .ok_or_else(|| ApiError::missing("AllocatedStorage"))?;
    let kind = common.storage_type.as_deref().unwrap_or("gp3");
    classes::check_storage(kind, storage)?;
    storage::check_iops(kind, storage, common.iops)?;
    let engine = lab.rds.engine(lab).await?;
    if let Some(version) = version
        && version != engine.version
        && version != engine.major
    {
        return Err(bad_combination(format!(
            "Cannot find version {version} for postgres; the lab has {}.",
            engine.version
        )));
    }
    if !common.extended_support {
        support::check(&engine.major, lab.clock.now())?;
    }
    let group = place::parameter_group(
        lab,
        region,
        common.parameter_group.as_deref(),
        &engine.major,
    )?;
    place::check_security_groups(lab, region, &common.security_groups)?;
    check_free(lab, region, &id)?;
    let place = place::take(lab, region, &common.wish)?;
    let public = common.public.unwrap_or(common.wish.subnet_group.is_none());
    let mut instance = instance(lab, id, common, place, group);
    instance.public = public;
    instance.engine_version.clone_from(&engine.version);
    instance.master = master;
    instance.database = database;
    instance.retention = retention;
    instance.encrypted = encrypted;
    instance.kms_key = kms_key.or_else(|| encrypted.then(|| default_key(region)));
    instance.backup_window = backup.unwrap_or(instance.backup_window);
    instance.maintenance_window = maintenance.unwrap_or(instance.maintenance_window);
    if managed {
        managed_secret(lab, region, &mut instance, &password.0);
    }
    begin(lab, region, &instance, Origin::Nothing { password })
}

fn default_key(region: &str) -> String {
    format!("arn:aws:kms:{region}:{}:alias/aws/rds", crate::iam::ACCOUNT)
}
