//! Every operation of the CPU on awkward shapes and every instruction set, against candle's.

use grating_candle::CandleOps;
use grating_io::Dtype;
use grating_model::{
    Activation, Affine, CpuOps, Heads, Isa, Ops, Precision, Result, Span, TensorView,
};
use proptest::prelude::*;

/// |ours - reference| ≤ 2e-5 × max(1, |reference|): both compute in f32, on numbers around 1 and sums of at most some
/// hundred of them, and differ in the order of sums and in how functions are approximated.
const TOLERANCE: f32 = 2e-5;

/// Numbers between -1 and 1 that a seed decides.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The result of `work` on the reference and on the CPU with every instruction set.
fn check(work: impl Work) {
    let expected = work.run(&CandleOps::cpu()).unwrap();
    for isa in Isa::supported() {
        let found = work.run(&CpuOps::new(isa, Precision::Full)).unwrap();
        assert_eq!(found.len(), expected.len());
        for (at, (ours, reference)) in found.iter().zip(&expected).enumerate() {
            let error = (ours - reference).abs() / reference.abs().max(1.0);
            assert!(error <= TOLERANCE, "{isa}, element {at}: {ours} for {reference}");
        }
    }
}

/// A use of the vocabulary, whoever implements it.
trait Work {
    fn run<O: Ops>(&self, ops: &O) -> Result<Vec<f32>>;
}

/// A tensor of `rows` x `columns` numbers.
fn tensor<O: Ops>(ops: &O, seed: u64, rows: usize, columns: usize) -> Result<O::Tensor> {
    ops.upload(numbers(seed, rows * columns), rows, columns)
}

struct Maps {
    rows: usize,
    columns: usize,
    outs: [usize; 2],
}

impl Work for Maps {
    fn run<O: Ops>(&self, ops: &O) -> Result<Vec<f32>> {
        let Maps { rows, columns, outs } = *self;
        let x = tensor(ops, 1, rows, columns)?;
        let weights = outs.map(|out| bytes(&numbers(2 + out as u64, out * columns)));
        let shapes = outs.map(|out| [out, columns]);
        let bias = bytes(&numbers(9, outs[0]));
        let bias_shape = [outs[0]];
        let bias = ops.bind(TensorView::new(Dtype::F32, &bias_shape, &bias)?)?;
        let bind = |i: usize| ops.bind(TensorView::new(Dtype::F32, &shapes[i], &weights[i])?);
        let (first, second) = (bind(0)?, bind(1)?);
        let maps =
            [Affine { weight: &first, bias: Some(&bias) }, Affine { weight: &second, bias: None }];
        let [a, b] = ops.linear(&x, maps)?;
        let a = ops.linear_add(a, &x, Affine { weight: &first, bias: Some(&bias) })?;
        Ok([ops.download(&a)?, ops.download(&b)?].concat())
    }
}

struct Norms {
    rows: usize,
    heads: usize,
    width: usize,
}

impl Work for Norms {
    fn run<O: Ops>(&self, ops: &O) -> Result<Vec<f32>> {
        let Norms { rows, heads, width } = *self;
        let columns = heads * width;
        let vector = |seed, n: usize| bytes(&numbers(seed, n));
        let (whole, of_head, bias) = (vector(3, columns), vector(4, width), vector(5, columns));
        let (whole_shape, head_shape) = ([columns], [width]);
        let bind = |bytes, shape| ops.bind(TensorView::new(Dtype::F32, shape, bytes)?);
        let (whole, bias) = (bind(&whole, &whole_shape)?, bind(&bias, &whole_shape)?);
        let of_head = bind(&of_head, &head_shape)?;
        let x = tensor(ops, 1, rows, columns)?;
        let rms = ops.rms_norm(&x, &whole, 1e-5)?;
        let heads = ops.rms_norm_heads(tensor(ops, 2, rows, columns)?, &of_head, 1e-5)?;
        // One column alone has no variance to speak of, and what is left is all rounding.
        let layer = match columns {
            1 => tensor(ops, 6, rows, 1)?,
            _ => ops.layer_norm(x, &whole, &bias, 1e-3)?,
        };
        Ok([ops.download(&rms)?, ops.download(&heads)?, ops.download(&layer)?].concat())
    }
}

struct Pointwise {
    rows: usize,
    columns: usize,
}

