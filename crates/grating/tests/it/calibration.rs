//! From sample queries to a profile, and what a profile does where it is used.

use std::path::Path;

use grating::calibrate::{
    CalibrateError, Dataset, Options, Query, Reading, RecordOptions, SampleSize, Traces, fit, plot,
    record,
};
use grating::prune::{ScoreTrace, Target, metrics, replay};
use grating::{
    Error, Isa, Policy, Precision, Profile, ProfileError, Pruning, Request, Reranker,
    RerankerBuilder,
};

use crate::{copy_of, golden};

mod leaving;

const K: usize = 3;
const WORDS: [&str; 8] =
    ["window", "river", "layer", "glass", "slides", "Paris", "weights", "disk"];

fn builder() -> RerankerBuilder {
    of_folder(&golden("bert-gelu-f32"))
}

fn of_folder(folder: &Path) -> RerankerBuilder {
    Reranker::builder().model(folder.to_str().unwrap()).threads(1)
}

/// JSON lines of queries with ten texts each, the first of them relevant; one query has too few texts.
fn data(folder: &Path, queries: usize) -> Dataset {
    let text = |i: usize| {
        let words = (0..3 + i % 5).map(|j| WORDS[(i * i + 3 * j) % WORDS.len()]);
        words.collect::<Vec<_>>().join(" ") + &format!(" {i}")
    };
    let line = |q: usize| {
        let texts: Vec<String> = (0..10).map(|c| text(11 * q + c)).collect();
        let grades: Vec<u32> = (0..10).map(|c| u32::from(c == 0)).collect();
        serde_json::json!({ "query": text(q), "texts": texts, "grades": grades }).to_string()
    };
    let small = serde_json::json!({ "query": "too few", "texts": ["a", "b"] }).to_string();
    let lines: Vec<String> = (0..queries).map(line).chain([small]).collect();
    let path = folder.join("queries.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    Dataset::read(&path).unwrap()
}

fn options(agreement: f64, confidence: f64) -> Options {
    let target = Target { agreement, confidence };
    Options::new(K, target).reading(Reading::Head)
}

fn traces(reranker: &Reranker, data: &Dataset) -> Traces {
    record(reranker, data, RecordOptions::default(), |_| ()).unwrap()
}

/// A profile with a policy: random weights agree with themselves little, so little is promised.
fn profile(reranker: &Reranker, data: &Dataset) -> Profile {
    let traces = traces(reranker, data);
    let profile = fit(data, &traces, &options(0.3, 0.8)).unwrap();
    assert!(profile.policy.is_some(), "{:?}", profile.calibration.nearest_miss);
    profile
}

/// By the model's own head.
fn trace_of(reranker: &Reranker, query: &str, texts: &[String]) -> ScoreTrace {
    let request = Request::new(query, texts, K).trace(true).pruning(Pruning::Off);
    let rows = reranker.run(request).unwrap().trace.unwrap();
    ScoreTrace::from_vec(rows.len(), texts.len(), rows.concat()).unwrap()
}

#[test]
fn a_profile_is_found_stored_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 40);
    let reranker = builder().build().unwrap();
    let profile = profile(&reranker, &data);
    let path = folder.path().join("profile.json");
    profile.write(&path).unwrap();
    assert_eq!(Profile::read(&path).unwrap(), profile);

    assert_eq!((profile.data.queries, profile.data.left_out), (40, 1));
    assert_eq!((profile.data.calibration_queries, profile.data.test_queries), (20, 20));
    let chosen = profile.calibration.chosen.as_ref().unwrap();
    assert!(chosen.p_value <= chosen.level && chosen.lower_bound >= 0.3);
    let measured = profile.measured.clone().unwrap();
    assert!((0.0..=1.0).contains(&measured.agreement) && measured.saved > 0.0);
    assert_eq!(measured.judged.unwrap().queries, 20);
    let svg = plot(&profile);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("polyline"));

    let pruning = builder().profile(profile.clone()).build().unwrap();
    // The fifth request would be an audit.
    for query in &data.queries[..4] {
        let expected = replay(
            profile.policy.as_ref().unwrap(),
            &trace_of(&pruning, &query.text, &query.texts),
            K,
        );
        let found = pruning.rerank(&query.text, &query.texts, K).unwrap();
        let indices: Vec<usize> = found.results.iter().map(|r| r.index).collect();
        let expected = expected.unwrap();
        assert_eq!(indices, expected.selected);
        assert_eq!(found.stats.candidate_layers, expected.candidate_layers);
    }
}

