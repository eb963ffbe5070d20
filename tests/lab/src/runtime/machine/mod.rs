//! The machine runtime: an instance is a system that boots from its image's tree, in a container with a
//! network of its own. Needs root.
//!
//! * root: an overlay, the image's layers below, what the instance changes in `upper/` of its folder;
//!   [`launcher`] mounts it where nobody else sees it
//! * network: [`network`]; the metadata service answers at 169.254.169.254
//! * processes: `systemd-nspawn`, in a control group of their own ([`cgroup`])
//! * journal: `upper/var/log/journal`, to be read with `journalctl --directory`
//!
//! An image without a tree gives an instance in which nothing runs.

mod boot;
mod cgroup;
mod launcher;
mod namespace;
mod network;
mod possible;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::process::Command;

pub use boot::Boot;
pub use launcher::{ExecMachine, exec_machine};
pub use possible::{Impossible, possible};

use self::cgroup::Group;
use self::network::{Network, Plug};
use super::keeper::Keepers;
use super::{LAB_MARKER, MARKER, Machine, Runtime, RuntimeError, Tree, remove_folder};
use crate::Config;

/// What a tree must have to boot.
const INIT: &str = "usr/lib/systemd/systemd";
/// Real time that a system is given to go down before it is killed. Units that hang are given up by
/// EC2 too, after some minutes.
const GRACE: Duration = Duration::from_secs(15);

/// Runs instances as containers with a booted system.
#[derive(Debug)]
pub struct MachineRuntime {
    /// The lab's directory, as the processes' marker names it.
    directory: PathBuf,
    /// The `lab` binary.
    launcher: PathBuf,
    hierarchies: Vec<PathBuf>,
    /// Second octet of the first region's network; no two labs have the same.
    octet: u8,
    network: Arc<Network>,
    plugs: Mutex<BTreeMap<String, Arc<Plug>>>,
    running: Keepers,
}

