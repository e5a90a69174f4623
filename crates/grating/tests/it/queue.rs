//! Requests that wait: how they leave the queue while the compute thread is busy with another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use grating::{
    CancelToken, Error, IoError, Request, Reranker, Selection, Storage, Texts, Ticket,
    TrySubmitError, WindowSize,
};

use crate::golden;

const TEXTS: [&str; 4] = ["a window", "glass that slides in a frame", "the river", "a window"];

/// Lets reads of weights through while it is open.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn close(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.changed.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// A disk behind a gate.
#[derive(Debug)]
struct Gated(Arc<dyn Storage>, Arc<Gate>);

impl Storage for Gated {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn name(&self) -> &str {
        self.0.name()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.1.pass();
        self.0.read_at(offset, buf)
    }
}

/// A reranker whose requests get stuck as long as the gate is closed, which opens when this is dropped.
struct Stuck {
    gate: Arc<Gate>,
    reranker: Reranker,
}

impl Stuck {
    fn new(queue_length: usize) -> Self {
        let gate = Arc::new(Gate::default());
        let ours = Arc::clone(&gate);
        let reranker = Reranker::builder()
            .model(golden("bert-gelu-f32").to_str().unwrap())
            .window(WindowSize::Slots(1))
            .threads(1)
            .queue_length(queue_length)
            .map_storages(move |storage| Arc::new(Gated(storage, Arc::clone(&ours))))
            .build()
            .unwrap();
        gate.close(true);
        Stuck { gate, reranker }
    }

    /// A request that is being computed and stuck.
    fn busy(&self) -> Ticket {
        let first = self.reranker.submit(request("a river")).unwrap();
        self.until_running();
        first
    }

    fn until_running(&self) {
        while self.reranker.waiting().running == 0 {
            std::thread::yield_now();
        }
    }

    fn waiting(&self) -> usize {
        self.reranker.waiting().jobs.len()
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.gate.close(false);
    }
}

fn request(query: &str) -> Request {
    Request::new(query, &TEXTS, 4)
}

fn scores(selection: &Selection) -> Vec<(usize, u32)> {
    selection.results.iter().map(|r| (r.index, r.raw_score.0.to_bits())).collect()
}

#[test]
fn who_waits_leaves_at_once_while_another_is_computed() {
    let stuck = Stuck::new(4);
    let first = stuck.busy();
    let token = CancelToken::new();
    let cancelled = stuck.reranker.submit(request("glass").cancel(&token)).unwrap();
    let other = stuck.reranker.submit(request("water").cancel(&token)).unwrap();
    let dropped = stuck.reranker.submit(request("frame")).unwrap();
    let last = stuck.reranker.submit(request("window")).unwrap();
    assert_eq!(stuck.waiting(), 4);
    // Dropping one does not cancel the others of its token.
    drop(dropped);
    assert_eq!((stuck.waiting(), token.is_cancelled()), (3, false));
    token.cancel();
    assert_eq!(stuck.waiting(), 1);
    assert!(matches!(cancelled.wait(), Err(Error::Cancelled)));
    assert!(matches!(other.wait(), Err(Error::Cancelled)));
    let allowed = Duration::from_millis(3);
    let late = stuck.reranker.run(request("river").deadline(allowed)).unwrap_err();
    assert!(late.to_string().contains("not done within 3ms; allow it more time"), "{late}");
    // All of that while the first one is stuck; it and the last are none the worse for it.
    assert_eq!(stuck.reranker.waiting().running, 1);
    stuck.gate.close(false);
    for (pending, query) in [(first, "a river"), (last, "window")] {
        let alone = stuck.reranker.rerank(query, &TEXTS, 4).unwrap();
        assert_eq!(scores(&pending.wait().unwrap()), scores(&alone));
    }
}

#[test]
fn a_deadline_ends_a_request_that_is_being_computed() {
    let stuck = Stuck::new(1);
    // Long enough for this machine to begin with it.
    let (mut pending, allowed) = (0..12)
        .find_map(|doubled| {
            let allowed = Duration::from_millis(20 << doubled);
            let pending = stuck.reranker.submit(request("a river").deadline(allowed)).unwrap();
            while stuck.waiting() > 0 {
                std::thread::yield_now();
            }
            (stuck.reranker.waiting().running == 1).then_some((pending, allowed))
        })
        .unwrap();
    assert!(pending.wait_timeout(allowed).is_none(), "it cannot look while it waits for the disk");
    stuck.gate.close(false);
    match pending.wait() {
        Err(Error::DeadlineExceeded { allowed: said }) => assert_eq!(said, allowed),
        other => panic!("{other:?}"),
    }
    assert!(stuck.reranker.rerank("a river", &TEXTS, 1).is_ok());
}

