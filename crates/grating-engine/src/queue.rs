//! Jobs that wait for the worker: a bounded queue that a job can leave from anywhere in the line.
//!
//! A channel hands over what is in front and nothing else. Here a job that is cancelled leaves from the middle, the
//! worker looks down the line for jobs that fit into the pass that it is about to make and takes those, and a caller takes
//! a place before it does the work of filling it. Hence a list under one lock with two conditions; what a job's caller is told goes over
//! channels of the job's own ([`Ticket`]).
//!
//! No thread watches deadlines: whoever would notice looks. That is the caller who waits for the answer, the callers who
//! wait for a place, the worker when it takes a job, and whoever asks who is waiting.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use grating_prune::{StageAt, TokenPolicy};
use grating_sched::{Plan, PoolShape};

use crate::cancel::{CancelToken, Listening, Stop};
use crate::error::{EngineError, Result};
use crate::job::Job;
use crate::prefix;
use crate::ticket::{self, Reply, Ticket};
use crate::tokens::RowRules;

/// The jobs of one engine that nobody computes yet.
pub(crate) struct Queue {
    /// Most jobs that wait, those included whose place is taken but not filled.
    length: usize,
    /// Whether what all candidates of a job begin with counts once in its pool.
    shared_prefix: bool,
    /// Where tokens may leave.
    row_rules: RowRules,
    state: Mutex<State>,
    /// The worker's: something has come, or the end.
    come: Condvar,
    /// The callers': a place may be free, somebody was cancelled, or the end has come.
    freed: Condvar,
}

#[derive(Default)]
struct State {
    line: VecDeque<Entry>,
    /// Places that are taken and not filled yet.
    reserved: usize,
    /// Callers who wait for a place, in the order in which they came.
    blocked: VecDeque<u64>,
    /// Of the next job or caller.
    next_id: u64,
    /// Each of its caller waits or comes once, so that there are not many.
    calls: VecDeque<Call>,
    running: usize,
    closed: bool,
}

/// A job in the line.
struct Entry {
    id: u64,
    job: Box<Job>,
    pool: Arc<PoolShape>,
    stop: Stop,
    tokens: usize,
    since: Instant,
    answer: Reply,
    /// Has the queue looked at when the caller's token is cancelled.
    _listening: Listening,
}

/// What the worker is asked between jobs.
pub(crate) enum Call {
    /// How would such a pool be run now?
    Plan(PoolShape, Sender<Result<Plan>>),
    /// Another engine needs the memory that this one keeps between jobs.
    GiveBack,
}

/// What the worker does next.
pub(crate) enum Next {
    Job(Box<Dequeued>),
    Call(Call),
}

/// A job that the worker has taken, and the way to answer its caller.
pub(crate) struct Dequeued {
    pub(crate) job: Box<Job>,
    pub(crate) pool: Arc<PoolShape>,
    pub(crate) answer: Reply,
    /// Since when it has waited.
    pub(crate) since: Instant,
}

/// A reserved place in the queue that the caller has yet to fill; it is free again when this is dropped.
#[must_use = "the place is free again when this is dropped"]
pub struct Reservation {
    queue: Arc<Queue>,
    filled: bool,
}

/// A job among those that are computed; it is not any more when this is dropped.
pub(crate) struct RunningGuard(Arc<Queue>);

/// Who waits for an engine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Waiting {
    /// Most jobs that wait.
    pub length: usize,
    /// Those that wait, the next one first.
    pub jobs: Vec<WaitingJob>,
    /// Places that are taken for jobs whose texts are still being tokenized.
    pub reserved: usize,
    /// Callers who wait for a place.
    pub blocked: usize,
    /// Jobs that are being computed.
    pub running: usize,
}

/// A job that waits.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct WaitingJob {
    /// How many are to be scored.
    pub candidates: usize,
    /// Of all candidates.
    pub tokens: usize,
    /// For how long.
    pub waited: Duration,
}

impl Queue {
    /// Where a policy's stages are.
    pub(crate) fn stages(&self, policy: &TokenPolicy) -> Vec<StageAt> {
        self.row_rules.places(policy)
    }