#[test]
fn requests_unlike_the_sample_are_computed_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 40);
    let mut profile = profile(&builder().build().unwrap(), &data);
    assert_eq!(profile.signals.len(), 40);
    let in_use = |reranker: &Reranker, texts: &[String]| {
        reranker.rerank("window", texts, K).unwrap().stats.monitor.unwrap().in_use
    };
    let pools: Vec<Vec<String>> = data.queries[..40]
        .chunks(4)
        .map(|queries| queries.iter().flat_map(|query| query.texts.clone()).collect())
        .collect();
    let unlike = builder().profile(profile.clone()).build().unwrap();
    let mut again = pools.iter().cycle().take(40);
    assert!(again.any(|texts| !in_use(&unlike, texts)), "{:?}", unlike.monitored());
    assert_eq!(unlike.monitored()[0].suspicions, 1);
    let alike = builder().profile(profile.clone()).build().unwrap();
    assert!(data.queries[..40].iter().all(|query| in_use(&alike, &query.texts)));
    profile.signals.clear();
    let unknown = builder().profile(profile).build().unwrap();
    assert!(pools.iter().cycle().take(40).all(|texts| in_use(&unknown, texts)));
}

#[test]
fn a_profile_of_another_model_or_k_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 20);
    let profile = profile(&builder().build().unwrap(), &data);
    let refused = |builder: RerankerBuilder| match builder.profile(profile.clone()).build() {
        Err(Error::Profile(ProfileError::OtherModel { what, .. })) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(of_folder(&golden("qwen3-tied-f32"))), "the model");
    assert_eq!(refused(builder().precision(Precision::Fast)), "precision");
    assert_eq!(refused(builder().max_length(100)), "a maximum length of");

    let lightweight = || of_folder(&golden("gemma2-lightweight-f32"));
    let whole = traces(&lightweight().build().unwrap(), &data);
    let whole = fit(&data, &whole, &options(0.3, 0.8)).unwrap();
    let compressed = lightweight().compress_ratio(2).compress_layers([3]);
    match compressed.profile(whole.clone()).build() {
        Err(Error::Profile(ProfileError::OtherModel { what, expected, found })) => {
            let expected = (what, expected.as_str(), found.as_str());
            let words = ("passages", "uncompressed", "compressed by 2 before layer 3");
            assert_eq!(expected, words);
        }
        other => panic!("{other:?}"),
    }
    lightweight().profile(whole).build().unwrap();

    let pruning = builder().profile(profile.clone()).build().unwrap();
    let texts = &data.queries[0].texts;
    match pruning.rerank("window", texts, K + 1) {
        Err(Error::Profile(ProfileError::OtherK { expected: K, found })) => {
            assert_eq!(found, K + 1)
        }
        other => panic!("{other:?}"),
    }
    // A request that says how to prune needs no profile, and the caller's setting wins over it.
    let request = Request::new("window", texts, K + 1).pruning(Pruning::Off);
    assert_eq!(pruning.run(request).unwrap().results.len(), K + 1);
    let off = builder().profile(profile).pruning(Pruning::Off).build().unwrap();
    assert_eq!(off.rerank("window", texts, K + 1).unwrap().stats.candidate_layers, 40);
}

