//! A whole quick run on the built-in model, with the binary of this build.

use clap::Parser;

use super::args::TableName;
use super::data::tests::write_small_set;
use super::table::Table;
use super::*;

/// The command line as a user types it.
#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    args: BenchArgs,
}

fn typed(words: &[&str]) -> BenchArgs {
    Typed::parse_from([&["bench"], words].concat()).args
}

fn read(folder: &std::path::Path, table: &str) -> Table {
    let text = std::fs::read_to_string(folder.join(format!("{table}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A program of this build: where `cargo test --workspace` put it, or built now.
fn program(package: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(std::path::Path::parent).unwrap();
    let found = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if found.exists() { found } else { binary::build(package, name, &[]).unwrap() }
}

#[test]
fn the_progress_bar_can_be_drawn() {
    progress().finish_and_clear();
}

#[test]
fn arguments_are_shown_as_one_types_them() {
    let args = typed(&["micro", "chunks", "--quick", "--model", "default", "--runs", "3"]);
    assert_eq!(args.wanted_tables(), [TableName::Micro, TableName::Chunks]);
    assert_eq!(args.shown(), "cargo xtask bench micro chunks --model default --quick --runs 3");
    assert_eq!(typed(&[]).wanted_tables().len(), 10);
    assert!(typed(&["report", "--check"]).command.is_some());
}

#[test]
fn a_quick_run_measures_tables_and_goes_on_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let set = root.path().join("small");
    write_small_set(&set);
    let out = root.path().join("out");
    let binary = program("grating-cli", "grating");
    let examples = ["traces", "rag", "agent_memory", "long_context"];
    let examples = examples.map(|name| program("grating-examples", name));
    let paths = [&set, &out, &binary, examples[0].parent().unwrap()].map(|p| p.to_str().unwrap());
    let [set, out_words, binary, programs] = paths;
    let words = [
        &["--quick", "--runs", "1", "--pool", "4", "--tokens", "48", "--data", set][..],
        &["--out", out_words, "--grating", binary, "--programs", programs],
    ];
    let words = words.concat();
    run(typed(&words)).unwrap();

    let micro = read(&out, "micro");
    assert!(micro.quick && micro.command.contains("--quick"));
    let full = &micro.rows[0];
    assert_eq!((full.words("model"), full.value("pool")), (Some("default"), Some(4.0)));
    assert!(full.value("request").unwrap() > 0.0);
    assert!(full.value("process").unwrap() >= full.value("request").unwrap());
    assert!(full.value("peak").unwrap() > 1e7, "a process with a model takes more");
    // Every row is a measurement or says why it is none.
    for row in &micro.rows {
        assert!(row.value("request").is_some() || row.words("note").is_some(), "{row:?}");
    }
    // Every table is there, with a drawing.
    for name in tables::names() {
        let table = read(&out, &name);
        assert!(!table.rows.is_empty(), "{name}");
        let drawn = std::fs::read_dir(&out).unwrap().any(|entry| {
            let file = entry.unwrap().file_name().into_string().unwrap();
            file.starts_with(&format!("{name}-")) && file.ends_with(".svg")
        });
        assert!(drawn, "{name} has no figure");
    }
    let programs: Vec<String> = read(&out, "applications")
        .rows
        .iter()
        .filter_map(|r| r.words("application").map(str::to_owned))
        .collect();
    assert_eq!(programs.len(), 6, "two programs, three ways to rerank: {programs:?}");
    let precision = read(&out, "precision");
    assert_eq!(
        (precision.rows[0].value("queries"), precision.rows[0].value("agreement")),
        (Some(2.0), Some(1.0))
    );
    assert!(precision.rows[0].value("precision").unwrap() > 0.0);
    assert!(std::fs::read_to_string(out.join("micro.md")).unwrap().contains("| default |"));

    // A second run finds every cell and writes the same tables.
    let cells = || std::fs::read_dir(out.join("cells")).unwrap().count();
    let before = cells();
    run(typed(&words)).unwrap();
    assert_eq!(cells(), before);
    assert!(read(&out, "micro") == micro, "the table is another");
}
