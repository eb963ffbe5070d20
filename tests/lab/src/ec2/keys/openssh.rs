//! New keys in the forms that ssh reads: PKCS #1 PEM for RSA, OpenSSH's own for ed25519, as EC2 gives
//! them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};

/// A new key pair.
pub(super) struct Made {
    /// What the caller gets, once.
    pub private_pem: String,
    /// `ssh-rsa` or `ssh-ed25519`.
    pub algorithm: &'static str,
    /// The public key as in `authorized_keys`, before base64.
    pub blob: Vec<u8>,
}

/// Makes a pair of type `rsa` (2048 bits) or `ed25519`.
pub(super) fn generate(key_type: &str, comment: &str) -> anyhow::Result<Made> {
    if key_type == "ed25519" {
        let pair = KeyPair::generate_for(&PKCS_ED25519)?;
        let public = pair.der_bytes().to_vec();
        let seed = ed25519_seed(pair.serialized_der())
            .ok_or_else(|| anyhow::anyhow!("the new key is not PKCS #8 as expected"))?;
        let mut blob = Vec::new();
        put(&mut blob, b"ssh-ed25519");
        put(&mut blob, &public);
        return Ok(Made {
            private_pem: pem(
                "OPENSSH PRIVATE KEY",
                &openssh_key(&blob, &seed, &public, comment),
            ),
            algorithm: "ssh-ed25519",
            blob,
        });
    }
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let pkcs1 = rsa_private(pair.serialized_der())
        .ok_or_else(|| anyhow::anyhow!("the new key is not PKCS #8 as expected"))?;
    let (modulus, exponent) = rsa_public(pair.der_bytes())
        .ok_or_else(|| anyhow::anyhow!("the new public key is not PKCS #1 as expected"))?;
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-rsa");
    put(&mut blob, exponent);
    put(&mut blob, modulus);
    Ok(Made {
        private_pem: pem("RSA PRIVATE KEY", pkcs1),
        algorithm: "ssh-rsa",
        blob,
    })
}

/// SSH's string: a length of four bytes, then the bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

/// The unencrypted `openssh-key-v1` container (OpenSSH, PROTOCOL.key).
fn openssh_key(blob: &[u8], seed: &[u8], public: &[u8], comment: &str) -> Vec<u8> {
    let mut private = Vec::new();
    // Two equal numbers show a reader that decryption worked; without encryption any will do.
    private.extend([0x4c, 0x41, 0x42, 0x21, 0x4c, 0x41, 0x42, 0x21]);
    put(&mut private, b"ssh-ed25519");
    put(&mut private, public);
    put(&mut private, &[seed, public].concat());
    put(&mut private, comment.as_bytes());
    let mut padding = 1;
    while private.len() % 8 != 0 {
        private.push(padding);
        padding += 1;
    }
    let mut key = b"openssh-key-v1\0".to_vec();
    put(&mut key, b"none");
    put(&mut key, b"none");
    put(&mut key, b"");
    key.extend(1_u32.to_be_bytes());
    put(&mut key, blob);
    put(&mut key, &private);
    key
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.push_str(&String::from_utf8_lossy(line));
        lines.push('\n');
    }
    let _ = writeln!(lines, "-----END {label}-----");
    lines
}

/// One DER element: tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        let length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The private key inside a PKCS #8 document.
fn pkcs8_key(der: &[u8]) -> Option<&[u8]> {
    let (_, sequence, _) = element(der)?;
    let (_, _version, rest) = element(sequence)?;
    let (_, _algorithm, rest) = element(rest)?;
    let (tag, key, _) = element(rest)?;
    (tag == 0x04).then_some(key)
}

fn rsa_private(der: &[u8]) -> Option<&[u8]> {
    pkcs8_key(der)
}

fn ed25519_seed(der: &[u8]) -> Option<Vec<u8>> {
    let (tag, seed, _) = element(pkcs8_key(der)?)?;
    (tag == 0x04 && seed.len() == 32).then(|| seed.to_vec())
}

/// Modulus and exponent; a DER integer and SSH's mpint are the same bytes.
fn rsa_public(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, sequence, _) = element(der)?;
    let (_, modulus, rest) = element(sequence)?;
    let (_, exponent, _) = element(rest)?;
    Some((modulus, exponent))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// ssh-keygen derives the same public key from the private one: both are what ssh takes.
    #[test]
    fn ssh_keygen_reads_the_keys() {
        let available = std::process::Command::new("ssh-keygen").arg("-?").output();
        if available.is_err() {
            // Past the test harness, which keeps what tests print that pass.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no `ssh-keygen` on this machine; hint: `make setup`"
            );
            return;
        }
        for key_type in ["rsa", "ed25519"] {
            let made = generate(key_type, "comment").unwrap();
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("key");
            std::fs::write(&path, &made.private_pem).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let output = std::process::Command::new("ssh-keygen")
                .arg("-y")
                .arg("-f")
                .arg(&path)
                .output()
                .unwrap();
            let shown = String::from_utf8_lossy(&output.stdout);
            let expected = format!("{} {}", made.algorithm, STANDARD.encode(&made.blob));
            assert!(
                shown.starts_with(&expected),
                "{key_type}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
