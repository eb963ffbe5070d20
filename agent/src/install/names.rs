//! Which names and link targets an archive may use: pure rules, checked before anything is written.

use super::error::ArchiveError;

/// As ext4 and xfs allow for one component.
const COMPONENT_BYTES: usize = 255;
/// Of a whole name in a release; real ones stay under 200.
pub(super) const NAME_BYTES: usize = 1024;

/// The components of a name: relative, without `..`, of sane length.
pub(super) fn components(name: &[u8]) -> Result<Vec<&str>, ArchiveError> {
    if name.len() > NAME_BYTES {
        return Err(ArchiveError::NameTooLong(NAME_BYTES));
    }
    let name = std::str::from_utf8(name).map_err(|_| ArchiveError::NameNotText)?;
    if name.chars().any(char::is_control) {
        return Err(ArchiveError::NameNotText);
    }
    if name.starts_with('/') {
        return Err(ArchiveError::Absolute(name.to_owned()));
    }
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(ArchiveError::Traversal(name.to_owned())),
            _ if part.len() > COMPONENT_BYTES => {
                return Err(ArchiveError::NameTooLong(COMPONENT_BYTES));
            }
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

/// Whether a link in a directory `depth` levels below the tree's root stays inside.
pub(super) fn stays_inside(target: &str, depth: usize) -> bool {
    if target.is_empty() || target.starts_with('/') || target.chars().any(char::is_control) {
        return false;
    }
    let mut climbed = 0;
    let mut descending = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if descending => return false,
            ".." => climbed += 1,
            _ => descending = true,
        }
    }
    climbed <= depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_may_climb_only_to_the_root() {
        let cases = [
            ("a", 0, true),
            ("../a", 0, false),
            ("../a", 1, true),
            ("../../a", 1, false),
            ("a/../b", 3, false),
            ("/a", 9, false),
            ("", 1, false),
            ("./../a", 1, true),
            ("..", 1, true),
            ("..", 0, false),
        ];
        for (target, depth, expected) in cases {
            assert_eq!(stays_inside(target, depth), expected, "{target} at {depth}");
        }
    }
}
