//! Progressive cluster pruning for top-K selection, as arithmetic on scores.
//!
//! # Brief overview
//!
//! A reranker scores N candidates and keeps K. Scores read after intermediate layers settle before
//! the last one, and candidates whose place is settled need not be computed further. This crate decides who:
//!
//! * A [`Pruner`] takes the raw scores of the live candidates, layer by layer, and answers with
//!   [`Verdicts`]: accepted (surely in the top-K), dropped (surely not), deferred (goes on). A
//!   [`Policy`] says how boldly. Per layer, [`Dispersion`] on a [`ScoreScale`] tells whether ranks
//!   begin to settle, exact 1-D k-means ([`kmeans`]) groups the scores, and [`route`] compares the groups
//!   with the boundary between ranks K and K + 1.
//! * A [`ScoreTrace`] holds the scores after every layer of a run without pruning. [`replay()`] runs a policy over
//!   it and gives the [`Outcome`] that the model would have had, exactly: selected candidates, layers
//!   of decision, work done.
//! * [`calibrate`](mod@calibrate) sweeps a [`PolicyFamily`] of policies over the traces of a sample and picks the
//!   cheapest whose agreement with the full model is certified by a finite-sample bound that holds for the
//!   winner of the comparison.
//! * [`online`] learns policies from the traffic, proves them on it at any time, and watches them.
//! * [`readout`] foretells final scores from hidden states by ridge regression, where the model's own head
//!   sees them late.
//! * A [`PassageScore`] makes one score of a text from those of its passages.
//! * A [`TokenPolicy`] says which tokens of long candidates leave them after some layers, by what attention tells of
//!   them ([`TokenPolicy::stays`]).
//! * [`metrics`] measure agreement, quality against judgments, and order.
//!
//! Everything is a pure function of its input: no threads, files, clocks or random numbers. The
//! same scores give the same verdicts, in whatever order the candidates come.
//!
//! # Example
//!
//! ```
//! use grating_prune::{Policy, Pool, Pruner, ScoreTrace, replay};
//!
//! // Logits of 5 candidates after each of 3 layers; the top 2 are wanted.
//! let layers = [
//!     [0.1, 0.0, 0.2, 0.1, 0.0],
//!     [2.0, 0.3, 0.5, 0.4, -3.0],
//!     [2.5, 0.1, 1.9, 0.6, -4.0],
//! ];
//! let policy = Policy::paper(0.3);
//! let mut pruner = Pruner::new(policy.clone(), Pool { candidates: 5, layers: 3, k: 2 })?;
//!
//! // Scores are nearly equal: nobody is decided.
//! let verdicts = pruner.observe(0, &[0, 1, 2, 3, 4], &layers[0])?;
//! assert_eq!(verdicts.deferred.len(), 5);
//!
//! // Candidate 0 stands out above, 4 below.
//! let verdicts = pruner.observe(1, &[0, 1, 2, 3, 4], &layers[1])?;
//! assert_eq!((verdicts.accepted, verdicts.dropped), (vec![0], vec![4]));
//!
//! // The model computes the last layer for the other three only.
//! assert_eq!(pruner.live().collect::<Vec<_>>(), [1, 2, 3]);
//! let verdicts = pruner.observe(2, &[1, 2, 3], &[0.1, 1.9, 0.6])?;
//! assert_eq!(verdicts.accepted, [2]);
//! assert!(pruner.is_finished());
//!
//! // The same from a recorded trace: 13 of 15 candidate-layers were needed.
//! let trace = ScoreTrace::from_vec(3, 5, layers.concat())?;
//! let outcome = replay(&policy, &trace, 2)?;
//! assert_eq!(outcome, pruner.outcome());
//! assert_eq!((outcome.selected, outcome.candidate_layers), (vec![0, 2], 13));
//! # Ok::<(), grating_prune::PruneError>(())
//! ```
//!
//! # Optional feature
//! `serde`: policies, traces, outcomes and calibrations can be stored; verdicts can be written. With
//! `serde_json` switch its feature `float_roundtrip` on, or thresholds come back with another last bit.
#![forbid(unsafe_code)]

pub mod bound;
pub mod calibrate;
mod clusters;
mod dispersion;
mod error;
mod kmeans1d;
pub mod metrics;
pub mod online;
mod passages;
mod policy;
mod pruner;
mod ranked;
pub mod readout;
mod replay;
mod routing;
mod scale;
#[cfg(test)]
mod test_random;
mod tokens;
mod trace;
mod verdict;

pub use bound::Test;
pub use calibrate::{
    Calibration, DispersionGrid, FrontierPoint, Grid, PolicyFamily, PolicyRun, Procedure, Sweep,
    Target, Tested, calibrate,
};
pub use clusters::{ClusterRule, silhouette};
pub use dispersion::{Dispersion, moments};
pub use error::PruneError;
pub use kmeans1d::{Clusters, Partitions, kmeans};
pub use passages::{PassageScore, UnknownPassageScore};
pub use policy::{Mode, Policy};
pub use pruner::{Pool, Pruner};
pub use readout::Readout;
pub use replay::{Outcome, replay, replay_with};
pub use routing::{Gap, LayerGaps, Route, route};
pub use scale::ScoreScale;
pub use tokens::{
    Keep, MassTrace, OverHeads, Signal, StageAt, TokenMass, TokenOutcome, TokenPolicy, TokenStage,
    replay_tokens,
};
pub use trace::ScoreTrace;
pub use verdict::{Cluster, Reason, Verdicts};

/// The examples of the README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
