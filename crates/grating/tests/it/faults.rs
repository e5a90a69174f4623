//! What a disk that fails does to requests: an error that says where, and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use grating::{
    Error, Faults, FaultyStorage, IoMode, Request, Reranker, RerankerBuilder, Selection, Spill,
    Storage, WindowSize,
};

use crate::golden;

const TEXTS: [&str; 5] =
    ["a window", "glass that slides in a frame", "the river", "weights on a disk", "Paris"];

/// A model on a disk whose faults can be changed while it runs.
struct Patient {
    reranker: Reranker,
    disk: Arc<FaultyStorage>,
    spill: tempfile::TempDir,
}

fn patient(case: &str, settings: impl Fn(RerankerBuilder) -> RerankerBuilder) -> Patient {
    let disk: Arc<Mutex<Option<Arc<FaultyStorage>>>> = Arc::default();
    let ours = Arc::clone(&disk);
    let spill = tempfile::tempdir().unwrap();
    let builder = Reranker::builder()
        .model(golden(case).to_str().unwrap())
        .spill_folder(spill.path())
        .map_storages(move |storage| {
            let faulty = Arc::new(FaultyStorage::new(storage, Faults::default()));
            *ours.lock().unwrap() = Some(Arc::clone(&faulty));
            faulty
        });
    let reranker = settings(builder).build().unwrap();
    let disk = disk.lock().unwrap().take().unwrap();
    Patient { reranker, disk, spill }
}

impl Patient {
    fn ask(&self) -> grating::Result<Selection> {
        self.reranker.rerank("which window slides", &TEXTS, TEXTS.len())
    }

    fn healthy(&self) -> Vec<(usize, u32)> {
        self.disk.set_faults(Faults::default());
        let selection = self.ask().unwrap();
        selection.results.iter().map(|r| (r.index, r.raw_score.0.to_bits())).collect()
    }
}

/// Where a tensor's bytes are in the file.
fn place_of(case: &str, tensor: &str) -> u64 {
    let checkpoint = grating_io::Checkpoint::open(golden(case)).unwrap();
    checkpoint.extent(checkpoint.tensor(tensor).unwrap()).offset
}

