//! Licence texts, in the real server's form: base64 of a JSON document followed by 256 bytes of signature.
//!
//! ```text
//!   base64( {"id":…,"issued_at":…,"starts_at":…,"expires_at":…,"customer":{…},"features":{…},…}  ||  signature )
//! ```
//!
//! Term and features are read from such a text exactly as from a real one. Only the signature differs:
//! Mattermost's is RSA with a key that nobody here has; this one is a keyed hash that anybody can make,
//! so no real server takes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha512;

use crate::ids;

/// A text that begins so is a cluster licence without a term: the short form for tests.
pub const CLUSTER_LICENCE: &str = "LAB-CLUSTER-LICENCE";

/// The signature's length in bytes, that of RSA with 2048 bits.
const SIGNATURE: usize = 256;
/// What the signature is keyed with. It is no secret.
const KEY: &[u8] = b"the stand-in's licence key";
/// How long after its end a licence still counts, in milliseconds: ten days.
const GRACE_MS: i64 = 10 * 24 * 3600 * 1000;
/// How long a licence made by [`Licence::new`] lasts, in milliseconds: one year.
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

/// What a licence says. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// 26 characters.
    pub id: String,
    /// When it was issued.
    pub issued_at: i64,
    /// When its term begins.
    pub starts_at: i64,
    /// When its term ends.
    pub expires_at: i64,
    /// Whom it was issued to.
    pub customer: Customer,
    /// What it allows.
    pub features: Features,
    /// The product's name, for people.
    pub sku_name: String,
    /// The product's short name: `professional`, `enterprise`, …
    pub sku_short_name: String,
    /// Whether it is a trial.
    #[serde(default)]
    pub is_trial: bool,
    /// Whether it is for a government.
    #[serde(default)]
    pub is_gov_sku: bool,
}

/// The licence's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// 26 characters.
    pub id: String,
    /// The person.
    pub name: String,
    /// Her address.
    pub email: String,
    /// The company.
    pub company: String,
}

/// What the licence allows. A feature that the text does not name is allowed, as in the real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// How many users.
    #[serde(default)]
    pub users: i64,
    /// Whether nodes may form a cluster.
    #[serde(default = "allowed")]
    pub cluster: bool,
    /// Whether the metrics port may be opened.
    #[serde(default = "allowed")]
    pub metrics: bool,
    /// LDAP.
    #[serde(default = "allowed")]
    pub ldap: bool,
    /// SAML.
    #[serde(default = "allowed")]
    pub saml: bool,
    /// Compliance.
    #[serde(default = "allowed")]
    pub compliance: bool,
}

const fn allowed() -> bool {
    true
}

