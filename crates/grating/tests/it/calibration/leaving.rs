//! Token policies that are certified with candidate policies.

use grating::calibrate::{CalibrateError, Dataset, Reading, RecordOptions, Traces, fit, record};
use grating::prune::{ScoreTrace, replay};
use grating::{Error, Long, Profile, Pruning, Request, TokenPolicy};

use super::{K, builder, data, options, profile};

/// Policies under which tokens leave the texts of [`data`], which are short.
fn token_policies() -> Vec<TokenPolicy> {
    let policy = |name: &str| name.parse::<TokenPolicy>().unwrap().with_min_tokens(8);
    vec![policy("lazy-llm:0.9"), policy("lazy-llm:0.5")]
}

#[test]
fn a_token_policy_is_certified_with_the_candidate_policy_and_used_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 80);
    let reranker = builder().build().unwrap();
    let (policies, file) = (token_policies(), folder.path().join("traces.jsonl"));
    let recording = RecordOptions::default().tokens(&policies).file(Some(&file));
    let traces = record(&reranker, &data, recording, |_| ()).unwrap();
    assert_eq!((traces.tokens(), traces.len()), (&policies[..], 3 * 81));
    // Nothing is run twice, and what is in the file is what was recorded.
    let written = std::fs::read(&file).unwrap();
    assert_eq!(record(&reranker, &data, recording, |_| ()).unwrap(), traces);
    assert_eq!(std::fs::read(&file).unwrap(), written);
    assert_eq!(Traces::read(&file).unwrap(), traces);
    // The others alone are as they were.
    let full =
        record(&reranker, &data, RecordOptions::default().file(Some(&file)), |_| ()).unwrap();
    let plain = profile(&reranker, &data);
    assert_eq!(fit(&data, &full, &options(0.3, 0.8)).unwrap(), plain);

    // Where much is promised careful candidate policies save more than tokens do, so little is.
    let pairs = |agreement| fit(&data, &traces, &options(agreement, 0.8)).unwrap();
    let profile = [0.3, 0.4, 0.5].map(pairs).into_iter().find(|profile| profile.tokens.is_some());
    let profile = profile.unwrap();
    assert_eq!(profile.calibration.policies, 3 * plain.calibration.policies + 2);
    let (policy, tokens) = (profile.policy.clone().unwrap(), profile.tokens.clone().unwrap());
    assert!(policies.contains(&tokens));
    assert_eq!(profile.calibration.chosen.as_ref().unwrap().tokens, Some(tokens.clone()));
    let measured = profile.measured.clone().unwrap();
    assert!(measured.saved > 0.0 && measured.queries == 40, "{measured:?}");
    assert!(profile.signals.is_empty());
    let path = folder.path().join("profile.json");
    profile.write(&path).unwrap();
    assert_eq!(Profile::read(&path).unwrap(), profile);

    let cut = builder().profile(profile.clone()).long(Long::Truncate).build().unwrap();
    let pruning = builder().profile(profile).audit(1.0).build().unwrap();
    for query in &data.queries[..4] {
        let leaving =
            || Request::new(&*query.text, &query.texts, K).long(Long::Prune(tokens.clone()));
        let rows = leaving().trace(true).pruning(Pruning::Off);
        let rows = reranker.run(rows).unwrap().trace.unwrap();
        let trace = ScoreTrace::from_vec(rows.len(), query.texts.len(), rows.concat()).unwrap();
        let expected = replay(&policy, &trace, K).unwrap();
        let found = pruning.rerank(&query.text, &query.texts, K).unwrap();
        let indices: Vec<usize> = found.results.iter().map(|r| r.index).collect();
        assert_eq!(indices, expected.selected);
        assert_eq!(found.stats.candidate_layers, expected.candidate_layers);
        assert!(found.stats.tokens_left > 0 && found.stats.audit.is_none());
        // Who says what becomes of long texts, or wants everything, gets that.
        let own = |request: Request| pruning.run(request).unwrap().stats.tokens_left;
        let request = || Request::new(&*query.text, &query.texts, K);
        assert_eq!(own(request().long(Long::Truncate)), 0);
        assert_eq!(own(request().pruning(Pruning::Off)), 0);
        assert_eq!(own(request().trace(true)), 0);
        assert_eq!(cut.run(request()).unwrap().stats.tokens_left, 0);
    }
}

#[test]
fn readouts_and_missing_runs_of_token_policies_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 8);
    let reranker = builder().build().unwrap();
    let (policies, file) = (token_policies(), folder.path().join("traces.jsonl"));
    let few = data.clone().sample(4);
    let recording = RecordOptions::default().file(Some(&file));
    record(&reranker, &few, recording.tokens(&policies), |_| ()).unwrap();
    record(&reranker, &data, recording, |_| ()).unwrap();
    let traces = Traces::read(&file).unwrap();
    let refused =
        |data: &Dataset, reading| match fit(data, &traces, &options(0.3, 0.8).reading(reading)) {
            Err(Error::Calibrate(error)) => error,
            other => panic!("{other:?}"),
        };
    assert!(matches!(refused(&data, Reading::Head), CalibrateError::NoTrace { .. }));
    assert!(matches!(refused(&few, Reading::Fitted), CalibrateError::ReadoutsOfTokens));
}
