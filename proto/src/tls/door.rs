//! Who may take a place at a server's port: connections are bounded in all, by source, and for
//! sources that nobody knows.
//!
//! ```text
//!   accept --> a place? --no--> closed at once, counted
//!                | yes
//!            hand-shake --showed a good certificate--> no stranger any more
//! ```
//!
//! Invariant: strangers together never hold more than their share, so that a flood from anywhere
//! leaves room for the sources that are known, and for whoever shows a certificate. Of one source, too:
//! who has shown no certificate makes room, the oldest first, so that code on a node cannot keep the
//! node's agent out.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::CertificateError;
use tokio::sync::Notify;

/// Why a connection was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Turned {
    /// This source holds as many connections as one may: its oldest without a certificate made room for a
    /// new one, or it has too many with one.
    #[error("connections_of_source")]
    Source,
    /// Sources that are not known hold as many connections as they may together.
    #[error("connections_of_strangers")]
    Strangers,
    /// The server is full.
    #[error("connections")]
    Full,
    /// The hand-shake took too long.
    #[error("tls_slow")]
    Slow,
    /// A certificate of a CA that is not trusted here.
    #[error("tls_unknown_ca")]
    UnknownCa,
    /// A certificate that has expired.
    #[error("tls_expired")]
    Expired,
    /// A certificate that is not valid yet.
    #[error("tls_not_yet_valid")]
    NotYetValid,
    /// A certificate that cannot be used for another reason: purpose, signature, form.
    #[error("tls_certificate")]
    Certificate,
    /// No TLS 1.3 hand-shake came about.
    #[error("tls_hand_shake")]
    HandShake,
}

impl Turned {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Source,
        Self::Strangers,
        Self::Full,
        Self::Slow,
        Self::UnknownCa,
        Self::Expired,
        Self::NotYetValid,
        Self::Certificate,
        Self::HandShake,
    ];

    /// What a failed hand-shake means.
    pub(super) fn of(error: &std::io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(reason)) => match reason {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownCa,
                _ => Self::Certificate,
            },
            Some(rustls::Error::NoCertificatesPresented) => Self::Certificate,
            _ => Self::HandShake,
        }
    }
}

/// How many connections there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A hand-shake is two round trips and one signature; what takes longer is not worth a place.
    pub hand_shake: Duration,
    /// Connections in all; well under the unit's 65,536 descriptors.
    pub connections: usize,
    /// Connections of one source that showed a certificate, and as many that have not (yet). A node holds one,
    /// two while it renews, a few while it comes back.
    pub of_source: usize,
    /// Connections of all sources together that are neither known nor showed a certificate.
    pub of_strangers: usize,
    /// How long a connection without a certificate may last: an enrolment takes at most the nonce's
    /// minute and the half minute until EC2 shows the instance.
    pub anonymous: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            hand_shake: Duration::from_secs(5),
            connections: 32_768,
            of_source: 32,
            of_strangers: 1024,
            anonymous: Duration::from_secs(120),
        }
    }
}

/// Whom the door knows, and who is told what happens at it.
pub trait Keeper: Send + Sync + 'static {
    /// Whether a source is one of ours; asked at every connection.
    fn knows(&self, source: IpAddr) -> bool;
    /// A connection was not served.
    fn refused(&self, why: Turned, source: IpAddr);
    /// So many connections are held now.
    fn holds(&self, connections: usize);
}

/// Knows nobody, counts nothing.
impl Keeper for () {
    fn knows(&self, _: IpAddr) -> bool {
        false
    }

    fn refused(&self, _: Turned, _: IpAddr) {}

    fn holds(&self, _: usize) {}
}

#[derive(Default)]
struct Taken {
    all: usize,
    strangers: usize,
    by_source: HashMap<IpAddr, Source>,
    next: u64,
}

/// The connections of one source.
#[derive(Default)]
struct Source {
    /// Without a certificate, or not known yet: the oldest first, each with whom to tell that it made room.
    unproven: VecDeque<(u64, Arc<Notify>)>,
    proven: usize,
}

impl Source {
    /// Takes the place out; false: it was taken before.
    fn take(&mut self, number: u64) -> bool {
        let before = self.unproven.len();
        self.unproven.retain(|(other, _)| *other != number);
        self.unproven.len() < before
    }
}

struct Inner {
    bounds: Bounds,
    keeper: Box<dyn Keeper>,
    taken: Mutex<Taken>,
}

/// Hands out places. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("bounds", &self.0.bounds)
            .finish_non_exhaustive()
    }
}

impl Default for Door {
    /// With the usual bounds; nobody is known, nobody counts.
    fn default() -> Self {
        Self::new(Bounds::default(), ())
    }
}

