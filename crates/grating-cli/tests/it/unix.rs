//! Pipes, signals, and paths that are no text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{TEXTS, golden, grating};

/// What takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(args: &[&OsStr]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grating"));
    command.args(args).env("HF_HUB_OFFLINE", "1").stdin(Stdio::null());
    command
}

/// Waits for the end, or kills what hangs and fails.
fn ended(mut child: Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn strs<'a>(args: &[&'a str]) -> Vec<&'a OsStr> {
    args.iter().map(|arg| OsStr::new(*arg)).collect()
}

/// The reader of a pipe that has seen enough is no failure, whatever is printed.
#[test]
fn closed_pipes_are_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts");
    std::fs::write(&texts, TEXTS).unwrap();
    let model = golden("bert-gelu-f32");
    let (texts, model) = (texts.to_str().unwrap(), model.to_str().unwrap());
    let rerank = ["rerank", "-q", "window", "-m", model, texts];
    let out = folder.path().join("out");
    // Some of its rows are whole blocks.
    let blocks = golden("bert-gelu-new-bf16");
    let blocks = blocks.to_str().unwrap();
    let quantize = ["quantize", blocks, "--format", "q8_0", "--out", out.to_str().unwrap()];
    for args in [
        &["inspect", model][..],
        &["plan", "-m", model],
        &rerank,
        &["doctor", "-m", "default", "--help"],
        &quantize,
    ] {
        for json in [&[][..], &["--json"]] {
            _ = std::fs::remove_dir_all(&out);
            let (reader, stdout) = std::io::pipe().unwrap();
            drop(reader);
            let args = strs(&[args, json].concat());
            let mut command = command(&args);
            let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
            assert!(error.is_empty(), "{args:?}: {error}");
        }
    }
    // Nor is one that wants no statistics.
    let (reader, stderr) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = command(&strs(&[&rerank[..], &["--stats", "--explain"]].concat()));
    let status = command.stdout(Stdio::null()).stderr(stderr).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

fn hidden_folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let hidden = |path: &PathBuf| path.file_name().unwrap().as_bytes().starts_with(b".grating");
    entries.filter(hidden).collect()
}

/// Starts a quantization and sends a signal once it writes. Whether it had not ended before.
fn interrupted(parent: &Path, signal: &str) -> (ExitStatus, bool) {
    let out = parent.join("out");
    let args = [OsStr::new("quantize"), "--format".as_ref(), "q4_k".as_ref(), "-o".as_ref()];
    let mut command = command(&[&args[..], &[out.as_os_str()]].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while hidden_folders(parent).is_empty() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).stderr(Stdio::null()).status().unwrap();
    let status = ended(child);
    let whole = out.exists();
    _ = std::fs::remove_dir_all(out);
    (status, sent.success() && !whole)
}

#[test]
fn an_interrupted_quantization_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let mut caught = 0;
    for signal in ["-INT", "-TERM", "-HUP"] {
        let (status, early) = interrupted(parent.path(), signal);
        if early {
            caught += 1;
            assert_eq!(status.code(), Some(130), "{signal}");
        }
        assert!(hidden_folders(parent.path()).is_empty(), "{signal}");
    }
    assert!(caught > 0, "every run was over before its signal");
}

#[test]
fn what_a_killed_quantization_left_is_removed_by_the_next() {
    let parent = tempfile::tempdir().unwrap();
    let mut left = 0;
    for _ in 0..5 {
        interrupted(parent.path(), "-KILL");
        left = left.max(hidden_folders(parent.path()).len());
        assert!(left <= 1, "the run before was not tidied up after");
    }
    assert_eq!(left, 1, "a killed run cannot tidy up itself");
    let model = golden("bert-gelu-f32");
    let out = parent.path().join("small");
    let args = ["quantize", model.to_str().unwrap(), "--format", "q8_0", "-o"];
    assert!(grating(&[&args[..], &[out.to_str().unwrap()]].concat(), b"").status.success());
    assert!(hidden_folders(parent.path()).is_empty());
}

fn pipe_at(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Nobody writes into these pipes: who opens one waits forever.
#[test]
fn pipes_in_place_of_files_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    pipe_at(&pipe);
    let pipe = pipe.to_str().unwrap();
    let texts = folder.path().join("texts");
    std::fs::write(&texts, TEXTS).unwrap();
    let texts = texts.to_str().unwrap();
    let queries = folder.path().join("queries");
    std::fs::write(&queries, "{\"query\":\"a\",\"texts\":[\"b\",\"c\"]}\n").unwrap();
    let queries = queries.to_str().unwrap();
    let out = folder.path().join("out");
    let calibrate = ["--top-k", "1", "--target-agreement", "0.5", "--out", out.to_str().unwrap()];
    let mut runs: Vec<Vec<&str>> = vec![
        vec!["rerank", "-q", "x", pipe],
        vec!["rerank", "-q", "x", "--profile", pipe, texts],
        vec!["rerank", "-q", "x", "-m", pipe, texts],
        [&["calibrate", "--data", pipe][..], &calibrate].concat(),
        [&["calibrate", "--data", queries, "--traces", pipe][..], &calibrate].concat(),
    ];
    let copies: Vec<tempfile::TempDir> =
        ["config.json", "tokenizer.json", "grating.json", "grating-profile.json"]
            .iter()
            .map(|name| {
                let copy = tempfile::tempdir().unwrap();
                for entry in std::fs::read_dir(golden("llama-f32")).unwrap() {
                    let from = entry.unwrap().path();
                    std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
                }
                _ = std::fs::remove_file(copy.path().join(name));
                pipe_at(&copy.path().join(name));
                copy
            })
            .collect();
    for copy in &copies {
        runs.push(vec!["inspect", copy.path().to_str().unwrap()]);
        runs.push(vec!["doctor", "-m", copy.path().to_str().unwrap()]);
    }
    for args in runs {
        let mut command = command(&strs(&args));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(ended(child).code(), Some(1), "{args:?}");
    }
    let policy = ["rerank", "-q", "x", "--policy", pipe, texts];
    let child = command(&strs(&policy)).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(ended(child).code(), Some(2));
}

