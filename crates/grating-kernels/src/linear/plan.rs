//! How a call is split into tasks. It decides who computes an element, never how.

use std::ops::Range;

/// Columns of the weights that are packed at a time: the block of a tile's rows of activations
/// stays in the first-level cache. A multiple of every quantized format's block.
pub(super) const BLOCK_COLUMNS: usize = 1024;

/// Panels that are packed at a time: with [`BLOCK_COLUMNS`] they fill part of the second-level
/// cache, and a tile's rows of activations are loaded once for all of them.
const BLOCK_PANELS: usize = 4;

/// Fewer row tiles than this are not worth packing the weights again.
const LEAST_TILES: usize = 4;

/// A part of the output: whole row tiles and whole panels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) tiles: Range<usize>,
    pub(super) panels: Range<usize>,
}

/// A grid of tasks over `tiles` × `panels`.
#[derive(Debug)]
pub(super) struct Plan {
    tiles: usize,
    panels: usize,
    row_parts: usize,
    panel_parts: usize,
}

impl Plan {
    /// A plan for `threads` threads; `tiles` and `panels` are not zero.
    pub(super) fn new(tiles: usize, panels: usize, threads: usize) -> Self {
        // A multiple of the threads, so that they finish together.
        let panel_parts = panels.div_ceil(BLOCK_PANELS).next_multiple_of(threads).min(panels);
        let wanted = threads.div_ceil(panel_parts);
        let row_parts = wanted.min(tiles / LEAST_TILES).max(1);
        Self { tiles, panels, row_parts, panel_parts }
    }

    /// Number of tasks.
    pub(super) fn len(&self) -> usize {
        self.row_parts * self.panel_parts
    }

    /// Task `i`: neighbours share their rows.
    pub(super) fn task(&self, i: usize) -> Task {
        let (row, panel) = (i / self.panel_parts, i % self.panel_parts);
        let part = |i: usize, of: usize, total: usize| i * total / of..(i + 1) * total / of;
        Task {
            tiles: part(row, self.row_parts, self.tiles),
            panels: part(panel, self.panel_parts, self.panels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_everything_once_and_fit_the_scratch() {
        for (tiles, panels, threads) in
            [(1, 1, 1), (1, 1, 64), (74, 96, 2), (5, 12, 2), (300, 1, 8), (3, 7, 5), (9, 257, 16)]
        {
            let plan = Plan::new(tiles, panels, threads);
            let mut seen = vec![0; tiles * panels];
            for i in 0..plan.len() {
                let task = plan.task(i);
                assert!(task.panels.len() <= BLOCK_PANELS);
                for tile in task.tiles {
                    task.panels.clone().for_each(|panel| seen[tile * panels + panel] += 1);
                }
            }
            assert!(seen.iter().all(|&n| n == 1), "{plan:?}");
        }
    }

    #[test]
    fn narrow_outputs_are_split_by_rows() {
        assert_eq!(Plan::new(300, 1, 8).len(), 8);
        assert_eq!(Plan::new(300, 12, 2).len(), 4);
    }
}
