//! The addresses of our instances, as a set: asked at every connection, made anew with every look.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::checks;
use crate::core::Look;

/// The set of the look that it was made from. A weak reference keeps that look's place in memory from
/// being used again, so that the comparison cannot be fooled.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<(Weak<Look>, HashSet<IpAddr>)>);

impl Addresses {
    /// Whether this look shows an instance of ours, pending or running, at the address.
    pub fn holds(&self, look: &Arc<Look>, address: IpAddr) -> bool {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(cached.0.as_ptr(), Arc::as_ptr(look)) {
            *cached = (
                Arc::downgrade(look),
                checks::addresses(&look.observed).collect(),
            );
        }
        cached.1.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use plan::observed::Instance;

    use super::*;

    fn look(state: &str) -> Arc<Look> {
        let instance = Instance {
            state: state.to_owned(),
            private_ip: Some("127.32.0.9".to_owned()),
            ..Instance::default()
        };
        let mut look = Look::default();
        look.observed.instances.insert("i-1".to_owned(), instance);
        Arc::new(look)
    }

    #[test]
    fn the_newest_look_counts() {
        let addresses = Addresses::default();
        let (ours, other) = ([127, 32, 0, 9].into(), [127, 32, 0, 10].into());
        let running = look("running");
        assert!(addresses.holds(&running, ours));
        assert!(!addresses.holds(&running, other));
        assert!(!addresses.holds(&look("stopped"), ours));
        assert!(addresses.holds(&look("pending"), ours));
        assert!(!addresses.holds(&Arc::default(), ours));
    }
}
