//! What kernels are given, as `kernels/arguments.cuh` lays it out.

use bytemuck::{Pod, Zeroable};

/// One of the maps of a linear layer.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Map {
    pub(crate) weight: u64,
    pub(crate) bias: u64,
    pub(crate) out: u64,
    pub(crate) outs: u32,
    pub(crate) bias_format: u32,
    pub(crate) first_block: u32,
    pub(crate) out_format: u32,
}

/// Most maps of one launch.
pub(crate) const MAPS: usize = 3;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct LinearArguments {
    pub(crate) x: u64,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) row_bytes: u32,
    pub(crate) count: u32,
    pub(crate) adds: u32,
    pub(crate) format: u32,
    pub(crate) x_format: u32,
    pub(crate) gated: u32,
    pub(crate) activation: u32,
    pub(crate) unused: u32,
    pub(crate) maps: [Map; MAPS],
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct AttentionArguments {
    pub(crate) q: u64,
    pub(crate) keys: u64,
    pub(crate) values: u64,
    pub(crate) prefix_keys: u64,
    pub(crate) prefix_values: u64,
    pub(crate) out: u64,
    pub(crate) offsets: u64,
    pub(crate) tiles: u64,
    pub(crate) distance_keys: u64,
    pub(crate) distance_queries: u64,
    pub(crate) distance_rows: u64,
    pub(crate) positions: u64,
    pub(crate) prefix: u32,
    pub(crate) heads: u32,
    pub(crate) kv_heads: u32,
    pub(crate) width: u32,
    pub(crate) causal: u32,
    pub(crate) window: u32,
    pub(crate) scale: f32,
    pub(crate) softcap: f32,
    pub(crate) scored: u32,
    pub(crate) longest: u32,
    pub(crate) largest: u32,
    pub(crate) q_format: u32,
    pub(crate) key_format: u32,
    pub(crate) value_format: u32,
    pub(crate) distance_format: u32,
    pub(crate) out_format: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct NormArguments {
    pub(crate) x: u64,
    pub(crate) out: u64,
    pub(crate) weight: u64,
    pub(crate) bias: u64,
    pub(crate) weight_format: u32,
    pub(crate) bias_format: u32,
    pub(crate) groups: u32,
    pub(crate) width: u32,
    pub(crate) eps: f32,
    pub(crate) added: f32,
    pub(crate) x_format: u32,
    pub(crate) out_format: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct PointwiseArguments {
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) out: u64,
    pub(crate) count: u64,
    pub(crate) activation: u32,
    pub(crate) factor: f32,
    pub(crate) x_format: u32,
    pub(crate) y_format: u32,
    pub(crate) out_format: u32,
    pub(crate) unused: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RowsArguments {
    pub(crate) x: u64,
    pub(crate) out: u64,
    pub(crate) index: u64,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) width: u32,
    pub(crate) format: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RopeArguments {
    pub(crate) x: u64,
    pub(crate) cosines: u64,
    pub(crate) sines: u64,
    pub(crate) positions: u64,
    pub(crate) weight: u64,
    pub(crate) weight_format: u32,
    pub(crate) eps: f32,
    pub(crate) added: f32,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) half_width: u32,
    pub(crate) format: u32,
    pub(crate) unused: u32,
}