/// Why a text is no licence. None of them repeats the text.
#[derive(Debug, thiserror::Error)]
pub enum LicenceError {
    /// Not base64.
    #[error("the licence is not base64")]
    Base64(#[source] base64::DecodeError),
    /// Too short to hold a signature.
    #[error("the licence is not long enough for its signature of {SIGNATURE} bytes")]
    Short,
    /// Signed by nobody known.
    #[error("the licence's signature is not valid")]
    Signature,
    /// Not the document that is wanted.
    #[error("the licence's text is not a licence document")]
    Document(#[source] serde_json::Error),
    /// Over for longer than the days of grace.
    #[error("the licence ended more than ten days ago")]
    Over,
}

impl Licence {
    /// An enterprise licence for a cluster, of one year from `starts_at`. Change what should differ.
    pub fn new(starts_at: i64) -> Self {
        Self {
            id: ids::new_id(),
            issued_at: starts_at,
            starts_at,
            expires_at: starts_at + YEAR_MS,
            customer: Customer {
                id: ids::new_id(),
                name: "Example Person".to_owned(),
                email: "person@example.com".to_owned(),
                company: "Example".to_owned(),
            },
            features: Features {
                users: 1000,
                cluster: true,
                metrics: true,
                ldap: true,
                saml: true,
                compliance: true,
            },
            sku_name: "Enterprise".to_owned(),
            sku_short_name: "enterprise".to_owned(),
            is_trial: false,
            is_gov_sku: false,
        }
    }

    /// A licence that allows no cluster: what a smaller product has.
    pub fn without_cluster(starts_at: i64) -> Self {
        let mut licence = Self::new(starts_at);
        licence.features.cluster = false;
        "Professional".clone_into(&mut licence.sku_name);
        "professional".clone_into(&mut licence.sku_short_name);
        licence
    }

    /// The text: what `MM_LICENSE` holds.
    pub fn text(&self) -> String {
        let mut bytes = serde_json::to_vec(self).expect("a licence is plain JSON values");
        let signature = sign(&bytes);
        bytes.extend_from_slice(&signature);
        STANDARD.encode(bytes)
    }

    /// Reads a text and checks its signature; says nothing of its term.
    pub fn parse(text: &str) -> Result<Self, LicenceError> {
        let mut bytes = STANDARD.decode(text.trim()).map_err(LicenceError::Base64)?;
        if bytes.len() <= SIGNATURE {
            return Err(LicenceError::Short);
        }
        let signature = bytes.split_off(bytes.len() - SIGNATURE);
        if sign(&bytes) != signature {
            return Err(LicenceError::Signature);
        }
        serde_json::from_slice(&bytes).map_err(LicenceError::Document)
    }

    /// What the server runs with: the licence of the text, unless it ended more than ten days before
    /// `now`. The short form [`CLUSTER_LICENCE`] is a licence that never ends.
    pub fn accept(text: &str, now: i64) -> Result<Self, LicenceError> {
        if text.trim().starts_with(CLUSTER_LICENCE) {
            let mut licence = Self::new(0);
            licence.expires_at = i64::MAX;
            return Ok(licence);
        }
        let licence = Self::parse(text)?;
        if now > licence.expires_at.saturating_add(GRACE_MS) {
            return Err(LicenceError::Over);
        }
        Ok(licence)
    }
}

/// 256 bytes: four keyed hashes. The last byte is never zero, because the real server strips zeros
/// from the end before it looks for the signature.
fn sign(document: &[u8]) -> Vec<u8> {
    let mut signature = Vec::with_capacity(SIGNATURE);
    for part in 0_u8..4 {
        let mut hash =
            Hmac::<Sha512>::new_from_slice(KEY).expect("a keyed hash takes keys of any length");
        hash.update(&[part]);
        hash.update(document);
        signature.extend_from_slice(&hash.finalize().into_bytes());
    }
    if let Some(last) = signature.last_mut() {
        *last |= 1;
    }
    signature
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn a_text_is_read_as_a_real_one_is() {
        let licence = Licence::without_cluster(NOW);
        let text = licence.text();
        let bytes = STANDARD.decode(&text).unwrap();
        let document: Value = serde_json::from_slice(&bytes[..bytes.len() - 256]).unwrap();
        assert_eq!(document["expires_at"], NOW + YEAR_MS);
        assert_eq!(document["features"]["cluster"], false);
        assert_eq!(document["sku_short_name"], "professional");
        assert_eq!(Licence::parse(&text).unwrap(), licence);
        assert_eq!(Licence::parse(&format!(" {text}\n")).unwrap(), licence);
    }

    #[test]
    fn what_was_changed_after_signing_is_refused() {
        let licence = Licence::new(NOW);
        let mut bytes = STANDARD.decode(licence.text()).unwrap();
        bytes[10] ^= 1;
        let forged = STANDARD.encode(&bytes);
        assert!(matches!(
            Licence::accept(&forged, NOW),
            Err(LicenceError::Signature)
        ));
        for text in ["", "forged", "not base64!", &STANDARD.encode([7; 256])] {
            assert!(Licence::accept(text, NOW).is_err(), "`{text}`");
        }
    }

    #[test]
    fn a_term_counts_ten_days_longer() {
        let licence = Licence::new(NOW);
        let (text, end) = (licence.text(), licence.expires_at);
        assert!(Licence::accept(&text, end + 1).is_ok());
        assert!(Licence::accept(&text, end + GRACE_MS).is_ok());
        assert!(matches!(
            Licence::accept(&text, end + GRACE_MS + 1),
            Err(LicenceError::Over)
        ));
        let short = format!("{CLUSTER_LICENCE} for a test");
        assert!(Licence::accept(&short, NOW).unwrap().features.cluster);
    }
}
