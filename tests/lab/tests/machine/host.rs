//! A lab with machines, a way into them, and what they leave on the host.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lab::runtime::Boot;
use lab::{Config, Lab};

use crate::support::{EAST, World, until};

const BASE_IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../base-image.sh");
/// For one script in a machine; all take a second or two on an idle host.
const SCRIPT: Duration = Duration::from_secs(15);

/// The tree to boot; none, with the reason on standard error, where there can be no machines.
pub fn base_tree() -> Option<PathBuf> {
    let reason = match lab::runtime::possible() {
        Err(error) => error.to_string(),
        Ok(()) => {
            let told = output(Command::new(BASE_IMAGE).arg("--path"));
            let tree = PathBuf::from(String::from_utf8_lossy(&told.stdout).trim());
            if tree.is_dir() {
                return Some(tree);
            }
            format!(
                "there is no base image at `{}`; hint: `make base-image`",
                tree.display()
            )
        }
    };
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(std::io::stderr(), "SKIPPED: no machines: {reason}");
    None
}

pub fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed; gives what it printed.
pub fn said(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A lab with machines in networks that no other test uses.
pub async fn world(octet: u8) -> World {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::new(directory.path().join("lab"));
    config.speed = 60.0;
    // Ids that no other lab here has: machines are looked for by them.
    config.seed = u64::from(octet);
    config.runtime = lab::runtime::Kind::Machine;
    for (index, region) in config.regions.iter_mut().enumerate() {
        region.octet = octet + index as u8;
    }
    config.launcher = Some(PathBuf::from(env!("CARGO_BIN_EXE_lab")));
    let (lab, address) = Lab::start(config).await.expect("the lab starts");
    World {
        lab,
        address,
        directory,
    }
}

/// The base image's id.
pub async fn base_image(world: &World, tree: &Path) -> String {
    lab::ec2::register_image(&world.lab, EAST, "base", Some(tree), Vec::new())
        .await
        .expect("an image")
}

/// Runs an instance and waits until its system is up.
pub async fn booted(world: &World, image: &str, more: &[(&str, &str)]) -> String {
    let id = world.run(image, more).await;
    until_up(&id).await;
    id
}

/// Waits until a machine's system has started all that it starts.
pub async fn until_up(id: &str) {
    let mut state = String::new();
    until(&format!("{id} is up"), || {
        state = try_inside(id, "systemctl is-system-running");
        state == "running"
    })
    .await;
}

/// Does what ends a machine's boot, and waits until it is up again.
pub async fn until_up_again(id: &str, end: impl AsyncFnOnce()) {
    let before = Boot::of(id);
    assert!(before.is_some(), "{id} does not run");
    end().await;
    until(&format!("{id} has booted again"), || {
        Boot::of(id).is_some_and(|now| Some(now) != before)
    })
    .await;
    until_up(id).await;
}

/// What a script prints in a machine; nothing when it is not up.
pub fn try_inside(id: &str, script: &str) -> String {
    Boot::of(id)
        .map(|boot| output(&mut boot.script(script, SCRIPT)))
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// What a script that must succeed prints in a machine.
pub fn inside(id: &str, script: &str) -> String {
    let boot = Boot::of(id).unwrap_or_else(|| panic!("{id} does not run"));
    said(&mut boot.script(script, SCRIPT)).trim().to_owned()
}

/// Everything on this host that belongs to machines of the lab in this directory, with networks from
/// this octet on.
pub fn traces(directory: &Path, octet: u8) -> Vec<String> {
    let mut found = Vec::new();
    let directory = directory.to_string_lossy();
    let links = said(Command::new("ip").args(["-brief", "link"]));
    let routes = said(Command::new("ip").args(["route", "show", "table", "all"]));
    for octet in [octet, octet + 1] {
        let devices = [format!("mmlab{octet}@"), format!("mml0a{octet:02x}")];
        let of_ours = |line: &&str| devices.iter().any(|device| line.starts_with(device));
        found.extend(links.lines().filter(of_ours).map(str::to_owned));
        let network = format!("10.{octet}.");
        let into = |line: &&str| line.split(' ').any(|word| word.starts_with(&network));
        found.extend(routes.lines().filter(into).map(str::to_owned));
    }
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        if entry.file_name().to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        if command.contains(&*directory) {
            found.push(format!("process: {command}"));
        }
        let mounts = read("mountinfo");
        let mounts = String::from_utf8_lossy(&mounts);
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&*directory))
                .map(|line| format!("mount: {line}")),
        );
    }
    found
}

/// The control groups of a lab: its process, and the first octet of its networks.
pub fn groups(lab: u32, octet: u8) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/systemd",
    ] {
        let Ok(labs) = std::fs::read_dir(Path::new(root).join("mattermost-lab")) else {
            continue;
        };
        found.extend(
            labs.flatten()
                .map(|entry| entry.path())
                .filter(|path| path.ends_with(format!("{lab}-{octet}"))),
        );
    }
    found
}
