//! The queue without a worker: whoever leaves, leaves although nobody takes anything.

use std::sync::atomic::{AtomicUsize, Ordering};

use grating_model::Encoding;
use proptest::prelude::*;

use super::*;
use crate::cancel::Deadline;
use crate::job::JobOutput;

/// A job that is known by its K.
fn job(k: usize) -> Job {
    Job::new(vec![Encoding::default(); 2], k)
}

/// Room for so many jobs.
fn queue_of(length: usize) -> Arc<Queue> {
    Queue::new(length, true, RowRules::default())
}

fn submit(queue: &Arc<Queue>, job: Job) -> Ticket {
    queue.try_reserve().unwrap().unwrap().submit(job)
}

fn wait(ticket: Ticket) -> Result<JobOutput> {
    ticket.wait(|_| ())
}

fn waiting(queue: &Queue) -> Vec<usize> {
    queue.lock().line.iter().map(|entry| entry.job.k).collect()
}

/// The worker's next job.
fn take(queue: &Arc<Queue>) -> Dequeued {
    match queue.take() {
        Some(Next::Job(taken)) => *taken,
        _ => panic!("a job waits, and no call"),
    }
}

/// Takes the jobs whose number is like that, wherever in the line they are.
fn take_those(queue: &Arc<Queue>, like: impl Fn(usize) -> bool) -> Vec<Dequeued> {
    let state = queue.lock();
    let waiting: Vec<(u64, usize)> = state.line.iter().map(|e| (e.id, e.job.k)).collect();
    drop(state);
    let liked = waiting.into_iter().filter(|&(_, k)| like(k));
    liked.filter_map(|(id, _)| queue.take_job(id)).collect()
}

/// An answer that no other job gets.
fn answer(taken: Dequeued) {
    let allowed = Duration::from_secs(taken.job.k as u64);
    taken.answer.done(Err(EngineError::DeadlineExceeded { allowed }));
}

/// The number of the job that the answer was for.
fn answered(ticket: Ticket) -> usize {
    match wait(ticket) {
        Err(EngineError::DeadlineExceeded { allowed }) => allowed.as_secs() as usize,
        other => panic!("{other:?}"),
    }
}

fn until(holds: impl Fn() -> bool) {
    while !holds() {
        std::thread::yield_now();
    }
}

#[test]
fn jobs_are_taken_in_order_and_answered_one_by_one() {
    let queue = queue_of(3);
    let tickets = [7, 8, 9].map(|k| submit(&queue, job(k)));
    assert!(queue.try_reserve().unwrap().is_none(), "three may wait");
    let (first, second) = (take(&queue), take(&queue));
    assert_eq!((first.job.k, second.job.k), (7, 8));
    assert_eq!((queue.waiting().running, waiting(&queue)), (2, vec![9]));
    answer(second);
    answer(first);
    assert_eq!(queue.waiting().running, 0);
    answer(take(&queue));
    assert_eq!(tickets.map(answered), [7, 8, 9]);
}

#[test]
fn a_cancelled_job_leaves_from_the_middle_while_nobody_takes_any() {
    let queue = queue_of(3);
    let second = job(2);
    let token = second.cancel.clone();
    let tickets = [job(1), second, job(3)].map(|job| submit(&queue, job));
    token.cancel();
    assert_eq!(waiting(&queue), [1, 3]);
    let [_first, second, _third] = tickets;
    assert!(matches!(wait(second), Err(EngineError::Cancelled)));
    assert!(queue.try_reserve().unwrap().is_some(), "its place is free");
}

#[test]
fn a_job_that_is_cancelled_or_late_already_does_not_get_in() {
    let queue = queue_of(2);
    let (cancelled, mut late) = (job(1), job(2));
    cancelled.cancel.cancel();
    late.deadline = Some(Deadline::after(Duration::ZERO));
    let [cancelled, late] = [cancelled, late].map(|job| submit(&queue, job));
    assert_eq!(queue.waiting().jobs, []);
    assert!(matches!(wait(cancelled), Err(EngineError::Cancelled)));
    let error = wait(late).unwrap_err();
    assert!(matches!(error, EngineError::DeadlineExceeded { allowed: Duration::ZERO }));
}

