//! Long texts in passages: what they score, how they are selected, and what they cost.

use grating::prune::{ScoreTrace, Target, replay};
use grating::{
    Error, Long, Mode, Passages, Policy, Pruning, Request, Reranker, RerankerBuilder,
    ScoredPassage, Selection, Spill, Texts, TokenPolicy, WindowSize,
};

use crate::golden;

const QUERY: &str = "which window slides";
/// A pair of an encoder, prompts of two decoders, and a model that attends within a window.
const CASES: [&str; 4] = ["bert-gelu-f32", "qwen3-tied-f32", "llama-f32", "modernbert-f32"];

/// Texts of very different lengths, two of them equal.
fn texts() -> Vec<String> {
    let words = ["river", "window", "glass", "東京", "bridge", "layer", "weights", "🙂"];
    let sentence = |n: usize| {
        let word = |m: usize| words[(n * n + 3 * m) % words.len()];
        format!("The {} of a {} is {} miles from the {}.", word(0), word(1), n, word(2))
    };
    let text = |from: usize, count: usize| {
        (from..from + count).map(sentence).collect::<Vec<_>>().join(" ")
    };
    let mut texts = vec![text(0, 12), "glass".into(), text(40, 30), text(7, 3), String::new()];
    texts.extend([text(90, 21), "a window of glass slides over the layers".into(), text(40, 30)]);
    texts
}

fn builder(case: &str) -> RerankerBuilder {
    Reranker::builder().model(golden(case).to_str().unwrap()).threads(1).pruning(Pruning::Off)
}

fn passages() -> Passages {
    Passages::default().tokens(30).overlap(6)
}

fn request(texts: &[String], long: Long) -> Request {
    Request::new(QUERY, texts, texts.len()).long(long)
}

fn bits(selection: &Selection) -> Vec<u32> {
    selection.all_scores().iter().map(|score| score.raw_score.0.to_bits()).collect()
}

#[test]
fn a_passage_scores_as_a_text_of_its_own_and_the_best_one_is_the_texts_score() {
    let texts = texts();
    for case in CASES {
        let reranker = builder(case).build().unwrap();
        let whole = reranker.run(request(&texts, Long::Truncate)).unwrap();
        let parts = reranker.run(request(&texts, Long::Passages(passages()))).unwrap();
        let mean = Long::Passages(passages().score("mean:3".parse().unwrap()));
        let mean = reranker.run(request(&texts, mean)).unwrap();
        let mut count = 0;
        for (index, score) in parts.all_scores().into_iter().enumerate() {
            let of_text = parts.passages(index);
            count += of_text.len().max(1);
            let Some(best) = score.passage else {
                assert!(of_text.is_empty(), "{case} {index}");
                // Read as one: not a bit is another.
                assert_eq!(bits(&parts)[index], bits(&whole)[index], "{case} {index}");
                assert_eq!(bits(&mean)[index], bits(&whole)[index], "{case} {index}");
                continue;
            };
            let slice = |p: &ScoredPassage| texts[index][p.start..p.end].to_string();
            let alone: Vec<String> = of_text.iter().map(slice).collect();
            let alone = reranker.run(request(&alone, Long::Truncate)).unwrap();
            let own: Vec<u32> = of_text.iter().map(|p| p.raw_score.0.to_bits()).collect();
            assert_eq!(own, bits(&alone), "{case} {index}");
            let first = alone.results[0];
            assert_eq!((best.index, best.of), (first.index, of_text.len()), "{case} {index}");
            assert_eq!(
                (best.start, best.end),
                (of_text[best.index].start, of_text[best.index].end)
            );
            assert_eq!(score.raw_score, first.raw_score, "{case} {index}");
            let three = alone.results.iter().take(3).map(|r| f64::from(r.raw_score.0));
            let expected = (three.sum::<f64>() / of_text.len().min(3) as f64) as f32;
            assert_eq!(mean.all_scores()[index].raw_score.0, expected, "{case} {index}");
            assert!(!score.truncated, "{case} {index}");
        }
        // The last text is the third again.
        let stats = &parts.stats;
        let again = parts.passages(7).len();
        let several = parts.all_scores().iter().filter(|score| score.passage.is_some()).count();
        assert_eq!((stats.passages, stats.in_passages), (count - again, several), "{case}");
        assert!(several >= 4, "{case}");
        assert_eq!((stats.candidates, stats.distinct_candidates), (8, 7), "{case}");
        assert_eq!(stats.candidate_layers, (stats.passages * stats.layers) as u64, "{case}");
        assert!(again > 5, "{case}: {again}");
    }
}

