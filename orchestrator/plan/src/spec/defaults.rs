//! What a specification leaves out.

pub fn instance_type() -> String {
    "m7i.large".to_owned()
}
pub fn min() -> u32 {
    1
}
pub fn max() -> u32 {
    3
}
pub fn cpu_percent() -> u32 {
    95
}
pub fn minutes() -> u32 {
    2
}
pub fn scale_in_percent() -> u32 {
    20
}
pub fn scale_in_minutes() -> u32 {
    15
}
pub fn profile() -> String {
    "mattermost-node".to_owned()
}
pub fn boot_seconds() -> u32 {
    1800
}
pub fn drain_seconds() -> u32 {
    900
}
pub fn reconnects_per_second() -> u32 {
    100
}
pub fn event_days() -> u32 {
    90
}
pub fn state_age_seconds() -> u32 {
    60
}
pub fn settings_age_seconds() -> u32 {
    900
}
