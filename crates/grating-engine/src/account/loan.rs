//! Memory that is taken beside the engines for a while, by whoever reads a text that cannot be cut.

use std::sync::Arc;
use std::time::Instant;

use super::{Account, Holder, SETTLING};
use crate::meter::current_rss_bytes;

/// A request for memory of the budget beside the engines. It has its place among the engines that ask: those behind it
/// begin no job as long as it is there.
#[derive(Debug)]
pub struct LoanRequest {
    account: Arc<Account>,
    id: u64,
    since: Instant,
}

/// Memory beside the engines, until this is dropped. Plans that are made meanwhile leave it out.
#[derive(Debug)]
pub struct Loan {
    account: Arc<Account>,
    bytes: u64,
}

/// What became of a [`LoanRequest`].
#[derive(Debug)]
pub enum Lent {
    /// It is lent.
    Granted(Loan),
    /// There is no room beside what is computed now, or others came before.
    Later,
    /// There is no room, though nothing is computed.
    Never {
        /// What it and the process would take, bytes.
        total: u64,
    },
}

impl LoanRequest {
    /// Joins those that ask for memory of this process.
    pub fn of_process() -> Self {
        Self::new(&Account::of_process())
    }

    fn new(account: &Arc<Account>) -> Self {
        let mut state = account.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.queue.push_back(id);
        LoanRequest { account: Arc::clone(account), id, since: Instant::now() }
    }

    /// Asks whether `budget` has room for `bytes` now. Does not wait; who is told [`Lent::Later`] may ask again.
    pub fn ask(&self, bytes: u64, budget: u64) -> Lent {
        self.ask_beside(current_rss_bytes().unwrap_or(0), bytes, budget)
    }

    fn ask_beside(&self, resident: u64, bytes: u64, budget: u64) -> Lent {
        let mut state = self.account.lock();
        if state.queue.front() != Some(&self.id) {
            return Lent::Later;
        }
        let computes = state.engines.values().any(|engine| engine.busy);
        let keeps = state.engines.values().any(Holder::keeps);
        if !computes && keeps && self.since.elapsed() < SETTLING {
            let asks = state.ask_others(None);
            drop(state);
            asks.iter().for_each(|ask| ask());
            return Lent::Later;
        }
        // What runs may yet take what it was planned with.
        let planned = if computes { state.occupied(self.id, 0).now } else { 0 };
        let total = resident.max(planned).saturating_add(state.lent).saturating_add(bytes);
        match total <= budget {
            true => {
                state.lent += bytes;
                Lent::Granted(Loan { account: Arc::clone(&self.account), bytes })
            }
            false if computes || state.lent > 0 => Lent::Later,
            false => Lent::Never { total },
        }
    }
}

impl Drop for LoanRequest {
    fn drop(&mut self) {
        self.account.lock().queue.retain(|&id| id != self.id);
        self.account.changed.notify_all();
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut state = self.account.lock();
        state.lent = state.lent.saturating_sub(self.bytes);
        drop(state);
        self.account.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Registration, Share};
    use super::*;
    use crate::cancel::Stop;

    const MIB: u64 = 1 << 20;

    fn engine(account: &Arc<Account>) -> Share {
        let ask = Arc::new(|| ());
        let (resident, model, threads, floor) = (20 * MIB, 0, 0, 0);
        account.register(Registration { resident, model, threads, floor, gives_back: true, ask })
    }

    fn granted(lent: Lent) -> Loan {
        match lent {
            Lent::Granted(loan) => loan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_job_was_planned_with_is_not_lent() {
        let account = Arc::new(Account::default());
        let computing = engine(&account);
        let ask = |resident: u64| {
            LoanRequest::new(&account).ask_beside(resident * MIB, 30 * MIB, 100 * MIB)
        };
        assert!(matches!(ask(80), Lent::Never { total } if total == 110 * MIB));
        drop(granted(ask(70)));
        computing.hold(60 * MIB);
        // Little of the 60 is resident yet.
        assert!(matches!(ask(30), Lent::Later));
        computing.rest(0);
        drop(granted(ask(30)));
    }

    #[test]
    fn a_job_waits_for_what_is_lent_and_is_not_refused_for_it() {
        let account = Arc::new(Account::default());
        let share = engine(&account);
        let before = share.occupied();
        let loan = granted(LoanRequest::new(&account).ask_beside(20 * MIB, 30 * MIB, 100 * MIB));
        let claim = share.claim(Some(50 * MIB));
        let during = claim.occupied();
        assert_eq!((during.now, during.least), (before.now + 30 * MIB, before.least));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| claim.wait_for_less(during, &Stop::default()));
            drop(loan);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(claim.occupied().now, before.now);
    }

    #[test]
    fn who_asks_is_served_in_order() {
        let account = Arc::new(Account::default());
        let (first, last) = (engine(&account), engine(&account));
        let claim = first.claim(None);
        let request = LoanRequest::new(&account);
        assert!(matches!(request.ask_beside(0, MIB, 100 * MIB), Lent::Later));
        let behind = last.claim(None);
        drop(claim);
        drop(granted(request.ask_beside(0, MIB, 100 * MIB)));
        assert!(!behind.is_first());
        drop(request);
        assert!(behind.is_first());
    }
}
