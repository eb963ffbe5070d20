//! The seam for detached OpenPGP signatures: a checker sees every byte of the tarball in the same
//! pass, and has the last word before a release becomes visible.

use bytes::Bytes;

use crate::wanted::Signature;

/// Why the signature does not let the release in.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// This build cannot check one; installing unchecked is no alternative.
    #[error(
        "a signature by `{fingerprint}` is asked for, and this agent cannot check OpenPGP signatures"
    )]
    CannotCheck {
        /// As asked.
        fingerprint: String,
    },
}

impl SignatureError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::CannotCheck { .. } => "signature_unsupported",
        }
    }
}

/// Sees the tarball and judges it.
pub trait Checker: Send {
    /// The next bytes.
    fn update(&mut self, bytes: &Bytes);

    /// After the last byte.
    fn finish(self: Box<Self>) -> Result<(), SignatureError>;
}

/// The checker for what is asked; `None` when no signature is.
pub fn checker(wanted: Option<&Signature>) -> Result<Option<Box<dyn Checker>>, SignatureError> {
    match wanted {
        None => Ok(None),
        Some(signature) => Err(SignatureError::CannotCheck {
            fingerprint: signature.fingerprint.clone(),
        }),
    }
}
