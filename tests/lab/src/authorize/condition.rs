//! Conditions: an operator, a key of the request's context, and the values that it is compared with.
//!
//! What the lab cannot judge is refused when the policy is put: an operator that it does not know, a key
//! that it never fills, a policy variable. Otherwise a policy would seem to narrow what it does not.

use super::evaluate::Context;
use super::pattern;
use crate::wildcard;

/// Keys that the lab fills; those that end with `/` or `:` are followed by a name, of a tag for example.
/// Lower case: names of keys are compared without regard to it.
const KEYS: [&str; 21] = [
    "aws:requesttag/",
    "aws:resourcetag/",
    "aws:tagkeys",
    "aws:requestedregion",
    "aws:securetransport",
    "s3:prefix",
    "s3:delimiter",
    "s3:max-keys",
    "s3:versionid",
    "s3:locationconstraint",
    "s3:resourceaccount",
    "s3:x-amz-server-side-encryption",
    "kms:viaservice",
    "kms:calleraccount",
    "kms:encryptioncontext:",
    "ec2:createaction",
    "ec2:launchtemplate",
    "ec2:islaunchtemplateresource",
    "elasticloadbalancing:createaction",
    "iam:awsservicename",
    "iam:passedtoservice",
];

/// How one value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equals,
    EqualsIgnoreCase,
    Like,
    Arn,
    Bool,
    /// True when the key must be absent.
    Null,
}

/// Over which of the key's values, when it has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    One,
    Any,
    All,
}

/// One condition of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    quantifier: Quantifier,
    comparison: Comparison,
    negated: bool,
    if_exists: bool,
    /// In lower case.
    key: String,
    values: Vec<String>,
}

impl Condition {
    /// Reads `ForAnyValue:StringEqualsIfExists` with a key and its values; the error says what is wrong.
    pub(super) fn parse(operator: &str, key: &str, values: Vec<String>) -> Result<Self, String> {
        let (quantifier, rest) = match operator.split_once(':') {
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            None => (Quantifier::One, operator),
            Some(_) => return Err(unknown(operator)),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some("Null") => return Err(unknown(operator)),
            Some(name) => (name, true),
            None => (rest, false),
        };
        let (comparison, negated) = match name {
            "StringEquals" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            "ArnEquals" | "ArnLike" => (Comparison::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Comparison::Arn, true),
            "Bool" => (Comparison::Bool, false),
            "Null" => (Comparison::Null, false),
            _ => return Err(unknown(operator)),
        };
        let key = key.to_ascii_lowercase();
        let known = KEYS
            .iter()
            .any(|known| match known.strip_suffix(['/', ':']) {
                Some(_) => key.len() > known.len() && key.starts_with(known),
                None => key == *known,
            });
        if !known {
            return Err(format!("condition key `{key}`: the lab never fills it"));
        }
        if values.is_empty() {
            return Err(format!("condition key `{key}` has no value"));
        }
        if let Some(value) = values.iter().find(|value| value.contains("${")) {
            return Err(format!("`{value}`: the lab has no policy variables"));
        }
        let boolean = matches!(comparison, Comparison::Bool | Comparison::Null);
        if boolean
            && values
                .iter()
                .any(|value| value != "true" && value != "false")
        {
            return Err(format!("`{operator}` compares with true or false"));
        }
        Ok(Self {
            quantifier,
            comparison,
            negated,
            if_exists,
            key,
            values,
        })
    }

    /// Whether it is met (IAM user guide, "IAM JSON policy elements: Condition operators" and "Multivalued
    /// context keys"). A key that is not there meets what is negated, what ends with `IfExists` and what is
    /// asked of all its values.
    pub(super) fn is_met(&self, context: &Context) -> bool {
        let there = context.values(&self.key);
        if self.comparison == Comparison::Null {
            let absent = there.is_empty();
            return self.values.iter().any(|value| (value == "true") == absent);
        }
        if there.is_empty() {
            return match self.quantifier {
                Quantifier::All => true,
                Quantifier::Any => self.if_exists,
                Quantifier::One => self.if_exists || self.negated,
            };
        }
        let holds = |value: &String| self.compares(value) != self.negated;
        match self.quantifier {
            Quantifier::All => there.iter().all(holds),
            Quantifier::Any => there.iter().any(holds),
            // More than one value without a quantifier is a mistake in the policy: it never holds.
            Quantifier::One => there.len() == 1 && there.iter().all(holds),
        }
    }

    /// Whether one value of the context is like one of the policy's.
    fn compares(&self, value: &str) -> bool {
        self.values.iter().any(|wanted| match self.comparison {
            Comparison::Equals | Comparison::Bool | Comparison::Null => wanted == value,
            Comparison::EqualsIgnoreCase => wanted.eq_ignore_ascii_case(value),
            Comparison::Like => wildcard::matches(wanted, value),
            Comparison::Arn => pattern::arn_matches(wanted, value),
        })
    }
}

fn unknown(operator: &str) -> String {
    format!("condition operator `{operator}`: the lab does not know it")
}
