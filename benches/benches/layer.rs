//! One layer forward on the minilm-l6 shape (f16 weights): rows are tokens of one chunk.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grating_backend::{Backend, Precision, Source};
use grating_benches::load_default;
use grating_cpu::{CpuOps, Isa};
use grating_model::{LayerWeights, LoadedModel, PartBuffer};

/// Tokens of a candidate.
const TOKENS: usize = 128;

fn layer_forward(criterion: &mut Criterion) {
    let (LoadedModel { model, encoder, .. }, checkpoint) = load_default();
    let ops = CpuOps::new(Isa::detect(), Precision::Exact);
    let query = encoder.encode_query("how does an engine work", None).expect("a short query");
    let text = "an engine turns fuel into motion ".repeat(TOKENS);
    let encoding = encoder.encode(&query, &text).expect("a plain text");
    let ids = encoding.ids[..TOKENS].to_vec();
    let encoding = grating_model::Encoding {
        type_ids: encoding.type_ids[..TOKENS].to_vec(),
        ids,
        ..grating_model::Encoding::default()
    };

    let read = |parts| Arc::new(PartBuffer::read(&checkpoint, parts).expect("the parts are there"));
    let layer = ops.admit(read(model.layer_parts(0)), None).expect("host memory");
    let weights = LayerWeights::new(&ops, &layer, model.layer_parts(0));
    let stem_bytes = read(model.stem_parts());
    let stem = ops.admit(stem_bytes.clone(), None).expect("host memory");
    let stem_weights = LayerWeights::new(&ops, &stem, model.stem_parts());
    let stem = model.stem(&stem_weights, &*stem_bytes).expect("a whole stem");
    let mut rows = checkpoint.clone();

    let mut group = criterion.benchmark_group("layer_forward/minilm-l6/f16/cpu");
    group.sample_size(20);
    for candidates in [1, 8, 32] {
        let pool = vec![encoding.clone(); candidates];
        let ragged = model.ragged(pool.iter().map(|e| e.ids.len()), 0);
        let tokens = ragged.tokens();
        group.throughput(Throughput::Elements(tokens as u64));
        let pass = model.context(&ops, &stem, ragged.longest()).expect("within the positions");
        let layout = pass.layout(&ops, &ragged).expect("host memory");
        let chunk = pass.chunk(&layout, None);
        let hidden = model.embed(&ops, &stem, &mut rows, &pool).expect("ids of the vocabulary");
        let attention = model.attention(0, &weights).expect("a whole layer");
        let feed_forward = model.feed_forward(0, &weights).expect("a whole layer");
        let copy = || {
            let mut copy = ops.empty(tokens, model.config().hidden).expect("host memory");
            ops.copy_rows(&mut copy, 0, Source::Tensor(&hidden), 0..tokens).expect("all rows");
            copy
        };
        group.bench_function(BenchmarkId::new("forward", candidates * TOKENS), |bencher| {
            bencher.iter(|| {
                let hidden = model.attend(&ops, &attention, copy(), &chunk).expect("attend");
                model.feed(&ops, &feed_forward, hidden).expect("feed")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, layer_forward);
criterion_main!(benches);
