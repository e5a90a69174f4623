//! Profiles that are watched: put out of use where their promise breaks or the traffic changes, and proved anew.

use std::path::Path;

use grating::prune::online::{Monitor, MonitorOptions, MonitorStatus, Signals};
use grating::{Policy, Profile, Pruning, PruningNotice, PruningNotices, Reranker, Selection};
use serde_json::Value;

use crate::learning::request_of as request;

/// The default model's own.
fn shipped() -> Vec<Profile> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default/grating-profile.json");
    let profiles: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let read = |profile: &Value| Profile::from_json("shipped", profile.to_string().as_bytes());
    profiles.iter().map(|profile| read(profile).unwrap()).collect()
}

/// The one for K = 1, which does not know what the requests of its sample looked like.
fn of_one() -> Profile {
    let mut profile = shipped().into_iter().find(|profile| profile.k == 1).unwrap();
    (profile.signals, profile.kinds) = (Vec::new(), Vec::new());
    profile
}

fn is_full(selection: &Selection) -> bool {
    let stats = &selection.stats;
    stats.candidate_layers == (stats.distinct_candidates * stats.layers) as u64
}

#[test]
fn a_profile_whose_audits_show_its_promise_broken_is_put_out_of_use() {
    let mut profile = of_one();
    // Whoever is ahead after the first layer.
    profile.policy = Some(Policy::paper(0.0));
    let reranker = Reranker::builder().profile(profile).build().unwrap();
    let mut notices = PruningNotices::default();
    let mut told: Option<(usize, PruningNotice)> = None;
    for number in 0..100 {
        let selection = reranker.run(request(number, 12)).unwrap();
        let in_use = selection.stats.monitor.unwrap().in_use;
        if let Some(notice) = notices.of(&selection.stats) {
            assert!(told.is_none() && !in_use, "{notice:?}");
            told = Some((number, notice));
        } else if told.is_some() {
            // Nothing is pruned any more, and every request says what pruning would have done.
            assert!(!in_use && is_full(&selection));
            assert!(selection.stats.audit.is_some());
            let exact = reranker.run(request(number, 12).pruning(Pruning::Off)).unwrap();
            assert_eq!(exact.results, selection.results);
            assert!(exact.stats.monitor.is_none());
        }
    }
    let (noticed, notice) = told.unwrap();
    assert!(noticed < 40 && !notice.pruning, "{noticed}: {notice:?}");
    assert!(notice.message.contains("audits agree with the full model less"), "{notice:?}");
    let status = reranker.monitored();
    assert_eq!((status.len(), status[0].k, status[0].in_use), (1, 1, false));
    assert_eq!((status[0].alarms, status[0].suspicions, status[0].returns), (1, 0, 0));
    assert!(status[0].agreement.unwrap() < 0.8, "{status:?}");
}

#[test]
fn a_profile_that_keeps_its_promise_stays_in_use() {
    let reranker = Reranker::builder().profile(of_one()).build().unwrap();
    // Numbers in no order, so that requests grow no longer.
    let requests = (0..200).map(|n| request(n * 77 % 200, 12));
    let full = requests.filter_map(|request| reranker.run(request).ok()).filter(is_full).count();
    let status = reranker.monitored();
    let of_one = status.iter().find(|status| status.k == 1).unwrap();
    assert_eq!((of_one.in_use, of_one.suspicions, of_one.alarms), (true, 0, 0));
    // 20 of the first 100, 20 times ln 2 of the next.
    assert_eq!((of_one.requests, of_one.full, full), (200, 33, 33));
}

#[test]
fn another_kind_of_requests_puts_a_profile_to_a_test() {
    let reranker = Reranker::builder().profile(of_one()).build().unwrap();
    let run = |number, texts| reranker.run(request(number, texts)).unwrap();
    (0..80).for_each(|number| _ = run(number, 12));
    let in_use = |selection: &Selection| selection.stats.monitor.unwrap().in_use;
    let noticed = (0..40).find(|&number| !in_use(&run(number, 30)));
    assert!(noticed.is_some(), "{:?}", reranker.monitored());
    assert!(is_full(&run(40, 30)));
    // The promise is kept there, too, which some 70 to 100 requests without a loss prove.
    let back = (0..200).find(|&number| in_use(&run(number, 30)));
    assert!(back.is_some_and(|requests| requests > 50), "{back:?}");
    let pruned = (0..10).filter(|&number| !is_full(&run(number, 30))).count();
    assert!(pruned >= 7, "{pruned}");
    let status = reranker.monitored();
    let of_one = status.iter().find(|status| status.k == 1).unwrap();
    assert_eq!((of_one.alarms, of_one.suspicions, of_one.returns), (0, 1, 1));
}

#[test]
fn profiles_that_ship_know_what_the_requests_of_their_sample_looked_like() {
    let profiles = shipped();
    assert_eq!(profiles.iter().map(|profile| profile.k).collect::<Vec<_>>(), [1, 5, 10, 20]);
    for profile in profiles {
        let (k, policy) = (profile.k, profile.policy.clone().unwrap());
        assert!(profile.kinds.len() >= 4 && profile.kinds.iter().all(|&kind| kind >= 35), "{k}");
        assert_eq!(profile.kinds.iter().sum::<usize>(), profile.signals.len());
        let options = MonitorOptions::new(profile.promise);
        let mut signals = profile.signals.iter().copied();
        let kinds: Vec<Vec<Signals>> =
            profile.kinds.iter().map(|&kind| signals.by_ref().take(kind).collect()).collect();
        let monitor = || {
            let monitor = Monitor::new(policy.clone(), k, options).unwrap();
            monitor.with_kinds(kinds.iter().cloned())
        };
        for kind in &kinds {
            // Requests of each of the kinds go on undisturbed, in the order in which they stand.
            let mut alike = monitor();
            kind.iter().for_each(|signals| alike.observe_pruned(signals));
            assert!(alike.in_use(), "K = {k}: {:?}", alike.status());
        }
        // A pool of 2000 texts that nothing is decided of is like none.
        let mut unlike = monitor();
        let strange = Signals::new(2000, 6, [(2000, 0.5); 6]);
        let noticed = (1..=40).find(|_| {
            unlike.observe_pruned(&strange);
            !unlike.in_use()
        });
        assert!(noticed.is_some(), "K = {k}");
    }
}

/// Out of the box: the first requests prune, those that are like none of the sample's are suspected and computed, and the profile comes
/// back once it is proved on them.
#[test]
fn the_default_model_suspects_requests_that_are_like_none_of_its_sample() {
    let reranker = Reranker::builder().build().unwrap();
    let run = |number: usize| reranker.run(request(number * 77 % 200, 12)).unwrap();
    assert!(!is_full(&run(0)));
    let suspected = (1..40).find(|&number| !run(number).stats.monitor.unwrap().in_use).unwrap();
    assert!(suspected < 20, "{suspected}");
    let of_one = |status: &MonitorStatus| status.k == 1;
    let status = reranker.monitored().into_iter().find(of_one).unwrap();
    assert_eq!((status.suspicions, status.alarms), (1, 0));
    let back = (0..200).find(|&number| run(number).stats.monitor.unwrap().in_use);
    assert!(back.is_some_and(|requests| requests > 50), "{back:?}");
    // Every request was for one text, so nothing is known of the others.
    assert!(reranker.monitored().iter().all(|status| of_one(status) || status.requests == 0));
}