#[test]
fn a_full_queue_gives_the_request_back_as_it_was() {
    let stuck = Stuck::new(1);
    let first = stuck.busy();
    let waiting = stuck.reranker.submit(request("glass")).unwrap();
    let texts: Texts = vec!["a river".to_string(), "a window".to_string()].into();
    let refused = stuck.reranker.try_submit(Request::new("water", texts.clone(), 2)).unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("the queue is full: 1 requests may wait"), "{words}");
    let TrySubmitError::Full { request, length: 1 } = refused else { panic!("{refused:?}") };
    drop(waiting);
    let again = stuck.reranker.try_submit(*request).unwrap();
    // What cannot be answered is refused as such, however full the queue is.
    let wrong = stuck.reranker.try_submit(Request::new("water", texts.clone(), 0));
    assert!(matches!(wrong, Err(TrySubmitError::Refused(Error::ZeroK))));
    stuck.gate.close(false);
    let alone = stuck.reranker.rerank("water", &texts.to_vec(), 2).unwrap();
    assert_eq!(scores(&again.wait().unwrap()), scores(&alone));
    first.wait().unwrap();
}

#[test]
fn an_answer_can_be_waited_for_elsewhere_and_in_pieces() {
    let stuck = Stuck::new(2);
    let mut pending = stuck.busy();
    assert!(pending.wait_timeout(Duration::ZERO).is_none());
    stuck.gate.close(false);
    let selection = std::thread::spawn(move || {
        let selection = loop {
            if let Some(selection) = pending.wait_timeout(Duration::from_millis(1)) {
                break selection;
            }
        };
        assert!(pending.progress().is_some_and(|progress| progress.done == progress.total));
        assert!(pending.wait_timeout(Duration::ZERO).is_some_and(|again| again.is_err()));
        selection
    });
    let selection = selection.join().unwrap().unwrap();
    assert_eq!((selection.stats.candidates, selection.stats.distinct_candidates), (4, 3));
    assert!(selection.stats.queued <= selection.stats.total);
}

#[test]
fn requests_of_a_reranker_that_goes_are_served_first() {
    let stuck = Stuck::new(2);
    let (first, second) = (stuck.busy(), stuck.reranker.submit(request("glass")).unwrap());
    drop(stuck);
    assert!(first.wait().is_ok() && second.wait().is_ok());
}

#[test]
fn several_requests_are_answered_in_order_and_one_that_fails_leaves_the_others() {
    let stuck = Stuck::new(2);
    stuck.gate.close(false);
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let queries = ["glass", "water", "river", "frame", "slide", "window", "a"];
    let requests = queries.map(|query| match query {
        "water" => Request::new(query, &TEXTS, 0),
        "river" => request(query).cancel(&cancelled),
        "slide" => Request::new(query, vec!["texts of its own".to_string()], 4),
        _ => request(query),
    });
    let answers: Vec<grating::Result<Selection>> = stuck.reranker.rerank_many(requests).collect();
    assert_eq!(answers.len(), queries.len());
    for (query, answer) in queries.into_iter().zip(answers) {
        match query {
            "water" => assert!(matches!(answer, Err(Error::ZeroK))),
            "river" => assert!(matches!(answer, Err(Error::Cancelled))),
            "slide" => assert_eq!(answer.unwrap().results.len(), 1),
            _ => {
                let alone = stuck.reranker.rerank(query, &TEXTS, 4).unwrap();
                assert_eq!(scores(&answer.unwrap()), scores(&alone));
            }
        }
    }
}

#[test]
fn of_several_requests_no_more_are_tokenized_than_may_wait() {
    const REQUESTS: usize = 12;
    let stuck = Stuck::new(2);
    let drawn = AtomicUsize::new(0);
    let query = |i: usize| format!("query {i}");
    std::thread::scope(|scope| {
        let (stuck, drawn) = (&stuck, &drawn);
        let answers = scope.spawn(move || {
            let requests = (0..REQUESTS).map(|i| {
                drawn.fetch_add(1, Ordering::Relaxed);
                request(&query(i))
            });
            let answers = stuck.reranker.rerank_many(requests);
            assert_eq!(answers.size_hint(), (REQUESTS, Some(REQUESTS)));
            answers.map(|answer| scores(&answer.unwrap())).collect::<Vec<_>>()
        });
        // One that is computed and two that wait, or the third found the queue full before the first was taken.
        while drawn.load(Ordering::Relaxed) < 3 || stuck.reranker.waiting().running < 1 {
            std::thread::yield_now();
        }
        let waiting = stuck.reranker.waiting();
        let (held, drawn) = (waiting.jobs.len() + waiting.reserved, drawn.load(Ordering::Relaxed));
        stuck.gate.close(false);
        assert!(held <= 2 && drawn == 3, "{held} {drawn}");
        for (i, answer) in answers.join().unwrap().into_iter().enumerate() {
            let alone = stuck.reranker.rerank(&query(i), &TEXTS, 4).unwrap();
            assert_eq!(answer, scores(&alone));
        }
    });
    assert_eq!(drawn.into_inner(), REQUESTS);
}

#[test]
fn answers_that_nobody_wants_any_more_are_not_computed() {
    let stuck = Stuck::new(2);
    stuck.gate.close(false);
    let mut answers = stuck.reranker.rerank_many((0..9).map(|i| request(&format!("query {i}"))));
    assert!(answers.next().unwrap().is_ok());
    drop(answers);
    assert_eq!((stuck.waiting(), stuck.reranker.waiting().reserved), (0, 0));
}