#[test]
fn without_a_limit_of_their_own_passages_are_as_long_as_fits_beside_the_query() {
    let texts = texts();
    for case in CASES {
        let reranker = builder(case).max_length(100).build().unwrap();
        let cut = reranker.run(request(&texts, Long::Truncate)).unwrap();
        let parts = reranker.run(request(&texts, Long::Passages(Passages::default()))).unwrap();
        assert!(cut.stats.truncated > 0 && parts.stats.truncated == 0, "{case}");
        for (index, score) in parts.all_scores().iter().enumerate() {
            let truncated = cut.all_scores()[index].truncated;
            assert_eq!(score.passage.is_some(), truncated, "{case} {index}");
            assert!(truncated || bits(&parts)[index] == bits(&cut)[index], "{case} {index}");
        }
    }
}

#[test]
fn scores_and_passages_do_not_depend_on_how_a_request_is_run() {
    let texts = texts();
    for case in CASES {
        let run = |builder: RerankerBuilder| {
            let reranker = builder.long(Long::Passages(passages())).build().unwrap();
            let selection = reranker.run(Request::new(QUERY, &texts, texts.len())).unwrap();
            (bits(&selection), selection.results)
        };
        let expected = run(builder(case));
        for (chunk, spill, window) in [
            (1, Spill::Always, WindowSize::Slots(1)),
            (70, Spill::Never, WindowSize::All),
            (45, Spill::Always, WindowSize::Slots(2)),
        ] {
            let other = builder(case).chunk_tokens(chunk).spill(spill).window(window).threads(3);
            assert_eq!(run(other), expected, "{case} {chunk}");
        }
    }
}

#[test]
fn pruning_decides_on_texts_as_a_replay_of_their_scores_does() {
    let texts = texts();
    let mut dropped = 0;
    for case in CASES {
        let reranker = builder(case).chunk_tokens(40).build().unwrap();
        for score in ["max", "mean:2"] {
            let long = Long::Passages(passages().score(score.parse().unwrap()));
            let traced = reranker.run(request(&texts, long.clone()).trace(true)).unwrap();
            let trace = traced.trace.as_ref().unwrap();
            // Distinct texts, as the engine sees them.
            let distinct: Vec<Vec<f32>> = trace.iter().map(|layer| layer[..7].to_vec()).collect();
            assert_eq!(trace[0].len(), 8);
            let shape = ScoreTrace::from_vec(distinct.len(), 7, distinct.concat()).unwrap();
            for (threshold, mode) in [(0.0, Mode::Select), (0.0, Mode::Rank), (0.5, Mode::Select)] {
                let policy = Policy::paper(threshold).with_mode(mode);
                let outcome = replay(&policy, &shape, 3).unwrap();
                let pruned = Request::new(QUERY, &texts[..7], 3).long(long.clone());
                let pruned = reranker.run(pruned.pruning(Pruning::By(policy))).unwrap();
                let mut found: Vec<usize> = pruned.results.iter().map(|r| r.index).collect();
                let mut expected = outcome.selected.clone();
                assert_eq!(found.len(), 3);
                if mode == Mode::Rank {
                    // Those have the full model's scores.
                    let full = bits(&traced);
                    assert!(found.iter().all(|&index| bits(&pruned)[index] == full[index]));
                }
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "{case} {score} {threshold} {mode:?}");
                let decided: Vec<usize> =
                    pruned.all_scores().iter().map(|s| s.decided_after_layer).collect();
                let expected: Vec<usize> = outcome
                    .decided_after_layer
                    .iter()
                    .map(|layer| layer.unwrap_or(distinct.len() - 1))
                    .collect();
                assert_eq!(decided, expected, "{case} {score} {threshold} {mode:?}");
                // All passages of a text have gone as far as it has.
                let layers = pruned.all_scores().into_iter().map(|score| {
                    let ran = if mode == Mode::Rank && score.selected {
                        distinct.len()
                    } else {
                        score.decided_after_layer + 1
                    };
                    (ran * pruned.passages(score.index).len().max(1)) as u64
                });
                assert_eq!(pruned.stats.candidate_layers, layers.sum::<u64>());
                dropped += pruned.stats.funnel.iter().map(|l| l.dropped.len()).sum::<usize>();
            }
        }
    }
    assert!(dropped > 0);
}