impl MachineRuntime {
    /// Takes the regions' networks; fails with what is missing when this host cannot run machines.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        let networks: Vec<_> = config
            .regions
            .iter()
            .map(|region| config.network(region))
            .collect();
        blocking(|| possible().map_err(io::Error::other)).await?;
        let hierarchies = cgroup::hierarchies()?;
        cgroup::sweep(&hierarchies);
        for network in &networks {
            network::await_free(*network).await?;
        }
        let network = blocking(move || Network::open(&networks)).await?;
        Ok(Self {
            directory: config.directory.clone(),
            launcher: config
                .launcher
                .clone()
                .context("the machine runtime needs the `lab` binary as launcher")?,
            hierarchies,
            octet: config.regions.first().map_or(0, |region| region.octet),
            network: Arc::new(network),
            plugs: Mutex::default(),
            running: Keepers::default(),
        })
    }

    fn plugs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Plug>>> {
        self.plugs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine's end of the network, made when it is not there yet.
    async fn plug(&self, machine: &Machine) -> io::Result<Arc<Plug>> {
        if let Some(plug) = self.plugs().get(&machine.id) {
            return Ok(Arc::clone(plug));
        }
        let (address, mac) = (machine.address, machine.mac.clone());
        let plug = Arc::new(blocking(move || Plug::new(address, &mac)).await?);
        self.plugs().insert(machine.id.clone(), Arc::clone(&plug));
        Ok(plug)
    }

    fn group(&self, id: &str) -> Group {
        Group::new(&self.hierarchies, self.octet, id)
    }

    fn command(&self, machine: &Machine, tree: &Tree, plug: &Plug) -> io::Result<Command> {
        let console = OpenOptions::new()
            .create(true)
            .append(true)
            .open(machine.console())?;
        let mut command = Command::new("nsenter");
        command
            // Here too, not only in the container: /sys shows the devices of whoever mounts it.
            .arg(option("--net=", &plug.namespace.path()))
            // In namespaces of its own for mounts and processes: all of them end with the launcher,
            // the namespace's first process, and that with `unshare`.
            .args(["--", "unshare", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"])
            .arg(&self.launcher)
            .arg("exec-machine")
            .arg("--directory")
            .arg(&machine.directory);
        for layer in tree.layers() {
            command.arg("--lower").arg(layer);
        }
        for path in self.group(&machine.id).paths() {
            command.arg("--group").arg(path);
        }
        let dashed = machine.address.to_string().replace('.', "-");
        command
            .args(["--", "systemd-nspawn", "--quiet", "--boot"])
            // No systemd of the host is asked for anything.
            .args(["--register=no", "--keep-unit", "--link-journal=no"])
            .args(["--resolv-conf=off", "--timezone=off", "--console=read-only"])
            // What the kernel gives a booted systemd, not what the lab was started with.
            .arg("--rlimit=NOFILE=1024:524288")
            // A real machine's root may close its own connections and change its own routes.
            .arg("--capability=CAP_NET_ADMIN")
            .arg(format!("--machine={}", machine.id))
            .arg(format!("--hostname=ip-{dashed}"))
            .arg("--network-namespace-path=/proc/self/ns/net")
            .arg(option("--directory=", &machine.root()))
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("SYSTEMD_LOG_COLOR", "0")
            .env(MARKER, &machine.id)
            .env(LAB_MARKER, &self.directory)
            .stdin(Stdio::piped())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// Does what blocks where that is allowed.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(act)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[async_trait]
impl Runtime for MachineRuntime {
    async fn prepare(&self, machine: &Machine) -> Result<(), RuntimeError> {
        let directory = machine.directory.clone();
        let laid_out = blocking(move || {
            ["root", "upper", "work"]
                .iter()
                .try_for_each(|folder| std::fs::create_dir_all(directory.join(folder)))
        });
        laid_out.await.map_err(|source| RuntimeError::Prepare {
            id: machine.id.clone(),
            tree: machine
                .tree
                .as_ref()
                .map(|tree| tree.path().to_owned())
                .unwrap_or_default(),
            source,
        })
    }

    async fn start(&self, machine: &Machine) -> Result<(), RuntimeError> {
        let Some(tree) = &machine.tree else {
            return Ok(());
        };
        if self.running.runs(&machine.id) {
            return Ok(());
        }
        let failed = |source| RuntimeError::Start {
            id: machine.id.clone(),
            program: PathBuf::from("systemd-nspawn"),
            source,
        };
        let plug = self.plug(machine).await.map_err(failed)?;
        let command = self.command(machine, tree, &plug).map_err(failed)?;
        let group = self.group(&machine.id);
        let kill_rest = Box::new(move || group.kill());
        self.running
            .start(machine, command, GRACE, kill_rest)
            .map_err(failed)
    }

    async fn stop(&self, machine: &Machine) {
        self.running.stop(&machine.id).await;
        // The launcher has, unless it had to be killed.
        let group = self.group(&machine.id);
        let removed = blocking(move || {
            group.remove();
            Ok(())
        });
        if let Err(error) = removed.await {
            log::warn!("the control group of {} stays: {error}", machine.id);
        }
    }

    async fn metadata_listener(&self, machine: &Machine) -> io::Result<TcpListener> {
        let plug = self.plug(machine).await?;
        blocking(move || plug.metadata_listener()).await
    }

    async fn disconnect(&self, machine: &Machine) {
        let plug = self.plugs().remove(&machine.id);
        if let Some(plug) = plug {
            let pulled = blocking(move || {
                plug.pull();
                Ok(())
            });
            if let Err(error) = pulled.await {
                log::warn!("{} stays on the network: {error}", machine.id);
            }
        }
    }

    /// The tree stays where it is: it lies below every machine of it, and nobody writes to it.
    async fn take(&self, from: &Path, _to: PathBuf) -> io::Result<Tree> {
        let from = std::path::absolute(from)?;
        if !from.join(INIT).is_file() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "it has no `{INIT}`, so it cannot boot; hint: `tests/base-image.sh` makes one that does"
                ),
            ));
        }
        Ok(Tree::borrowed(from))
    }

    async fn capture(&self, machine: &Machine, to: PathBuf) -> io::Result<Tree> {
        let (upper, below) = (machine.directory.join("upper"), machine.tree.clone());
        blocking(move || {
            copy(&upper, &to)?;
            Ok(Tree::layer(to, below))
        })
        .await
    }

    async fn forget(&self, machine: &Machine) {
        for folder in ["work", "upper", "root"] {
            remove_folder(machine.directory.join(folder)).await;
        }
    }

    async fn stop_all(&self) {
        self.running.stop_all().await;
        let plugs = std::mem::take(&mut *self.plugs());
        let (network, hierarchies) = (Arc::clone(&self.network), self.hierarchies.clone());
        let octet = self.octet;
        let closed = blocking(move || {
            for plug in plugs.into_values() {
                plug.pull();
            }
            network.close();
            cgroup::close(&hierarchies, octet);
            Ok(())
        });
        if let Err(error) = closed.await {
            log::warn!("the network stays until the lab's process has ended: {error}");
        }
    }

    fn kill(&self, id: &str) -> usize {
        self.group(id).kill()
    }

    fn freeze(&self, id: &str, frozen: bool) -> usize {
        self.group(id).freeze(frozen)
    }

    fn cpu_percent(&self, id: &str) -> Option<f64> {
        let seconds = self.group(id).cpu_seconds()?;
        self.running.cpu_percent(id, seconds)
    }
}

/// Copies a layer as it is: owners, times, attributes, and the marks by which the overlay file system
/// knows what was removed.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let output = std::process::Command::new("cp")
        .args(["--archive", "--reflink=auto", "--no-target-directory", "--"])
        .arg(from)
        .arg(to)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let _ = std::fs::remove_dir_all(to);
    Err(io::Error::other(format!(
        "`cp --archive`: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
