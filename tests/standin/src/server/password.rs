//! Password hashes. Since 11.0 a login rewrites the hash in a form that older versions do not
//! know: whoever logged in there cannot log in after a downgrade to 10.x.
//!
//! The hashes are those of a stand-in: salted and iterated, but quick.

use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::release::Version;

/// The form that every version reads.
const OLD: &str = "$2a$10$";
/// The form since 11.0.
const NEW: &str = "$pbkdf2$";
/// Enough to be no plain digest; few enough that a thousand clients log in at once.
const ROUNDS: u32 = 200;

/// What a login found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The password is wrong, or the hash is of a form that this version does not know.
    Wrong,
    /// It is right.
    Right,
    /// It is right, and the hash is to be replaced by this one.
    RightAndRehashed(String),
}

fn writes(version: Version) -> &'static str {
    if version.major >= 11 { NEW } else { OLD }
}

/// A new hash, in the form that the version writes.
pub(super) fn hash(password: &str, version: Version) -> String {
    let salt: [u8; 16] = rand::rng().random();
    salted(writes(version), &hex::encode(salt), password)
}

fn salted(form: &str, salt: &str, password: &str) -> String {
    let mut digest = Sha256::digest(format!("{salt}{password}"));
    for _ in 0..ROUNDS {
        digest = Sha256::digest(digest);
    }
    format!("{form}{salt}${}", hex::encode(digest))
}

/// Checks a password against a stored hash.
pub(super) fn check(password: &str, stored: &str, version: Version) -> Check {
    let Some(form) = [OLD, NEW].into_iter().find(|form| stored.starts_with(form)) else {
        return Check::Wrong;
    };
    if form == NEW && version.major < 11 {
        return Check::Wrong;
    }
    let salt = stored[form.len()..].split('$').next().unwrap_or_default();
    if salted(form, salt, password) != stored {
        return Check::Wrong;
    }
    if form == writes(version) {
        Check::Right
    } else {
        Check::RightAndRehashed(hash(password, version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_on_11_is_a_one_way_road() {
        let (ten, eleven) = (Version::new(10, 12, 0), Version::new(11, 0, 0));
        let old = hash("Secret-1", ten);
        assert_eq!(check("Secret-1", &old, ten), Check::Right);
        assert_eq!(check("Secret-2", &old, ten), Check::Wrong);
        let Check::RightAndRehashed(new) = check("Secret-1", &old, eleven) else {
            unreachable!("11.0 rewrites the hash")
        };
        assert_eq!(check("Secret-1", &new, eleven), Check::Right);
        assert_eq!(check("Secret-1", &new, ten), Check::Wrong);
        assert_eq!(check("Secret-1", "plain", eleven), Check::Wrong);
    }
}
