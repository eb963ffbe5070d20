//! Signatures against AWS's own examples, and what S3's answers mean.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use reqwest::{StatusCode, Url};

use super::request::{Outline, address, host, signed};
use super::*;
use crate::coded::Coded;

/// Of the examples in AWS's guide to S3's signatures: 2013-05-24, midnight.
const EXAMPLE_TIME: Duration = Duration::from_hours(380_376);

fn example(method: &str, path: &str, headers: &[(&'static str, String)], body: &[u8]) -> String {
    let credentials = Credentials::new(
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        None,
        None,
        "example",
    );
    let url = Url::parse(&format!("https://examplebucket.s3.amazonaws.com{path}")).unwrap();
    let all = signed(Outline {
        method,
        url: &url,
        region: "us-east-1",
        headers,
        body: SignableBody::Bytes(body),
        time: SystemTime::UNIX_EPOCH + EXAMPLE_TIME,
        credentials: &credentials,
    })
    .unwrap();
    let found = all.into_iter().find(|(name, _)| name == "authorization");
    found.unwrap().1
}

#[test]
fn requests_are_signed_as_in_the_examples() {
    let get = example("GET", "/test.txt", &[("range", "bytes=0-9".into())], b"");
    let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    assert!(get.ends_with(expected), "{get}");
    // A key whose `$` is encoded once, and a body.
    let headers = [
        ("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()),
    ];
    let put = example(
        "PUT",
        "/test%24file.text",
        &headers,
        b"Welcome to Amazon S3.",
    );
    let expected = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
    assert!(put.ends_with(expected), "{put}");
}

fn store(prefix: &str, url: &str) -> FileStore {
    FileStore {
        bucket: "chat-files".to_owned(),
        region: "eu-central-1".to_owned(),
        prefix: prefix.to_owned(),
        url: url.parse().unwrap(),
        owner: Some("123456789012".to_owned()),
        own_keys: false,
    }
}

#[test]
fn token_digest_and_owner_are_signed() {
    let store = store("", "https://chat-files.s3.eu-central-1.amazonaws.com/");
    let instance = "i-0123456789abcdef0".parse().unwrap();
    let credentials = Credentials::new("AKID", "secret", Some("token".into()), None, "test");
    let probe = Probe::new(&store, &instance, credentials, None, Patience::default()).unwrap();
    let all = signed(Outline {
        method: "PUT",
        url: &probe.url,
        region: &store.region,
        headers: &probe.headers(),
        body: SignableBody::Bytes(b"x"),
        time: crate::clock::now(),
        credentials: &probe.credentials,
    })
    .unwrap();
    let value = |name: &str| {
        let mut found = all.iter().filter(|(one, _)| one == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("{name} is missing"));
        assert!(found.next().is_none(), "{name} is there twice");
        value.as_str()
    };
    assert_eq!(value("x-amz-security-token"), "token");
    assert_eq!(value("x-amz-expected-bucket-owner"), "123456789012");
    assert!(value("authorization").contains(
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-expected-bucket-owner;x-amz-security-token"
    ));
    assert!(value("authorization").contains("/eu-central-1/s3/aws4_request"));
}

#[test]
fn every_byte_of_a_key_that_is_not_plain_is_encoded_once() {
    for (prefix, expected) in [
        ("", "/.verified/i-1"),
        ("chat/", "/chat/.verified/i-1"),
        ("a b/ü+%2F?#/", "/a%20b/%C3%BC%2B%252F%3F%23/.verified/i-1"),
    ] {
        let store = store(prefix, "https://b.s3.eu-central-1.amazonaws.com/");
        let url = address(&store, &format!("{prefix}.verified/i-1")).unwrap();
        assert_eq!(url.path(), expected);
        assert_eq!(url.query(), None);
        assert_eq!(host(&url), "b.s3.eu-central-1.amazonaws.com");
    }
    let other = store("", "http://127.0.0.1:9000/chat-files/");
    let url = address(&other, "k").unwrap();
    assert_eq!(
        (host(&url).as_str(), url.path()),
        ("127.0.0.1:9000", "/chat-files/k")
    );
}

fn refusal(status: u16, region: Option<&str>, document: &str) -> FileStoreError {
    let status = StatusCode::from_u16(status).unwrap();
    let refusal = Refusal::read(status, region.map(ToOwned::to_owned), document.as_bytes());
    let place = Place {
        verb: Verb::Put,
        key: "chat/.verified/i-1".to_owned(),
        bucket: "chat-files".to_owned(),
        host: "s3.example.org".to_owned(),
        region: "eu-central-1".to_owned(),
    };
    FileStoreError::Refused(Box::new(place), refusal)
}

fn document(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message><RequestId>R</RequestId></Error>"
    )
}

#[test]
fn refusals_are_told_apart() {
    let cases = [
        (
            403,
            "AccessDenied",
            "Access Denied",
            "file_store_denied",
            "`s3:PutObject` on `chat-files/chat/.verified/i-1`",
        ),
        (
            403,
            "AccessDenied",
            "not authorized to perform: kms:GenerateDataKey",
            "file_store_key",
            "`kms:Decrypt`",
        ),
        (
            400,
            "KMS.DisabledException",
            "it is disabled",
            "file_store_key",
            "KMS key",
        ),
        (
            404,
            "NoSuchBucket",
            "The specified bucket does not exist",
            "file_store_bucket_missing",
            "deleted",
        ),
        (
            503,
            "SlowDown",
            "Please reduce your request rate.",
            "file_store_busy",
            "again",
        ),
        (
            500,
            "InternalError",
            "We encountered an internal error.",
            "file_store_busy",
            "again",
        ),
        (
            307,
            "TemporaryRedirect",
            "Please re-send",
            "file_store_busy",
            "again",
        ),
        (
            403,
            "InvalidAccessKeyId",
            "does not exist",
            "file_store_signer",
            "[files]",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            "does not match",
            "file_store_signer",
            "[files]",
        ),
        (
            403,
            "RequestTimeTooSkewed",
            "too large",
            "file_store_clock",
            "clock",
        ),
        (
            301,
            "PermanentRedirect",
            "must be addressed",
            "file_store_region",
            "not in eu-central-1",
        ),
        (
            400,
            "InvalidRequest",
            "Missing header",
            "file_store_refused",
            "",
        ),
    ];
    for (status, code, message, expected, hint) in cases {
        let error = refusal(status, None, &document(code, message));
        assert_eq!(error.code(), expected, "{code}");
        assert!(error.hint().contains(hint), "{code}: {}", error.hint());
        let text = error.to_string();
        let said = format!("S3 answered {status} {code} {message}");
        assert!(text.ends_with(&said), "{text}");
        assert!(
            text.contains("`chat/.verified/i-1`") && text.contains("`chat-files`"),
            "{text}"
        );
        assert_eq!(error.permanent(), expected == "file_store_region", "{code}");
        assert_eq!(error.passing(), expected == "file_store_busy", "{code}");
    }
}

#[test]
fn the_right_region_is_named() {
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong; \
                     expecting &apos;us-west-2&apos;</Message><Region>us-west-2</Region></Error>";
    for error in [
        refusal(400, None, malformed),
        refusal(301, Some("us-west-2"), &document("PermanentRedirect", "x")),
        // As to HEAD: no document at all.
        refusal(301, Some("us-west-2"), ""),
    ] {
        assert_eq!(error.code(), "file_store_region");
        assert!(
            error
                .hint()
                .contains("is in us-west-2, and eu-central-1 was signed"),
            "{}",
            error.hint()
        );
    }
    let malformed = malformed.replace("<Region>us-west-2</Region>", "");
    assert_eq!(refusal(400, None, &malformed).code(), "file_store_refused");
}

#[test]
fn odd_documents_are_shown_bounded_and_on_one_line() {
    for odd in [
        "",
        "<html>",
        "<Code>",
        "<Code></Code>",
        "\u{0}<Error><Code>x",
    ] {
        assert_eq!(
            refusal(404, None, odd).code(),
            "file_store_refused",
            "{odd:?}"
        );
    }
    let long = document("Odd\nCode", &"x&amp;lt;".repeat(10_000));
    let text = refusal(400, None, &long).to_string();
    assert!(text.len() < 1000 && !text.contains('\n'), "{text}");
    assert!(text.contains("x&lt;"), "{text}");
}
