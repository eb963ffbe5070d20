//! Smooth weighted round robin: over any stretch of picks each option gets its share, interleaved.

use std::collections::BTreeMap;

/// Whose turn it is. Deterministic: the same options picked n times give the same sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Smooth<K> {
    credit: BTreeMap<K, i64>,
}

impl<K> Default for Smooth<K> {
    fn default() -> Self {
        Self {
            credit: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Smooth<K> {
    /// The next of `options` with their weights; none when all weights are 0. Options that are no
    /// longer offered are forgotten.
    pub fn pick(&mut self, options: &[(K, u32)]) -> Option<K> {
        self.credit
            .retain(|key, _| options.iter().any(|(option, _)| option == key));
        let total: i64 = options.iter().map(|(_, weight)| i64::from(*weight)).sum();
        for (key, weight) in options {
            *self.credit.entry(key.clone()).or_default() += i64::from(*weight);
        }
        // The first of the richest; `max_by_key` would give the last.
        let chosen = options
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .rev()
            .max_by_key(|(key, _)| self.credit.get(key).copied().unwrap_or_default())
            .map(|(key, _)| key.clone())?;
        *self.credit.entry(chosen.clone()).or_default() -= total;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence(options: &[(char, u32)], picks: usize) -> String {
        let mut turn = Smooth::default();
        (0..picks).filter_map(|_| turn.pick(options)).collect()
    }

    #[test]
    fn weights_interleave() {
        assert_eq!(sequence(&[('a', 5), ('b', 1), ('c', 1)], 7), "aabacaa");
        assert_eq!(sequence(&[('a', 1), ('b', 1)], 4), "abab");
        assert_eq!(sequence(&[('a', 0), ('b', 3)], 3), "bbb");
        assert_eq!(sequence(&[('a', 0), ('b', 0)], 3), "");
    }

    #[test]
    fn a_changed_weight_counts_at_once() {
        let mut turn = Smooth::default();
        for _ in 0..1000 {
            turn.pick(&[('a', 90), ('b', 10)]);
        }
        assert!((0..100).all(|_| turn.pick(&[('a', 0), ('b', 100)]) == Some('b')));
    }

    proptest! {
        #[test]
        fn a_whole_round_gives_every_option_its_weight(weights in prop::collection::vec(0_u32..20, 1..6)) {
            let options: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
            let total: u32 = weights.iter().sum();
            let mut turn = Smooth::default();
            let mut seen = vec![0; weights.len()];
            for _ in 0..total {
                seen[turn.pick(&options).expect("a weight is above 0")] += 1;
            }
            prop_assert_eq!(seen, weights);
        }
    }
}
