//! Threads that stay awake between operations.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::Yield;

/// Who finds nothing to do for so long goes to sleep: a wait for weights or for the disk is longer, the time between two
/// operations far shorter.
const PATIENCE: Duration = Duration::from_micros(200);

/// Runs `work`, whose operations follow each other closely, while the other threads of the current pool look for their share
/// of the next one instead of going to sleep after each. To wake a thread takes as long as a small operation.
///
/// Nobody waits for those threads: what they find may be another caller's, and last longer than this work.
pub(crate) fn while_running<R>(work: impl FnOnce() -> R) -> R {
    if rayon::current_num_threads() == 1 {
        return work();
    }
    let caller = rayon::current_thread_index();
    let running = Arc::new(());
    let seen = Arc::downgrade(&running);
    rayon::spawn_broadcast(move |thread| {
        if Some(thread.index()) != caller {
            wait(|| seen.strong_count() == 0);
        }
    });
    // It is dropped behind the work, also when that panics.
    let _running = running;
    work()
}

/// Takes part in what other threads share out until the work has ended, or nothing has come for long.
fn wait(ended: impl Fn() -> bool) {
    let mut since = Instant::now();
    while !ended() && since.elapsed() < PATIENCE {
        match rayon::yield_now() {
            Some(Yield::Executed) => since = Instant::now(),
            _ => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_shared_out_as_without_and_a_panic_comes_through() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let operation = || (0..1000).into_par_iter().map(|i| i % 7).sum::<usize>();
            let sum = pool.install(|| while_running(|| operation() + operation()));
            assert_eq!(sum, 2 * 2997);
            // From a thread of no pool, and one within the other.
            assert_eq!(while_running(|| while_running(operation)), 2997);
            let panics = || pool.install(|| while_running(|| -> usize { panic!("of the work") }));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            assert_eq!(pool.install(operation), 2997, "the pool goes on");
        }
    }

    #[test]
    fn nobody_waits_for_what_another_caller_has_a_thread_do() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let (end, ends) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        pool.install(move || {
            while_running(move || {
                // The other thread takes it on, and is held until this work has ended.
                rayon::spawn(move || {
                    begun.send(()).unwrap();
                    ends.recv().unwrap();
                });
                begins.recv().unwrap();
            });
        });
        end.send(()).unwrap();
    }

    #[test]
    fn threads_without_work_go_to_sleep() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let waited = AtomicUsize::new(0);
        pool.scope(|scope| {
            scope.spawn(|_| {
                // Nobody says that it has ended.
                wait(|| false);
                waited.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(waited.into_inner(), 1);
    }
}
