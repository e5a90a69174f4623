//! Scores keep their bits: after every layer, of every golden checkpoint and the embedded model, in every precision, on
//! every instruction set that this machine has.
//!
//! `bits.txt` was made by the commit whose softmax takes the largest score away before it scales. A line is a case, a
//! precision, an instruction set and a layer, and the scores of the pool's candidates after that layer as the hexadecimal
//! digits of their f32. Where scores are meant to change, the file that a failed run names takes its place, and the commit
//! says why.

use std::fmt::Write as _;
use std::path::Path;

use grating::{Isa, Precision, Request, Reranker, RerankerBuilder};
use serde_json::Value;

use crate::goldens;

/// Candidates of a pool: enough for more than one length and for a prefix that is shared.
const CANDIDATES: usize = 4;

/// Lines of one reranker over one pool.
fn lines(case: &str, builder: &RerankerBuilder, query: &str, texts: &[&str]) -> String {
    let mut lines = String::new();
    for precision in Precision::ALL {
        for isa in Isa::supported() {
            let builder = builder.clone().precision(precision).isa(isa).threads(2);
            let request = Request::new(query, texts, texts.len()).trace(true);
            let trace = builder.build().unwrap().run(request).unwrap().trace.unwrap();
            for (layer, scores) in trace.iter().enumerate() {
                write!(lines, "{case} {precision} {isa} {layer}").unwrap();
                scores.iter().for_each(|s| write!(lines, " {:08x}", s.to_bits()).unwrap());
                lines.push('\n');
            }
        }
    }
    lines
}

/// The lines of a golden checkpoint: its first query with the first few documents.
fn of_golden(folder: &Path) -> String {
    let json = std::fs::read(folder.join("golden.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let pairs = json["pairs"].as_array().unwrap();
    let texts: Vec<&str> =
        pairs.iter().take(CANDIDATES).map(|pair| pair["document"].as_str().unwrap()).collect();
    let builder = Reranker::builder()
        .model(folder.to_str().unwrap())
        .max_length(pairs[0]["max_tokens"].as_u64().unwrap() as usize);
    let case = folder.file_name().unwrap().to_str().unwrap();
    lines(case, &builder, pairs[0]["query"].as_str().unwrap(), &texts)
}

#[cfg(feature = "default-model")]
fn of_the_embedded_model() -> String {
    let texts = [
        "Paris is the capital of France.",
        "The cat sat on the mat, and the mat lay on the floor of a house by the river.",
        "France borders Spain.",
        "東京は日本の首都です。",
    ];
    lines("default", &Reranker::builder(), "What is the capital of France?", &texts)
}

#[cfg(not(feature = "default-model"))]
fn of_the_embedded_model() -> String {
    String::new()
}

/// Which instruction set a line is of.
fn isa_of(line: &str) -> &str {
    line.split(' ').nth(2).unwrap()
}

#[test]
fn scores_after_every_layer_keep_their_bits() {
    let mut found = of_the_embedded_model();
    goldens().iter().for_each(|folder| found += &of_golden(folder));
    let isas: Vec<String> = Isa::supported().iter().map(Isa::to_string).collect();
    let here = |line: &&str| {
        isas.iter().any(|isa| isa == isa_of(line))
            && (cfg!(feature = "default-model") || !line.starts_with("default "))
    };
    let expected: Vec<&str> = include_str!("bits.txt").lines().filter(here).collect();
    let lines: Vec<&str> = found.lines().collect();
    let changed: Vec<_> = expected.iter().filter(|line| !lines.contains(line)).take(5).collect();
    if lines != expected {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bits.txt");
        std::fs::write(&path, &found).unwrap();
        panic!("bits have changed, among them {changed:#?}\nall of this run's: {}", path.display());
    }
}
