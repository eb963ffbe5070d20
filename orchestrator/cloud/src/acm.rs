//! Certificate Manager: whether the certificate of the specification can serve.

use crate::connect::Cloud;
use crate::error::{Called, ReadError};

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// ARN.
    pub arn: String,
    /// `ISSUED`, `PENDING_VALIDATION`, `EXPIRED`, …
    pub status: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// Its end.
    pub not_after: Option<jiff::Timestamp>,
}

impl Cloud {
    /// The certificate with this ARN, in the home region.
    pub async fn certificate(&self, arn: &str) -> Result<Certificate, ReadError> {
        let answer = self
            .look()
            .acm
            .describe_certificate()
            .certificate_arn(arn)
            .send()
            .await
            .called("acm:DescribeCertificate");
        let found = match answer {
            Ok(answer) => answer.certificate,
            Err(failure) if failure.is("ResourceNotFound") => None,
            Err(failure) => return Err(failure.into()),
        };
        let found = found.ok_or_else(|| ReadError::NotFound {
            what: format!("certificate `{arn}`"),
        })?;
        let mut names: Vec<String> = found.domain_name().map(str::to_owned).into_iter().collect();
        for name in found.subject_alternative_names() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Ok(Certificate {
            arn: arn.to_owned(),
            status: found
                .status()
                .map_or("", |status| status.as_str())
                .to_owned(),
            names,
            not_after: found.not_after().and_then(|end| {
                jiff::Timestamp::new(end.secs(), end.subsec_nanos().cast_signed()).ok()
            }),
        })
    }
}
