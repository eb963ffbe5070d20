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

/// CPU time that a process used so far, in seconds, to two ticks: with the threads that ended, which the
/// scheduler's finer books of its threads no longer have.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let fields = stat(pid)?;
    // User and system time are fields 14 and 15.
    Ok((field(&fields, 14)? + field(&fields, 15)?) / TICKS)
}

/// How long ago a process was started, in seconds.
pub fn age_seconds(pid: u32) -> anyhow::Result<f64> {
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime
        .split_whitespace()
        .next()
        .context("no uptime")?
        .parse()?;
    Ok(uptime - field(&stat(pid)?, 22)? / TICKS)
}

/// The fields of `/proc/<pid>/stat` behind the name, which may hold anything: from the third on.
fn stat(pid: u32) -> anyhow::Result<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid}"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/pid/stat")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

/// One of them, by its number in proc(5).
fn field(stat: &[String], number: usize) -> anyhow::Result<f64> {
    let text = stat.get(number - 3).context("a short /proc/pid/stat")?;
    Ok(text.parse()?)
}

/// Processes that were started as a program below `tree` that is called `name`. By their arguments: of
/// who forbids core files the kernel tells nobody the executable.
pub fn running_below(tree: &Path, name: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let arguments = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let program = Path::new(arguments.split('\0').next()?);
            (program.starts_with(tree) && program.file_name()? == name).then_some(pid)
        })
        .collect()
}
