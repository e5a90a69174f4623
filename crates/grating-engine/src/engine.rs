//! The compute thread: jobs in over a bounded queue, scores and progress out over each job's own channels.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;
use grating_backend::Ops;
use grating_io::Checkpoint;
use grating_model::Model;
use grating_prune::{StageAt, TokenPolicy};
use grating_sched::{Plan, PoolShape};

use crate::account::Account;
use crate::cancel::{CancelToken, Deadline, Stop};
use crate::error::{EngineError, Result, TrySubmitError};
use crate::job::{Job, JobOutput};
use crate::joining::Joining;
use crate::options::EngineOptions;
use crate::progress::Progress;
use crate::queue::{Call, Dequeued, Next, Queue, Reservation, Waiting};
use crate::ticket::{Reply, Ticket};
use crate::tokens::RowRules;
use crate::worker::{Running, Worker};

/// Handle of the compute thread. Dropping it ends the thread after the jobs in the queue.
#[derive(Debug)]
pub struct Engine {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread, which computes on `backend`; from here on nobody knows which one it is. `name` is the model's,
    /// for errors.
    ///
    /// # Errors
    /// When stem or head cannot be read, or the system gives no thread.
    pub fn start<B: Ops>(
        name: String,
        model: Model,
        checkpoint: Checkpoint,
        backend: B,
        options: EngineOptions,
    ) -> Result<Self> {
        let shared_prefix = options.savings.shared_prefix && model.can_share_prefix();
        let queue = Queue::new(options.queue_length.max(1), shared_prefix, RowRules::of(&model));
        let asked = Arc::downgrade(&queue);
        let ask = move || {
            if let Some(queue) = asked.upgrade() {
                // An engine that has ended keeps nothing.
                _ = queue.call(Call::GiveBack);
            }
        };
        let account = Account::of_process();
        let mut worker =
            Worker::new(name, model, checkpoint, backend, options, &account, Arc::new(ask))?;
        let inbox = Inbox(Arc::clone(&queue));
        let thread = std::thread::Builder::new()
            .name("grating-compute".into())
            .spawn(move || serve(&mut worker, &inbox.0))
            .map_err(|e| EngineError::Threads { reason: e.to_string() })?;
        Ok(Engine { queue, thread: Some(thread) })
    }

    /// Puts a job in the queue; waits for a place where it is full.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`] and [`EngineError::DeadlineExceeded`] while there was no place, or that the thread is
    /// gone.
    pub fn submit(&self, job: Job) -> Result<Ticket> {
        Ok(self.queue.reserve(&job.stop())?.submit(job))
    }

    /// Puts a job in the queue if there is a place for it now.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] gives the job back.
    pub fn try_submit(&self, job: Job) -> Result<Ticket, TrySubmitError> {
        match self.queue.try_reserve()? {
            Some(place) => Ok(place.submit(job)),
            None => Err(TrySubmitError::Full { job: Box::new(job), length: self.queue.length() }),
        }
    }

