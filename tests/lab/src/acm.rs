//! AWS Certificate Manager: certificates for HTTPS listeners, issued by the lab's own authority or
//! imported. Its wire protocol is awsJson1.1, for the SDKs as for botocore.

mod certificate;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};
use crate::elbv2;
use crate::iam::ACCOUNT;
pub(crate) use certificate::tags_by_arn;
use certificate::{Certificate, Facts, Kind};

/// How long validation of a requested certificate takes. AWS's page on DNS validation speaks of
/// minutes once the record is there; the lab has no DNS and takes the record as given.
const VALIDATION: Duration = Duration::from_mins(5);
/// AWS's largest page.
const MAX_ITEMS: i64 = 1000;

/// The certificates of all regions, by ARN (which names the region).
#[derive(Debug, Default)]
pub struct Acm {
    certificates: Mutex<BTreeMap<String, Certificate>>,
}

impl Acm {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Certificate>> {
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a TLS server needs of a certificate.
#[derive(Clone)]
pub struct Material {
    /// The certificate and what it was imported with, PEM, leaf first.
    pub chain: String,
    /// The private key, PEM.
    pub key: String,
    /// The names that it is for.
    pub names: Vec<String>,
}

/// An issued certificate with its key; none when there is none in that region.
pub fn material(lab: &Lab, region: &str, arn: &str) -> Option<Material> {
    let certificates = lab.acm.lock();
    let certificate = certificates
        .get(arn)
        .filter(|it| it.region == region && it.issued)?;
    Some(Material {
        chain: certificate.chain.clone(),
        key: certificate.key.clone(),
        names: certificate.facts.names.clone(),
    })
}

/// Answers a call.
#[expect(
    clippy::unused_async,
    reason = "every service's dispatch is asynchronous"
)]
pub async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "RequestCertificate" => request(lab, call),
        "ImportCertificate" => import(lab, call),
        "DescribeCertificate" => describe(lab, call),
        "GetCertificate" => get(lab, call),
        "ListCertificates" => list(lab, call),
        "DeleteCertificate" => delete(lab, call),
        "AddTagsToCertificate" => add_tags(lab, call),
        "ListTagsForCertificate" => list_tags(lab, call),
        other => Err(ApiError::invalid_action(other)),
    }
}

/// `POST /lab/acm/certificates {"domain": "chat.example.com", "region": "us-east-1", "addresses":
/// ["127.32.0.4"]}` issues a certificate at once and answers `{"arn": …}`. Addresses are optional.
#[expect(
    clippy::unused_async,
    reason = "every service's control function is asynchronous"
)]
pub async fn control(
    lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    body: Value,
) -> Result<Value, String> {
    match (method.as_str(), path) {
        ("POST", ["certificates"]) => {
            let text = |key: &str| {
                body[key]
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| format!("`{key}` must be a string"))
            };
            let (domain, region) = (text("domain")?, text("region")?);
            if !lab.has_region(&region) {
                return Err(format!("the lab has no region `{region}`"));
            }
            let addresses: Vec<IpAddr> = match &body["addresses"] {
                Value::Null => Vec::new(),
                given => serde_json::from_value(given.clone())
                    .map_err(|error| format!("`addresses` must be a list of addresses: {error}"))?,
            };
            let certificate = issue(lab, &region, &[domain], &addresses, true)
                .map_err(|error| error.to_string())?;
            Ok(json!({ "arn": keep(lab, certificate) }))
        }
        _ => Err(format!(
            "there is no `{method} /lab/acm/{}`",
            path.join("/")
        )),
    }
}

fn new_arn(lab: &Lab, region: &str) -> String {
    format!(
        "arn:aws:acm:{region}:{ACCOUNT}:certificate/{}",
        lab.ids.uuid()
    )
}

fn keep(lab: &Lab, certificate: Certificate) -> String {
    let arn = certificate.arn.clone();
    lab.acm.lock().insert(arn.clone(), certificate);
    arn
}

