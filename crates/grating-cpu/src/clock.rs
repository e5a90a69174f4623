//! What the CPU path spends its time on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grating_backend::OperationTimes;

/// Kinds of operations that are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Prepare,
    Linear,
    Attention,
    Norm,
    Rope,
    Activation,
}

/// As reports call them, in the order of [`Operation`].
const NAMES: [&str; 6] = ["prepare inputs", "linear", "attention", "norm", "rope", "activation"];

/// Adds up time, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Clock([AtomicU64; NAMES.len()]);

impl Clock {
    /// Runs `work` and counts its time as `operation`'s.
    pub(super) fn time<T>(&self, operation: Operation, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let nanoseconds = start.elapsed().as_nanos() as u64;
        self.0[operation as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    /// Operations follow one another; each is shared out over the threads by itself.
    pub(super) fn times(&self) -> OperationTimes {
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        NAMES.into_iter().zip(self.0.iter().map(time)).collect()
    }

    pub(super) fn reset(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_to_its_operation() {
        let clock = Clock::default();
        // What passes inside of the work is the least that the clock may count, on any machine.
        let inside = clock.time(Operation::Rope, || {
            let start = Instant::now();
            while start.elapsed().is_zero() {}
            start.elapsed()
        });
        for (name, time) in clock.times().iter() {
            assert_eq!(time >= inside, name == "rope", "{name}");
            assert_eq!(time.is_zero(), name != "rope", "{name}");
        }
        clock.reset();
        assert!(clock.times().iter().all(|(_, time)| time.is_zero()));
    }
}