/// In fast precision AVX2 multiplies bytes, VNNI bytes that are cut otherwise and the portable path f32: other scores, so
/// another promise.
#[test]
fn a_profile_is_for_the_types_that_products_are_taken_in() {
    if !Isa::Avx2.is_supported() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 20);
    let with = |precision, isa| builder().precision(precision).isa(isa);
    let fast = profile(&with(Precision::Fast, Isa::Avx2).build().unwrap(), &data);
    let of_avx2 = "int8 in 16-bit sums";
    assert_eq!(fast.model.products.as_deref(), Some(of_avx2));
    for (isa, products) in [(Isa::Portable, "f32"), (Isa::AvxVnni, "int8")] {
        if !isa.is_supported() {
            continue;
        }
        match with(Precision::Fast, isa).profile(fast.clone()).build() {
            Err(Error::Profile(ProfileError::OtherModel { what, expected, found })) => {
                assert_eq!((what, &*expected, &*found), ("products in", of_avx2, products));
            }
            other => panic!("{other:?}"),
        }
    }
    with(Precision::Fast, Isa::Avx2).profile(fast.clone()).build().unwrap();
    // A file of an older version does not say it.
    let mut old = fast;
    old.model.products = None;
    assert!(with(Precision::Fast, Isa::Avx2).profile(old).build().is_err());
    // Elsewhere instructions change no more than the rounding.
    let mut full = profile(&with(Precision::Full, Isa::Avx2).build().unwrap(), &data);
    with(Precision::Full, Isa::Portable).profile(full.clone()).build().unwrap();
    full.model.products = None;
    with(Precision::Full, Isa::Portable).profile(full).build().unwrap();
}

#[test]
fn a_model_folder_brings_its_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 20);
    let model = copy_of(&golden("bert-gelu-f32"));
    let mut profile = profile(&of_folder(model.path()).build().unwrap(), &data);
    let eager = Policy::paper(0.0);
    profile.policy = Some(eager.clone());
    let shipped = model.path().join("grating-profile.json");
    std::fs::write(&shipped, serde_json::to_vec(&[&profile]).unwrap()).unwrap();

    let layers = |builder: RerankerBuilder, k| {
        let reranker = builder.build().unwrap();
        reranker.rerank("window", &data.queries[0].texts, k).unwrap().stats.candidate_layers
    };
    let trace =
        trace_of(&of_folder(model.path()).build().unwrap(), "window", &data.queries[0].texts);
    let expected = replay(&eager, &trace, K).unwrap().candidate_layers;
    assert!(expected < 40);
    assert_eq!(layers(of_folder(model.path()), K), expected);
    // The caller may not know of it: another K, and other settings, compute everything.
    assert_eq!(layers(of_folder(model.path()), K + 1), 40);
    assert_eq!(layers(of_folder(model.path()).max_length(100), K), 40);
    assert_eq!(layers(of_folder(model.path()).pruning(Pruning::Off), K), 40);

    // A profile of other weights is a mistake of the folder's.
    profile.model.hash = "0".repeat(64);
    profile.write(&shipped).unwrap();
    let error = of_folder(model.path()).build().unwrap_err();
    assert!(error.to_string().contains("--no-prune"), "{error}");
    std::fs::write(&shipped, "{}").unwrap();
    let error = of_folder(model.path()).build().unwrap_err();
    assert!(matches!(error, Error::Profile(ProfileError::Malformed { .. })), "{error}");
}

