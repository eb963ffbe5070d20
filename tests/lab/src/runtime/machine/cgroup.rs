//! A machine's control group: all of its processes, and nothing else, whatever they do.
//!
//! `mattermost-lab/<the lab's pid>-<its octet>/<instance>` in the unified hierarchy, and beside it in systemd's own
//! on a host that has both: without a group of its own a machine would put its slices where the next
//! machine puts its.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "mattermost-lab";
/// How long the kernel may take to end processes that were killed: they may be writing.
const LET_GO: Duration = Duration::from_secs(5);
/// Between two tries.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A machine's group in every hierarchy that it needs; the first is the unified one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(Vec<PathBuf>);

/// Where the unified hierarchy is, and systemd's own where there is one.
pub fn hierarchies() -> io::Result<Vec<PathBuf>> {
    find(&fs::read_to_string("/proc/self/mountinfo")?).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "control groups of version 2 are not mounted",
        )
    })
}

/// The mount points in a `mountinfo`: `id parent dev root POINT options … - TYPE source SUPER`.
fn find(mounts: &str) -> Option<Vec<PathBuf>> {
    let (mut unified, mut named) = (None, None);
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup2") if unified.is_none() => unified = Some(point),
            Some("cgroup")
                if named.is_none()
                    && right
                        .nth(1)
                        .is_some_and(|options| options.split(',').any(|o| o == "name=systemd")) =>
            {
                named = Some(point);
            }
            _ => {}
        }
    }
    Some(unified.into_iter().collect::<Vec<_>>())
        .filter(|found| !found.is_empty())
        .map(|mut found| {
            found.extend(named);
            found
        })
}

impl Group {
    /// The group of an instance of a lab of this process.
    pub fn new(hierarchies: &[PathBuf], octet: u8, instance: &str) -> Self {
        let of_lab = |root: &PathBuf| root.join(ROOT).join(lab(octet)).join(instance);
        Self(hierarchies.iter().map(of_lab).collect())
    }

    /// As a launcher is told it.
    pub fn from_paths(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }

    /// Its folders.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    /// Makes it, and puts this process into it.
    pub fn enter(&self) -> io::Result<()> {
        for path in &self.0 {
            fs::create_dir_all(path).map_err(|error| named(path, &error))?;
            move_here(path)?;
        }
        Ok(())
    }

    /// Takes this process out of it.
    pub fn leave(&self) -> io::Result<()> {
        for path in &self.0 {
            if let Some(root) = path.ancestors().nth(3) {
                move_here(root)?;
            }
        }
        Ok(())
    }

    fn unified(&self) -> Option<&Path> {
        self.0.first().map(PathBuf::as_path)
    }

    /// How many processes are in it.
    pub fn processes(&self) -> usize {
        self.unified().map_or(0, count)
    }

    /// Sends SIGKILL to all of it at once; gives how many processes there were.
    pub fn kill(&self) -> usize {
        let processes = self.processes();
        if processes > 0
            && let Some(path) = self.unified()
            && let Err(error) = fs::write(path.join("cgroup.kill"), "1")
        {
            log::warn!("`{}` cannot be killed: {error}", path.display());
        }
        processes
    }

    /// Stops or continues all of it; gives how many processes there were.
    pub fn freeze(&self, frozen: bool) -> usize {
        if let Some(path) = self.unified()
            && let Err(error) =
                fs::write(path.join("cgroup.freeze"), if frozen { "1" } else { "0" })
        {
            log::warn!("`{}` cannot be frozen: {error}", path.display());
            return 0;
        }
        self.processes()
    }

    /// CPU time that it has used since it was made, in seconds.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let text = fs::read_to_string(self.unified()?.join("cpu.stat")).ok()?;
        let micros = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(micros.trim().parse::<f64>().ok()? / 1_000_000.0)
    }

    /// Removes it, and the lab's own group when it was the last; it must be empty.
    pub fn remove(&self) {
        for path in &self.0 {
            remove_groups(path);
            for parent in path.ancestors().skip(1).take(2) {
                // Not empty: another instance, or another lab.
                let _ = fs::remove_dir(parent);
            }
        }
    }
}

/// A process may have several labs; each has networks of its own.
fn lab(octet: u8) -> String {
    format!("{}-{octet}", std::process::id())
}

/// Removes all groups of a lab of this process; they must be empty.
pub fn close(hierarchies: &[PathBuf], octet: u8) {
    for root in hierarchies {
        remove_groups(&root.join(ROOT).join(lab(octet)));
        // Not empty: another lab.
        let _ = fs::remove_dir(root.join(ROOT));
    }
}

/// Ends what labs left behind that are no more, and whose launchers are no more either.
pub fn sweep(hierarchies: &[PathBuf]) {
    for root in hierarchies {
        let Ok(labs) = fs::read_dir(root.join(ROOT)) else {
            continue;
        };
        for lab in labs.flatten().filter(|entry| entry.path().is_dir()) {
            let name = lab.file_name().to_string_lossy().into_owned();
            let pid = name.split('-').next().unwrap_or_default();
            if Path::new("/proc").join(pid).exists() {
                continue;
            }
            let group = Group(vec![lab.path()]);
            let killed = group.kill();
            if killed > 0 {
                log::warn!(
                    "{killed} processes of a lab that ended ({name}) were left; they are killed"
                );
            }
            remove_groups(&lab.path());
        }
        let _ = fs::remove_dir(root.join(ROOT));
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

fn move_here(path: &Path) -> io::Result<()> {
    // 0 is the process that writes.
    fs::write(path.join("cgroup.procs"), "0").map_err(|error| named(path, &error))
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn count(path: &Path) -> usize {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    own.lines().count()
        + children(path)
            .iter()
            .map(|child| count(child))
            .sum::<usize>()
}

/// A killed process is in its group until the kernel has let go of it: until then the group is busy.
#[expect(
    clippy::disallowed_methods,
    reason = "called where blocking is allowed, and systemd's own hierarchy announces no empty group"
)]
fn remove_groups(path: &Path) {
    let until = Instant::now() + LET_GO;
    loop {
        match remove_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(error) => {
                log::warn!("`{}` cannot be removed: {error}", path.display());
                return;
            }
        }
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    for child in children(path) {
        match remove_all(&child) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_on_unified_and_on_mixed_hosts() {
        let unified = "29 23 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find(unified), Some(vec![PathBuf::from("/sys/fs/cgroup")]));
        let mixed = "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             31 23 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let expected = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"].map(PathBuf::from);
        assert_eq!(find(mixed), Some(expected.to_vec()));
        let legacy = "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(find(legacy), None);
    }
}
