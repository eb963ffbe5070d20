//! Ids as Mattermost makes them.

use rand::RngExt;

/// The z-base-32 alphabet of Mattermost's ids.
const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

/// 26 random characters: 130 bits.
pub fn new_id() -> String {
    let mut rng = rand::rng();
    (0..26)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// Whether a text can be an id of an object; anything else in a URL or a body is refused.
pub fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_26_characters_and_differ() {
        let (one, two) = (new_id(), new_id());
        assert!(is_id(&one) && is_id(&two));
        assert_ne!(one, two);
        assert!(!is_id("short") && !is_id(&"!".repeat(26)));
    }
}
