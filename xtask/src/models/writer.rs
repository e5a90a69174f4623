//! Writes one shard: blocks of a few megabytes, made and written by a few threads at their final
//! offsets. Memory is one block a thread, whatever the model's size.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};

use super::layout::{Placed, Shard};
use super::planted::Patch;
use super::shapes::Dtype;
use super::values::{element_bytes, fill};

/// Bytes made and written at a time; a multiple of every element size.
const BLOCK_BYTES: u64 = 4 << 20;

/// A part of one tensor.
struct Block<'a> {
    tensor: &'a Placed,
    /// Bytes from the start of the tensor.
    start: u64,
    len: usize,
}

/// What the threads share while they write.
pub(crate) struct Job<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) seed: u64,
    /// By tensor name: what differs from the random fill.
    pub(crate) patches: &'a HashMap<String, Patch>,
    pub(crate) threads: usize,
    /// Set from outside to stop at the next block.
    pub(crate) interrupted: &'a AtomicBool,
    /// Called with the bytes of each block that is written, from any thread.
    pub(crate) written: &'a (dyn Fn(u64) + Sync),
}

/// Creates `path` and writes the whole shard to it, synced to the disk.
pub(crate) fn write_shard(path: &Path, shard: &Shard, job: &Job) -> Result<()> {
    let file =
        File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    let failed_at = || format!("cannot write {}", path.display());
    write_at(&file, &shard.header, 0).with_context(failed_at)?;

    let blocks: Vec<Block> = shard.tensors.iter().flat_map(blocks).collect();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let work = || -> Result<()> {
        let mut buffer = Vec::new();
        while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if job.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            write_block(&file, block, job, &mut buffer)
                .inspect_err(|_| stop.store(true, Ordering::Relaxed))
                .with_context(failed_at)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..job.threads.max(1)).map(|_| scope.spawn(work)).collect();
        let results =
            workers.into_iter().map(|w| w.join().expect("a panic here is a bug; pass it on"));
        results.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
    })?;
    // A delayed write error (a full network disk, say) must not pass for success.
    file.sync_all().with_context(failed_at)
}

/// Creates `path` with the shard's header and its size, and nothing between.
pub(crate) fn write_hole(path: &Path, shard: &Shard) -> Result<()> {
    let file =
        File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    write_at(&file, &shard.header, 0)
        .and_then(|()| file.set_len(shard.file_bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn blocks(tensor: &Placed) -> impl Iterator<Item = Block<'_>> {
    (0..tensor.bytes).step_by(BLOCK_BYTES as usize).map(|start| {
        let len = BLOCK_BYTES.min(tensor.bytes - start) as usize;
        Block { tensor, start, len }
    })
}

fn write_block(file: &File, block: &Block, job: &Job, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    buffer.resize(block.len, 0);
    let spec = &block.tensor.spec;
    let first = block.start / element_bytes(spec, job.dtype);
    fill(spec, job.dtype, job.seed, first, buffer);
    if let Some(patch) = job.patches.get(&spec.name) {
        patch.apply(job.dtype, first, buffer);
    }
    write_at(file, buffer, block.tensor.offset + block.start)?;
    (job.written)(block.len as u64);
    Ok(())
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            n => (bytes, offset) = (&bytes[n..], offset + n as u64),
        }
    }
    Ok(())
}
