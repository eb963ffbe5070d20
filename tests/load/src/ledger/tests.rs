//! What the ledger counts.

use proptest::prelude::*;

use super::*;

#[test]
fn a_message_is_settled_when_all_others_saw_it() {
    let mut ledger = Ledger::new(3, 100);
    let marker = ledger.send(0, 10);
    assert_eq!(
        ledger.see(marker, 1, "p", Via::Socket, 20),
        Sighting::First(10)
    );
    ledger.acknowledge(marker, "p");
    assert!(!ledger.is_settled());
    assert_eq!(
        (
            ledger.totals().outstanding,
            ledger.overdue(50),
            ledger.overdue(200)
        ),
        (1, 0, 1)
    );
    assert_eq!(ledger.examples(5), [(marker, vec![2])]);
    assert_eq!(
        ledger.see(marker, 2, "p", Via::Since, 500),
        Sighting::First(490)
    );
    assert!(ledger.is_settled());
    let totals = ledger.totals();
    assert_eq!((totals.pushed, totals.caught_up, totals.late), (1, 1, 0));
    assert_eq!(ledger.see(marker, 2, "p", Via::Since, 600), Sighting::Again);
    assert_eq!(ledger.totals().redelivered, 0);
    assert_eq!(
        ledger.see(marker, 2, "p", Via::Socket, 600),
        Sighting::Again
    );
    assert_eq!(ledger.totals().redelivered, 1);
}

#[test]
fn a_second_post_id_is_one_duplicate_however_often_it_is_seen() {
    for settled_first in [false, true] {
        let mut ledger = Ledger::new(2, 100);
        let marker = ledger.send(0, 0);
        ledger.acknowledge(marker, "a");
        if settled_first {
            ledger.see(marker, 1, "a", Via::Socket, 1);
        }
        assert_eq!(
            ledger.see(marker, 1, "b", Via::Socket, 2),
            Sighting::Duplicate
        );
        assert_eq!(
            ledger.see(marker, 1, "b", Via::Since, 3),
            Sighting::Duplicate
        );
        assert_eq!(ledger.totals().duplicated, 1);
    }
}

#[test]
fn a_copy_is_as_good_as_the_message_and_the_senders_own_push_may_come_last() {
    let mut ledger = Ledger::new(2, 100);
    let marker = ledger.send(0, 0);
    ledger.acknowledge(marker, "a");
    assert_eq!(
        ledger.see(marker, 1, "b", Via::Since, 1),
        Sighting::Duplicate
    );
    assert!(ledger.is_settled(), "twice is not lost");
    assert_eq!(
        ledger.see(marker, 0, "a", Via::Socket, 5),
        Sighting::First(5)
    );
    assert_eq!(ledger.totals().redelivered, 0);
    assert_eq!(ledger.see(marker, 0, "a", Via::Socket, 6), Sighting::Again);
    assert_eq!(ledger.totals().redelivered, 1);
}

#[test]
fn late_counts_only_what_was_pushed() {
    let mut ledger = Ledger::new(3, 100);
    let marker = ledger.send(0, 0);
    ledger.see(marker, 1, "p", Via::Socket, 101);
    ledger.see(marker, 2, "p", Via::Since, 9000);
    assert_eq!(ledger.totals().late, 1);
}

#[test]
fn nobody_is_owed_an_abandoned_message() {
    let mut ledger = Ledger::new(2, 100);
    let marker = ledger.send(0, 0);
    assert!(!ledger.is_settled(), "still being sent");
    ledger.abandon(marker);
    assert!(ledger.is_settled());
    let totals = ledger.totals();
    assert_eq!((totals.abandoned, totals.outstanding), (1, 0));
    assert_eq!(ledger.see(7, 1, "p", Via::Socket, 1), Sighting::Unknown);
}

proptest! {
    /// Whatever the order of acknowledgements and sightings, what is counted adds up.
    #[test]
    fn deliveries_add_up(
        clients in 1_usize..80,
        steps in prop::collection::vec((0_u64..6, 0_usize..80, any::<bool>(), any::<bool>()), 0..200),
    ) {
        let mut ledger = Ledger::new(clients, 50);
        for marker in 0..6_usize {
            ledger.send(marker % clients, 0);
        }
        for (marker, client, acknowledge, fetched) in steps {
            if acknowledge {
                ledger.acknowledge(marker, &marker.to_string());
            } else {
                let via = if fetched { Via::Since } else { Via::Socket };
                ledger.see(marker, client % clients, &marker.to_string(), via, 1);
            }
        }
        let before = ledger.totals();
        for marker in 0..6_u64 {
            ledger.acknowledge(marker, &marker.to_string());
        }
        let totals = ledger.totals();
        prop_assert_eq!(totals.acknowledged, 6);
        prop_assert_eq!(totals.duplicated, 0);
        prop_assert_eq!(totals.pushed + totals.caught_up + totals.outstanding_deliveries, 6 * (clients as u64 - 1));
        prop_assert!(before.outstanding <= totals.outstanding);
        prop_assert_eq!(ledger.is_settled(), totals.outstanding == 0);
        prop_assert_eq!(ledger.acknowledged(), (0..6).collect::<Vec<u64>>());
    }
}
