//! Stream model weights from disk: safetensors and GGUF checkpoints that are checked before they are
//! trusted, and read one byte range at a time into buffers that the caller owns.
//!
//! Opening a checkpoint reads its headers and nothing else, so a 100 GB model opens in
//! milliseconds and costs a few kilobytes. Which bytes are read, when, and into what memory is then
//! up to the caller: a tensor, a few that are needed together, three rows of an embedding matrix.
//!
//! # Principal types
//!
//! - [`Checkpoint`] knows every tensor of a model: one file, or an index and its shards.
//! - [`TensorInfo`] is what it knows of one: name, [`Dtype`], shape, shard and absolute byte range.
//! - [`Storage`] is where bytes come from, read at explicit positions by any number of threads:
//!   [`FileStorage`] on disk, [`ProgramStorage`] for images embedded in the program, [`MemoryStorage`], or your own.
//! - [`Prefetcher`] reads scheduled byte ranges ahead into a fixed set of slots; [`SpillStore`]
//!   puts buffers aside on disk and fetches them again; [`RowCache`] keeps the rows of a matrix
//!   that were used last.
//! - [`IoError`] has one variant for each thing that can be wrong, and says what to do about it.
//!
//! # How bytes pass
//!
//! ```text
//!  path ──▶ which files ──▶ Storage ──▶ header ──▶ checks ──▶ Checkpoint
//!                              │                                  │ TensorInfo { shard, range }
//!                              └────────── read_at(range) ◀───────┘
//!                                             │
//!                                             ▼
//!                                    the caller's buffer
//! ```
//! Bytes are copied once, by the operating system into the caller's buffer. No file is mapped into
//! memory, and nothing is converted. Reading ahead puts a thread or more and the slots in between:
//!
//! ```text
//!  schedule(blocks) ──▶ queue ──▶ reader threads ──read_at──▶ slot ──▶ next() ──▶ Lease
//!                                      ▲                                            │ drop
//!                                      └──────────────── free slot ◀────────────────┘
//! ```
//!
//! # Example
//!
//! ```
//! use grating_io::{Checkpoint, Dtype};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! // A checkpoint with one matrix of two rows, written by hand: length, header, data.
//! let header = br#"{"rows": {"dtype": "I16", "shape": [2, 3], "data_offsets": [0, 12]}}"#;
//! let data = [1_i16, 2, 3, 4, 5, 6].map(i16::to_le_bytes).concat();
//! let length = (header.len() as u64).to_le_bytes();
//! std::fs::write(folder.path().join("model.safetensors"), [&length[..], header, &data].concat())?;
//!
//! let checkpoint = Checkpoint::open(folder.path())?;
//! let rows = checkpoint.tensor("rows")?;
//! assert_eq!((rows.dtype, rows.shape.as_slice()), (Dtype::I16, &[2, 3][..]));
//!
//! // The second row only: 6 bytes from byte 6 of the tensor on.
//! let mut row = [0; 6];
//! checkpoint.read_range(rows, 6, &mut row)?;
//! assert_eq!(row, [4_i16, 5, 6].map(i16::to_le_bytes).concat()[..]);
//! # Ok(())
//! # }
//! ```
//!
//! # What is checked
//!
//! A file is refused unless its header is at most [`MAX_HEADER_BYTES`] long and fits into the file,
//! is one JSON object that names no tensor twice, and describes tensors of known types, of at most
//! 64 dimensions, whose byte ranges are as long as shape and type make them and together cover the
//! data exactly: no overlaps, no holes, nothing missing or left over at the end. These are the
//! rules of the [format](https://github.com/huggingface/safetensors#format), where holes are
//! forbidden lest a file carries a second one inside. Alignment is not demanded: old files lack it.
//!
//! A GGUF file (version 2 or 3) is held to the same: types that [`Dtype`] has, rows of whole blocks, and
//! tensors one after another with nothing but padding between them. Its metadata is kept
//! ([`Checkpoint::metadata`]), lists excepted, which are read when they are asked for ([`Checkpoint::metadata_list`]).
//!
//! In a sharded checkpoint, shard names must be plain file names, and index and shards must list
//! the same tensors in the same places.

// Allowed in one place: the memory that several readers fill at once.
#![deny(unsafe_code)]

mod atomic_folder;
mod checkpoint;
mod disk;
mod dtype;
mod error;
mod gguf;
mod header;
mod index;
mod locate;
mod prefetch;
mod rows;
mod spill;
mod storage;
mod sync;
mod tensor;

pub use atomic_folder::AtomicFolder;
pub use checkpoint::{Checkpoint, Shard};
pub use disk::{free_bytes, in_memory};
pub use dtype::Dtype;
pub use error::{HeaderError, IndexError, IoError, shown};
pub use gguf::{GgufList, GgufProblem, GgufTensor, GgufValue, GgufWriter};
pub use header::MAX_HEADER_BYTES;
pub use locate::{PartName, is_model_file};
pub use prefetch::{Block, Extent, IoMode, Lease, PrefetchOptions, PrefetchStats, Prefetcher};
pub use prefetch::{SlotAllocator, SlotBytes};
pub use rows::{RowCache, RowCacheStats};
pub use spill::{Buffer, NotSpilled, SpillEvent, SpillFile, SpillOptions, SpillStats, SpillStore};
pub use storage::{
    DIRECT_ALIGNMENT, DirectStorage, Faults, FaultyStorage, FileStorage, MemoryStorage,
    ProgramStorage, Storage,
};
pub use tensor::TensorInfo;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
