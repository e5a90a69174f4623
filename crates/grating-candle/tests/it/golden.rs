//! Every family and form on candle against `transformers`, layer by layer.

use grating_candle::CandleOps;

use crate::goldens::{TOLERANCE, check};

#[test]
fn candle_logits_after_every_layer_are_the_references() {
    check(&CandleOps::cpu(), |_| TOLERANCE);
}
