//! What can be wrong with a safetensors header, and with a file that does not hold what its header says.

use super::hints::quote;
use crate::dtype::Dtype;

/// Why a header is refused. `file` is the name of the storage; see [`IoError`](crate::IoError).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
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
    TooLarge {
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
    NotUtf8 {
        /// The file.
        file: String,
        /// First invalid byte, within the file.
        offset: u64,
    },
    /// The header is text but not one JSON object.
    #[error("{file}: the header is not valid JSON: {reason}; the file is damaged, fetch it again")]
    NotJson {
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
    Entry {
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
}
