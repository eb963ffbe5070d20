//! The checks of enrolment (node.md, "First boot" 3). Each has a name: it is logged, counted, and
//! never told to the caller. Pure: what was seen is passed in.

use std::net::IpAddr;

use fleet_proto::id::InstanceId;
use fleet_proto::v1;
use plan::Observed;
use plan::observed::Instance;
use tonic::{Code, Status};

use super::denied::{NOT_ACCEPTED, TRY_AGAIN};

/// The exact body that the agent signs.
const BODY: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";
/// Headers that must be there and signed; `x-amz-security-token` too, since a role signed it.
const SIGNED: [&str; 5] = [
    "host",
    "x-amz-date",
    "x-amz-security-token",
    "x-fleet-nonce",
    "x-fleet-key-sha256",
];
/// What else our agent sends. Nothing more is forwarded: STS would read it, and we would not.
const OTHERS: [&str; 2] = ["authorization", "content-type"];
/// More headers than this are not from our agent (it sends seven).
const MAX_HEADERS: usize = 16;
/// A session token is at most about 2 KiB today; AWS reserves the right to more.
const MAX_HEADER: usize = 8192;

/// Why an enrolment was refused: the check's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(
    clippy::enum_variant_names,
    reason = "`StsRefused` is the name of a check that people search for"
)]
pub enum Refused {
    /// Too many attempts from one address.
    #[error("rate_limit")]
    RateLimit,
    /// Too many open attempts of addresses at which no instance of ours is.
    #[error("busy")]
    Busy,
    /// No answer to the nonce in time.
    #[error("too_slow")]
    TooSlow,
    /// A message beyond any that our agent sends.
    #[error("too_large")]
    TooLarge,
    /// Not a request that our agent makes.
    #[error("malformed")]
    Malformed,
    /// Another host, region or service than the region's STS.
    #[error("host")]
    Host,
    /// Not a POST.
    #[error("method")]
    Method,
    /// A path, query or fragment.
    #[error("path")]
    Path,
    /// Not exactly the body of GetCallerIdentity.
    #[error("body")]
    Body,
    /// A header that must be there is not.
    #[error("header_missing")]
    HeaderMissing,
    /// A header twice.
    #[error("header_twice")]
    HeaderTwice,
    /// A header that must be signed is not.
    #[error("header_unsigned")]
    HeaderUnsigned,
    /// A header that our agent does not send.
    #[error("header_foreign")]
    HeaderForeign,
    /// Not the nonce of this stream.
    #[error("nonce")]
    Nonce,
    /// The signature is bound to another key.
    #[error("key_binding")]
    KeyBinding,
    /// The certificate request is not usable.
    #[error("csr")]
    Csr,
    /// The connection comes from no address of an instance of ours.
    #[error("source_unknown")]
    SourceUnknown,
    /// STS does not accept the signature.
    #[error("sts_refused")]
    StsRefused,
    /// STS gave no answer.
    #[error("sts_unreachable")]
    StsUnreachable,
    /// Another account.
    #[error("account")]
    Account,
    /// Another role.
    #[error("role")]
    Role,
    /// The session is no instance.
    #[error("session_name")]
    SessionName,
    /// EC2 does not show the instance as ours.
    #[error("instance_unknown")]
    InstanceUnknown,
    /// Neither pending nor running.
    #[error("instance_state")]
    InstanceState,
    /// Another VPC.
    #[error("vpc")]
    Vpc,
    /// In none of our groups.
    #[error("group")]
    Group,
    /// Not launched from the stack's template.
    #[error("template")]
    Template,
    /// Not launched from the image of its template version.
    #[error("image")]
    Image,
    /// The connection does not come from the instance's address.
    #[error("source_address")]
    SourceAddress,
    /// The instance enrolled before with another key.
    #[error("other_key")]
    OtherKey,
    /// The store did not answer.
    #[error("store")]
    Store,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::RateLimit,
        Self::Busy,
        Self::TooSlow,
        Self::TooLarge,
        Self::Malformed,
        Self::Host,
        Self::Method,
        Self::Path,
        Self::Body,
        Self::HeaderMissing,
        Self::HeaderTwice,
        Self::HeaderUnsigned,
        Self::HeaderForeign,
        Self::Nonce,
        Self::KeyBinding,
        Self::Csr,
        Self::SourceUnknown,
        Self::StsRefused,
        Self::StsUnreachable,
        Self::Account,
        Self::Role,
        Self::SessionName,
        Self::InstanceUnknown,
        Self::InstanceState,
        Self::Vpc,
        Self::Group,
        Self::Template,
        Self::Image,
        Self::SourceAddress,
        Self::OtherKey,
        Self::Store,
    ];

    /// What the caller hears: the same words for every check of a kind, so that an attacker learns
    /// nothing from them.
    pub fn status(self) -> Status {
        match self {
            Self::RateLimit | Self::Busy => Status::new(Code::ResourceExhausted, TRY_AGAIN),
            Self::StsUnreachable | Self::Store => Status::new(Code::Unavailable, TRY_AGAIN),
            _ => Status::new(Code::PermissionDenied, NOT_ACCEPTED),
        }
    }
}

/// Where instances of ours are, as far as EC2 was seen: nobody else makes us ask STS.
pub fn addresses(observed: &Observed) -> impl Iterator<Item = IpAddr> {
    observed
        .instances
        .values()
        .filter(|instance| runs(instance))
        .filter_map(|instance| instance.private_ip.as_ref()?.parse().ok())
}

/// Whether EC2 says that the instance is there and not on its way out.
pub fn runs(instance: &Instance) -> bool {
    matches!(instance.state.as_str(), "pending" | "running")
}

