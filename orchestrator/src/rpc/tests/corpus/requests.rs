//! The signed request: everything that is checked before any AWS call.

use fleet_proto::v1;

use super::enrolment::{Dialogue, answered, heard, signed, tampered};
use super::forge::header;
use super::{Case, How};

const STS: &str = "sts.us-east-1.amazonaws.com";

pub fn cases() -> Vec<Case> {
    [hosts(), shapes(), headers(), bindings()]
        .into_iter()
        .flatten()
        .collect()
}

fn hosts() -> Vec<Case> {
    vec![
        signed("a host of the attacker's", "host", |_, attempt| {
            attempt.signing.url = "https://sts.attacker.example/".to_owned();
            attempt.signing.set("host", "sts.attacker.example");
        }),
        signed("STS of another region", "host", |_, attempt| {
            attempt.signing.url = "https://sts.eu-west-1.amazonaws.com/".to_owned();
            attempt.signing.set("host", "sts.eu-west-1.amazonaws.com");
            attempt.signing.region = "eu-west-1".to_owned();
        }),
        signed("the global endpoint of STS", "host", |_, attempt| {
            attempt.signing.url = "https://sts.amazonaws.com/".to_owned();
            attempt.signing.set("host", "sts.amazonaws.com");
        }),
        signed("another service's endpoint", "host", |_, attempt| {
            attempt.signing.url = "https://iam.us-east-1.amazonaws.com/".to_owned();
            attempt.signing.set("host", "iam.us-east-1.amazonaws.com");
        }),
        tampered("plain HTTP", "host", |request| {
            request.url = format!("http://{STS}/");
        }),
        tampered("a user name in the URL", "host", |request| {
            request.url = format!("https://sts.attacker.example@{STS}/");
        }),
        tampered("a password in the URL", "host", |request| {
            request.url = format!("https://:x@{STS}/");
        }),
        tampered("a port in the URL", "host", |request| {
            request.url = format!("https://{STS}:8443/");
        }),
        tampered("a host that only begins like STS", "host", |request| {
            request.url = format!("https://{STS}.attacker.example/");
        }),
        signed("the host header alone elsewhere", "host", |_, attempt| {
            attempt.signing.set("host", "sts.attacker.example");
        }),
        signed("the scope of another region", "host", |_, attempt| {
            attempt.signing.region = "eu-west-1".to_owned();
        }),
        signed("the scope of another service", "host", |_, attempt| {
            attempt.signing.service = "iam".to_owned();
        }),
    ]
}

fn shapes() -> Vec<Case> {
    vec![
        signed("GET", "method", |_, attempt| {
            attempt.signing.method = "GET".to_owned();
        }),
        tampered("GET after signing", "method", |request| {
            request.method = "GET".to_owned();
        }),
        tampered("post in small letters", "method", |request| {
            request.method = "post".to_owned();
        }),
        signed("a path", "path", |_, attempt| {
            attempt.signing.url = format!("https://{STS}/latest");
        }),
        signed("a query", "path", |_, attempt| {
            attempt.signing.url = format!("https://{STS}/?Action=AssumeRole");
        }),
        tampered("a fragment", "path", |request| {
            request.url = format!("https://{STS}/#");
        }),
        tampered("capitals in the host", "path", |request| {
            request.url = format!("https://{}/", STS.to_uppercase());
        }),
        signed("another action", "body", |_, attempt| {
            attempt.signing.body = b"Action=GetSessionToken&Version=2011-06-15".to_vec();
        }),
        signed("one more parameter", "body", |_, attempt| {
            attempt
                .signing
                .body
                .extend_from_slice(b"&Action=GetSessionToken");
        }),
        signed("no body", "body", |_, attempt| attempt.signing.body.clear()),
        tampered("a body that was changed after signing", "body", |request| {
            request.body.push(b'\n');
        }),
        tampered("no URL", "malformed", |request| {
            request.url = "sts".to_owned();
        }),
        answered(
            "no signed request",
            "malformed",
            |_, _| {},
            |_, answer| {
                answer.identity = None;
            },
        ),
    ]
}

fn without(request: &mut v1::SignedRequest, name: &str) {
    request.headers.retain(|header| header.name != name);
}

fn authorization(request: &mut v1::SignedRequest, change: impl Fn(&str) -> String) {
    for header in &mut request.headers {
        if header.name == "authorization" {
            header.value = change(&header.value);
        }
    }
}

