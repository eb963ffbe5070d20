//! The lab's one clock.
//!
//! Time-*stamps* are always wall-clock time, so that signatures, certificates and a client's `now()`
//! agree with what the lab says. *Durations* are what the clock scales: a wait that takes AWS five
//! minutes takes `5 min / speed` here. Every state machine in the lab advances by [`Clock::sleep`];
//! no describe call ever advances one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// A scalable clock. Cheap to clone; all clones share the speed.
#[derive(Clone, Debug)]
pub struct Clock {
    speed: watch::Sender<f64>,
    stretch: Arc<Mutex<Stretch>>,
    made: Instant,
}

/// The time since the speed last changed, and what had passed before it.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    before: Duration,
    began: Instant,
    speed: f64,
}

impl Clock {
    /// `speed` is lab seconds per real second; 1.0 is what AWS really takes.
    pub fn new(speed: f64) -> Self {
        let speed = speed.max(0.001);
        Self {
            speed: watch::Sender::new(speed),
            stretch: Arc::new(Mutex::new(Stretch {
                before: Duration::ZERO,
                began: Instant::now(),
                speed,
            })),
            made: Instant::now(),
        }
    }

    /// The present moment (wall clock, never scaled).
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the lab's one door for time"
    )]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Lab seconds per real second.
    pub fn speed(&self) -> f64 {
        *self.speed.borrow()
    }

    /// Changes the speed; waits under way continue with what is left of them at the new speed.
    pub fn set_speed(&self, speed: f64) {
        let speed = speed.max(0.001);
        let mut stretch = self.stretch.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = stretch.began.elapsed().mul_f64(stretch.speed);
        *stretch = Stretch {
            before: stretch.before + passed,
            began: Instant::now(),
            speed,
        };
        self.speed.send_replace(speed);
    }

    /// Lab time since the clock was made. Never jumps when the speed changes, so that a deadline in
    /// lab time can be kept across a change; [`Clock::elapsed`] takes the present speed for the past too.
    pub fn lab_time(&self) -> Duration {
        let stretch = *self.stretch.lock().unwrap_or_else(PoisonError::into_inner);
        stretch.before + stretch.began.elapsed().mul_f64(stretch.speed)
    }

    /// Real time since the clock was made.
    pub fn real_time(&self) -> Duration {
        self.made.elapsed()
    }

    /// The real duration that `lab` takes at the present speed.
    pub fn real(&self, lab: Duration) -> Duration {
        lab.div_f64(self.speed())
    }

    /// The lab duration that has passed since `start` (a wall-clock time-stamp) at the present speed.
    pub fn elapsed(&self, start: Timestamp) -> Duration {
        let real = self.now().duration_since(start);
        Duration::try_from(real)
            .unwrap_or(Duration::ZERO)
            .mul_f64(self.speed())
    }

    /// Waits for `lab` of lab time. Cancel-safe.
    pub async fn sleep(&self, lab: Duration) {
        let mut changes = self.speed.subscribe();
        let mut left = lab;
        while !left.is_zero() {
            let speed = *changes.borrow_and_update();
            let began = tokio::time::Instant::now();
            tokio::select! {
                () = tokio::time::sleep(left.div_f64(speed)) => return,
                _ = changes.changed() => left = left.saturating_sub(began.elapsed().mul_f64(speed)),
            }
        }
    }
}
