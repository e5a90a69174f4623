//! What is stored comes back the same, and is checked when it comes back.

use grating_prune::{
    Calibration, ClusterRule, Dispersion, Gap, Grid, Mode, Policy, Procedure, ScoreScale,
    ScoreTrace, Sweep, Target, Test, calibrate,
};

use crate::support::Numbers;

fn there_and_back<T>(value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn policies() {
    let policy = Policy::paper(0.1 + 0.2)
        .with_scale(ScoreScale::Odds, Dispersion::Spread)
        .with_clusters(ClusterRule::Silhouette { min: 2, max: 5 })
        .with_gap(Gap::Deviations(0.5))
        .with_mode(Mode::Rank);
    let layers =
        Policy::paper(0.0).with_gap(Gap::Layers(vec![0.1 + 0.2, 1.5_f64.next_up()].into()));
    for policy in [policy, layers, Policy::never()] {
        assert_eq!(there_and_back(&policy), policy);
    }
    let text = serde_json::to_string(&Policy::paper(0.5)).unwrap();
    assert!(text.contains(r#""clusters":{"fixed":3},"gap":"edge""#), "{text}");
}

#[test]
fn traces() {
    let trace = Numbers(1).trace(3, 5);
    assert_eq!(there_and_back(&trace), trace);
    let short = r#"{"layers":2,"candidates":2,"scores":[0,0,0]}"#;
    let error = serde_json::from_str::<ScoreTrace>(short).unwrap_err();
    assert!(error.to_string().contains("needs 4 scores, not 3"), "{error}");
}

#[test]
fn calibrations() {
    let mut numbers = Numbers(2);
    let traces: Vec<_> = (0..80).map(|_| numbers.trace(8, 12)).collect();
    let family = Grid::paper(Mode::Select).family().unwrap();
    let sweep = Sweep::run(&family, &traces, 3).unwrap();
    let target = Target { agreement: 0.8, confidence: 0.9 };
    let calibration: Calibration =
        calibrate(&sweep, target, Procedure::FixedSequence, Test::for_k(3)).unwrap();
    assert!(calibration.chosen.is_some());
    assert_eq!(there_and_back(&calibration), calibration);
}
