//! Signatures and keys as GnuPG makes them.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::fixture::{NEW, release};
use super::signatures::{Case, check};

/// A key ring of its own; the agent that GnuPG starts for it ends with it.
struct GnuPg(tempfile::TempDir);

impl Drop for GnuPg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

impl GnuPg {
    fn new() -> Option<Self> {
        if Command::new("gpg").arg("--version").output().is_err() {
            // Past the test harness, which keeps what tests print that pass.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no GnuPG (`gpg`) on this machine; hint: `make setup`"
            );
            return None;
        }
        // Its socket's path must be short.
        Some(Self(tempfile::tempdir_in("/tmp").unwrap()))
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .env("GNUPGHOME", self.0.path())
            .args([
                "--batch",
                "--no-tty",
                "--quiet",
                "--yes",
                "--passphrase",
                "",
            ])
            .args(["--pinentry-mode", "loopback"])
            .args(arguments)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "gpg {arguments:?}: {complaint}");
        output.stdout
    }

    /// Of the primary key, then of its subkeys.
    fn fingerprints(&self, user: &str) -> Vec<String> {
        let list = self.run(&["--with-colons", "--fingerprint", "--fingerprint", user]);
        String::from_utf8(list)
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("fpr:"))
            .map(|rest| rest.trim_matches(':').to_owned())
            .collect()
    }

    /// Armoured.
    fn export(&self, user: &str) -> String {
        String::from_utf8(self.run(&["--armor", "--export", user])).unwrap()
    }

    fn sign(&self, file: &Path, more: &[&str]) -> Vec<u8> {
        let file = file.to_str().unwrap();
        let mut arguments = more.to_vec();
        arguments.extend(["--output", "-", "--detach-sign", file]);
        self.run(&arguments)
    }
}

#[tokio::test]
async fn signatures_of_gnupg_are_understood() {
    let Some(gpg) = GnuPg::new() else {
        return;
    };
    let all = release(NEW);
    let file = gpg.0.path().join("m.tar.gz");
    std::fs::write(&file, &all).unwrap();
    let then = ["--faked-system-time", "20200101T000000"];
    gpg.run(&[
        "--quick-generate-key",
        "one@example.org",
        "rsa2048",
        "sign",
        "never",
    ]);
    gpg.run(
        &[
            &then[..],
            &[
                "--quick-generate-key",
                "two@example.org",
                "ed25519",
                "cert",
                "2y",
            ],
        ]
        .concat(),
    );
    let two = gpg.fingerprints("two@example.org").remove(0);
    gpg.run(
        &[
            &then[..],
            &["--quick-add-key", &two, "ed25519", "sign", "1y"],
        ]
        .concat(),
    );
    let case = |name, user, more: &[&str], code| Case {
        name,
        key: gpg.export(user),
        fingerprint: gpg.fingerprints(user).remove(0),
        signature: gpg.sign(&file, &[more, &["--local-user", user][..]].concat()),
        code,
    };
    let with = |more: &[&'static str]| [&then[..], more].concat();
    for case in [
        case("RSA", "one@example.org", &[], None),
        case("armoured", "one@example.org", &["--armor"], None),
        case(
            "SHA-1",
            "one@example.org",
            &["--digest-algo", "SHA1"],
            Some("signature_weak"),
        ),
        case(
            "made for an hour",
            "two@example.org",
            &with(&["--default-sig-expire", "1d"]),
            Some("signature_expired"),
        ),
        case(
            "subkey of yore",
            "two@example.org",
            &with(&[]),
            Some("signature_key_expired"),
        ),
    ] {
        check(&case, &all).await;
    }
    // Its owner extends primary key and subkey: the same signature is good with the new export.
    let old = case("extended", "two@example.org", &with(&[]), None);
    let subkey = gpg.fingerprints("two@example.org").remove(1);
    gpg.run(&["--quick-set-expire", &two, "10y"]);
    gpg.run(&["--quick-set-expire", &two, "10y", &subkey]);
    let key = gpg.export("two@example.org");
    check(&Case { key, ..old }, &all).await;
}