#[test]
fn audits_run_in_full_and_say_what_pruning_would_have_done() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 4);
    let policy = Policy::paper(0.0);
    let reranker = builder().pruning(Pruning::By(policy.clone())).audit(0.5).build().unwrap();
    let mut overlaps = Vec::new();
    for query in &data.queries[..4] {
        let selection = reranker.rerank(&query.text, &query.texts, K).unwrap();
        let Some(audit) = selection.stats.audit else {
            assert!(selection.stats.candidate_layers < 40);
            continue;
        };
        assert_eq!(selection.stats.candidate_layers, 40);
        let trace = trace_of(&reranker, &query.text, &query.texts);
        let found: Vec<usize> = selection.results.iter().map(|r| r.index).collect();
        assert_eq!(found, trace.final_ranking()[..K]);
        let outcome = replay(&policy, &trace, K).unwrap();
        let overlap = metrics::agreement_at_k(&outcome.selected, &found, K);
        assert_eq!((audit.agreement, audit.candidate_layers), (overlap, outcome.candidate_layers));
        overlaps.push(overlap);
    }
    let totals = reranker.audits();
    assert_eq!((totals.requests, totals.audited, overlaps.len()), (4, 2, 2));
    assert_eq!(totals.mean_agreement, Some(overlaps.iter().sum::<f64>() / 2.0));
    assert!(matches!(builder().audit(1.5).build(), Err(Error::Setting { .. })));
}

