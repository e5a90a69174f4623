//! The K best of the lines of a file.
//!
//! `cargo run --release -p grating --example select -- "What is the capital of France?" examples/passages.txt [K]`

use std::error::Error;

use grating::Reranker;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(query), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: select QUERY FILE [K]".into());
    };
    let k = arguments.next().map_or(Ok(3), |k| k.parse())?;
    let read = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let texts: Vec<&str> = read.lines().filter(|line| !line.trim().is_empty()).collect();

    // The model that is built in; `.model("bge")` or `.model("path/to/folder")` for another one.
    let reranker = Reranker::builder().build()?;
    for best in reranker.rerank(&query, &texts, k)?.results {
        println!("{:.3}  {}", best.score, texts[best.index]);
    }
    Ok(())
}
