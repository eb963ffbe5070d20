//! Where a release and its signature lie, and which digest the file gives for it.

use super::{Edition, Spec};

impl Spec {
    /// Where the tarball of a version lies.
    pub fn artefact_url(&self, version: &str) -> String {
        let ours = &self.mattermost;
        match &ours.url {
            Some(url) if url.contains("{version}") => url.replace("{version}", version),
            // An address of one release: the same place with the other version in it.
            Some(url) => url.replace(&ours.version, version),
            None => {
                let edition = match ours.edition {
                    Edition::Enterprise => "",
                    Edition::Team => "team-",
                };
                format!(
                    "https://releases.mattermost.com/{version}/mattermost-{edition}{version}-linux-amd64.tar.gz"
                )
            }
        }
    }

    /// Where the signature of a release lies, when one is asked for.
    pub fn signature_url(&self, version: &str, artefact_url: &str) -> Option<String> {
        let signature = self.mattermost.signature.as_ref()?;
        Some(match &signature.url {
            Some(url) => url.replace("{version}", version),
            None => match artefact_url.split_once('?') {
                Some((path, query)) => format!("{path}.sig?{query}"),
                None => format!("{artefact_url}.sig"),
            },
        })
    }

    /// The digest that the file gives for a version.
    pub fn digest_of(&self, version: &str) -> Option<&str> {
        if version == self.mattermost.version {
            return Some(&self.mattermost.sha256);
        }
        self.mattermost.releases.get(version).map(String::as_str)
    }
}
