//! Block formats mean the same to candle and to the kernels.
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::sync::Arc;

use grating_backend::{Backend, HostBlock, TensorRef};
use grating_candle::CandleOps;
use grating_io::Dtype;
use grating_model::{TensorView, format_of};
use proptest::prelude::*;

const FORMATS: [Dtype; 8] = [
    Dtype::Q8_0,
    Dtype::Q4_0,
    Dtype::Q4_1,
    Dtype::Q5_0,
    Dtype::Q5_1,
    Dtype::Q4K,
    Dtype::Q5K,
    Dtype::Q6K,
];

/// A block of one tensor.
struct One(Vec<u8>);

impl HostBlock for One {
    fn len(&self) -> usize {
        1
    }

    fn bytes(&self, _index: usize) -> &[u8] {
        &self.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_to_the_same_numbers(
        format in prop::sample::select(FORMATS.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 2 * 2 * 256 + 1),
        odd in any::<bool>(),
    ) {
        let shape = [2, 256];
        let len = format.byte_len(&shape).unwrap();
        // At an odd address, too: a tensor may begin anywhere in a file.
        let bytes = &bytes[usize::from(odd)..][..len];
        let view = TensorView::new(format, &shape, bytes).unwrap();
        let ops = CandleOps::cpu();
        let slot = ops.admit(Arc::new(One(bytes.to_vec())), None).unwrap();
        let format_of = format_of(format).unwrap();
        let tensor = TensorRef::new(0, format_of, &shape);
        let decoded = ops.wait(ops.bind(&slot, tensor).unwrap()).unwrap();
        for (at, (ours, candles)) in view.to_f32().into_iter().zip(decoded).enumerate() {
            // The order of the multiplications is anybody's; scales may be infinite or no numbers at all.
            let close = (ours - candles).abs() <= 1e-6 * ours.abs();
            prop_assert!(
                close || ours == candles || (ours.is_nan() && candles.is_nan()),
                "{format} element {at}: {ours} for {candles}"
            );
        }
    }
}