#[test]
fn the_most_passages_bound_what_a_text_costs_and_the_rest_is_said_to_be_left_out() {
    let long = "the river is wide and the window is old. ".repeat(260_000);
    assert!(long.len() > 10 << 20);
    let texts = [long, "a window".to_string()];
    let reranker = builder("bert-gelu-f32").build().unwrap();
    let passages = Passages::default().max_passages(5);
    let ticket = reranker.submit(request(&texts, Long::Passages(passages))).unwrap();
    assert_eq!(ticket.truncated(), 1);
    let selection = ticket.wait().unwrap();
    let [long, short] = selection.all_scores().try_into().unwrap();
    assert!(long.truncated && !short.truncated);
    assert_eq!((long.passage.unwrap().of, short.passage), (5, None));
    assert_eq!((selection.stats.truncated, selection.stats.passages), (1, 6));
    // The limit of a text counts before it is cut into passages.
    let limited = request(&texts, Long::Passages(Passages::default().tokens(20)));
    let limited = reranker.run(limited.max_text_tokens(50)).unwrap();
    let parts = limited.passages(0);
    assert!((3..=4).contains(&parts.len()), "{parts:?}");
    assert!(limited.all_scores()[0].truncated && parts.last().unwrap().end < 300);
}

#[test]
fn pairs_have_passages_too_and_calibrations_have_none() {
    let texts = texts();
    let reranker = builder("qwen3-tied-f32").long(Long::Passages(passages())).build().unwrap();
    let queries: Vec<String> = (0..texts.len()).map(|n| format!("window {}", n % 3)).collect();
    let pairs = reranker.run(Request::pairs(queries.clone(), texts.clone())).unwrap();
    for (index, query) in queries.iter().enumerate() {
        let text: Texts = vec![texts[index].clone()].into();
        let alone = reranker.run(Request::new(query, text, 1)).unwrap();
        assert_eq!(bits(&pairs)[index], bits(&alone)[0], "{index}");
        assert_eq!(pairs.all_scores()[index].passage, alone.results[0].passage);
    }
    let data = vec![grating::calibrate::Query::new("1", QUERY, texts)];
    let data = grating::calibrate::Dataset::new("own", data);
    let options = grating::calibrate::RecordOptions::default();
    let error = grating::calibrate::record(&reranker, &data, options, |_| ()).unwrap_err();
    assert!(matches!(error, Error::Setting { .. }), "{error}");
}

/// Half of the tokens leave at each stage of texts with twenty tokens more than a short one.
fn leaving(case: &str) -> Long {
    let short = Request::new(QUERY, vec!["a window of glass slides over the layers"], 1);
    let tokens = builder(case).build().unwrap().run(short).unwrap().stats.tokens;
    let policy: TokenPolicy = "lazy-llm:0.5".parse().unwrap();
    Long::Prune(policy.with_min_tokens(tokens + 20))
}

#[test]
fn tokens_leave_long_texts_and_short_ones_are_as_they_were() {
    let texts = texts();
    for case in CASES {
        let reranker = builder(case).build().unwrap();
        let full = reranker.run(request(&texts, Long::Truncate)).unwrap();
        let leaving = leaving(case);
        let pruned = reranker.run(request(&texts, leaving.clone())).unwrap();
        assert_eq!(full.stats.tokens_left, 0);
        assert!(
            pruned.stats.tokens_left > 0 && pruned.stats.token_layers < full.stats.token_layers
        );
        let last = pruned.stats.funnel.last().unwrap();
        let own = |selection: &Selection| selection.stats.funnel[0].tokens as u64;
        assert_eq!(last.tokens as u64, own(&pruned) - pruned.stats.tokens_left);
        let (full, pruned) = (bits(&full), bits(&pruned));
        // Equal texts are equal, the short ones (glass, none, a sentence) the full model's.
        assert_eq!(pruned[2], pruned[7]);
        assert_eq!([1, 4, 6].map(|text| pruned[text]), [1, 4, 6].map(|text| full[text]), "{case}");
        // Behind this one's only stage comes a layer in which the scored token sees but its neighbours.
        let is_near = case == "modernbert-f32";
        assert!(is_near || [0, 2, 5].iter().all(|&text| pruned[text] != full[text]), "{case}");
        let always = builder(case).long(leaving).chunk_tokens(30).spill(Spill::Always);
        let always = always.build().unwrap();
        let again = always.run(Request::new(QUERY, &texts[..], texts.len())).unwrap();
        assert_eq!(bits(&again), pruned, "{case}");
        let exact = always.run(request(&texts, Long::Truncate)).unwrap();
        assert_eq!(bits(&exact), full, "{case}");
    }
}

