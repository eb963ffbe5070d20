//! MD5 and checksums of what is written: computed on the way in, compared with what the client said in a
//! header or in a trailer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};

use crate::api::ApiError;

/// The algorithms that S3 has for checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// As `ChecksumAlgorithm` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub fn from_name(name: &str) -> Result<Self, ApiError> {
        Self::ALL
            .into_iter()
            .find(|it| it.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidRequest",
                    format!("Checksum algorithm provided is unsupported: {name}"),
                )
            })
    }

    /// For example `x-amz-checksum-crc32`.
    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }
}

/// A checksum, in Base64; of a multipart object's parts with `-N` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    pub algorithm: Algorithm,
    pub value: String,
    /// Of the whole object; otherwise of its parts' checksums.
    pub full_object: bool,
}

enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Crc32::new()),
            Algorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(it) => it.update(bytes),
            Self::Crc32c(it) => it.update(bytes),
            Self::Crc64Nvme(it) => it.update(bytes),
            Self::Sha1(it) => it.update(bytes),
            Self::Sha256(it) => it.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Crc32(it) => STANDARD.encode(it.finalize()),
            Self::Crc32c(it) => STANDARD.encode(it.finalize()),
            Self::Crc64Nvme(it) => STANDARD.encode(it.finalize()),
            Self::Sha1(it) => STANDARD.encode(it.finalize()),
            Self::Sha256(it) => STANDARD.encode(it.finalize()),
        }
    }
}

/// What is computed of bytes that pass.
pub(super) struct Digests {
    md5: Md5,
    algorithm: Option<Algorithm>,
    checksum: Option<Hasher>,
}

/// The results.
#[derive(Debug)]
pub(super) struct Sums {
    pub md5: [u8; 16],
    pub checksum: Option<Checksum>,
}

impl Digests {
    pub fn new(algorithm: Option<Algorithm>) -> Self {
        Self {
            md5: Md5::new(),
            algorithm,
            checksum: algorithm.map(Hasher::new),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some(hasher) = &mut self.checksum {
            hasher.update(bytes);
        }
    }

    pub fn finish(self) -> Sums {
        let value = self.checksum.map(Hasher::finish);
        Sums {
            md5: self.md5.finalize(),
            checksum: self
                .algorithm
                .zip(value)
                .map(|(algorithm, value)| Checksum {
                    algorithm,
                    value,
                    full_object: true,
                }),
        }
    }
}

/// What a request says of its body: the checksum in a header, or the name of one that comes as a trailer.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    pub algorithm: Option<Algorithm>,
    value: Option<String>,
    in_trailer: bool,
    /// Base64.
    md5: Option<String>,
}

impl Claim {
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut claim = Self {
            md5: header("content-md5").map(str::to_owned),
            ..Self::default()
        };
        let mut sent = Algorithm::ALL
            .into_iter()
            .filter_map(|it| header(&it.header()).map(|value| (it, value)));
        if let Some((algorithm, value)) = sent.next() {
            if sent.next().is_some() {
                return Err(ApiError::new(
                    "InvalidRequest",
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
            claim.algorithm = Some(algorithm);
            claim.value = Some(value.to_owned());
            return Ok(claim);
        }
        if let Some(trailer) = header("x-amz-trailer") {
            let named = trailer.trim().to_ascii_lowercase();
            let algorithm = Algorithm::ALL.into_iter().find(|it| it.header() == named);
            claim.algorithm = Some(algorithm.ok_or_else(|| {
                ApiError::new(
                    "InvalidRequest",
                    format!(
                        "The value specified in the x-amz-trailer header is not supported: {named}"
                    ),
                )
            })?);
            claim.in_trailer = true;
            return Ok(claim);
        }
        if let Some(name) = header("x-amz-sdk-checksum-algorithm") {
            claim.algorithm = Some(Algorithm::from_name(name)?);
        }
        Ok(claim)
    }

    /// Compares it with what came; `trailers` are those that followed the body.
    pub fn check(&self, sums: &Sums, trailers: Option<&HeaderMap>) -> Result<(), ApiError> {
        if let Some(md5) = &self.md5 {
            let wanted = STANDARD.decode(md5).ok().filter(|it| it.len() == 16);
            let wanted = wanted.ok_or_else(|| {
                ApiError::new(
                    "InvalidDigest",
                    "The Content-MD5 you specified was invalid.",
                )
            })?;
            if wanted != sums.md5 {
                return Err(ApiError::new(
                    "BadDigest",
                    "The Content-MD5 you specified did not match what we received.",
                ));
            }
        }
        let Some(algorithm) = self.algorithm else {
            return Ok(());
        };
        let name = algorithm.header();
        let value = if self.in_trailer {
            let sent = trailers.and_then(|all| all.get(&name)?.to_str().ok());
            Some(sent.ok_or_else(|| {
                ApiError::new(
                    "MalformedTrailerError",
                    format!("The request contained trailing data that was not well-formed: {name} is missing"),
                )
            })?)
        } else {
            self.value.as_deref()
        };
        let computed = sums.checksum.as_ref().map(|it| it.value.as_str());
        match value {
            Some(value) if Some(value) != computed => Err(ApiError::new(
                "BadDigest",
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The checksum of a multipart object by its parts' checksums (S3 user guide, "Checking object integrity",
/// composite checksums); none when one is no Base64.
pub(super) fn composite(algorithm: Algorithm, parts: &[&str]) -> Option<Checksum> {
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        hasher.update(&STANDARD.decode(part).ok()?);
    }
    Some(Checksum {
        algorithm,
        value: format!("{}-{}", hasher.finish(), parts.len()),
        full_object: false,
    })
}

/// The ETag of a multipart object: the MD5 of its parts' MD5s, and their number.
pub(super) fn multipart_etag(parts: &[&str]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        // What is no MD5 (a part that KMS encrypts) counts by its text.
        match hex::decode(part) {
            Ok(bytes) => md5.update(&bytes),
            Err(_) => md5.update(part.as_bytes()),
        }
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}
