//! What computing takes of the device's memory beside weights and hidden states.

use grating_backend::{Widths, Workspace};

/// Tables of indices for each token of a chunk, if each is a text of its own: its position, the same of the scored one, its
/// row, its offset, and two tiles of attention.
const TABLE_ENTRIES: usize = 8;

/// Buffers that are smaller than they are rounded up to: tables, scores, norms of single rows.
const SMALL_BUFFERS: usize = 256 << 10;

/// What a layer of such widths takes of a device's memory, the hidden states not counted, where the longest sequence has
/// `longest` tokens. It needs no device.
pub fn workspace(widths: &Widths, longest: usize) -> Workspace {
    let tables = angle_bytes(widths, longest) + distance_bytes(widths, longest);
    Workspace::new(
        with_rounding(per_token(widths)) + TABLE_ENTRIES * size_of::<u32>(),
        with_rounding(tables) + SMALL_BUFFERS,
    )
}

/// Sizes are rounded up by at most an eighth.
fn with_rounding(bytes: usize) -> usize {
    bytes + bytes.div_ceil(8)
}

/// Most bytes that a layer needs for each token of a chunk, the hidden state itself not counted.
fn per_token(widths: &Widths) -> usize {
    let Widths { hidden: h, intermediate: f, gated, heads, kv_heads, head_dim, .. } = *widths;
    let (q, kv) = (heads * head_dim, 2 * kv_heads * head_dim);
    // Queries, keys and values with their input, one of them twice as it is normed or rotated; what attention makes of
    // them; the output with its norm.
    let attention = (h + 2 * q + kv).max(q + 2 * h);
    let feed_forward = 2 * h + if gated { 2 * f } else { f };
    size_of::<f32>() * attention.max(feed_forward)
}

/// Bytes of the table of distances, of its keys and queries in the layer at hand with their input, and of the rows of
/// distances up to `tokens`.
fn distance_bytes(widths: &Widths, tokens: usize) -> usize {
    let Widths { hidden: h, heads, head_dim, distance_rows, .. } = *widths;
    match distance_rows {
        0 => 0,
        rows => (rows * (2 * h + 2 * heads * head_dim) + 2 * tokens) * size_of::<f32>(),
    }
}

/// Bytes of the tables of rotary angles up to `tokens` positions.
fn angle_bytes(widths: &Widths, tokens: usize) -> usize {
    2 * widths.angle_tables * tokens * (widths.head_dim / 2) * size_of::<f32>()
}
