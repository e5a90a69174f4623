//! Everything that can go wrong between a path and the bytes of a tensor.

mod header;
mod hints;
mod index;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::gguf::GgufProblem;
use hints::{candidates_hint, similar_hint};

pub use header::HeaderError;
pub(crate) use hints::quote;
pub use hints::shown;
pub use index::IndexError;

/// The result of everything in this crate that can fail.
pub(crate) type Result<T, E = IoError> = std::result::Result<T, E>;

/// Why a checkpoint cannot be opened or read.
///
/// Each message names the file, what was expected and found, and what to do next. `file` is the
/// [name](crate::Storage::name) of the storage: a path, or the label of an image in memory.
/// Names that come out of a file are quoted, escaped and shortened in messages, so that a hostile
/// one can neither write control characters to a terminal nor fill a log.
///
/// A message holds its cause (`reason`), so [`source`](std::error::Error::source) is none: whoever prints the chain would
/// print the cause twice. Clones share the operating system's error, so one failure can be handed to many waiters.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    // Finding and opening.
    /// Nothing exists under this path, or it is a link whose target is gone.
    #[error("{}: no such file or folder; check the path (a link's target must exist too)", .path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// The operating system refused to open the file or list the folder.
    #[error("{}: cannot open: {reason}; check that this user may read it", .path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// The path is a folder, a pipe or a device where a file was expected.
    #[error("{}: not a regular file; name the file that holds the weights", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The folder holds none of the files that make a checkpoint.
    #[error(
        "{}: no checkpoint: looked for {}; {}",
        .folder.display(), .looked_for.join(" and "), candidates_hint(.folder, .candidates)
    )]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
        /// File names that would have been accepted, in the order of the search.
        looked_for: Vec<&'static str>,
        /// Other files of weights in the folder, sorted; any of them can be opened by itself.
        candidates: Vec<String>,
    },
    /// A part of a model that was split, and another one is not beside it.
    #[error(
        "{file}: one of {count} parts, of which {} is not beside it; fetch that too", quote(.missing)
    )]
    MissingPart {
        /// The part that is there.
        file: String,
        /// Parts in all.
        count: usize,
        /// The first that is not.
        missing: String,
    },
    /// The parts of a model that was split do not make one.
    #[error("{file}: {reason}; fetch all parts again, from the same place")]
    PartsDisagree {
        /// The part.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// Weights as a Python pickle, which can run code when loaded; this crate never reads one.
    #[error(
        "{file}: a PyTorch pickle, which can run code when it is loaded, so it is refused; use the \
         model's safetensors files if its authors publish them, or convert it where you trust it: \
         python -c \"import torch, safetensors.torch as s; \
         w = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); \
         s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, 'model.safetensors')\""
    )]
    // The command holds no name from the disk: people paste it into a shell.
    Pickle {
        /// The pickle.
        file: String,
    },
    /// A GGUF file that cannot be read, or tensors that cannot be written as one.
    #[error("{file}: {problem}")]
    Gguf {
        /// The GGUF file.
        file: String,
        /// What is wrong.
        problem: GgufProblem,
    },
    /// A git-lfs pointer: the repository was cloned without its large files.
    #[error(
        "{file}: a git-lfs pointer of {found} bytes, not the weights themselves; \
         run `git lfs pull` in the repository, or download the file"
    )]
    GitLfsPointer {
        /// The pointer file.
        file: String,
        /// Its length, bytes.
        found: u64,
    },

    /// A file without a single byte.
    #[error("{file}: empty file; the download or copy did not happen, fetch it again")]
    EmptyFile {
        /// The file.
        file: String,
    },

    // What a file says of itself.
    /// A safetensors header that breaks the format's rules, or a file that does not hold what its header says.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An index that does not belong to its shards, or is none.
    #[error(transparent)]
    Index(#[from] IndexError),

    // Reading.
    /// The operating system failed to read.
    #[error(
        "{file}: reading {length} bytes at offset {offset} failed: {reason}; \
         check the disk or network mount"
    )]
    Read {
        /// The file.
        file: String,
        /// First byte of the read, within the file.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// The operating system failed to write.
    #[error("{file}: cannot write: {reason}; check the free space and that this user may write")]
    Write {
        /// The file.
        file: String,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// The file became shorter after it was opened.
    #[error(
        "{file}: expected {expected} bytes at offset {offset}, found {found}: the file shrank \
         while it was in use; do not replace a checkpoint in place, and open it again"
    )]
    ShortRead {
        /// The file.
        file: String,
        /// First byte of the read, within the file.
        offset: u64,
        /// Bytes asked for.
        expected: u64,
        /// Bytes that were there.
        found: u64,
    },
    /// A read that does not lie within the storage: a defect of the caller.
    #[error(
        "{file}: {length} bytes at offset {offset} do not lie within its {found} bytes; \
         read only ranges of this file's own tensors"
    )]
    OutOfBounds {
        /// The file.
        file: String,
        /// First byte of the read, within the file.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// Bytes of the storage.
        found: u64,
    },
    /// The caller's buffer has another length than the tensor.
    #[error(
        "tensor {}: expected a buffer of {expected} bytes, found {found}; \
         size it with `TensorInfo::byte_len`, or read a part with `read_range`", quote(.tensor)
    )]
    BufferLength {
        /// The tensor.
        tensor: String,
        /// Bytes of the tensor.
        expected: u64,
        /// Bytes of the buffer.
        found: u64,
    },
    /// A range that does not lie within the tensor.
    #[error(
        "tensor {}: {length} bytes at offset {offset} do not lie within its {expected} bytes; \
         offsets count from the tensor's first byte", quote(.tensor)
    )]
    OutsideTensor {
        /// The tensor.
        tensor: String,
        /// First byte of the range, within the tensor.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// Bytes of the tensor.
        expected: u64,
    },
    /// A [`TensorInfo`](crate::TensorInfo) that another checkpoint returned.
    #[error(
        "tensor {} is in shard {found}, but this checkpoint has {expected} shards; \
         pass tensors that this same checkpoint returned", quote(.tensor)
    )]
    ForeignTensor {
        /// The tensor.
        tensor: String,
        /// Shards of this checkpoint.
        expected: usize,
        /// The shard that was asked for.
        found: usize,
    },
    /// The checkpoint has no tensor of this name.
    #[error(
        "{file}: no tensor {} among its {found}{}",
        quote(.tensor), similar_hint(.similar)
    )]
    MissingTensor {
        /// The checkpoint.
        file: String,
        /// The name asked for.
        tensor: String,
        /// Tensors in the checkpoint.
        found: usize,
        /// A tensor that differs only by a prefix, if there is one.
        similar: Option<String>,
    },

    // Reading ahead.
    /// A block of a prefetcher's schedule, or rows for a row cache, could not be read.
    #[error("tensor {}: {reason}", quote(.label))]
    Tensor {
        /// The file.
        file: String,
        /// A tensor's name; for other blocks the extent's label.
        label: String,
        /// Where the read failed, within the file.
        offset: u64,
        /// What failed.
        reason: Arc<IoError>,
    },
    /// No slot of a prefetcher is large enough for a block.
    #[error(
        "block {block} takes a slot of {expected} bytes, the largest has {found}; \
         start the prefetcher with a slot of at least {expected} bytes, or split the block"
    )]
    SlotTooSmall {
        /// The block's tag.
        block: u64,
        /// The smallest slot that would do, bytes.
        expected: usize,
        /// The largest slot, bytes.
        found: usize,
    },
    /// An extent in a storage that the prefetcher does not have.
    #[error(
        "block {block}: {} is in storage {found}, but the prefetcher has {expected} storages; \
         count them from 0 in the order in which it was given them", quote(.label)
    )]
    UnknownStorage {
        /// The block's tag.
        block: u64,
        /// The extent's label.
        label: String,
        /// Storages of the prefetcher.
        expected: usize,
        /// The storage that was asked for.
        found: usize,
    },
    /// A prefetcher was asked for a block and its schedule is empty.
    #[error(
        "no block is scheduled; schedule blocks before asking for the next \
         (an error and a cancellation empty the schedule)"
    )]
    NothingScheduled,
    /// Code that reads a storage panicked.
    #[error(
        "{file}: reading at offset {offset} panicked: {reason}; \
         this is a defect of the storage's implementation, report it"
    )]
    Panicked {
        /// The file.
        file: String,
        /// First byte of the read, within the file.
        offset: u64,
        /// The panic's message.
        reason: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start thread {name:?}: {reason}; check the limits on threads and memory")]
    Thread {
        /// The thread's name.
        name: String,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// The operating system refused memory.
    #[error("cannot reserve {needed} bytes of memory: {reason}; use smaller slots or buffers")]
    OutOfMemory {
        /// Bytes asked for.
        needed: usize,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },

    // Spilling.
    /// No temporary file can be made.
    #[error(
        "{}: cannot make a temporary file: {reason}; \
         name a folder on a disk with free space in which this user may write", .folder.display()
    )]
    SpillFolder {
        /// The folder.
        folder: PathBuf,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// The disk, or what may be used of it, is full.
    #[error(
        "{}: no space: {needed} more bytes are needed, {free} may be used; \
         free some, or name a folder on a larger disk", .folder.display()
    )]
    NoSpace {
        /// The folder that holds the temporary file.
        folder: PathBuf,
        /// Bytes by which the file would have to grow.
        needed: u64,
        /// Bytes that it may take.
        free: u64,
    },
    /// The temporary file cannot be written.
    #[error(
        "{}: writing {length} bytes at offset {offset} of the temporary file failed: {reason}; \
         check the disk", .folder.display()
    )]
    SpillWrite {
        /// The folder that holds the temporary file.
        folder: PathBuf,
        /// First byte, within the temporary file.
        offset: u64,
        /// Bytes to be written.
        length: u64,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// The temporary file cannot be read.
    #[error(
        "{}: reading {length} bytes at offset {offset} of the temporary file failed: {reason}; \
         check the disk", .folder.display()
    )]
    SpillRead {
        /// The folder that holds the temporary file.
        folder: PathBuf,
        /// First byte, within the temporary file.
        offset: u64,
        /// Bytes to be read.
        length: u64,
        /// The operating system's reason.
        reason: Arc<io::Error>,
    },
    /// Nothing is stored under this key.
    #[error("nothing is stored under key {key}; write it first, and take it once")]
    UnknownKey {
        /// The key.
        key: u64,
    },

    // Caching rows.
    /// The tensor's rows are not as long as the cache's.
    #[error(
        "tensor {}: rows of {found} bytes in a cache for rows of {expected}; \
         make one cache for each tensor", quote(.tensor)
    )]
    RowLength {
        /// The tensor.
        tensor: String,
        /// Bytes of the cache's rows.
        expected: u64,
        /// Bytes of the tensor's rows.
        found: u64,
    },
    /// A row beyond the tensor's last one.
    #[error(
        "tensor {}: no row {found} among its {expected}; \
         check that the tokenizer and the weights belong together", quote(.tensor)
    )]
    NoSuchRow {
        /// The tensor.
        tensor: String,
        /// Rows of the tensor.
        expected: usize,
        /// The row asked for.
        found: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_clonable_and_crosses_threads() {
        fn check<T: Clone + Send + Sync + std::error::Error + 'static>() -> usize {
            size_of::<T>()
        }
        // Above 128 bytes every `Result` would be moved around at a cost.
        assert!(check::<IoError>() <= 128);
    }

    #[test]
    fn the_operating_systems_reason_is_said_once() {
        let reason = Arc::new(io::Error::other("EIO"));
        let error = IoError::Read { file: "f".into(), offset: 1, length: 2, reason };
        assert!(error.to_string().contains("reading 2 bytes at offset 1 failed: EIO"));
        assert!(std::error::Error::source(&error).is_none());
    }
}
