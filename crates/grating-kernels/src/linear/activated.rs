//! A linear layer with its activation, or two of which one is the other's gate, whose outcome is laid out for the next
//! layer while it is in the cache.

use std::ops::Range;

use super::activations::Target;
use super::call::{Call, Output};
use super::microkernel::{Microkernel, Order};
use super::scratch::{Rows, Scratch};
use super::tasks::{BLOCK_COLUMNS, Task, Tasks};
use crate::Numbers;
use crate::rows::{self, Activation};

/// Layers whose arguments were checked.
pub(super) struct Activated<'a> {
    map: Call<'a>,
    gate: Option<Call<'a>>,
    activation: Activation,
    target: Target<'a>,
}

impl<'a> Activated<'a> {
    /// The layers have the same input and as many columns of output as the target.
    pub(super) fn new(
        map: Call<'a>,
        gate: Option<Call<'a>>,
        activation: Activation,
        target: Target<'a>,
    ) -> Self {
        Self { map, gate, activation, target }
    }

    /// Tasks whose panels are [groups](group) each.
    pub(super) fn tasks(&self, threads: usize) -> Tasks {
        let groups = self.panels().div_ceil(group(self.map.micro));
        let most = most_groups(self.map.micro, self.row_words());
        Tasks::even(self.map.x.tiles(), groups, most, threads)
    }

    pub(super) fn run(&self, task: &Task) {
        let (group, pass) = (group(self.map.micro), pass_tiles(self.map.micro));
        let panels = task.panels.start * group..(task.panels.end * group).min(self.panels());
        Scratch::with(|Scratch { packed, rows, outcomes }| {
            let words = self.row_words() * self.map.micro.panel;
            let packed = packed.units(words * panels.len());
            let mut rest = &mut *packed;
            for call in self.calls() {
                for block in call.blocks() {
                    let (into, after) = rest.split_at_mut(panels.len() * call.panel_words(block));
                    call.pack_panels(panels.clone(), block, rows, into);
                    rest = after;
                }
            }
            for first in task.tiles.clone().step_by(pass) {
                let tiles = first..(first + pass).min(task.tiles.end);
                self.pass(&Task { tiles, panels: panels.clone() }, packed, outcomes);
            }
        });
    }

    /// The outcome of some tiles and panels whose weights are `packed`, layer by layer and block by block.
    fn pass<'s>(&self, task: &Task, packed: &[u32], outcomes: &'s mut [Numbers; 2]) {
        let columns = self.columns(&task.panels);
        let rows = self.map.x.rows_of(&task.tiles);
        let mut packed = packed;
        let room = |outcome: &'s mut Numbers| outcome.room::<f32>(rows.len() * columns.len());
        let [mut first, mut second] = outcomes.each_mut().map(room);
        for (call, outcome) in self.calls().zip([&mut first, &mut second]) {
            let start = rows.start * columns.len() + columns.start;
            let at = outcome.as_mut_ptr().wrapping_sub(start);
            let out = Output { first: at, stride: columns.len(), accumulate: false };
            for block in call.blocks() {
                let (of_block, rest) = packed.split_at(task.panels.len() * call.panel_words(block));
                call.pass(task, block, of_block, out);
                packed = rest;
            }
        }
        match self.gate {
            Some(_) => rows::gate_part(self.map.x.isa(), first, second, self.activation),
            None => rows::activate_part(self.map.x.isa(), first, self.activation),
        }
        for tile in task.tiles.clone() {
            let of_tile = self.map.x.rows_of(&(tile..tile + 1));
            let at = (of_tile.start - rows.start) * columns.len();
            let outcome = &first[at..][..of_tile.len() * columns.len()];
            // SAFETY: the task's panels are whole groups, whose columns no other task writes.
            let into = unsafe { self.target.part(tile, columns.start, columns.len()) };
            self.map.micro.pack_activations(outcome, columns.len(), into);
        }
    }

    /// The gate first, if there is one.
    fn calls(&self) -> impl Iterator<Item = &Call<'a>> {
        self.gate.iter().chain([&self.map])
    }

    /// Words of a packed row of the weights, of the gate's and the map's.
    fn row_words(&self) -> usize {
        self.calls().map(|call| call.micro.row_words(call.w.columns())).sum()
    }

    fn panels(&self) -> usize {
        self.map.w.rows().div_ceil(self.map.micro.panel)
    }

    /// Columns of the output.
    fn columns(&self, panels: &Range<usize>) -> Range<usize> {
        let width = self.map.micro.panel;
        panels.start * width..(panels.end * width).min(self.map.w.rows())
    }
}

