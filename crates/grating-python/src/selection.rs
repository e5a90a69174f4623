//! The answer to a request.

use grating::{BestPassage, LastScore};
use pyo3::prelude::*;
use serde::Serialize;

/// Index, probability, logit, layer of the decision, whether the text was cut, its best passage.
type RankedTuple = (usize, f32, f32, usize, bool, Option<PassageTuple>);
/// Index, probability, logit, layer, is final, altered, selected, layer of the decision, whether the text was cut, its best
/// passage.
type LastTuple = (usize, f32, f32, usize, bool, bool, bool, usize, bool, Option<PassageTuple>);
/// Place among the text's passages, how many these are, first byte and end.
type PassageTuple = (usize, usize, usize, usize);

/// Tokens before the text's own rows, first token of the text and its end, attention by stage and row.
pub(crate) type AttentionTuple = (u32, (u32, u32), Vec<Vec<f32>>);

/// Scores and figures, handed over as they are asked for.
#[pyclass(frozen, module = "grating._native")]
pub(crate) struct Selection(pub(crate) grating::Selection);

#[pymethods]
impl Selection {
    fn results(&self) -> Vec<RankedTuple> {
        let tuple = |r: &grating::Ranked| {
            let passage = r.passage.as_ref().map(passage);
            (r.index, r.score.0, r.raw_score.0, r.decided_after_layer, r.truncated, passage)
        };
        self.0.results.iter().map(tuple).collect()
    }

    fn all_scores(&self) -> Vec<LastTuple> {
        self.0.all_scores().iter().map(last).collect()
    }

    fn ranking(&self) -> Vec<LastTuple> {
        self.0.ranking().iter().map(last).collect()
    }

    /// Logits of all texts, by index.
    pub(crate) fn logits(&self) -> Vec<f32> {
        self.0.all_scores().iter().map(|score| score.raw_score.0).collect()
    }

    fn trace(&self) -> Option<Vec<Vec<f32>>> {
        self.0.trace.clone()
    }

    fn attention(&self) -> Option<Vec<Option<AttentionTuple>>> {
        let tuple = |trace: &grating::prune::MassTrace| {
            let text = (trace.text.start, trace.text.end);
            (trace.prefix_tokens, text, trace.mass.clone())
        };
        let told = self.0.attention.as_ref()?;
        Some(told.iter().map(|of_text| of_text.as_ref().map(tuple)).collect())
    }

    fn stats_json(&self) -> PyResult<String> {
        json(&self.0.stats)
    }

    fn plan_json(&self) -> PyResult<String> {
        json(&self.0.plan)
    }

    fn timeline_json(&self) -> Option<String> {
        (!self.0.timeline.is_empty()).then(|| self.0.timeline.to_json().to_string())
    }
}

fn last(score: &LastScore) -> LastTuple {
    (
        score.index,
        score.score.0,
        score.raw_score.0,
        score.layer,
        score.is_final,
        score.altered,
        score.selected,
        score.decided_after_layer,
        score.truncated,
        score.passage.as_ref().map(passage),
    )
}

fn passage(best: &BestPassage) -> PassageTuple {
    (best.index, best.of, best.start, best.end)
}

/// A figure as JSON.
pub(crate) fn json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value)
        .map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))
}