    /// What the model says of rows that leave.
    pub(crate) fn row_rules(&self) -> &RowRules {
        &self.row_rules
    }

    /// Room for `length` jobs that wait; with `shared_prefix` their pools count what all candidates begin with once.
    pub(crate) fn new(length: usize, shared_prefix: bool, row_rules: RowRules) -> Arc<Self> {
        let (state, come, freed) = (Mutex::default(), Condvar::new(), Condvar::new());
        Arc::new(Queue { length, shared_prefix, row_rules, state, come, freed })
    }

    /// Most jobs that wait.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Takes a place; waits for one behind those who came before.
    ///
    /// # Errors
    /// What `stop` says, or [`EngineError::WorkerGone`].
    pub(crate) fn reserve(self: &Arc<Self>, stop: &Stop) -> Result<Reservation> {
        let _listening = self.listen(&stop.cancel);
        let mut state = self.lock();
        let id = state.new_id();
        state.blocked.push_back(id);
        let outcome = loop {
            if state.closed {
                break Err(EngineError::WorkerGone);
            }
            if let Err(error) = stop.check() {
                break Err(error);
            }
            if state.blocked.front() == Some(&id) && state.has_room(self.length) {
                state.reserved += 1;
                break Ok(());
            }
            let stops = state.line.iter().map(|entry| &entry.stop).chain([stop]);
            let until = stops.filter_map(Stop::at).min();
            state = self.wait_for_room(state, until);
        };
        state.blocked.retain(|&waiting| waiting != id);
        drop(state);
        // There may be room for the next one, too.
        self.freed.notify_all();
        outcome.map(|()| Reservation { queue: Arc::clone(self), filled: false })
    }

    /// Takes a place if there is one that nobody waits for.
    ///
    /// # Errors
    /// [`EngineError::WorkerGone`].
    pub(crate) fn try_reserve(self: &Arc<Self>) -> Result<Option<Reservation>> {
        let mut state = self.lock();
        if state.closed {
            return Err(EngineError::WorkerGone);
        }
        let free = state.blocked.is_empty() && state.has_room(self.length);
        state.reserved += usize::from(free);
        Ok(free.then(|| Reservation { queue: Arc::clone(self), filled: false }))
    }