fn windows() -> [(&'static str, WindowSize, Spill); 3] {
    [
        ("two layers", WindowSize::Slots(2), Spill::Never),
        ("one layer, spilling", WindowSize::Slots(1), Spill::Always),
        ("three layers", WindowSize::Slots(3), Spill::Auto),
    ]
}

#[test]
fn a_fault_is_an_error_of_its_request_after_no_more_reads_and_the_next_one_is_served() {
    const CASE: &str = "qwen3-tied-f32";
    let tensor = "model.layers.1.self_attn.o_proj.weight";
    let place = place_of(CASE, tensor);
    let always = |faults: Faults| (faults, "");
    let faults = [
        always(Faults::default().with_errors(1.0)),
        always(Faults::default().with_short_reads(1.0)),
        always(Faults::default().with_panics(1.0)),
        always(Faults::default().with_truncated_at(0)),
        (Faults::default().with_bad_byte(place + 5), tensor),
    ];
    for (name, window, spill) in windows() {
        let patient = patient(CASE, |b| b.window(window).spill(spill).chunk_tokens(40));
        // The window is full before the first request, so the second one's reads are those of a whole pass.
        patient.healthy();
        let before = patient.disk.reads();
        let expected = patient.healthy();
        let reads_of_a_pass = patient.disk.reads() - before;
        for (fault, tensor) in &faults {
            patient.disk.set_faults(fault.clone());
            // What was read before the fault is still good; the request after that must meet it.
            let before = patient.disk.reads();
            let mut asked = 0;
            let error = (0..3).find_map(|_| {
                asked += 1;
                patient.ask().err()
            });
            let error = error.unwrap_or_else(|| panic!("{name}: {fault:?} went unnoticed"));
            // A fault ends the request: nothing is read again and again in the hope that it passes. Each pass may read
            // ahead for the next one.
            let reads = patient.disk.reads() - before;
            let most = (asked + 1) * reads_of_a_pass;
            assert!(reads <= most, "{name}: {reads} reads of at most {most}, {fault:?}");
            let text = error.to_string();
            assert!(text.contains("model.safetensors") && text.contains(tensor), "{text}");
            match error {
                Error::Checkpoint(_) | Error::Model { .. } => {
                    assert!(text.contains("tensor "), "{name}, {fault:?}: {text}");
                }
                // Embedding rows are read by the compute thread itself.
                Error::WorkerPanicked { .. } => assert!(fault.panics > 0.0, "{fault:?}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(std::fs::read_dir(patient.spill.path()).unwrap().count(), 0);
            assert_eq!(patient.healthy(), expected, "{name}: after {fault:?}");
        }
    }
}

#[test]
fn faults_now_and_then_never_change_a_score() {
    let patient = patient("bert-gelu-f32", |b| b.window(WindowSize::Slots(2)).io(IoMode::Cached));
    let expected = patient.healthy();
    let mut outcomes = [0, 0];
    for seed in 0..60 {
        patient.disk.set_faults(
            Faults::default()
                .with_seed(seed)
                .with_errors(0.01)
                .with_short_reads(0.006)
                .with_panics(0.004)
                .with_delay(Duration::from_micros(50 * (seed % 4))),
        );
        match patient.ask() {
            Ok(selection) => {
                outcomes[0] += 1;
                let scores = selection.results.iter().map(|r| (r.index, r.raw_score.0.to_bits()));
                assert_eq!(scores.collect::<Vec<_>>(), expected, "seed {seed}");
            }
            Err(Error::Checkpoint(_) | Error::Model { .. } | Error::WorkerPanicked { .. }) => {
                outcomes[1] += 1
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(outcomes.iter().all(|&n| n > 5), "{outcomes:?}");
    assert_eq!(patient.healthy(), expected);
}

/// A slow disk sleeps, so the times of reading have a lower bound on every machine, however busy. What was found and what
/// is predicted from it must both keep to the bound.
#[test]
fn a_slow_disk_stalls_computing_as_the_model_of_costs_says() {
    const BYTES_PER_SECOND: u64 = 6 << 20;
    const SLOTS: usize = 2;
    let slow = Faults::default().with_bytes_per_second(BYTES_PER_SECOND);
    let reranker = Reranker::builder()
        .window(WindowSize::Slots(SLOTS))
        .threads(1)
        .map_storages(move |s| Arc::new(FaultyStorage::new(s, slow.clone())));
    let reranker = reranker.build().unwrap();
    let texts: Vec<String> = (0..12).map(|i| format!("text {i} {}", "word ".repeat(30))).collect();
    // The first request teaches the planner what the machine can do.
    reranker.rerank("which window slides", &texts, 3).unwrap();
    let predicted = reranker.plan(texts.len(), 40).unwrap().prediction;
    let stats = reranker.run(Request::new("which window slides", &texts, 3)).unwrap().stats;

    // The window may have been full at the start: the other layers are read during the pass.
    let info = reranker.info();
    let least = ((info.layers - SLOTS) as u64 * info.layer_bytes) as f64 / BYTES_PER_SECOND as f64;
    let found = [stats.embed, stats.compute, stats.stall].map(|time| time.as_secs_f64());
    assert!(found.iter().sum::<f64>() >= least, "{found:?} in spite of {least} s of reading");
    assert!(stats.read.as_secs_f64() >= least, "{:?} of {least}", stats.read);
    assert!(predicted.read_seconds >= least, "{least} of {predicted:?}");
    assert!(predicted.total_seconds >= least, "{least} of {predicted:?}");
    let computing = predicted.embedding_seconds + predicted.compute_seconds;
    assert!(predicted.stall_seconds >= least - computing, "{least} of {predicted:?}");
}

#[test]
fn a_score_that_is_no_number_names_candidate_and_layer() {
    /// Weights that overflow: the last norm's are infinite.
    #[derive(Debug)]
    struct Overflowing(Arc<dyn Storage>, u64);
    impl Storage for Overflowing {
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn name(&self) -> &str {
            self.0.name()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), grating::IoError> {
            self.0.read_at(offset, buf)?;
            if (offset..offset + buf.len() as u64).contains(&self.1) {
                let at = (self.1 - offset) as usize;
                buf[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            }
            Ok(())
        }
    }
    const CASE: &str = "qwen3-tied-f32";
    let place = place_of(CASE, "model.layers.1.mlp.down_proj.weight");
    let reranker = Reranker::builder()
        .model(golden(CASE).to_str().unwrap())
        .map_storages(move |storage| Arc::new(Overflowing(storage, place)))
        .build()
        .unwrap();
    let layers = reranker.info().layers;
    match reranker.rerank("which window slides", &TEXTS, 2) {
        Err(Error::NotFinite { candidate, layer, score }) => {
            assert!(candidate < TEXTS.len() && layer + 1 == layers && !score.is_finite());
        }
        other => panic!("{other:?}"),
    }
}
