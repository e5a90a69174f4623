//! Chunk-size calibration: the smallest chunk that costs no time.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::settings::full_streamed;
use crate::bench::table::{Chart, Row, Table, Unit};
use crate::bench::workload::made;

const COLUMNS: [(&str, &str, Unit); 9] = [
    ("model", "model", Unit::Text),
    ("pool", "candidates", Unit::Count),
    ("chunk", "candidates a chunk", Unit::Count),
    ("request", "request s", Unit::Seconds),
    ("read", "reading ms", Unit::Milliseconds),
    ("stall", "waiting for weights ms", Unit::Milliseconds),
    ("peak", "peak MiB", Unit::Mib),
    ("best", "", Unit::Text),
    ("line", "", Unit::Text),
];

const ABOUT: &str = "The full pass, streamed, with chunks of 2, 4, 8 ... candidates. Intermediate \
    tensors grow with the chunk; matrix products run at full speed only from some number of rows on. \
    Marked is the smallest chunk whose time is within 3 % of the best.";

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(bench, "chunks", "Chunk size", ABOUT).columns(&COLUMNS[..8]);
    let pool = bench.args.pools().into_iter().max().unwrap_or(20);
    let tokens = bench.args.tokens();
    for model in &bench.models {
        let work = made(model, pool, tokens, bench.args.seed);
        let sizes: Vec<usize> =
            std::iter::successors(Some(2), |n| Some(n * 2)).take_while(|n| *n <= pool).collect();
        bench.expect(sizes.len());
        let mut rows = Vec::new();
        for chunk in sizes {
            let flag = (chunk * tokens).to_string();
            let setting =
                full_streamed().with(format!("chunk {chunk}"), &["--chunk-tokens", &flag]);
            let measured =
                bench.measure(model, &setting, &work, bench.args.top_k(), bench.args.runs())?;
            if let Some(reason) = measured.reason() {
                table.note(reason);
                continue;
            }
            rows.push(
                Row::default()
                    .text("model", model.shown())
                    .text("line", model.shown())
                    .number("pool", pool as f64)
                    .number("chunk", chunk as f64)
                    .summary("request", measured.request())
                    .summary("read", measured.stat("read_ms"))
                    .summary("stall", measured.stat("stall_ms"))
                    .summary("peak", measured.peak()),
            );
        }
        table.rows.extend(marked(rows));
    }
    for (key, title) in [("request", "seconds"), ("peak", "bytes of memory at the peak")] {
        let series = table.series("line", "chunk", key);
        table.charts.push(Chart {
            name: key.into(),
            title: format!("Candidates a chunk against {title}"),
            x: "candidates a chunk".into(),
            y: title.into(),
            log_x: true,
            series,
        });
    }
    Ok(table)
}

/// Marks the first row, in order of chunk size, that is about as fast as the fastest.
fn marked(mut rows: Vec<Row>) -> Vec<Row> {
    let best = rows.iter().filter_map(|row| row.value("request")).fold(f64::INFINITY, f64::min);
    let fast = |row: &&mut Row| row.value("request").is_some_and(|time| time <= best * 1.03);
    if let Some(row) = rows.iter_mut().find(fast) {
        *row = std::mem::take(row).text("best", "smallest without cost");
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_chunk_that_is_fast_enough_is_marked() {
        let row = |time: f64| Row::default().number("request", time);
        let rows = marked([1.2, 1.02, 1.0, 1.01].map(row).to_vec());
        let marks: Vec<bool> = rows.iter().map(|row| row.words("best").is_some()).collect();
        assert_eq!(marks, [false, true, false, false]);
    }
}
