//! The wire layer: HTTP in, signature checked, parameters parsed; a typed reply or error out.
//!
//! ```text
//!  TCP -> server -> sigv4 (who, which service, which region) -> faults -> Params
//!                                                                  |
//!         Xml | Json | Cbor  <-  service::dispatch(lab, call)  <---+
//! ```
//!
//! One endpoint serves all services and regions: the SigV4 credential scope names both, exactly as
//! the SDKs sign it. S3, whose wire is another one altogether, takes its requests before all of this:
//! [`crate::s3`]. A service module parses a call's parameters with [`Params`], calls
//! [`Params::finish`] *before* its first effect, and so refuses what it does not implement.

mod absent;
mod cbor;
mod error;
mod params;
mod server;
mod sigv4;
mod xml;

pub use error::ApiError;
pub use params::Params;
pub use server::serve;
pub use sigv4::{Signed, canonical_query, sign_for_tests, verify};
pub use xml::Xml;

use crate::iam::Caller;

/// The services of the region but S3, named as SigV4 credential scopes name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// `ec2`: EC2's own query protocol.
    Ec2,
    /// `autoscaling`: awsQuery.
    AutoScaling,
    /// `elasticloadbalancing`: awsQuery, version 2015-12-01.
    Elbv2,
    /// `rds`: awsQuery.
    Rds,
    /// `monitoring`: smithy-rpc-v2-cbor.
    CloudWatch,
    /// `sts`: awsQuery.
    Sts,
    /// `iam`: awsQuery.
    Iam,
    /// `secretsmanager`: awsJson1.1.
    SecretsManager,
    /// `acm`: awsJson1.1.
    Acm,
    /// `kms`: awsJson1.1.
    Kms,
}

/// How a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// EC2's query dialect: lists as `Name.1`, items as `<item>`.
    Ec2Query,
    /// awsQuery: lists as `Names.member.1`, a `<…Result>` wrapper.
    Query,
    /// awsJson1.1: action in `X-Amz-Target`.
    Json,
    /// smithy-rpc-v2-cbor: action in the path.
    Cbor,
}

impl Service {
    /// Every service, in a stable order.
    pub const ALL: [Self; 10] = [
        Self::Ec2,
        Self::AutoScaling,
        Self::Elbv2,
        Self::Rds,
        Self::CloudWatch,
        Self::Sts,
        Self::Iam,
        Self::SecretsManager,
        Self::Acm,
        Self::Kms,
    ];

    /// The name in a SigV4 credential scope.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::AutoScaling => "autoscaling",
            Self::Elbv2 => "elasticloadbalancing",
            Self::Rds => "rds",
            Self::CloudWatch => "monitoring",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::SecretsManager => "secretsmanager",
            Self::Acm => "acm",
            Self::Kms => "kms",
        }
    }

    /// The service that a credential scope names.
    pub fn from_scope(scope: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|service| service.scope() == scope)
    }

    /// The XML namespace of replies; empty for the protocols without XML.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::AutoScaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
            Self::Elbv2 => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::Rds => "http://rds.amazonaws.com/doc/2014-10-31/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::CloudWatch | Self::SecretsManager | Self::Acm | Self::Kms => "",
        }
    }

    /// The protocol that clients of this service speak.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Ec2 => Protocol::Ec2Query,
            Self::AutoScaling | Self::Elbv2 | Self::Rds | Self::Sts | Self::Iam => Protocol::Query,
            Self::SecretsManager | Self::Acm | Self::Kms => Protocol::Json,
            Self::CloudWatch => Protocol::Cbor,
        }
    }
}

/// One authenticated call.
#[derive(Debug)]
pub struct Call {
    /// The service that the signature names.
    pub service: Service,
    /// The action, for example `DescribeInstances`.
    pub action: String,
    /// The region that the signature names.
    pub region: String,
    /// Who signed.
    pub caller: Caller,
    /// The parameters, whatever the protocol was.
    pub params: Params,
    /// The id that the reply carries.
    pub request_id: String,
}

/// What an action answers.
#[derive(Debug)]
pub enum Reply {
    /// For the query protocols: the members of the output shape.
    Xml(Xml),
    /// For awsJson.
    Json(serde_json::Value),
    /// For smithy-rpc-v2-cbor; time-stamps as tag 1.
    Cbor(ciborium::Value),
}

impl From<Xml> for Reply {
    fn from(xml: Xml) -> Self {
        Self::Xml(xml)
    }
}
