//! Every setting whose value is a secret of Secrets Manager, wherever in the file its reference stands.
//!
//! One list for all who need it: the reader of the values, the gate that names what is missing, `doctor`,
//! and the orchestrator's policy.

use std::collections::{BTreeMap, BTreeSet};

use super::{SecretRef, Spec};
use crate::files::{ACCESS_KEY, SECRET_KEY};

impl Spec {
    /// By the setting's name (`MM_…`), in the order of names.
    pub fn secret_settings(&self) -> BTreeMap<&str, &SecretRef> {
        let files = [
            (ACCESS_KEY, &self.files.access_key),
            (SECRET_KEY, &self.files.secret_key),
        ];
        let files = files
            .into_iter()
            .filter_map(|(name, reference)| Some((name, reference.as_ref()?)));
        let settings = &self.mattermost.secrets;
        let settings = settings.iter().map(|(name, it)| (name.as_str(), it));
        settings.chain(files).collect()
    }

    /// Name or ARN of every secret that the file names, the licence's too, each once.
    pub fn named_secrets(&self) -> BTreeSet<&str> {
        let settings = self.secret_settings();
        let licence = self.mattermost.licence_secret.as_deref();
        settings
            .into_values()
            .map(SecretRef::secret_id)
            .chain(licence)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Answers, template};

    #[test]
    fn keys_of_a_store_and_settings_stand_in_one_list() {
        let text = template(&Answers::default());
        let mut spec = Spec::parse(&text, "test.toml").expect("a valid file");
        assert_eq!(spec.secret_settings(), BTreeMap::new());
        let reference = |text: &str| SecretRef::parse(text).expect("a reference");
        spec.files.access_key = Some(reference("chat/s3#id"));
        spec.files.secret_key = Some(reference("chat/s3#key"));
        let smtp = "MM_EMAILSETTINGS_SMTPPASSWORD";
        spec.mattermost
            .secrets
            .insert(smtp.to_owned(), reference("chat/smtp"));
        let names: Vec<&str> = spec.secret_settings().into_keys().collect();
        assert_eq!(names, [smtp, ACCESS_KEY, SECRET_KEY]);
    }
}
