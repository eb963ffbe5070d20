//! The lab's certificate authority, as RDS and ACM have theirs. Made anew with every lab.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The leaf certificate.
    pub certificate: String,
    /// Its private key, PKCS #8.
    pub key: String,
}

/// The authority; its certificate lies at `ca.pem` in the lab's directory.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    path: PathBuf,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Ca {
    /// A new authority; writes `ca.pem`.
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "Lab Root CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let path = directory.join("ca.pem");
        std::fs::write(&path, issuer.pem())?;
        Ok(Self { issuer, path })
    }

    /// Where the certificate lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for names and addresses.
    pub fn issue(&self, names: &[&str], addresses: &[IpAddr]) -> anyhow::Result<Issued> {
        let mut subjects: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        subjects.extend(addresses.iter().map(ToString::to_string));
        let mut params = CertificateParams::new(subjects.clone())?;
        params.distinguished_name.push(
            DnType::CommonName,
            subjects.first().map_or("lab", String::as_str),
        );
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}
