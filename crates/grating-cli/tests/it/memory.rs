//! The promise of the budget, kept by whole processes: their largest resident set, not a counter of ours.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{golden, grating};

/// What a process may take on top of its budget: threads that were counted before they ran, and pages of code that only
/// some inputs need. Documented in `docs/streaming.md`.
const OVERHEAD: u64 = 8 << 20;

const MIB: u64 = 1 << 20;

fn texts(count: usize) -> Vec<u8> {
    let words = ["window", "river", "layer", "the", "glass", "slides", "of", "a", "weights"];
    let text = |i: usize| {
        let words: Vec<_> = (0..40 + i * 7 % 80).map(|j| words[(i * j + j * j) % 9]).collect();
        format!("{i} {}\n", words.join(" "))
    };
    (0..count).map(text).collect::<String>().into_bytes()
}

/// Runs within the budget; the process's peak and the plan's total, bytes. `None` if the budget was refused.
fn run(model: &[&str], budget: u64, input: &[u8], options: &[&str]) -> Option<(u64, Value)> {
    let budget = format!("{budget}");
    let args = [
        &["rerank", "-q", "which window slides", "-k", "3", "--json"][..],
        &["--memory-budget", &budget],
        model,
        options,
    ]
    .concat();
    let output = grating(&args, input);
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert!(error.contains("need at least"), "{error}");
        return None;
    }
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stats = json["stats"].clone();
    Some((stats["peak_rss_bytes"].as_u64().unwrap(), stats))
}

#[test]
fn a_process_stays_within_its_budget() {
    let qwen = golden("qwen3-tied-f32");
    let qwen = ["--model", qwen.to_str().unwrap()];
    let mut kept = 0;
    for (model, budgets) in [(&[][..], [70, 90, 120, 200]), (&qwen[..], [32, 40, 60, 100])] {
        for (candidates, options) in
            [(10, &[][..]), (100, &[][..]), (100, &["--spill", "always", "--chunk-tokens", "700"])]
        {
            for budget in budgets {
                let Some((peak, stats)) = run(model, budget * MIB, &texts(candidates), options)
                else {
                    continue;
                };
                assert!(
                    peak <= budget * MIB + OVERHEAD,
                    "{model:?}, {candidates} candidates {options:?}: peak {} of {budget} MiB: {stats:#}",
                    peak >> 20
                );
                kept += 1;
            }
        }
    }
    assert!(kept >= 16, "most budgets are enough, {kept} were");
}

#[test]
fn the_minimum_that_an_error_names_is_enough_and_is_kept() {
    let input = texts(60);
    let refused = grating(&["rerank", "-q", "window", "--memory-budget", "5MiB"], &input);
    let error = String::from_utf8(refused.stderr).unwrap();
    let bytes = error.split_once('(').unwrap().1.split_once(" bytes").unwrap().0;
    // Another process may have a few pages more when it plans.
    let budget = bytes.parse::<u64>().unwrap() + MIB;
    let (peak, _) = run(&[], budget, &input, &[]).expect("the error says that this will do");
    assert!(peak <= budget + OVERHEAD, "peak {peak} of {budget}");
}

/// Ranks within a budget; the exit code, what was said, and the largest resident set that was seen, bytes.
fn watched(args: &[&str], budget: u64) -> (Option<i32>, String, u64) {
    let budget = budget.to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_grating"))
        .args(["rerank", "-k", "1", "--memory-budget", &budget])
        .args(args)
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let seen = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = seen.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(seen.unwrap_or(0) * 1024);
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap(), peak)
}

#[test]
fn very_many_tiny_items_stay_within_the_budget() {
    const MANY: usize = 2_000_000;
    let folder = tempfile::tempdir().unwrap();
    let model = golden("bert-gelu-f32");
    let file = |name: &str, content: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_string()
    };
    let one = file("one", "a\n".into());
    let number = |n: usize| format!("\"f{n}\":{n}");
    let fields: Vec<String> = (0..MANY / 2).map(number).collect();
    let distinct: String = (0..MANY / 3).map(|n| format!("{n}\n")).collect();
    for (name, content, options, refused) in [
        ("empty lines", "\n".repeat(2 * MANY), &["-q", "a"][..], true),
        ("letters", "a\n".repeat(2 * MANY), &["-q", "a"], true),
        ("an array", format!("[{}\"a\"]", "\"a\",".repeat(2 * MANY)), &["-q", "a"], true),
        (
            "a request body",
            format!("{{\"texts\":[{}\"a\"]}}", "\"a\",".repeat(2 * MANY)),
            &["-q", "a"],
            true,
        ),
        ("ids", "{\"id\":1,\"text\":\"a\"}\n".repeat(MANY), &["-q", "a"], true),
        ("lines that fit", format!("a{}", "\n".repeat(MANY / 4)), &["-q", "a"], false),
        ("distinct", distinct, &["-q", "a"], true),
        (
            "fields",
            format!("{{\"text\":\"a\",{}}}", fields.join(",")),
            &["-q", "a", "--json"],
            true,
        ),
        ("other fields", format!("{{\"text\":\"a\",{}}}", fields.join(",")), &["-q", "a"], false),
        (
            "an ignored list",
            format!("{{\"text\":\"a\",\"n\":[{}1]}}", "1,".repeat(MANY)),
            &["-q", "a"],
            false,
        ),
        ("queries", "a\n".repeat(3 * MANY), &[], true),
        ("a long line", "word ".repeat(2 * MANY), &["-q", "a"], true),
        ("a line that is escaped", format!("a{}", "\t".repeat(11 << 20)), &["-q", "a"], false),
    ] {
        let path = file("input", content);
        let mut args = vec!["-m", model.to_str().unwrap()];
        args.extend(options);
        if name == "queries" {
            args.extend(["--queries", &path, &one]);
        } else {
            args.push(&path);
        }
        // The small model takes 15 to 20 MiB.
        let budget = 40 * MIB;
        let (code, said, peak) = watched(&args, budget);
        assert!(peak <= budget + OVERHEAD, "{name}: peak {} MiB: {said}", peak / MIB);
        assert_eq!(code, Some(i32::from(refused)), "{name}: {said}");
        if refused {
            let words = ["a budget of 40.0 MiB is too small", "raise the budget"];
            assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
        }
    }
}

/// Requests that are ahead of the one that runs are not planned for with it.
#[test]
fn many_queries_about_a_large_pool_stay_within_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let (pool, queries) = (folder.path().join("pool"), folder.path().join("queries"));
    let model = golden("bert-gelu-f32");
    std::fs::write(&pool, texts(6000)).unwrap();
    std::fs::write(&queries, "window\nriver\nglass\nlayer\n").unwrap();
    let args = ["-m", model.to_str().unwrap(), "--max-length", "40", "--queries"];
    let files = [queries.to_str().unwrap(), pool.to_str().unwrap()];
    let budget = 40 * MIB;
    let (code, said, peak) = watched(&[&args[..], &files].concat(), budget);
    assert_eq!(code, Some(0), "{said}");
    assert!(peak <= budget + OVERHEAD, "peak {} MiB", peak / MIB);
}
