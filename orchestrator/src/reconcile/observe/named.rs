//! Values of the secrets that the specification names for settings.
//!
//! They are the operator's, not the stack's, so nobody tells when one changes: they are read by name, now
//! and then, as the licence is. What could not be read has not changed: a value that was read stays good.

use std::collections::BTreeMap;
use std::time::Duration;

use cloud::SecretValue;
use plan::observed::MissingSecret;
use plan::spec::SecretRef;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::core::Core;

/// While one is missing somebody waits for it.
const WHILE_MISSING: Duration = Duration::from_secs(5);

/// A value that a setting gets.
#[derive(Clone, Debug)]
struct Good {
    reference: SecretRef,
    version_id: String,
    value: SecretString,
}

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Named {
    read: Option<Instant>,
    good: BTreeMap<String, Good>,
    missing: BTreeMap<String, MissingSecret>,
}

/// Every value of the specification's secrets.
#[derive(Debug)]
pub(super) struct Values {
    /// By setting.
    pub settings: BTreeMap<String, SecretString>,
    /// Digest of which versions these are; empty without any.
    pub revision: String,
}

impl Named {
    /// Reads what is due.
    pub(super) async fn refresh(&mut self, core: &Core) {
        let references = core.spec.secret_settings();
        // A rotated value reaches the nodes within this.
        let pause = if self.missing.is_empty() {
            core.ages().state
        } else {
            WHILE_MISSING
        };
        if references.is_empty() || self.read.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        // One secret may hold the values of several settings.
        let mut read: BTreeMap<&str, Result<SecretValue, String>> = BTreeMap::new();
        for reference in references.values() {
            let id = reference.secret_id();
            if !read.contains_key(id) {
                let value = core.cloud.secret_value(id).await;
                read.insert(id, value.map_err(|error| crate::chain(&error)));
            }
        }
        self.read = Some(Instant::now());
        for (setting, reference) in references {
            if let Some(value) = read.get(reference.secret_id()) {
                self.take(setting, reference, value);
            }
        }
    }

    /// One answer for one setting.
    fn take(&mut self, setting: &str, reference: &SecretRef, answer: &Result<SecretValue, String>) {
        let found = match answer {
            Ok(secret) => secret
                .of(reference)
                .map(|value| Good {
                    reference: reference.clone(),
                    version_id: secret.version_id.clone(),
                    value,
                })
                .map_err(|error| format!("secret `{reference}` {error}")),
            Err(why) => Err(why.clone()),
        };
        match found {
            Ok(good) => {
                self.missing.remove(setting);
                self.good.insert(setting.to_owned(), good);
            }
            Err(why) => {
                log::warn!("`{setting}`: {why}");
                let kept = self.good.contains_key(setting);
                self.missing
                    .insert(setting.to_owned(), MissingSecret { why, kept });
            }
        }
    }

    /// What has no usable value now.
    pub(super) fn missing(&self) -> BTreeMap<String, MissingSecret> {
        self.missing.clone()
    }

    /// All values; none while one was never read.
    pub(super) fn values(&self, wanted: &BTreeMap<&str, &SecretRef>) -> Option<Values> {
        let mut settings = BTreeMap::new();
        let mut hash = Sha256::new();
        for setting in wanted.keys() {
            let good = self.good.get(*setting)?;
            for part in [*setting, &good.reference.to_string(), &good.version_id] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            settings.insert((*setting).to_owned(), good.value.clone());
        }
        let revision = if settings.is_empty() {
            String::new()
        } else {
            hex::encode(hash.finalize())
        };
        Some(Values { settings, revision })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const SETTING: &str = "MM_EMAILSETTINGS_SMTPPASSWORD";

    fn reference() -> SecretRef {
        SecretRef::parse("chat/smtp#password").expect("a reference")
    }

    fn secret(text: &str, version: &str) -> SecretValue {
        SecretValue {
            text: text.to_owned().into(),
            version_id: version.to_owned(),
        }
    }

    /// What the settings get after these answers, and what is missing.
    fn after(
        answers: &[Result<SecretValue, String>],
    ) -> (Option<(String, String)>, Option<MissingSecret>) {
        let mut named = Named::default();
        let reference = reference();
        for answer in answers {
            named.take(SETTING, &reference, answer);
        }
        let values = named.values(&[(SETTING, &reference)].into());
        let values = values.map(|values| {
            let value = values.settings[SETTING].expose_secret().to_owned();
            (value, values.revision)
        });
        (values, named.missing().remove(SETTING))
    }

    #[test]
    fn a_value_that_was_read_stays_good_and_a_new_version_is_another_revision() {
        let first = || Ok(secret(r#"{"password":"one"}"#, "v1"));
        let (values, missing) = after(&[first()]);
        let (value, revision) = values.expect("it was read");
        assert_eq!((value.as_str(), missing), ("one", None));
        assert!(!revision.contains("one") && revision.len() == 64);

        let second = Ok(secret(r#"{"password":"two"}"#, "v2"));
        let (rotated, _) = after(&[first(), second]);
        let (value, other) = rotated.expect("it was read");
        assert_eq!(value, "two");
        assert_ne!(other, revision);

        let gone = Err("secret `chat/smtp` does not exist".to_owned());
        for (answer, why) in [
            (gone, "secret `chat/smtp` does not exist"),
            (
                Ok(secret(r#"{"user":"chat"}"#, "v2")),
                "secret `chat/smtp#password` has no such key",
            ),
        ] {
            let (kept, missing) = after(&[first(), answer.clone()]);
            assert_eq!(kept, Some(("one".to_owned(), revision.clone())), "{why}");
            let missing = missing.expect("it is missing");
            assert_eq!((missing.why.as_str(), missing.kept), (why, true));
            let (values, missing) = after(&[answer]);
            assert_eq!(values, None, "{why}");
            assert!(!missing.expect("it is missing").kept, "{why}");
        }
    }

    #[test]
    fn without_references_there_is_nothing_to_wait_for() {
        let values = Named::default().values(&BTreeMap::new());
        let values = values.expect("nothing is missing");
        assert!(values.settings.is_empty() && values.revision.is_empty());
    }
}
