//! What streaming costs in time: the same binary with two layers in memory and with all of them.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::measure::Measured;
use crate::bench::model::Model;
use crate::bench::settings::{Setting, full_resident, full_streamed};
use crate::bench::stats::change_percent;
use crate::bench::table::{Row, Table, Unit};
use crate::bench::workload::made;

const COLUMNS: [(&str, &str, Unit); 10] = [
    ("model", "model", Unit::Text),
    ("pool", "candidates", Unit::Count),
    ("setting", "setting", Unit::Text),
    ("request", "request s", Unit::Seconds),
    ("change", "against resident", Unit::Change),
    ("compute", "computing ms", Unit::Milliseconds),
    ("read", "reading ms", Unit::Milliseconds),
    ("stall", "waiting for weights ms", Unit::Milliseconds),
    ("peak", "peak MiB", Unit::Mib),
    ("note", "note", Unit::Text),
];

const ABOUT: &str = "Full passes with all weights in memory and with two layers of them. A resident \
    process reads its weights once, before the first layer needs them, so both rows of a pair include \
    one reading of the whole model; where computing takes longer than reading, streaming hides it.";

pub(super) fn measure(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(bench, "streaming", "Streaming", ABOUT).columns(&COLUMNS);
    for model in &bench.models {
        for pool in bench.args.pools() {
            let work = made(model, pool, bench.args.tokens(), bench.args.seed);
            let (k, runs) = (bench.args.top_k(), bench.args.runs());
            bench.expect(2);
            let mut resident = None;
            for setting in [full_resident(), full_streamed()] {
                let measured = bench.measure(model, &setting, &work, k, runs)?;
                let request = measured.request().map(|request| request.median);
                let change = request.zip(resident).map(|(own, base)| change_percent(own, base));
                table.rows.push(row(model, pool, &setting, &measured).number("change", change));
                resident = resident.or(request);
            }
        }
    }
    Ok(table)
}

fn row(model: &Model, pool: usize, setting: &Setting, measured: &Measured) -> Row {
    let row = Row::default()
        .text("model", model.shown())
        .number("pool", pool as f64)
        .text("setting", setting.name.clone())
        .summary("request", measured.request())
        .summary("compute", measured.stat("compute_ms"))
        .summary("read", measured.stat("read_ms"))
        .summary("stall", measured.stat("stall_ms"))
        .summary("peak", measured.peak());
    match measured.reason() {
        Some(reason) => row.text("note", reason),
        None => row,
    }
}
