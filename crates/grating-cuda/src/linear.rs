//! Linear layers: which kernel for which weights, and up to three maps in one launch.

use grating_backend::{Affine, Format, Result};

use crate::arguments::{LinearArguments, MAPS, Map};
use crate::backend::CudaBackend;
use crate::driver::Driver;
use crate::ops::number;
use crate::slot::CudaWeight;
use crate::tensor::CudaTensor;

/// Blocks of wide tiles that keep a large device busy; with fewer, smaller tiles spread better.
const WIDE_BLOCKS: usize = 96;

/// No activation (`NO_ACTIVATION` of `prelude.cuh`).
const NO_ACTIVATION: u32 = 5;

/// A kernel, and the tile of the output that a block of it computes.
struct Tiling {
    name: &'static str,
    rows: usize,
    columns: usize,
    /// The same where half of the products gate the others.
    gated_columns: usize,
    threads: u32,
}

/// Whether results are added to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    No,
    Yes,
}

/// What is done with products before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Each map's are stored, or added.
    Stored(Added),
    /// Those of the one map are activated.
    Activated(u32),
    /// Those of the first of two maps are activated and multiplied by the second's.
    Gated(u32),
}

/// Whether two maps can share a launch.
pub(crate) fn alike<D: Driver>(
    a: &Affine<'_, CudaWeight<'_, D>>,
    b: &Affine<'_, CudaWeight<'_, D>>,
) -> bool {
    (a.weight.format, a.weight.rounded) == (b.weight.format, b.weight.rounded)
}

impl<D: Driver> CudaBackend<D> {
    /// Each of `maps` of `x` to its output, or added to what is in there. Maps whose weights are stored alike share a
    /// launch.
    pub(crate) fn affine(
        &self,
        x: &CudaTensor<D>,
        maps: &[Affine<'_, CudaWeight<'_, D>>],
        outs: &[CudaTensor<D>],
        added: Added,
    ) -> Result<()> {
        let mut from = 0;
        while from < maps.len() {
            let same = maps[from..].iter().take(MAPS).take_while(|map| alike(&maps[from], map));
            let to = from + same.count();
            self.launch_maps(x, &maps[from..to], &outs[from..to], Finish::Stored(added))?;
            from = to;
        }
        Ok(())
    }

    /// At least one map, at most [`MAPS`], all alike; an output for each, or one for two where the first is gated.
    pub(crate) fn launch_maps(
        &self,
        x: &CudaTensor<D>,
        maps: &[Affine<'_, CudaWeight<'_, D>>],
        outs: &[CudaTensor<D>],
        finish: Finish,
    ) -> Result<()> {
        let first = maps[0].weight;
        // Kernels of products in f32 read f32.
        let converted = match first.rounded {
            true => None,
            false => self.converted(x, Format::F32)?,
        };
        let x = converted.as_ref().unwrap_or(x);
        let widest = maps.iter().map(|map| map.weight.rows);
        let tiling = tiling(first, x.rows, widest);
        let row_bytes = first.format.row_bytes(x.columns).unwrap_or(0);
        debug_assert!(row_bytes > 0 && first.columns == x.columns, "a weight of other columns");
        let gated = matches!(finish, Finish::Gated(_));
        let mut argument = LinearArguments {
            x: x.at().0,
            rows: number(x.rows)?,
            columns: number(x.columns)?,
            row_bytes: number(row_bytes)?,
            count: number(outs.len())?,
            adds: (finish == Finish::Stored(Added::Yes)).into(),
            format: first.format as u32,
            x_format: x.format as u32,
            gated: gated.into(),
            activation: match finish {
                Finish::Stored(_) => NO_ACTIVATION,
                Finish::Activated(activation) | Finish::Gated(activation) => activation,
            },
            unused: 0,
            maps: bytemuck::Zeroable::zeroed(),
        };
        let columns = if gated { tiling.gated_columns } else { tiling.columns };
        let mut blocks = 0;
        for (index, (map, at)) in maps.iter().zip(&mut argument.maps).enumerate() {
            let out = outs.get(index).unwrap_or(&outs[0]);
            *at = Map {
                weight: map.weight.at,
                bias: map.bias.map_or(0, |bias| bias.at),
                out: out.at().0,
                outs: number(map.weight.rows)?,
                bias_format: map.bias.map_or(0, |bias| bias.format as u32),
                first_block: number(blocks)?,
                out_format: out.format as u32,
            };
            if index < outs.len() {
                blocks += map.weight.rows.div_ceil(columns);
            }
        }
        let grid = [blocks, x.rows.div_ceil(tiling.rows)];
        // SAFETY: weights have as many columns as `x`, outputs as many rows, and as many columns as weights rows.
        Ok(unsafe { self.launch(tiling.name, grid, tiling.threads, &argument) }?)
    }
}

/// The kernel for weights that are stored as `weight` is, and `rows` rows of inputs. Every element is the same to the bit
/// with every tile.
fn tiling<D: Driver>(
    weight: &CudaWeight<'_, D>,
    rows: usize,
    outs: impl Iterator<Item = usize>,
) -> Tiling {
    if !weight.columns.is_multiple_of(8) {
        let name = if weight.rounded { "linear_any_rounded" } else { "linear_any_full" };
        return Tiling { name, rows: 4, columns: 64, gated_columns: 64, threads: 256 };
    }
    let [full, narrow, wide] = kernels(weight.format);
    if !weight.rounded {
        return Tiling { name: full, rows: 64, columns: 64, gated_columns: 32, threads: 256 };
    }
    let blocks: usize = outs.map(|outs| outs.div_ceil(128)).sum::<usize>() * rows.div_ceil(128);
    match wide.is_empty() || blocks < WIDE_BLOCKS {
        true => Tiling { name: narrow, rows: 64, columns: 64, gated_columns: 32, threads: 128 },
        false => Tiling { name: wide, rows: 128, columns: 128, gated_columns: 64, threads: 256 },
    }
}

/// Products in f32, products of bf16 in small tiles, and in large ones where there is such a kernel.
fn kernels(format: Format) -> [&'static str; 3] {
    match format {
        Format::F32 => ["linear_full_f32", "linear_rounded_f32", ""],
        Format::F16 => ["linear_full_f16", "linear_rounded_f16", "linear_wide_f16"],
        Format::Bf16 => ["linear_full_bf16", "linear_rounded_bf16", "linear_wide_bf16"],
        Format::Q8_0 => ["linear_full_q8_0", "linear_rounded_q8_0", "linear_wide_q8_0"],
        Format::Q4_0 => ["linear_full_q4_0", "linear_rounded_q4_0", ""],
        Format::Q4_1 => ["linear_full_q4_1", "linear_rounded_q4_1", ""],
        Format::Q5_0 => ["linear_full_q5_0", "linear_rounded_q5_0", ""],
        Format::Q5_1 => ["linear_full_q5_1", "linear_rounded_q5_1", ""],
        Format::Q4K => ["linear_full_q4k", "linear_rounded_q4k", "linear_wide_q4k"],
        Format::Q5K => ["linear_full_q5k", "linear_rounded_q5k", ""],
        Format::Q6K => ["linear_full_q6k", "linear_rounded_q6k", ""],
    }
}
