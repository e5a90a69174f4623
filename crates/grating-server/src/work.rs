//! From the bytes of a body to those of an answer, on a thread that may wait for the engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grating::wire::{self, RerankBody, ScoreBody};
use grating::{
    CancelToken, Error, ProfileError, Progress, Pruning, Request, Stats, Texts, Ticket,
    TrySubmitError,
};

use crate::failure::{Failure, Kind};
use crate::models::{Model, seconds_since_1970};
use crate::reply::Told;
use crate::state::Shared;

/// A request that somebody waits for.
pub(crate) struct Ask {
    pub(crate) id: String,
    pub(crate) arrived: Instant,
    /// Cancelled where nobody waits any more.
    pub(crate) cancel: CancelToken,
}

/// What is sent, and what is said of it.
pub(crate) struct Answered {
    pub(crate) bytes: Vec<u8>,
    pub(crate) told: Told,
    pub(crate) times: Times,
}

/// What the headers of text-embeddings-inference say.
#[derive(Debug, Default)]
pub(crate) struct Times {
    total: Duration,
    tokenize: Duration,
    queued: Duration,
    computed: Duration,
    tokens: usize,
}

impl Times {
    fn of(stats: &Stats, arrived: Instant) -> Self {
        let Stats { tokenize, queued, embed, stall, compute, tokens, .. } = *stats;
        let (total, computed) = (arrived.elapsed(), embed + stall + compute);
        Times { total, tokenize, queued, computed, tokens }
    }

    /// Names and values, milliseconds.
    pub(crate) fn headers(&self) -> [(&'static str, u64); 6] {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        [
            ("x-compute-tokens", self.tokens as u64),
            ("x-total-time", ms(self.total)),
            ("x-compute-time", ms(self.computed)),
            ("x-tokenization-time", ms(self.tokenize)),
            ("x-queue-time", ms(self.queued)),
            ("x-inference-time", ms(self.computed)),
        ]
    }
}

/// How far a request is.
pub(crate) enum Event {
    /// It waits behind so many others.
    Queued {
        ahead: usize,
    },
    Progress(Progress),
}

/// Answers a rerank request of any shape.
pub(crate) fn rerank(shared: &Shared, bytes: Vec<u8>, ask: &Ask) -> Result<Answered, Failure> {
    rerank_with(shared, bytes, ask, |_| {})
}

/// As [`rerank`], and tells how far it is once it is in the queue.
pub(crate) fn rerank_with(
    shared: &Shared,
    bytes: Vec<u8>,
    ask: &Ask,
    tell: impl FnMut(Event),
) -> Result<Answered, Failure> {
    let body = RerankBody::parse(&bytes)?;
    drop(bytes);
    let shape = body.shape;
    reranked(shared, body, ask, tell).map_err(|failure| failure.in_shape(shape))
}

fn reranked(
    shared: &Shared,
    body: RerankBody,
    ask: &Ask,
    mut tell: impl FnMut(Event),
) -> Result<Answered, Failure> {
    shared.check_open()?;
    let model = shared.models.find(body.model.as_deref())?;
    if shared.options.log_queries {
        tracing::info!(request_id = ask.id, query = body.query, texts = body.texts.len(), "query");
    }
    check_tokens(shared, model)?;
    let ticket = submit(shared, model, &body, ask)?;
    let (answered, texts) = (body.answered(), body.texts.len());
    if body.truncate == Some(false) && ticket.truncated() > 0 {
        let cut = ticket.truncated();
        let own = model.reranker.info().max_length;
        let most = body.max_tokens.map_or(own, |most| most.min(own));
        let itself = body.max_text_tokens.map(|most| format!(", or {most} by themselves"));
        let message = format!(
            "truncate: {cut} of {texts} texts are longer than {most} tokens with their query{}; shorten them or allow it",
            itself.unwrap_or_default()
        );
        return Err(Failure::new(Kind::Invalid, message));
    }
    let tokens = model.load.add(ticket.tokens());
    let waiting = model.reranker.waiting();
    tell(Event::Queued { ahead: (waiting.jobs.len() + waiting.running).saturating_sub(1) });
    let selection = ticket.wait_with(|progress| tell(Event::Progress(progress)));
    let selection = selection.map_err(|error| in_whole(error, allowed(shared, &body)))?;
    drop(tokens);
    record(shared, model, &selection.stats);
    let raw_scores = body.raw_scores.unwrap_or(shared.options.raw_scores);
    let wanted = wire::Wanted { id: &ask.id, model: &model.name, raw_scores, answered };
    let bytes = wire::rerank_answer(&body, &selection, &wanted);
    let (tokens, model) = (selection.stats.tokens, Some(model.name.clone()));
    let times = Times::of(&selection.stats, ask.arrived);
    Ok(Answered { bytes, told: Told { model, texts, tokens, failure: None }, times })
}

