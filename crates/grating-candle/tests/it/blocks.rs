//! Block formats mean the same to candle and to the kernels.

use grating_candle::CandleOps;
use grating_io::Dtype;
use grating_model::{Ops, TensorView};
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
        let decoded = ops.download(&ops.bind(view).unwrap()).unwrap();
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
