//! Linear layers with what is done to their products.

use grating_backend::{Activation, Affine, Ops, Result};

use super::{Work, admit, bind, check, download, each, tensor};

/// Every non-linearity.
pub(super) const ACTIVATIONS: [Activation; 5] = [
    Activation::Silu,
    Activation::GeluErf,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Tanh,
];

/// Products that are activated, and those that are gated.
struct Finished {
    rows: usize,
    columns: usize,
    outs: usize,
}

impl Work for Finished {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let Finished { rows, columns, outs } = *self;
        let x = tensor(ops, 1, rows, columns)?;
        let slot = admit(ops, &[(2, outs * columns), (3, outs * columns), (4, outs), (5, outs)])?;
        let matrix = |index| bind(ops, &slot, index, &[outs, columns]);
        let (first, second) = (matrix(0)?, matrix(1)?);
        let (bias, other) = (bind(ops, &slot, 2, &[outs])?, bind(ops, &slot, 3, &[outs])?);
        let mut all = Vec::new();
        for activation in ACTIVATIONS {
            let gate = || Affine { weight: &first, bias: Some(&bias) };
            let up = Affine { weight: &second, bias: Some(&other) };
            all.extend(download(ops, &ops.linear_activated(&x, gate(), activation)?)?);
            all.extend(download(ops, &ops.linear_gated(&x, [gate(), up], activation)?)?);
        }
        Ok(all)
    }
}

/// Linear layers with a non-linearity, and gated ones.
pub fn finished_layers<B: Ops, R: Ops>(ours: &B, reference: &R) {
    each((1..40usize, 1..70usize, 1..70usize), |(rows, columns, outs)| {
        check(ours, reference, Finished { rows, columns, outs });
    });
    // Widths of whole tiles, and more than one.
    check(ours, reference, Finished { rows: 130, columns: 64, outs: 128 });
}
