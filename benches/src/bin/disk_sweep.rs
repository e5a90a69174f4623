//! How fast files are read, by length of request, number of readers and way: the table of `grating-io`'s README.
//!
//! `cargo run --release -p grating-benches --bin disk_sweep -- FILE`: requests of 0.25 to 8 MiB with 1 to 8 readers, through the page
//! cache (cold and warm) and past it, each three times in turn; prints the medians.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use grating_io::{
    Block, Extent, FileStorage, IoError, IoMode, PrefetchOptions, PrefetchStats, Prefetcher,
    Storage,
};

/// As much as a small model has for a block of weights.
const BLOCK_BYTES: u64 = 32 << 20;

/// Blocks in memory: one in use, one on its way.
const SLOTS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: disk_sweep FILE")?;
    sweep(Path::new(&path))
}

/// The file in blocks, the last one shorter.
fn blocks(len: u64) -> Vec<Block> {
    let block = |(tag, offset): (u64, u64)| {
        let length = BLOCK_BYTES.min(len - offset) as usize;
        Block::new(tag, vec![Extent::new(0, offset, length, format!("block {tag}"))])
    };
    (0..).zip((0..len).step_by(BLOCK_BYTES as usize)).map(block).collect()
}

/// Reads all blocks once; seconds, and the counters.
fn stream(
    file: Arc<dyn Storage>,
    options: PrefetchOptions,
) -> Result<(f64, PrefetchStats), IoError> {
    let blocks = blocks(file.len());
    let count = blocks.len();
    let prefetcher = Prefetcher::start(vec![file], options)?;
    let begin = Instant::now();
    prefetcher.schedule(blocks)?;
    for _ in 0..count {
        let lease = prefetcher.next()?;
        // Here a program would compute on `lease.bytes(0)`.
        std::hint::black_box(lease.bytes(0));
    }
    Ok((begin.elapsed().as_secs_f64(), prefetcher.stats()))
}

/// How the page cache takes part.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Direct,
    CachedCold,
    CachedWarm,
}

fn sweep(path: &Path) -> Result<(), Box<dyn Error>> {
    println!("GB/s (median of 3)  requests  1 reader  2 readers  4 readers  8 readers");
    for (way, name) in [
        (Way::Direct, "past the cache"),
        (Way::CachedCold, "cached, cold"),
        (Way::CachedWarm, "cached, warm"),
    ] {
        for kib in [256, 512, 1024, 2048, 4096, 8192] {
            print!("{name:18}  {:4.2} MiB", f64::from(kib) / 1024.0);
            for readers in [1, 2, 4, 8] {
                let mut rates = [0.0; 3];
                for rate in &mut rates {
                    *rate = rate_of(path, way, kib as usize * 1024, readers)?;
                }
                rates.sort_by(f64::total_cmp);
                print!("  {:9.2}", rates[1]);
            }
            println!();
        }
    }
    Ok(())
}

/// GB/s of one pass.
fn rate_of(
    path: &Path,
    way: Way,
    request_bytes: usize,
    readers: usize,
) -> Result<f64, Box<dyn Error>> {
    if way != Way::CachedWarm {
        forget(path)?;
    }
    let file = Arc::new(FileStorage::open(path)?);
    let slot = blocks(file.len()).iter().map(Block::slot_bytes).max().unwrap_or(0);
    let io = if way == Way::Direct { IoMode::Direct } else { IoMode::Cached };
    let slots = vec![slot; SLOTS];
    let options = PrefetchOptions::new(slots)
        .with_request_bytes(request_bytes)
        .with_readers(readers)
        .with_io(io);
    let (seconds, stats) = stream(file, options)?;
    if way == Way::Direct && stats.direct == 0 {
        return Err("this file system has no way past the page cache".into());
    }
    Ok(stats.bytes as f64 / 1e9 / seconds)
}

/// Drops the file's pages from the page cache.
#[cfg(target_os = "linux")]
fn forget(path: &Path) -> Result<(), Box<dyn Error>> {
    let file = std::fs::File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn forget(_path: &Path) -> Result<(), Box<dyn Error>> {
    Err("only Linux lets a program drop a file from the page cache".into())
}