impl Door {
    /// With these bounds.
    pub fn new(bounds: Bounds, keeper: impl Keeper) -> Self {
        Self(Arc::new(Inner {
            bounds,
            keeper: Box::new(keeper),
            taken: Mutex::default(),
        }))
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    pub(super) fn turn_away(&self, why: Turned, source: IpAddr) {
        self.0.keeper.refused(why, source);
    }

    /// A place, or why there is none. The oldest connection of the source that showed no certificate makes
    /// room for it when the source has no other.
    pub(super) fn enter(&self, source: IpAddr) -> Result<Place, Turned> {
        let stranger = !self.0.keeper.knows(source);
        let bounds = self.0.bounds;
        let mut taken = self.taken();
        if taken.all >= bounds.connections {
            return Err(Turned::Full);
        }
        if stranger && taken.strangers >= bounds.of_strangers {
            return Err(Turned::Strangers);
        }
        let number = taken.next;
        taken.next += 1;
        taken.all += 1;
        taken.strangers += usize::from(stranger);
        let displaced = Arc::new(Notify::new());
        let own = taken.by_source.entry(source).or_default();
        own.unproven.push_back((number, Arc::clone(&displaced)));
        let oldest = (own.unproven.len() > bounds.of_source)
            .then(|| own.unproven.pop_front())
            .flatten();
        self.0.keeper.holds(taken.all);
        drop(taken);
        if let Some((_, oldest)) = oldest {
            oldest.notify_one();
        }
        Ok(Place {
            door: self.clone(),
            source,
            number,
            stranger,
            proven: false,
            displaced,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A taken place; dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    door: Door,
    source: IpAddr,
    number: u64,
    stranger: bool,
    proven: bool,
    displaced: Arc<Notify>,
}

impl Place {
    /// Ends when the place was given to a newer connection of the source.
    pub(super) fn displaced(&self) -> Displaced {
        let displaced = Arc::clone(&self.displaced);
        Box::pin(async move { displaced.notified().await })
    }

    /// It showed a certificate: no stranger any more, and it makes room for nobody.
    pub(super) fn prove(&mut self) -> Result<(), Turned> {
        let of_source = self.door.0.bounds.of_source;
        let mut taken = self.door.taken();
        let own = taken.by_source.entry(self.source).or_default();
        if own.proven >= of_source || !own.take(self.number) {
            return Err(Turned::Source);
        }
        own.proven += 1;
        taken.strangers -= usize::from(self.stranger);
        drop(taken);
        (self.proven, self.stranger) = (true, false);
        Ok(())
    }
}

/// See [`Place::displaced`].
pub(super) type Displaced = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.door.taken();
        taken.all -= 1;
        taken.strangers -= usize::from(self.stranger);
        if let Some(own) = taken.by_source.get_mut(&self.source) {
            if self.proven {
                own.proven -= 1;
            } else {
                own.take(self.number);
            }
            if own.proven == 0 && own.unproven.is_empty() {
                taken.by_source.remove(&self.source);
            }
        }
        self.door.0.keeper.holds(taken.all);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn door() -> Door {
        let bounds = Bounds {
            connections: 6,
            of_source: 2,
            of_strangers: 3,
            ..Bounds::default()
        };
        Door::new(bounds, Ours)
    }

    struct Ours;

    impl Keeper for Ours {
        fn knows(&self, source: IpAddr) -> bool {
            source == address(9) || source == address(8)
        }

        fn refused(&self, _: Turned, _: IpAddr) {}

        fn holds(&self, _: usize) {}
    }

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    /// Whether the place was given to another one.
    fn is_displaced(place: &Place) -> bool {
        place.displaced().now_or_never().is_some()
    }

    #[test]
    fn strangers_leave_room_for_the_known() {
        let door = door();
        let held: Vec<Place> = [1, 1, 2]
            .map(|last| door.enter(address(last)).unwrap())
            .into();
        assert_eq!(door.enter(address(3)).unwrap_err(), Turned::Strangers);
        let ours = [9, 9, 8].map(|last| door.enter(address(last)).unwrap());
        assert_eq!(door.enter(address(8)).unwrap_err(), Turned::Full);
        drop(held);
        let mut place = door.enter(address(3)).unwrap();
        drop(ours);
        place.prove().unwrap();
        let more: Vec<Place> = [1, 1, 2]
            .map(|last| door.enter(address(last)).unwrap())
            .into();
        assert_eq!(door.enter(address(4)).unwrap_err(), Turned::Strangers);
        drop((place, more));
        let taken = door.0.taken.lock().unwrap();
        assert_eq!(
            (taken.all, taken.strangers, taken.by_source.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn the_oldest_without_a_certificate_makes_room_for_its_own_source() {
        let door = door();
        let mut proven = door.enter(address(9)).unwrap();
        proven.prove().unwrap();
        let first = door.enter(address(9)).unwrap();
        let second = door.enter(address(9)).unwrap();
        let other = door.enter(address(8)).unwrap();
        assert!(!is_displaced(&first));
        let mut third = door.enter(address(9)).unwrap();
        assert!(is_displaced(&first));
        assert!(
            ![&second, &third, &proven, &other]
                .into_iter()
                .any(is_displaced)
        );
        third.prove().unwrap();
        let mut fourth = door.enter(address(9)).unwrap();
        assert!(!is_displaced(&second), "there was room again");
        assert_eq!(fourth.prove(), Err(Turned::Source), "two are enough");
        drop(first);
        let mut late = door.enter(address(9)).unwrap();
        assert!(is_displaced(&second));
        drop((second, third, fourth));
        late.prove().unwrap();
        drop((late, proven, other));
        let taken = door.0.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_source.len()), (0, 0));
    }
}