/// As `<(command)` in a shell.
#[test]
fn an_open_descriptor_is_read_as_a_stream() {
    let model = golden("bert-gelu-f32");
    for path in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let args = ["rerank", "-q", "window", "-m", model.to_str().unwrap(), path];
        let output = grating(&args, TEXTS);
        let lines = String::from_utf8(output.stdout).unwrap().lines().count();
        assert_eq!(lines, 3, "{path}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn paths_need_not_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let model = path(b"mod\xffel");
    if std::fs::create_dir(&model).is_err() {
        return; // This file system has only text.
    }
    for entry in std::fs::read_dir(golden("bert-gelu-f32")).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, model.join(from.file_name().unwrap())).unwrap();
    }
    let (texts, out, queries) = (path(b"te\xffxts"), path(b"o\xffut"), path(b"quer\xffies"));
    let (traces, profile) = (path(b"tra\xffces"), path(b"pro\xfffile"));
    std::fs::write(&texts, TEXTS).unwrap();
    let line = |q: usize| {
        format!("{{\"query\":\"window {q}\",\"texts\":[\"a {q}\",\"b {q}\",\"c {q}\"]}}\n")
    };
    std::fs::write(&queries, (0..12).map(line).collect::<String>()).unwrap();
    let succeeds = |args: &[&OsStr]| {
        let output = command(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {error}");
    };
    let o = OsStr::new;
    succeeds(&[o("inspect"), model.as_ref()]);
    succeeds(&[o("plan"), o("-m"), model.as_ref(), o("--json")]);
    succeeds(&[o("quantize"), model.as_ref(), o("--format"), o("q8_0"), o("-o"), out.as_ref()]);
    succeeds(&[o("rerank"), o("-q"), o("x"), o("-m"), out.as_ref(), texts.as_ref()]);
    let calibrate = [o("calibrate"), o("-m"), model.as_ref(), o("--data"), queries.as_ref()];
    let files = [o("--traces"), traces.as_ref(), o("--out"), profile.as_ref()];
    let rest = ["--top-k", "1", "--target-agreement", "0.3", "--confidence", "0.5"].map(OsStr::new);
    succeeds(&[&calibrate[..], &files, &rest].concat());
    let rerank = [o("rerank"), o("-q"), o("x"), o("-k"), o("1"), o("-m"), model.as_ref()];
    succeeds(&[&rerank[..], &[o("--profile"), profile.as_ref(), texts.as_ref()]].concat());
}

/// Nobody ends this pipe: what is read counts for the deadline.
#[test]
fn waiting_for_texts_ends_with_the_deadline() {
    let model = golden("bert-gelu-f32");
    let args = ["rerank", "-q", "x", "-m", model.to_str().unwrap(), "--deadline", "300ms"];
    for path in [&[][..], &["-"], &["/dev/stdin"]] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, TEXTS).unwrap();
        let mut command = command(&strs(&[&args[..], path].concat()));
        let child = command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = child.spawn().unwrap().wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{path:?}: {error}");
        assert_eq!(
            error,
            "grating: the request was not done within 300ms; allow it more time, or ask for less at a time\n"
        );
        drop(writer);
    }
    // What comes in time is read as ever.
    let args = [&args[..5], &["--deadline", "10m"]].concat();
    assert_eq!(String::from_utf8(grating(&args, TEXTS).stdout).unwrap().lines().count(), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_without_room_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts");
    std::fs::write(&texts, TEXTS).unwrap();
    let model = golden("bert-gelu-f32");
    let (texts, model) = (texts.to_str().unwrap(), model.to_str().unwrap());
    let out = folder.path().join("out");
    for args in [
        &["inspect", model][..],
        &["plan", "-m", model],
        &["rerank", "-q", "window", "-m", model, texts],
        &["doctor", model],
        &["quantize", model, "--format", "q8_0", "--out", out.to_str().unwrap()],
    ] {
        for json in [&[][..], &["--json"]] {
            _ = std::fs::remove_dir_all(&out);
            let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
            let mut command = command(&strs(&[args, json].concat()));
            let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
            let words = ["the output cannot be written: No space left on device"];
            assert!(words.iter().all(|word| error.contains(word)), "{args:?}: {error}");
        }
    }
}

#[test]
fn an_argument_that_is_no_text_is_named() {
    let value = OsStr::from_bytes(b"--window=\xff");
    let args = [OsStr::new("rerank"), "-q".as_ref(), "x".as_ref(), value];
    let output = command(&args).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--window=\u{fffd}") && error.contains("not UTF-8"), "{error}");
}
