//! A way into a booted machine, from the host: what its console is on AWS.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// One boot of a machine's system. It is another one after a reboot.
///
/// Wait for another boot before you run a script in a machine that reboots, not for what a script says:
/// systemd stops all that runs when it goes down (`kill(-1, SIGSTOP)`), `nsenter` stops with its script
/// and for ever, and the machine cannot end before `nsenter` has taken note of the script's death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The system's first process, as the host counts.
    init: u32,
}

impl Boot {
    /// What an instance has booted; none when nothing runs in it.
    pub fn of(instance: &str) -> Option<Self> {
        let group = format!("/{instance}/payload/init.scope");
        std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(|pid| is_first_of(*pid, &group))
            .map(|init| Self { init })
    }

    /// A command that runs a script in it, as root, and is killed after the limit.
    pub fn script(self, script: &str, limit: Duration) -> Command {
        let mut command = Command::new("timeout");
        command
            .arg("--signal=KILL")
            .arg(limit.as_secs_f64().to_string())
            .args(["nsenter", "--target", &self.init.to_string(), "--all"])
            .args(["--", "/bin/bash", "-c", script]);
        command
    }
}

/// Whether a process is in a control group, and the first one of its own process namespace.
fn is_first_of(pid: u32, group: &str) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let has = |file: &str, wanted: &dyn Fn(&str) -> bool| {
        std::fs::read_to_string(process.join(file)).is_ok_and(|text| text.lines().any(wanted))
    };
    has("cgroup", &|line| line.ends_with(group))
        && has("status", &|line| {
            line.starts_with("NSpid:") && line.ends_with("\t1")
        })
}
