//! Every operation on awkward shapes, against another backend's.

use std::sync::Arc;

use grating_backend::{
    Affine, AttentionSpec, BackendError, ByDistance, Distances, Format, HostBlock, Ops, Ragged,
    Result, Rows, Scored, Source, TensorRef,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

mod finished;
mod mass;
pub use finished::finished_layers;
pub use mass::attention_mass;

use finished::ACTIVATIONS;

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

/// The result of `work` on `reference` and on `ours`.
fn check<B: Ops, R: Ops>(ours: &B, reference: &R, work: impl Work) {
    let name = ours.caps().name;
    let (found, expected) = (work.run(ours).unwrap(), work.run(reference).unwrap());
    assert_eq!(found.len(), expected.len(), "{name}");
    for (at, (ours, reference)) in found.iter().zip(&expected).enumerate() {
        let error = (ours - reference).abs() / reference.abs().max(1.0);
        assert!(error <= TOLERANCE, "{name}, element {at}: {ours} for {reference}");
    }
}

/// A use of the vocabulary, whoever implements it.
trait Work {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>>;
}

fn upload<B: Ops>(ops: &B, values: &[f32], rows: usize, columns: usize) -> Result<B::Tensor> {
    ops.written(rows, columns, |out| {
        out.copy_from_slice(values);
        Ok::<(), BackendError>(())
    })
}

fn download<B: Ops>(ops: &B, x: &B::Tensor) -> Result<Vec<f32>> {
    ops.wait(ops.read(x)?)
}

/// A tensor of `rows` x `columns` numbers.
fn tensor<B: Ops>(ops: &B, seed: u64, rows: usize, columns: usize) -> Result<B::Tensor> {
    upload(ops, &numbers(seed, rows * columns), rows, columns)
}

/// A block of tensors, by their bytes.
pub struct HostTensors(pub Vec<Vec<u8>>);

impl HostBlock for HostTensors {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self, index: usize) -> &[u8] {
        &self.0[index]
    }
}

/// A slot with tensors of so many numbers each, and how they are bound.
fn admit<B: Ops>(ops: &B, tensors: &[(u64, usize)]) -> Result<B::Slot> {
    let of = |&(seed, count): &(u64, usize)| bytes(&numbers(seed, count));
    ops.admit(Arc::new(HostTensors(tensors.iter().map(of).collect())), None)
}

fn bind<'s, B: Ops>(
    ops: &B,
    slot: &'s B::Slot,
    index: usize,
    shape: &[usize],
) -> Result<B::Weight<'s>> {
    ops.bind(slot, TensorRef::new(index, Format::F32, shape).with_unrounded(true))
}

struct Maps {
    rows: usize,
    columns: usize,
    outs: [usize; 2],
}

impl Work for Maps {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let Maps { rows, columns, outs } = *self;
        let x = tensor(ops, 1, rows, columns)?;
        let [a, b] = outs;
        let slot = admit(ops, &[(2, a * columns), (3, b * columns), (9, a)])?;
        let first = bind(ops, &slot, 0, &[a, columns])?;
        let second = bind(ops, &slot, 1, &[b, columns])?;
        let bias = bind(ops, &slot, 2, &[a])?;
        let maps =
            [Affine { weight: &first, bias: Some(&bias) }, Affine { weight: &second, bias: None }];
        let [a, b] = ops.linear(&x, maps)?;
        let a = ops.linear_add(a, &x, Affine { weight: &first, bias: Some(&bias) })?;
        Ok([download(ops, &a)?, download(ops, &b)?].concat())
    }
}

struct Norms {
    rows: usize,
    heads: usize,
    width: usize,
}

impl Work for Norms {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let Norms { rows, heads, width } = *self;
        let columns = heads * width;
        let slot = admit(ops, &[(3, columns), (4, width), (5, columns)])?;
        let (whole, bias) = (bind(ops, &slot, 0, &[columns])?, bind(ops, &slot, 2, &[columns])?);
        let of_head = bind(ops, &slot, 1, &[width])?;
        let x = tensor(ops, 1, rows, columns)?;
        let rms = ops.rms_norm(&x, &whole, 1e-5)?;
        let heads = ops.rms_norm_heads(tensor(ops, 2, rows, columns)?, &of_head, 1e-5)?;
        // One column alone has no variance to speak of, and what is left is all rounding.
        let layer = match columns {
            1 => tensor(ops, 6, rows, 1)?,
            _ => ops.layer_norm(ops.copied(&x)?, &whole, Some(&bias), 1e-3)?,
        };
        let of = match columns {
            1 => ops.copied(&layer)?,
            _ => ops.layer_norm_of(&x, &whole, Some(&bias), 1e-3)?,
        };
        let plain = match columns {
            1 => ops.copied(&layer)?,
            _ => ops.layer_norm(x, &whole, None, 1e-3)?,
        };
        let shape = [columns];
        let from_one = TensorRef::new(0, Format::F32, &shape).with_one_added(true);
        let from_one = ops.rms_norm(&layer, &ops.bind(&slot, from_one)?, 1e-5)?;
        let all = [rms, heads, layer, of, plain, from_one].map(|x| download(ops, &x));
        Ok(all.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }
}

