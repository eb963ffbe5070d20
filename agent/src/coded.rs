//! What every error of a step can say to the orchestrator: a stable word, a hint, and whether trying
//! again could help.

use std::error::Error;

/// An error that reaches an operator through [`fleet_proto::v1::Failure`].
pub trait Coded: Error {
    /// Stable word for programs, for example `digest_mismatch`.
    fn code(&self) -> &'static str;

    /// What to look at or do, one line; empty where the error says it all.
    fn hint(&self) -> String {
        String::new()
    }

    /// Trying again with the same desired state cannot help.
    fn permanent(&self) -> bool {
        false
    }
}

/// An error with its causes on one line, outermost first. Names of users' files may hold whatever ends a line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    if text.contains(char::is_control) {
        let shown = |letter: char| match letter {
            letter if letter.is_control() => letter.escape_default().to_string(),
            letter => letter.to_string(),
        };
        return text.chars().map(shown).collect();
    }
    text
}

/// The complaint about the peer's certificate among the causes of an error, if there is one.
/// [`std::io::Error`] hides what it wraps from `source`, so it is looked into by hand.
pub fn certificate_error<'a>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a rustls::CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(found)) = error.downcast_ref() {
            return Some(found);
        }
        if let Some(wrapped) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            && let Some(found) = certificate_error(wrapped)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}