#[test]
fn a_deadline_ends_a_job_that_waits_and_says_what_was_allowed() {
    let queue = queue_of(2);
    let mut late = job(1);
    late.deadline = Some(Deadline::after(Duration::from_millis(2)));
    let stays = submit(&queue, job(2));
    let error = wait(submit(&queue, late)).unwrap_err();
    assert_eq!(error.to_string(), "the job was not done within 2ms");
    assert_eq!(waiting(&queue), [2]);
    drop(stays);
}

#[test]
fn the_deadline_of_another_frees_a_place_although_nobody_waits_for_that_answer() {
    let queue = queue_of(1);
    let mut late = job(1);
    late.deadline = Some(Deadline::after(Duration::from_millis(2)));
    let _late = submit(&queue, late);
    let place = queue.reserve(&Stop::default()).unwrap();
    let _ticket = place.submit(job(2));
    assert_eq!(waiting(&queue), [2]);
}

#[test]
fn who_drops_the_ticket_leaves_and_the_token_stays_good_for_others() {
    let queue = queue_of(2);
    let token = CancelToken::new();
    let with_token = |k| Job { cancel: token.clone(), ..job(k) };
    let (kept, dropped) = (submit(&queue, with_token(1)), submit(&queue, with_token(2)));
    drop(dropped);
    assert_eq!(waiting(&queue), [1]);
    assert!(!token.is_cancelled());
    // The worker sees it where the job has begun.
    let running = take(&queue);
    let stop = running.job.stop();
    assert!(stop.check().is_ok());
    drop(kept);
    assert!(matches!(stop.check(), Err(EngineError::Cancelled)));
    assert!(!token.is_cancelled());
}

#[test]
fn a_clone_of_a_job_is_not_abandoned_with_it() {
    let queue = queue_of(1);
    let original = job(1);
    drop(submit(&queue, original.clone()));
    let _again = submit(&queue, original);
    assert_eq!(waiting(&queue), [1]);
}

#[test]
fn callers_wait_for_a_place_in_the_order_in_which_they_came() {
    let queue = queue_of(1);
    let first = submit(&queue, job(0));
    std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for k in 1..4 {
            let queue = &queue;
            callers.push(scope.spawn(move || {
                let place = queue.reserve(&Stop::default()).unwrap();
                answered(place.submit(job(k)))
            }));
            until(|| queue.waiting().blocked == k);
        }
        assert!(queue.try_reserve().unwrap().is_none());
        let served: Vec<usize> = (0..4)
            .map(|_| {
                let taken = take(&queue);
                let k = taken.job.k;
                answer(taken);
                k
            })
            .collect();
        assert_eq!(served, [0, 1, 2, 3]);
        let answers: Vec<usize> = callers.into_iter().map(|c| c.join().unwrap()).collect();
        assert_eq!(answers, [1, 2, 3]);
    });
    assert_eq!(answered(first), 0);
}

#[test]
fn who_waits_for_a_place_can_be_cancelled_or_be_too_late() {
    let queue = queue_of(1);
    let _first = submit(&queue, job(1));
    let stop = Stop::default();
    let late = Stop { deadline: Some(Deadline::after(Duration::from_millis(2))), ..stop.clone() };
    std::thread::scope(|scope| {
        let cancelled = scope.spawn(|| queue.reserve(&stop).map(drop));
        until(|| queue.waiting().blocked == 1);
        // Behind that one, so that it cannot have been served.
        assert!(matches!(queue.reserve(&late), Err(EngineError::DeadlineExceeded { .. })));
        stop.cancel.cancel();
        assert!(matches!(cancelled.join().unwrap(), Err(EngineError::Cancelled)));
    });
    assert_eq!(queue.waiting().blocked, 0);
}

#[test]
fn a_place_that_is_not_filled_is_free_again() {
    let queue = queue_of(1);
    let place = queue.try_reserve().unwrap().unwrap();
    assert_eq!(queue.waiting().reserved, 1);
    assert!(queue.try_reserve().unwrap().is_none());
    drop(place);
    assert!(queue.try_reserve().unwrap().is_some());
}

#[test]
fn the_worker_takes_jobs_from_wherever_they_are_in_the_line() {
    let queue = queue_of(6);
    let _tickets: Vec<Ticket> = (1..6).map(|k| submit(&queue, job(k))).collect();
    let first = take(&queue);
    let more = take_those(&queue, |k| k % 2 == 0);
    assert_eq!(more.iter().map(|taken| taken.job.k).collect::<Vec<_>>(), [2, 4]);
    assert_eq!((queue.waiting().running, waiting(&queue)), (3, vec![3, 5]));
    drop((first, more));
    assert_eq!(queue.waiting().running, 0);
}

