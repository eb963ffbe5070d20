use std::io::Write as _;
use std::time::Duration;

use super::request::MAX_REQUEST;
use fleet_proto::tls;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use secrecy::ExposeSecret;

use super::*;

const INSTANCE: &str = "i-0123456789abcdef0";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn authority() -> Authority {
    Authority::load("chat", &Authority::generate("chat", now()).unwrap()).unwrap()
}

fn csr(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request(key).unwrap().der().to_vec()
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn refusal(der: &[u8]) -> String {
    match Request::parse(der) {
        Ok(_) => "taken".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_plain_request_is_known_by_its_key() {
    let key = p256();
    let first = Request::parse(&csr(&key, |_| {})).unwrap();
    let named = |params: &mut CertificateParams| {
        params
            .distinguished_name
            .push(DnType::CommonName, "whatever");
    };
    let second = Request::parse(&csr(&key, named)).unwrap();
    let wanted = hex::encode(Sha256::digest(key.subject_public_key_info()));
    assert_eq!(
        (first.key_sha256(), second.key_sha256()),
        (&*wanted, &*wanted)
    );
    assert_ne!(
        Request::parse(&csr(&p256(), |_| {})).unwrap().key_sha256(),
        wanted
    );
}

#[test]
fn requests_that_ask_for_names_are_refused() {
    let text = |text: &str| Ia5String::try_from(text).unwrap();
    let names = [
        SanType::DnsName(text("orchestrator.chat.mattermost.internal")),
        SanType::URI(text("spiffe://chat.mattermost.internal/operator/root")),
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::Rfc822Name(text("root@example.org")),
    ];
    for name in names {
        let der = csr(&p256(), |params| {
            params.subject_alt_names = vec![name.clone()];
        });
        let said = refusal(&der);
        assert!(said.contains("asks for names"), "{name:?}: {said}");
    }
}

#[test]
fn other_keys_are_refused() {
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let said = refusal(&csr(&key, |_| {}));
        assert!(said.contains("not ECDSA P-256"), "{algorithm:?}: {said}");
    }
}

#[test]
fn damaged_requests_are_refused() {
    let der = csr(&p256(), |_| {});
    let mut forged = der.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(
        refusal(&forged).contains("signature"),
        "{}",
        refusal(&forged)
    );
    // Another key in a request that was signed by its own.
    let (key, other) = (p256(), p256());
    let (raw, theirs) = (
        key.subject_public_key_info(),
        other.subject_public_key_info(),
    );
    let mut swapped = csr(&key, |_| {});
    let at = swapped
        .windows(raw.len())
        .position(|window| window == raw)
        .unwrap();
    swapped[at..at + raw.len()].copy_from_slice(&theirs);
    assert!(refusal(&swapped).contains("signature"));

    let mut followed = der.clone();
    followed.push(0);
    assert!(refusal(&followed).contains("after the end"));
    let mut long = der.clone();
    long.resize(MAX_REQUEST + 1, 0);
    assert!(refusal(&long).contains("longer than 2048 bytes"));
    for length in 0..der.len() {
        assert_ne!(refusal(&der[..length]), "taken", "the first {length} bytes");
    }
}

#[test]
fn what_was_signed_cannot_be_changed() {
    let der = csr(&p256(), |_| {});
    let (_, whole) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
    let signed = whole.certification_request_info.raw;
    let begin = der
        .windows(signed.len())
        .position(|window| window == signed)
        .unwrap();
    let key = Request::parse(&der).unwrap().key_sha256;
    for bit in 0..der.len() * 8 {
        let mut changed = der.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let within = (begin..begin + signed.len()).contains(&(bit / 8));
        // The parser is lax about the envelope; what is in it stays the same.
        match Request::parse(&changed) {
            Ok(_) if within => panic!("taken with bit {bit} turned"),
            Ok(request) => assert_eq!(request.key_sha256, key, "bit {bit} turned"),
            Err(_) => {}
        }
    }
}

fn roots(authority: &Authority) -> std::sync::Arc<RootCertStore> {
    tls::roots("the CA", authority.pem()).unwrap().into()
}

fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.unsigned_abs()))
}

fn verifies_as_client(authority: &Authority, leaf: &CertificateDer<'_>, seconds: i64) -> bool {
    WebPkiClientVerifier::builder_with_provider(roots(authority), tls::provider())
        .build()
        .unwrap()
        .verify_client_cert(leaf, &[], unix(seconds))
        .is_ok()
}

fn verifies_as_server(authority: &Authority, leaf: &CertificateDer<'_>, name: &str) -> bool {
    verifies_as_server_at(authority, leaf, name, now().as_second())
}

fn verifies_as_server_at(
    authority: &Authority,
    leaf: &CertificateDer<'_>,
    name: &str,
    second: i64,
) -> bool {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    WebPkiServerVerifier::builder_with_provider(roots(authority), tls::provider())
        .build()
        .unwrap()
        .verify_server_cert(leaf, &[], &name, &[], unix(second))
        .is_ok()
}

