//! Tokens that leave long candidates: which layers they leave in, whose they are, and which rows stay.

use std::ops::Range;

use grating_model::{Encoding, Mass, PaidBy, TokenCompression};
use grating_prune::{
    MassTrace, OverHeads, PruneError, Signal, StageAt, TokenMass, TokenPolicy, TokenStage,
};
use grating_sched::PoolShape;

use crate::error::Result;
use crate::pool::Member;
use crate::prefix;

/// What a model says of rows that leave candidates on their way.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowRules {
    /// Which layers attend to whole sequences.
    sees_all: Vec<bool>,
    compression: Option<TokenCompression>,
    /// Whether the mean of all tokens is scored, none of them alone.
    scores_mean: bool,
}

impl RowRules {
    pub(crate) fn of(model: &grating_model::Model) -> Self {
        RowRules {
            sees_all: (0..model.config().layers).map(|layer| model.sees_all(layer)).collect(),
            compression: model.compression().cloned(),
            scores_mean: !model.scores_one_token(),
        }
    }

    /// Whether tokens may leave by a policy.
    ///
    /// # Errors
    /// The policy's own, that the model [has no scored token](PruneError::NoScoredToken), or that its [passages are
    /// compressed](PruneError::Compressed).
    pub(crate) fn check(&self, policy: &TokenPolicy) -> Result<(), PruneError> {
        policy.validate()?;
        match self {
            RowRules { scores_mean: true, .. } => Err(PruneError::NoScoredToken),
            RowRules { compression: Some(_), .. } => Err(PruneError::Compressed),
            _ => Ok(()),
        }
    }

    /// A pool with its later layers where tokens leave texts that are everything of their candidates.
    pub(crate) fn leaving(&self, pool: PoolShape, policy: &TokenPolicy) -> Result<PoolShape> {
        self.check(policy)?;
        let long = |&rows: &usize| policy.acts_on(rows + pool.prefix_tokens).then_some(rows);
        let texts: Vec<Option<usize>> = pool.lengths.iter().map(long).collect();
        Ok(prefix::leaving(pool, policy, &texts, self))
    }

    /// How passages are compressed.
    pub(crate) fn compression(&self) -> Option<&TokenCompression> {
        self.compression.as_ref()
    }

    /// Where a policy's stages are.
    pub(crate) fn places(&self, policy: &TokenPolicy) -> Vec<StageAt> {
        policy.layers(self.sees_all.len(), |layer| self.sees_all[layer])
    }
}

/// A job's token policy at its places.
pub(crate) struct TokenPruning {
    policy: TokenPolicy,
    places: Vec<StageAt>,
    /// Places of each candidate's text, if tokens may leave it.
    texts: Vec<Option<Range<u32>>>,
    /// Places of each candidate's query.
    queries: Vec<Range<u32>>,
    /// Rows that have left in the layer at hand.
    left: usize,
    /// What attention has told of each candidate, where that is recorded and nobody leaves.
    recorded: Option<Vec<Option<MassTrace>>>,
}

/// A stage that a layer is at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage(TokenStage);

/// Whose tokens are the query's, in a chunk.
pub(crate) struct QueryRows {
    /// For each token of the prefix whether.
    prefix: Vec<bool>,
    /// For each row of the chunk.
    own: Vec<bool>,
    /// Whether there are any, in this chunk or another one of the job.
    known: bool,
}

impl Stage {
    /// What attention is to tell.
    pub(crate) fn mass(self, rows: &QueryRows) -> Mass<'_> {
        let over = match self.0.heads {
            OverHeads::Maximum => grating_backend::OverHeads::Maximum,
            _ => grating_backend::OverHeads::Mean,
        };
        let QueryRows { prefix, own, known } = rows;
        let paid = match self.0.signal {
            // Nowhere to be seen where it stands behind the text.
            Signal::Query if *known => PaidBy::Row { prefix, own },
            _ => PaidBy::Scored { by_value: self.0.by_value },
        };
        Mass { over, paid }
    }
}

impl TokenPruning {
    /// # Errors
    /// As [`RowRules::check`].
    pub(crate) fn new(
        policy: &TokenPolicy,
        row_rules: &RowRules,
        encodings: &[Encoding],
    ) -> Result<Self> {
        row_rules.check(policy)?;
        let texts = encodings.iter().map(|encoding| text_of(policy, encoding)).collect();
        let queries = encodings.iter().map(|encoding| encoding.query.clone()).collect();
        let (policy, places) = (policy.clone(), row_rules.places(policy));
        Ok(TokenPruning { policy, places, texts, queries, left: 0, recorded: None })
    }

