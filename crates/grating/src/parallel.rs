//! Work on many things by the calling thread and those of a pool, which may be busy.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::ThreadPool;

use crate::token_room::Who;

/// Things that are taken at a time: few enough that the last ones to finish are not waited for long.
const BATCH: usize = 16;

/// What `make` makes of each of `things`, in their order.
///
/// The calling thread works itself, so that one which is alone in the pool and waits for a disk holds nobody up: that
/// is what a parallel iterator would do, which runs on the pool's threads alone. Those of the pool are helpers, which
/// may leave a thing to the calling thread by making nothing of it; they help no further then.
///
/// # Errors
/// That of the first thing, of those that were tried, for which there is one.
pub(crate) fn map<T: Sync, R: Send, E: Send>(
    pool: &ThreadPool,
    things: &[T],
    make: impl Fn(&T, Who) -> Result<Option<R>, E> + Sync,
) -> Result<Vec<R>, E> {
    let mut made: Vec<Option<R>> = Vec::with_capacity(things.len());
    made.resize_with(things.len(), || None);
    let batches = Mutex::new(things.chunks(BATCH).zip(made.chunks_mut(BATCH)).enumerate());
    // The first error by its batch.
    let failed = Mutex::new(None::<(usize, E)>);
    let work = |who| {
        loop {
            let batch = lock(&batches).next();
            let Some((number, (things, places))) = batch else { return };
            for (thing, place) in things.iter().zip(places) {
                match make(thing, who) {
                    Ok(None) => return,
                    Ok(made) => *place = made,
                    Err(error) => {
                        lock(&batches).by_ref().for_each(drop);
                        let mut failed = lock(&failed);
                        if failed.as_ref().is_none_or(|(before, _)| number < *before) {
                            *failed = Some((number, error));
                        }
                        return;
                    }
                }
            }
        }
    };
    let count = things.len().div_ceil(BATCH);
    let helpers = (pool.current_num_threads() - 1).min(count.saturating_sub(1));
    pool.in_place_scope(|scope| {
        (0..helpers).for_each(|_| scope.spawn(|_| work(Who::Helper)));
        work(Who::Caller);
    });
    if let Some((_, error)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    // What helpers have left.
    for (thing, place) in things.iter().zip(&mut made).filter(|(_, place)| place.is_none()) {
        *place = make(thing, Who::Caller)?;
    }
    // In place: an option takes no more than what it holds where that has room for it.
    Ok(made.into_iter().flatten().collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn everything_is_made_once_and_in_order() {
        for threads in [1, 3] {
            let pool = pool(threads);
            for count in [0, 1, BATCH - 1, BATCH, BATCH + 1, 1000] {
                let things: Vec<usize> = (0..count).collect();
                let made = map(&pool, &things, |&i, _| Ok::<_, ()>(Some(i * 2))).unwrap();
                assert_eq!(made, (0..count).map(|i| i * 2).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_error_ends_it() {
        let tried = AtomicUsize::new(0);
        let things: Vec<usize> = (0..10_000).collect();
        let outcome = map(&pool(1), &things, |&i, _| {
            tried.fetch_add(1, Ordering::Relaxed);
            if i < 40 { Ok(Some(i)) } else { Err(i) }
        });
        assert_eq!(outcome, Err(40));
        assert_eq!(tried.into_inner(), 41);
    }

    #[test]
    fn what_helpers_leave_is_made_by_the_calling_thread() {
        let things: Vec<usize> = (0..1000).collect();
        let caller = std::thread::current().id();
        let made = map(&pool(3), &things, |&i, who| {
            assert_eq!(who == Who::Caller, std::thread::current().id() == caller);
            Ok::<_, ()>((who == Who::Caller || i % 7 != 3).then_some(i))
        });
        assert_eq!(made, Ok(things));
    }

    #[test]
    fn a_pool_whose_only_thread_is_busy_holds_nobody_up() {
        let (pool, barrier) = (pool(1), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| pool.install(|| barrier.wait()));
            assert_eq!(map(&pool, &[1, 2], |&i, _| Ok::<_, ()>(Some(i))), Ok(vec![1, 2]));
            barrier.wait();
        });
    }
}
