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

/// CPU time that a process used so far, all its threads, in seconds; to the nanosecond, from the
/// scheduler's own books.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds: f64 = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path().join("schedstat");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let on_cpu = text.split_whitespace().next();
        nanoseconds += on_cpu.context("an empty schedstat")?.parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}

/// How long ago a process was started, in seconds.
pub fn age_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid}"))?;
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime
        .split_whitespace()
        .next()
        .context("no uptime")?
        .parse()?;
    // After the name, which may hold anything: state is field 3, the start 22.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/pid/stat")?;
    let start = rest.split_whitespace().nth(19).context("a short line")?;
    Ok(uptime - start.parse::<f64>()? / TICKS)
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
