//! Looks for secrets where none may be. Every secret is looked for in the forms in which it could leak:
//! as it is, escaped for URLs, in Base64 and in hexadecimal; of a key in PEM also its bytes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;
use serde_json::Value;

use crate::stage::Stage;

/// Shorter ones would be found by chance.
const SHORTEST: usize = 12;
/// Of a key's bytes: these are enough to know it, and lie behind what keys of one kind share.
const KEY_BYTES: usize = 24;

/// One value that must stay where it belongs.
#[derive(Debug)]
struct Secret {
    name: String,
    forms: Vec<Finder<'static>>,
}

/// All that is looked for.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Secret>);

/// A file that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where.
    pub path: PathBuf,
    /// Which.
    pub secrets: Vec<String>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: u32,
}

impl Secrets {
    /// One more. PEM is taken apart: each of its lines gives it away.
    pub fn add(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let value = value.trim();
        ensure!(
            value.len() >= SHORTEST,
            "secret `{name}` is too short to be looked for: {} characters",
            value.len()
        );
        let forms = if value.contains("-----BEGIN") {
            of_key(value).with_context(|| format!("secret `{name}` is no PEM"))?
        } else {
            of_text(value)
        };
        let forms = forms.iter().map(|form| Finder::new(form).into_owned());
        self.0.push(Secret {
            name: name.to_owned(),
            forms: forms.collect(),
        });
        Ok(())
    }

    /// What the operator's credentials and the account's Secrets Manager hold.
    pub async fn add_account(&mut self, stage: &Stage) -> anyhow::Result<()> {
        for (name, value) in &stage.orchestrator.environment {
            if name == "AWS_SECRET_ACCESS_KEY" || name == "AWS_SESSION_TOKEN" {
                self.add(&format!("the operator's {name}"), value)?;
            }
        }
        let all = stage.aws(&["secretsmanager", "list-secrets"]).await?;
        let names = all["SecretList"].as_array().into_iter().flatten();
        for name in names.filter_map(|secret| secret["Name"].as_str()) {
            let value = kept(stage, name).await?;
            let parts: Vec<&str> = ["password", "key"]
                .iter()
                .filter_map(|part| value[part].as_str())
                .collect();
            match (parts.as_slice(), value.as_str()) {
                ([part], _) => self.add(name, part)?,
                (_, Some(text)) => self.add(name, text)?,
                _ => bail!("secret `{name}` has an unknown form"),
            }
        }
        Ok(())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names of the secrets that these bytes hold.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let found = self
            .0
            .iter()
            .filter(|secret| secret.forms.iter().any(|form| form.find(bytes).is_some()));
        found.map(|secret| secret.name.clone()).collect()
    }

    /// Every file below `folder` that holds one. Links are not followed; folders in `but` are left out,
    /// and so are files that vanish meanwhile.
    pub fn found_below(&self, folder: &Path, but: &[&str]) -> anyhow::Result<Vec<Kept>> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&next) else {
                ensure!(next != folder, "`{}` cannot be read", folder.display());
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let Ok(about) = path.symlink_metadata() else {
                    continue;
                };
                if about.is_dir() && !but.iter().any(|left_out| path.ends_with(left_out)) {
                    folders.push(path);
                } else if about.is_file()
                    && let Ok(bytes) = std::fs::read(&path)
                {
                    let secrets = self.found_in(&bytes);
                    if !secrets.is_empty() {
                        found.push(Kept {
                            path,
                            secrets,
                            mode: about.permissions().mode() & 0o7777,
                            owner: about.uid(),
                        });
                    }
                }
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }
}

