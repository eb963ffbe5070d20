//! What is taken for a secret by its name or its form.

/// Ends of keys that hold secrets.
const ENDS: [&str; 8] = [
    "PASSWORD",
    "SALT",
    "ENCRYPTKEY",
    "ACCESSKEY",
    "DEVELOPERKEY",
    "PRIVATEKEY",
    "TOKEN",
    "APIKEY",
];

/// Whether the last part of the key names a secret. The section does not count:
/// `MM_PASSWORDSETTINGS_MINIMUMLENGTH` is none.
pub(super) fn looks_secret(key: &str) -> bool {
    let name = key
        .strip_prefix("MM_")
        .and_then(|rest| rest.split_once('_'))
        .map_or(key, |(_, name)| name);
    name.contains("SECRET") || ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether a secret may stand here, by where it stands or by its form. A valid reference is none, but what is
/// shown is shown because something is wrong: what was meant for a reference may be the secret itself.
pub(super) fn may_be_secret(path: &str, value: &str) -> bool {
    let path = path.to_ascii_uppercase().replace('_', "");
    let named = ENDS
        .iter()
        .chain(&["SECRET", "PASSWD", "PRIVATE", "DATASOURCE"]);
    // `https://user:password@host`
    let mut behind_scheme = value.split("://").skip(1);
    let login = behind_scheme.any(|rest| rest.contains('@'));
    login || named.into_iter().any(|word| path.contains(word))
}
