//! Client tokens: the same request from two executors, or repeated after a lost answer, is one request to AWS.

use sha2::{Digest, Sha256};

/// 64 hexadecimal digits (AWS allows 64 at most, Secrets Manager 32 at least) from the parts, each
/// with its length before it, so that no two lists of parts read the same.
pub(crate) fn client_token(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::client_token;

    #[test]
    fn the_same_parts_make_the_same_token_and_no_others() {
        let token = client_token(&["stack", "ab", "c"]);
        assert_eq!(token, client_token(&["stack", "ab", "c"]));
        assert_ne!(token, client_token(&["stack", "a", "bc"]));
        assert_ne!(token, client_token(&["stack", "abc"]));
        assert_eq!(token.len(), 64);
    }
}
