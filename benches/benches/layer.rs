//! One layer forward on the minilm-l6 shape (f16 weights), through candle: rows are tokens of one chunk.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grating_benches::load_default;
use grating_model::{CandleOps, LoadedModel, PartBuffer, Ragged};

/// Tokens of a candidate.
const TOKENS: usize = 128;

fn layer_forward(criterion: &mut Criterion) {
    let (LoadedModel { model, encoder }, mut checkpoint) = load_default();
    let ops = CandleOps::cpu();
    let query = encoder.encode_query("how does an engine work", None).expect("a short query");
    let text = "an engine turns fuel into motion ".repeat(TOKENS);
    let encoding = encoder.encode(&query, &text).expect("a plain text");
    let ids = encoding.ids[..TOKENS].to_vec();
    let encoding = grating_model::Encoding {
        type_ids: encoding.type_ids[..TOKENS].to_vec(),
        ids,
        truncated: true,
    };

    let mut bytes = PartBuffer::new();
    bytes.fill(&checkpoint, model.layer_parts(0)).expect("layer 0 is there");
    let weights = bytes.views(model.layer_parts(0)).expect("as filled");
    let mut stem_bytes = PartBuffer::new();
    stem_bytes.fill(&checkpoint, model.stem_parts()).expect("the stem is there");
    let stem_weights = stem_bytes.views(model.stem_parts()).expect("as filled");
    let stem = model.stem(&ops, &stem_weights).expect("a whole stem");

    let mut group = criterion.benchmark_group("layer_forward/minilm-l6/f16/candle");
    group.sample_size(20);
    for candidates in [1, 8, 32] {
        let pool = vec![encoding.clone(); candidates];
        let ragged = Ragged::from_lengths(pool.iter().map(|e| e.ids.len()));
        group.throughput(Throughput::Elements(ragged.tokens() as u64));
        let context = model.context(&ops, ragged).expect("within the positions");
        let hidden =
            model.embed(&ops, &stem, &mut checkpoint, &pool).expect("ids of the vocabulary");
        let layer = model.layer(&ops, &weights).expect("a whole layer");
        group.bench_function(BenchmarkId::new("forward", candidates * TOKENS), |bencher| {
            bencher
                .iter(|| model.forward(&ops, &layer, hidden.clone(), &context).expect("forward"));
        });
    }
    group.bench_function("bind", |bencher| {
        bencher.iter(|| model.layer(&ops, &weights).expect("a whole layer"));
    });
    group.finish();
}

criterion_group!(benches, layer_forward);
criterion_main!(benches);
