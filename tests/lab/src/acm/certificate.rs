//! A certificate and what is read from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};
use x509_parser::prelude::{GeneralName, X509Certificate, parse_x509_pem};
use x509_parser::public_key::PublicKey;

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the lab's authority.
    AmazonIssued,
    /// From a client.
    Imported,
}

/// What stands in a certificate.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Subject alternative names, DNS and addresses.
    pub names: Vec<String>,
    serial: String,
    subject: String,
    issuer: String,
    not_before: Timestamp,
    not_after: Timestamp,
    /// ACM's word, for example `EC_prime256v1`.
    pub key_algorithm: String,
}

impl Facts {
    /// Reads a PEM certificate.
    pub fn read(pem: &str) -> Result<Self, String> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
        let certificate = block.parse_x509().map_err(|error| error.to_string())?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        let validity = certificate.validity();
        Ok(Self {
            names: names(&certificate),
            serial: certificate.raw_serial_as_string(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
            key_algorithm: key_algorithm(&certificate),
        })
    }
}

/// The names that it is for: the subject's common name when it has no alternative ones.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok().map(str::to_owned))
            .collect();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
            _ => None,
        })
        .collect()
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA_{}", key.key_size()),
        Ok(PublicKey::EC(point)) => match point.key_size() {
            384 => "EC_secp384r1".to_owned(),
            521 | 528 => "EC_secp521r1".to_owned(),
            _ => "EC_prime256v1".to_owned(),
        },
        _ => "EC_prime256v1".to_owned(),
    }
}

/// A certificate in ACM.
#[derive(Clone)]
pub(super) struct Certificate {
    pub arn: String,
    pub region: String,
    pub domain: String,
    pub kind: Kind,
    /// False while validation is pending.
    pub issued: bool,
    pub created: Timestamp,
    /// PEM, leaf first.
    pub chain: String,
    /// PEM; never shown.
    pub key: String,
    pub facts: Facts,
    pub tags: BTreeMap<String, String>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("arn", &self.arn)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    pub fn status(&self) -> &'static str {
        if self.issued {
            "ISSUED"
        } else {
            "PENDING_VALIDATION"
        }
    }

    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::AmazonIssued => "AMAZON_ISSUED",
            Kind::Imported => "IMPORTED",
        }
    }

    /// The leaf, and what follows it.
    pub fn leaf_and_chain(&self) -> (&str, &str) {
        const END: &str = "-----END CERTIFICATE-----";
        let end = self
            .chain
            .find(END)
            .map_or(self.chain.len(), |at| at + END.len());
        (&self.chain[..end], self.chain[end..].trim_start())
    }

    /// `CertificateDetail`
    pub fn detail(&self, users: &[String]) -> Value {
        let facts = &self.facts;
        let mut detail = json!({
            "CertificateArn": self.arn,
            "DomainName": self.domain,
            "SubjectAlternativeNames": facts.names,
            "CreatedAt": seconds(self.created),
            "Status": self.status(),
            "Type": self.kind(),
            "KeyAlgorithm": facts.key_algorithm,
            "InUseBy": users,
            "RenewalEligibility": if self.kind == Kind::AmazonIssued && !users.is_empty() { "ELIGIBLE" } else { "INELIGIBLE" },
            "Options": { "CertificateTransparencyLoggingPreference": "DISABLED" },
        });
        if self.issued {
            let moment = match self.kind {
                Kind::AmazonIssued => "IssuedAt",
                Kind::Imported => "ImportedAt",
            };
            detail[moment] = seconds(self.created);
            detail["Serial"] = facts.serial.clone().into();
            detail["Subject"] = facts.subject.clone().into();
            detail["Issuer"] = facts.issuer.clone().into();
            detail["NotBefore"] = seconds(facts.not_before);
            detail["NotAfter"] = seconds(facts.not_after);
            detail["ExtendedKeyUsages"] =
                json!([{ "Name": "TLS_WEB_SERVER_AUTHENTICATION", "OID": "1.3.6.1.5.5.7.3.1" }]);
        }
        if self.kind == Kind::AmazonIssued {
            let status = if self.issued {
                "SUCCESS"
            } else {
                "PENDING_VALIDATION"
            };
            let options: Vec<Value> = facts
                .names
                .iter()
                .map(|name| {
                    json!({
                        "DomainName": name,
                        "ValidationStatus": status,
                        "ValidationMethod": "DNS",
                        "ResourceRecord": {
                            "Name": format!("_{}.{name}.", token(&self.arn, name)),
                            "Type": "CNAME",
                            "Value": format!("_{}.acm-validations.aws.", token(name, &self.arn)),
                        },
                    })
                })
                .collect();
            detail["DomainValidationOptions"] = options.into();
        }
        detail
    }

    /// `CertificateSummary`
    pub fn summary(&self, used: bool) -> Value {
        let facts = &self.facts;
        let mut summary = json!({
            "CertificateArn": self.arn,
            "DomainName": self.domain,
            "SubjectAlternativeNameSummaries": facts.names,
            "HasAdditionalSubjectAlternativeNames": false,
            "Status": self.status(),
            "Type": self.kind(),
            "KeyAlgorithm": facts.key_algorithm,
            "InUse": used,
            "CreatedAt": seconds(self.created),
        });
        if self.issued {
            summary["NotBefore"] = seconds(facts.not_before);
            summary["NotAfter"] = seconds(facts.not_after);
        }
        summary
    }
}

/// 32 digits that only depend on the two texts.
fn token(one: &str, other: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::new()
        .chain_update(one)
        .chain_update(other)
        .finalize();
    digest
        .iter()
        .take(16)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Time-stamps of awsJson are seconds since 1970.
fn seconds(at: Timestamp) -> Value {
    json!(at.as_millisecond() as f64 / 1000.0)
}

/// The tags of the certificate that an ARN names; none when it does not exist.
pub(crate) fn tags_by_arn(lab: &crate::Lab, arn: &str) -> BTreeMap<String, String> {
    let certificates = lab.acm.lock();
    certificates
        .get(arn)
        .map(|it| it.tags.clone())
        .unwrap_or_default()
}
