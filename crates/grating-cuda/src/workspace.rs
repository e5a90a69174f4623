//! What computing takes of the device's memory beside weights and hidden states.

use grating_backend::{Precision, Then, Widths, Workspace};

use crate::backend::CudaOptions;
use crate::tensor::element_bytes;

/// Tables of indices for each token of a chunk, if each is a text of its own: its position, the same of the scored one, its
/// row, its offset, and two tiles of attention.
const TABLE_ENTRIES: usize = 8;

/// Buffers that are smaller than they are rounded up to: tables, scores, norms of single rows.
const SMALL_BUFFERS: usize = 256 << 10;

/// Of a hidden state, and of what is added to it.
const F32: usize = size_of::<f32>();

/// What a layer of such widths takes of a device's memory in such a precision, the hidden states not counted, where the
/// longest sequence has `longest` tokens. It needs no device.
pub fn workspace(widths: &Widths, longest: usize, precision: Precision) -> Workspace {
    of_options(widths, longest, &CudaOptions::default().with_precision(precision))
}

/// [`workspace`] with these options.
pub(crate) fn of_options(widths: &Widths, longest: usize, options: &CudaOptions) -> Workspace {
    let bytes = Bytes::of(widths, options);
    let tables = angle_bytes(widths, longest) + distance_bytes(widths, longest, bytes);
    Workspace::new(
        with_rounding(per_token(widths, bytes)) + TABLE_ENTRIES * size_of::<u32>(),
        with_rounding(tables) + SMALL_BUFFERS,
    )
    .with_key_bytes(bytes.attended)
}

/// Sizes are rounded up by at most an eighth.
fn with_rounding(bytes: usize) -> usize {
    bytes + bytes.div_ceil(8)
}

/// Bytes of elements.
#[derive(Clone, Copy)]
struct Bytes {
    /// Of what a block begins with: the norm of a hidden state.
    first: usize,
    /// Of queries, keys and values.
    attended: usize,
    /// Of what a block ends with, before the map that is added: what attention makes, and what is gated.
    last: usize,
}

impl Bytes {
    fn of(widths: &Widths, options: &CudaOptions) -> Self {
        let of = |then| element_bytes(options.stored(then));
        let multiplied = Then::Multiplied(widths.format);
        let last = if widths.scaled { Then::Kept } else { multiplied };
        Bytes { first: of(multiplied), attended: of(Then::Attended), last: of(last) }
    }
}

/// Most bytes that a layer needs for each token of a chunk, the hidden state itself not counted.
fn per_token(widths: &Widths, Bytes { first, attended, last }: Bytes) -> usize {
    let Widths { hidden: h, intermediate: f, gated, gate_alike, normed_ends, .. } = *widths;
    let (q, kv) = (widths.heads * widths.head_dim, 2 * widths.kv_heads * widths.head_dim);
    // Queries, keys and values with their input, one of them twice as it is rotated; then what attention makes of them.
    let asking = h * first + (2 * q + kv) * attended;
    let attending = (q + kv) * attended + q * last;
    // Gate and input together, or one after the other where they are stored in two ways.
    let gating = if gated && !gate_alike { 2 * f * F32 } else { 0 };
    let widening = h * first + gating + f * last;
    // Outputs of either block, where they are not added at once, with their norm.
    let adding = if normed_ends { q.max(f) * last + 2 * h * F32 } else { 0 };
    asking.max(attending).max(widening).max(adding)
}

/// Bytes of the table of distances, of its keys and queries in the layer at hand with their input, and of the rows of
/// distances up to `tokens`.
fn distance_bytes(widths: &Widths, tokens: usize, bytes: Bytes) -> usize {
    let Widths { hidden: h, heads, head_dim, distance_rows, .. } = *widths;
    match distance_rows {
        0 => 0,
        rows => {
            rows * (2 * h * F32 + 2 * heads * head_dim * bytes.attended)
                + 2 * tokens * size_of::<u32>()
        }
    }
}

/// Bytes of the tables of rotary angles up to `tokens` positions.
fn angle_bytes(widths: &Widths, tokens: usize) -> usize {
    2 * widths.angle_tables * tokens * (widths.head_dim / 2) * F32
}

#[cfg(test)]
mod tests {
    use grating_backend::Format;

    use super::*;

    fn of(widths: Widths, precision: Precision) -> usize {
        let options = CudaOptions::default().with_precision(precision);
        per_token(&widths, Bytes::of(&widths, &options))
    }

    #[test]
    fn bf16_takes_half_of_a_layers_memory_and_less_where_a_gate_is_fused() {
        // Qwen3-Reranker-0.6B.
        let widths = Widths::new(1024, 3072).with_heads(16, 8, 128).with_gate(true);
        let widths = widths.with_format(Some(Format::Bf16), true);
        let [full, exact, fast] = Precision::ALL.map(|precision| of(widths, precision));
        assert_eq!(full, 4 * (1024 + 2 * 2048 + 2048));
        // Queries, keys and values stay as they are.
        assert_eq!(exact, 2 * 1024 + 4 * (2 * 2048 + 2048));
        assert_eq!(fast, full / 2);
        assert_eq!(workspace(&widths, 1, Precision::Fast).key_bytes, 2);
    }

    #[test]
    fn what_is_not_rounded_everywhere_is_counted_whole() {
        let widths = Widths::new(64, 512).with_gate(true);
        let exact = |widths| of(widths, Precision::Exact);
        let full = |widths| of(widths, Precision::Full);
        for mixed in [widths, widths.with_format(Some(Format::F16), true)] {
            assert_eq!(exact(mixed), full(mixed), "{mixed:?}");
        }
        let scaled = widths.with_format(Some(Format::Bf16), true).with_ends(true, false);
        assert!(exact(scaled.with_ends(false, false)) < exact(scaled));
        assert!(exact(scaled) <= full(scaled));
    }
}
