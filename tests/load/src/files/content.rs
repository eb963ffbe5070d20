//! What is in a file: pseudo-random bytes that follow from the run and the file's number.

use sha2::{Digest as _, Sha256};

use crate::options::FileOptions;

/// A file before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: [u8; 32],
}

impl Content {
    /// The file of a number. Sizes are spread evenly over their logarithm: most files of people are
    /// small. Each [`FileOptions::large_every`]-th is a large one.
    pub(crate) fn of(run: &str, number: u64, options: &FileOptions) -> Self {
        let digest: [u8; 32] = Sha256::digest(format!("{run} {number}")).into();
        let (seed, _) = digest
            .split_first_chunk()
            .expect("32 bytes are more than 8");
        let mut words = Words(u64::from_le_bytes(*seed));
        let chance = words.next() as f64 / u64::MAX as f64;
        let mut bytes = vec![0; size(number, chance, options)];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&words.next().to_le_bytes()[..chunk.len()]);
        }
        Self {
            name: format!("load-{run}-{number}.bin"),
            sha256: Sha256::digest(&bytes).into(),
            bytes,
        }
    }
}

/// SplitMix64: bytes that no compression shortens, at little cost even in a program that is not
/// optimised; secrets they are not.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// `chance` in `0.0..=1.0` decides between the smallest and the largest.
fn size(number: u64, chance: f64, options: &FileOptions) -> usize {
    let every = options.large_every;
    if every > 0 && number % every == every - 1 {
        return options.large;
    }
    let (low, high) = (
        (options.smallest as f64).ln(),
        (options.largest as f64).ln(),
    );
    let size = (low + (high - low) * chance).exp() as usize;
    size.clamp(options.smallest, options.largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_content_and_every_run_its_own() {
        let options = FileOptions::default();
        let one = Content::of("aa", 3, &options);
        assert_eq!(one, Content::of("aa", 3, &options));
        assert_ne!(one.sha256, Content::of("aa", 4, &options).sha256);
        assert_ne!(one.sha256, Content::of("ab", 3, &options).sha256);
    }

    #[test]
    fn words_are_those_of_the_published_generator() {
        let mut words = Words(1_234_567);
        assert_eq!(words.next(), 6_457_827_717_110_365_317);
        assert_eq!(words.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn sizes_lie_within_their_bounds_and_one_in_a_while_is_large() {
        let options = FileOptions::default();
        let sizes: Vec<usize> = (0..options.large_every)
            .map(|number| size(number, number as f64 / 25.0, &options))
            .collect();
        let (large, others) = sizes.split_last().unwrap();
        assert_eq!(*large, options.large);
        assert!(
            others
                .iter()
                .all(|size| (options.smallest..=options.largest).contains(size)),
            "{others:?}"
        );
        assert_eq!(others.iter().filter(|size| **size < 20_000).count(), 13);
    }
}