#[test]
fn a_node_certificate_names_the_instance_and_nothing_else() {
    let authority = authority();
    let key = p256();
    let asks = |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "root");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "operators");
    };
    let request = Request::parse(&csr(&key, asks)).unwrap();
    let (pem, not_after) = authority.node(&request, INSTANCE, now()).unwrap();
    let chain = tls::certificates("the chain", &pem).unwrap();
    assert_eq!(chain.len(), 2, "leaf, then CA");
    assert_eq!(chain[1], authority.certificate_der);

    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(leaf.subject().to_string(), format!("CN={INSTANCE}"));
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let uri = format!("spiffe://chat.mattermost.internal/node/{INSTANCE}");
    assert_eq!(names.value.general_names, [GeneralName::URI(&uri)]);
    assert!(!leaf.is_ca());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
    assert_eq!(
        leaf.validity().not_before.timestamp(),
        now().as_second() - 300
    );
    assert_eq!(
        leaf.validity().not_after.timestamp(),
        now().as_second() + 3600
    );
    assert_eq!(not_after, now().as_second() + 3600);
    let instance = tls::peer_instance_id(&chain[0]).unwrap();
    assert_eq!(instance.as_str(), INSTANCE);

    let (again, _) = authority.node(&request, INSTANCE, now()).unwrap();
    let again = tls::certificates("the chain", &again).unwrap();
    let (_, again) = X509Certificate::from_der(&again[0]).unwrap();
    assert_ne!(leaf.raw_serial(), again.raw_serial());
}

#[test]
fn a_node_certificate_is_good_for_an_hour_of_client_authentication() {
    let authority = authority();
    let request = Request::parse(&csr(&p256(), |_| {})).unwrap();
    let (pem, _) = authority.node(&request, INSTANCE, now()).unwrap();
    let leaf = &tls::certificates("the chain", &pem).unwrap()[0];
    let second = now().as_second();
    for (offset, good) in [
        (-301, false),
        (-299, true),
        (0, true),
        (3599, true),
        (3601, false),
    ] {
        assert_eq!(
            verifies_as_client(&authority, leaf, second + offset),
            good,
            "{offset} s"
        );
    }
    assert!(
        !verifies_as_client(&self::authority(), leaf, second),
        "another CA"
    );
    for name in [tls::server_name("chat"), INSTANCE.to_owned()] {
        assert!(!verifies_as_server(&authority, leaf, &name), "{name}");
    }
}

#[test]
fn the_server_certificate_is_the_orchestrators_of_this_stack() {
    let authority = authority();
    let leaf = authority.server(now()).unwrap();
    let chain = tls::certificates("the chain", &leaf.chain_pem).unwrap();
    assert_eq!(tls::Pin::of(&chain[1]).to_string(), authority.sha256());
    assert!(verifies_as_server(
        &authority,
        &chain[0],
        &tls::server_name("chat")
    ));
    assert!(!verifies_as_server(
        &authority,
        &chain[0],
        &tls::server_name("other")
    ));
    // A node's clock may be five minutes behind, or ahead.
    for (offset, good) in [(-301, false), (-299, true), (299, true)] {
        let second = now().as_second() + offset;
        let name = tls::server_name("chat");
        assert_eq!(
            verifies_as_server_at(&authority, &chain[0], &name, second),
            good,
            "{offset} s"
        );
    }
    assert!(!verifies_as_client(
        &authority,
        &chain[0],
        now().as_second()
    ));
    tls::server_optional_client_auth(
        &leaf.chain_pem,
        leaf.key_pem.expose_secret(),
        authority.pem(),
    )
    .unwrap();
}

#[test]
fn every_orchestrator_loads_the_same_ca_and_no_error_shows_the_key() {
    let secret = Authority::generate("chat", now()).unwrap();
    let (one, two) = (
        Authority::load("chat", &secret).unwrap(),
        Authority::load("chat", &secret).unwrap(),
    );
    assert_eq!(one.sha256(), two.sha256());
    let request = Request::parse(&csr(&p256(), |_| {})).unwrap();
    let (pem, _) = one.node(&request, INSTANCE, now()).unwrap();
    let leaf = &tls::certificates("the chain", &pem).unwrap()[0];
    assert!(verifies_as_client(&two, leaf, now().as_second()));
    assert!(!format!("{one:?}").contains("PRIVATE"));

    let stored: serde_json::Value = serde_json::from_str(secret.expose_secret()).unwrap();
    let mut keyless = stored.clone();
    keyless["key"] = "-----BEGIN PRIVATE KEY-----\nMARK\n-----END PRIVATE KEY-----".into();
    let mut bare = stored;
    bare["certificate"] = "MARK".into();
    for text in [
        "MARK".to_owned(),
        "{}".to_owned(),
        keyless.to_string(),
        bare.to_string(),
    ] {
        let error = Authority::load("chat", &text.into()).unwrap_err();
        assert!(matches!(error, AuthorityError::Secret(_)), "{error:?}");
        assert!(!error.to_string().contains("MARK"), "{error}");
    }
}

#[test]
fn one_core_signs_more_than_a_storm_asks_for() {
    let authority = authority();
    let der = csr(&p256(), |_| {});
    let count: u32 = 500;
    let began = tokio::time::Instant::now();
    for _ in 0..count {
        let request = Request::parse(&der).unwrap();
        authority.node(&request, INSTANCE, now()).unwrap();
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "one core checks and signs {rate:.0} certificates a second"
    );
    // The worst second of ten thousand nodes asks for forty, an overdue fleet for two hundred and fifty.
    // A machine that does much else must still do the former.
    assert!(rate > 40.0, "{rate:.0} a second");
}
