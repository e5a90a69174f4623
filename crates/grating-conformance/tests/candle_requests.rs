//! Whole requests on candle; in a process of their own, since budgets count all that is resident.

use grating_candle::CandleOps;
use grating_conformance::requests;

/// Candle's products depend on how many rows there are, in the last digits.
const BOUND: f32 = 1e-4;

#[test]
fn candle_keeps_the_engines_promises() {
    requests::all(&requests::FAMILIES, CandleOps::cpu, BOUND);
}