    /// Lets nobody leave and records by what it would be decided.
    pub(crate) fn recording(self) -> Self {
        let recorded = vec![None; self.texts.len()];
        TokenPruning { recorded: Some(recorded), ..self }
    }

    /// What was recorded.
    pub(crate) fn into_recorded(self) -> Option<Vec<Option<MassTrace>>> {
        self.recorded
    }

    /// The stage in a layer, if there is one and some of the members are long.
    pub(crate) fn stage(&self, layer: usize, members: &[Member]) -> Option<Stage> {
        let at = self.places.iter().find(|at| at.layer == layer)?;
        let any = members.iter().any(|member| self.texts[member.candidate].is_some());
        any.then(|| Stage(self.policy.stages[at.stage]))
    }

    /// Which tokens are the query's: of a prefix of so many, and of the rows of a chunk, at these places of their
    /// candidates.
    pub(crate) fn query_rows(
        &self,
        members: &[Member],
        prefix: usize,
        places: &[u32],
    ) -> QueryRows {
        let mut own = Vec::with_capacity(places.len());
        for member in members {
            let query = &self.queries[member.candidate];
            let rows = own.len()..own.len() + member.rows;
            own.extend(places[rows].iter().map(|place| query.contains(place)));
        }
        let query = members.first().map_or(0..0, |member| self.queries[member.candidate].clone());
        let prefix = (0..prefix as u32).map(|place| query.contains(&place)).collect();
        let known = self.queries.iter().any(|query| !query.is_empty());
        QueryRows { prefix, own, known }
    }

    /// Whether tokens may leave in a layer.
    pub(crate) fn is_at(&self, layer: usize) -> bool {
        self.places.iter().any(|at| at.layer == layer)
    }

    /// Which rows of a chunk stay, for each whether, by the attention to each of them; `places` are theirs within their
    /// candidates. The scored tokens are in no text, or at its end: they stay.
    pub(crate) fn stays(
        &mut self,
        Stage(stage): Stage,
        members: &[Member],
        mass: &[f32],
        places: &[u32],
        scored: &[usize],
    ) -> Vec<bool> {
        if let Some(recorded) = &mut self.recorded {
            record(recorded, &self.texts, members, mass, places);
            return vec![true; mass.len()];
        }
        let mut stays = Vec::with_capacity(mass.len());
        for member in members {
            let rows = stays.len()..stays.len() + member.rows;
            match &self.texts[member.candidate] {
                None => stays.resize(rows.end, true),
                Some(text) => {
                    let (mass, positions) = (&mass[rows.clone()], &places[rows]);
                    let tokens = TokenMass { mass, positions, text: text.clone() };
                    stays.extend(self.policy.stays(&stage, &tokens));
                }
            }
        }
        scored.iter().for_each(|&row| stays[row] = true);
        self.left += stays.iter().filter(|stays| !**stays).count();
        stays
    }

    /// How many rows have left since it was asked before.
    pub(crate) fn take_left(&mut self) -> usize {
        std::mem::take(&mut self.left)
    }
}

/// Files the attention to each row of a chunk, all of whose candidates are whole, under its candidate.
fn record(
    recorded: &mut [Option<MassTrace>],
    texts: &[Option<Range<u32>>],
    members: &[Member],
    mass: &[f32],
    places: &[u32],
) {
    let mut first = 0;
    for member in members {
        let rows = first..first + member.rows;
        first = rows.end;
        if let Some(text) = &texts[member.candidate] {
            let trace = recorded[member.candidate].get_or_insert_with(|| {
                MassTrace::new(places[rows.start], text.clone(), Vec::new())
            });
            trace.mass.push(mass[rows].to_vec());
        }
    }
}

/// How many of the tokens that candidates begin with are shared where tokens leave: none that may leave some, and of queries
/// none unless they are at the same place in all.
pub(crate) fn shared(policy: &TokenPolicy, encodings: &[Encoding], common: usize) -> usize {
    let texts = encodings.iter().filter_map(|encoding| text_of(policy, encoding));
    let before = texts.map(|text| text.start as usize).fold(common, usize::min);
    let first = encodings.first().map_or(0..0, |encoding| encoding.query.clone());
    match encodings.iter().all(|encoding| encoding.query == first) {
        true => before,
        false => encodings.iter().map(|e| e.query.start as usize).fold(before, usize::min),
    }
}

/// Places of a candidate's text, if tokens may leave it. The last token of all never does: where a text ends the
/// candidate, the score may be read from it.
pub(crate) fn text_of(policy: &TokenPolicy, encoding: &Encoding) -> Option<Range<u32>> {
    let last = encoding.ids.len().saturating_sub(1) as u32;
    let text = encoding.text.start..encoding.text.end.min(last);
    (policy.acts_on(encoding.ids.len()) && !text.is_empty()).then_some(text)
}
