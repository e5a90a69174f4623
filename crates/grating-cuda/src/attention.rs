//! Attention: which kernel for which heads, and what it is told.

use std::sync::{Arc, PoisonError};

use grating_backend::{
    AttentionSpec, BackendError, ByDistance, Distances, Precision, Result, Rows,
};

use crate::arguments::AttentionArguments;
use crate::backend::CudaBackend;
use crate::driver::Driver;
use crate::layout::CudaLayout;
use crate::memory::Buffer;
use crate::ops::number;
use crate::tensor::CudaTensor;

/// A window that nothing is out of (`NO_WINDOW` of `attention.cuh`).
const NO_WINDOW: u32 = u32::MAX / 2;

impl<D: Driver> CudaBackend<D> {
    /// The row of each distance from `1 - longest` to `longest - 1`, on the device.
    pub(crate) fn distance_rows(
        &self,
        distances: Distances,
        longest: usize,
    ) -> crate::Result<Arc<Buffer<D>>> {
        let mut known = self.distances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, tokens, rows)) = &*known
            && (*of, *tokens) == (distances, longest)
        {
            return Ok(Arc::clone(rows));
        }
        let far = longest as isize;
        let rows: Vec<u32> = (1 - far..far).map(|d| distances.row(d) as u32).collect();
        let rows = Arc::new(self.uploaded(bytemuck::cast_slice(&rows))?);
        *known = Some((distances, longest, Arc::clone(&rows)));
        Ok(rows)
    }

    /// What attention of `q` over keys is told, without a prefix, values and distances.
    pub(crate) fn asked(
        &self,
        (q, keys, out): (&CudaTensor<D>, &CudaTensor<D>, &CudaTensor<D>),
        spec: &AttentionSpec,
        layout: &CudaLayout<D>,
        rows: Rows,
    ) -> crate::Result<AttentionArguments> {
        Ok(AttentionArguments {
            q: q.at().0,
            keys: keys.at().0,
            out: out.at().0,
            offsets: layout.offsets(),
            positions: layout.positions(Rows::All),
            heads: number(spec.heads)?,
            kv_heads: number(spec.kv_heads)?,
            width: number(spec.width)?,
            causal: spec.causal.into(),
            window: spec.window.map_or(Ok(NO_WINDOW), number)?.min(NO_WINDOW),
            scale: spec.scale,
            softcap: spec.softcap.unwrap_or(0.0),
            scored: layout.scored(rows),
            longest: number(layout.longest)?,
            q_format: q.format as u32,
            key_format: keys.format as u32,
            out_format: out.format as u32,
            ..bytemuck::Zeroable::zeroed()
        })
    }

    pub(crate) fn attend(
        &self,
        q: &CudaTensor<D>,
        (keys, values): (&CudaTensor<D>, &CudaTensor<D>),
        spec: &AttentionSpec,
        (layout, rows): (&CudaLayout<D>, Rows),
        set: impl FnOnce(&mut AttentionArguments) -> crate::Result<bool>,
    ) -> Result<CudaTensor<D>> {
        let out = self.tensor(q.rows, q.columns, self.options.stored(spec.then))?;
        let mut argument = self.asked((q, keys, &out), spec, layout, rows)?;
        (argument.values, argument.value_format) = (values.at().0, values.format as u32);
        let by_distance = set(&mut argument)?;
        let rounds = self.options.precision == Precision::Fast;
        let Some((name, rounded)) = attention_kernel(spec.width, by_distance, rounds) else {
            let reason =
                format!("attention heads of {} columns are not supported on CUDA", spec.width);
            return Err(BackendError::failed(reason));
        };
        let (tiles, blocks) = layout.tiles(rounded, rows);
        argument.tiles = tiles;
        // SAFETY: the layout is of these tensors' rows.
        unsafe { self.launch(name, [blocks, spec.heads], 128, &argument)? };
        Ok(out)
    }
}

/// The kernel for heads of so many columns, and whether it is one of tensor cores, where there is one and `rounds` says so.
fn attention_kernel(width: usize, by_distance: bool, rounds: bool) -> Option<(&'static str, bool)> {
    let rounded = rounds && !by_distance && width <= 128 && width.is_multiple_of(4);
    let name = match (width, by_distance, rounded) {
        (0..=32, false, true) => "attention_rounded_32",
        (33..=64, false, true) => "attention_rounded_64",
        (65..=128, false, true) => "attention_rounded_128",
        (0..=32, false, false) => "attention_32",
        (33..=64, false, false) => "attention_64",
        (65..=128, false, false) => "attention_128",
        (129..=256, false, false) => "attention_256",
        (0..=32, true, _) => "attention_by_distance_32",
        (33..=64, true, _) => "attention_by_distance_64",
        (65..=128, true, _) => "attention_by_distance_128",
        _ => return None,
    };
    Some((name, rounded))
}

/// Tells attention what distances add.
pub(crate) fn set_distances<D: Driver>(
    argument: &mut AttentionArguments,
    by: &ByDistance<'_, CudaTensor<D>>,
    rows: &Buffer<D>,
) {
    let place = |table: Option<&CudaTensor<D>>| table.map_or(0, |table| table.at().0);
    (argument.distance_keys, argument.distance_queries) = (place(by.keys), place(by.queries));
    argument.distance_format = by.keys.or(by.queries).map_or(0, |table| table.format as u32);
    argument.distance_rows = rows.at().0;
}
