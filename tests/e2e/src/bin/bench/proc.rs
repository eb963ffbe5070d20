//! What the kernel says of a process.

use std::path::Path;

use anyhow::Context;

/// Clock ticks a second in `/proc/<pid>/stat`: `USER_HZ`, 100 on every architecture that Linux has
/// user programs for.
const TICKS: f64 = 100.0;
/// Bytes in a MB, as every promise means it.
pub const MB: f64 = 1_000_000.0;

/// A field of `/proc/<pid>/status` in MB, for example `VmRSS` or `RssAnon`.
pub fn memory_mb(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid}"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse().ok())
        .with_context(|| format!("process {pid} has no {field}"))?;
    Ok(kib * 1024.0 / MB)
}

/// CPU time that a process used so far, user and system, in seconds.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid}"))?;
    // After the name, which may hold anything: state is field 3, utime 14, stime 15.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/pid/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.get(index).context("a short line")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// Processes whose executable lies below `tree` and is called `name`.
pub fn running_below(tree: &Path, name: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let program = std::fs::read_link(entry.path().join("exe")).ok()?;
            (program.starts_with(tree) && program.file_name()? == name).then_some(pid)
        })
        .collect()
}
