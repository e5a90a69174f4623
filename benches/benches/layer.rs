//! One layer forward on the minilm-l6 shape (f16 weights): rows are tokens of one chunk.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grating_benches::load_default;
use grating_model::{CpuOps, Isa, LoadedModel, Ops, PartBuffer, Precision, Ragged};

/// Tokens of a candidate.
const TOKENS: usize = 128;

fn layer_forward(criterion: &mut Criterion) {
    let (LoadedModel { model, encoder, .. }, mut checkpoint) = load_default();
    let ops = CpuOps::new(Isa::detect(), Precision::Exact);
    let query = encoder.encode_query("how does an engine work", None).expect("a short query");
    let text = "an engine turns fuel into motion ".repeat(TOKENS);
    let encoding = encoder.encode(&query, &text).expect("a plain text");
    let ids = encoding.ids[..TOKENS].to_vec();
    let encoding = grating_model::Encoding {
        type_ids: encoding.type_ids[..TOKENS].to_vec(),
        ids,
        truncated: true,
        query_truncated: false,
    };

    let mut bytes = PartBuffer::new();
    bytes.fill(&checkpoint, model.layer_parts(0)).expect("layer 0 is there");
    let weights = bytes.views(model.layer_parts(0)).expect("as filled");
    let mut stem_bytes = PartBuffer::new();
    stem_bytes.fill(&checkpoint, model.stem_parts()).expect("the stem is there");
    let stem_weights = stem_bytes.views(model.stem_parts()).expect("as filled");
    let stem = model.stem(&ops, &stem_weights).expect("a whole stem");

    let mut group = criterion.benchmark_group("layer_forward/minilm-l6/f16/cpu");
    group.sample_size(20);
    for candidates in [1, 8, 32] {
        let pool = vec![encoding.clone(); candidates];
        let ragged = Ragged::from_lengths(pool.iter().map(|e| e.ids.len()));
        group.throughput(Throughput::Elements(ragged.tokens() as u64));
        let request = model.context(&ops, ragged.longest()).expect("within the positions");
        let chunk = request.chunk(&ragged, None);
        let hidden =
            model.embed(&ops, &stem, &mut checkpoint, &pool).expect("ids of the vocabulary");
        let attention = model.attention(&ops, &weights).expect("a whole layer");
        let feed_forward = model.feed_forward(&ops, &weights).expect("a whole layer");
        let rows: Vec<usize> = (0..ragged.tokens()).collect();
        group.bench_function(BenchmarkId::new("forward", candidates * TOKENS), |bencher| {
            bencher.iter(|| {
                let hidden = ops.select_rows(&hidden, &rows).expect("all rows");
                let hidden = model.attend(&ops, &attention, hidden, &chunk).expect("attend");
                model.feed(&ops, &feed_forward, hidden).expect("feed")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, layer_forward);
criterion_main!(benches);