#[test]
fn who_leaves_while_the_worker_thinks_is_not_taken() {
    let queue = queue_of(4);
    let [second, third] = [job(2), job(3)];
    let token = second.cancel.clone();
    let [_first, second, third, _fourth] =
        [job(1), second, third, job(4)].map(|job| submit(&queue, job));
    let ids: Vec<u64> = queue.pools().into_iter().map(|(id, _)| id).collect();
    token.cancel();
    drop(third);
    assert!(matches!(wait(second), Err(EngineError::Cancelled)));
    let taken: Vec<usize> =
        ids.into_iter().filter_map(|id| queue.take_job(id)).map(|taken| taken.job.k).collect();
    assert_eq!(taken, [1, 4]);
}

#[test]
fn a_pool_is_known_before_the_job_is_taken_and_goes_with_it() {
    let queue = queue_of(2);
    let encoding = |ids: &[u32]| Encoding { ids: ids.to_vec(), ..Encoding::default() };
    let job = Job::new(vec![encoding(&[1, 2, 3]), encoding(&[1, 4])], 1);
    let _ticket = submit(&queue, job);
    let expected = PoolShape::new(vec![2, 1]).with_prefix(1);
    assert_eq!(*queue.pools()[0].1, expected);
    assert_eq!(*take(&queue).pool, expected);
}

#[test]
fn calls_come_before_jobs_and_giving_back_is_asked_once() {
    let queue = queue_of(1);
    let _ticket = submit(&queue, job(1));
    queue.call(Call::GiveBack).unwrap();
    queue.call(Call::GiveBack).unwrap();
    assert!(matches!(queue.take(), Some(Next::Call(Call::GiveBack))));
    assert_eq!(take(&queue).job.k, 1);
}

#[test]
fn a_closed_queue_serves_who_waits_and_nobody_else() {
    let queue = queue_of(2);
    let ticket = submit(&queue, job(1));
    let place = queue.try_reserve().unwrap().unwrap();
    queue.close();
    assert!(matches!(wait(place.submit(job(2))), Err(EngineError::WorkerGone)));
    assert!(matches!(queue.try_reserve(), Err(EngineError::WorkerGone)));
    assert!(matches!(queue.reserve(&Stop::default()), Err(EngineError::WorkerGone)));
    assert!(queue.call(Call::GiveBack).is_err());
    answer(take(&queue));
    assert_eq!(answered(ticket), 1);
    assert!(queue.take().is_none());
}

#[test]
fn nobody_waits_for_a_worker_that_is_gone() {
    let queue = queue_of(1);
    let ticket = submit(&queue, job(1));
    let (answer, inbox) = crossbeam_channel::bounded(1);
    queue.call(Call::Plan(PoolShape::uniform(1, 1), answer)).unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| queue.reserve(&Stop::default()).map(drop));
        until(|| queue.waiting().blocked == 1);
        queue.abandon();
        assert!(matches!(blocked.join().unwrap(), Err(EngineError::WorkerGone)));
    });
    assert!(matches!(wait(ticket), Err(EngineError::WorkerGone)));
    assert!(inbox.recv().is_err());
    // Nor for an answer that a taken job never got.
    let queue = queue_of(1);
    let ticket = submit(&queue, job(1));
    drop(take(&queue));
    assert!(matches!(wait(ticket), Err(EngineError::WorkerGone)));
}

#[test]
fn a_wait_may_be_too_short_and_news_are_in_order() {
    let queue = queue_of(1);
    let mut ticket = submit(&queue, job(1));
    assert!(ticket.wait_timeout(Duration::ZERO, |_| ()).is_none());
    assert_eq!(ticket.progress(), None);
    let taken = take(&queue);
    let news = |done| crate::Progress { done, total: 9, layers: 3, ..Default::default() };
    [1, 3, 2].into_iter().for_each(|done| taken.answer.progress(news(done)));
    assert_eq!(ticket.progress(), Some(news(3)), "what comes late is no news");
    // More than there is room for: the worker does not wait for a caller who does not listen.
    (4..100).for_each(|done| taken.answer.progress(news(done)));
    answer(taken);
    let mut heard = Vec::new();
    let outcome = ticket.wait(|progress| heard.push(progress.done));
    assert!(matches!(outcome, Err(EngineError::DeadlineExceeded { .. })));
    assert!(!heard.is_empty() && heard.windows(2).all(|w| w[0] < w[1]), "{heard:?}");
}

