//! What an image must never hold, whoever put it there: looked for in all of it.

use std::fs;
use std::io;
use std::path::Path;

use super::Found;
use crate::packer::tree::Entries;

/// Names that no file of an image may have: keys, histories, and what makes two machines one.
const FORBIDDEN: [&str; 8] = [
    "authorized_keys",
    "_history",
    "ssh_host_",
    "random-seed",
    "credential.secret",
    ".sudo_as_admin_successful",
    ".viminfo",
    ".lesshst",
];

/// Nothing that an image must never hold, whoever put it there.
pub(super) fn check(base: &Entries, image: &Entries, found: &mut Found) -> io::Result<()> {
    for (path, entry) in image {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = |folder: &str| path.starts_with(folder) && path != Path::new(folder);
        let full = entry.metadata.is_file() && entry.metadata.len() > 0;
        let data = ["etc", "home", "opt", "root", "srv", "var"]
            .iter()
            .any(|folder| path.starts_with(folder));
        // Manual pages of programs that are called like it are none.
        if data && FORBIDDEN.iter().any(|word| name.contains(word)) {
            found
                .wrong
                .push(format!("`{}` must not be in an image", path.display()));
        }
        if inside("tmp") || inside("run") && full || inside("var/tmp") {
            found
                .wrong
                .push(format!("`{}` was left behind", path.display()));
        }
        if inside("var/log") && full && name != "README" {
            found
                .wrong
                .push(format!("the log `{}` has content", path.display()));
        }
        if inside("etc/mattermost")
            || inside("opt/mattermost/releases")
            || inside("var/lib/mattermost-agent")
        {
            found
                .wrong
                .push(format!("`{}` is a node's, not an image's", path.display()));
        }
        let new = base
            .get(path)
            .is_none_or(|before| before.file != entry.file);
        if data && full && new {
            let content = fs::read(&entry.file)?;
            for needle in [
                "PRIVATE KEY-----",
                "AKIA",
                "ssh-rsa AAAA",
                "ssh-ed25519 AAAA",
            ] {
                if content
                    .windows(needle.len())
                    .any(|part| part == needle.as_bytes())
                {
                    found
                        .wrong
                        .push(format!("`{}` holds `{needle}`", path.display()));
                }
            }
        }
    }
    match image.get(Path::new("etc/machine-id")) {
        Some(entry) if entry.metadata.is_file() && entry.metadata.len() == 0 => {}
        _ => found
            .wrong
            .push("`etc/machine-id` is not an empty file".to_owned()),
    }
    Ok(())
}
