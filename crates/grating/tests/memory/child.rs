//! What the child processes do: this test binary again, told by environment variables.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use grating::{
    Error, Long, Passages, PlanError, Policy, Pruning, Request, Reranker, RerankerBuilder,
};

use crate::MIB;

/// A task for a process of its own.
#[derive(Clone, Copy)]
pub(crate) struct Child<'a> {
    pub(crate) task: &'a str,
    /// A folder, or `default`.
    pub(crate) model: &'a Path,
    pub(crate) budget: u64,
    pub(crate) texts: usize,
    pub(crate) callers: usize,
}

/// What the process wrote.
pub(crate) struct Found {
    pub(crate) text: String,
}

impl Child<'_> {
    pub(crate) fn run(&self) -> Found {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child::task", "--nocapture", "--test-threads", "1"])
            .env("TASK", self.task)
            .env("MODEL", self.model)
            .env("BUDGET", self.budget.to_string())
            .env("TEXTS", self.texts.to_string())
            .env("CALLERS", self.callers.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        Found { text }
    }
}

impl Found {
    /// The number that was written under this name.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let line = self.text.lines().find_map(|line| line.strip_prefix(&format!("found {name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {}", self.text)).parse().unwrap()
    }
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn task() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let number = |name: &str| variable(name).parse::<u64>().unwrap();
    let (budget, texts, callers) =
        (number("BUDGET"), number("TEXTS") as usize, number("CALLERS") as usize);
    let builder = || {
        let builder = Reranker::builder().threads(2).memory_budget(budget);
        match variable("MODEL").as_str() {
            "default" => builder,
            folder => builder.model(folder),
        }
    };
    println!();
    match variable("TASK").as_str() {
        "serve" => serve(builder(), texts, callers),
        "several" => several(builder, texts, callers),
        "once" => once(builder(), texts),
        "passages" => passages(builder(), texts),
        "least" => least(builder, texts, callers),
        other => panic!("{other}"),
    }
    println!("found peak {}", peak());
}

/// VmHWM, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn text(seed: usize, words: usize) -> String {
    const WORDS: [&str; 9] =
        ["window", "river", "layer", "the", "glass", "slides", "of", "a", "weights"];
    let words = (0..words).map(|i| WORDS[(seed * 31 + i * i + i) % 9]);
    words.chain([seed.to_string().as_str()]).collect::<Vec<_>>().join(" ")
}

/// Requests of all sizes, pruned and not.
fn serve(builder: RerankerBuilder, requests: usize, callers: usize) {
    let reranker = builder.build().unwrap();
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let (reranker, answered) = (&reranker, &answered);
            scope.spawn(move || {
                for request in (caller..requests).step_by(callers) {
                    let words = [3, 30, 100, 300][request / 3 % 4];
                    let texts = [1, 5, 20, 60, 200][request % 5].min(1200 / words);
                    let texts: Vec<String> = (0..texts)
                        .map(|i| text(request * 1000 + i, 1 + (i * 7 + request) % words))
                        .collect();
                    let mut asked = Request::new("which window slides", &texts, 10);
                    if request % 2 == 0 {
                        asked = asked.pruning(Pruning::By(Policy::paper(0.05)));
                    }
                    reranker.run(asked).unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!("found answered {}", answered.into_inner());
}

/// Rerankers with the same budget, used in turn twice and then all at once.
fn several(builder: impl Fn() -> RerankerBuilder, texts: usize, count: usize) {
    let rerankers: Vec<Reranker> = (0..count).map(|_| builder().build().unwrap()).collect();
    let texts: Vec<String> = (0..texts).map(|i| text(i, 60)).collect();
    let answer = |reranker: &Reranker| {
        let selection = reranker.rerank("which window slides", &texts, 10).unwrap();
        selection.results.iter().map(|r| (r.index, r.raw_score.0.to_bits())).collect::<Vec<_>>()
    };
    let mut answers: Vec<_> = (0..2).flat_map(|_| rerankers.iter().map(answer)).collect();
    std::thread::scope(|scope| {
        let asked: Vec<_> = rerankers.iter().map(|r| scope.spawn(|| answer(r))).collect();
        answers.extend(asked.into_iter().map(|asked| asked.join().unwrap()));
    });
    println!("found answered {}", answers.len());
    println!("found different {}", answers.iter().filter(|a| **a != answers[0]).count());
}

/// A text of 10 MiB and others of some hundred words in passages; all of the long one's where so many may be.
fn passages(builder: RerankerBuilder, texts: usize) {
    let reranker = builder.build().unwrap();
    let mut pool: Vec<String> = (0..texts).map(|i| text(i, 300 + i * 40)).collect();
    pool.push("the window of glass slides over a river. ".repeat(10 * (MIB as usize) / 41));
    let passages = Passages::default().overlap(10);
    let run = |passages: Passages| {
        let request = Request::new("which window slides", &pool, 3).long(Long::Passages(passages));
        reranker.run(request)
    };
    let selection = run(passages).unwrap();
    println!("found answered {}", selection.results.len());
    println!("found long {}", selection.passages(texts).len());
    let more = run(passages.tokens(8).max_passages(usize::MAX));
    match more {
        Ok(_) => println!("found refused 0"),
        Err(Error::TextsOverBudget { .. } | Error::Plan(PlanError::BudgetTooSmall { .. })) => {
            println!("found refused 1")
        }
        Err(other) => panic!("{other}"),
    }
}

/// The least that a process with so many rerankers is told to need.
fn least(builder: impl Fn() -> RerankerBuilder, texts: usize, count: usize) {
    let rerankers: Vec<Reranker> = (0..count).map(|_| builder().build().unwrap()).collect();
    let texts: Vec<String> = (0..texts).map(|i| text(i, 60)).collect();
    match rerankers[0].rerank("which window slides", &texts, 3).map(|_| ()) {
        Err(Error::Plan(PlanError::BudgetTooSmall { minimum, .. })) => {
            println!("found least {minimum}")
        }
        other => panic!("{other:?}"),
    }
}

/// One request; where the budget is refused, the least that would do.
fn once(builder: RerankerBuilder, texts: usize) {
    let texts: Vec<String> = (0..texts).map(|i| text(i, 40 + i * 7 % 60)).collect();
    match builder.build().unwrap().rerank("which window slides", &texts, 3) {
        Ok(_) => println!("found answered 1"),
        Err(Error::Plan(PlanError::BudgetTooSmall { minimum, budget, .. })) => {
            assert!(minimum > budget && minimum < 2000 * MIB);
            println!("found answered 0\nfound least {minimum}");
        }
        Err(other) => panic!("{other}"),
    }
}
