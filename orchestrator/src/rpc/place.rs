//! Where the instance of a certificate is, by the newest look. A certificate is worth something only at the
//! address of a running instance of ours: positive proof, not the absence of a revocation.

use std::net::IpAddr;

use super::checks::runs;
use super::denied::Denied;
use crate::core::Look;

/// Reads of a look without which nothing is known of an instance.
const READS: [&str; 2] = ["instances", "groups"];

/// What was seen of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A running instance of one of our groups, at this address.
    Ours,
    /// EC2 or Auto Scaling could not be read, or nobody has looked yet.
    Unread,
    /// It is not.
    NotOurs(Denied),
}

/// Of this instance, for a caller at this address.
pub fn of(look: &Look, instance: &str, source: IpAddr) -> Place {
    let seen = &look.observed;
    if look.at.is_none() || READS.iter().any(|read| seen.unknown.contains_key(*read)) {
        return Place::Unread;
    }
    let member = seen
        .groups
        .values()
        .any(|group| group.members.contains_key(instance));
    let found = seen.instances.get(instance).filter(|found| runs(found));
    let Some(found) = found.filter(|_| member) else {
        return Place::NotOurs(Denied::CertificateInstance);
    };
    let address = found.private_ip.as_ref().and_then(|ip| ip.parse().ok());
    if address != Some(source) {
        return Place::NotOurs(Denied::CertificateAddress);
    }
    Place::Ours
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use plan::observed::{Group, Instance, Member};

    use super::*;

    const ID: &str = "i-1";

    fn look(state: &str) -> Look {
        let mut look = Look {
            at: Some(Timestamp::UNIX_EPOCH),
            ..Look::default()
        };
        let instance = Instance {
            state: state.to_owned(),
            private_ip: Some("10.0.0.7".to_owned()),
            ..Instance::default()
        };
        look.observed.instances.insert(ID.to_owned(), instance);
        let mut group = Group::default();
        group.members.insert(ID.to_owned(), Member::default());
        look.observed.groups.insert("chat-g1".to_owned(), group);
        look
    }

    #[test]
    fn only_a_running_member_at_its_own_address_is_ours() {
        let (own, other) = ([10, 0, 0, 7].into(), [10, 0, 0, 8].into());
        let instance = Place::NotOurs(Denied::CertificateInstance);
        assert_eq!(of(&look("running"), ID, own), Place::Ours);
        assert_eq!(of(&look("pending"), ID, own), Place::Ours);
        for state in ["stopping", "stopped", "shutting-down", "terminated", ""] {
            assert_eq!(of(&look(state), ID, own), instance, "{state}");
        }
        assert_eq!(
            of(&look("running"), ID, other),
            Place::NotOurs(Denied::CertificateAddress)
        );
        assert_eq!(of(&look("running"), "i-2", own), instance);
        let mut detached = look("running");
        detached.observed.groups.clear();
        assert_eq!(of(&detached, ID, own), instance);
    }

    #[test]
    fn what_was_not_read_says_nothing() {
        let own = [10, 0, 0, 7].into();
        for read in READS {
            let mut look = look("running");
            look.observed.instances.clear();
            let unknown = &mut look.observed.unknown;
            unknown.insert(read.to_owned(), "throttled".to_owned());
            assert_eq!(of(&look, ID, own), Place::Unread, "{read}");
        }
        assert_eq!(of(&Look::default(), ID, own), Place::Unread);
    }
}
