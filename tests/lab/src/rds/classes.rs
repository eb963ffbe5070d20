//! DB instance classes and storage: what may be ordered, and how much memory it stands for.

use crate::api::ApiError;

/// GiB of memory by size, for burstable classes.
const BURSTABLE: [(&str, u64); 6] = [
    ("micro", 1),
    ("small", 2),
    ("medium", 4),
    ("large", 8),
    ("xlarge", 16),
    ("2xlarge", 32),
];
/// vCPUs by size, for general purpose (4 GiB each) and memory optimised (8 GiB each) classes.
const SIZES: [(&str, u64); 8] = [
    ("large", 2),
    ("xlarge", 4),
    ("2xlarge", 8),
    ("4xlarge", 16),
    ("8xlarge", 32),
    ("12xlarge", 48),
    ("16xlarge", 64),
    ("24xlarge", 96),
];
const BURSTABLE_FAMILIES: [&str; 2] = ["t3", "t4g"];
const GENERAL_FAMILIES: [&str; 5] = ["m5", "m6g", "m6i", "m7g", "m7i"];
const MEMORY_FAMILIES: [&str; 5] = ["r5", "r6g", "r6i", "r7g", "r7i"];

/// Memory of a class in bytes (user guide, "Hardware specifications for DB instance classes").
pub fn memory(class: &str) -> Option<u64> {
    let mut parts = class.split('.');
    let (db, family, size) = (parts.next()?, parts.next()?, parts.next()?);
    if db != "db" || parts.next().is_some() {
        return None;
    }
    let gib = if BURSTABLE_FAMILIES.contains(&family) {
        find(&BURSTABLE, size)?
    } else if GENERAL_FAMILIES.contains(&family) {
        find(&SIZES, size)? * 4
    } else if MEMORY_FAMILIES.contains(&family) {
        find(&SIZES, size)? * 8
    } else {
        return None;
    };
    Some(gib << 30)
}

fn find(table: &[(&str, u64)], size: &str) -> Option<u64> {
    table
        .iter()
        .find(|(known, _)| *known == size)
        .map(|(_, value)| *value)
}

/// Every class, in a stable order.
pub fn all() -> Vec<String> {
    let burstable = BURSTABLE_FAMILIES
        .iter()
        .flat_map(|family| BURSTABLE.iter().map(move |(size, _)| (family, size)));
    let fixed = GENERAL_FAMILIES
        .iter()
        .chain(&MEMORY_FAMILIES)
        .flat_map(|family| SIZES.iter().map(move |(size, _)| (family, size)));
    burstable
        .chain(fixed)
        .map(|(family, size)| format!("db.{family}.{size}"))
        .collect()
}

/// Refuses a class that RDS does not have.
pub fn check(class: &str) -> Result<(), ApiError> {
    memory(class).map(drop).ok_or_else(|| {
        ApiError::new(
            "InvalidParameterValue",
            format!("Invalid DB Instance class: {class}"),
        )
    })
}

/// Storage types with their smallest and largest sizes in GiB for PostgreSQL
/// (user guide, "Amazon RDS DB instance storage").
pub const STORAGE: [(&str, i64, i64); 5] = [
    ("gp2", 20, 65_536),
    ("gp3", 20, 65_536),
    ("io1", 100, 65_536),
    ("io2", 100, 65_536),
    ("standard", 20, 3_072),
];

/// Refuses a size or type that RDS does not have.
pub fn check_storage(kind: &str, gib: i64) -> Result<(), ApiError> {
    let (_, least, most) = STORAGE
        .iter()
        .find(|(known, _, _)| *known == kind)
        .ok_or_else(|| {
            ApiError::new(
                "StorageTypeNotSupported",
                format!("Invalid storage type: {kind}"),
            )
        })?;
    if (*least..=*most).contains(&gib) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidParameterValue",
        format!(
            "Invalid storage size for engine name postgres and storage type {kind}: {gib}. It must be between {least} and {most} GiB."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_class_has_memory_and_others_do_not() {
        for class in all() {
            assert!(memory(&class).is_some(), "{class}");
        }
        for (class, gib) in [
            ("db.t3.micro", 1),
            ("db.m6g.large", 8),
            ("db.r5.24xlarge", 768),
        ] {
            assert_eq!(memory(class), Some(gib << 30), "{class}");
        }
        for class in ["t3.micro", "db.t3", "db.t3.micro.x", "db.x9.large", ""] {
            assert_eq!(memory(class), None, "{class}");
        }
    }
}
