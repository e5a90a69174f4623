//! Long texts where something is at its end: settings, lengths, characters, budgets.

use grating::prune::{Keep, OverHeads, Signal, TokenStage};
use grating::{
    Error, Long, Passages, PlanError, Pruning, Request, Reranker, RerankerBuilder, Selection,
    Spill, TokenPolicy,
};

use crate::golden;

const QUERY: &str = "which window slides";
/// A pair of an encoder, prompts of two decoders, one that attends within a window, and one by distances.
const CASES: [&str; 5] =
    ["bert-gelu-f32", "qwen3-tied-f32", "llama-f32", "modernbert-f32", "deberta-v3-f32"];

fn builder(case: &str) -> RerankerBuilder {
    Reranker::builder().model(golden(case).to_str().unwrap()).threads(1).pruning(Pruning::Off)
}

/// One of passages that are compressed.
fn compressing() -> RerankerBuilder {
    builder("gemma2-lightweight-f32").compress_ratio(4).compress_layers([2, 5])
}

fn bits(selection: &Selection) -> Vec<u32> {
    selection.all_scores().iter().map(|score| score.raw_score.0.to_bits()).collect()
}

fn scores(reranker: &Reranker, texts: &[String], long: &Long) -> Vec<u32> {
    bits(&reranker.run(Request::new(QUERY, texts, texts.len()).long(long.clone())).unwrap())
}

/// Empty ones, white space, one token, scripts with and without spaces, characters of several code points, and one
/// without any place to cut at.
fn texts() -> Vec<String> {
    let flags = "🇩🇪🇫🇷👩‍👩‍👧‍👦e\u{301}".repeat(9);
    let mut texts =
        ["", " ", "\n\n\t ", "a", "glass", "\u{feff}", "[SEP]"].map(String::from).to_vec();
    texts.push("東京の窓は古い。".repeat(12));
    texts.push(flags);
    texts.push("نافذة قديمة والنهر طويل ".repeat(8));
    texts.push("x".repeat(300));
    texts.push(format!("{}window{}", " ".repeat(200), "\n".repeat(200)));
    texts.push("The river of the glass is wide. ".repeat(14));
    texts
}

/// What holds of passages whatever the settings.
fn check_passages(reranker: &Reranker, texts: &[String], passages: Passages, k: usize) {
    let what = format!("{passages:?}");
    let long = Long::Passages(passages);
    let request = Request::new(QUERY, texts, k).long(long);
    let selection = reranker.run(request).unwrap();
    assert_eq!(selection.results.len(), k.min(texts.len()), "{what}");
    for score in selection.all_scores() {
        let (text, parts) = (&texts[score.index], selection.passages(score.index));
        let what = format!("{what}: {:.40}", text.escape_debug());
        assert!(score.raw_score.0.is_finite(), "{what}");
        assert_eq!(score.passage.is_some(), parts.len() > 1, "{what}");
        let Some(best) = score.passage else { continue };
        // Each moves on, all are runs of whole characters, and what is in none is white space.
        let mut covered = 0;
        for part in &parts {
            assert!(part.start < part.end && part.end <= text.len(), "{what}: {part:?}");
            assert!(part.end > covered, "{what}: {part:?}");
            let between = text.get(covered.min(part.start)..part.start).unwrap();
            assert!(between.trim().is_empty(), "{what}: {between:?} is in no passage");
            covered = part.end;
        }
        assert!(score.truncated || text[covered..].trim().is_empty(), "{what}");
        let alone: Vec<String> =
            parts.iter().map(|part| text.get(part.start..part.end).unwrap().to_owned()).collect();
        let own: Vec<u32> = parts.iter().map(|part| part.raw_score.0.to_bits()).collect();
        assert_eq!(own, scores(reranker, &alone, &Long::Truncate), "{what}");
        assert_eq!((best.of, best.start), (parts.len(), parts[best.index].start), "{what}");
    }
}