#[test]
fn recording_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 6);
    let file = folder.path().join("traces.jsonl");
    let reranker = builder().build().unwrap();
    let options = RecordOptions::default().file(Some(&file)).states(true);
    let whole = record(&reranker, &data, RecordOptions::default().states(true), |_| ());
    let whole = whole.unwrap();
    assert_eq!(whole.len(), 7);

    record(&reranker, &data.clone().sample(4), options, |_| ()).unwrap();
    // The last line was being written when the power went.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
    let mut computed = std::collections::BTreeSet::new();
    let report = |p: grating::calibrate::RecordProgress| {
        if p.query_share > 0.0 {
            computed.insert(p.done);
        }
    };
    assert_eq!(record(&reranker, &data, options, report).unwrap(), whole);
    assert_eq!(computed.len(), 4, "three of seven were in the file");
    assert_eq!(Traces::read(&file).unwrap(), whole);

    // A file of another model is left as it is.
    let before = std::fs::read(&file).unwrap();
    let other = of_folder(&golden("qwen3-tied-f32")).max_length(160).build().unwrap();
    match record(&other, &data, options, |_| ()) {
        Err(Error::Calibrate(CalibrateError::OtherTraces { .. })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn where_nothing_can_be_promised_there_is_no_policy_but_the_nearest_miss() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 30);
    let reranker = builder().build().unwrap();
    let traces = traces(&reranker, &data);
    let profile = fit(&data, &traces, &options(0.999, 0.999)).unwrap();
    assert!(profile.policy.is_none() && profile.measured.is_none());
    let miss = profile.calibration.nearest_miss.as_ref().unwrap();
    assert!(miss.lower_bound < 0.999, "{miss:?}");
    assert!(profile.calibration.fewest_queries.unwrap() > 10);

    // Nothing is pruned with it, and the K is still the only one that it speaks of.
    let path = folder.path().join("none.json");
    profile.write(&path).unwrap();
    let reranker = builder().profile(Profile::read(&path).unwrap()).build().unwrap();
    let texts = &data.queries[0].texts;
    assert_eq!(reranker.rerank("window", texts, K).unwrap().stats.candidate_layers, 40);

    match fit(&data.clone().sample(0), &traces, &options(0.5, 0.5)) {
        Err(Error::Calibrate(CalibrateError::TooFewQueries { found: 0, k: K, .. })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn fitted_readouts_prune_as_they_were_calibrated() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 40);
    let plain = builder().build().unwrap();
    let recorded = record(&plain, &data, RecordOptions::default().states(true), |_| ());
    let options = options(0.3, 0.8).reading(Reading::Fitted);
    let profile = fit(&data, &recorded.unwrap(), &options).unwrap();
    assert!(profile.policy.is_some() && profile.readouts.is_some());
    assert_eq!(profile.readings.len(), 3, "four layers, the last is read by the head");
    let path = folder.path().join("profile.json");
    profile.write(&path).unwrap();
    let stored = Profile::read(&path).unwrap();
    assert_eq!(stored, profile);

    let pruning = builder().profile(stored.clone()).audit(0.0).build().unwrap();
    let auditing = builder().profile(profile.clone()).audit(1.0).build().unwrap();
    let mut other_scores = 0;
    for query in &data.queries[..8] {
        let trace = trace_by(&pruning, query, None);
        let by_head = trace_by(&pruning, query, Some(Pruning::Off));
        assert_eq!(trace.layer(3), by_head.layer(3));
        other_scores += usize::from(trace.layer(1) != by_head.layer(1));
        let expected = replay(profile.policy.as_ref().unwrap(), &trace, K).unwrap();
        let found = pruning.rerank(&query.text, &query.texts, K).unwrap();
        let indices: Vec<usize> = found.results.iter().map(|r| r.index).collect();
        assert_eq!(indices, expected.selected);
        assert_eq!(found.stats.candidate_layers, expected.candidate_layers);
        let audited = auditing.rerank(&query.text, &query.texts, K).unwrap();
        assert_eq!(audited.stats.audit.unwrap().candidate_layers, expected.candidate_layers);
    }
    assert_eq!(other_scores, 8);
    // Who says nothing of audits has a fifth of the first 100 requests and fewer then; a policy without a promise has none.
    let query = &data.queries[0];
    let usual = builder().profile(stored).build().unwrap();
    let again = data.queries[..40].iter().cycle();
    again.take(50).for_each(|query| _ = usual.rerank(&query.text, &query.texts, K).unwrap());
    assert_eq!((usual.audits().audited, pruning.audits().audited), (10, 0));
    let unpromised = builder().pruning(Pruning::By(Policy::paper(0.0))).build().unwrap();
    (0..60).for_each(|_| _ = unpromised.rerank(&query.text, &query.texts, K).unwrap());
    assert_eq!(unpromised.audits().audited, 0);

    // Without hidden states there is nothing to fit to.
    match fit(&data, &traces(&plain, &data), &options) {
        Err(Error::Calibrate(CalibrateError::NoStates { .. })) => {}
        other => panic!("{other:?}"),
    }
    let mut json = serde_json::to_value(&profile).unwrap();
    json["readouts"][0]["weights"].as_array_mut().unwrap().pop();
    std::fs::write(&path, json.to_string()).unwrap();
    let error = builder().profile(Profile::read(&path).unwrap()).build().unwrap_err();
    assert!(error.to_string().contains("41 weights"), "{error}");
}

fn trace_by(reranker: &Reranker, query: &Query, pruning: Option<Pruning>) -> ScoreTrace {
    let mut request = Request::new(&query.text, &query.texts, K).trace(true);
    if let Some(pruning) = pruning {
        request = request.pruning(pruning);
    }
    let rows = reranker.run(request).unwrap().trace.unwrap();
    ScoreTrace::from_vec(rows.len(), query.texts.len(), rows.concat()).unwrap()
}

#[test]
fn data_that_are_not_in_order_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("corpus.jsonl", "{\"_id\":\"d\",\"title\":\"T\",\"text\":\"body\"}\n");
    write("queries.jsonl", "{\"_id\":\"q\",\"text\":\"what\"}\n");
    write("candidates.jsonl", "{\"query\":\"q\",\"candidates\":[\"d\",\"d\"]}\n");
    std::fs::create_dir(folder.path().join("qrels")).unwrap();
    write("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\td\t2\nq\telsewhere\t1\n");
    let data = Dataset::read(folder.path()).unwrap();
    assert_eq!(data.queries[0].texts, ["T body"]);
    let judgments = data.queries[0].judgments.clone().unwrap();
    assert_eq!((judgments.pool, judgments.all.len()), (vec![2], 2));

    let fails = |words: &[&str]| {
        let error = Dataset::read(folder.path()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    write("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq d 2\n");
    fails(&["test.tsv", "line 2"]);
    write("candidates.jsonl", "{\"query\":\"q\",\"candidates\":[\"x\"]}\n");
    write("qrels/test.tsv", "query-id\tcorpus-id\tscore\n");
    fails(&["candidates.jsonl", "text `x`", "corpus.jsonl"]);
    write("candidates.jsonl", "{\"query\":\"q\"}\n");
    fails(&["candidates.jsonl", "line 1", "candidates"]);
    let lines = folder.path().join("lines.jsonl");
    std::fs::write(&lines, "{\"query\":\"q\",\"texts\":[\"a\"],\"grades\":[1,2]}\n").unwrap();
    let error = Dataset::read(&lines).unwrap_err().to_string();
    assert!(error.contains("line 1: 2 grades for 1 texts"), "{error}");
    std::fs::write(&lines, "{\"query\":\"q\",\"texts\":[\"a\"]}\n{\"query\":\"q\"}\n").unwrap();
    let error = Dataset::read(&lines).unwrap_err().to_string();
    assert!(error.contains("line 2: there is no `texts`"), "{error}");
}

#[test]
fn data_are_read_as_requests_are() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    // Numbers as ids, a title that the text begins with, half of a surrogate pair, a blank line.
    write(
        "corpus.jsonl",
        "{\"_id\":7,\"title\":\"Paris\",\"text\":\"Paris is\"}\n\n{\"_id\":\"8\",\"title\":null,\"text\":\"\\ud83d \"}\n",
    );
    write("queries.jsonl", "\u{feff}{\"_id\":1,\"text\":\"what\"}\n");
    write("candidates.jsonl", "{\"query\":1,\"candidates\":[7,8]}\n");
    let data = Dataset::read(folder.path()).unwrap();
    assert_eq!(data.queries[0].texts, ["Paris Paris is", "\u{fffd} "]);

    let file = folder.path().join("queries.json");
    let array = "[\n{\"id\": 5, \"query\": \"q\", \"documents\": [{\"contents\": \"a\"}, \"\\ud83d\"], \"grades\": [1, 0]}\n]";
    std::fs::write(&file, array).unwrap();
    let data = Dataset::read(&file).unwrap();
    assert_eq!((data.queries[0].id.as_str(), data.queries[0].texts.len()), ("5", 2));
    assert_eq!(data.queries[0].texts, ["a", "\u{fffd}"]);
    assert_eq!(data.queries[0].judgments.as_ref().unwrap().pool, [1, 0]);
}

#[test]
fn a_sample_that_is_too_small_is_known_beforehand() {
    let queries = |count: usize, texts: usize| {
        let query = |i: usize| {
            Query::new(i.to_string(), format!("q{i}"), (0..texts).map(|t| t.to_string()))
        };
        Dataset::new("sample", (0..count).map(query).collect())
    };
    let target = Target { agreement: 0.95, confidence: 0.95 };
    let size = |data: &Dataset, k| SampleSize::of(data, k, target, Reading::Best);
    let enough = size(&queries(187, 11), 10).unwrap();
    // (1 - 0.05)^n is 0.05 at 59; betting needs a few more for its first stakes.
    assert_eq!((enough.testing, enough.needed, enough.is_enough()), (63, Some(63), true));
    let too_few = size(&queries(186, 11), 10).unwrap();
    assert_eq!(
        (too_few.testing, too_few.usable_needed(), too_few.is_enough()),
        (62, Some(187), false)
    );
    assert!(size(&queries(187, 10), 10).unwrap_err().to_string().contains("0 queries have more"));
    assert!(size(&queries(2, 11), 10).is_err() && size(&queries(3, 11), 0).is_err());
    let fitted = SampleSize::of(&queries(10, 11), 10, target, Reading::Fitted);
    assert!(fitted.unwrap_err().to_string().contains("readouts cannot be fitted"));
}
