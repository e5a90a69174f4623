//! Linear layers: which kernel for which weights, and up to three maps in one launch.

use grating_backend::{Affine, Format, Result};

use crate::arguments::{LinearArguments, MAPS, Map};
use crate::backend::{CudaBackend, CudaTensor};
use crate::driver::Driver;
use crate::ops::number;
use crate::slot::CudaWeight;

/// Blocks of wide tiles that keep a large device busy; with fewer, smaller tiles spread better.
const WIDE_BLOCKS: usize = 96;

/// A kernel, and the tile of the output that a block of it computes.
struct Tiling {
    name: &'static str,
    rows: usize,
    columns: usize,
    threads: u32,
}

impl<D: Driver> CudaBackend<D> {
    /// Each of `maps` of `x` to its output, or added to what is in there. Maps whose weights are stored alike share a
    /// launch.
    pub(crate) fn affine(
        &self,
        x: &CudaTensor<D>,
        maps: &[Affine<'_, CudaWeight<'_, D>>],
        outs: &[CudaTensor<D>],
        adds: bool,
    ) -> Result<()> {
        let alike = |a: &Affine<'_, CudaWeight<'_, D>>, b: &Affine<'_, CudaWeight<'_, D>>| {
            (a.weight.format, a.weight.rounded) == (b.weight.format, b.weight.rounded)
        };
        let mut from = 0;
        while from < maps.len() {
            let same = maps[from..].iter().take(MAPS).take_while(|map| alike(&maps[from], map));
            let to = from + same.count();
            self.launch_maps(x, &maps[from..to], &outs[from..to], adds)?;
            from = to;
        }
        Ok(())
    }

    /// At least one map, at most [`MAPS`].
    fn launch_maps(
        &self,
        x: &CudaTensor<D>,
        maps: &[Affine<'_, CudaWeight<'_, D>>],
        outs: &[CudaTensor<D>],
        adds: bool,
    ) -> Result<()> {
        let first = maps[0].weight;
        let widest = maps.iter().map(|map| map.weight.rows);
        let tiling = tiling(first, x.rows, widest);
        let row_bytes = first.format.row_bytes(x.columns).unwrap_or(0);
        debug_assert!(row_bytes > 0 && first.columns == x.columns, "a weight of other columns");
        let mut argument = LinearArguments {
            x: x.at().0,
            rows: number(x.rows)?,
            columns: number(x.columns)?,
            row_bytes: number(row_bytes)?,
            count: number(maps.len())?,
            adds: adds.into(),
            format: first.format as u32,
            maps: bytemuck::Zeroable::zeroed(),
        };
        let mut blocks = 0;
        for ((map, out), at) in maps.iter().zip(outs).zip(&mut argument.maps) {
            *at = Map {
                weight: map.weight.at,
                bias: map.bias.map_or(0, |bias| bias.at),
                out: out.at().0,
                outs: number(map.weight.rows)?,
                bias_format: map.bias.map_or(0, |bias| bias.format as u32),
                first_block: number(blocks)?,
                unused: 0,
            };
            blocks += map.weight.rows.div_ceil(tiling.columns);
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
        return Tiling { name, rows: 4, columns: 64, threads: 256 };
    }
    let [full, narrow, wide] = kernels(weight.format);
    if !weight.rounded {
        return Tiling { name: full, rows: 64, columns: 64, threads: 256 };
    }
    let blocks: usize = outs.map(|outs| outs.div_ceil(128)).sum::<usize>() * rows.div_ceil(128);
    match wide.is_empty() || blocks < WIDE_BLOCKS {
        true => Tiling { name: narrow, rows: 64, columns: 64, threads: 128 },
        false => Tiling { name: wide, rows: 128, columns: 128, threads: 256 },
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