#[test]
fn what_is_promised_of_the_full_model_is_not_said_of_fewer_tokens() {
    let texts = texts();
    let reranker =
        builder("qwen3-tied-f32").long(leaving("qwen3-tied-f32")).audit(1.0).build().unwrap();
    let policy = Pruning::By(Policy::paper(0.0));
    let request = || Request::new(QUERY, &texts[..], 2).pruning(policy.clone());
    assert_eq!(reranker.run(request()).unwrap().stats.audit, None);
    assert!(reranker.run(request().long(Long::Truncate)).unwrap().stats.audit.is_some());
    // Of short texts none leave.
    let short = ["glass", "", "a window", "a bridge"].map(String::from);
    let short = reranker.run(Request::new(QUERY, &short[..], 2).pruning(policy.clone())).unwrap();
    assert_eq!(short.stats.tokens_left, 0);
    assert!(short.stats.audit.is_some());
    // Who asks for everything gets it, and pairs are scored in full.
    let full = Request::new(QUERY, &texts[..], texts.len()).pruning(Pruning::Off);
    assert_eq!(reranker.run(full).unwrap().stats.tokens_left, 0);
    let queries = vec![QUERY.to_string(); texts.len()];
    let pairs = reranker.run(Request::pairs(queries, texts.clone())).unwrap();
    assert_eq!(pairs.stats.tokens_left, 0);
    let mean =
        builder("modernbert-mean-f32").long(Long::Prune(TokenPolicy::grating())).build().unwrap();
    let error = mean.run(Request::new(QUERY, &texts[..], 2)).unwrap_err();
    assert!(error.to_string().contains("mean of all tokens"), "{error}");
}

#[test]
fn nothing_is_learned_of_requests_whose_tokens_leave() {
    let texts = texts();
    let case = "qwen3-tied-f32";
    let promise = Target { agreement: 0.5, confidence: 0.6 };
    let reranker = builder(case).pruning(Pruning::Auto(promise)).build().unwrap();
    let request = || Request::new(QUERY, &texts[..], 2);
    let learned = |selection: &Selection| selection.stats.learning.is_some();
    let leaving = leaving(case);
    let pruned = reranker.run(request().long(leaving.clone())).unwrap();
    assert!(pruned.stats.tokens_left > 0 && !learned(&pruned));
    assert!(learned(&reranker.run(request()).unwrap()));
    let own = builder(case).pruning(Pruning::Auto(promise)).long(leaving).build().unwrap();
    assert!(!learned(&own.run(request()).unwrap()));
    assert!(learned(&own.run(request().long(Long::Truncate)).unwrap()));
}

#[test]
fn what_attention_tells_is_recorded_and_the_first_stage_of_its_replay_is_what_happens() {
    let texts = texts();
    let Long::Prune(policy) = leaving("qwen3-tied-f32") else { unreachable!() };
    let policy = TokenPolicy::new(policy.stages[..1].to_vec()).with_min_tokens(policy.min_tokens);
    // The last one's texts end with the token that is scored.
    for case in ["qwen3-tied-f32", "modernbert-f32", "gemma2-score-f16"] {
        let reranker = builder(case).build().unwrap();
        let request = || Request::new(QUERY, &texts[..], texts.len());
        let full = reranker.run(request()).unwrap();
        let told = reranker.run(request().attention(policy.clone())).unwrap();
        assert_eq!((bits(&told), told.stats.tokens_left), (bits(&full), 0), "{case}");
        let told = told.attention.unwrap();
        let long: Vec<usize> = (0..texts.len()).filter(|&text| told[text].is_some()).collect();
        assert!(long.contains(&0) && !long.contains(&1), "{case}: {long:?}");
        let pruned = reranker.run(request().long(Long::Prune(policy.clone()))).unwrap();
        let left = |text: usize| {
            let trace = told[text].as_ref().unwrap();
            assert_eq!(trace.mass.len(), 1);
            let outcome = reranker.replay_tokens(&policy, trace).unwrap();
            assert_eq!(outcome.exact_stages, 1);
            (trace.mass[0].len() - outcome.left[0].len()) as u64
        };
        // Equal texts are computed once.
        let distinct = long.iter().filter(|&&text| !texts[..text].contains(&texts[text]));
        assert_eq!(distinct.map(|&text| left(text)).sum::<u64>(), pruned.stats.tokens_left);
        let twice = TokenPolicy::slim_infer();
        let refused = reranker.replay_tokens(&twice, told[0].as_ref().unwrap()).is_err();
        assert!(refused || case != "qwen3-tied-f32", "its layers have two stages");
    }
    let reranker =
        builder("qwen3-tied-f32").long(Long::Passages(Passages::default())).build().unwrap();
    let error = reranker.run(Request::new(QUERY, &texts[..], 2).attention(policy)).unwrap_err();
    assert!(error.to_string().contains("passages"), "{error}");
}
