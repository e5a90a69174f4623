//! Calibration end to end: the choice, the refusal, and the promise itself.

use grating_prune::{
    Calibration, Gap, Grid, Mode, Policy, PolicyFamily, PolicyRun, Procedure, PruneError,
    ScoreTrace, Sweep, Target, Test, TokenPolicy, calibrate, calibrate::TraceBeside,
    calibrate::learned, replay,
};

use crate::support::Numbers;

fn traces(seed: u64, count: usize, layers: usize, candidates: usize) -> Vec<ScoreTrace> {
    let mut numbers = Numbers(seed);
    (0..count).map(|_| numbers.trace(layers, candidates)).collect()
}

const TARGET: Target = Target { agreement: 0.9, confidence: 0.9 };

#[test]
fn the_cheapest_certified_policy_is_chosen() {
    let traces = traces(1, 200, 12, 20);
    let family = Grid::paper(Mode::Select).family().unwrap();
    let sweep = Sweep::run(&family, &traces, 5).unwrap();
    let result = calibrate(&sweep, TARGET, Procedure::FixedSequence, Test::for_k(5)).unwrap();
    let chosen = result.chosen.expect("careful policies agree with the full model");
    assert!(result.nearest_miss.is_none());
    assert!(chosen.p_value <= chosen.level && chosen.lower_bound >= 0.9 - 1e-9);
    assert!(chosen.agreement >= chosen.lower_bound && chosen.cost < 1.0);
    assert_eq!((result.policies, result.test_queries, result.k), (15, 200, 5));
    assert!(result.certified >= 1);
    // Certified are the first of the chain; none of those is cheaper.
    for run in &sweep.runs()[..result.certified] {
        let cost =
            run.candidate_layers.iter().sum::<u64>() as f64 / run.full.iter().sum::<u64>() as f64;
        assert!(chosen.cost <= cost);
    }
}

#[test]
fn the_frontier_is_undominated_and_complete() {
    let traces = traces(2, 60, 12, 20);
    let sweep =
        Sweep::run(&Grid::standard(12, Mode::Select).family().unwrap(), &traces, 5).unwrap();
    let frontier = sweep.frontier();
    assert!(frontier.len() > 3);
    assert!(frontier.windows(2).all(|w| w[0].cost > w[1].cost && w[0].agreement > w[1].agreement));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for run in sweep.runs() {
        let cost =
            run.candidate_layers.iter().sum::<u64>() as f64 / run.full.iter().sum::<u64>() as f64;
        let agreement = mean(&run.agreement);
        assert!(
            frontier.iter().any(|p| p.cost <= cost && p.agreement >= agreement),
            "{:?} is beyond the frontier",
            run.policy
        );
    }
}

#[test]
fn too_few_queries_certify_nothing_and_say_how_many_would() {
    let traces = traces(3, 20, 12, 20);
    let family = PolicyFamily::new(vec![vec![Policy::never()]]).unwrap();
    let sweep = Sweep::run(&family, &traces, 5).unwrap();
    let target = Target { agreement: 0.98, confidence: 0.95 };
    for (test, fewest) in [(Test::ClopperPearson, 149..150), (Test::Betting, 150..200)] {
        let result = calibrate(&sweep, target, Procedure::Bonferroni, test).unwrap();
        assert!(result.chosen.is_none() && result.certified == 0);
        assert!(fewest.contains(&result.fewest_queries.unwrap()), "{:?}", result.fewest_queries);
        let miss = result.nearest_miss.unwrap();
        assert_eq!(miss.agreement, 1.0);
        assert!(miss.lower_bound < 0.98 && miss.p_value > 0.05);
        assert_eq!(miss.queries_needed.unwrap() / 20, fewest.start.div_ceil(20));
    }
}

/// Gaps that cover every query's need misjudge nobody; and they are not wider than that takes.
#[test]
fn learned_gaps_that_cover_all_queries_are_exact() {
    for k in [1, 3, 10] {
        let traces = traces(6, 60, 8, 12);
        let family = learned(&traces, k, Mode::Select).unwrap();
        let careful: Vec<&Policy> = family.chains().iter().map(|chain| &chain[0]).collect();
        let runs: Vec<PolicyRun> =
            careful.iter().map(|policy| PolicyRun::measure(policy, &traces, k).unwrap()).collect();
        // Factors fall along the chains; 2.8, 2, 1.4, 1.2 and 1 cover.
        assert!(runs[..5].iter().all(|run| run.agreement.iter().all(|&overlap| overlap == 1.0)));
        let work = |run: &PolicyRun| run.candidate_layers.iter().sum::<u64>();
        assert!(runs.windows(2).all(|pair| work(&pair[0]) >= work(&pair[1])));
        assert!(work(&runs[4]) < runs[4].full.iter().sum());
        assert!(
            runs[8].agreement.iter().any(|&overlap| overlap < 1.0),
            "half the need is too little"
        );
    }
}

