//! What a job's caller holds: progress and answer come over channels of the job's own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select_biased};

use crate::cancel::Stop;
use crate::error::{EngineError, Result};
use crate::job::JobOutput;
use crate::progress::Progress;
use crate::queue::{Queue, RunningGuard};

/// Progress messages that may wait; past that the oldest news is not worth waiting for.
const EVENTS: usize = 16;

/// A job that was submitted. Dropping it cancels the job: nobody is there for the answer.
#[must_use = "dropping a ticket cancels its job"]
pub struct Ticket {
    answer: Receiver<Box<Result<JobOutput>>>,
    progress: Receiver<Progress>,
    /// The last news.
    latest: Option<Progress>,
    /// Whether the answer was had.
    answered: bool,
    stop: Stop,
    queue: Arc<Queue>,
}

/// The worker's end of a ticket.
pub(crate) struct Reply {
    done: Sender<Box<Result<JobOutput>>>,
    report: Sender<Progress>,
    running: Option<RunningGuard>,
}

/// A channel that was closed without an answer.
fn gone<E>(_: E) -> Result<JobOutput> {
    Err(EngineError::WorkerGone)
}

/// Both ends of a job in `queue` that may end early.
pub(crate) fn pair(stop: Stop, queue: Arc<Queue>) -> (Reply, Ticket) {
    // There is room for the one answer, so that the worker never waits for a caller.
    let (done, answer) = bounded(1);
    let (report, progress) = bounded(EVENTS);
    let ticket = Ticket { answer, progress, latest: None, answered: false, stop, queue };
    (Reply { done, report, running: None }, ticket)
}

impl Reply {
    /// The same, of a job that the worker has taken.
    pub(crate) fn of_running(self, running: RunningGuard) -> Self {
        Reply { running: Some(running), ..self }
    }

    /// How far the job is; news that nobody fetches are lost.
    pub(crate) fn progress(&self, progress: Progress) {
        _ = self.report.try_send(progress);
    }

    /// The end of the job. A caller that is gone needs no answer.
    pub(crate) fn done(mut self, result: Result<JobOutput>) {
        // Whoever has the answer finds the job among the running ones no more.
        self.running = None;
        _ = self.done.send(Box::new(result));
    }
}

impl Ticket {
    /// Waits for the answer; `on_progress` runs on the calling thread meanwhile.
    ///
    /// # Errors
    /// Whatever ended the job.
    pub fn wait(mut self, mut on_progress: impl FnMut(Progress)) -> Result<JobOutput> {
        loop {
            if let Some(answer) = self.next(None, &mut on_progress) {
                return answer;
            }
        }
    }

    /// As [`Self::wait`], but no longer than `timeout`; nothing where there is no answer yet. It can be had once.
    pub fn wait_timeout(
        &mut self,
        timeout: Duration,
        mut on_progress: impl FnMut(Progress),
    ) -> Option<Result<JobOutput>> {
        let until = Instant::now().checked_add(timeout);
        loop {
            let answer = self.next(until, &mut on_progress);
            if answer.is_some() || until.is_some_and(|until| Instant::now() >= until) {
                return answer;
            }
        }
    }

    /// How far the job is, if it has begun.
    pub fn progress(&mut self) -> Option<Progress> {
        while let Ok(progress) = self.progress.try_recv() {
            self.news(progress);
        }
        self.latest
    }

    /// The answer, or nothing after one piece of news, at the deadline, or at `until`.
    fn next(
        &mut self,
        until: Option<Instant>,
        on_progress: &mut impl FnMut(Progress),
    ) -> Option<Result<JobOutput>> {
        // The worker may not have let go of its ends yet.
        if self.answered {
            return Some(Err(EngineError::WorkerGone));
        }
        let answer = self.receive(until, on_progress);
        self.answered = answer.is_some();
        answer
    }

