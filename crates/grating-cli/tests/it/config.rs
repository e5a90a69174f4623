//! Options from a file.

use std::path::Path;

use serde_json::Value;

use crate::{TEXTS, golden, grating_with};

/// Standard output, standard error and exit code with a file of options.
fn run(config: &Path, args: &[&str], variables: &[(&str, &str)]) -> (String, String, i32) {
    let config = ("GRATING_CONFIG", config.to_str().unwrap());
    let output = grating_with(args, TEXTS, &[&[config], variables].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

/// A folder with a file of options that says `text`.
fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("options.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn rerank(config: &Path, more: &[&str]) -> Value {
    let (out, error, code) =
        run(config, &[&["rerank", "-q", "window", "--json"], more].concat(), &[]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

fn results(answer: &Value) -> usize {
    answer["results"].as_array().unwrap().len()
}

#[test]
fn options_of_the_file_hold_where_the_command_line_says_nothing() {
    let model = golden("bert-gelu-f32");
    let text = format!(
        "model = {model:?}\ntop-k = 2\nraw-scores = true\nthreads = 1\n[rerank]\ntop-k = 1\nthreshold = 0.25\n[plan]\ncandidates = 7\n"
    );
    let (_folder, config) = file(&text);
    let answer = rerank(&config, &[]);
    assert_eq!(results(&answer), 1, "the command's own table comes before what is for all");
    assert_ne!(answer["model"], "default");
    assert_eq!(results(&rerank(&config, &["-k", "3"])), 3, "the command line comes first");
    assert_eq!(results(&rerank(&config, &["--top-k=3"])), 3);
    // `threshold` excludes it, and is left out.
    let policy = r#"{"threshold":0.4,"dispersion":"variation","scale":"probability","clusters":{"fixed":3},"gap":"edge","first_layer":0,"stride":1,"mode":"select"}"#;
    assert_eq!(results(&rerank(&config, &["--policy", policy])), 1);

    let (plan, error, code) = run(&config, &["plan", "--json"], &[]);
    assert_eq!((error.as_str(), code), ("", 0), "{plan}");
    let plan: Value = serde_json::from_str(&plan).unwrap();
    // Seven texts as long as the model's limit.
    assert!(plan["reasons"].to_string().contains(&format!("\"tokens\":{}", 7 * 160)), "{plan}");

    // By name in place of the variable.
    let named = ["rerank", "-q", "window", "--json", "--config", config.to_str().unwrap()];
    let other = Path::new(if cfg!(windows) { "NUL" } else { "/dev/null" });
    let (out, error, code) = run(other, &named, &[]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(results(&serde_json::from_str(&out).unwrap()), 1);
}

#[test]
#[cfg(unix)]
fn a_file_at_its_usual_place_is_read() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("grating");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), "top-k = 1\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_grating"));
    command.args(["rerank", "-q", "window", "../../examples/passages.txt"]);
    command.env_remove("GRATING_CONFIG").env("XDG_CONFIG_HOME", home.path());
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}

#[test]
fn what_is_no_option_or_no_value_of_one_is_named() {
    for (text, words) in [
        ("top-q = 1", &["`top-q` is no option of any command"][..]),
        ("[rerank]\nbind = \"0.0.0.0:80\"", &["`bind` is no option of `grating rerank`"]),
        ("[doctor]\njson = true", &["`[doctor]` is no command that takes options"]),
        ("top-k = 0", &["--top-k"]),
        ("top-k = true", &["`top-k` is boolean, expected text or a number"]),
        ("raw-scores = 1", &["`raw-scores` is integer, expected true or false"]),
        ("memory-budget = \"lots\"", &["lots", "--memory-budget"]),
        ("config = \"other.toml\"", &["`config` is no option of any command"]),
        ("top-k = 1\ntop-k = 2", &["duplicate key"]),
        ("top-k", &["line 1"]),
    ] {
        let (_folder, config) = file(text);
        let (out, error, code) = run(&config, &["rerank", "-q", "window"], &[]);
        assert_eq!(code, 2, "{text}: {error}");
        assert!(out.is_empty());
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        assert!(error.contains("options.toml"), "{text}: {error}");
    }
    let (_, error, code) = run(Path::new("./nowhere.toml"), &["rerank", "-q", "window"], &[]);
    assert_eq!(code, 2);
    assert!(error.contains("./nowhere.toml"), "{error}");
}

#[test]
#[cfg(feature = "serve")]
fn the_environment_of_a_server_comes_before_the_file() {
    let (_folder, config) = file("[serve]\nbind = \"256.0.0.1:1\"\n");
    // The file's address would be refused.
    let variables = [("GRATING_BIND", "127.0.0.1:0"), ("GRATING_MODEL", "./nowhere-at-all")];
    let (_, error, code) = run(&config, &["serve"], &[]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("--bind") && error.contains("options.toml"), "{error}");
    let (_, error, code) = run(&config, &["serve", "--api-key-file", "./no-key"], &variables);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("./no-key"), "{error}");
}

#[test]
fn several_layers_are_a_list() {
    let model = golden("gemma2-lightweight-f32");
    let text = format!("model = {model:?}\ncompress-ratio = 4\ncompress-layers = [2, 5]\n");
    let (_folder, config) = file(&text);
    let (_empty, none) = file("");
    let model = ["-m", model.to_str().unwrap(), "--compress-ratio", "4"];
    let told = [&model[..], &["--compress-layers", "2,5"]].concat();
    let once = [&model[..], &["--compress-layers", "2"]].concat();
    let scores = |config: &Path, more: &[&str]| rerank(config, more)["results"].clone();
    assert_eq!(scores(&config, &[]), scores(&none, &told));
    assert_ne!(scores(&config, &[]), scores(&none, &once));
    assert_eq!(scores(&config, &["--compress-layers", "2"]), scores(&none, &once));
}

/// What becomes of long texts has one value more for `rerank` than for `calibrate`.
#[test]
fn a_value_at_the_top_that_only_other_commands_take_is_left_out_and_told() {
    let (_folder, config) = file("long = \"passages\"\npassage-tokens = 40\n");
    let calibrate = ["calibrate", "--data", "/no/such", "-k", "2", "--target-agreement", "0.9"];
    let calibrate = [&calibrate[..], &["--out", "x.json"]].concat();
    let (_, error, code) = run(&config, &calibrate, &[]);
    // It came as far as the sample.
    assert_eq!(code, 1, "{error}");
    for word in ["/no/such", "left out", "`grating calibrate` takes truncate or prune"] {
        assert!(error.contains(word), "{error}");
    }
    let (_, error, _) = run(&config, &[&calibrate[..], &["--long", "truncate"]].concat(), &[]);
    assert!(!error.contains("left out"), "{error}");
    assert!(rerank(&config, &[])["stats"]["passages"].is_u64());
    for text in ["[calibrate]\nlong = \"passages\"\n", "long = \"whole\"\n"] {
        let (_folder, config) = file(text);
        let (_, error, code) = run(&config, &calibrate, &[]);
        assert_eq!(code, 2, "{text}: {error}");
        assert!(error.contains("--long"), "{text}: {error}");
    }
}
