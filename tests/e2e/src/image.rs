//! The image that the stage's nodes start from.
//!
//! For processes it is the agent alone, where the package puts it. For machines it is Debian with what
//! `packer/provision.sh` installs; Packer itself is `make image`'s part.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use crate::stage::{Options, Runtime};

/// The units and what systemd makes for them.
const SYSTEMD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../systemd");
const AGENT: &str = "usr/bin/mattermost-agent";

/// Makes the tree at `tree`, which does not exist yet.
pub async fn compose(options: &Options, tree: &Path) -> anyhow::Result<()> {
    let agent = options.bin.join("mattermost-agent");
    if let Runtime::Machine(base) = &options.runtime {
        let copy = ["--archive", "--reflink=auto", "--no-target-directory", "--"];
        run("cp", &copy, &[base, tree]).await?;
    }
    install(&agent, &tree.join(AGENT), 0o755)
        .with_context(|| format!("`{}`; hint: `make build`", agent.display()))?;
    if let Runtime::Machine(_) = options.runtime {
        provision(tree).await?;
    }
    Ok(())
}

/// Units, accounts and folders; the agent starts at boot.
async fn provision(tree: &Path) -> anyhow::Result<()> {
    let mut units = 0;
    for entry in fs::read_dir(SYSTEMD).with_context(|| SYSTEMD.to_owned())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("mattermost") && name.ends_with(".service") {
            let to = tree.join("usr/lib/systemd/system").join(&*name);
            install(&path, &to, 0o644)?;
            units += 1;
        }
    }
    ensure!(units > 0, "`{SYSTEMD}` holds no unit");
    for folder in ["sysusers.d", "tmpfiles.d"] {
        let file = Path::new(folder).join("mattermost.conf");
        let to = tree.join("usr/lib").join(&file);
        install(&Path::new(SYSTEMD).join(&file), &to, 0o644)?;
    }
    run("systemd-sysusers", &[&root(tree), "mattermost.conf"], &[]).await?;
    let create = [&root(tree), "--create", "mattermost.conf"];
    run("systemd-tmpfiles", &create, &[]).await?;
    let enable = [&root(tree), "enable", "--quiet", "mattermost-agent.service"];
    run("systemctl", &enable, &[]).await
}

fn root(tree: &Path) -> String {
    format!("--root={}", tree.display())
}

fn install(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

async fn run(program: &str, arguments: &[&str], paths: &[&Path]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .args(paths)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("running `{program}`"))?;
    if !output.status.success() {
        bail!(
            "`{program} {}`: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