impl Work for Pointwise {
    fn run<O: Ops>(&self, ops: &O) -> Result<Vec<f32>> {
        let Pointwise { rows, columns } = *self;
        let mut all = Vec::new();
        for activation in [
            Activation::Silu,
            Activation::GeluErf,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Tanh,
        ] {
            let values = numbers(7, rows * columns).into_iter().map(|x| 6.0 * x).collect();
            let x = ops.activate(ops.upload(values, rows, columns)?, activation)?;
            all.extend(ops.download(&x)?);
            let up = tensor(ops, 8, rows, columns)?;
            let gated = ops.gate(tensor(ops, 1, rows, columns)?, &up, activation)?;
            all.extend(ops.download(&gated)?);
        }
        let x = tensor(ops, 1, rows, columns)?;
        let rows: Vec<usize> = (0..rows).rev().step_by(2).collect();
        all.extend(ops.download(&ops.select_rows(&x, &rows)?)?);
        Ok(all)
    }
}

struct Rotary {
    positions: Vec<u32>,
    heads: usize,
    half: usize,
}

impl Work for Rotary {
    fn run<O: Ops>(&self, ops: &O) -> Result<Vec<f32>> {
        let Rotary { positions, heads, half } = self;
        let table = *positions.iter().max().expect("a row at least") as usize + 1;
        let (cos, sin) = (tensor(ops, 3, table, *half)?, tensor(ops, 4, table, *half)?);
        let x = tensor(ops, 1, positions.len(), heads * 2 * half)?;
        let x = ops.neighbours_to_halves(x, 2 * half)?;
        ops.download(&ops.rope(x, &cos, &sin, 2 * half, positions)?)
    }
}

struct Attends {
    /// Own tokens of each sequence.
    lengths: Vec<usize>,
    prefix: usize,
    heads: Heads,
    /// Whether only the last token of each sequence asks.
    last_only: bool,
}

impl Attends {
    /// Query rows, key rows, and which are whose.
    fn spans(&self) -> (usize, usize, Vec<Span>) {
        let (mut queries, mut keys) = (0, 0);
        let span = |&length: &usize| {
            let asked = if self.last_only { 1 } else { length };
            let span = Span {
                queries: queries..queries + asked,
                keys: keys..keys + length,
                first_query: length - asked,
            };
            (queries, keys) = (span.queries.end, span.keys.end);
            span
        };
        let spans = self.lengths.iter().map(span).collect();
        (queries, keys, spans)
    }
}

impl Work for Attends {
    fn run<O: Ops>(&self, ops: &O) -> Result<Vec<f32>> {
        let (queries, keys, spans) = self.spans();
        let Heads { queries: q_heads, keys: kv_heads, width, .. } = self.heads;
        let kv = |seed, rows| tensor(ops, seed, rows, kv_heads * width);
        let q = tensor(ops, 1, queries, q_heads * width)?;
        let (k, v) = (kv(2, keys)?, kv(3, keys)?);
        let shared = match self.prefix {
            0 => None,
            tokens => Some((kv(4, tokens)?, kv(5, tokens)?)),
        };
        let prefix = shared.as_ref().map(|(k, v)| (k, v));
        ops.download(&ops.attention(q, &k, &v, prefix, self.heads, &spans)?)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn linear_layers(rows in 1..40usize, columns in 1..70usize, a in 1..40usize, b in 1..40usize) {
        check(Maps { rows, columns, outs: [a, b] });
    }

    #[test]
    fn norms(rows in 1..9usize, heads in 1..5usize, width in 1..40usize) {
        check(Norms { rows, heads, width });
    }

    #[test]
    fn activations_gates_and_rows(rows in 1..9usize, columns in 1..70usize) {
        check(Pointwise { rows, columns });
    }

    #[test]
    fn rotary_embeddings(
        positions in prop::collection::vec(0..50u32, 1..20),
        heads in 1..4usize,
        half in 1..20usize,
    ) {
        check(Rotary { positions, heads, half });
    }

    #[test]
    fn attention_over_ragged_sequences(
        lengths in prop::collection::vec(1..80usize, 1..5),
        prefix in 0..20usize,
        (group, kv_heads, width) in (1..4usize, 1..4usize, 1..34usize),
        causal in any::<bool>(),
        last_only in any::<bool>(),
    ) {
        // Only where no token sees later ones is there a prefix.
        let prefix = if causal { prefix } else { 0 };
        let heads = Heads { queries: group * kv_heads, keys: kv_heads, width, causal };
        check(Attends { lengths, prefix, heads, last_only });
    }
}
