//! Candle on the CPU: the reference, held against `transformers`.

use grating_candle::CandleOps;
use grating_conformance::layers;

#[test]
fn logits_after_every_layer_are_the_references() {
    layers::check(&CandleOps::cpu(), |_| layers::TOLERANCE);
}
