//! What the engines of one process hold together, so that a budget is a promise about the whole of it.
//!
//! Every engine says what it holds at most: while it runs a job, what the job's plan takes, between jobs, what it keeps
//! for the next one. A budget has room for a plan where the process itself, what the others hold and the plan fit
//! together. Where they do not, engines that are idle are asked to give back what they keep, and those that run are
//! waited for; the engines with a budget are served in the order in which they asked.

mod loan;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::loan::{Lent, Loan, LoanRequest};
use crate::cancel::Stop;
use crate::error::Result;

/// What a process takes on top once it computes: pages of code, the allocator's slack. At least budgets of one model the
/// peak was 5 to 30 MiB below what is planned where this was 12 MiB.
const RUNNING_BYTES: u64 = 6 << 20;
/// The same for each further engine, whose code is there already.
const RUNNING_BYTES_EACH: u64 = 512 << 10;

/// How often a waiting job looks whether it is to end.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// How long an engine that is about to start waits for the others to be still.
const SETTLING: Duration = Duration::from_secs(1);

/// Has the idle engines of this process that have a budget give back what they keep between jobs. What is resident before
/// and after a model is opened then tells what the model takes: otherwise the others read ahead meanwhile.
pub fn settle() {
    Account::of_process().settle();
}

/// What the engines of one process hold. Bytes throughout.
#[derive(Debug, Default)]
pub(crate) struct Account {
    state: Mutex<Holdings>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Holdings {
    /// The process without its engines.
    process: u64,
    engines: BTreeMap<u64, Holder>,
    /// Whether one of them has computed: what that takes of the process is resident then.
    computed: bool,
    /// What is lent beside the engines.
    lent: u64,
    next_id: u64,
    /// Engines and others that ask for memory, in the order in which they came; the first one is served.
    queue: VecDeque<u64>,
}

struct Holder {
    /// What it takes as long as it lives: the tokenizer, names, stacks of its threads.
    own: u64,
    /// What it holds beyond that, at most.
    held: u64,
    /// What of `held` it cannot give back.
    floor: u64,
    /// Whether it gives back what it keeps when it is asked: it has a budget.
    gives_back: bool,
    busy: bool,
    /// It has been asked to give back and has not yet.
    asked: bool,
    ask: Arc<dyn Fn() + Send + Sync>,
}

/// An engine as it is entered in an [`Account`].
pub(crate) struct Registration {
    /// What of the process is resident now that the model has been opened.
    pub(crate) resident: u64,
    /// What of that is the model's.
    pub(crate) model: u64,
    /// What its threads will take that is not resident yet.
    pub(crate) threads: u64,
    /// What it holds at least as long as it lives.
    pub(crate) floor: u64,
    /// Whether it has a budget.
    pub(crate) gives_back: bool,
    /// Asks it to give back what it keeps, without waiting.
    pub(crate) ask: Arc<dyn Fn() + Send + Sync>,
}

/// One engine's part of an account; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    account: Arc<Account>,
    id: u64,
}

/// An engine's claim for memory, in the queue of those that ask; it is withdrawn when this is dropped.
pub(crate) struct Claim<'a> {
    share: &'a Share,
    /// What of the process was resident beyond what the engines hold, when the engine asked.
    grown: u64,
}

/// What a plan has to take as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Occupied {
    /// By the process, by the other engines as they are, and by what is lent.
    pub(crate) now: u64,
    /// When those that can give back or will end have done so.
    pub(crate) least: u64,
    /// Whether an idle engine keeps what it can give back.
    pub(crate) idle: bool,
}

impl Account {
    /// The account of this process.
    pub(crate) fn of_process() -> Arc<Account> {
        static ACCOUNT: LazyLock<Arc<Account>> = LazyLock::new(Arc::default);
        Arc::clone(&ACCOUNT)
    }