/// What Secrets Manager keeps under a name: JSON, or a text that is none.
pub async fn kept(stage: &Stage, name: &str) -> anyhow::Result<Value> {
    let get = ["secretsmanager", "get-secret-value", "--secret-id", name];
    let value = stage.aws(&get).await?;
    let text = value["SecretString"].as_str().context("no text")?;
    Ok(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

fn of_text(value: &str) -> Vec<Vec<u8>> {
    let escaped: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let json = serde_json::Value::from(value).to_string();
    let mut forms = vec![
        value.as_bytes().to_vec(),
        escaped.into_bytes(),
        json.trim_matches('"').as_bytes().to_vec(),
        hex::encode(value).into_bytes(),
    ];
    forms.extend(in_base64(value.as_bytes()));
    forms
}

/// What Base64 of a text that holds `bytes` holds, wherever in it they begin.
fn in_base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    (0..3)
        .map(|before| {
            let mut text = vec![0; before];
            text.extend(bytes);
            // Characters at the ends depend on the neighbours.
            text.truncate(text.len() / 3 * 3);
            let encoded = STANDARD.encode(text);
            encoded.as_bytes()[4.min(before * 4)..].to_vec()
        })
        .collect()
}

fn of_key(pem: &str) -> Option<Vec<Vec<u8>>> {
    let begin = pem.find("PRIVATE KEY-----")? + "PRIVATE KEY-----".len();
    let body = &pem[begin..];
    let body = &body[..body.find("-----END")?];
    let lines: Vec<&str> = body.split_whitespace().collect();
    let der = STANDARD.decode(lines.concat()).ok()?;
    // PKCS #8 of P-256: 36 bytes of header, then the private number.
    let number = der.get(36..36 + KEY_BYTES)?;
    // The first line is half header; the second is private through and through.
    let mut forms = vec![number.to_vec(), hex::encode(number).into_bytes()];
    forms.extend(
        lines
            .iter()
            .skip(1)
            .take(1)
            .map(|line| line.as_bytes().to_vec()),
    );
    Some(forms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse/battery+staple";

    #[test]
    fn a_planted_secret_is_found_in_every_form() {
        let mut secrets = Secrets::default();
        secrets
            .add("password", PASSWORD)
            .expect("it is long enough");
        let escaped: String = url::form_urlencoded::byte_serialize(PASSWORD.as_bytes()).collect();
        let plants = [
            PASSWORD.to_owned(),
            format!("postgres://mmuser:{escaped}@127.0.0.1/mattermost"),
            STANDARD.encode(PASSWORD),
            STANDARD.encode(format!("a:{PASSWORD}:b")),
            STANDARD.encode(format!("ab:{PASSWORD}")),
            hex::encode(PASSWORD),
            format!("{:?}", format!("before\n{PASSWORD}\n")),
        ];
        for plant in plants {
            let text = format!("some words {plant} and more");
            assert_eq!(secrets.found_in(text.as_bytes()), ["password"], "{text}");
        }
        for harmless in ["correct horse", "battery", "%20", ""] {
            assert!(secrets.found_in(harmless.as_bytes()).is_empty());
        }
        assert!(secrets.add("short", "hunter2").is_err());
    }

    #[test]
    fn a_key_is_found_by_its_number_and_not_by_its_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let other = rcgen::KeyPair::generate().expect("a key can be made");
        let mut secrets = Secrets::default();
        secrets.add("key", &key.serialize_pem()).expect("it is PEM");
        let in_json = serde_json::json!({ "key": key.serialize_pem() }).to_string();
        for plant in [
            key.serialize_pem().into_bytes(),
            in_json.into_bytes(),
            key.serialize_der(),
            hex::encode(key.serialize_der()).into_bytes(),
        ] {
            assert_eq!(secrets.found_in(&plant), ["key"]);
        }
        assert!(
            secrets
                .found_in(other.serialize_pem().as_bytes())
                .is_empty()
        );
        assert!(secrets.found_in(key.public_key_pem().as_bytes()).is_empty());
    }

    #[test]
    fn files_are_told_with_mode_and_owner_and_links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let below = folder.path().join("etc/deep");
        let left_out = folder.path().join("usr");
        for made in [&below, &left_out] {
            std::fs::create_dir_all(made).expect("a folder can be made");
            std::fs::write(made.join("file"), PASSWORD).expect("a file can be written");
        }
        std::fs::write(below.join("harmless"), "nothing").expect("a file can be written");
        std::os::unix::fs::symlink(below.join("file"), folder.path().join("link"))
            .expect("a link can be made");
        let readable = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(below.join("file"), readable).expect("the file is ours");
        let mut secrets = Secrets::default();
        secrets
            .add("password", PASSWORD)
            .expect("it is long enough");
        let found = secrets
            .found_below(folder.path(), &["usr"])
            .expect("it can be read");
        let paths: Vec<_> = found.iter().map(|kept| (&kept.path, kept.mode)).collect();
        assert_eq!(paths, [(&below.join("file"), 0o640)]);
    }
}