#[test]
fn passages_of_any_size_cover_their_texts_and_score_as_texts_of_their_own() {
    let texts = texts();
    let rerankers = [builder("bert-gelu-f32"), builder("qwen3-tied-f32"), compressing()];
    for reranker in rerankers.map(|builder| builder.build().unwrap()) {
        for (tokens, overlap) in [(1, 0), (1, 9), (2, 2), (7, 100), (20, 20), (33, 5)] {
            let passages = Passages::default().tokens(tokens).overlap(overlap).max_passages(1000);
            check_passages(&reranker, &texts, passages, texts.len() + 5);
        }
        let few = Passages::default().tokens(5).max_passages(2);
        check_passages(&reranker, &texts, few, 3);
        check_passages(&reranker, &texts, few.max_passages(1), 1);
        check_passages(&reranker, &texts[..1], Passages::default().tokens(1), 1);
    }
}

#[test]
fn a_text_of_exactly_the_limit_is_read_as_one_and_the_next_token_makes_a_passage() {
    for (builder, word) in [(builder("bert-gelu-f32"), "a"), (builder("qwen3-tied-f32"), " a")] {
        let reranker = builder.build().unwrap();
        let tokens = |words: usize| {
            let text = vec![word.repeat(2 * words)];
            reranker.run(Request::new(QUERY, text, 1)).unwrap().stats.tokens
        };
        // As many letters as make a text longer by a token for each few.
        let at = |words: usize| word.repeat(2 * words);
        let limit = tokens(12);
        let exactly = (12..40).take_while(|&words| tokens(words) == limit).last().unwrap();
        let one = Long::Passages(Passages::default());
        let run = |words: usize| {
            let request = Request::new(QUERY, vec![at(words)], 1).long(one.clone());
            reranker.run(request.max_length(limit)).unwrap()
        };
        let (fits, longer) = (run(exactly), run(exactly + 1));
        assert_eq!((fits.stats.passages, fits.stats.in_passages), (1, 0));
        assert_eq!(bits(&fits), scores(&reranker, &[at(exactly)], &Long::Truncate));
        assert!(longer.results[0].passage.is_some() && !longer.results[0].truncated);
    }
}

/// Policies at the ends of what their settings take, for candidates of at least so many tokens.
fn policies(min_tokens: usize) -> Vec<TokenPolicy> {
    let stage = |depth, share| TokenStage::new(depth, share);
    let looks = stage(0.4, 0.3).with_signal(Signal::Query).with_heads(OverHeads::Maximum);
    let nobody = stage(0.2, 1.0).with_keep(Keep::Threshold(f64::MAX));
    let many = (1..9).map(|n| stage(f64::from(n) / 10.0, 0.8).with_block(3)).collect();
    let of = |stages: Vec<TokenStage>| TokenPolicy::new(stages).with_min_tokens(min_tokens);
    vec![
        of(vec![stage(f64::MIN_POSITIVE, f64::MIN_POSITIVE)]),
        of(vec![stage(1.0 - f64::EPSILON, 0.5).with_block(usize::MAX)]),
        of(vec![nobody]),
        of(vec![nobody.with_value_norms(true), looks]),
        of(vec![looks.with_block(2)]).with_ends(3, 2),
        of(vec![looks]).with_ends(usize::MAX, usize::MAX),
        of(many),
    ]
}