    /// Asks the worker something; it answers before it takes the next job.
    ///
    /// # Errors
    /// [`EngineError::WorkerGone`].
    pub(crate) fn call(&self, call: Call) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(EngineError::WorkerGone);
        }
        let said = matches!(call, Call::GiveBack)
            && state.calls.iter().any(|call| matches!(call, Call::GiveBack));
        if !said {
            state.calls.push_back(call);
        }
        self.come.notify_one();
        Ok(())
    }

    /// The worker's next call or job, in the order in which they came; waits for one. Nothing once the queue is closed
    /// and empty.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Next> {
        let mut state = self.lock();
        loop {
            if let Some(call) = state.calls.pop_front() {
                return Some(Next::Call(call));
            }
            if let Some(entry) = state.line.pop_front() {
                state.running += 1;
                drop(state);
                self.freed.notify_all();
                return Some(Next::Job(Box::new(entry.dequeued(self))));
            }
            if state.closed {
                return None;
            }
            drop(self.come.wait(state).unwrap_or_else(PoisonError::into_inner));
            state = self.lock();
        }
    }

    /// The jobs that wait now, in the order in which they came: under which id each can be [taken](Self::take_job), and
    /// its pool.
    pub(crate) fn pools(&self) -> Vec<(u64, Arc<PoolShape>)> {
        self.lock().line.iter().map(|entry| (entry.id, Arc::clone(&entry.pool))).collect()
    }

    /// Takes a job from wherever it is in the line; nothing where it has left, cancelled or too late.
    pub(crate) fn take_job(self: &Arc<Self>, id: u64) -> Option<Dequeued> {
        let mut state = self.lock();
        let at = state.line.iter().position(|entry| entry.id == id)?;
        let entry = state.line.remove(at)?;
        state.running += 1;
        drop(state);
        self.freed.notify_all();
        Some(entry.dequeued(self))
    }

    /// Who waits now.
    pub(crate) fn waiting(&self) -> Waiting {
        let state = self.lock();
        let job = |entry: &Entry| WaitingJob {
            candidates: entry.job.encodings.len(),
            tokens: entry.tokens,
            waited: entry.since.elapsed(),
        };
        Waiting {
            length: self.length,
            jobs: state.line.iter().map(job).collect(),
            reserved: state.reserved,
            blocked: state.blocked.len(),
            running: state.running,
        }
    }

    /// Answers those that are to end, and has callers look whether they still want a place.
    pub(crate) fn look(&self) {
        drop(self.lock());
        self.freed.notify_all();
    }

    /// Nothing more comes in; what waits is still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.come.notify_all();
        self.freed.notify_all();
    }

    /// The worker is gone: whoever waits finds their channel closed.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let (line, calls) = (std::mem::take(&mut state.line), std::mem::take(&mut state.calls));
        drop(state);
        drop((line, calls));
        self.freed.notify_all();
    }

    /// Has the queue looked at when `token` is cancelled.
    fn listen(self: &Arc<Self>, token: &CancelToken) -> Listening {
        let queue = Arc::downgrade(self);
        token.on_cancel(move || {
            if let Some(queue) = queue.upgrade() {
                queue.look();
            }
        })
    }

    /// The state, after those have been answered that are to end.
    fn lock(&self) -> MutexGuard<'_, State> {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = state.take_ended();
            if ended.is_empty() {
                return state;
            }
            drop(state);
            self.freed.notify_all();
            // Outside of the lock, since a large job takes a while to be forgotten.
            ended.into_iter().for_each(|(entry, error)| entry.answer.done(Err(error)));
        }
    }

    /// Waits until a place may be free, or `until`.
    fn wait_for_room<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let state = match until.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(time) => {
                self.freed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.freed.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        drop(state);
        self.lock()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.waiting()).finish()
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn has_room(&self, length: usize) -> bool {
        self.line.len() + self.reserved < length
    }

    /// Takes out who was cancelled or is too late, and why.
    fn take_ended(&mut self) -> Vec<(Entry, EngineError)> {
        let (mut ended, mut at) = (Vec::new(), 0);
        while let Some(entry) = self.line.get(at) {
            match entry.stop.check() {
                Ok(()) => at += 1,
                Err(error) => ended.extend(self.line.remove(at).map(|entry| (entry, error))),
            }
        }
        ended
    }
}

impl Entry {
    /// For the worker, who has counted it among the running ones.
    fn dequeued(self, queue: &Arc<Queue>) -> Dequeued {
        let running = RunningGuard(Arc::clone(queue));
        let answer = self.answer.of_running(running);
        Dequeued { job: self.job, pool: self.pool, answer, since: self.since }
    }
}

impl Reservation {
    /// Fills the place. The ticket is answered at once where the job was cancelled or is too late.
    pub fn submit(mut self, mut job: Job) -> Ticket {
        // A clone of a job that was abandoned is a job of its own.
        job.abandoned = CancelToken::new();
        let stop = job.stop();
        let queue = Arc::clone(&self.queue);
        let (answer, ticket) = ticket::pair(stop.clone(), Arc::clone(&queue));
        // Before it is in the line: who is cancelled from now on is either found there or does not get in.
        let listening = queue.listen(&stop.cancel);
        let tokens = job.encodings.iter().map(|encoding| encoding.ids.len()).sum();
        let pool = Arc::new(prefix::pool(&job, queue.shared_prefix, &queue.row_rules));
        let (job, since) = (Box::new(job), Instant::now());
        let mut state = queue.lock();
        let id = state.new_id();
        let entry = Entry { id, job, pool, stop, tokens, since, answer, _listening: listening };
        self.filled = true;
        state.reserved -= 1;
        let refused = match state.closed {
            true => Err(EngineError::WorkerGone),
            false => entry.stop.check(),
        };
        match refused {
            Ok(()) => {
                state.line.push_back(entry);
                drop(state);
                queue.come.notify_one();
            }
            Err(error) => {
                drop(state);
                queue.freed.notify_all();
                entry.answer.done(Err(error));
            }
        }
        ticket
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.queue.lock().reserved -= 1;
            self.queue.freed.notify_all();
        }
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

#[cfg(test)]
mod tests;
