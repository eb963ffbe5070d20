//! Mattermost's release, its licence and its settings.

use super::is_digest;
use super::node_settings::{OWN, decided_elsewhere, is_ours, is_setting, metrics_elsewhere};
use crate::spec::secret_words::{holds_secret, looks_secret};
use crate::spec::structure::Document;
use crate::spec::{Edition, Spec, is_version};
use crate::versions::{VersionTables, parse_minor};

pub(super) fn mattermost(spec: &Spec, document: &mut Document) {
    let ours = &spec.mattermost;
    if !is_version(&ours.version) {
        document.refuse(
            "mattermost.version",
            "is not a version of the form `11.10.0`",
        );
    }
    if !is_digest(&ours.sha256) {
        document.refuse(
            "mattermost.sha256",
            "is not a SHA-256: give 64 hexadecimal digits",
        );
    }
    for (version, digest) in &ours.releases {
        let path = format!("mattermost.releases.{version}");
        if !is_version(version) {
            document.refuse(&path, "names no version of the form `11.10.0`");
        }
        if !is_digest(digest) {
            document.refuse(&path, "is not a SHA-256: give 64 hexadecimal digits");
        }
    }
    versions(&ours.versions, document);
    if let Some(url) = &ours.url {
        if !is_https(url) {
            document.refuse(
                "mattermost.url",
                "is not an HTTPS address: a release is fetched as `https://…`",
            );
        } else if !ours.releases.is_empty() && !url.contains("{version}") {
            document.refuse("mattermost.url", "names one release only, but `releases` lists more: write `{version}` where the version stands");
        }
    }
    if let Some(secret) = &ours.licence_secret {
        let letters = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        if secret.is_empty() || secret.len() > 512 || !secret.chars().all(letters) {
            document.refuse(
                "mattermost.licence_secret",
                "is not the name of a secret: letters, digits and `/_+=.@-`, at most 512",
            );
        } else if is_ours(spec, secret) {
            document.refuse("mattermost.licence_secret", OWN);
        }
    }
    if ours.trust_file.as_deref().is_some_and(str::is_empty) {
        document.refuse(
            "mattermost.trust_file",
            "is empty: name a PEM file, or leave it out",
        );
    }
    if let Some(signature) = &ours.signature {
        let digits = signature
            .fingerprint
            .split_ascii_whitespace()
            .flat_map(str::bytes);
        let (length, hexadecimal) = digits.fold((0, true), |(length, all), byte| {
            (length + 1, all && byte.is_ascii_hexdigit())
        });
        if !hexadecimal || ![40, 64].contains(&length) {
            document.refuse(
                "mattermost.signature.fingerprint",
                "is not a fingerprint: give all its 40 (or 64) hexadecimal digits",
            );
        }
        if signature.key_file.is_empty() {
            document.refuse(
                "mattermost.signature.key_file",
                "is empty: name the file with the armoured public key",
            );
        }
        if signature
            .url
            .as_deref()
            .is_some_and(|url| !is_https(url) || !url.contains("{version}"))
        {
            document.refuse(
                "mattermost.signature.url",
                "is not an HTTPS address with `{version}` in it: every release has its own signature",
            );
        }
    }
    if ours.cluster && ours.licence_secret.is_none() {
        document.refuse(
            "mattermost.cluster",
            "needs a licence: name its secret in `licence_secret`",
        );
    }
    if ours.cluster && ours.edition == Edition::Team {
        document.refuse(
            "mattermost.cluster",
            "is not possible with Team Edition: use edition = \"enterprise\"",
        );
    }
}

/// What came out after this build.
fn versions(tables: &VersionTables, document: &mut Document) {
    for (path, minors) in [
        (
            "mattermost.versions.extended_support",
            &tables.extended_support,
        ),
        ("mattermost.versions.last_minor", &tables.last_minor),
    ] {
        if let Some(wrong) = minors.iter().find(|text| parse_minor(text).is_none()) {
            document.refuse(
                path,
                format!("names `{wrong}`, which is not a minor release of the form `12.4`"),
            );
        }
    }
    for (major, oldest) in &tables.oldest_postgresql {
        if major.parse::<u32>().is_err() || !(13..=99).contains(oldest) {
            document.refuse(
                "mattermost.versions.oldest_postgresql",
                "is not a table of major versions: `{ \"12\" = 15 }`",
            );
        }
    }
}

fn is_https(url: &str) -> bool {
    url.starts_with("https://") && url.len() >= 12 && !url.contains(char::is_whitespace)
}

pub(super) fn settings(spec: &Spec, document: &mut Document) {
    for (key, value) in &spec.mattermost.settings {
        let path = format!("mattermost.settings.{key}");
        if !is_setting(key) {
            document.refuse(&path, "is not a setting: `MM_SECTION_KEY` in capitals");
        } else if let Some(why) = decided_elsewhere(key) {
            document.refuse_hidden(&path, why);
        } else if let Some(why) = metrics_elsewhere(key, value) {
            document.refuse(&path, why);
        } else if looks_secret(key) {
            document.refuse_hidden(
                &path,
                "looks like a secret: this file is no place for one. Put it into Secrets Manager and name it in `[mattermost.secrets]`, for example `chat/smtp#password`",
            );
        } else if holds_secret(value) {
            document.refuse_hidden(
                &path,
                "holds a secret (a login or a token in an address, or a member of its JSON that is named as one): put the whole value into Secrets Manager and name it in `[mattermost.secrets]`",
            );
        } else if value.contains(breaks_a_line) {
            document.refuse(
                &path,
                "has a line break or a control character: an environment file takes one line of text",
            );
        }
    }
}

/// Ends a line for somebody who reads the file, or is nothing that is written into one.
fn breaks_a_line(letter: char) -> bool {
    letter != '\t' && (letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}'))
}
