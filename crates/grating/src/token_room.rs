//! What the tokens of a request may take within the memory budget, before anybody can plan how it is run.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use grating_engine::{Engine, Lent, Loan, LoanRequest, current_rss_bytes};
use grating_model::{Encoding, TokenizeError};

use crate::error::{Error, Result};

/// Taken without asking.
const FREE: u64 = 1 << 20;
/// Less room than this is none.
const LEAST: u64 = 512 << 10;
/// What a distinct text takes later: in the request, and while it is computed.
const TEXT_BYTES: u64 = 72;
/// What an allocator adds to each of a text's two lists.
const ALLOCATION: u64 = 16;
/// Tokens and types of a short text, where none has been seen.
const SHORT: u64 = 80;
/// What reading takes for each byte of a piece, where it takes most: each character a word.
const READING_BYTES: u64 = 400;
/// How often one that waits for room looks again.
const INTERVAL: Duration = Duration::from_millis(5);
/// How often a thread that may not wait does.
const TRIES: usize = 4;

/// Requests that need more than a little ask one after another: two that wait for each other's room would wait forever.
static ASKING: Mutex<()> = Mutex::new(());

/// Counts what a request's texts and tokens take.
pub(crate) struct TokenRoom<'r> {
    engine: &'r Engine,
    budget: Option<u64>,
    /// Distinct texts, those that are encoded, and the bytes of these.
    texts: AtomicU64,
    encoded: AtomicU64,
    encoded_bytes: AtomicU64,
    taken: AtomicU64,
    /// May be taken before asking again.
    granted: AtomicU64,
}

impl<'r> TokenRoom<'r> {
    pub(crate) fn new(engine: &'r Engine, budget: Option<u64>) -> Self {
        let counter = AtomicU64::new;
        let granted = counter(if budget.is_some() { FREE } else { u64::MAX });
        let (texts, encoded, encoded_bytes, taken) =
            (counter(0), counter(0), counter(0), counter(0));
        TokenRoom { engine, budget, texts, encoded, encoded_bytes, taken, granted }
    }

    /// Counts what is about to be taken for so many distinct texts.
    ///
    /// # Errors
    /// [`Error::TextsOverBudget`] where there is no room and nobody computes who would leave some; what `wanted` says while
    /// it waits for that.
    pub(crate) fn reserve(
        &self,
        texts: usize,
        bytes: usize,
        wanted: impl Fn() -> Result<()>,
    ) -> Result<()> {
        self.texts.store(texts as u64, Ordering::Relaxed);
        self.add(bytes as u64, bytes as u64, Who::Caller, wanted).map(drop)
    }

    /// Counts the tokens of one text, which are there, and `beside` bytes that come with them. Where `who` may not wait for
    /// room, says whether there was.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub(crate) fn take(
        &self,
        encoding: &Encoding,
        beside: usize,
        who: Who,
        wanted: impl Fn() -> Result<()>,
    ) -> Result<bool> {
        let bytes = token_bytes(encoding) + beside as u64;
        let fits = self.add(bytes, 0, who, wanted)?;
        if fits {
            self.encoded.fetch_add(1, Ordering::Relaxed);
            self.encoded_bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(fits)
    }

    /// What [`Self::take`] has counted is not there any more.
    pub(crate) fn give_back(&self, encoding: &Encoding, beside: usize) {
        let bytes = token_bytes(encoding) + beside as u64;
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.encoded.fetch_sub(1, Ordering::Relaxed);
        self.encoded_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Begins with a text.
    pub(crate) fn reading<W: Fn() -> Result<()>>(&self, who: Who, wanted: W) -> Reading<W> {
        let (loan, ended) = (RefCell::default(), RefCell::default());
        Reading { budget: self.budget, who, wanted, loan, ended }
    }

    /// `ahead` of the bytes are not taken yet.
    fn add(
        &self,
        bytes: u64,
        ahead: u64,
        who: Who,
        wanted: impl Fn() -> Result<()>,
    ) -> Result<bool> {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match self.budget {
            Some(budget) if taken > self.granted.load(Ordering::Relaxed) => {
                self.ask(budget, ahead, who, wanted)
            }
            _ => Ok(true),
        }
    }

    fn ask(
        &self,
        budget: u64,
        ahead: u64,
        who: Who,
        wanted: impl Fn() -> Result<()>,
    ) -> Result<bool> {
        let Some(_turn) = turn(who, &wanted)? else { return Ok(false) };
        loop {
            let taken = self.taken.load(Ordering::Relaxed);
            if taken <= self.granted.load(Ordering::Relaxed) {
                return Ok(true);
            }
            if who == Who::Caller {
                grating_engine::settle();
            }
            // Where the system does not tell, the plan decides.
            let resident = current_rss_bytes().unwrap_or(0);
            let texts = self.texts.load(Ordering::Relaxed);
            let needed = resident + ahead + TEXT_BYTES * texts;
            let left = budget.saturating_sub(needed);
            if left >= LEAST {
                self.granted.store(taken + left, Ordering::Relaxed);
                return Ok(true);
            }
            if who == Who::Helper {
                return Ok(false);
            }
            let waiting = self.engine.waiting();
            if waiting.running == 0 && waiting.jobs.is_empty() {
                let encoded = self.encoded.load(Ordering::Relaxed);
                let bytes = self.encoded_bytes.load(Ordering::Relaxed);
                let each = bytes.checked_div(encoded).unwrap_or(SHORT);
                let about = needed + texts.saturating_sub(encoded) * each;
                return Err(Error::TextsOverBudget { budget, texts: texts as usize, about });
            }
            wanted()?;
            std::thread::sleep(INTERVAL);
        }
    }
}

/// What an encoding's lists take.
fn token_bytes(encoding: &Encoding) -> u64 {
    (4 * encoding.ids.capacity() + encoding.type_ids.capacity()) as u64 + 2 * ALLOCATION
}

/// Who reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The request's own thread, which waits where there is no room.
    Caller,
    /// A thread that computes, too: what is computed might wait for it, and so it must not wait for that.
    Helper,
}