/// A model with another number of layers is refused before anything runs.
#[test]
fn gaps_of_another_model_are_refused() {
    let policy = Policy::paper(0.0).with_gap(Gap::Layers(vec![1.0; 7].into()));
    assert!(replay(&policy, &traces(7, 1, 8, 12)[0], 3).is_ok());
    let refused = replay(&policy, &traces(7, 1, 6, 12)[0], 3);
    assert_eq!(refused, Err(PruneError::GapLayers { expected: 5, found: 7 }));
}

/// Pairs of a token policy and a candidate policy are one family: what a pair selects is held against the full model, and a
/// layer that half of the tokens enter costs half.
#[test]
fn pairs_with_token_policies_are_certified_against_the_full_model() {
    let full = traces(21, 200, 8, 16);
    // The full scores, but for every tenth query, of which the tokens that left turn the order round.
    let scores = |query: usize, trace: &ScoreTrace| -> Vec<f32> {
        let sign = if query % 10 == 9 { -1.0 } else { 1.0 };
        (0..8)
            .flat_map(|layer| trace.layer(layer).iter().map(|s| sign * s).collect::<Vec<_>>())
            .collect()
    };
    let left: Vec<ScoreTrace> = full
        .iter()
        .enumerate()
        .map(|(query, trace)| ScoreTrace::from_vec(8, 16, scores(query, trace)).unwrap())
        .collect();
    let shares = [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5];
    let beside: Vec<TraceBeside<'_>> = full
        .iter()
        .zip(&left)
        .map(|(full, trace)| TraceBeside { trace, full, shares: &shares })
        .collect();
    let family = PolicyFamily::new(vec![vec![Policy::never()]]).unwrap();
    let tokens = TokenPolicy::grating();
    let run = PolicyRun::beside(&Policy::never(), &tokens, &beside, 4).unwrap();
    let agrees = |query: usize| run.agreement[query] == 1.0;
    assert!((0..200).all(|query| agrees(query) == (query % 10 != 9)));
    assert_eq!((run.candidate_layers[0], run.full[0]), (16 * 5, 16 * 8));
    let pairs = Sweep::from_runs(&family, vec![run], 4).unwrap();
    let whole = Sweep::run(&family, &full, 4).unwrap();
    let joined = Sweep::joined(vec![whole.clone(), pairs]).unwrap();
    let at = |agreement| {
        let target = Target { agreement, ..TARGET };
        let found = calibrate(&joined, target, Procedure::FixedSequence, Test::for_k(4)).unwrap();
        (found.policies, found.chosen.unwrap().tokens)
    };
    // Nine of ten queries agree: enough for 0.8, too few for 0.97.
    assert_eq!((at(0.8), at(0.97)), ((2, Some(tokens)), (2, None)));
    assert_eq!(joined.frontier().len(), 2);
    let fewer = Sweep::run(&family, &full[..9], 4).unwrap();
    let uneven = PruneError::UnevenSweep { policy: 1, expected: 200, found: 9 };
    assert_eq!(Sweep::joined(vec![whole, fewer]), Err(uneven));
    assert_eq!(Sweep::joined(vec![]), Err(PruneError::NoPolicies));
}

#[test]
fn hopeless_policies_are_a_miss_without_remedy() {
    let family = PolicyFamily::new(vec![vec![Policy::paper(0.0)]]).unwrap();
    let run = PolicyRun::new(Policy::paper(0.0), vec![0.5; 100], vec![1; 100], vec![10; 100]);
    let sweep = Sweep::from_runs(&family, vec![run], 2).unwrap();
    let result = calibrate(&sweep, TARGET, Procedure::FixedSequence, Test::for_k(2)).unwrap();
    assert_eq!(result.nearest_miss.unwrap().queries_needed, None);
}

#[test]
fn refusals() {
    let traces = traces(4, 10, 3, 6);
    let family = Grid::paper(Mode::Select).family().unwrap();
    assert_eq!(Sweep::run(&family, &[], 3), Err(PruneError::NoQueries));
    assert_eq!(Sweep::run(&family, &traces, 0), Err(PruneError::ZeroK));
    let sweep = Sweep::run(&family, &traces, 3).unwrap();
    let tried = |target, procedure| calibrate(&sweep, target, procedure, Test::Betting).err();
    for explore in [0, 10, 11] {
        let split = tried(TARGET, Procedure::Split { explore });
        assert_eq!(split, Some(PruneError::InvalidSplit { explore, queries: 10 }));
    }
    for target in [Target { agreement: 1.0, ..TARGET }, Target { confidence: 0.0, ..TARGET }] {
        let error = tried(target, Procedure::Bonferroni).unwrap();
        assert!(matches!(error, PruneError::InvalidProbability { .. }));
    }
    let mut runs = sweep.runs().to_vec();
    runs.swap(2, 3);
    let swapped = Sweep::from_runs(&family, runs, 3);
    assert_eq!(swapped, Err(PruneError::UnevenSweep { policy: 2, expected: 10, found: 0 }));
}

