//! Who sent what and who saw it. Pure: time comes in as milliseconds since the run's start.
//!
//! A message is known by its marker, a number in its text. Each marker should have one post id and
//! be seen by every client but its sender; the ledger tells lost, late and duplicated from that.
//! A message that is settled (acknowledged, seen by all) shrinks to its post id.

use std::collections::{BTreeMap, BTreeSet};

/// How a message came to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Pushed over the WebSocket.
    Socket,
    /// Fetched with `posts?since` after a reconnect.
    Since,
}

/// What a sighting was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// First time on this client; so many milliseconds after it was sent.
    First(u64),
    /// Again on this client, the same post.
    Again,
    /// The message's second post id: a duplicate, counted once a message.
    Duplicate,
    /// No message of this run.
    Unknown,
}

#[derive(Clone, Debug)]
struct Open {
    sender: usize,
    sent_at: u64,
    acknowledged: bool,
    abandoned: bool,
    post_id: Option<Box<str>>,
    seen: Vec<u64>,
    missing: usize,
}

/// A message that is acknowledged and seen by all others.
#[derive(Clone, Debug)]
struct Settled {
    post_id: Box<str>,
    sent_at: u64,
    /// Its sender, when its own push is still on the way.
    unseen_by: Option<usize>,
}

/// Counts over all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages whose sending began.
    pub(crate) sent: u64,
    /// Messages that the server acknowledged.
    pub(crate) acknowledged: u64,
    /// Messages given up by their sender without an acknowledgement.
    pub(crate) abandoned: u64,
    /// First sightings over a WebSocket.
    pub(crate) pushed: u64,
    /// First sightings by `posts?since`.
    pub(crate) caught_up: u64,
    /// Pushed later than the limit.
    pub(crate) late: u64,
    /// Messages with more than one post id.
    pub(crate) duplicated: u64,
    /// Pushed again on the same client.
    pub(crate) redelivered: u64,
    /// Acknowledged messages that some client has not seen yet.
    pub(crate) outstanding: u64,
    /// The pairs of message and client behind that.
    pub(crate) outstanding_deliveries: u64,
}

/// The book.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    clients: usize,
    late_after: u64,
    open: BTreeMap<u64, Open>,
    settled: BTreeMap<u64, Settled>,
    duplicates: BTreeSet<u64>,
    totals: Totals,
    next: u64,
}

impl Ledger {
    /// For so many clients; `late_after` in milliseconds.
    pub(crate) fn new(clients: usize, late_after: u64) -> Self {
        Self {
            clients,
            late_after,
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
            duplicates: BTreeSet::new(),
            totals: Totals::default(),
            next: 0,
        }
    }

    /// A message begins; answers its marker.
    pub(crate) fn send(&mut self, sender: usize, now: u64) -> u64 {
        let marker = self.next;
        self.next += 1;
        self.totals.sent += 1;
        let message = Open {
            sender,
            sent_at: now,
            acknowledged: false,
            abandoned: false,
            post_id: None,
            seen: vec![0; self.clients.div_ceil(64)],
            missing: self.clients.saturating_sub(1),
        };
        self.open.insert(marker, message);
        marker
    }

    /// The server acknowledged it.
    pub(crate) fn acknowledge(&mut self, marker: u64, post_id: &str) {
        self.identify(marker, post_id);
        if let Some(message) = self.open.get_mut(&marker)
            && !message.acknowledged
        {
            message.acknowledged = true;
            self.totals.acknowledged += 1;
        }
        self.settle(marker);
    }

    /// Its sender gave up: nobody is owed it.
    pub(crate) fn abandon(&mut self, marker: u64) {
        if let Some(message) = self.open.get_mut(&marker)
            && !message.acknowledged
        {
            message.abandoned = true;
            self.totals.abandoned += 1;
        }
    }

    /// A client saw it.
    pub(crate) fn see(
        &mut self,
        marker: u64,
        client: usize,
        post_id: &str,
        via: Via,
        now: u64,
    ) -> Sighting {
        if marker >= self.next || client >= self.clients {
            return Sighting::Unknown;
        }
        let duplicate = self.identify(marker, post_id);
        let first = self.first(marker, client, via, now);
        match (duplicate, first) {
            (true, _) => Sighting::Duplicate,
            (false, Some(delay)) => Sighting::First(delay),
            (false, None) => {
                // Fetching may well show what was pushed before; pushing twice is the server's fault.
                if via == Via::Socket {
                    self.totals.redelivered += 1;
                }
                Sighting::Again
            }
        }
    }

