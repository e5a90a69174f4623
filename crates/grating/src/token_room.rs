//! What the tokens of a request may take within the memory budget, before anybody can plan how it is run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use grating_engine::{Engine, current_rss_bytes};
use grating_model::Encoding;

use crate::error::{Error, Result};

/// Taken without asking.
const FREE: u64 = 1 << 20;
/// Less room than this is none.
const LEAST: u64 = 512 << 10;
/// What a distinct text takes beside its tokens: in the request, and while it is computed.
const TEXT_BYTES: u64 = size_of::<Encoding>() as u64 + 72;
/// What an allocator adds to each of a text's two lists.
const ALLOCATION: u64 = 16;
/// How often one that waits for room looks again.
const INTERVAL: Duration = Duration::from_millis(5);

/// Requests that need more than a little ask one after another: two that wait for each other's room would wait forever.
static ASKING: Mutex<()> = Mutex::new(());

/// Counts what a request's tokens take.
pub(crate) struct TokenRoom<'r> {
    engine: &'r Engine,
    budget: Option<u64>,
    /// Distinct texts.
    texts: usize,
    encoded: AtomicU64,
    taken: AtomicU64,
    /// May be taken before asking again.
    granted: AtomicU64,
}

impl<'r> TokenRoom<'r> {
    pub(crate) fn new(engine: &'r Engine, budget: Option<u64>, texts: usize) -> Self {
        let counter = AtomicU64::new;
        let granted = if budget.is_some() { FREE } else { u64::MAX };
        TokenRoom {
            engine,
            budget,
            texts,
            encoded: counter(0),
            taken: counter(TEXT_BYTES * texts as u64),
            granted: counter(granted),
        }
    }

    /// Counts the tokens of one text.
    ///
    /// # Errors
    /// [`Error::TextsOverBudget`] where there is no room for them and nobody computes who would leave some; what `wanted`
    /// says while it waits for that.
    pub(crate) fn take(&self, encoding: &Encoding, wanted: impl Fn() -> Result<()>) -> Result<()> {
        let bytes = 4 * encoding.ids.capacity() + encoding.type_ids.capacity();
        let bytes = bytes as u64 + 2 * ALLOCATION;
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.encoded.fetch_add(1, Ordering::Relaxed);
        match self.budget {
            Some(budget) if taken > self.granted.load(Ordering::Relaxed) => {
                self.ask(budget, wanted)
            }
            _ => Ok(()),
        }
    }

    fn ask(&self, budget: u64, wanted: impl Fn() -> Result<()>) -> Result<()> {
        let _turn = turn(&wanted)?;
        loop {
            let taken = self.taken.load(Ordering::Relaxed);
            if taken <= self.granted.load(Ordering::Relaxed) {
                return Ok(());
            }
            grating_engine::settle();
            // Where the system does not tell, the plan decides.
            let resident = current_rss_bytes().unwrap_or(0);
            // What the texts that are left take in the list.
            let encoded = self.encoded.load(Ordering::Relaxed);
            let ahead = (self.texts as u64).saturating_sub(encoded) * TEXT_BYTES;
            let left = budget.saturating_sub(resident).saturating_sub(ahead);
            if left >= LEAST {
                self.granted.store(taken + left, Ordering::Relaxed);
                return Ok(());
            }
            if self.engine.waiting().running == 0 && self.engine.waiting().jobs.is_empty() {
                let per_text = (taken - TEXT_BYTES * self.texts as u64) / encoded.max(1);
                let rest = (self.texts as u64).saturating_sub(encoded) * per_text;
                let about = resident + ahead + rest;
                return Err(Error::TextsOverBudget { budget, texts: self.texts, about });
            }
            wanted()?;
            std::thread::sleep(INTERVAL);
        }
    }
}

/// Waits for its turn as long as that is wanted.
fn turn(wanted: impl Fn() -> Result<()>) -> Result<MutexGuard<'static, ()>> {
    loop {
        match ASKING.try_lock() {
            Ok(turn) => return Ok(turn),
            Err(TryLockError::Poisoned(turn)) => return Ok(PoisonError::into_inner(turn)),
            Err(TryLockError::WouldBlock) => {
                wanted()?;
                std::thread::sleep(INTERVAL);
            }
        }
    }
}
