//! The texts of a request to tokens: each after its query, whole, cut, or in passages.

use std::sync::Arc;

use grating_engine::{Job, TextPassages};
use grating_model::{EncodedQuery, Encoding, Passage, TokenLimits};

use crate::error::Result;
use crate::long::{Long, Passages, PassagesOfTexts};
use crate::parallel;
use crate::reranker::Reranker;
use crate::texts::IndexedTexts;
use crate::token_room::{TokenRoom, Who};

/// What texts are scored beside.
#[derive(Clone, Copy)]
pub(crate) enum Beside<'a> {
    /// All beside the same query.
    One(&'a str),
    /// Each beside the query of its place.
    Each(&'a [String]),
}

/// What texts are read with.
pub(crate) struct Reading<'a> {
    pub(crate) query: Beside<'a>,
    pub(crate) instruction: Option<&'a str>,
    pub(crate) limits: TokenLimits,
    pub(crate) long: Long,
}

/// What was read.
pub(crate) struct Read {
    /// With the tokens of all candidates.
    pub(crate) job: Job,
    /// Where some text has several.
    pub(crate) passages: Option<PassagesOfTexts>,
    /// Whether a part of each text was left out.
    pub(crate) truncated: Vec<bool>,
    /// Whether the query was cut beside it.
    pub(crate) query_truncated: Vec<bool>,
    /// Of all candidates.
    pub(crate) tokens: usize,
}

/// A text as passages.
struct InPassages {
    passages: Vec<Passage>,
    cut: bool,
}

impl Reranker {
    /// These of the texts as a job for `k` of them, by the caller and the pool's threads.
    pub(crate) fn read(
        &self,
        with: &Reading<'_>,
        texts: &(dyn IndexedTexts + Sync),
        indices: &[u32],
        room: &TokenRoom<'_>,
        wanted: &(impl Fn() -> Result<()> + Sync),
        k: usize,
    ) -> Result<Read> {
        match &with.long {
            Long::Truncate | Long::Prune(_) => {
                let encodings =
                    self.each(with, texts, indices, room, wanted, |query, text, who| {
                        self.encoding(query, text, room, who, wanted)
                    })?;
                let truncated = encodings.iter().map(|e| e.truncated).collect();
                let query_truncated = encodings.iter().map(|e| e.query_truncated).collect();
                let tokens = encodings.iter().map(|e| e.ids.len()).sum();
                let mut job = Job::new(encodings, k);
                job.tokens = with.long.tokens().cloned();
                Ok(Read { job, passages: None, truncated, query_truncated, tokens })
            }
            Long::Passages(passages) => {
                let read = self.each(with, texts, indices, room, wanted, |query, text, who| {
                    self.in_passages(passages, query, text, room, who, wanted)
                })?;
                Ok(Read::of_passages(read, passages, k))
            }
        }
    }

    /// What `one` makes of each of these texts with its query.
    fn each<T: Send>(
        &self,
        with: &Reading<'_>,
        texts: &(dyn IndexedTexts + Sync),
        indices: &[u32],
        room: &TokenRoom<'_>,
        wanted: &(impl Fn() -> Result<()> + Sync),
        one: impl Fn(&EncodedQuery, &str, Who) -> Result<Option<T>> + Sync,
    ) -> Result<Vec<T>> {
        // None where a helper finds no room: the caller goes on then.
        let encode_query = |query: &str, who: Who| {
            let reading = room.reading(who, wanted);
            let goes_on = |bytes: usize| reading.goes_on(bytes);
            let (instruction, limits) = (with.instruction, with.limits);
            let read = self.encoder.encode_query_while(query, instruction, limits, &goes_on);
            reading.outcome(read)
        };
        let shared = match with.query {
            Beside::One(query) => encode_query(query, Who::Caller)?,
            Beside::Each(_) => None,
        };
        let read = |&index: &u32, who: Who| {
            wanted()?;
            let own = match with.query {
                Beside::One(_) => None,
                Beside::Each(queries) => encode_query(&queries[index as usize], who)?,
            };
            match shared.as_ref().or(own.as_ref()) {
                Some(query) => one(query, texts.text(index as usize), who),
                None => Ok(None),
            }
        };
        parallel::map(&self.pool, indices, read)
    }

    /// A text's tokens, its end left out where it is too long.
    fn encoding(
        &self,
        query: &EncodedQuery,
        text: &str,
        room: &TokenRoom<'_>,
        who: Who,
        wanted: &impl Fn() -> Result<()>,
    ) -> Result<Option<Encoding>> {
        let reading = room.reading(who, wanted);
        let read = self.encoder.encode_while(query, text, &|bytes| reading.goes_on(bytes));
        let Some(encoding) = reading.outcome(read)? else { return Ok(None) };
        let fits = room.take(&encoding, 0, who, wanted)?;
        Ok(fits.then_some(encoding))
    }

    /// A text's passages, and all that they take counted as they come.
    fn in_passages(
        &self,
        passages: &Passages,
        query: &EncodedQuery,
        text: &str,
        room: &TokenRoom<'_>,
        who: Who,
        wanted: &impl Fn() -> Result<()>,
    ) -> Result<Option<InPassages>> {
        let mut reader = self.encoder.passages(query, text, passages.limits());
        let mut read: Vec<Passage> = Vec::new();
        loop {
            let reading = room.reading(who, wanted);
            let next = reader.next_while(&|bytes| reading.goes_on(bytes));
            let Some(next) = reading.outcome(next)? else { break };
            let Some(passage) = next else {
                let cut = reader.is_cut();
                return Ok(Some(InPassages { passages: read, cut }));
            };
            // The first one's place is that of its text.
            let place = if read.is_empty() { 0 } else { PASSAGE_BYTES };
            if !room.take(&passage.encoding, place, who, wanted)? {
                break;
            }
            read.push(passage);
        }
        // The caller reads all of them again.
        for (at, passage) in read.iter().enumerate() {
            room.give_back(&passage.encoding, if at == 0 { 0 } else { PASSAGE_BYTES });
        }
        Ok(None)
    }
}

/// What a passage takes beside its tokens: in lists, in the job, and while it is computed.
const PASSAGE_BYTES: usize = size_of::<Passage>() + size_of::<Encoding>() + 96;

impl Read {
    fn of_passages(read: Vec<InPassages>, passages: &Passages, k: usize) -> Self {
        let any = |of: &InPassages| of.passages.iter().any(|p| p.encoding.query_truncated);
        let truncated = read.iter().map(|of| of.cut).collect();
        let query_truncated = read.iter().map(any).collect();
        let counts: Vec<usize> = read.iter().map(|of| of.passages.len()).collect();
        let tokens = read.iter().flat_map(|of| &of.passages).map(|p| p.encoding.ids.len()).sum();
        let all = read.into_iter().flat_map(|of| of.passages);
        let (encodings, bytes): (Vec<Encoding>, Vec<(usize, usize)>) =
            all.map(|p| (p.encoding, (p.bytes.start, p.bytes.end))).unzip();
        if counts.iter().all(|&count| count == 1) {
            let job = Job::new(encodings, k);
            return Read { job, passages: None, truncated, query_truncated, tokens };
        }
        let texts = Arc::new(TextPassages::new(counts, passages.score));
        let job = Job::of_passages(encodings, Arc::clone(&texts), k);
        let passages = Some(PassagesOfTexts { texts, bytes });
        Read { job, passages, truncated, query_truncated, tokens }
    }
}
