//! Pruning that is learned from a reranker's own requests.

use std::path::Path;

use grating::prune::Target;
use grating::prune::online::Phase;
use grating::{Error, LearnedPruning, LearningError, Pruning, Request, Reranker, RerankerBuilder};

/// A promise that a few dozen requests can prove.
const TARGET: Target = Target { agreement: 0.8, confidence: 0.8 };

fn builder() -> RerankerBuilder {
    Reranker::builder().max_length(24).pruning(Pruning::Auto(TARGET))
}

/// Requests of a kind that settles early: one text that answers, others that do not.
fn request(number: usize) -> Request {
    request_of(number, 12)
}

pub(crate) fn request_of(number: usize, texts: usize) -> Request {
    let things = ["river", "window", "engine", "garden", "letter", "violin", "harbour", "candle"];
    let wanted = things[number % things.len()];
    let texts: Vec<String> = (0..texts)
        .map(|i| match i {
            0 => format!("the {wanted} number {number} is old"),
            i => format!("{} costs {} coins", things[(number + i) % things.len()], i * number),
        })
        .collect();
    Request::new(format!("how old is the {wanted} number {number}"), texts, 1)
}

fn run(reranker: &Reranker, requests: std::ops::Range<usize>) -> (usize, usize) {
    let (mut full, mut wrong) = (0, 0);
    for number in requests {
        let selection = reranker.run(request(number)).unwrap();
        let stats = &selection.stats;
        let everything = (stats.distinct_candidates * stats.layers) as u64;
        full += usize::from(stats.candidate_layers == everything);
        let exact = reranker.run(request(number).pruning(Pruning::Off)).unwrap();
        wrong += usize::from(exact.results[0].index != selection.results[0].index);
        let learning = stats.learning.as_ref().unwrap();
        assert_eq!((learning.k, learning.alarms), (1, 0));
        assert!(exact.stats.learning.is_none() && exact.stats.candidate_layers == everything);
    }
    (full, wrong)
}

#[test]
fn pruning_begins_when_it_is_proved_and_is_kept_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("learned.json");
    let reranker = builder().learning_file(&file).build().unwrap();
    let (full, wrong) = run(&reranker, 0..30);
    assert_eq!((full, wrong), (30, 0), "nothing can be proved as soon");
    let (full, wrong) = run(&reranker, 30..110);
    assert!(full < 80 && wrong <= 16, "{full} in full, {wrong} of 80 wrong");
    let learned = reranker.learned().unwrap();
    assert_eq!(learned[0].phase, Phase::Pruning);
    assert!(learned[0].cost.unwrap() < 1.0);
    drop(reranker);

    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(!stored.contains("how old") && !stored.contains("coins"), "texts are not kept");
    let shown = LearnedPruning::read(&file).unwrap();
    assert_eq!((shown.promise, &shown.learned), (TARGET, &learned));
    let reranker = builder().learning_file(&file).build().unwrap();
    assert_eq!(reranker.learned().unwrap(), learned);
}

#[test]
fn requests_that_look_different_are_computed_in_full_again() {
    let reranker = builder().build().unwrap();
    run(&reranker, 0..100);
    let asked = |number: usize| reranker.run(request_of(number, 30)).unwrap().stats;
    let suspected = (0..60).find(|&number| asked(number).learning.unwrap().suspicions == 1);
    assert!(suspected.is_some_and(|requests| requests < 40), "{suspected:?}");
    let stats = asked(60);
    assert_eq!(stats.candidate_layers, (stats.distinct_candidates * stats.layers) as u64);
    assert_eq!(stats.learning.unwrap().phase, Phase::Testing);
}

#[test]
fn what_was_learned_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("learned.json");
    drop(builder().learning_file(&file).build().unwrap());
    let refused = |builder: RerankerBuilder, path: &Path| match builder.learning_file(path).build()
    {
        Err(Error::Learning(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(builder().max_length(25), &file);
    assert!(matches!(error, LearningError::Other { what: "a maximum length of", .. }), "{error}");
    let other = Target { agreement: 0.9, ..TARGET };
    let error = refused(builder().pruning(Pruning::Auto(other)), &file);
    assert!(matches!(error, LearningError::Other { what: "promise", .. }), "{error}");
    std::fs::write(&file, "{}").unwrap();
    let error = refused(builder(), &file);
    assert!(matches!(error, LearningError::Malformed { .. }), "{error}");
    let error = refused(builder(), &folder.path().join("none/learned.json"));
    assert!(matches!(error, LearningError::File { .. }), "{error}");
}

#[test]
fn a_request_that_says_how_it_prunes_is_left_alone() {
    let reranker = builder().build().unwrap();
    for asked in [request(1).pruning(Pruning::Off), request(1).trace(true)] {
        assert!(reranker.run(asked).unwrap().stats.learning.is_none());
    }
    assert!(reranker.learned().unwrap().is_empty());
    // Where all are selected there is nothing to learn.
    let all = Request::new("a", vec!["b", "c"], 2);
    assert!(reranker.run(all).unwrap().stats.learning.is_none());
    let error = reranker.run(request(1).pruning(Pruning::Auto(TARGET))).unwrap_err();
    assert!(error.to_string().contains("a setting of the builder"), "{error}");
}