    /// Takes a place in the queue for a job that has yet to be made, so that no more pools are tokenized than may wait;
    /// waits for one where the queue is full.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn reserve(&self, cancel: &CancelToken, deadline: Option<Deadline>) -> Result<Reservation> {
        self.queue.reserve(&Stop { cancel: cancel.clone(), deadline, ..Stop::default() })
    }

    /// As [`Self::reserve`], if there is a place now.
    ///
    /// # Errors
    /// That the thread is gone.
    pub fn try_reserve(&self) -> Result<Option<Reservation>> {
        self.queue.try_reserve()
    }

    /// Who waits in the queue, and for it.
    pub fn waiting(&self) -> Waiting {
        self.queue.waiting()
    }

    /// Selects from a pool, blocking; `on_progress` runs on the calling thread.
    ///
    /// # Errors
    /// Whatever ended the job; the next one is served.
    pub fn select(&self, job: Job, on_progress: impl FnMut(Progress)) -> Result<JobOutput> {
        self.submit(job)?.wait(on_progress)
    }

    /// A pool of whole lengths as its later layers have it where tokens leave by a policy, all of which may: as many as the
    /// policy's shares come to. Of candidates that are too short for it, and by thresholds, none leave.
    ///
    /// # Errors
    /// The policy's own, or that no tokens may leave this model's texts.
    pub fn leaving(&self, pool: PoolShape, policy: &TokenPolicy) -> Result<PoolShape> {
        self.queue.row_rules().leaving(pool, policy)
    }

    /// After which layers of the model the policy's stages are.
    pub fn stages(&self, policy: &TokenPolicy) -> Vec<StageAt> {
        self.queue.stages(policy)
    }

    /// How a pool would be run now; waits for the job that is being computed, not for those in the queue.
    ///
    /// # Errors
    /// [`EngineError::Plan`], or that the thread is gone.
    pub fn plan(&self, pool: PoolShape) -> Result<Plan> {
        let (answer, inbox) = bounded(1);
        self.queue.call(Call::Plan(pool, answer))?;
        inbox.recv().map_err(|_| EngineError::WorkerGone)?
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic outside of a job has already closed the callers' channels; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// The worker's end of the queue: when its thread ends, whyever it does, nobody waits for it any longer.
struct Inbox(Arc<Queue>);

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn serve<B: Ops>(worker: &mut Worker<B>, queue: &Arc<Queue>) {
    while let Some(next) = queue.take() {
        match next {
            // A caller that is gone needs no answer.
            Next::Call(Call::Plan(pool, answer)) => drop(answer.send(worker.plan(&pool))),
            Next::Call(Call::GiveBack) => worker.give_back_if_asked(),
            Next::Job(first) => {
                let jobs = join(worker, queue, *first);
                select(worker, jobs);
            }
        }
    }
}

/// The jobs of the next pass: the one that came first, and those that it takes along.
fn join<B: Ops>(worker: &Worker<B>, queue: &Arc<Queue>, first: Dequeued) -> Vec<Dequeued> {
    let waiting = queue.pools();
    let joining = match waiting.is_empty() {
        true => None,
        false => Joining::new(worker, &first.pool),
    };
    let mut taken = vec![first];
    let Some(mut joining) = joining else { return taken };
    for (id, pool) in waiting {
        // Callers come and go while it plans: who has left since is not in the pass.
        if let Some(joint) = joining.with(worker, pool)
            && let Some(job) = queue.take_job(id)
        {
            joining = joint;
            taken.push(job);
        }
    }
    taken
}

fn select<B: Ops>(worker: &mut Worker<B>, mut taken: Vec<Dequeued>) {
    let queued: Vec<Duration> = taken.iter().map(|taken| taken.since.elapsed()).collect();
    let backend = Arc::clone(&worker.ops);
    // Its threads are entered for one pass only: waiting inside would keep one of them from the callers' encoding.
    let run = || backend.run(|| run(worker, &mut taken));
    let results = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(results) => results,
        Err(panic) => {
            // Nothing that a panic may have left half-done is used again.
            worker.give_back();
            let message = panic_message(&*panic);
            let panicked =
                |_: &Dequeued| Err(EngineError::WorkerPanicked { message: message.clone() });
            taken.iter().map(panicked).collect()
        }
    };
    for ((Dequeued { answer, since, .. }, result), queued) in
        taken.into_iter().zip(results).zip(queued)
    {
        answer.done(result.map(|mut scored| {
            (scored.costs.queued, scored.costs.total) = (queued, since.elapsed());
            scored
        }));
    }
}

fn run<B: Ops>(worker: &mut Worker<B>, taken: &mut [Dequeued]) -> Vec<Result<JobOutput>> {
    let report = |answer| move |progress| Reply::progress(answer, progress);
    let (jobs, reports): (Vec<_>, Vec<_>) = taken
        .iter_mut()
        .map(|taken| ((&mut *taken.job, &taken.pool), report(&taken.answer)))
        .unzip();
    let mut jobs: Vec<Running<'_>> = jobs
        .into_iter()
        .zip(&reports)
        .map(|((job, pool), progress)| Running { job, pool: Arc::clone(pool), progress })
        .collect();
    worker.run(&mut jobs)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".into())
}
