//! What ends a job before its time: a token that somebody cancels, a deadline, a ticket that nobody holds any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{EngineError, Result};

/// Stops a request or a quantization from another thread; clones share the state.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    listeners: Mutex<Listeners>,
}

/// Who wants to know at once, by the order in which they came.
#[derive(Default)]
struct Listeners {
    next: u64,
    calls: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
}

/// A listener's place at a token; it is forgotten when this is dropped.
pub(crate) struct Listening {
    token: CancelToken,
    id: u64,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        CancelToken::default()
    }

    /// Ends what carries this token with an error that says so: requests that wait in the queue at once, running ones at
    /// the next chunk of a layer, a quantization at the next million weights.
    pub fn cancel(&self) {
        // Before the listeners are taken: one who comes later finds it said.
        self.0.cancelled.store(true, Ordering::Relaxed);
        let calls = std::mem::take(&mut self.listeners().calls);
        calls.into_values().for_each(|call| call());
    }

    /// Whether [`Self::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Calls back on the thread that cancels, or now if that has happened. Nothing is locked meanwhile.
    pub(crate) fn on_cancel(&self, call: impl FnOnce() + Send + 'static) -> Listening {
        let mut listeners = self.listeners();
        let id = listeners.next;
        listeners.next += 1;
        if self.is_cancelled() {
            drop(listeners);
            call();
        } else {
            listeners.calls.insert(id, Box::new(call));
        }
        Listening { token: self.clone(), id }
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Dropped when the lock is free again, whatever it holds.
        let call = self.token.listeners().calls.remove(&self.id);
        drop(call);
    }
}

/// Until when an answer is worth having.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Nothing where the clock does not reach that far.
    at: Option<Instant>,
    allowed: Duration,
}

impl Deadline {
    /// So long from now.
    pub fn after(allowed: Duration) -> Self {
        Deadline { at: Instant::now().checked_add(allowed), allowed }
    }

    /// When that is; nothing where the clock does not reach that far.
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// How long it was when it was set.
    pub fn allowed(&self) -> Duration {
        self.allowed
    }

    /// Whether it is over.
    pub fn has_passed(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// # Errors
    /// [`EngineError::DeadlineExceeded`] once it has passed.
    pub fn check(&self) -> Result<()> {
        match self.has_passed() {
            true => Err(EngineError::DeadlineExceeded { allowed: self.allowed }),
            false => Ok(()),
        }
    }
}

/// Everything that may end one job early.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// The caller's, who may use it for other jobs, too.
    pub(crate) cancel: CancelToken,
    /// The job's own: cancelled when its ticket is dropped.
    pub(crate) abandoned: CancelToken,
    pub(crate) deadline: Option<Deadline>,
}

impl Stop {
    /// # Errors
    /// Why the job is to end: [`EngineError::Cancelled`], [`EngineError::DeadlineExceeded`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() || self.abandoned.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        self.deadline.map_or(Ok(()), |deadline| deadline.check())
    }

    /// When the deadline is, if there is one that the clock reaches.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.deadline.and_then(|deadline| deadline.at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn whoever_listens_is_called_once_however_early_or_late_they_came() {
        let token = CancelToken::new();
        let heard = Arc::new(AtomicUsize::new(0));
        let listen = |token: &CancelToken| {
            let heard = Arc::clone(&heard);
            token.on_cancel(move || _ = heard.fetch_add(1, Ordering::Relaxed))
        };
        let stays = listen(&token);
        drop(listen(&token));
        token.clone().cancel();
        assert_eq!(heard.load(Ordering::Relaxed), 1, "who has left is not called");
        token.cancel();
        drop(stays);
        drop(listen(&token));
        assert_eq!(heard.load(Ordering::Relaxed), 2, "who comes late is called at once");
    }

    #[test]
    fn a_token_of_many_jobs_does_not_grow() {
        let token = CancelToken::new();
        (0..100).for_each(|_| drop(token.on_cancel(|| ())));
        assert!(token.listeners().calls.is_empty());
    }

    #[test]
    fn a_deadline_says_what_was_allowed_and_an_endless_one_never_passes() {
        let over = Stop { deadline: Some(Deadline::after(Duration::ZERO)), ..Stop::default() };
        let error = over.check().unwrap_err();
        assert!(matches!(error, EngineError::DeadlineExceeded { allowed: Duration::ZERO }));
        let endless = Deadline::after(Duration::MAX);
        assert!(!endless.has_passed() && endless.at().is_none());
        let stop = Stop { deadline: Some(endless), ..Stop::default() };
        assert!(stop.check().is_ok());
        stop.abandoned.cancel();
        assert!(matches!(stop.check(), Err(EngineError::Cancelled)));
        assert!(!stop.cancel.is_cancelled(), "the caller's token is for other jobs, too");
    }
}