struct Pointwise {
    rows: usize,
    columns: usize,
}

impl Work for Pointwise {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let Pointwise { rows, columns } = *self;
        let mut all = download(ops, &ops.scaled(tensor(ops, 5, rows, columns)?, -0.375)?)?;
        let sum = ops.add(tensor(ops, 3, rows, columns)?, &tensor(ops, 4, rows, columns)?)?;
        all.extend(download(ops, &sum)?);
        for activation in ACTIVATIONS {
            let values = numbers(7, rows * columns);
            let values: Vec<f32> = values.into_iter().map(|x| 6.0 * x).collect();
            let x = ops.activate(upload(ops, &values, rows, columns)?, activation)?;
            all.extend(download(ops, &x)?);
            let up = tensor(ops, 8, rows, columns)?;
            let gated = ops.gate(tensor(ops, 1, rows, columns)?, &up, activation)?;
            all.extend(download(ops, &gated)?);
        }
        Ok(all)
    }
}

/// Rows taken out of tensors, on the device and parked on the host, and put together anew.
struct Packing {
    rows: usize,
    columns: usize,
    cut: usize,
}

impl Work for Packing {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let Packing { rows, columns, cut } = *self;
        let cut = cut % (rows + 1);
        let (x, y) = (tensor(ops, 1, rows, columns)?, tensor(ops, 2, rows, columns)?);
        let mut parked = vec![0; rows * columns * ops.caps().activation_bytes];
        ops.park(&y, &mut parked)?;
        let mut out = ops.empty(2 * rows, columns)?;
        ops.copy_rows(&mut out, 0, Source::Host(&parked), cut..rows)?;
        ops.copy_rows(&mut out, rows - cut, Source::Tensor(&x), 0..rows)?;
        ops.copy_rows(&mut out, 2 * rows - cut, Source::Host(&parked), 0..cut)?;
        let lengths = (0..2 * rows).map(|_| 1);
        let layout = ops.layout(&Ragged::new(lengths, 0, Scored::First))?;
        let all = ops.scored_rows(&out, &layout)?;
        Ok([download(ops, &out)?, download(ops, &all)?].concat())
    }
}

/// The mean of each sequence's rows.
struct Means {
    lengths: Vec<usize>,
    columns: usize,
}

impl Work for Means {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let ragged = Ragged::new(self.lengths.iter().copied(), 0, Scored::Mean);
        let x = tensor(ops, 1, ragged.tokens(), self.columns)?;
        let layout = ops.layout(&ragged)?;
        download(ops, &ops.mean_rows(&x, &layout)?)
    }
}

struct Rotary {
    /// Gaps before each row's position, by sequence.
    gaps: Vec<Vec<u32>>,
    heads: usize,
    half: usize,
    rows: Rows,
}

/// Positions that rise by one and the gap before each.
fn positions(gaps: &[Vec<u32>], prefix: usize) -> Vec<u32> {
    let of = |gaps: &Vec<u32>| {
        let mut next = prefix as u32;
        let place = |gap: &u32| {
            next += gap + 1;
            next - 1
        };
        gaps.iter().map(place).collect::<Vec<u32>>()
    };
    gaps.iter().flat_map(of).collect()
}

impl Work for Rotary {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let Rotary { gaps, heads, half, rows } = self;
        let ragged = Ragged::new(gaps.iter().map(Vec::len), 0, Scored::Last);
        let ragged = ragged.at_positions(positions(gaps, 0));
        let table = ragged.longest();
        let (cos, sin) = (tensor(ops, 3, table, *half)?, tensor(ops, 4, table, *half)?);
        let asked = if *rows == Rows::All { ragged.tokens() } else { ragged.len() };
        let x = tensor(ops, 1, asked, heads * 2 * half)?;
        let x = ops.neighbours_to_halves(x, 2 * half)?;
        let layout = ops.layout(&ragged)?;
        let plain = ops.rope(x, (&cos, &sin), 2 * half, &layout, *rows)?;
        let slot = admit(ops, &[(5, 2 * half)])?;
        let shape = [2 * half];
        let from_one = TensorRef::new(0, Format::F32, &shape).with_one_added(true);
        let (x, weight) = (tensor(ops, 2, asked, heads * 2 * half)?, ops.bind(&slot, from_one)?);
        let normed =
            ops.rms_norm_rope(x, (&weight, 1e-5), (&cos, &sin), 2 * half, &layout, *rows)?;
        Ok([download(ops, &plain)?, download(ops, &normed)?].concat())
    }
}

