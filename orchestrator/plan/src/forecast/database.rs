//! Changes of a DB instance, in words.

use super::words::count;
use crate::action::DbChange;

/// `class db.m7g.large, Multi-AZ true`.
pub(super) fn change(change: &DbChange) -> String {
    let DbChange {
        class,
        multi_az,
        backup_days,
        deletion_protection,
        parameter_group,
        security_groups,
        public,
        auto_minor,
        copy_tags,
        ca,
    } = change;
    let named = |name: &str, value: Option<bool>| value.map(|value| format!("{name} {value}"));
    let words = [
        class.as_ref().map(|value| format!("class {value}")),
        named("Multi-AZ", *multi_az),
        backup_days.map(|value| format!("{} of backups", count(value as usize, "day"))),
        named("deletion protection", *deletion_protection),
        parameter_group
            .as_ref()
            .map(|value| format!("parameter group {value}")),
        security_groups
            .as_ref()
            .map(|_| "security groups".to_owned()),
        named("publicly accessible", *public),
        named("minor versions by itself", *auto_minor),
        named("tags copied to snapshots", *copy_tags),
        ca.as_ref().map(|value| format!("CA {value}")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    words.join(", ")
}
