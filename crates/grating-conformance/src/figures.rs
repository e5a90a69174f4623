//! How long pools take on a device with a memory of its own: measured on a card, and tried on an emulated device.

use std::path::Path;
use std::time::Duration;

use grating_backend::Ops;
use grating_engine::{Engine, EngineOptions, Job, JobOutput};
use grating_model::{Encoding, LoadedModel};
use grating_prune::{Mode, Policy};
use grating_sched::Memory;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::golden::load;

/// Candidates that are selected.
const SELECTED: usize = 10;
/// What the link to the device is taken for before the first request, bytes per second.
const LINK: f64 = 12e9;
/// Words of a text in 100 that say how relevant it is, as texts of planted checkpoints have them.
const MARKERS_IN_100: usize = 25;
/// Words that a text is about.
const TOPIC_WORDS: usize = 64;

/// A pool, and how it is run.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Texts.
    pub count: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Most bytes of the device's memory.
    pub budget: u64,
    /// Whether candidates are dropped on their way.
    pub pruned: bool,
    /// Whether the host keeps what the device has no room for; if not, that is read from the disk each time.
    pub kept_by_host: bool,
}

/// The least of three requests after the first, as JSON: times in milliseconds, bytes in MiB. `used` says how many bytes of
/// the device's memory are in use, as its driver counts them; what was used before `backend` was made is `before`.
///
/// # Panics
/// Where a request fails.
pub fn figure<B: Ops>(
    folder: &Path,
    pool: Pool,
    backend: B,
    (used, before): (&dyn Fn() -> u64, u64),
) -> Value {
    let (LoadedModel { model, encoder, .. }, checkpoint) = load(folder, Some(pool.tokens), false);
    let texts: Vec<Encoding> = match Planted::read(folder) {
        None => {
            let vocab = model.config().vocab;
            (0..pool.count).map(|text| random(text, pool.tokens, vocab)).collect()
        }
        Some(planted) => {
            let query = encoder.encode_query("which texts say it", None).unwrap();
            let text = |rank| planted.text(rank, pool);
            (0..pool.count).map(|rank| encoder.encode(&query, &text(rank)).unwrap()).collect()
        }
    };
    let mut options = EngineOptions::new(std::env::temp_dir());
    let memory = Memory::new("device memory").with_budget(pool.budget);
    options.machine = options.machine.with_device(memory, LINK);
    options.machine.host.budget = pool.kept_by_host.then_some(1 << 40);
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let engine = Engine::start(name.clone(), model, checkpoint, backend, options).unwrap();
    let mut most = 0;
    let mut ask = || {
        let mut job = Job::new(texts.clone(), SELECTED.min(pool.count));
        job.policy = pool.pruned.then(|| Policy::paper(0.0).with_mode(Mode::Select));
        engine.select(job, |_| most = used().max(most)).unwrap()
    };
    let first = ask();
    let outputs = [(); 3].map(|()| ask());
    let best = outputs.into_iter().min_by_key(|output| output.costs.total).unwrap();
    told(&name, pool, (&first, &best), most.saturating_sub(before))
}

fn told(name: &str, pool: Pool, (first, best): (&JobOutput, &JobOutput), most: u64) -> Value {
    let milliseconds = |time: Duration| (time.as_secs_f64() * 1e5).round() / 1e2;
    let mebibytes = |bytes: u64| (bytes as f64 / f64::from(1 << 20) * 1e3).round() / 1e3;
    let (costs, layout) = (&best.costs, &best.plan.layout);
    let [disk, link, ..] = &best.links[..] else { panic!("two links: {:?}", best.links) };
    let layers: usize = best.decided.iter().map(|layer| layer + 1).sum();
    json!({
        "model": name,
        "pool": format!("{}x{}", pool.count, pool.tokens),
        "pruned": pool.pruned,
        "budget_mib": mebibytes(pool.budget),
        "first_ms": milliseconds(first.costs.total),
        "ms": milliseconds(costs.total),
        "embed_ms": milliseconds(costs.embed),
        "copied_mib": mebibytes(link.bytes),
        "copy_ms": milliseconds(link.busy),
        "copy_waited_ms": milliseconds(link.waited),
        "read_mib": mebibytes(disk.bytes),
        "read_ms": milliseconds(disk.busy),
        "read_waited_ms": milliseconds(disk.waited),
        "layers_kept": layout.weights.pinned_layers,
        "layers_in_host": layout.staging.as_ref().map_or(0, |staging| staging.pinned_layers),
        // Of all layers of all candidates.
        "computed": (100.0 * layers as f64 / (best.plan.layers * pool.count) as f64).round() / 100.0,
        "allocated_mib": mebibytes(best.memory.device_most.unwrap_or(0)),
        "driver_mib": mebibytes(most),
    })
}

/// A text of any ids.
fn random(text: usize, tokens: usize, vocab: usize) -> Encoding {
    let first = vocab / 50;
    let ids = (0..tokens).map(|i| (first + (text * 7919 + i * i) % (vocab - first)) as u32);
    let ids = ids.collect();
    Encoding { ids, ..Encoding::default() }
}

/// What a planted checkpoint (`cargo xtask models planted`) says of its words.
#[derive(Deserialize)]
struct Planted {
    plus: Vec<String>,
    minus: Vec<String>,
    neutral: Vec<String>,
}

impl Planted {
    fn read(folder: &Path) -> Option<Self> {
        let json = std::fs::read(folder.join("planted.json")).ok()?;
        Some(serde_json::from_slice(&json).unwrap())
    }

    /// The text of this rank among those of the pool, in words of one token each: with the template more than it has tokens, and
    /// cut at that. Relevance falls evenly from the first to the last.
    fn text(&self, rank: usize, pool: Pool) -> String {
        let Planted { plus, minus, neutral } = self;
        let positive = MARKERS_IN_100 * (pool.count - rank) / pool.count;
        let word = |at: usize| match at * 37 % 100 {
            of if of < positive => &plus[at % plus.len()],
            of if of < MARKERS_IN_100 => &minus[at % minus.len()],
            _ => &neutral[(rank * TOPIC_WORDS + at * 29 % TOPIC_WORDS) % neutral.len()],
        };
        let words: Vec<&str> = (0..pool.tokens).map(|at| word(at).as_str()).collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_falls_from_text_to_text_and_lengths_are_those_of_the_pool() {
        let words = |sign: &str, count| (0..count).map(|word| format!("{sign}{word}")).collect();
        let planted =
            Planted { plus: words("+", 16), minus: words("-", 16), neutral: words("n", 700) };
        let pool = Pool { count: 20, tokens: 400, budget: 0, pruned: true, kept_by_host: true };
        let mut last = usize::MAX;
        for rank in 0..pool.count {
            let text = planted.text(rank, pool);
            let of = |sign: &str| text.split(' ').filter(|word| word.starts_with(sign)).count();
            assert_eq!((of("+") + of("-"), of("n")), (100, 300), "{text}");
            assert!(of("+") < last, "rank {rank}: {} after {last}", of("+"));
            last = of("+");
        }
        assert!(last < 10, "{last}");
    }
}