/// The signed request as sent: everything that can be checked before any AWS call.
pub fn request(
    request: &v1::SignedRequest,
    region: &str,
    nonce: &[u8],
    key_sha256: &str,
) -> Result<(), Refused> {
    if request.headers.len() > MAX_HEADERS
        || request
            .headers
            .iter()
            .any(|header| header.name.len() + header.value.len() > MAX_HEADER)
        || request
            .headers
            .iter()
            .any(|header| !header.value.is_ascii() || header.value.contains(['\r', '\n']))
    {
        return Err(Refused::Malformed);
    }
    let endpoint = format!("sts.{region}.amazonaws.com");
    let url = url::Url::parse(&request.url).map_err(|_| Refused::Malformed)?;
    if url.scheme() != "https"
        || url.host_str() != Some(endpoint.as_str())
        || url.port().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(Refused::Host);
    }
    if request.method != "POST" {
        return Err(Refused::Method);
    }
    if request.url != format!("https://{endpoint}/") {
        return Err(Refused::Path);
    }
    if request.body != BODY {
        return Err(Refused::Body);
    }
    let header = |name: &str| {
        let mut found = request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (Some(header), None) => Ok(header.value.as_str()),
            (None, _) => Err(Refused::HeaderMissing),
            (Some(_), Some(_)) => Err(Refused::HeaderTwice),
        }
    };
    for name in SIGNED {
        header(name)?;
    }
    for name in OTHERS {
        if header(name) == Err(Refused::HeaderTwice) {
            return Err(Refused::HeaderTwice);
        }
    }
    if request.headers.iter().any(|header| {
        let known = |name: &&str| header.name.eq_ignore_ascii_case(name);
        !SIGNED.iter().any(known) && !OTHERS.iter().any(known)
    }) {
        return Err(Refused::HeaderForeign);
    }
    if header("host")? != endpoint {
        return Err(Refused::Host);
    }
    let authorization = Authorization::parse(header("authorization")?)?;
    let signed: Vec<&str> = authorization.signed_headers.split(';').collect();
    if SIGNED.iter().any(|name| !signed.contains(name)) {
        return Err(Refused::HeaderUnsigned);
    }
    // The scope must be this region's STS: another region's answer says nothing about our instance.
    let mut scope = authorization.credential.split('/').skip(2);
    if scope.next() != Some(region) || scope.next() != Some("sts") {
        return Err(Refused::Host);
    }
    let same = |left: &str, right: &str| {
        bool::from(subtle::ConstantTimeEq::ct_eq(
            left.as_bytes(),
            right.as_bytes(),
        ))
    };
    if !same(header("x-fleet-nonce")?, &hex::encode(nonce)) {
        return Err(Refused::Nonce);
    }
    if !same(header("x-fleet-key-sha256")?, key_sha256) {
        return Err(Refused::KeyBinding);
    }
    Ok(())
}

/// The one header that AWS reads the signature from: taken apart as strictly as our agent writes it,
/// so that what we check is what STS verifies.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, Refused> {
        let rest = text
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .ok_or(Refused::Malformed)?;
        let mut parts = rest.split(", ");
        let mut part = |name: &str| {
            parts
                .next()
                .and_then(|part| part.strip_prefix(name))
                .filter(|value| !value.contains([',', '=', ' ']))
                .ok_or(Refused::Malformed)
        };
        let credential = part("Credential=")?;
        let signed_headers = part("SignedHeaders=")?;
        part("Signature=")?;
        if parts.next().is_some() {
            return Err(Refused::Malformed);
        }
        Ok(Self {
            credential,
            signed_headers,
        })
    }
}

/// STS's answer: the account, the role and the instance that it names.
pub fn identity(account: &str, arn: &str, ours: &str, role: &str) -> Result<InstanceId, Refused> {
    if account != ours {
        return Err(Refused::Account);
    }
    let rest = arn.split(':').nth(5).ok_or(Refused::Role)?;
    let mut parts = rest.split('/');
    if arn.split(':').nth(4) != Some(ours)
        || parts.next() != Some("assumed-role")
        || parts.next() != Some(role)
    {
        return Err(Refused::Role);
    }
    let session = parts.next().ok_or(Refused::SessionName)?;
    if parts.next().is_some() {
        return Err(Refused::SessionName);
    }
    session.parse().map_err(|_| Refused::SessionName)
}

/// What EC2 and Auto Scaling say of the instance.
pub fn instance(observed: &Observed, id: &InstanceId, source: IpAddr) -> Result<(), Refused> {
    let instance = observed
        .instances
        .get(id.as_str())
        .ok_or(Refused::InstanceUnknown)?;
    if !runs(instance) {
        return Err(Refused::InstanceState);
    }
    if observed
        .network
        .as_ref()
        .is_none_or(|network| network.vpc_id != instance.vpc_id)
    {
        return Err(Refused::Vpc);
    }
    let (group, member) = observed
        .groups
        .values()
        .find_map(|group| group.members.get(id.as_str()).map(|member| (group, member)))
        .ok_or(Refused::Group)?;
    if instance
        .group
        .as_ref()
        .is_some_and(|name| *name != group.name)
    {
        return Err(Refused::Group);
    }
    let template = observed.template.as_ref().ok_or(Refused::Template)?;
    let Some((template_id, version)) = &instance.template else {
        return Err(Refused::Template);
    };
    let content = template.versions.get(version).ok_or(Refused::Template)?;
    if *template_id != template.id || member.template_version != *version {
        return Err(Refused::Template);
    }
    if content.image_id != instance.image_id {
        return Err(Refused::Image);
    }
    let address = instance
        .private_ip
        .as_ref()
        .and_then(|text| text.parse::<IpAddr>().ok());
    if address != Some(source) {
        return Err(Refused::SourceAddress);
    }
    Ok(())
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