/// Panels whose columns the next layer takes together: those that share a scale.
fn group(micro: &Microkernel) -> usize {
    micro.scale_columns().map_or(1, |columns| columns / micro.panel)
}

/// Groups that a task has at most, where so many words of packed weights belong to a column.
fn most_groups(micro: &Microkernel, row_words: usize) -> usize {
    (micro.fitting(row_words * micro.panel) / group(micro)).max(1)
}

/// Tiles whose outcomes wait for the activation together: where panels are nearest several pass by each.
fn pass_tiles(micro: &Microkernel) -> usize {
    match micro.order {
        Order::Panel => 4,
        Order::Tile => 1,
    }
}

/// Most bytes of the parts of a thread's [`Scratch`]: for layers with so many columns of input, and for linear layers alone
/// of any.
pub(super) fn scratch_bytes(micro: &Microkernel, columns: usize, gated: bool) -> [usize; 3] {
    let maps = 1 + usize::from(gated);
    let row_words = maps * micro.row_words(columns);
    let panels = group(micro) * most_groups(micro, row_words);
    // Fewer columns can take more, as more panels of them fit.
    let counts = (micro.step..=BLOCK_COLUMNS).step_by(micro.step);
    let of_count = |count| micro.panels(count) * micro.row_words(count);
    let of_linear = counts.map(of_count).max().unwrap_or(0);
    let packed = micro.panel * of_linear.max(panels * row_words);
    let outcomes = maps * pass_tiles(micro) * micro.tile_rows() * panels * micro.panel;
    [packed * size_of::<u32>(), outcomes * size_of::<f32>(), Rows::most_bytes(micro.panel)]
}

#[cfg(test)]
mod tests {
    use super::{Microkernel, Scratch};
    use crate::rows::{Activation, activate, gate};
    use crate::test_numbers::numbers;
    use crate::{Activations, Compute, Format, Isa, Kernels, Map, Matrix};

    fn stored(format: Format, outputs: usize, inputs: usize, seed: u32) -> Vec<u8> {
        let numbers = numbers(outputs * inputs, seed);
        match format {
            Format::F16 => {
                numbers.iter().flat_map(|&w| half::f16::from_f32(w).to_le_bytes()).collect()
            }
            Format::Bf16 => {
                numbers.iter().flat_map(|&w| half::bf16::from_f32(w).to_le_bytes()).collect()
            }
            Format::Q8_0 => {
                let mut blocks = Vec::new();
                grating_quant::quantize_q8_0(&numbers, &mut blocks).expect("whole blocks");
                blocks
            }
            _ => numbers.iter().flat_map(|w| w.to_le_bytes()).collect(),
        }
    }

    /// Layers of `[rows, inputs] -> [rows, outputs]`.
    struct Case {
        kernels: Kernels,
        compute: Compute,
        format: Format,
        rows: usize,
        inputs: usize,
        outputs: usize,
    }

    impl Case {
        fn check(&self, gated: bool, activation: Activation) {
            let &Case { kernels, compute, format, rows, inputs, outputs } = self;
            let stored = [1, 2].map(|seed| stored(format, outputs, inputs, seed));
            let [up, gating] =
                stored.each_ref().map(|w| Matrix::new(format, outputs, inputs, w).unwrap());
            let bias = numbers(outputs, 3);
            let (mut x, mut input) = (Activations::default(), numbers(rows * inputs, 4));
            // Outliers, which those of the outcome follow.
            input.iter_mut().step_by(3 * inputs.max(1) + 1).for_each(|x| *x *= 1e5);
            kernels.prepare(&input, rows, inputs, compute, &mut x);
            let map = Map { matrix: &up, bias: Some(&bias) };
            let other = Map { matrix: &gating, bias: None };

            let [mut y, mut g] = [map, other].map(|map| {
                let mut y = vec![0.0; rows * outputs];
                kernels.linear(&x, map.matrix, map.bias, &mut y, outputs);
                y
            });
            if gated {
                gate(kernels.isa(), &mut g, &y, activation);
                y = g;
            } else {
                activate(kernels.isa(), &mut y, activation);
            }
            let mut expected = Activations::default();
            kernels.prepare(&y, rows, outputs, compute, &mut expected);

            let mut found = Activations::default();
            // What is packed over something else leaves nothing of it.
            kernels.prepare(&vec![1e9; rows * outputs], rows, outputs, compute, &mut found);
            kernels.linear_activated(&x, map, gated.then_some(other), activation, &mut found);
            let case =
                format!("{} {compute:?} {format:?} {rows}x{inputs}x{outputs}", kernels.isa());
            assert!(found.words() == expected.words(), "{case}, gated: {gated}");
            let down = self::stored(Format::F32, 3, outputs, 5);
            let down = Matrix::new(Format::F32, 3, outputs, &down).unwrap();
            let [found, expected] = [found, expected].map(|x| {
                let mut y = vec![0.0; rows * 3];
                kernels.linear(&x, &down, None, &mut y, 3);
                y
            });
            assert!(found == expected, "{case}, gated: {gated}, multiplied");
        }
    }