#[test]
fn tokens_leave_alike_however_a_request_is_run_down_to_none_of_a_text() {
    let texts: Vec<String> = texts();
    for case in CASES {
        let plain = builder(case).build().unwrap();
        let full = scores(&plain, &texts, &Long::Truncate);
        let tokens = |text: &String| {
            plain.run(Request::new(QUERY, vec![text.clone()], 1)).unwrap().stats.tokens
        };
        let lengths: Vec<usize> = texts.iter().map(tokens).collect();
        let runs = [
            builder(case).chunk_tokens(1).spill(Spill::Always).threads(2),
            builder(case).chunk_tokens(64).spill(Spill::Always),
            builder(case).chunk_tokens(10_000).threads(3),
        ];
        let runs = runs.map(|builder| builder.build().unwrap());
        for min_tokens in [0, lengths[3] + 20] {
            for policy in policies(min_tokens) {
                let what = format!("{case}, {policy}");
                let long = Long::Prune(policy);
                let found = scores(&plain, &texts, &long);
                assert!(found.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{what}");
                for (at, length) in lengths.iter().enumerate() {
                    assert!(*length >= min_tokens || found[at] == full[at], "{what}: text {at}");
                }
                for (at, run) in runs.iter().enumerate() {
                    assert_eq!(scores(run, &texts, &long), found, "{what}: run {at}");
                }
                // Each alone, without a prefix to share.
                for (at, text) in texts.iter().enumerate() {
                    let alone = scores(&plain, std::slice::from_ref(text), &long);
                    assert_eq!(alone[0], found[at], "{what}: text {at} alone");
                }
            }
        }
    }
}

/// Runs it with the least memory that the planner takes, and says what that was.
fn in_least_memory<T>(builder: &RerankerBuilder, run: impl Fn(&Reranker) -> Result<T, Error>) -> T {
    let mut budget = 1 << 20;
    for _ in 0..40 {
        let outcome = builder.clone().memory_budget(budget).build().and_then(|r| run(&r));
        match outcome {
            Ok(outcome) => return outcome,
            Err(Error::Plan(PlanError::BudgetTooSmall { minimum, .. })) => {
                assert!(minimum > budget, "{minimum} after {budget}");
                budget = minimum;
            }
            Err(Error::TextOverBudget { .. } | Error::TextsOverBudget { .. }) => budget += 1 << 18,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no budget was enough");
}

#[test]
fn the_least_memory_changes_no_bit() {
    let texts = texts();
    let passages = Long::Passages(Passages::default().tokens(20).overlap(10).max_passages(1000));
    let policies = policies(30).into_iter().map(Long::Prune);
    let mut ways: Vec<Long> = policies.collect();
    ways.push(passages.clone());
    for case in CASES {
        let plain = builder(case).build().unwrap();
        for long in &ways {
            let request = || Request::new(QUERY, &texts[..], texts.len()).long(long.clone());
            let found = in_least_memory(&builder(case), |reranker| reranker.run(request()));
            assert_eq!(bits(&found), scores(&plain, &texts, long), "{case} {long:?}");
        }
    }
    let plain = scores(&compressing().build().unwrap(), &texts, &passages);
    let request = || Request::new(QUERY, &texts[..], texts.len()).long(passages.clone());
    let found = in_least_memory(&compressing(), |reranker| reranker.run(request()));
    assert_eq!(bits(&found), plain);
}

#[test]
fn compressed_passages_of_texts_keep_their_limits_and_do_not_depend_on_how_they_are_run() {
    let texts = texts();
    let long = Long::Passages(Passages::default().tokens(24).overlap(8).max_passages(1000));
    let plain = compressing().build().unwrap();
    let request = || Request::new(QUERY, &texts[..], texts.len()).long(long.clone());
    let expected = bits(&plain.run(request()).unwrap());
    let uncompressed = builder("gemma2-lightweight-f32").build().unwrap();
    assert_ne!(expected, bits(&uncompressed.run(request()).unwrap()));
    for builder in [
        compressing().chunk_tokens(1).spill(Spill::Always).threads(2),
        compressing().chunk_tokens(50).threads(3),
    ] {
        assert_eq!(bits(&builder.build().unwrap().run(request()).unwrap()), expected);
    }
    // A limit of the text counts before it is cut, one of a candidate for each passage.
    let limited = plain.run(request().max_text_tokens(30)).unwrap();
    assert!(limited.passages(12).len() <= 2 && limited.all_scores()[12].truncated);
    let around = plain.run(Request::new(QUERY, vec![""], 1)).unwrap().stats.tokens;
    let narrow = plain.run(request().max_length(around + 12)).unwrap();
    let most = narrow.stats.passages * (around + 12);
    assert!(narrow.stats.passages > limited.stats.passages && narrow.stats.tokens <= most);
    // Its layers see compressed rows: none of a policy's can leave.
    let policy = Long::Prune(TokenPolicy::lazy_llm());
    let error = plain.run(Request::new(QUERY, &texts[..], 2).long(policy)).unwrap_err();
    assert!(error.to_string().contains("compressed"), "{error}");
}
