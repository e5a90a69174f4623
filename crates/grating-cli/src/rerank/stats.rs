//! What a request cost and what pruning decided, on standard error.

use std::time::Duration;

use grating::prune::online::MonitorStatus;
use grating::{AuditTotals, LayerStats, Ledger, LinkStats, PlannedMemory, Selection, Stats};

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

pub(super) fn print_stats(stats: &Stats, audits: &AuditTotals) {
    eprintln!(
        "candidates  {} ({} distinct, {} truncated, the query beside {})",
        stats.candidates, stats.distinct_candidates, stats.truncated, stats.query_truncated
    );
    eprintln!(
        "tokens      {} in {} chunks, {} of them a shared prefix computed once",
        stats.tokens, stats.chunks, stats.prefix_tokens
    );
    if stats.in_passages > 0 {
        eprintln!("passages    {} ({} texts in several)", stats.passages, stats.in_passages);
    }
    let full = (stats.passages * stats.layers) as f64;
    eprintln!(
        "layers      {}, {:.1} % of candidate-layers computed",
        stats.layers,
        100.0 * stats.candidate_layers as f64 / full
    );
    if stats.tokens_left > 0 {
        let own = stats.funnel.first().map_or(0, |layer| layer.tokens);
        let share = 100.0 * stats.token_layers as f64 / (own * stats.layers) as f64;
        let left = stats.tokens_left;
        eprintln!(
            "tokens left {left} of {own} on their way, {share:.1} % of token-layers computed"
        );
    }
    stats.funnel.iter().for_each(print_layer);
    print_watched(stats, audits, full);
    print_times(stats);
    stats.links.iter().filter(|link| link.bytes > 0).for_each(print_link);
    eprintln!("total       {}", ms(stats.total));
    print_memory(stats);
}

/// Who watches or learns; `full` is the candidate-layers without pruning.
fn print_watched(stats: &Stats, audits: &AuditTotals, full: f64) {
    if let (Some(audit), Some(mean)) = (&stats.audit, audits.mean_agreement) {
        eprintln!(
            "audit       pruning would have kept {:.1} % of the top K with {:.1} % of candidate-layers",
            100.0 * audit.agreement,
            100.0 * audit.candidate_layers as f64 / full
        );
        eprintln!(
            "audits      {} of {} requests, mean agreement {mean:.3}",
            audits.audited, audits.requests
        );
    }
    if let Some(watched) = &stats.monitor {
        eprintln!("profile     {}", words_of(watched));
    }
    if let Some(learned) = &stats.learning {
        eprintln!("learning    {}", crate::profile::words(learned));
    }
}

/// Where the time went, but for links.
fn print_times(stats: &Stats) {
    eprintln!("threads     {}", stats.threads);
    eprintln!("tokenize    {}", ms(stats.tokenize));
    eprintln!(
        "embed       {} (row cache {} of {} rows, {} read)",
        ms(stats.embed),
        stats.row_cache_hits,
        stats.row_cache_hits + stats.row_cache_misses,
        mib(stats.row_bytes_read)
    );
    eprintln!(
        "read        {} ({}{}), {:.0} % behind computing",
        ms(stats.read),
        mib(stats.weight_bytes_read),
        if stats.direct_io { ", past the page cache" } else { "" },
        100.0 * stats.overlap
    );
    eprintln!("stall       {}", ms(stats.stall));
    eprintln!("compute     {}", ms(stats.compute));
    if stats.spill_bytes_written > 0 {
        eprintln!(
            "spill       {} written, {} read, {} waited",
            mib(stats.spill_bytes_written),
            mib(stats.spill_bytes_read),
            ms(stats.spill_wait)
        );
    }
    if let Some(error) = &stats.spill_error {
        eprintln!("spill       stayed in memory: {error}");
    }
}

/// How a profile is doing.
fn words_of(status: &MonitorStatus) -> String {
    let state = if status.in_use { "in use" } else { "out of use: everything is computed" };
    let agreement = status.agreement.map(|mean| format!(", agreement {mean:.3} on them since"));
    let changes = status.suspicions + status.alarms;
    let away = match changes {
        0 => String::new(),
        _ => format!("; put out of use {changes} times, came back {}", status.returns),
    };
    format!(
        "{state} ({} requests, {} of them in full{}{away})",
        status.requests,
        status.full,
        agreement.unwrap_or_default()
    )
}

