//! Where everything is, below one root directory.
//!
//! ```text
//! /opt/mattermost/releases/<version>/        verified, read-only for the server
//! /opt/mattermost/releases/.partial-<sha>/   being unpacked; never run, removed at the next start
//! /opt/mattermost/current -> releases/<version>
//! /opt/mattermost/shared/{logs,plugins,client-plugins}   kept across versions; unpacked by the server itself
//! /opt/mattermost/shared/{config,data}       what people made, in stacks without a bucket: never deleted
//! /etc/mattermost/mattermost.env             0600: all settings, with the secrets
//! /var/lib/mattermost-agent/                 0700: key, certificate, last accepted Desired, progress
//! /var/cache/mattermost-agent/               tarballs that came with the image
//! ```

use std::path::{Path, PathBuf};

/// The directories that outlive a version: the name in the release, the name in `shared/`.
pub const SHARED: [(&str, &str); 5] = [
    ("config", "config"),
    ("logs", "logs"),
    ("plugins", "plugins"),
    ("client/plugins", "client-plugins"),
    ("data", "data"),
];

/// All paths of a node.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Below `root`; `/` on a real node.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `/opt/mattermost`.
    pub fn mattermost(&self) -> PathBuf {
        self.below("opt/mattermost")
    }

    /// `/opt/mattermost/releases`.
    pub fn releases(&self) -> PathBuf {
        self.below("opt/mattermost/releases")
    }

    /// `/opt/mattermost/releases/<version>`.
    pub fn release(&self, version: &str) -> PathBuf {
        self.releases().join(version)
    }

    /// `/opt/mattermost/current`, a symbolic link.
    pub fn current(&self) -> PathBuf {
        self.below("opt/mattermost/current")
    }

    /// `/opt/mattermost/shared/<name>`.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.below("opt/mattermost/shared").join(name)
    }

    /// `/var/lib/mattermost-agent`.
    pub fn state(&self) -> PathBuf {
        self.below("var/lib/mattermost-agent")
    }

    /// `/var/cache/mattermost-agent`.
    pub fn cache(&self) -> PathBuf {
        self.below("var/cache/mattermost-agent")
    }

    /// `/etc/mattermost`.
    pub fn configuration(&self) -> PathBuf {
        self.below("etc/mattermost")
    }

    /// `/etc/mattermost/mattermost.env`.
    pub fn environment_file(&self) -> PathBuf {
        self.below("etc/mattermost/mattermost.env")
    }

    /// `/etc/mattermost/database.password`: for the checks before a start.
    pub fn database_password_file(&self) -> PathBuf {
        self.below("etc/mattermost/database.password")
    }

    /// `/etc/mattermost/database-ca.pem`: the roots that the server trusts for its database.
    pub fn database_ca_file(&self) -> PathBuf {
        self.below("etc/mattermost/database-ca.pem")
    }

    /// `/var/log/mattermost/server.log`: the supervised child's output.
    pub fn server_log(&self) -> PathBuf {
        self.below("var/log/mattermost/server.log")
    }

    /// `/run/mattermost`.
    pub fn runtime(&self) -> PathBuf {
        self.below("run/mattermost")
    }
}
