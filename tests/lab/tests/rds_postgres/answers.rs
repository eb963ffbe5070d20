//! What an answer says: small readings of XML, JSON and /proc.

use serde_json::Value;

use super::fixture::Refusal;

/// The processes in the control endpoint's overview.
pub fn pids(overview: &Value) -> Vec<i32> {
    let instances = overview["instances"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    instances
        .iter()
        .flat_map(|instance| instance["nodes"].as_array().cloned().unwrap_or_default())
        .filter_map(|node| node["pid"].as_i64())
        .map(|pid| pid as i32)
        .collect()
}

/// Whether a process exists (a zombie has ended).
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The text of the first element of that name.
pub fn text(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.to_owned())
}

/// The endpoint of a described instance.
pub fn endpoint(xml: &str) -> (String, u16) {
    let endpoint = text(xml, "Endpoint").expect("an endpoint");
    let port = text(&endpoint, "Port").and_then(|port| port.parse().ok());
    (
        text(&endpoint, "Address").expect("an address"),
        port.expect("a port"),
    )
}

/// The code of a refusal.
pub fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    result.expect_err("this is refused").code
}
