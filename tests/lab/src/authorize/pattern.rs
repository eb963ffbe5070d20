//! Wildcards in ARNs.

use crate::wildcard;

/// Whether an ARN is like a pattern, part by part: a wildcard does not reach over a colon, except in the last part
/// (IAM user guide, "IAM JSON policy elements: Resource"). `*` alone is everything, and it alone is what
/// an action acts on that AWS lets nobody narrow.
pub(super) fn arn_matches(pattern: &str, arn: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (patterns, parts): (Vec<&str>, Vec<&str>) = (
        pattern.splitn(6, ':').collect(),
        arn.splitn(6, ':').collect(),
    );
    patterns.len() == 6
        && parts.len() == 6
        && patterns
            .iter()
            .zip(&parts)
            .all(|(pattern, part)| wildcard::matches(pattern, part))
}
