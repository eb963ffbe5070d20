//! Which processes belong to an instance, read from /proc: those that carry its marker in their
//! environment, and the descendants of what was started (a child may have cleared its environment).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::{LAB_MARKER, MARKER};

/// Clock ticks per second in /proc/PID/stat; Linux shows user space 100 on every architecture.
pub const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
struct Stat {
    parent: i32,
    /// User and system time, in ticks.
    ticks: u64,
    /// Ended and waiting for its parent.
    zombie: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses; it may hold anything, so start behind the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        zombie: *fields.first()? == "Z",
        parent: fields.get(1)?.parse().ok()?,
        ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
    })
}

fn all() -> BTreeMap<i32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

fn has_marker(pid: i32, id: Option<&str>, lab: &Path) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    let mut variables = environment.split(|byte| *byte == 0);
    let lab = format!("{LAB_MARKER}={}", lab.display());
    let ours = variables.clone().any(|variable| variable == lab.as_bytes());
    ours && variables.any(|variable| match id {
        Some(id) => variable == format!("{MARKER}={id}").as_bytes(),
        None => variable.starts_with(format!("{MARKER}=").as_bytes()),
    })
}

/// The processes of one instance, or of every instance of the lab; never this process itself.
fn members(
    processes: &BTreeMap<i32, Stat>,
    id: Option<&str>,
    lab: &Path,
    started: &[i32],
) -> BTreeSet<i32> {
    let own = std::process::id() as i32;
    let mut found: BTreeSet<i32> = processes
        .iter()
        .filter(|(pid, _)| **pid != own)
        .filter(|(pid, stat)| !stat.zombie && has_marker(**pid, id, lab))
        .map(|(pid, _)| *pid)
        .collect();
    found.extend(
        started
            .iter()
            .filter(|pid| **pid != own && processes.contains_key(pid)),
    );
    // Descendants: as many rounds as the tree is deep.
    loop {
        let more: Vec<i32> = processes
            .iter()
            .filter(|(pid, stat)| {
                **pid != own && !found.contains(pid) && found.contains(&stat.parent)
            })
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// Sends SIGKILL to every process of an instance (or of all) that still runs; gives how many there were.
pub fn kill_members(id: Option<&str>, lab: &Path) -> usize {
    signal_members(id, lab, &[], None, Signal::KILL)
}

/// Sends a signal to every process of an instance (or of all) that still runs, and to the descendants of
/// `started`, save `spare`; gives how many there were.
pub fn signal_members(
    id: Option<&str>,
    lab: &Path,
    started: &[i32],
    spare: Option<i32>,
    signal: Signal,
) -> usize {
    let processes = all();
    members(&processes, id, lab, started)
        .into_iter()
        .filter(|pid| Some(*pid) != spare)
        .filter(|pid| processes.get(pid).is_some_and(|stat| !stat.zombie))
        .filter_map(Pid::from_raw)
        .filter(|pid| kill_process(*pid, signal).is_ok())
        .count()
}

/// Sends SIGKILL to the processes that descend from `ancestor`; gives how many still ran.
pub fn kill_descendants(ancestor: i32) -> usize {
    let processes = all();
    let mut found = BTreeSet::from([ancestor]);
    loop {
        let more: Vec<i32> = processes
            .iter()
            .filter(|(pid, stat)| !found.contains(pid) && found.contains(&stat.parent))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.remove(&ancestor);
    found
        .into_iter()
        .filter(|pid| processes.get(pid).is_some_and(|stat| !stat.zombie))
        .filter_map(Pid::from_raw)
        .filter(|pid| kill_process(*pid, Signal::KILL).is_ok())
        .count()
}

/// CPU time that the processes of an instance have used so far, in ticks; none when there are none.
pub fn cpu_ticks(id: &str, lab: &Path, started: &[i32]) -> Option<u64> {
    let processes = all();
    let members = members(&processes, Some(id), lab, started);
    if members.is_empty() {
        return None;
    }
    Some(
        members
            .iter()
            .filter_map(|pid| processes.get(pid))
            .map(|stat| stat.ticks)
            .sum(),
    )
}
