//! Streams a file of any kind in blocks, and says how fast that was.
//!
//! `cargo run --release -p grating-io --example stream_file -- FILE [--direct | --cached]`

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use grating_io::{Block, Extent, FileStorage, IoMode, PrefetchOptions, Prefetcher, Storage};

/// As much as a small model has for a block of weights.
const BLOCK_BYTES: u64 = 32 << 20;
/// Blocks in memory: one in use, one on its way.
const SLOTS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, io) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [path] => (path, IoMode::Auto),
        [path, "--direct"] => (path, IoMode::Direct),
        [path, "--cached"] => (path, IoMode::Cached),
        _ => return Err("usage: stream_file FILE [--direct | --cached]".into()),
    };

    // The file in blocks, the last one shorter. A block may gather pieces of several files.
    let file = Arc::new(FileStorage::open(path)?);
    let len = file.len();
    let block = |(tag, offset): (u64, u64)| {
        let length = BLOCK_BYTES.min(len - offset) as usize;
        Block::new(tag, vec![Extent::new(0, offset, length, format!("block {tag}"))])
    };
    let blocks: Vec<Block> = (0..).zip((0..len).step_by(BLOCK_BYTES as usize)).map(block).collect();
    let (count, slot) = (blocks.len(), blocks.iter().map(Block::slot_bytes).max().unwrap_or(0));

    let options = PrefetchOptions::new(vec![slot; SLOTS]).with_io(io);
    let prefetcher = Prefetcher::start(vec![file], options)?;
    let begin = Instant::now();
    prefetcher.schedule(blocks)?;
    let mut sum = 0_u64;
    for _ in 0..count {
        // Waits for the block in turn; an error names file, label and offset.
        let lease = prefetcher.next()?;
        // Here a program would compute; meanwhile the next block is read.
        sum = lease.bytes(0).iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    } // Dropping the lease gives its slot to the next block.

    let (seconds, stats) = (begin.elapsed().as_secs_f64(), prefetcher.stats());
    println!(
        "{:.2} GB in {seconds:.2} s: {:.2} GB/s in {} requests, {} the page cache, {} MiB of slots; sum {sum}",
        stats.bytes as f64 / 1e9,
        stats.bytes as f64 / 1e9 / seconds,
        stats.reads,
        if stats.direct > 0 { "past" } else { "through" },
        (SLOTS * slot) >> 20,
    );
    Ok(())
}