/// Rows of sequences of such lengths, with gaps of up to three positions before each where `gaps`.
fn ragged(lengths: &[usize], prefix: usize, scored: Scored, gaps: bool) -> Ragged {
    let rows = Ragged::new(lengths.iter().copied(), prefix, scored);
    if !gaps {
        return rows;
    }
    let mut seed = 0;
    let mut gap = |_| {
        seed = (seed + 7) % 1009;
        seed * seed % 11 % 4
    };
    let gaps: Vec<Vec<u32>> =
        lengths.iter().map(|&rows| (0..rows).map(&mut gap).collect()).collect();
    rows.at_positions(positions(&gaps, prefix))
}

struct Attends {
    /// Own tokens of each sequence.
    lengths: Vec<usize>,
    prefix: usize,
    gaps: bool,
    spec: AttentionSpec,
    rows: Rows,
    scored: Scored,
}

impl Work for Attends {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let AttentionSpec { heads, kv_heads, width, .. } = self.spec;
        let ragged = ragged(&self.lengths, self.prefix, self.scored, self.gaps);
        let asked = if self.rows == Rows::All { ragged.tokens() } else { ragged.len() };
        let kv = |seed, rows| tensor(ops, seed, rows, kv_heads * width);
        let q = tensor(ops, 1, asked, heads * width)?;
        let (k, v) = (kv(2, ragged.tokens())?, kv(3, ragged.tokens())?);
        let shared = match self.prefix {
            0 => None,
            tokens => Some((kv(4, tokens)?, kv(5, tokens)?)),
        };
        let prefix = shared.as_ref().map(|(k, v)| (k, v));
        let layout = ops.layout(&ragged)?;
        download(ops, &ops.attention(q, (&k, &v), prefix, &self.spec, &layout, self.rows)?)
    }
}

struct AttendsByDistance {
    lengths: Vec<usize>,
    gaps: bool,
    spec: AttentionSpec,
    distances: Distances,
    /// Whether distances have keys, and whether they have queries.
    parts: [bool; 2],
    rows: Rows,
    scored: Scored,
}

impl Work for AttendsByDistance {
    fn run<B: Ops>(&self, ops: &B) -> Result<Vec<f32>> {
        let columns = self.spec.heads * self.spec.width;
        let ragged = ragged(&self.lengths, 0, self.scored, self.gaps);
        let asked = if self.rows == Rows::All { ragged.tokens() } else { ragged.len() };
        let q = tensor(ops, 1, asked, columns)?;
        let own = |seed| tensor(ops, seed, ragged.tokens(), columns);
        let (k, v) = (own(2)?, own(3)?);
        let of_distances = |seed| tensor(ops, seed, self.distances.rows(), columns);
        let (keys, queries) = (of_distances(4)?, of_distances(5)?);
        let [has_keys, has_queries] = self.parts;
        let by_distance = ByDistance {
            distances: self.distances,
            keys: has_keys.then_some(&keys),
            queries: has_queries.then_some(&queries),
        };
        let layout = ops.layout(&ragged)?;
        let spec = &self.spec;
        let out = ops.attention_by_distance(q, (&k, &v), by_distance, spec, &layout, self.rows)?;
        download(ops, &out)
    }
}

/// Runs `test` on so many draws of `strategy`.
fn each<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

fn any_rows() -> impl Strategy<Value = Rows> {
    prop::sample::select(vec![Rows::All, Rows::Scored])
}

/// Linear layers of any widths.
pub fn linear_layers<B: Ops, R: Ops>(ours: &B, reference: &R) {
    each((1..40usize, 1..70usize, 1..40usize, 1..40usize), |(rows, columns, a, b)| {
        check(ours, reference, Maps { rows, columns, outs: [a, b] });
    });
}

/// Norms of whole rows and of heads.
pub fn norms<B: Ops, R: Ops>(ours: &B, reference: &R) {
    each((1..9usize, 1..5usize, 1..40usize), |(rows, heads, width)| {
        check(ours, reference, Norms { rows, heads, width });
    });
}

/// Non-linearities and gates.
pub fn pointwise<B: Ops, R: Ops>(ours: &B, reference: &R) {
    each((1..9usize, 1..70usize), |(rows, columns)| {
        check(ours, reference, Pointwise { rows, columns });
    });
}

