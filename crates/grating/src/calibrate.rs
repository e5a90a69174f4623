//! Calibration: from sample queries and a promise to the cheapest pruning policy that keeps it.
//!
//! # Brief overview
//!
//! A [`Dataset`] holds sample queries with their pools. [`record()`] runs the full model once per query and keeps
//! the scores after every layer ([`Traces`], resumable, reusable). [`fit`] replays hundreds of policies on them, which
//! costs no model time because candidates do not influence each other, and puts the cheapest one that is certified
//! to keep the promise into a [`Profile`](crate::Profile). [`plot`] draws the frontier.
//!
//! # The promise
//! "With confidence C, the policy's mean agreement with the full model's top K is at least P on traffic like the sample":
//! see [`mod@grating_prune::calibrate`] for the theorem, and for what it takes for granted.
//!
//! # The split
//! Queries are ordered by the SHA-256 of their text and pool, which has nothing to do with their losses. The first,
//! third, fifth … calibrate; the second, fourth … are the test half, which no choice sees. Of the calibrating queries a
//! third explores, and the others test what was found.
//!
//! # Readouts
//! Scores after intermediate layers can be read by the model's own head or by a linear readout of the hidden state for
//! each layer ([`grating_prune::readout`]). Readouts are fitted to the exploring queries alone, and whether they are used
//! is decided there too (by scores of readouts that have not seen the query), so the test of the policies is as honest
//! with them as without.
//!
//! # Token policies
//! With [`RecordOptions::tokens`] each query is run with each of these policies, too, and the profile may have a token
//! policy beside the candidate policy: both are certified as one, by what they select together against the full model's top
//! K. A candidate-layer that half of the tokens entered counts as half.
//!
//! # Example
//!
//! ```no_run
//! use grating::calibrate::{Dataset, Options, Reading, RecordOptions, fit, record};
//! use grating::prune::Target;
//! use grating::{Mode, Reranker};
//!
//! let reranker = Reranker::builder().build()?;
//! let data = Dataset::read("my-queries.jsonl".as_ref())?;
//! let recording = RecordOptions::default().file(Some("my-queries.traces.jsonl".as_ref())).states(true);
//! let traces = record(&reranker, &data, recording, |_| ())?;
//! let target = Target { agreement: 0.95, confidence: 0.95 };
//! let options = Options::new(10, target);
//! let profile = fit(&data, &traces, &options)?;
//! profile.write("profile.json".as_ref())?;
//!
//! let pruning = Reranker::builder().profile(profile).build()?;
//! # Ok::<(), grating::Error>(())
//! ```

mod data;
mod error;
mod fit;
mod leaving;
mod measure;
mod plot;
mod readout;
mod record;
mod states;
mod traces;

pub use data::{Dataset, Judgments, Query};
pub use error::CalibrateError;
pub use fit::{Calibrator, Options, Reading, SampleSize, fit};
pub use plot::plot;
pub use record::{RecordOptions, RecordProgress, record};
pub use traces::Traces;
