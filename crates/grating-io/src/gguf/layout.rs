//! Whether the tensors that a header describes lie in the file one after another, as they must.

use super::problem::GgufProblem;
use super::types;
use crate::error::{HeaderError, IoError, Result};
use crate::header::is_addressable;
use crate::tensor::TensorInfo;

/// A tensor's description as it stands in the file.
pub(super) struct Entry {
    pub(super) name: String,
    /// Outermost first.
    pub(super) extents: Vec<u64>,
    /// GGML's number for the type.
    pub(super) kind: u32,
    /// Counted from the first byte of data.
    pub(super) offset: u64,
}

/// The file that the entries are about.
#[derive(Clone, Copy)]
pub(super) struct FileInfo<'a> {
    pub(super) file: &'a str,
    pub(super) header_bytes: u64,
    pub(super) alignment: u64,
    pub(super) file_bytes: u64,
}

impl FileInfo<'_> {
    fn fail(&self, problem: GgufProblem) -> IoError {
        IoError::Gguf { file: self.file.to_string(), problem }
    }

    /// The next multiple of the alignment.
    fn pad(&self, bytes: u64) -> u64 {
        bytes.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX)
    }
}

/// Checks every entry by itself, then all together; sorted by name.
pub(super) fn check(entries: Vec<Entry>, file_info: FileInfo<'_>) -> Result<Vec<TensorInfo>> {
    let mut tensors =
        entries.into_iter().map(|entry| tensor(entry, file_info)).collect::<Result<Vec<_>>>()?;
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let (file, tensor) = (file_info.file.to_string(), pair[0].name.clone());
        return Err(IoError::Header(HeaderError::DuplicateTensor { file, tensor }));
    }
    check_order(&tensors, file_info)?;
    let data_start = file_info.pad(file_info.header_bytes);
    for tensor in &mut tensors {
        // No overflow: the order has shown that the sums lie within the file.
        tensor.range.start += data_start;
        tensor.range.end += data_start;
    }
    Ok(tensors)
}

/// One entry by itself; its range still counts from the first byte of data.
fn tensor(entry: Entry, file_info: FileInfo<'_>) -> Result<TensorInfo> {
    let Entry { name, extents, kind, offset } = entry;
    let dtype = match types::dtype(kind) {
        Ok(dtype) => dtype,
        Err(found) => return Err(file_info.fail(GgufProblem::Type { tensor: name, found })),
    };
    let shape: Vec<usize> =
        extents.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
    if !is_addressable(dtype, &shape) {
        let file = file_info.file.to_string();
        return Err(IoError::Header(HeaderError::ShapeOverflow {
            file,
            tensor: name,
            dtype,
            shape,
        }));
    }
    let Some(bytes) = dtype.byte_len(&shape) else {
        return Err(file_info.fail(GgufProblem::PartialBlock { tensor: name, dtype, shape }));
    };
    let range = offset..offset.saturating_add(bytes as u64);
    Ok(TensorInfo { name, dtype, shape, shard: 0, range })
}

/// The format's rule: tensors follow one another, with nothing but padding between them and at the
/// end.
fn check_order(tensors: &[TensorInfo], file_info: FileInfo<'_>) -> Result<()> {
    let file = || file_info.file.to_string();
    let mut tensors: Vec<&TensorInfo> = tensors.iter().collect();
    tensors.sort_unstable_by_key(|t| (t.range.start, t.range.end));
    let data_start = file_info.pad(file_info.header_bytes);
    let (mut expected, mut end) = (0, 0);
    for tensor in &tensors {
        let (name, found) = (tensor.name.clone(), tensor.range.start);
        if found != expected {
            let alignment = file_info.alignment;
            return Err(file_info.fail(GgufProblem::Offset {
                tensor: name,
                expected,
                found,
                alignment,
            }));
        }
        end = tensor.range.end;
        let (expected_bytes, found) = (data_start.saturating_add(end), file_info.file_bytes);
        if expected_bytes > found {
            let expected = expected_bytes;
            return Err(IoError::Header(HeaderError::Truncated {
                file: file(),
                tensor: name,
                expected,
                found,
            }));
        }
        expected = file_info.pad(end);
    }
    // The last tensor may be padded or not.
    let (expected, found) = (data_start.saturating_add(file_info.pad(end)), file_info.file_bytes);
    match found > expected {
        true => Err(IoError::Header(HeaderError::TrailingBytes { file: file(), expected, found })),
        false => Ok(()),
    }
}