/// What passed over a link, and how fast it is taken to be now.
fn print_link(link: &LinkStats) {
    let guess = if link.measured { "" } else { ", a guess" };
    eprintln!(
        "link        {}: {} in {}, {:.0} % behind computing, {} waited; {}/s{guess}",
        link.name,
        mib(link.bytes),
        ms(link.busy),
        100.0 * link.overlap,
        ms(link.waited),
        mib(link.bytes_per_second as u64)
    );
}

/// What was planned and used of each memory.
fn print_memory(stats: &Stats) {
    let host = &stats.memory;
    print_ledger("", &host.planned, host.budget);
    if let Some(device) = &host.device {
        print_ledger(&format!("{}: ", device.name), &device.ledger, device.budget);
    }
    if let Some(bytes) = host.device_most {
        eprintln!("device peak {}", mib(bytes));
    }
    if let Some(bytes) = stats.peak_rss_bytes {
        eprintln!("peak rss    {}", mib(bytes));
    }
}

fn print_ledger(memory: &str, ledger: &Ledger, budget: Option<u64>) {
    let uses = ledger.uses().into_iter().filter(|(_, bytes)| *bytes > 0);
    for (name, bytes) in uses.chain([("total", ledger.total())]) {
        let name = format!("{memory}{}", name.replace('_', " "));
        eprintln!("planned     {name:<16} {}", mib(bytes));
    }
    if let Some(budget) = budget {
        eprintln!("budget      {memory}{}", mib(budget));
    }
}

/// Who entered a layer, and which tokens left in it.
fn alive(layer: &LayerStats) -> String {
    let left = match layer.tokens_left {
        0 => String::new(),
        left => format!(", of which {left} left"),
    };
    format!("{} live, {} tokens{left}", layer.live, layer.tokens)
}

/// One line of the funnel, for layers after which pruning looked at the scores.
fn print_layer(layer: &LayerStats) {
    if let Some(dispersion) = layer.dispersion {
        eprintln!(
            "layer {:<5} {} live, dispersion {dispersion:.3}, {} clusters: {} accepted, {} dropped",
            layer.layer,
            layer.live,
            layer.clusters.len(),
            layer.accepted.len(),
            layer.dropped.len()
        );
    }
}

/// The funnel: who was decided after each layer, and why; with the memories and links of the run, which `--stats` has, too.
pub(super) fn explain(selection: &Selection, with_run: bool) {
    if with_run {
        for PlannedMemory { name, budget, ledger, .. } in &selection.plan.memories {
            let budget =
                budget.map_or("no budget".into(), |budget| format!("budget {}", mib(budget)));
            eprintln!("memory      {name}: {} planned, {budget}", mib(ledger.total()));
        }
        selection.stats.links.iter().filter(|link| link.bytes > 0).for_each(print_link);
    }
    let texts = |indices: &[usize]| match indices {
        [] => "nobody".to_string(),
        some => some.iter().map(usize::to_string).collect::<Vec<_>>().join(" "),
    };
    for layer in &selection.stats.funnel {
        let Some(reason) = &layer.reason else {
            eprintln!("layer {:>2}  {}", layer.layer, alive(layer));
            continue;
        };
        let dispersion = layer.dispersion.unwrap_or(f64::NAN);
        eprintln!(
            "layer {:>2}  {}, dispersion {dispersion:.3}: {reason}",
            layer.layer,
            alive(layer)
        );
        if !layer.clusters.is_empty() {
            let cluster =
                |c: &grating::prune::Cluster| format!("{} around {:.3}", c.size, c.center);
            let clusters: Vec<String> = layer.clusters.iter().map(cluster).collect();
            eprintln!("          clusters: {}", clusters.join(", "));
        }
        if !layer.accepted.is_empty() || !layer.dropped.is_empty() {
            eprintln!("          accepted: {}", texts(&layer.accepted));
            eprintln!("          dropped:  {}", texts(&layer.dropped));
            eprintln!("          deferred: {}", layer.deferred);
        }
    }
}