/// One text that is being read, with the memory that its pieces take.
pub(crate) struct Reading<W> {
    budget: Option<u64>,
    who: Who,
    wanted: W,
    loan: RefCell<Option<Loan>>,
    ended: RefCell<Option<End>>,
}

/// Why a text is not read on.
enum End {
    /// There may be room later.
    Later,
    Because(Error),
}

impl<W: Fn() -> Result<()>> Reading<W> {
    /// Whether to read the next piece, which is so many bytes longer than usual.
    pub(crate) fn goes_on(&self, bytes: usize) -> bool {
        let end = self.next(bytes).err();
        let goes_on = end.is_none();
        *self.ended.borrow_mut() = end;
        goes_on
    }

    /// What was read; nothing where that is for the request's own thread to do.
    ///
    /// # Errors
    /// [`Error::TextOverBudget`], what `wanted` says, or the tokenizer's.
    pub(crate) fn outcome<T>(self, read: Result<T, TokenizeError>) -> Result<Option<T>> {
        match (read, self.ended.into_inner()) {
            (Ok(read), _) => Ok(Some(read)),
            (Err(_), Some(End::Later)) => Ok(None),
            // Why an answer is not wanted tells more than that a text was left.
            (Err(_), Some(End::Because(error))) => Err(error),
            (Err(error), None) => Err(error.into()),
        }
    }

    fn next(&self, bytes: usize) -> Result<(), End> {
        (self.wanted)().map_err(End::Because)?;
        // Who asks holds nothing that others may wait for.
        *self.loan.borrow_mut() = None;
        if let Some(budget) = self.budget.filter(|_| bytes > 0) {
            *self.loan.borrow_mut() = Some(self.lend(budget, bytes)?);
        }
        Ok(())
    }

    fn lend(&self, budget: u64, bytes: usize) -> Result<Loan, End> {
        let request = LoanRequest::of_process();
        loop {
            match request.ask(READING_BYTES.saturating_mul(bytes as u64), budget) {
                Lent::Granted(loan) => return Ok(loan),
                Lent::Never { total } => {
                    let error = Error::TextOverBudget { budget, bytes, about: total };
                    return Err(End::Because(error));
                }
                Lent::Later if self.who == Who::Helper => return Err(End::Later),
                Lent::Later => {
                    (self.wanted)().map_err(End::Because)?;
                    std::thread::sleep(INTERVAL);
                }
            }
        }
    }
}

/// Waits for its turn as long as that is wanted; nothing where `who` may not wait for long.
fn turn(who: Who, wanted: impl Fn() -> Result<()>) -> Result<Option<MutexGuard<'static, ()>>> {
    for tries in 1.. {
        match ASKING.try_lock() {
            Ok(turn) => return Ok(Some(turn)),
            Err(TryLockError::Poisoned(turn)) => return Ok(Some(PoisonError::into_inner(turn))),
            Err(TryLockError::WouldBlock) if who == Who::Helper && tries == TRIES => break,
            Err(TryLockError::WouldBlock) => {
                wanted()?;
                std::thread::sleep(INTERVAL);
            }
        }
    }
    Ok(None)
}
