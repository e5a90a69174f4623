//! Wrong input is an error that names the place, and leaves the pruner as it was.

use grating_prune::{Policy, Pool, PruneError, Pruner, Verdicts};

fn pruner() -> Pruner {
    let policy = Policy::paper(0.3).with_first_layer(1).with_stride(2);
    Pruner::new(policy, Pool { candidates: 4, layers: 6, k: 2 }).unwrap()
}

fn observe(layer: usize, candidates: &[usize], scores: &[f32]) -> Result<Verdicts, PruneError> {
    pruner().observe(layer, candidates, scores)
}

#[test]
fn scores_that_are_no_numbers() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = observe(1, &[3, 2, 1, 0], &[0.0, bad, 0.0, 0.0]).unwrap_err();
        let PruneError::NonFiniteScore { candidate: 2, layer: 1, .. } = error else {
            panic!("{error:?}")
        };
        let message = error.to_string();
        assert!(message.contains("candidate 2") && message.contains("layer 1"), "{message}");
    }
}

#[test]
fn wrong_candidates() {
    let zeros = [0.0; 5];
    assert_eq!(
        observe(1, &[0, 1, 2], &zeros[..3]),
        Err(PruneError::MissingCandidate { candidate: 3, layer: 1 })
    );
    assert_eq!(
        observe(1, &[0, 1, 1, 3], &zeros[..4]),
        Err(PruneError::DuplicateCandidate { candidate: 1, layer: 1 })
    );
    assert_eq!(
        observe(1, &[0, 1, 2, 4], &zeros[..4]),
        Err(PruneError::UnknownCandidate { candidate: 4, layer: 1, last: 3 })
    );
    assert_eq!(
        observe(1, &[0, 1, 2, 3], &zeros),
        Err(PruneError::LengthMismatch { layer: 1, candidates: 4, scores: 5 })
    );
}

#[test]
fn decided_candidates_stay_decided() {
    let mut pruner = pruner();
    let verdicts = pruner.observe(1, &[0, 1, 2, 3], &[5.0, 0.1, 0.0, -5.0]).unwrap();
    assert_eq!((verdicts.accepted, verdicts.dropped), (vec![0], vec![3]));
    let again = pruner.observe(3, &[0, 1, 2, 3], &[5.0, 0.1, 0.0, -5.0]);
    assert_eq!(again, Err(PruneError::NotLive { candidate: 0, layer: 3 }));
}

#[test]
fn layers_out_of_order() {
    // Due are 1, 3 and 5: 0 may be given, 2 may not come before 1.
    assert!(observe(0, &[0, 1, 2, 3], &[0.0; 4]).is_ok());
    let early = observe(2, &[0, 1, 2, 3], &[0.0; 4]);
    assert_eq!(early, Err(PruneError::LayerOutOfOrder { expected: 1, found: 2 }));
    let mut pruner = pruner();
    pruner.observe(1, &[0, 1, 2, 3], &[0.0; 4]).unwrap();
    let again = pruner.observe(1, &[0, 1, 2, 3], &[0.0; 4]);
    assert_eq!(again, Err(PruneError::LayerOutOfOrder { expected: 3, found: 1 }));
    let beyond = pruner.observe(6, &[0, 1, 2, 3], &[0.0; 4]);
    assert_eq!(beyond, Err(PruneError::LayerOutOfOrder { expected: 3, found: 6 }));
}

#[test]
fn an_error_changes_nothing() {
    let mut pruner = pruner();
    pruner.observe(1, &[0, 1, 2, 3], &[0.0, f32::NAN, 1.0, 2.0]).unwrap_err();
    assert_eq!(pruner.next_due(), Some(1));
    assert_eq!(pruner.live().count(), 4);
    assert!(pruner.observe(1, &[0, 1, 2, 3], &[0.0; 4]).is_ok());
}

#[test]
fn after_the_end() {
    let mut pruner = Pruner::new(Policy::never(), Pool { candidates: 2, layers: 1, k: 1 }).unwrap();
    pruner.observe(0, &[0, 1], &[1.0, 2.0]).unwrap();
    assert_eq!(pruner.next_due(), None);
    let more = pruner.observe(1, &[], &[]);
    assert_eq!(more, Err(PruneError::AlreadyFinished { layer: 1 }));
}

#[test]
fn pools_that_make_no_sense() {
    let new = |candidates, layers, k| {
        Pruner::new(Policy::paper(0.5), Pool { candidates, layers, k }).map(|_| ())
    };
    assert_eq!(new(0, 1, 1), Err(PruneError::NoCandidates));
    assert_eq!(new(1, 0, 1), Err(PruneError::NoLayers));
    assert_eq!(new(1, 1, 0), Err(PruneError::ZeroK));
    let bad = Pruner::new(Policy::paper(-1.0), Pool { candidates: 1, layers: 1, k: 1 });
    assert!(matches!(bad, Err(PruneError::InvalidPolicy { setting: "threshold", .. })));
}