fn issue(
    lab: &Lab,
    region: &str,
    names: &[String],
    addresses: &[IpAddr],
    issued: bool,
) -> Result<Certificate, ApiError> {
    let internal = |error: &dyn std::fmt::Display| {
        ApiError::new("InvalidParameterException", format!("{names:?}: {error}"))
    };
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let made = lab
        .ca
        .issue(&texts, addresses)
        .map_err(|error| internal(&error))?;
    let facts = Facts::read(&made.certificate).map_err(|error| internal(&error))?;
    Ok(Certificate {
        arn: new_arn(lab, region),
        region: region.to_owned(),
        domain: names.first().cloned().unwrap_or_default(),
        kind: Kind::AmazonIssued,
        issued,
        created: lab.clock.now(),
        chain: made.certificate,
        key: made.key,
        facts,
        tags: BTreeMap::new(),
    })
}

fn request(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let mut names = vec![params.str("DomainName")?];
    for name in params.list("SubjectAlternativeNames") {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if let Some(method) = params.opt("ValidationMethod").filter(|it| it != "DNS") {
        return Err(ApiError::new(
            "InvalidParameterException",
            format!("ValidationMethod `{method}`: the lab validates by DNS only"),
        ));
    }
    if let Some(algorithm) = params
        .opt("KeyAlgorithm")
        .filter(|it| it != "EC_prime256v1")
    {
        return Err(ApiError::new(
            "InvalidParameterException",
            format!("KeyAlgorithm `{algorithm}`: the lab issues EC_prime256v1 only"),
        ));
    }
    let tags = parse_tags(params)?;
    params.accept(&["IdempotencyToken", "DomainValidationOptions", "Options"]);
    params.finish()?;
    let mut certificate = issue(lab, &call.region, &names, &[], false)?;
    certificate.tags = tags;
    let arn = keep(lab, certificate);
    let (owned, pending) = (Arc::clone(lab), arn.clone());
    lab.spawn(async move {
        owned.clock.sleep(VALIDATION).await;
        if let Some(certificate) = owned.acm.lock().get_mut(&pending) {
            certificate.issued = true;
        }
    });
    Ok(Reply::Json(json!({ "CertificateArn": arn })))
}

fn import(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let blob = |name: &str| -> Result<Option<String>, ApiError> {
        let Some(text) = params.opt(name) else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(text).ok();
        bytes
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map(Some)
            .ok_or_else(|| bad_value(format!("The {name} field must be PEM, base64-encoded")))
    };
    let required = |name: &str| blob(name)?.ok_or_else(|| ApiError::missing(name));
    let (leaf, key) = (required("Certificate")?, required("PrivateKey")?);
    let rest = blob("CertificateChain")?.unwrap_or_default();
    let old = params.opt("CertificateArn");
    let tags = parse_tags(params)?;
    params.finish()?;
    let facts = Facts::read(&leaf).map_err(|error| {
        bad_value(format!(
            "The Certificate field is not a certificate: {error}"
        ))
    })?;
    elbv2::check_key_pair(&leaf, &key)
        .map_err(|error| bad_value(format!("The private key does not fit: {error}")))?;
    let chain = format!("{}\n{rest}", leaf.trim_end());
    if let Some(arn) = old {
        let mut certificates = lab.acm.lock();
        let certificate = certificates
            .get_mut(&arn)
            .filter(|it| it.region == call.region && it.kind == Kind::Imported)
            .ok_or_else(|| not_found(&arn))?;
        certificate.chain = chain;
        certificate.key = key;
        certificate.facts = facts;
        drop(certificates);
        elbv2::certificate_changed(lab, &call.region, &arn);
        return Ok(Reply::Json(json!({ "CertificateArn": arn })));
    }
    let domain = facts.names.first().cloned().unwrap_or_default();
    let arn = keep(
        lab,
        Certificate {
            arn: new_arn(lab, &call.region),
            region: call.region.clone(),
            domain,
            kind: Kind::Imported,
            issued: true,
            created: lab.clock.now(),
            chain,
            key,
            facts,
            tags,
        },
    );
    Ok(Reply::Json(json!({ "CertificateArn": arn })))
}

fn bad_value(message: String) -> ApiError {
    ApiError::new("ValidationException", message)
}

fn not_found(arn: &str) -> ApiError {
    ApiError::new(
        "ResourceNotFoundException",
        format!("Could not find certificate {arn}."),
    )
}

/// Looks at one certificate of the call's region.
fn with<T>(
    lab: &Lab,
    call: &Call,
    look: impl FnOnce(&mut Certificate) -> T,
) -> Result<T, ApiError> {
    let arn = call.params.str("CertificateArn")?;
    call.params.finish()?;
    if !arn.starts_with("arn:aws:acm:") {
        return Err(ApiError::new(
            "InvalidArnException",
            format!("`{arn}` is not the ARN of a certificate"),
        ));
    }
    lab.acm
        .lock()
        .get_mut(&arn)
        .filter(|it| it.region == call.region)
        .map(look)
        .ok_or_else(|| not_found(&arn))
}

fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let certificate = with(lab, call, |certificate| certificate.clone())?;
    let users = elbv2::certificate_users(lab, &call.region, &certificate.arn);
    Ok(Reply::Json(
        json!({ "Certificate": certificate.detail(&users) }),
    ))
}

