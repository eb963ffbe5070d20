//! `doctor`'s look at the licence's secret: whether its text may be read, and what that says of itself. The
//! text stays unseen.

use cloud::SecretVersion;
use jiff::Timestamp;
use plan::Spec;
use plan::observed::NoText;
use secrecy::ExposeSecret;

use super::{Check, Outcome};
use crate::core::Core;
use crate::licence;

/// The check; none where the specification names no secret.
pub(super) async fn licence(core: &Core) -> Option<Check> {
    let secret = core.spec.mattermost.licence_secret.as_ref()?;
    let answer = core.cloud.read_secret_version(secret, None).await;
    Some(judge(&core.spec, secret, answer, core.now()))
}

/// What is said of one answer.
fn judge(
    spec: &Spec,
    secret: &str,
    answer: Result<SecretVersion, NoText>,
    now: Timestamp,
) -> Check {
    let (result, detail) = match answer {
        Err(why) => (Outcome::Fail, why.words(secret)),
        Ok(version) => {
            let what = format!("`{secret}`, version {}", version.id);
            match licence::term(version.text.expose_secret()) {
                // Whether it is a licence at all is the server's affair.
                Err(error) => (
                    Outcome::Warn,
                    format!("{what}: its end is not known: {error}"),
                ),
                Ok(term) => {
                    let lacks_cluster = spec.mattermost.cluster && !term.cluster;
                    let runs = term.starts <= now && now < term.expires;
                    let result = if lacks_cluster || !runs {
                        Outcome::Warn
                    } else {
                        Outcome::Ok
                    };
                    (result, format!("{what}: {}", licence::end(&term)))
                }
            }
        }
    };
    Check {
        name: "licence".to_owned(),
        result,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn spec() -> Spec {
        let text = plan::spec::template(&plan::spec::Answers::default())
            .replace("cluster = false", "cluster = true")
            .replace("# licence_secret", "licence_secret");
        Spec::parse(&text, "test.toml").expect("a specification")
    }

    /// A licence's text with this end and reach.
    fn text(expires: i64, cluster: bool) -> String {
        let document = serde_json::json!({
            "id": "abc", "starts_at": 0, "expires_at": expires, "sku_short_name": "enterprise",
            "features": { "cluster": cluster },
        });
        let mut bytes = document.to_string().into_bytes();
        bytes.extend([7; 256]);
        STANDARD.encode(bytes)
    }

    #[test]
    fn the_licences_secret_has_a_line_with_its_end_or_with_what_is_wrong() {
        let now = Timestamp::from_second(1_700_000_000).expect("within the calendar");
        let end = 1_798_761_600_000;
        let read = |text: String| {
            Ok(SecretVersion {
                id: "v1".to_owned(),
                text: text.into(),
            })
        };
        for (answer, result, parts) in [
            (
                read(text(end, true)),
                Outcome::Ok,
                [
                    "`demo/licence`, version v1",
                    "enterprise until 2027-01-01, with cluster",
                ],
            ),
            (
                read(text(end, false)),
                Outcome::Warn,
                ["2027-01-01", "without cluster"],
            ),
            (
                read(text(1000, true)),
                Outcome::Warn,
                ["1970-01-01", "with cluster"],
            ),
            (
                read("no licence".to_owned()),
                Outcome::Warn,
                ["its end is not known", "not base64"],
            ),
            (
                Err(NoText::Missing),
                Outcome::Fail,
                [
                    "secret `demo/licence` does not exist",
                    "create-secret --name demo/licence",
                ],
            ),
            (
                Err(NoText::Deleting),
                Outcome::Fail,
                [
                    "scheduled for deletion",
                    "restore-secret --secret-id demo/licence",
                ],
            ),
            (
                Err(NoText::Bytes),
                Outcome::Fail,
                ["holds bytes", "`--secret-string`"],
            ),
            (
                Err(NoText::Denied("AccessDeniedException: no".to_owned())),
                Outcome::Fail,
                ["AccessDeniedException: no", "`ReadNamedSecrets`"],
            ),
            (
                Err(NoText::Unanswered("timed out".to_owned())),
                Outcome::Fail,
                ["secret `demo/licence` could not be read", "timed out"],
            ),
        ] {
            let given = answer
                .as_ref()
                .ok()
                .map(|version| version.text.expose_secret().to_owned());
            let check = judge(&spec(), "demo/licence", answer, now);
            assert_eq!(
                (check.name.as_str(), check.result),
                ("licence", result),
                "{}",
                check.detail
            );
            for part in parts {
                assert!(check.detail.contains(part), "{part}: {}", check.detail);
            }
            assert!(given.is_none_or(|text| !check.detail.contains(&text)));
        }
    }
}
