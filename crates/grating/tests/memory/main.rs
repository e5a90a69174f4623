//! The promise of the budget where one process does much: its largest resident set (VmHWM), in a process of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a failed test should panic

mod child;
mod model;

use child::Child;

/// What a process may take on top of its budget (`docs/streaming.md`).
const OVERHEAD: u64 = 8 << 20;
const MIB: u64 = 1 << 20;

#[test]
fn a_process_that_serves_many_requests_stays_within_its_budget() {
    let model = model::generated();
    for callers in [1, 16] {
        let budget = 48 * MIB;
        let child = Child { task: "serve", model: model.path(), budget, texts: 200, callers };
        let found = child.run();
        let peak = found.number("peak");
        assert!(peak <= budget + OVERHEAD, "{callers} callers: peak {} MiB", peak >> 20);
        assert_eq!(found.number("answered"), 200, "{callers} callers");
    }
}

/// So long that the tokens of all of its passages have no room: they are refused, and the usual number of them is not.
#[test]
fn passages_of_a_very_long_text_stay_within_the_budget() {
    let model = model::generated();
    let budget = 64 * MIB;
    let child = Child { task: "passages", model: model.path(), budget, texts: 5, callers: 1 };
    let found = child.run();
    let peak = found.number("peak");
    assert!(peak <= budget + OVERHEAD, "peak {} MiB", peak >> 20);
    assert_eq!((found.number("answered"), found.number("long")), (3, 64));
    assert_eq!(found.number("refused"), 1);
}

#[test]
fn rerankers_of_one_process_share_its_budget() {
    let model = model::generated();
    let budget = 100 * MIB;
    let child = Child { task: "several", model: model.path(), budget, texts: 60, callers: 4 };
    let found = child.run();
    let peak = found.number("peak");
    assert!(peak <= budget + OVERHEAD, "peak {} MiB", peak >> 20);
    // Two rounds in turn, then all at once.
    assert_eq!((found.number("answered"), found.number("different")), (12, 0));
}

/// A further reranker needs what it cannot give back: tokenizer, stem and head, and for each of its two threads a stack, a
/// piece of a text and 1 MiB of scratch. The budget that is the least for four of them is enough, and is kept.
#[test]
fn a_further_reranker_needs_little() {
    let model = model::generated();
    let child = Child { task: "least", model: model.path(), budget: MIB, texts: 60, callers: 1 };
    let (one, four) = (child.run(), Child { callers: 4, ..child }.run());
    let (one, four) = (one.number("least"), four.number("least"));
    let each = (four - one) / 3;
    assert!(each < 7 * MIB, "{} KiB", each >> 10);
    let budget = four + MIB;
    let found = Child { task: "several", budget, callers: 4, ..child }.run();
    let peak = found.number("peak");
    assert!(peak <= budget + OVERHEAD, "peak {} of {} MiB", peak >> 20, budget >> 20);
    assert_eq!(found.number("answered"), 12);
}

#[test]
fn the_least_budget_that_an_error_names_is_accepted_and_kept_in_another_process() {
    let generated = model::generated();
    let golden = |name| model::goldens().join(name);
    let models = [
        generated.path().to_path_buf(),
        golden("bert-gelu-f32"),
        golden("qwen3-tied-f32"),
        golden("xlm-roberta-f16-sharded"),
        "default".into(),
    ];
    for model in &models {
        for texts in [1, 60] {
            let child = Child { task: "once", model, budget: MIB, texts, callers: 1 };
            let budget = child.run().number("least");
            let found = Child { budget, ..child }.run();
            let what = format!("{} with {texts} texts in {budget} bytes", model.display());
            assert_eq!(found.number("answered"), 1, "{what}: {}", found.text);
            assert!(found.number("peak") <= budget + OVERHEAD, "{what}: {}", found.text);
        }
    }
}

/// The embedded model is 45 MB of the program. They are no part of what it takes to run it.
#[test]
fn the_embedded_model_is_streamed_as_any_other() {
    let child =
        Child { task: "once", model: "default".as_ref(), budget: MIB, texts: 20, callers: 1 };
    let least = child.run().number("least");
    assert!(least < 66 * MIB, "{} MiB", least >> 20);
}