fn headers() -> Vec<Case> {
    vec![
        signed("no nonce", "header_missing", |_, attempt| {
            attempt.signing.unset("x-fleet-nonce");
        }),
        signed("no key", "header_missing", |_, attempt| {
            attempt.signing.unset("x-fleet-key-sha256");
        }),
        tampered("no session token", "header_missing", |request| {
            without(request, "x-amz-security-token");
        }),
        tampered("no date", "header_missing", |request| {
            without(request, "x-amz-date");
        }),
        tampered("no authorization", "header_missing", |request| {
            without(request, "authorization");
        }),
        tampered("the nonce a second time", "header_twice", |request| {
            request.headers.push(header("X-Fleet-Nonce", "00"));
        }),
        tampered(
            "the authorization a second time",
            "header_twice",
            |request| {
                let again = request.headers.iter().find(|it| it.name == "authorization");
                let again = again.unwrap().clone();
                request.headers.push(again);
            },
        ),
        tampered(
            "the content type a second time",
            "header_twice",
            |request| {
                request.headers.push(header("Content-Type", "text/xml"));
            },
        ),
        answered(
            "the nonce unsigned",
            "header_unsigned",
            |_, attempt| attempt.signing.unset("x-fleet-nonce"),
            |stage, answer| {
                // The right nonce; that it is not signed is what counts.
                let identity = answer.identity.as_mut().unwrap();
                identity
                    .headers
                    .push(header("x-fleet-nonce", &stage.last_nonce()));
            },
        ),
        answered(
            "the key unsigned",
            "header_unsigned",
            |_, attempt| attempt.signing.unset("x-fleet-key-sha256"),
            |_, answer| {
                let identity = answer.identity.as_mut().unwrap();
                identity
                    .headers
                    .push(header("x-fleet-key-sha256", &"00".repeat(32)));
            },
        ),
        tampered("a second list of signed headers", "malformed", |request| {
            authorization(request, |text| {
                text.replace("SignedHeaders=", "SignedHeaders=host, SignedHeaders=")
            });
        }),
        tampered(
            "the list of signed headers at the end",
            "malformed",
            |request| {
                authorization(request, |text| {
                    format!("{text}, SignedHeaders=host;x-fleet-nonce;x-fleet-key-sha256")
                });
            },
        ),
        tampered("another signature algorithm", "malformed", |request| {
            authorization(request, |text| {
                text.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")
            });
        }),
        tampered("a second request in a header", "malformed", |request| {
            request.headers[0].value.push_str("\r\n\r\nGET / HTTP/1.1");
        }),
        tampered("a header of 9 KB", "malformed", |request| {
            request.headers.push(header("x-long", &"x".repeat(9000)));
        }),
        tampered("forty headers", "malformed", |request| {
            request
                .headers
                .extend((0..40).map(|_| header("x-many", "")));
        }),
        tampered("a transfer encoding", "header_foreign", |request| {
            request.headers.push(header("transfer-encoding", "chunked"));
        }),
        tampered(
            "a digest that leaves the body open",
            "header_foreign",
            |request| {
                request
                    .headers
                    .push(header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"));
            },
        ),
        signed(
            "a foreign header, signed",
            "header_foreign",
            |_, attempt| {
                attempt
                    .signing
                    .set("x-amz-target", "AWSSecurityTokenService.AssumeRole");
            },
        ),
    ]
}

fn bindings() -> Vec<Case> {
    vec![
        answered(
            "an honest answer, overheard and sent again",
            "nonce",
            |_, _| {},
            |stage, answer| *answer = stage.overheard.get().unwrap().clone(),
        ),
        Case {
            name: "the nonce of another open stream",
            check: "nonce",
            attack: How::Other(|stage| {
                Box::pin(async move {
                    let ann = stage.machine("ann");
                    let open = || async {
                        let channel = stage.world.anonymous_from(Some(ann.address)).await;
                        Dialogue::open(channel.unwrap()).await.unwrap()
                    };
                    let (mut first, second) = (open().await, open().await);
                    let key = rcgen::KeyPair::generate().unwrap();
                    let answer = super::forge::Attempt::honest(ann, key, &second.nonce).answer();
                    let heard = heard(first.answer(answer).await);
                    // The stream whose nonce it was still stands.
                    let answers = second.answers.as_ref();
                    assert!(answers.is_some_and(|answers| !answers.is_closed()));
                    stage.hold(vec![second]);
                    heard
                })
            }),
        },
        signed("a nonce of the attacker's own", "nonce", |_, attempt| {
            attempt.signing.set("x-fleet-nonce", "42".repeat(32));
        }),
        signed("the nonce in capitals", "nonce", |_, attempt| {
            let nonce = hex::encode_upper([0xab_u8; 32]);
            attempt.signing.set("x-fleet-nonce", nonce);
        }),
        signed("an empty nonce", "nonce", |_, attempt| {
            attempt.signing.set("x-fleet-nonce", "");
        }),
        signed(
            "a proof for one key, a request for another",
            "key_binding",
            |_, attempt| {
                let other = rcgen::KeyPair::generate().unwrap();
                attempt.csr = super::forge::csr(&other, &rcgen::CertificateParams::default());
            },
        ),
        signed("the digest of another key", "key_binding", |_, attempt| {
            attempt.signing.set("x-fleet-key-sha256", "00".repeat(32));
        }),
    ]
}