    fn receive(
        &mut self,
        until: Option<Instant>,
        on_progress: &mut impl FnMut(Progress),
    ) -> Option<Result<JobOutput>> {
        // Past its deadline a job that waits is gone at once; one that runs ends at the next chunk, and says so then.
        let deadline = self.stop.at().filter(|at| Instant::now() < *at);
        if deadline.is_none() && self.stop.at().is_some() {
            self.queue.look();
        }
        let timer = until.into_iter().chain(deadline).min().map_or_else(never, at);
        select_biased! {
            recv(self.answer) -> answer => {
                // What was reported before the answer is told before it.
                while let Ok(progress) = self.progress.try_recv() {
                    if self.news(progress) {
                        on_progress(progress);
                    }
                }
                Some(answer.map_or_else(gone, |result| *result))
            }
            recv(self.progress) -> progress => {
                match progress {
                    Ok(progress) if self.news(progress) => on_progress(progress),
                    // Old news, or the end: then the other channel has the answer, or is closed as well.
                    _ => {}
                }
                None
            }
            recv(timer) -> _ => None,
        }
    }

    /// Takes in how far the job is; of what is not worth waiting for, the newest may come late.
    fn news(&mut self, progress: Progress) -> bool {
        let new = self.latest.is_none_or(|latest| progress.done > latest.done);
        if new {
            self.latest = Some(progress);
        }
        new
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("progress", &self.latest).finish_non_exhaustive()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.stop.abandoned.cancel();
        self.queue.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Deadline;

    fn ends(stop: Stop) -> (Reply, Ticket) {
        pair(stop, Queue::new(1, true, crate::tokens::RowRules::default()))
    }

    fn done(done: u64) -> Progress {
        Progress { done, total: 9, layers: 3, ..Progress::default() }
    }

    #[test]
    fn what_was_reported_is_heard_before_the_answer() {
        let (answer, ticket) = ends(Stop::default());
        (1..4).for_each(|n| answer.progress(done(n)));
        answer.done(Err(EngineError::Cancelled));
        let mut heard = Vec::new();
        let outcome = ticket.wait(|progress| heard.push(progress.done));
        assert!(matches!(outcome, Err(EngineError::Cancelled)));
        assert_eq!(heard, [1, 2, 3]);
    }

    #[test]
    fn a_caller_who_does_not_listen_holds_nobody_up() {
        let (answer, mut ticket) = ends(Stop::default());
        let all = EVENTS as u64 + 10;
        (1..=all).for_each(|n| answer.progress(done(n)));
        assert_eq!(ticket.progress(), Some(done(EVENTS as u64)), "what had room");
        answer.progress(done(2));
        assert_eq!(ticket.progress(), Some(done(EVENTS as u64)), "older than what is known");
        answer.progress(done(all));
        assert_eq!(ticket.progress(), Some(done(all)));
    }

    #[test]
    fn an_answer_can_be_had_once() {
        let (answer, mut ticket) = ends(Stop::default());
        assert!(ticket.wait_timeout(Duration::ZERO, |_| ()).is_none());
        answer.done(Err(EngineError::Cancelled));
        let mut ask = || ticket.wait_timeout(Duration::ZERO, |_| ());
        assert!(matches!(ask(), Some(Err(EngineError::Cancelled))));
        assert!(matches!(ask(), Some(Err(EngineError::WorkerGone))));
        let (answer, ticket) = ends(Stop::default());
        drop(answer);
        assert!(matches!(ticket.wait(|_| ()), Err(EngineError::WorkerGone)));
    }

    #[test]
    fn past_its_deadline_a_job_that_runs_says_itself_what_became_of_it() {
        let late = Stop { deadline: Some(Deadline::after(Duration::ZERO)), ..Stop::default() };
        let (answer, mut ticket) = ends(late);
        assert!(ticket.wait_timeout(Duration::ZERO, |_| ()).is_none(), "it may be done by now");
        let allowed = Duration::ZERO;
        answer.done(Err(EngineError::DeadlineExceeded { allowed }));
        let outcome = ticket.wait(|_| ());
        assert!(matches!(outcome, Err(EngineError::DeadlineExceeded { .. })));
    }
}