fn get(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let certificate = with(lab, call, |certificate| certificate.clone())?;
    if !certificate.issued {
        return Err(ApiError::new(
            "RequestInProgressException",
            format!("Certificate {} is not issued yet", certificate.arn),
        ));
    }
    let (leaf, rest) = certificate.leaf_and_chain();
    let chain = match certificate.kind {
        Kind::AmazonIssued => lab.ca.pem(),
        Kind::Imported => rest.to_owned(),
    };
    Ok(Reply::Json(
        json!({ "Certificate": leaf, "CertificateChain": chain }),
    ))
}

fn list(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let statuses = params.list("CertificateStatuses");
    let after = params.opt("NextToken");
    let size = params.opt_int("MaxItems")?.unwrap_or(MAX_ITEMS);
    // Without a filter of its own ACM lists RSA_1024 and RSA_2048 only; the lab's are all EC, so that
    // the key types asked for are what decides, and all are given when none is.
    let key_types = params
        .sub("Includes")
        .map(|includes| includes.list("keyTypes"))
        .unwrap_or_default();
    params.accept(&["SortBy", "SortOrder"]);
    params.finish()?;
    if !(1..=MAX_ITEMS).contains(&size) {
        return Err(bad_value(format!(
            "MaxItems `{size}` must be between 1 and {MAX_ITEMS}"
        )));
    }
    let certificates: Vec<Certificate> = lab
        .acm
        .lock()
        .values()
        .filter(|it| {
            it.region == call.region
                && after.as_ref().is_none_or(|after| it.arn > *after)
                && (statuses.is_empty() || statuses.iter().any(|status| status == it.status()))
                && (key_types.is_empty() || key_types.contains(&it.facts.key_algorithm))
        })
        .cloned()
        .collect();
    let page = &certificates[..certificates.len().min(size as usize)];
    let summaries: Vec<Value> = page
        .iter()
        .map(|it| {
            let used = !elbv2::certificate_users(lab, &call.region, &it.arn).is_empty();
            it.summary(used)
        })
        .collect();
    let mut reply = json!({ "CertificateSummaryList": summaries });
    if let Some(last) = page.last().filter(|_| page.len() < certificates.len()) {
        reply["NextToken"] = last.arn.clone().into();
    }
    Ok(Reply::Json(reply))
}

fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = with(lab, call, |certificate| certificate.arn.clone())?;
    let users = elbv2::certificate_users(lab, &call.region, &arn);
    if !users.is_empty() {
        return Err(ApiError::new(
            "ResourceInUseException",
            format!("Certificate {arn} is in use by {}", users.join(", ")),
        ));
    }
    lab.acm.lock().remove(&arn);
    Ok(Reply::Json(json!({})))
}

fn parse_tags(params: &Params) -> Result<BTreeMap<String, String>, ApiError> {
    params
        .structs("Tags")
        .iter()
        .map(|tag| Ok((tag.str("Key")?, tag.opt("Value").unwrap_or_default())))
        .collect()
}

fn add_tags(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let tags = parse_tags(&call.params)?;
    with(lab, call, |certificate| certificate.tags.extend(tags))?;
    Ok(Reply::Json(json!({})))
}

fn list_tags(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let tags = with(lab, call, |certificate| certificate.tags.clone())?;
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    Ok(Reply::Json(json!({ "Tags": tags })))
}
