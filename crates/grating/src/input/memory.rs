//! What reading may take: it asks before it goes on, and ends where there is no room.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;

use grating_engine::current_rss_bytes;

use super::error::{InputError, InputProblem, ReadError};

/// Taken without asking.
const FREE: u64 = 1 << 20;
/// Less room than this is none: a block of strings, and what an allocator keeps.
const LEAST: u64 = 512 << 10;
/// What each text takes later beside its tokens: its place among the distinct ones, there and back.
const AHEAD_OF_TEXT: u64 = 12;
/// Of each byte of a JSON value that is being read: as it is written, without white space, and decoded.
const COPIES: u64 = 3;
/// Where the system does not say what the process takes.
const UNKNOWN_PROCESS: u64 = 64 << 20;

/// How much memory may be taken for what is read.
pub struct MemoryRoom<'a> {
    /// Nothing where there is no limit.
    budget: Option<u64>,
    prepare: Option<Box<dyn FnOnce() -> io::Result<()> + 'a>>,
}

impl<'a> MemoryRoom<'a> {
    /// As much as it takes.
    pub fn unlimited() -> Self {
        MemoryRoom { budget: None, prepare: None }
    }

    /// As long as the whole process stays within `budget` bytes.
    ///
    /// Idle rerankers of the process that have a budget give back what they keep before more than 1 MiB is taken.
    pub fn within(budget: u64) -> Self {
        MemoryRoom { budget: Some(budget), prepare: None }
    }

    /// Has `prepare` called once before more than 1 MiB is taken: for what takes memory of its own, such as a model
    /// that is yet to be opened, and is to be counted then. Its error ends the reading.
    #[must_use]
    pub fn prepare(mut self, prepare: impl FnOnce() -> io::Result<()> + 'a) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// What the process takes, where `ahead` will be taken for what has been read and `held` has been.
    fn taken(&mut self, ahead: u64, held: u64) -> io::Result<u64> {
        if let Some(prepare) = self.prepare.take() {
            prepare()?;
        }
        grating_engine::settle();
        let taken = current_rss_bytes().unwrap_or(UNKNOWN_PROCESS + held);
        Ok(taken + ahead)
    }
}

impl fmt::Debug for MemoryRoom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRoom").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// Counts what reading takes, and where it is. Shared by the source of bytes and by those who make texts of them.
pub(super) struct Meter<'m, 'a> {
    room: RefCell<&'m mut MemoryRoom<'a>>,
    /// May be taken before asking again.
    granted: Cell<u64>,
    kept: Cell<u64>,
    texts: Cell<u64>,
    /// Bytes that were handed out, and how many of them when nothing was in hand.
    consumed: Cell<u64>,
    done: Cell<u64>,
    /// Whether what is handed out is only looked at, and how much of that there was.
    skipping: Cell<bool>,
    skipped: Cell<u64>,
    /// Of the next byte, counted from 1.
    pub(super) line: Cell<usize>,
    /// How that line begins.
    pub(super) head: RefCell<Vec<u8>>,
    /// What is wrong, for whoever gets an error of a kind that cannot carry it.
    problem: RefCell<Option<ReadError>>,
}

impl<'m, 'a> Meter<'m, 'a> {
    pub(super) fn new(room: &'m mut MemoryRoom<'a>) -> Self {
        let granted = room.budget.map_or(u64::MAX, |budget| FREE.min(budget));
        Meter {
            room: RefCell::new(room),
            granted: Cell::new(granted),
            kept: Cell::new(0),
            texts: Cell::new(0),
            consumed: Cell::new(0),
            done: Cell::new(0),
            skipping: Cell::new(false),
            skipped: Cell::new(0),
            line: Cell::new(1),
            head: RefCell::new(Vec::new()),
            problem: RefCell::new(None),
        }
    }

    /// So much is kept of `texts` texts, and nothing else is in hand.
    pub(super) fn keep(&self, texts: usize, bytes: usize) -> Result<(), ReadError> {
        self.kept.set(bytes as u64);
        self.texts.set(texts as u64);
        self.done.set(self.consumed.get());
        self.check(0)
    }

    /// So many bytes were handed out.
    pub(super) fn consume(&self, bytes: u64) {
        let counter = if self.skipping.get() { &self.skipped } else { &self.consumed };
        counter.set(counter.get() + bytes);
    }

    /// What is read meanwhile is not kept, but for the brackets that are open.
    pub(super) fn skip<T>(&self, read: impl FnOnce() -> T) -> T {
        self.skipping.set(true);
        let read = read();
        self.skipping.set(false);
        self.skipped.set(0);
        read
    }

    /// Whether there is room for what is in hand, and `more` beside.
    pub(super) fn check(&self, more: u64) -> Result<(), ReadError> {
        self.check_ahead(more, 0)
    }

