//! The checks of what an enrolled node asks for. Each has a name, as those of enrolment have: it is
//! logged, counted, and never told to the caller.

use tonic::{Code, Status};

/// What every caller hears whose certificate, key or request is not accepted.
pub const NOT_ACCEPTED: &str = "not accepted";
/// What every caller hears who asks for something that is not its to have now.
pub const NOT_NOW: &str = "not now";
/// What every caller hears when the reason is on our side, or it asks too often.
pub const TRY_AGAIN: &str = "try again later";

/// Why a call was refused: the check's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Denied {
    /// No client certificate.
    #[error("certificate_missing")]
    CertificateMissing,
    /// A certificate that names nobody of ours, or not a node.
    #[error("certificate_holder")]
    CertificateHolder,
    /// A certificate of another stack.
    #[error("certificate_stack")]
    CertificateStack,
    /// It was good when the connection began and has expired since.
    #[error("certificate_expired")]
    CertificateExpired,
    /// The instance never enrolled.
    #[error("not_enrolled")]
    NotEnrolled,
    /// The instance is gone.
    #[error("revoked")]
    Revoked,
    /// A certificate for another key than the one that the instance enrolled with.
    #[error("certificate_key")]
    CertificateKey,
    /// EC2 and Auto Scaling do not show the instance as a running one of the stack's groups.
    #[error("certificate_instance")]
    CertificateInstance,
    /// It is another address that the certificate is shown from than the instance's.
    #[error("certificate_address")]
    CertificateAddress,
    /// More secrets or renewals than a node needs.
    #[error("call_rate")]
    CallRate,
    /// Secrets, and nothing is to be served by this node.
    #[error("secrets_goal")]
    SecretsGoal,
    /// Secrets of another generation or for another artefact.
    #[error("secrets_generation")]
    SecretsGeneration,
    /// Secrets before the artefact was reported verified.
    #[error("secrets_unverified")]
    SecretsUnverified,
    /// A certificate request that is not usable.
    #[error("renewal_csr")]
    RenewalCsr,
    /// A certificate request for another key.
    #[error("renewal_key")]
    RenewalKey,
    /// A service or method that this port does not have.
    #[error("service")]
    Service,
    /// Something of ours is not there: the store, the CA, what secrets are made of.
    #[error("unavailable")]
    Unavailable,
}

impl Denied {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::CertificateMissing,
        Self::CertificateHolder,
        Self::CertificateStack,
        Self::CertificateExpired,
        Self::NotEnrolled,
        Self::Revoked,
        Self::CertificateKey,
        Self::CertificateInstance,
        Self::CertificateAddress,
        Self::CallRate,
        Self::SecretsGoal,
        Self::SecretsGeneration,
        Self::SecretsUnverified,
        Self::RenewalCsr,
        Self::RenewalKey,
        Self::Service,
        Self::Unavailable,
    ];

    /// What the caller hears: the same words for every check of a kind.
    pub fn status(self) -> Status {
        match self {
            Self::CertificateMissing
            | Self::CertificateHolder
            | Self::CertificateStack
            | Self::CertificateExpired
            | Self::NotEnrolled
            | Self::Revoked
            | Self::CertificateKey
            | Self::CertificateInstance
            | Self::CertificateAddress => Status::new(Code::Unauthenticated, NOT_ACCEPTED),
            Self::RenewalCsr | Self::RenewalKey => {
                Status::new(Code::PermissionDenied, NOT_ACCEPTED)
            }
            Self::SecretsGoal | Self::SecretsGeneration | Self::SecretsUnverified => {
                Status::new(Code::FailedPrecondition, NOT_NOW)
            }
            Self::CallRate => Status::new(Code::ResourceExhausted, TRY_AGAIN),
            Self::Service => Status::new(Code::Unimplemented, NOT_ACCEPTED),
            Self::Unavailable => Status::new(Code::Unavailable, TRY_AGAIN),
        }
    }
}