/// Rows on the device and the host, put together anew.
pub fn packing<B: Ops, R: Ops>(ours: &B, reference: &R) {
    each((1..9usize, 1..70usize, 0..9usize), |(rows, columns, cut)| {
        check(ours, reference, Packing { rows, columns, cut });
    });
}

/// Means of each sequence's rows.
pub fn means<B: Ops, R: Ops>(ours: &B, reference: &R) {
    let lengths = prop::collection::vec(1..90usize, 1..6);
    each((lengths, 1..70usize), |(lengths, columns)| {
        check(ours, reference, Means { lengths, columns });
    });
    // More than a grid of CUDA has in its second dimension.
    let lengths = (0..65_600).map(|i| 1 + i % 2).collect();
    check(ours, reference, Means { lengths, columns: 1 });
}

/// Rotary embeddings, at positions with gaps.
pub fn rotary<B: Ops, R: Ops>(ours: &B, reference: &R) {
    let gaps = prop::collection::vec(prop::collection::vec(0..4u32, 1..9), 1..5);
    each((gaps, 1..4usize, 1..20usize, any_rows()), |(gaps, heads, half, rows)| {
        check(ours, reference, Rotary { gaps, heads, half, rows });
    });
}

/// Attention over ragged sequences, after a prefix where no token sees later ones, with a window, a scale and a cap or
/// without.
pub fn attention<B: Ops, R: Ops>(ours: &B, reference: &R) {
    attends(ours, reference, false);
}

/// [`attention`] over sequences that tokens have left: a window goes by positions.
pub fn attention_with_gaps<B: Ops, R: Ops>(ours: &B, reference: &R) {
    attends(ours, reference, true);
}

fn attends<B: Ops, R: Ops>(ours: &B, reference: &R, gaps: bool) {
    // More than two panels of keys, so that a window leaves whole ones out.
    let lengths = prop::collection::vec(1..220usize, 1..5);
    let widths = (1..4usize, 1..4usize, 1..34usize);
    let flags =
        (any::<bool>(), any_rows(), prop::sample::select(vec![Scored::First, Scored::Last]));
    let cap = prop::option::of(0.5..9.0f32);
    let others = (prop::option::of(0.1..1.0f32), prop::option::of(0..90usize), cap);
    let draws = (lengths, 0..20usize, widths, flags, others);
    each(draws, |(lengths, prefix, (group, kv_heads, width), (causal, rows, scored), others)| {
        let prefix = if causal { prefix } else { 0 };
        let (scale, window, softcap) = others;
        let mut spec = AttentionSpec::new(group * kv_heads, kv_heads, width, causal);
        spec.scale = scale.unwrap_or(spec.scale);
        spec.window = window;
        spec.softcap = softcap;
        check(ours, reference, Attends { lengths, prefix, gaps, spec, rows, scored });
    });
}

/// Attention by distance, over tables that are shorter and longer than the sequences.
pub fn attention_by_distance<B: Ops, R: Ops>(ours: &B, reference: &R) {
    attends_by_distance(ours, reference, false);
}

/// [`attention_by_distance`] over sequences that tokens have left.
pub fn attention_by_distance_with_gaps<B: Ops, R: Ops>(ours: &B, reference: &R) {
    attends_by_distance(ours, reference, true);
}

fn attends_by_distance<B: Ops, R: Ops>(ours: &B, reference: &R, gaps: bool) {
    let lengths = prop::collection::vec(1..220usize, 1..5);
    let tables = (4..150usize, prop::option::of(1..300usize));
    let parts = prop::sample::select(vec![[true, true], [true, false], [false, true]]);
    let asked = (any_rows(), prop::sample::select(vec![Scored::First, Scored::Last]));
    let draws = (lengths, 1..4usize, 1..34usize, tables, parts, asked);
    each(draws, |(lengths, heads, width, (span, further), parts, (rows, scored))| {
        let spec = AttentionSpec::new(heads, heads, width, false);
        let distances = match further {
            Some(further) => Distances::logarithmic(span, span / 2 + 1 + further),
            None => Distances::single(span),
        };
        let work = AttendsByDistance { lengths, gaps, spec, distances, parts, rows, scored };
        check(ours, reference, work);
    });
}

/// All of them.
pub fn all<B: Ops, R: Ops>(ours: &B, reference: &R) {
    linear_layers(ours, reference);
    finished_layers(ours, reference);
    norms(ours, reference);
    pointwise(ours, reference);
    packing(ours, reference);
    means(ours, reference);
    rotary(ours, reference);
    attention(ours, reference);
    attention_by_distance(ours, reference);
    attention_with_gaps(ours, reference);
    attention_by_distance_with_gaps(ours, reference);
    attention_mass(ours);
}
