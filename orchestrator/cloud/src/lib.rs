//! What the orchestrator asks of AWS: reads, and effects that converge.
//!
//! ```text
//!   plan::Action --> Cloud::apply --> one effect, one attempt --> Outcome | EffectError
//!   Scope --------> Cloud::observe -> all reads at once -------> plan::Observed
//!
//!   connect   one set of clients a region: `look` retries throttled reads, `act` never retries
//!   apply     which effect belongs to which action
//!   observe   which reads make one look at the world
//!   kept      what AWS answered a while ago, and how long that counts
//!   calls     every call is counted; pace: and spread, so that no burst takes a bucket of tokens empty
//!   ec2/ autoscaling/ elb/ rds/ s3/ secrets cloudwatch acm kms sts  <- one a service
//!   doctor    permissions and quotas, before anything is touched
//!   policy    the least that orchestrator and node need from IAM
//! ```
//!
//! Invariants:
//! * The only crate that names an `aws-*` type; none of them is in the public interface.
//! * Decides nothing: what should be is said by `plan`; here is only how AWS is asked for it.
//! * An effect reads what is there, makes the difference and says whether it made one. Two executors
//!   at once make what one would have made: names, tags and client tokens are deterministic.
//! * What does not carry the stack's tag is never changed and never deleted ([`EffectError::NotOurs`]).
//! * No retry inside an effect: the next look at the world is the retry.
//! * One failed read is written down in `Observed::unknown` and spoils no other.

mod acm;
mod apply;
mod autoscaling;
mod calls;
mod cloudwatch;
mod connect;
mod doctor;
mod ec2;
mod elb;
mod error;
mod kept;
mod kms;
mod observe;
mod offers;
mod ours;
mod pace;
mod policy;
mod rds;
mod s3;
mod scope;
mod secret_value;
mod secret_version;
mod secrets;
mod sts;
mod token;

pub use acm::Certificate;
pub use apply::Outcome;
pub use connect::{Cloud, Credentials};
pub use doctor::{Endpoint, Permission, Quota, Verdict};
pub use error::{EffectError, ReadError};
pub use kept::{Ages, Reading};
pub use observe::{Answers, Seen};
pub use policy::{Policies, iam_policies};
pub use s3::{FilesSeen, StoreKeys, StoreProbe};
pub use scope::Scope;
pub use secret_value::{SecretValue, ValueError};
pub use secret_version::SecretVersion;
pub use sts::{CallerIdentity, IdentityError, SignedRequest};
