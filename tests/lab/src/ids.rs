//! Ids and randomness, reproducible by seed.

use std::sync::{Mutex, PoisonError};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// The lab's source of ids. Not for secrets: a seed makes it predictable on purpose.
#[derive(Debug)]
pub struct Ids(Mutex<ChaCha12Rng>);

impl Ids {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha12Rng::seed_from_u64(seed)))
    }

    /// `prefix-` and 17 hexadecimal digits, as EC2 makes them.
    pub fn ec2(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.hex(17))
    }

    /// That many hexadecimal digits.
    pub fn hex(&self, digits: usize) -> String {
        let mut bytes = vec![0; digits.div_ceil(2)];
        self.with(|rng| rng.fill_bytes(&mut bytes));
        let mut text = hex::encode(bytes);
        text.truncate(digits);
        text
    }

    /// A UUID, for request ids and activity ids.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.with(|rng| rng.fill_bytes(&mut bytes));
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&self) -> f64 {
        self.with(RngExt::random::<f64>)
    }

    fn with<T>(&self, use_rng: impl FnOnce(&mut ChaCha12Rng) -> T) -> T {
        use_rng(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