    /// Enters an engine, which holds its floor.
    pub(crate) fn register(self: &Arc<Self>, registration: Registration) -> Share {
        let Registration { resident, model, threads, floor, gives_back, ask } = registration;
        let mut state = self.lock();
        if state.engines.is_empty() {
            state.process = 0;
        }
        // The others may hold less than they say, so this may be too little, but not less than was seen before.
        let engines = state.engines.values().fold(model, |sum, e| sum + e.own + e.held);
        state.process = state.process.max(resident.saturating_sub(engines));
        let id = state.next_id;
        state.next_id += 1;
        let (own, held) = (model + threads, floor);
        state
            .engines
            .insert(id, Holder { own, held, floor, gives_back, busy: false, asked: false, ask });
        Share { account: Arc::clone(self), id }
    }

    /// Has idle engines give back what they keep, and waits until they have, for a short while at most.
    fn settle(&self) {
        let asks = self.lock().ask_others(None);
        asks.iter().for_each(|ask| ask());
        let mut state = self.lock();
        let until = Instant::now() + SETTLING;
        while state.engines.values().any(Holder::keeps) && Instant::now() < until {
            state = self.wait(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Holdings> {
        // The state is changed in single steps, so a panic elsewhere leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Holdings>) -> MutexGuard<'a, Holdings> {
        let outcome = self.changed.wait_timeout(state, CANCEL_INTERVAL);
        outcome.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Holdings {
    /// Whom to ask, each once: the idle engines, but for one, that keep what they can give back.
    fn ask_others(&mut self, but: Option<u64>) -> Vec<Arc<dyn Fn() + Send + Sync>> {
        let others = self.engines.iter_mut().filter(|(id, _)| Some(**id) != but);
        let keeping = others.filter(|(_, engine)| engine.keeps() && !engine.asked);
        keeping
            .map(|(_, engine)| {
                engine.asked = true;
                Arc::clone(&engine.ask)
            })
            .collect()
    }

    fn occupied(&self, id: u64, grown: u64) -> Occupied {
        let own: u64 = self.engines.values().map(|e| e.own).sum();
        let further = self.engines.len().saturating_sub(1) as u64;
        let running = RUNNING_BYTES + RUNNING_BYTES_EACH * further;
        // What has grown beside the engines is texts, and whatever else the program took.
        let yet = if self.computed { 0 } else { RUNNING_BYTES };
        let base = (self.process + own + running).max(grown.saturating_add(yet));
        let mut occupied = Occupied { now: base + self.lent, least: base, idle: false };
        for (_, other) in self.engines.iter().filter(|(other, _)| **other != id) {
            let may_shrink = other.busy || other.gives_back;
            occupied.now += other.held;
            occupied.least += if may_shrink { other.floor.min(other.held) } else { other.held };
            occupied.idle |= other.keeps();
        }
        occupied
    }
}

impl Holder {
    /// Whether it is idle and keeps what it can give back.
    fn keeps(&self) -> bool {
        !self.busy && self.gives_back && self.held > self.floor
    }
}

impl Share {
    /// Asks for memory. `resident` is what of the process is resident now, where the system tells.
    pub(crate) fn claim(&self, resident: Option<u64>) -> Claim<'_> {
        let mut state = self.account.lock();
        state.queue.push_back(self.id);
        let held: u64 = state.engines.values().map(|e| e.held).sum::<u64>() + state.lent;
        Claim { share: self, grown: resident.unwrap_or(0).saturating_sub(held) }
    }

    /// What a plan would have to take as given now.
    pub(crate) fn occupied(&self) -> Occupied {
        self.account.lock().occupied(self.id, 0)
    }

    /// Holds so much while it runs a job, whatever the others hold.
    pub(crate) fn hold(&self, bytes: u64) {
        self.set(bytes, true);
        self.account.lock().computed = true;
    }

    /// Holds so much between jobs.
    pub(crate) fn rest(&self, bytes: u64) {
        self.set(bytes, false);
    }

    /// Holds `more` in addition if that stays within `budget`.
    pub(crate) fn grow(&self, more: u64, budget: u64) -> bool {
        let mut state = self.account.lock();
        let now = state.occupied(self.id, 0).now;
        let Some(own) = state.engines.get_mut(&self.id) else { return false };
        let fits = now.saturating_add(own.held).saturating_add(more) <= budget;
        own.held += if fits { more } else { 0 };
        fits
    }

    /// Whether another engine waits for what this one keeps.
    pub(crate) fn is_asked(&self) -> bool {
        self.account.lock().engines.get(&self.id).is_some_and(|own| own.asked)
    }

    fn set(&self, held: u64, busy: bool) {
        if let Some(own) = self.account.lock().engines.get_mut(&self.id) {
            (own.held, own.busy, own.asked) = (held, busy, false);
        }
        self.account.changed.notify_all();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.lock().engines.remove(&self.id);
        self.account.changed.notify_all();
    }
}

impl Claim<'_> {
    /// Whether nobody came before.
    pub(crate) fn is_first(&self) -> bool {
        self.share.account.lock().queue.front() == Some(&self.share.id)
    }

    /// Waits until nobody is before.
    ///
    /// # Errors
    /// What `stop` says.
    pub(crate) fn wait_first(&self, stop: &Stop) -> Result<()> {
        let account = &self.share.account;
        let mut state = account.lock();
        while state.queue.front() != Some(&self.share.id) {
            stop.check()?;
            state = account.wait(state);
        }
        Ok(())
    }

    /// What a plan has to take as given.
    pub(crate) fn occupied(&self) -> Occupied {
        self.share.account.lock().occupied(self.share.id, self.grown)
    }

    /// Takes `bytes` for a job that was planned beside `occupied`, unless that has become more since.
    pub(crate) fn commit(&self, occupied: u64, bytes: u64) -> bool {
        let free = self.occupied().now <= occupied;
        // Nobody else commits: this is the first in the queue, and who is not in it only gives back, or joins.
        if free {
            self.share.hold(bytes);
        }
        free
    }

    /// Asks idle engines to give back what they keep, and waits until something has changed since `seen`, or may have.
    ///
    /// # Errors
    /// What `stop` says.
    pub(crate) fn wait_for_less(&self, seen: Occupied, stop: &Stop) -> Result<()> {
        let account = &self.share.account;
        let mut state = account.lock();
        let asks = state.ask_others(Some(self.share.id));
        drop(state);
        asks.iter().for_each(|ask| ask());
        state = account.lock();
        while state.occupied(self.share.id, self.grown) == seen {
            stop.check()?;
            state = account.wait(state);
        }
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.share.account.lock().queue.retain(|&id| id != self.share.id);
        self.share.account.changed.notify_all();
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder")
            .field("own", &self.own)
            .field("held", &self.held)
            .field("floor", &self.floor)
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn registration(
        resident: u64,
        model: u64,
        gives_back: bool,
    ) -> (Registration, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ask = Arc::new(move || _ = count.fetch_add(1, Ordering::Relaxed));
        (Registration { resident, model, threads: MIB, floor: MIB, gives_back, ask }, asked)
    }

    fn join(account: &Arc<Account>, resident: u64, own: u64) -> Share {
        account.register(registration(resident * MIB, own * MIB, true).0)
    }

    #[test]
    fn one_engine_takes_the_process_for_its_own() {
        let account = Arc::new(Account::default());
        let only = join(&account, 20, 5);
        // What is resident, a thread's stack, and what computing adds.
        assert_eq!(
            only.occupied(),
            Occupied {
                now: 21 * MIB + RUNNING_BYTES,
                least: 21 * MIB + RUNNING_BYTES,
                idle: false
            }
        );
        // A caller that had 100 more before anything was computed: what computing adds is yet to come, and the floor is held.
        let claim = only.claim(Some(121 * MIB));
        assert_eq!(claim.occupied().now, 120 * MIB + RUNNING_BYTES);
        drop(claim);
        only.hold(50 * MIB);
        assert_eq!(
            only.occupied().now,
            21 * MIB + RUNNING_BYTES,
            "what it holds itself is planned anew"
        );
        // The caller's own memory has grown by 100 since.
        let claim = only.claim(Some(170 * MIB));
        assert_eq!(claim.occupied().now, 120 * MIB);
    }

    #[test]
    fn others_count_with_what_they_hold_and_at_least_with_what_they_keep() {
        let account = Arc::new(Account::default());
        let a = join(&account, 20, 5);
        a.hold(50 * MIB);
        // 10 of the 50 are resident yet: the process is not taken to be smaller for it.
        let b = join(&account, 33, 3);
        // The process, the two models and threads, what computing adds.
        let base = (15 + 5 + 3 + 2) * MIB + RUNNING_BYTES + RUNNING_BYTES_EACH;
        let (now, least) = (base + 50 * MIB, base + MIB);
        assert_eq!(b.occupied(), Occupied { now, least, idle: false });
        a.rest(40 * MIB);
        assert_eq!(b.occupied(), Occupied { now: now - 10 * MIB, least, idle: true });
        drop(a);
        assert_eq!(b.occupied().now, (15 + 3 + 1) * MIB + RUNNING_BYTES);
        drop(b);
        let later = join(&account, 18, 5);
        assert_eq!(
            later.occupied().now,
            19 * MIB + RUNNING_BYTES,
            "a process without engines is measured anew"
        );
    }

    #[test]
    fn an_engine_without_a_budget_keeps_what_it_keeps() {
        let account = Arc::new(Account::default());
        let (free, asked) = registration(20 * MIB, 5 * MIB, false);
        let free = account.register(free);
        let bound = join(&account, 20, 0);
        free.rest(30 * MIB);
        let occupied = bound.occupied();
        assert!(occupied.now == occupied.least && !occupied.idle);
        free.hold(60 * MIB);
        assert_eq!(bound.occupied().now - bound.occupied().least, 59 * MIB, "a job ends");
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_idle_engine_is_asked_once_and_waited_for() {
        let account = Arc::new(Account::default());
        let (idle, asked) = registration(20 * MIB, 5 * MIB, true);
        let idle = account.register(idle);
        idle.rest(40 * MIB);
        let other = join(&account, 60, 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let claim = other.claim(None);
                claim.wait_first(&Stop::default()).unwrap();
                let before = claim.occupied();
                claim.wait_for_less(before, &Stop::default()).unwrap();
                let after = claim.occupied();
                assert!(!claim.commit(after.now - 1, 9) && claim.commit(after.now, 7 * MIB));
                before.now - after.now
            });
            while !idle.is_asked() {
                std::thread::yield_now();
            }
            idle.rest(MIB);
            assert_eq!(waiting.join().unwrap(), 39 * MIB);
        });
        assert_eq!((asked.load(Ordering::Relaxed), idle.is_asked()), (1, false));
        assert_eq!(idle.occupied().now - idle.occupied().least, 6 * MIB, "the other holds 7 now");
    }

    #[test]
    fn idle_engines_are_still_before_another_is_measured() {
        let account = Arc::new(Account::default());
        let (idle, asked) = registration(20 * MIB, 0, true);
        let idle = account.register(idle);
        account.settle(); // It keeps nothing but its floor.
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        idle.rest(40 * MIB);
        std::thread::scope(|scope| {
            let settling = scope.spawn(|| account.settle());
            while !idle.is_asked() {
                std::thread::yield_now();
            }
            idle.rest(MIB);
            settling.join().unwrap();
        });
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_asks_is_served_in_order_and_a_cancelled_one_leaves() {
        let account = Arc::new(Account::default());
        let (a, b, c) = (join(&account, 20, 0), join(&account, 20, 0), join(&account, 20, 0));
        let (first, second, third) = (a.claim(None), b.claim(None), c.claim(None));
        assert!(first.is_first() && !second.is_first() && !third.is_first());
        let stop = Stop::default();
        stop.cancel.cancel();
        assert!(second.wait_first(&stop).is_err());
        drop(second);
        drop(first);
        assert!(third.wait_first(&stop).is_ok(), "nobody is before: there is nothing to wait for");
        assert!(third.wait_for_less(third.occupied(), &stop).is_err());
    }

    #[test]
    fn what_is_added_stays_within_the_budget_and_counts() {
        let account = Arc::new(Account::default());
        let (a, b) = (join(&account, 20, 0), join(&account, 20, 0));
        a.hold(10 * MIB);
        b.hold(10 * MIB);
        // 20, two threads', what computing adds, 10 each and 5 more.
        let budget = (20 + 2 + 2 * 10 + 5) * MIB + RUNNING_BYTES + RUNNING_BYTES_EACH;
        assert!(!a.grow(6 * MIB, budget) && a.grow(5 * MIB, budget));
        assert!(!b.grow(1, budget));
        a.rest(MIB);
        assert!(b.grow(1, budget));
    }
}
