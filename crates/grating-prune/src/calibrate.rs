//! Calibration: the cheapest policy that keeps a promise, with a guarantee that survives the choice.
//!
//! The user names an agreement P and a confidence C. Policies are replayed on the score traces of a
//! sample of queries ([`Sweep`]), and [`calibrate`] picks the cheapest whose mean agreement with the
//! full model's top-K is certified to be at least P.
//!
//! # The guarantee
//! Suppose the queries are independent draws from the traffic, and family, procedure and test were fixed
//! before their losses were seen. Then, with probability at least C over the draw of the queries,
//! the chosen policy's expected agreement@K on the traffic is at least P. (When no policy is
//! chosen, nothing is claimed.) On average over queries, that is; not for each single one.
//!
//! # Why it holds although many policies are tried
//! Let δ = 1 - C and H_j: "the mean loss of policy j is more than 1 - P". The best-looking of many policies
//! looks better than it is, so a bound for one policy does not hold for the winner. Theorem 1 of A.
//! Angelopoulos, S. Bates, E. Candès, M. Jordan, L. Lei, "Learn then Test: Calibrating predictive
//! algorithms to achieve risk control" (arXiv 2110.01052): if each p_j is a valid p-value of H_j, and an
//! algorithm that sees them rejects any true hypothesis with probability at most δ (it controls the
//! family-wise error rate), then with probability at least 1 - δ *all* policies whose hypotheses it rejects
//! keep the promise: so also the one among them that is picked for its cost, or by any other rule that looks
//! at the data. The p-values come from [`Test`](crate::Test); the [`Procedure`]s are such algorithms:
//!
//! * Bonferroni: reject where p_j ≤ δ/m. By the union bound.
//! * Fixed sequence: along a chain fixed beforehand, reject while p_j ≤ δ/c (c chains), stop at
//!   the first that is not. To reject a true hypothesis a chain must reject its first true one, which
//!   happens with probability at most δ/c; union over the chains. So a chain costs nothing for its length.
//! * Split: the queries set aside for exploration, which are independent of the others, may order
//!   the policies in any way; given that order, the others test it as one fixed sequence at the full δ.
//!   (B. Laufer-Goldshtein, A. Fisch, R. Barzilay, T. Jaakkola, "Efficiently controlling multiple risks
//!   with Pareto testing", ICLR 2023.)
//!
//! P-values of different policies on the same queries are dependent; none of the three minds.
//!
//! # Token policies
//! A [`TokenPolicy`](crate::TokenPolicy) changes the scores themselves, so each one that is tried takes a run of its own. On
//! its traces the policies over candidates are replayed as on the full model's, and what they select is held against the
//! full model's top K ([`TraceBeside`]): a pair of both is one policy of the [joined](Sweep::joined) family.

pub(crate) mod beside;
mod choose;
mod family;
mod learned;
mod sweep;

pub use beside::{TraceBeside, candidate_layers};
pub use choose::{Calibration, Procedure, Target, Tested, calibrate};
pub use family::{DispersionGrid, Grid, PolicyFamily};
pub use learned::{learned, needed_gap};
pub use sweep::{FrontierPoint, PolicyRun, Sweep};
