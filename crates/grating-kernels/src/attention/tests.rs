//! Attention against the formula, and its promises about bits.

use super::*;
use crate::test_numbers::numbers;

/// One query of one head, in f64.
fn expected(q: &[f32], keys: &[&[f32]], values: &[&[f32]], heads: Heads) -> Vec<f64> {
    let Heads { width, softcap, .. } = heads;
    let dot = |k: &&[f32]| -> f64 {
        q.iter().zip(k.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let capped = |score: f64| match softcap {
        Some(cap) => f64::from(cap) * (score / f64::from(cap)).tanh(),
        None => score,
    };
    let score = |k| capped(dot(k) / (width as f64).sqrt());
    let scores: Vec<f64> = keys.iter().map(score).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..width)
        .map(|c| weights.iter().zip(values).map(|(w, v)| w * f64::from(v[c])).sum::<f64>() / total)
        .collect()
}

/// Query heads, key heads, width, causal, window, cap.
type Shape = (usize, usize, usize, bool, Option<usize>, Option<f32>);

const SHAPES: [Shape; 10] = [
    (1, 1, 5, false, None, None),
    (4, 2, 16, true, None, None),
    (3, 3, 32, false, None, None),
    (14, 2, 64, true, None, None),
    (8, 1, 24, true, None, None),
    (2, 2, 12, false, Some(4), None),
    (4, 2, 8, true, Some(20), None),
    (3, 3, 16, false, Some(0), None),
    (4, 2, 32, true, None, Some(0.75)),
    (3, 3, 9, false, Some(7), Some(2.0)),
];

fn shapes() -> impl Iterator<Item = Heads> {
    SHAPES.into_iter().map(|(queries, keys, width, causal, window, softcap)| Heads {
        window,
        softcap,
        ..Heads::new(queries, keys, width, causal)
    })
}

/// Every shape with all instructions and all products that they have.
fn cases() -> impl Iterator<Item = (Isa, Heads)> {
    let computes = |isa| {
        let kernels = crate::Kernels::new(isa);
        let rounded = kernels.attention_compute(Compute::Bf16);
        [Compute::F32].into_iter().chain((rounded != Compute::F32).then_some(rounded))
    };
    let all =
        Isa::supported().into_iter().flat_map(move |isa| computes(isa).map(move |c| (isa, c)));
    all.flat_map(|(isa, compute)| shapes().map(move |heads| (isa, Heads { compute, ..heads })))
}

/// How far an outcome may be from the formula's, where values are between -2 and 2.
fn bound(heads: Heads) -> f64 {
    match heads.compute {
        Compute::F32 => 5e-6,
        // Scores are up to half the root of the width times 4, with errors of a part in 256.
        _ => 0.02 * (heads.width as f64).sqrt(),
    }
}

fn spans(lengths: &[usize]) -> Vec<Span> {
    let mut end = 0;
    let span = |&length: &usize| {
        let rows = end..end + length;
        end = rows.end;
        Span { queries: rows.clone(), keys: rows, first_query: 0 }
    };
    lengths.iter().map(span).collect()
}

#[test]
fn agrees_with_the_formula_on_every_instruction_set() {
    for (isa, heads) in cases() {
        let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
        let spans = spans(&[1, 7, 150, 33]);
        let tokens = spans.last().unwrap().keys.end;
        let q = numbers(tokens * columns, 1);
        let (k, v) = (numbers(tokens * stride, 2), numbers(tokens * stride, 3));
        let (pk, pv) = (numbers(9 * stride, 4), numbers(9 * stride, 5));
        let own = KeysValues::new(&k, &v);
        let prefix = KeysValues::new(&pk, &pv);
        let mut out = vec![0.0; q.len()];
        attention(isa, heads, &q, own, Some(prefix), &spans, &mut out);
        for span in &spans {
            for row in span.queries.clone() {
                for head in 0..heads.queries {
                    let key_head = head / (heads.queries / heads.keys) * heads.width;
                    let part = |x: &'_ [f32], r: usize| {
                        let at = r * stride + key_head;
                        x[at..at + heads.width].to_vec()
                    };
                    let last = if heads.causal { row + 1 } else { span.keys.end };
                    let all = |prefix: &[f32], own: &[f32]| -> Vec<Vec<f32>> {
                        let own = (span.keys.start..last).map(|r| part(own, r));
                        let keys = (0..9).map(|r| part(prefix, r)).chain(own).enumerate();
                        let query = 9 + row - span.keys.start;
                        let near = |key: usize| {
                            heads.window.is_none_or(|window| query.abs_diff(key) <= window)
                        };
                        keys.filter(|(key, _)| near(*key)).map(|(_, row)| row).collect()
                    };
                    let (keys, values) = (all(&pk, &k), all(&pv, &v));
                    let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
                    let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
                    let at = row * columns + head * heads.width;
                    let e = expected(&q[at..at + heads.width], &keys, &values, heads);
                    for (found, e) in out[at..].iter().zip(e) {
                        assert!(
                            (f64::from(*found) - e).abs() < bound(heads),
                            "{isa} {heads:?}: {found} for {e}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_neighbours_prefix_or_which_queries_are_asked() {
    for (isa, heads) in cases() {
        let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
        let tokens = 150;
        let q = numbers(tokens * columns, 1);
        let (k, v) = (numbers(tokens * stride, 2), numbers(tokens * stride, 3));
        let own = KeysValues::new(&k, &v);
        let mut whole = vec![0.0; q.len()];
        attention(isa, heads, &q, own, None, &spans(&[tokens]), &mut whole);

        // The last query alone.
        let mut last = vec![0.0; columns];
        let span = Span { queries: 0..1, keys: 0..tokens, first_query: tokens - 1 };
        attention(isa, heads, &q[(tokens - 1) * columns..], own, None, &[span], &mut last);
        assert_eq!(last, whole[(tokens - 1) * columns..]);

        // The first 21 tokens as a prefix.
        let cut = 21;
        let prefix = KeysValues::new(&k[..cut * stride], &v[..cut * stride]);
        let rest = KeysValues::new(&k[cut * stride..], &v[cut * stride..]);
        let mut tail = vec![0.0; (tokens - cut) * columns];
        let spans = spans(&[tokens - cut]);
        attention(isa, heads, &q[cut * columns..], rest, Some(prefix), &spans, &mut tail);
        assert_eq!(tail, whole[cut * columns..]);
    }
}

/// With gaps a sequence's queries see what they would see of the whole sequence less what is in the gaps, and no bit of
/// that depends on whether leading keys are shared.
#[test]
fn gaps_count_for_windows_and_leave_the_rest_as_it_is() {
    for (isa, heads) in cases() {
        let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
        let tokens = 150_u32;
        // Every third one, and a long gap.
        let positions: Vec<u32> =
            (0..tokens).filter(|p| p % 3 != 1 && !(40..90).contains(p)).collect();
        let rows = positions.len();
        let q = numbers(rows * columns, 1);
        let (k, v) = (numbers(rows * stride, 2), numbers(rows * stride, 3));
        let own = KeysValues { positions: Some(&positions), ..KeysValues::new(&k, &v) };
        let mut found = vec![0.0; q.len()];
        attention(isa, heads, &q, own, None, &spans(&[rows]), &mut found);
        for row in 0..rows {
            for head in 0..heads.queries {
                let key_head = head / (heads.queries / heads.keys) * heads.width;
                let sees = |key: &usize| {
                    let distance = positions[row].abs_diff(positions[*key]) as usize;
                    heads.window.is_none_or(|window| distance <= window)
                        && (!heads.causal || *key <= row)
                };
                let part = |x: &'_ [f32]| -> Vec<Vec<f32>> {
                    let of = |r: usize| x[r * stride + key_head..][..heads.width].to_vec();
                    (0..rows).filter(sees).map(of).collect()
                };
                let (keys, values) = (part(&k), part(&v));
                let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
                let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
                let at = row * columns + head * heads.width;
                let e = expected(&q[at..at + heads.width], &keys, &values, heads);
                for (found, e) in found[at..].iter().zip(e) {
                    assert!(
                        (f64::from(*found) - e).abs() < bound(heads),
                        "{isa} {heads:?}: {found} for {e}"
                    );
                }
            }
        }
        // The first rows, which have no gap before them, as a prefix: 0 alone.
        let prefix = KeysValues::new(&k[..stride], &v[..stride]);
        let rest = KeysValues {
            positions: Some(&positions[1..]),
            ..KeysValues::new(&k[stride..], &v[stride..])
        };
        let mut tail = vec![0.0; (rows - 1) * columns];
        let all = spans(&[rows - 1]);
        attention(isa, heads, &q[columns..], rest, Some(prefix), &all, &mut tail);
        assert_eq!(tail, found[columns..]);
        // Positions that follow one another are no gaps.
        let following: Vec<u32> = (0..rows as u32).collect();
        let own = KeysValues::new(&k, &v);
        let (mut plain, mut given) = (found.clone(), found);
        attention(isa, heads, &q, own, None, &spans(&[rows]), &mut plain);
        let own = KeysValues { positions: Some(&following), ..own };
        attention(isa, heads, &q, own, None, &spans(&[rows]), &mut given);
        assert_eq!(plain, given);
    }
}

/// Products of rounded numbers are what products of f32 are of numbers that bfloat16 holds, but for the probabilities.
#[test]
fn rounded_products_round_their_operands_alone() {
    let round =
        |x: Vec<f32>| x.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect::<Vec<_>>();
    for (isa, heads) in cases().filter(|(_, heads)| heads.compute != Compute::F32) {
        let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
        let tokens = 150;
        let q = round(numbers(tokens * columns, 1));
        let (k, v) = (round(numbers(tokens * stride, 2)), round(numbers(tokens * stride, 3)));
        let own = KeysValues::new(&k, &v);
        let [exact, found] = [Compute::F32, heads.compute].map(|compute| {
            let mut out = vec![0.0; q.len()];
            let heads = Heads { compute, ..heads };
            attention(isa, heads, &q, own, None, &spans(&[tokens]), &mut out);
            out
        });
        for (e, f) in exact.iter().zip(&found) {
            // A probability is off by a part in 512, and values are up to 2.
            assert!((e - f).abs() <= 2.0 / 256.0, "{isa} {heads:?}: {f} for {e}");
        }
    }
}

/// What is no number stays none, also where products are rounded, and touches no other sequence.
#[test]
fn what_is_no_number_stays_none() {
    for (isa, heads) in cases() {
        let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
        let clean = (numbers(40 * columns, 1), numbers(40 * stride, 2), numbers(40 * stride, 3));
        for operand in 0..3 {
            let (mut q, mut k, mut v) = clean.clone();
            [&mut q, &mut k, &mut v][operand][0] = f32::NAN;
            let mut out = vec![0.0; q.len()];
            let spans = spans(&[20, 20]);
            attention(isa, heads, &q, KeysValues::new(&k, &v), None, &spans, &mut out);
            let (first, second) = out.split_at(20 * columns);
            assert!(first.iter().any(|x| x.is_nan()), "{isa} {heads:?}: in {operand}");
            assert!(second.iter().all(|x| x.is_finite()), "{isa} {heads:?}");
        }
    }
}

#[test]
fn scratch_is_no_more_than_is_said() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (isa, heads) in cases() {
        for keys in [1, 33, 700] {
            let (columns, stride) = (heads.queries * heads.width, heads.keys * heads.width);
            let (q, k) = (numbers(keys * columns, 1), numbers(keys * stride, 2));
            let mut out = vec![0.0; q.len()];
            let held = pool.install(|| {
                release_scratch();
                attention(isa, heads, &q, KeysValues::new(&k, &k), None, &spans(&[keys]), &mut out);
                SCRATCH.with_borrow(Scratch::bytes)
            });
            assert!(held <= scratch_bytes(heads, keys, 0), "{isa} {heads:?} {keys}: {held}");
        }
    }
}

/// Scores that are far larger than their distance: what is taken away from them must not be rounded by more than that.
#[test]
fn large_scores_keep_their_distance() {
    let (q, v) = ([1e5, 0.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let k = [1e6 - 1.0, 0.0, 1e6, 0.0, 1e6 - 2.0, 0.0];
    let spans = [Span { queries: 0..1, keys: 0..3, first_query: 0 }];
    for isa in Isa::supported() {
        let mut out = [0.0; 2];
        let heads = Heads::new(1, 1, 2, false);
        attention(isa, heads, &q, KeysValues::new(&k, &v), None, &spans, &mut out);
        assert_eq!(out, [3.0, 4.0], "{isa}");
    }
}
