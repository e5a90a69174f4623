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
    assert_eq!(typed(&[]).wanted_tables().len(), 9);
    assert!(typed(&["report", "--check"]).command.is_some());
}

#[test]
fn a_quick_run_measures_tables_and_goes_on_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let set = root.path().join("small");
    write_small_set(&set);
    let out = root.path().join("out");
    let binary = program("grating-cli", "grating");
    let traces = program("grating-examples", "traces");
    let words = [
        "micro",
        "precision",
        "chunks",
        "--quick",
        "--runs",
        "1",
        "--pool",
        "4",
        "--tokens",
        "48",
        "--data",
        set.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--grating",
        binary.to_str().unwrap(),
        "--traces",
        traces.to_str().unwrap(),
    ];
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
    let precision = read(&out, "precision");
    assert_eq!(
        (precision.rows[0].value("queries"), precision.rows[0].value("overlap")),
        (Some(2.0), Some(1.0))
    );
    assert!(precision.rows[0].value("precision").unwrap() > 0.0);
    assert!(std::fs::read_to_string(out.join("micro.md")).unwrap().contains("| default |"));

    // A second run finds every cell and writes the same tables.
    let cells = || std::fs::read_dir(out.join("cells")).unwrap().count();
    let before = cells();
    run(typed(&words)).unwrap();
    assert_eq!((cells(), read(&out, "micro")), (before, micro));
}
