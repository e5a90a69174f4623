//! What can be wrong with the index of a sharded checkpoint.

use super::hints::{found_in_hint, quote};

/// Why an index is refused, or does not belong to its shards. `file` is the index; see [`IoError`](crate::IoError).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The index is larger than any real one.
    #[error(
        "{file}: an index of {found} bytes, at most {expected} are accepted; \
         check that this is an index and not a file of weights"
    )]
    TooLarge {
        /// The index.
        file: String,
        /// The limit, bytes: [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES).
        expected: u64,
        /// Bytes of the index.
        found: u64,
    },
    /// The index is not JSON.
    #[error("{file}: the index is not valid JSON: {reason}; fetch the file again")]
    NotJson {
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
    Malformed {
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
    DuplicateTensor {
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
