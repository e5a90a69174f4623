//! Everything that can go wrong between a path and the bytes of a tensor.

mod hints;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::dtype::Dtype;
use crate::gguf::GgufProblem;
use hints::{candidates_hint, found_in_hint, similar_hint};

pub(crate) use hints::quote;
pub use hints::shown;

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

    // The header.
    /// A file without a single byte.
    #[error("{file}: empty file; the download or copy did not happen, fetch it again")]
    EmptyFile {
        /// The file.
        file: String,
    },
    /// The first bytes are those of some other format.
    #[error(
        "{file}: not a safetensors file: {reason}, found the bytes {}; \
         check that it is what its name says (a saved error page?), fetch it again", quote(.found)
    )]
    NotSafetensors {
        /// The file.
        file: String,
        /// The rule that is broken.
        reason: &'static str,
        /// The file's first bytes as text; what is not ASCII is escaped.
        found: String,
    },
    /// The file ends before its header does.
    #[error(
        "{file}: truncated within its header: expected at least {expected} bytes, found {found}; \
         fetch the file again"
    )]
    TruncatedHeader {
        /// The file.
        file: String,
        /// Bytes up to the header's end.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The header claims a length that no real checkpoint has.
    #[error(
        "{file}: a header of {found} bytes, at most {expected} are accepted (the format's own \
         limit); the file is damaged or hostile, fetch it again from a source you trust"
    )]
    HeaderTooLarge {
        /// The file.
        file: String,
        /// The limit, bytes: [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES).
        expected: u64,
        /// The length that the file claims, bytes.
        found: u64,
    },
    /// The header is not text.
    #[error(
        "{file}: the header is not UTF-8 from byte {offset} of the file on; \
         the file is damaged, fetch it again"
    )]
    HeaderNotUtf8 {
        /// The file.
        file: String,
        /// First invalid byte, within the file.
        offset: u64,
    },
    /// The header is text but not one JSON object.
    #[error("{file}: the header is not valid JSON: {reason}; the file is damaged, fetch it again")]
    HeaderNotJson {
        /// The file.
        file: String,
        /// The parser's reason, with line and column within the header.
        reason: String,
    },
    /// A header entry is JSON but does not describe a tensor.
    #[error(
        "{file}: header entry {} is malformed: {reason}; \
         write the file again with a current safetensors library", quote(.tensor)
    )]
    HeaderEntry {
        /// The file.
        file: String,
        /// The entry, usually a tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The header names a tensor twice, so that readers could disagree about its bytes.
    #[error(
        "{file}: the header names {} twice; the file is damaged or hostile, \
         fetch it again from a source you trust", quote(.tensor)
    )]
    DuplicateTensor {
        /// The file.
        file: String,
        /// The name.
        tensor: String,
    },
    /// A data type that the format does not define.
    #[error(
        "{file}: tensor {} has the unknown dtype {}; expected one of {}; \
         convert the checkpoint to one of these",
        quote(.tensor), quote(.found), Dtype::safetensors_names()
    )]
    UnknownDtype {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The header's word.
        found: String,
    },
    /// A shape whose number of elements or bytes does not fit the machine's integers.
    #[error(
        "{file}: tensor {} of {dtype} with shape {shape:?} is too large to address; \
         the header is damaged, fetch the file again", quote(.tensor)
    )]
    ShapeOverflow {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its data type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor of 4 or 6 bit elements that does not end on a byte.
    #[error(
        "{file}: tensor {} of {dtype} with shape {shape:?} does not fill whole bytes; \
         pad it where it is made", quote(.tensor)
    )]
    PartialByte {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its data type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A byte range that ends before it begins.
    #[error(
        "{file}: tensor {} has data_offsets [{begin}, {end}], which end before they begin; \
         the header is damaged, fetch the file again", quote(.tensor)
    )]
    ReversedOffsets {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// First byte, counted from the end of the header.
        begin: u64,
        /// One past the last byte, counted from the end of the header.
        end: u64,
    },
    /// A byte range that has not the length which shape and data type make.
    #[error(
        "{file}: tensor {} of {dtype} with shape {shape:?} takes {expected} bytes, but its \
         data_offsets span {found}; the header is damaged, fetch the file again", quote(.tensor)
    )]
    SizeMismatch {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its data type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes by shape and data type.
        expected: u64,
        /// Bytes by offsets.
        found: u64,
    },
    /// Two tensors share bytes, which the format forbids.
    #[error(
        "{file}: tensor {} begins at data byte {found}, within tensor {}, which ends at \
         {expected}; tensors must not overlap, write the file again with a safetensors library",
        quote(.tensor), quote(.other)
    )]
    Overlap {
        /// The file.
        file: String,
        /// The later tensor.
        tensor: String,
        /// The tensor before it.
        other: String,
        /// The earliest allowed first byte, counted from the end of the header.
        expected: u64,
        /// Its first byte, counted from the end of the header.
        found: u64,
    },
    /// Bytes between tensors that belong to none, which the format forbids.
    #[error(
        "{file}: tensor {} begins at data byte {found}, but the tensors before it end at \
         {expected}; holes are forbidden, write the file again with a safetensors library",
        quote(.tensor)
    )]
    Hole {
        /// The file.
        file: String,
        /// The tensor after the hole.
        tensor: String,
        /// Where it had to begin, counted from the end of the header.
        expected: u64,
        /// Where it begins, counted from the end of the header.
        found: u64,
    },
    /// The file ends before its tensors do: most often an interrupted download.
    #[error(
        "{file}: truncated: expected {expected} bytes, found {found}; tensor {} is the first that \
         is not complete; fetch the file again", quote(.tensor)
    )]
    Truncated {
        /// The file.
        file: String,
        /// The first incomplete tensor, in the order of the file.
        tensor: String,
        /// Bytes of the file by its header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// Bytes after the last tensor, which the format forbids.
    #[error(
        "{file}: expected {expected} bytes, found {found}: no tensor owns the last ones; \
         the file is damaged or hides something, fetch it again"
    )]
    TrailingBytes {
        /// The file.
        file: String,
        /// Bytes of the file by its header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },

    // The index of a sharded checkpoint.
    /// The index is larger than any real one.
    #[error(
        "{file}: an index of {found} bytes, at most {expected} are accepted; \
         check that this is an index and not a file of weights"
    )]
    IndexTooLarge {
        /// The index.
        file: String,
        /// The limit, bytes: [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES).
        expected: u64,
        /// Bytes of the index.
        found: u64,
    },
    /// The index is not JSON.
    #[error("{file}: the index is not valid JSON: {reason}; fetch the file again")]
    IndexNotJson {
        /// The index.
        file: String,
        /// The parser's reason, with line and column.
        reason: String,
    },
    /// The index is JSON but does not map tensors to shards.
    #[error(
        "{file}: not an index of a checkpoint: {reason}; expected \
         {{\"weight_map\": {{\"tensor name\": \"shard file name\", ...}}}}; fetch the file again"
    )]
    IndexMalformed {
        /// The index.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The index names a tensor twice.
    #[error(
        "{file}: the index names tensor {} twice; the file is damaged or hostile, \
         fetch it again from a source you trust", quote(.tensor)
    )]
    DuplicateIndexEntry {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// The index names a shard that is not a plain file name, such as `../secret` or `C:x`.
    #[error(
        "{file}: the index puts tensor {} into {}, which is not a plain file name of at \
         most 255 bytes; shards must lie beside their index; do not use a checkpoint that tries to leave its folder",
        quote(.tensor), quote(.shard)
    )]
    ShardName {
        /// The index.
        file: String,
        /// A tensor that is said to be there.
        tensor: String,
        /// The name.
        shard: String,
    },
    /// The index names a shard that does not exist.
    #[error(
        "{file}: the index puts tensor {} into {}, which does not exist; \
         fetch the missing shard into the same folder", quote(.tensor), quote(.shard)
    )]
    MissingShard {
        /// The index.
        file: String,
        /// A tensor that is said to be there.
        tensor: String,
        /// The shard's file name.
        shard: String,
    },
    /// The index says that a shard holds a tensor, and it does not.
    #[error(
        "{file}: the index puts tensor {} into {}, which {}; \
         index and shards are of different versions, fetch all of them again",
        quote(.tensor), quote(.shard), found_in_hint(.found_in)
    )]
    NotInShard {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
        /// The shard by the index.
        shard: String,
        /// The shard that does hold it, if one does.
        found_in: Option<String>,
    },
    /// A shard holds a tensor of which the index does not know.
    #[error(
        "{file}: shard {} holds tensor {}, which the index does not list; \
         index and shards are of different versions, fetch all of them again",
        quote(.shard), quote(.tensor)
    )]
    NotInIndex {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
        /// The shard that holds it.
        shard: String,
    },
    /// Two shards hold a tensor of the same name.
    #[error(
        "{file}: tensor {} is in shard {} and again in {}; \
         the shards are of different checkpoints, fetch all of them again",
        quote(.tensor), quote(.shard), quote(.other)
    )]
    InTwoShards {
        /// The index.
        file: String,
        /// The tensor.
        tensor: String,
        /// One shard.
        shard: String,
        /// The other.
        other: String,
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
