//! Readouts of a calibration: fitted on the exploring queries, compared with the plain head on the others.

use grating_engine::Readouts;
use grating_prune::readout::{self, Sample};
use grating_prune::{PruneError, ScoreTrace, metrics};
use rayon::prelude::*;

use super::fit::Case;
use crate::error::Result;
use crate::profile::LayerAgreement;

/// Fitted readouts, and the calibration's traces as they read them.
pub(super) struct Fitted {
    pub(super) readouts: Readouts,
    /// Of the calibrating queries, in their order; those that explore are read by readouts that have not seen them.
    pub(super) calibrating: Vec<ScoreTrace>,
    /// Of the test half.
    pub(super) testing: Vec<ScoreTrace>,
    /// Strength of the ridge, by layer.
    ridges: Vec<f64>,
}

/// Fits readouts to the first `explore` of the calibrating queries; nothing where a query has no hidden states, or there
/// are too few to explore with, or a model has one layer.
pub(super) fn fit(
    calibrating: &[Case<'_>],
    testing: &[Case<'_>],
    explore: usize,
) -> Result<Option<Fitted>> {
    let layers = calibrating[0].trace.layers();
    let recorded = |case: &Case<'_>| case.states.is_some_and(|states| states.fit(case.trace));
    if explore < 2 || layers < 2 || !calibrating.iter().chain(testing).all(recorded) {
        return Ok(None);
    }
    let of_layer = |layer| fit_layer(&calibrating[..explore], layer);
    let fits: Vec<readout::Fit> =
        (0..layers - 1).into_par_iter().map(of_layer).collect::<Result<_, _>>()?;
    // The last layer's scores are the model's own.
    let read = |case: &Case<'_>, explored: Option<usize>| {
        let intermediate = fits.iter().enumerate().flat_map(|(layer, fit)| match explored {
            Some(query) => fit.out_of_fold[query].clone(),
            None => case.states.map_or_else(Vec::new, |s| s.read(layer, &fit.readout)),
        });
        let scores = intermediate.chain(case.trace.layer(layers - 1).iter().copied()).collect();
        ScoreTrace::from_vec(layers, case.trace.candidates(), scores)
    };
    let of_calibrating = |(i, case)| read(case, (i < explore).then_some(i));
    let calibrating = calibrating.iter().enumerate().map(of_calibrating);
    let testing = testing.iter().map(|case| read(case, None));
    Ok(Some(Fitted {
        calibrating: calibrating.collect::<Result<_, _>>()?,
        testing: testing.collect::<Result<_, _>>()?,
        ridges: fits.iter().map(|fit| fit.ridge).collect(),
        readouts: fits.into_iter().map(|fit| fit.readout).collect::<Vec<_>>().into(),
    }))
}

fn fit_layer(cases: &[Case<'_>], layer: usize) -> Result<readout::Fit, PruneError> {
    let states: Vec<(&Case<'_>, Vec<f32>)> = cases
        .iter()
        .filter_map(|case| case.states.map(|states| (case, states.layer(layer))))
        .collect();
    let hidden = cases.iter().find_map(|case| case.states).map_or(0, |states| states.hidden());
    let finals: Vec<Vec<f32>> =
        cases.iter().map(|case| case.trace.layer(case.trace.layers() - 1).to_vec()).collect();
    let samples: Vec<Sample<'_>> =
        states.iter().zip(&finals).map(|((_, states), scores)| Sample { states, scores }).collect();
    readout::fit(&samples, hidden)
}

impl Fitted {
    /// Mean agreement of the top `k` after each layer with the final one on the test half, by head and by readout.
    pub(super) fn compare(&self, testing: &[Case<'_>], k: usize) -> Vec<LayerAgreement> {
        let mean = |layer: usize, traces: &[&ScoreTrace]| {
            let overlap = |trace: &&ScoreTrace| {
                metrics::agreement_at_k(&trace.ranking(layer), &trace.final_ranking(), k)
            };
            traces.iter().map(overlap).sum::<f64>() / traces.len() as f64
        };
        let head: Vec<&ScoreTrace> = testing.iter().map(|case| case.trace).collect();
        let fitted: Vec<&ScoreTrace> = self.testing.iter().collect();
        let ridges = self.ridges.iter().enumerate();
        ridges
            .map(|(layer, &ridge)| LayerAgreement {
                layer,
                ridge,
                head: mean(layer, &head),
                fitted: mean(layer, &fitted),
            })
            .collect()
    }
}
