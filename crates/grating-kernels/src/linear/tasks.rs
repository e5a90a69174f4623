//! How a call is split into tasks. It decides who computes an element, never how.

use std::ops::Range;

/// Columns of the weights that are packed at a time: the block of a tile's rows of activations
/// stays in the first-level cache. A multiple of every quantized format's block.
pub(super) const BLOCK_COLUMNS: usize = 1024;

/// Fewer row tiles than this are not worth packing the weights again.
const LEAST_TILES: usize = 4;

/// A part of the output: whole row tiles and whole panels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) tiles: Range<usize>,
    pub(super) panels: Range<usize>,
}

/// Tasks that cover `tiles` × `panels`, the smaller ones last so that threads finish together.
#[derive(Debug)]
pub(super) struct Tasks {
    tiles: usize,
    panels: usize,
    row_parts: usize,
    /// Tasks of so many panels, which are packed at a time: with [`BLOCK_COLUMNS`] they fill part of the second-level cache,
    /// and a tile's rows of activations are loaded once for all of them. Tasks after those have one. Or all are even.
    blocks: Option<Blocks>,
    panel_parts: usize,
}

/// Tasks of several panels.
#[derive(Debug)]
struct Blocks {
    count: usize,
    panels: usize,
}

impl Tasks {
    /// Tasks of up to `block` panels, all as large as each other, as many for each of `threads` threads: where a task of few
    /// panels would wait for its activations. `tiles` and `panels` are not zero.
    pub(super) fn even(tiles: usize, panels: usize, block: usize, threads: usize) -> Self {
        let panel_parts = panels.div_ceil(block).next_multiple_of(threads).min(panels);
        let row_parts = threads.div_ceil(panel_parts).min(tiles / LEAST_TILES).max(1);
        Self { tiles, panels, row_parts, panel_parts, blocks: None }
    }

    /// A plan for `threads` threads and up to `block` panels a task; `tiles` and `panels` are not zero.
    pub(super) fn new(tiles: usize, panels: usize, block: usize, threads: usize) -> Self {
        let singles = if threads == 1 { 0 } else { threads * block };
        let blocks = panels.saturating_sub(singles) / block;
        let panel_parts = blocks + (panels - blocks * block);
        let row_parts = threads.div_ceil(panel_parts).min(tiles / LEAST_TILES).max(1);
        Self {
            tiles,
            panels,
            row_parts,
            panel_parts,
            blocks: Some(Blocks { count: blocks, panels: block }),
        }
    }

    /// Number of tasks.
    pub(super) fn len(&self) -> usize {
        self.row_parts * self.panel_parts
    }

    /// Task `i`.
    pub(super) fn task(&self, i: usize) -> Task {
        let (row, part) = (i % self.row_parts, i / self.row_parts);
        let first_tile = |row| row * self.tiles / self.row_parts;
        let first_panel = |part: usize| match &self.blocks {
            Some(blocks) => {
                part.min(blocks.count) * blocks.panels + part.saturating_sub(blocks.count)
            }
            None => part * self.panels / self.panel_parts,
        };
        Task {
            tiles: first_tile(row)..first_tile(row + 1),
            panels: first_panel(part)..first_panel(part + 1).min(self.panels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 4;

    #[test]
    fn tasks_cover_everything_once_and_fit_the_scratch() {
        for (tiles, panels, threads) in
            [(1, 1, 1), (1, 1, 64), (74, 96, 2), (5, 12, 2), (300, 1, 8), (3, 7, 5), (9, 257, 16)]
        {
            for plan in [Tasks::new, Tasks::even] {
                let tasks = plan(tiles, panels, BLOCK, threads);
                let mut seen = vec![0; tiles * panels];
                for i in 0..tasks.len() {
                    let task = tasks.task(i);
                    assert!(task.panels.len() <= BLOCK);
                    for tile in task.tiles {
                        task.panels.clone().for_each(|panel| seen[tile * panels + panel] += 1);
                    }
                }
                assert!(seen.iter().all(|&n| n == 1), "{tasks:?}");
            }
        }
    }

    #[test]
    fn narrow_outputs_are_split_by_rows() {
        assert_eq!(Tasks::new(300, 1, BLOCK, 8).len(), 8);
        assert_eq!(Tasks::new(2, 1, BLOCK, 8).len(), 1);
    }

    #[test]
    fn even_tasks_are_as_many_for_each_thread() {
        let tasks = Tasks::even(74, 48, 16, 2);
        let sizes: Vec<usize> = (0..tasks.len()).map(|i| tasks.task(i).panels.len()).collect();
        assert_eq!(sizes, [12; 4]);
    }

    #[test]
    fn small_tasks_come_last() {
        let tasks = Tasks::new(74, 32, BLOCK, 2);
        let sizes: Vec<usize> = (0..tasks.len()).map(|i| tasks.task(i).panels.len()).collect();
        assert_eq!(sizes, [4, 4, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(Tasks::new(74, 32, BLOCK, 1).len(), 8);
    }
}