/// Runs of the policies on queries drawn from a population of them.
fn drawn(
    population: &Sweep,
    family: &PolicyFamily,
    queries: usize,
    numbers: &mut Numbers,
) -> Sweep {
    let sample: Vec<usize> = (0..queries).map(|_| numbers.below(population.queries())).collect();
    let runs = population.runs().iter().map(|run| {
        PolicyRun::new(
            run.policy.clone(),
            sample.iter().map(|&q| run.agreement[q]).collect(),
            sample.iter().map(|&q| run.candidate_layers[q]).collect(),
            sample.iter().map(|&q| run.full[q]).collect(),
        )
    });
    Sweep::from_runs(family, runs.collect(), population.k()).unwrap()
}

/// How often a policy is chosen, and how often the chosen one's true mean is below the target.
fn promises(
    population: &Sweep,
    family: &PolicyFamily,
    procedure: Procedure,
    repetitions: usize,
) -> (usize, usize) {
    let mut numbers = Numbers(17);
    let (mut chosen, mut broken) = (0, 0);
    for _ in 0..repetitions {
        let sweep = drawn(population, family, 160, &mut numbers);
        let result: Calibration =
            calibrate(&sweep, TARGET, procedure, Test::for_k(population.k())).unwrap();
        let Some(tested) = result.chosen else { continue };
        chosen += 1;
        let run = population.runs().iter().find(|run| run.policy == tested.policy).unwrap();
        let truth = run.agreement.iter().sum::<f64>() / run.agreement.len() as f64;
        broken += usize::from(truth < TARGET.agreement);
    }
    (chosen, broken)
}

const PROCEDURES: [Procedure; 3] =
    [Procedure::Bonferroni, Procedure::FixedSequence, Procedure::Split { explore: 60 }];

/// The promise: broken in at most 10 % of calibrations (confidence 0.9), whatever the procedure.
#[test]
fn the_promise_is_kept() {
    let traces = traces(6, 1500, 8, 16);
    let family = Grid::paper(Mode::Select).family().unwrap();
    for k in [1, 4] {
        let population = Sweep::run(&family, &traces, k).unwrap();
        for procedure in PROCEDURES {
            let (chosen, broken) = promises(&population, &family, procedure, 200);
            // 10 % of 200 is 20, with a standard deviation of 4.2; four of those are allowed for.
            assert!(broken <= 37, "k {k} {procedure:?}: {broken} broken of {chosen}");
            assert!(chosen > 100, "k {k} {procedure:?}: only {chosen} chosen");
        }
    }
}

/// The trap that it guards against: 60 policies, all a little below the target, the best-looking of which
/// looks good. The sample mean falls for it nearly always.
#[test]
fn the_winner_of_many_is_not_believed() {
    let mut numbers = Numbers(9);
    let policies: Vec<Policy> = (0..60).map(|i| Policy::paper(f64::from(60 - i))).collect();
    let family = PolicyFamily::new(vec![policies.clone()]).unwrap();
    let runs = policies.iter().enumerate().map(|(i, policy)| {
        PolicyRun::new(
            policy.clone(),
            (0..3000).map(|_| f64::from(numbers.uniform() < 0.89)).collect(),
            vec![100 - i as u64; 3000],
            vec![100; 3000],
        )
    });
    let population = Sweep::from_runs(&family, runs.collect(), 1).unwrap();
    let truth = |run: &PolicyRun| run.agreement.iter().sum::<f64>() / 3000.0;
    let (good, bad): (Vec<_>, Vec<_>) =
        population.runs().iter().partition(|run| truth(run) >= TARGET.agreement);
    assert!(bad.len() > 50, "{} policies happen to keep the promise", good.len());
    let mut fooled = 0;
    for seed in 0..50 {
        let sample = drawn(&population, &family, 160, &mut Numbers(seed));
        let seems = |run: &&PolicyRun| run.agreement.iter().sum::<f64>() / 160.0 >= 0.9;
        let cheapest = sample.runs().iter().rfind(seems);
        let is_bad = |run: &PolicyRun| bad.iter().any(|b| b.policy == run.policy);
        fooled += usize::from(cheapest.is_some_and(is_bad));
    }
    assert!(fooled > 35, "the sample mean was fooled {fooled} times of 50");
    for procedure in PROCEDURES {
        let (_, broken) = promises(&population, &family, procedure, 200);
        assert!(broken <= 37, "{procedure:?}: {broken} broken of 200");
    }
}
