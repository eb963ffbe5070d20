//! Faults that are planted, and must be named.

use std::os::unix::fs::PermissionsExt as _;

use super::super::tree;
use super::*;

/// A base with accounts, a machine id and a package, and a layer that changes some of it.
fn judged(write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<Vec<String>> {
    let directory = tempfile::tempdir()?;
    let (base, upper) = (
        directory.path().join("base"),
        directory.path().join("upper"),
    );
    for (file, text) in [
        ("etc/machine-id", ""),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ("etc/shadow", "root:*:1::::::\n"),
        ("var/lib/dpkg/status", "Package: base\nVersion: 1\n"),
        ("usr/bin/tool", "tool"),
        ("usr/lib/os-release", "NAME=\"Debian\"\nVERSION_ID=\"13\"\n"),
    ] {
        put(&base, file, text)?;
    }
    let agent = directory.path().join("agent");
    fs::write(&agent, "agent")?;
    fs::create_dir(&upper)?;
    write(&upper)?;
    let below = tree::read(std::slice::from_ref(&base))?;
    let image = tree::read(&[upper, base])?;
    Ok(check(&below, &image, &agent)?.wrong)
}

fn put(root: &Path, file: &str, text: &str) -> io::Result<()> {
    let file = root.join(file);
    fs::create_dir_all(file.parent().unwrap_or(root))?;
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))
}

#[test]
fn whatever_should_not_be_there_is_named() -> io::Result<()> {
    for (file, text, expected) in [
        (
            "home/admin/.ssh/authorized_keys",
            "",
            "must not be in an image",
        ),
        ("root/.bash_history", "ls", "must not be in an image"),
        ("etc/ssh/ssh_host_rsa_key", "", "must not be in an image"),
        ("etc/machine-id", "0123", "not an empty file"),
        ("var/log/auth.log", "who", "has content"),
        ("tmp/image/agent", "", "was left behind"),
        ("etc/mattermost/mattermost.env", "", "is a node's"),
        ("etc/ssl/key.pem", "-----BEGIN PRIVATE KEY-----", "holds"),
        ("usr/bin/other", "", "`usr/bin/other` is not on the list"),
        ("usr/bin/tool", "changed", "is not as Debian has it"),
        (
            "etc/shadow",
            "root:$y$hash:1::::::\n",
            "`root` has a password",
        ),
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nmallory:x:0:0::/:/bin/sh\n",
            "more than the server's account",
        ),
        (
            "var/lib/dpkg/status",
            "Package: base\nVersion: 2\n",
            "is not the base's 1",
        ),
        (
            "var/lib/dpkg/status",
            "Package: base\nVersion: 1\n\nPackage: nmap\nVersion: 7\n",
            "\"nmap\"",
        ),
    ] {
        let wrong = judged(|upper| put(upper, file, text))?;
        assert!(
            wrong.iter().any(|line| line.contains(expected)),
            "{file}: {wrong:#?}"
        );
    }
    Ok(())
}

#[test]
fn whatever_should_be_there_is_missed() -> io::Result<()> {
    let wrong = judged(|_| Ok(()))?;
    for expected in [
        "`usr/bin/mattermost-agent` is missing",
        "the agent is not enabled",
        "packages beyond the base: {}",
    ] {
        assert!(
            wrong.iter().any(|line| line.contains(expected)),
            "{wrong:#?}"
        );
    }
    Ok(())
}