#[test]
fn every_ticket_gets_one_answer_whoever_cancels_whatever_meanwhile() {
    const CALLERS: usize = 4;
    const JOBS: usize = 200;
    let queue = queue_of(3);
    let ended = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (queue, ended) = (&queue, &ended);
            scope.spawn(move || {
                for number in 1..=JOBS {
                    let k = caller * JOBS + number;
                    let (job, stop) = (job(k), Stop::default());
                    let (job, stop) = (Job { cancel: stop.cancel.clone(), ..job }, stop);
                    let canceller = scope.spawn(move || {
                        if k.is_multiple_of(3) {
                            stop.cancel.cancel();
                        }
                    });
                    let place = queue.reserve(&job.stop());
                    match place.and_then(|place| wait(place.submit(job))) {
                        Err(EngineError::DeadlineExceeded { allowed }) => {
                            assert_eq!(allowed.as_secs() as usize, k);
                        }
                        Err(EngineError::Cancelled) => assert_eq!(k % 3, 0),
                        other => panic!("{other:?}"),
                    }
                    canceller.join().unwrap();
                    if ended.fetch_add(1, Ordering::Relaxed) + 1 == CALLERS * JOBS {
                        queue.close();
                    }
                }
            });
        }
        while let Some(next) = queue.take() {
            let Next::Job(first) = next else { panic!("nobody calls") };
            let more = take_those(&queue, |k| k % 2 == 0);
            std::iter::once(*first).chain(more).for_each(answer);
        }
    });
    let Waiting { jobs, reserved, blocked, running, .. } = queue.waiting();
    assert_eq!((jobs.len(), reserved, blocked, running), (0, 0, 0, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Submit,
    /// The n-th ticket still held, modulo their number: cancelled, or dropped.
    Cancel(usize),
    Drop(usize),
    Take,
    /// Jobs whose number is divisible by this.
    TakeThose(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Submit),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => Just(Step::Take),
        1 => (1..4usize).prop_map(Step::TakeThose),
    ]
}

proptest! {
    /// Against a plain list: who waits, who is told what.
    #[test]
    fn the_line_is_as_a_list_would_be(length in 1..5usize, steps in prop::collection::vec(step(), 0..60)) {
        let queue = queue_of(length);
        let (mut list, mut tickets): (Vec<usize>, Vec<(usize, CancelToken, Ticket)>) = Default::default();
        for (k, step) in steps.into_iter().enumerate() {
            let at = |n: usize| n.checked_rem(tickets.len());
            match step {
                Step::Submit => {
                    let place = queue.try_reserve().unwrap();
                    prop_assert_eq!(place.is_some(), list.len() < length);
                    if let Some(place) = place {
                        let job = job(k);
                        tickets.push((k, job.cancel.clone(), place.submit(job)));
                        list.push(k);
                    }
                }
                Step::Cancel(n) => if let Some(at) = at(n) {
                    let (k, token, ticket) = tickets.remove(at);
                    token.cancel();
                    prop_assert!(matches!(wait(ticket), Err(EngineError::Cancelled)));
                    list.retain(|&other| other != k);
                },
                Step::Drop(n) => if let Some(at) = at(n) {
                    let (k, ..) = tickets.remove(at);
                    list.retain(|&other| other != k);
                },
                Step::Take => if !list.is_empty() {
                    let k = list.remove(0);
                    let taken = take(&queue);
                    prop_assert_eq!(taken.job.k, k);
                    answer(taken);
                    let at = tickets.iter().position(|(other, ..)| *other == k).unwrap();
                    prop_assert_eq!(answered(tickets.remove(at).2), k);
                },
                Step::TakeThose(divisor) => {
                    let taken = take_those(&queue, |k| k % divisor == 0);
                    let expected: Vec<usize> = list.extract_if(.., |k| *k % divisor == 0).collect();
                    prop_assert_eq!(taken.iter().map(|t| t.job.k).collect::<Vec<_>>(), expected);
                    for taken in taken {
                        let k = taken.job.k;
                        answer(taken);
                        let at = tickets.iter().position(|(other, ..)| *other == k).unwrap();
                        prop_assert_eq!(answered(tickets.remove(at).2), k);
                    }
                }
            }
            prop_assert_eq!(waiting(&queue), list.clone());
        }
    }
}