/// Puts the request in the queue.
fn submit(shared: &Shared, model: &Model, body: &RerankBody, ask: &Ask) -> Result<Ticket, Failure> {
    let allowed = allowed(shared, body);
    let left = time_left(allowed, ask)?;
    let k = body.selected(shared.options.top_k_hint);
    let request = |k: usize, pruning: Option<Pruning>| {
        let texts = Texts::from(Arc::clone(&body.texts));
        let mode = body.mode.unwrap_or(shared.options.mode);
        let mut request = Request::new(&body.query, texts, k).mode(mode).cancel(&ask.cancel);
        if let Some(instruction) = &body.instruction {
            request = request.instruction(instruction);
        }
        if let Some(left) = left {
            request = request.deadline(left);
        }
        request = limited(request, body.max_tokens, body.max_text_tokens);
        if let Some(long) = body.long.long(model.reranker.long()) {
            request = request.long(long);
        }
        match pruning {
            Some(pruning) => request.pruning(pruning),
            None => request,
        }
    };
    let submitted = match model.reranker.try_submit(request(k, None)) {
        Err(TrySubmitError::Refused(Error::Profile(ProfileError::OtherK { expected, .. }))) => {
            // Calibrated for another K: more are selected than are asked for, or nothing is dropped.
            let other = match expected > k {
                true => request(expected, None),
                false => request(k, Some(Pruning::Off)),
            };
            model.reranker.try_submit(other)
        }
        other => other,
    };
    submitted.map_err(|error| match error {
        TrySubmitError::Refused(error) => in_whole(error, allowed).into(),
        full => {
            Failure::new(Kind::Overloaded, full.to_string()).retry_after(model.load.retry_after())
        }
    })
}

/// The request with limits of its own.
fn limited(mut request: Request, tokens: Option<usize>, text_tokens: Option<usize>) -> Request {
    if let Some(tokens) = tokens {
        request = request.max_length(tokens);
    }
    match text_tokens {
        Some(tokens) => request.max_text_tokens(tokens),
        None => request,
    }
}

/// Tokens wait, too, not only requests.
fn check_tokens(shared: &Shared, model: &Model) -> Result<(), Failure> {
    let waiting: usize = model.reranker.waiting().jobs.iter().map(|job| job.tokens).sum();
    match waiting > shared.options.max_queued_tokens {
        true => {
            let message = format!("{waiting} tokens wait before this request; try again later");
            Err(Failure::new(Kind::Overloaded, message).retry_after(model.load.retry_after()))
        }
        false => Ok(()),
    }
}

/// The time that the request, or else the server, allows.
fn allowed(shared: &Shared, body: &RerankBody) -> Option<Duration> {
    body.deadline.or(shared.options.deadline)
}

/// An error of the time that was left as one of all that is allowed.
fn in_whole(error: Error, allowed: Option<Duration>) -> Error {
    match (error, allowed) {
        (Error::DeadlineExceeded { .. }, Some(allowed)) => Error::DeadlineExceeded { allowed },
        (error, _) => error,
    }
}

/// What is left of it.
fn time_left(allowed: Option<Duration>, ask: &Ask) -> Result<Option<Duration>, Failure> {
    let Some(allowed) = allowed else { return Ok(None) };
    match allowed.checked_sub(ask.arrived.elapsed()) {
        Some(left) => Ok(Some(left)),
        None => Err(Error::DeadlineExceeded { allowed }.into()),
    }
}

/// Learns from an answer, and counts it.
fn record(shared: &Shared, model: &Model, stats: &Stats) {
    model.load.observe(stats);
    model.set_memory(&stats.memory);
    model.tell_of_pruning(stats);
    shared.metrics.answered(&model.name, stats);
}

/// Answers pairs that are to be scored, in full.
pub(crate) fn score(shared: &Shared, bytes: Vec<u8>, ask: &Ask) -> Result<Answered, Failure> {
    let mut body = ScoreBody::parse(&bytes)?;
    drop(bytes);
    shared.check_open()?;
    let model = shared.models.find(body.model.as_deref())?;
    let waiting = model.reranker.waiting();
    if waiting.jobs.len() + waiting.reserved >= waiting.length {
        let message = format!("the queue is full: {} requests may wait", waiting.length);
        return Err(Failure::new(Kind::Overloaded, message).retry_after(model.load.retry_after()));
    }
    check_tokens(shared, model)?;
    let left = time_left(shared.options.deadline, ask)?;
    let mut texts: Vec<Option<String>> =
        std::mem::take(&mut body.texts).into_iter().map(Some).collect();
    let count = texts.len();
    let groups = body.groups(count);
    let mut pool = |places: &[usize]| {
        let texts = places.iter().filter_map(|&place| texts[place].take());
        texts.collect::<Vec<String>>()
    };
    let requests: Vec<Request> = groups
        .iter()
        .map(|(query, places)| {
            let request = Request::new(*query, pool(places), places.len());
            let request = request.pruning(Pruning::Off).cancel(&ask.cancel);
            let request = limited(request, body.max_tokens, body.max_text_tokens);
            let request = match body.long.long(model.reranker.long()) {
                Some(long) => request.long(long),
                None => request,
            };
            let request = match &body.instruction {
                Some(instruction) => request.instruction(instruction),
                None => request,
            };
            match left {
                Some(left) => request.deadline(left),
                None => request,
            }
        })
        .collect();
    let (mut scores, mut tokens, mut times) = (vec![0.0; count], 0, Times::default());
    for (selection, (_, places)) in model.reranker.rerank_many(requests).zip(&groups) {
        let selection = selection.map_err(|error| in_whole(error, shared.options.deadline))?;
        record(shared, model, &selection.stats);
        tokens += selection.stats.tokens;
        times = Times::of(&selection.stats, ask.arrived);
        for last in selection.all_scores() {
            let score = if body.raw_scores { last.raw_score.0 } else { last.score.0 };
            scores[places[last.index]] = score;
        }
    }
    let wanted = wire::Wanted {
        id: &ask.id,
        model: &model.name,
        raw_scores: body.raw_scores,
        answered: count,
    };
    let bytes = wire::score_answer(&scores, tokens, seconds_since_1970(), &wanted);
    let told = Told { model: Some(model.name.clone()), texts: count, tokens, failure: None };
    Ok(Answered { bytes, told, times: Times { tokens, ..times } })
}