    /// Notes that a client has a message, by whichever of its post ids; the delay if it had not yet.
    fn first(&mut self, marker: u64, client: usize, via: Via, now: u64) -> Option<u64> {
        let Some(message) = self.open.get_mut(&marker) else {
            // Settled: all but perhaps its sender have it.
            let settled = self.settled.get_mut(&marker)?;
            let sender = settled.unseen_by.take_if(|sender| *sender == client);
            return sender.map(|_| now.saturating_sub(settled.sent_at));
        };
        let (word, bit) = (client / 64, 1_u64 << (client % 64));
        if message.seen[word] & bit != 0 {
            return None;
        }
        message.seen[word] |= bit;
        let delay = now.saturating_sub(message.sent_at);
        if client != message.sender {
            message.missing -= 1;
            match via {
                Via::Socket => self.totals.pushed += 1,
                Via::Since => self.totals.caught_up += 1,
            }
            if via == Via::Socket && delay > self.late_after {
                self.totals.late += 1;
            }
        }
        self.settle(marker);
        Some(delay)
    }

    /// Binds the marker to a post id; says whether it already had another one.
    fn identify(&mut self, marker: u64, post_id: &str) -> bool {
        let known = match self.open.get_mut(&marker) {
            Some(message) => message.post_id.get_or_insert_with(|| post_id.into()),
            None => match self.settled.get_mut(&marker) {
                Some(settled) => &mut settled.post_id,
                None => return false,
            },
        };
        if **known == *post_id {
            return false;
        }
        if self.duplicates.insert(marker) {
            self.totals.duplicated += 1;
        }
        true
    }

    fn settle(&mut self, marker: u64) {
        let done = self
            .open
            .get(&marker)
            .is_some_and(|message| message.acknowledged && message.missing == 0);
        if done
            && let Some(message) = self.open.remove(&marker)
            && let Some(post_id) = message.post_id
        {
            let (word, bit) = (message.sender / 64, 1_u64 << (message.sender % 64));
            let settled = Settled {
                post_id,
                sent_at: message.sent_at,
                unseen_by: (message.seen[word] & bit == 0).then_some(message.sender),
            };
            self.settled.insert(marker, settled);
        }
    }

    /// Whether nothing is outstanding.
    pub(crate) fn is_settled(&self) -> bool {
        self.open
            .values()
            .all(|message| message.abandoned || (message.acknowledged && message.missing == 0))
    }

    /// The counts now.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.totals;
        for message in self.open.values() {
            if message.acknowledged && message.missing > 0 {
                totals.outstanding += 1;
                totals.outstanding_deliveries += message.missing as u64;
            }
        }
        totals
    }

    /// Acknowledged messages that have been outstanding for longer than the late limit.
    pub(crate) fn overdue(&self, now: u64) -> u64 {
        let overdue = self.open.values().filter(|message| {
            message.acknowledged
                && message.missing > 0
                && now.saturating_sub(message.sent_at) > self.late_after
        });
        overdue.count() as u64
    }

    /// Every acknowledged message's marker.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        let open = self.open.iter();
        let open = open.filter(|(_, message)| message.acknowledged);
        let mut markers: Vec<u64> = open
            .map(|(marker, _)| *marker)
            .chain(self.settled.keys().copied())
            .collect();
        markers.sort_unstable();
        markers
    }

    /// Some of what is outstanding, for people: marker and the clients that lack it.
    pub(crate) fn examples(&self, limit: usize) -> Vec<(u64, Vec<usize>)> {
        let open = self.open.iter();
        let open = open.filter(|(_, message)| message.acknowledged && message.missing > 0);
        open.take(limit)
            .map(|(marker, message)| {
                let lacks = (0..self.clients).filter(|client| {
                    *client != message.sender
                        && message.seen[client / 64] & (1 << (client % 64)) == 0
                });
                (*marker, lacks.take(limit).collect())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