    #[test]
    fn one_step_gives_the_bits_of_three() {
        let sizes =
            [(1, 40usize, 20), (33, 64, 130), (70, 384, 300), (5, 1100, 257), (150, 32, 513)];
        for isa in Isa::supported() {
            let kernels = Kernels::new(isa);
            for wanted in [Compute::F32, Compute::Digits, Compute::Bf16, Compute::Int8] {
                for format in [Format::F32, Format::F16, Format::Bf16, Format::Q8_0] {
                    let compute = kernels.compute_for(format, wanted);
                    for (rows, inputs, outputs) in sizes {
                        let inputs = inputs.next_multiple_of(format.block_elements());
                        let case = Case { kernels, compute, format, rows, inputs, outputs };
                        case.check(false, Activation::GeluErf);
                        case.check(true, Activation::Silu);
                    }
                }
            }
        }
    }

    #[test]
    fn scratch_takes_no_more_than_is_said() {
        let (format, rows, outputs) = (Format::Q8_0, 70, 600);
        for isa in Isa::supported() {
            let kernels = Kernels::new(isa);
            for inputs in [64, 384, 2048] {
                // A thread of its own has nothing of others.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                let bytes = pool.install(|| {
                    for wanted in [Compute::F32, Compute::Digits, Compute::Bf16, Compute::Int8] {
                        let compute = kernels.compute_for(format, wanted);
                        let case = Case { kernels, compute, format, rows, inputs, outputs };
                        case.check(true, Activation::Silu);
                    }
                    Scratch::with(|scratch| scratch.bytes())
                });
                let most = kernels.scratch_bytes(inputs, true);
                assert!(bytes <= most, "{isa}, {inputs} columns: {bytes} of {most}");
                assert!(4 * bytes >= most || inputs < 2048, "{isa}: {bytes} of {most}");
            }
        }
    }

    #[test]
    fn linear_layers_of_any_width_take_no_more_than_is_said() {
        // One task has all panels.
        let (rows, outputs) = (40, 14 * 32);
        for isa in Isa::supported() {
            let kernels = Kernels::new(isa);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let packed = pool.install(|| {
                for inputs in [513, 705, 769, 1000, 1024, 3000] {
                    let w = stored(Format::F32, outputs, inputs, 1);
                    let w = Matrix::new(Format::F32, outputs, inputs, &w).unwrap();
                    for compute in kernels.computes() {
                        let (mut x, mut y) = (Activations::default(), vec![0.0; rows * outputs]);
                        kernels.prepare(&numbers(rows * inputs, 2), rows, inputs, compute, &mut x);
                        kernels.linear(&x, &w, None, &mut y, outputs);
                    }
                }
                Scratch::with(|scratch| size_of_val(scratch.packed.as_units()))
            });
            let most = kernels.computes().map(|compute| {
                let micro = Microkernel::of(isa, compute, Format::F32);
                super::scratch_bytes(micro, 64, false)[0]
            });
            let most = most.max().unwrap();
            assert!(packed <= most, "{isa}: {packed} of {most}");
        }
    }

    #[test]
    fn nothing_gives_nothing() {
        let kernels = Kernels::new(Isa::detect());
        let (rows, inputs, outputs) = (0, 32, 64);
        let (compute, format) = (kernels.compute_for(Format::F32, Compute::F32), Format::F32);
        Case { kernels, compute, format, rows, inputs, outputs }.check(false, Activation::Relu);
        let no_inputs = Case { kernels, compute, format, rows: 3, inputs: 0, outputs };
        no_inputs.check(true, Activation::Relu);
    }
}
