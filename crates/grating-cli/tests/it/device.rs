//! What computes: where there is no CUDA driver it is said, and plans are made for devices that are not there.

use super::*;

const TEXTS: &[u8] = b"two layers of weights slide\nthe cat sat\nglass\n";

/// Whether this machine has a CUDA driver: then what is said of its lack cannot be tried.
fn has_driver() -> bool {
    let model = golden("bert-gelu-f32");
    let report = grating(&["doctor", model.to_str().unwrap(), "--json"], b"").stdout;
    let report: Value = serde_json::from_slice(&report).unwrap();
    !report["devices"].as_str().unwrap().contains("no CUDA driver found")
}

#[test]
fn a_machine_without_a_driver_says_so_and_computes_on_the_processor() {
    if has_driver() {
        return;
    }
    let model = golden("bert-gelu-f32");
    let rerank = |device: &str| {
        let args = ["rerank", "-m", model.to_str().unwrap(), "--json", "--no-prune"];
        grating(&[&args[..], &["-q", "a window", "--device", device]].concat(), TEXTS)
    };
    let refused = rerank("cuda");
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("no CUDA driver found") && error.contains("install"), "{error}");
    let scores = |device: &str| -> Vec<Value> {
        let output = rerank(device);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer: Value = serde_json::from_slice(&output.stdout).expect(&error);
        let results = answer["results"].as_array().unwrap();
        results.iter().map(|result| result["logit"].clone()).collect()
    };
    assert_eq!(scores("auto"), scores("cpu"));
    let said = |device: &str| String::from_utf8(rerank(device).stderr).unwrap();
    assert!(said("auto").contains("the processor computes"), "{}", said("auto"));
    assert!(!said("cpu").contains("the processor computes"), "{}", said("cpu"));
    assert_eq!(scores("cpu").len(), 3);
}

#[test]
#[cfg(not(target_os = "macos"))]
fn metal_is_of_macos_alone() {
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap(), "-q", "a", "--device", "metal"];
    fails(&args, TEXTS, 1, &["Metal is of macOS alone", "compute on the CPU"]);
}

#[test]
fn devices_have_names() {
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap(), "-q", "a", "--device", "gpu"];
    fails(&args, TEXTS, 2, &["unknown device", "cuda:N"]);
}

#[test]
fn plans_are_made_for_devices_that_are_not_there() {
    let model = golden("qwen3-tied-f32");
    let plan = |more: &[&str]| {
        let args = ["plan", "-m", model.to_str().unwrap(), "-n", "50", "--tokens", "100"];
        grating(&[&args[..], more].concat(), b"")
    };
    let figures = ["--device-memory", "8GiB", "--link", "12GB/s", "--flops", "40T"];
    let text = plan(&figures);
    assert!(text.status.success());
    let (out, error) =
        (String::from_utf8(text.stdout).unwrap(), String::from_utf8(text.stderr).unwrap());
    for word in ["device memory", "host to device", "budget", "predicted"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert!(error.contains("nothing was measured"), "{error}");
    let json: Value =
        serde_json::from_slice(&plan(&[&figures[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!(json["memories"][1]["budget"], 8_u64 << 30);
    assert_eq!(json["links"][1]["bytes_per_second"], 12e9);
    // A device that holds the model streams nothing, a small one does.
    assert_eq!(json["slots"], serde_json::json!([]));
    let small: Vec<&str> = ["--device-memory", "900KiB", "--json"].to_vec();
    let small = plan(&small);
    let small: Value = serde_json::from_slice(&small.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&small.stderr)));
    assert_ne!(small["slots"], serde_json::json!([]));
    let refused = plan(&["--device-memory", "10KiB"]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && error.contains("device memory"), "{error}");
    let alone = plan(&["--link", "12GB/s"]);
    assert_eq!(alone.status.code(), Some(2));
}

#[test]
fn plans_for_devices_that_are_not_there_keep_to_the_other_options() {
    let model = golden("qwen3-tied-f32");
    let plan = |more: &[&str]| {
        let args = ["plan", "-m", model.to_str().unwrap(), "--device-memory", "8GiB"];
        grating(&[&args[..], more].concat(), b"")
    };
    let json = |more: &[&str]| -> Value {
        serde_json::from_slice(&plan(&[more, &["--json"]].concat()).stdout).unwrap()
    };
    // A driver is not looked for.
    let (plain, named) = (json(&[]), json(&["--device", "cuda"]));
    assert_eq!(plain["links"], named["links"]);
    assert_eq!(plain["memories"][1], named["memories"][1]);
    let within = json(&["--device", "cuda", "--device-memory-budget", "900KiB"]);
    assert_eq!(within["memories"][1]["budget"], 900 << 10);
    assert_ne!(within["slots"], serde_json::json!([]));
    let long = String::from_utf8(plan(&["--tokens", "100000"]).stderr).unwrap();
    assert!(long.contains("texts of 100000 tokens are cut at"), "{long}");
    let metal = plan(&["--device", "metal"]);
    let error = String::from_utf8(metal.stderr).unwrap();
    assert!(!metal.status.success() && error.contains("leave out --device metal"), "{error}");
}

#[test]
fn a_budget_for_a_memory_that_no_device_has_is_said_to_be_idle() {
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-m", model.to_str().unwrap(), "-q", "a window", "--no-prune"];
    let said = |more: &[&str]| {
        let output = grating(&[&args[..], more].concat(), TEXTS);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let with = said(&["--device-memory-budget", "1GiB"]);
    assert!(with.contains("device memory budget has no effect"), "{with}");
    assert!(!said(&[]).contains("device memory budget"));
}