    /// [`Self::check`] where so much will be taken `later` for what is there.
    pub(super) fn check_ahead(&self, more: u64, later: u64) -> Result<(), ReadError> {
        let value = self.consumed.get() - self.done.get();
        let held = self.kept.get() + COPIES * value + self.skipped.get() + more;
        let ahead = AHEAD_OF_TEXT * self.texts.get() + later;
        if held + ahead <= self.granted.get() {
            return Ok(());
        }
        let mut room = self.room.borrow_mut();
        let Some(budget) = room.budget else { return Ok(()) };
        // What is read of a value is there once, or may be: its copies are yet to be made.
        let taken = room.taken(ahead + (COPIES - 1) * value, held).map_err(ReadError::Io)?;
        let needed = taken + LEAST;
        if needed > budget {
            let (texts, bytes) = (self.texts.get() as usize, held + ahead);
            return Err(self.wrong(InputProblem::OverBudget { budget, texts, bytes, needed }));
        }
        self.granted.set(held + ahead + (budget - taken));
        Ok(())
    }

    /// A problem where it reads.
    pub(super) fn wrong(&self, problem: InputProblem) -> ReadError {
        ReadError::Input(InputError { line: self.line.get(), problem })
    }

    /// Keeps what is wrong for [`Self::take`].
    pub(super) fn stash(&self, problem: ReadError) {
        self.problem.borrow_mut().get_or_insert(problem);
    }

    pub(super) fn take(&self) -> Option<ReadError> {
        self.problem.borrow_mut().take()
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)] // a failed test should panic
mod tests {
    use super::*;
    use crate::input::{Input, InputOptions, QueryList};

    /// Bytes that never end.
    struct Endless(&'static [u8], usize);

    impl io::Read for Endless {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let Endless(pattern, at) = self;
            to.iter_mut().for_each(|byte| {
                *byte = pattern[*at % pattern.len()];
                *at += 1;
            });
            Ok(to.len())
        }
    }

    fn budget() -> u64 {
        current_rss_bytes().unwrap() + (8 << 20)
    }

    /// However little an item is, and whatever it is part of.
    #[test]
    fn what_never_ends_is_refused_within_the_budget() {
        let keep = InputOptions::default().keep_fields(true);
        // Whether a file of queries would keep it, too.
        for (beginning, pattern, of_queries) in [
            ("", "\n", false),
            ("", "a\n", true),
            ("", "a", true),
            ("", " ", false),
            ("[", "[\"a\"],", false),
            ("[", "\"a\",", true),
            ("[", "{\"text\":\"a\"},", true),
            ("", "{\"id\":1,\"text\":\"a\"}\n", true),
            ("{\"query\":\"q\",\"texts\":[", "\"a\",", true),
            ("{\"text\":\"", "a", true),
            ("{\"text\":\"a\",\"n\":[", "1,", false),
            ("{\"text\":\"a\",\"n\":", "[", true),
            ("{\"", "a", true),
            ("{\"text\":\"a\",\"", "k", true),
            ("{\"text\":\"a\",\"n\":1", ",\"n\":1", false),
        ] {
            let beginning: &[u8] = beginning.as_bytes();
            let from = || io::Read::chain(beginning, Endless(pattern.as_bytes(), 0));
            let budget = budget();
            for queries in [false, true].into_iter().filter(|&queries| of_queries || !queries) {
                let mut room = MemoryRoom::within(budget);
                let error = match queries {
                    false => Input::read(from(), &keep, &mut room).unwrap_err(),
                    true => QueryList::read(from(), &keep, &mut room).unwrap_err(),
                };
                let over = |problem: &InputProblem| match problem {
                    InputProblem::OverBudget { budget: said, needed, .. } => {
                        *said == budget && *needed > budget
                    }
                    // An array in an array is no text, which is found out first.
                    other => {
                        matches!(other, InputProblem::NotAText { .. }) && pattern.starts_with("[\"")
                    }
                };
                let ReadError::Input(InputError { problem, .. }) = &error else {
                    panic!("{error}")
                };
                assert!(over(problem), "{beginning:?} {pattern:?}: {error}");
                let resident = current_rss_bytes().unwrap();
                assert!(resident <= budget + (8 << 20), "{pattern:?}: {resident} of {budget}");
            }
        }
    }

    #[test]
    fn room_is_made_once_and_before_much_is_taken() {
        let made = Cell::new(0);
        let lines = "a line of some length\n".repeat(200_000);
        let budget = current_rss_bytes().unwrap() + (64 << 20);
        let read = |bytes: &str| {
            let prepare = || {
                made.set(made.get() + 1);
                Ok(())
            };
            let mut room = MemoryRoom::within(budget).prepare(prepare);
            Input::read(bytes.as_bytes(), &InputOptions::default(), &mut room).unwrap().texts.len()
        };
        assert_eq!((read(&lines[..2200]), made.get()), (100, 0));
        assert_eq!((read(&lines), made.get()), (200_000, 1));
        let mut room = MemoryRoom::within(budget).prepare(|| Err(io::Error::other("no model")));
        let error = Input::read(lines.as_bytes(), &InputOptions::default(), &mut room).unwrap_err();
        assert!(matches!(&error, ReadError::Io(e) if e.to_string() == "no model"), "{error}");
    }
}
