//! Pruning that is learned from the traffic itself: proved on it, and watched afterwards.
//!
//! Requests run in full at first, and a [`Learner`] is told their score traces. The first ones of a kind (a K) explore:
//! gaps are [learned](crate::calibrate::learned) on them, and policies are put into one sequence from careful to bold. The
//! following ones test that sequence, all policies at once, and the first policy is used from the first request on at which
//! the promise is proved. From then on a share of the requests is audited, that is, run in full: they prove bolder policies,
//! and they watch, beside what is seen of every request. Traffic that seems to have shifted is computed in full again until
//! the promise is proved on it; where audits prove it broken, everything is learned anew.
//!
//! # The promise
//! With probability at least C the mean agreement@K with the full model of every policy that is ever used is at least P, as
//! long as the traffic stays what it was. "The traffic stays" means: given all requests before, the expected loss
//! (1 - agreement) of a policy on the next one does not change its side of 1 - P. Independence is not asked for.
//!
//! # Why it holds at any time
//! Of policy j let the hypothesis H_j be that its expected loss is always more than α = 1 - P. A gambler who bets against it
//! has the capital `E_j = Π (1 + λ_i (α - loss_i))` with stakes `0 ≤ λ_i ≤ 1 / (1 - α)` that depend on the past alone. Under
//! H_j that is a non-negative supermartingale that starts at 1, so it *ever* reaches 1/δ with probability at most δ = 1 - C
//! (J. Ville, 1939; I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B
//! 86, 2024). So it may be looked at after every request, and pruning begins at the first moment that the proof is there
//! and not at a number of queries fixed beforehand.
//!
//! Policies are certified in their sequence: one whose capital has reached 1/δ, once all before it are certified. To certify a
//! policy that breaks the promise the sequence must certify its first such policy, which happens with probability at
//! most δ: the policies after it cost nothing. (Fixed-sequence testing, as in [`calibrate`](mod@crate::calibrate); the sequence
//! depends on requests before its tests alone.) The stakes are those that would have made the most of the exploring requests and
//! of the tested ones before (Kelly's criterion), with half an imagined loss beside them, so that no true loss ruins the gambler.
//!
//! A sequence begins with gaps far wider than what was ever needed, since a policy that broke the promise early in it would be
//! in the way of all others. One whose next policy has won nothing after 60 requests is left for another that is learned on all
//! that is known by then (the last 128 requests), and tested on what comes after. The n-th sequence of a traffic has
//! the error δ_n = 0.8 δ for n = 1, 0.2 δ / (n (n - 1)) after it: `Σ δ_n = δ`, so that by the union bound all sequences together
//! certify falsely with probability at most δ, however many there are and whenever they are begun.
//!
//! # The watch
//! Every request shows [`Signals`], whether it was pruned or not: the size of its pool, the share of it before a decision, the
//! spread of the scores after the first two layers. As long as requests are exchangeable, the rank of a new one among those
//! before (ties broken at random) is uniform and independent of the ranks before (V. Vovk, A. Gammerman, G. Shafer,
//! "Algorithmic Learning in a Random World", 2005). Densities on \[0, 1\] are bets on it: `R ← (R + 1) f(rank)` is a
//! Shiryaev-Roberts process, one for each signal and each of five kinds of change, and their mean reaches B on average not before
//! B requests (5000). Then nothing is taken as proved any more: everything is computed, and the policies are tested again as the
//! next sequence. So a shift that leaves the promise whole costs a few dozen requests in full, and one that breaks it is stopped
//! before audits could prove so. Signals are compared with the last 1000 requests; beyond these "independent" holds about.
//!
//! A shift that shows in none of the signals is left to the audits. While a policy is used its audited losses are bet on the
//! other way: for each stake μ, `R ← (R + 1) (1 + μ (loss - α))`, a Shiryaev-Roberts process. While the promise is kept, `R - n`
//! is a supermartingale after n audits, so an alarm at `R ≥ A` comes on average not before A audits, whatever the losses are
//! like (J. Shin, A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2022). Their
//! mean over several stakes has the same property.
//!
//! # Given policies
//! A policy that was [calibrated](mod@crate::calibrate) comes with the same promise, for traffic as its sample was. A
//! [`Monitor`] watches it by both detectors, with the same mean times between false suspicions and false alarms; signals are
//! compared with those of the sample, where it is known what they were, and of the requests before. A sample may be of several kinds of
//! traffic: then each kind, and all of them together, has a detector of its own, and a shift is suspected when all of these speak. So in
//! traffic that is like one of the kinds, whichever it is, false suspicions come no more often than that kind's own detector has them. When one
//! speaks, the policy is put out of use: everything is computed, and each request tests the policy, by the gambler from above
//! who bets that the promise is kept. The n-th test may err with probability δ / (n (n + 1)); one that has won nothing after 60
//! requests is given up for the next. When one is won, the policy is used again. `Σ δ / (n (n + 1)) = δ`: with probability at
//! least C a policy is never put to use again on traffic where it breaks its promise.

mod contender;
mod detector;
mod learner;
mod monitor;
mod sequence;
mod signals;
mod stream;

pub use learner::{Decision, Learner, LearnerOptions};
pub use monitor::{Monitor, MonitorOptions, MonitorStatus};
pub use signals::Signals;
pub use stream::{Phase, Status};
