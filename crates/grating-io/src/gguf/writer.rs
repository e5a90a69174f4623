//! Writing a GGUF file tensor by tensor.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use super::metadata::{self, GgufValue};
use super::problem::GgufProblem;
use super::{DEFAULT_ALIGNMENT, MAGIC, types};
use crate::dtype::Dtype;
use crate::error::{IoError, Result};

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GgufTensor {
    /// Name, unique within the file.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl GgufTensor {
    /// A tensor of this name, type and shape, outermost extent first.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: Vec<usize>) -> Self {
        GgufTensor { name: name.into(), dtype, shape }
    }
}

/// Writes a GGUF file of version 3: the header first, then data in the order of the tensors, in
/// pieces of any length. Memory is that of the header.
///
/// ```
/// use std::sync::Arc;
/// use grating_io::{Checkpoint, Dtype, GgufTensor, GgufWriter, MemoryStorage};
///
/// # fn main() -> Result<(), grating_io::IoError> {
/// let row = GgufTensor::new("row", Dtype::U8, vec![3]);
/// assert!(GgufWriter::new(Vec::new(), "m", &Default::default(), &[row]).is_err()); // GGUF has no U8
/// let row = GgufTensor::new("row", Dtype::I8, vec![3]);
/// let mut writer = GgufWriter::new(Vec::new(), "m", &Default::default(), &[row])?;
/// writer.write(&[1, 2, 3])?;
/// let image = writer.finish()?;
/// let checkpoint = Checkpoint::from_storage(Arc::new(MemoryStorage::from_vec("m", image)))?;
/// assert_eq!(checkpoint.tensor("row")?.shape, [3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GgufWriter<W> {
    out: W,
    file: String,
    /// Bytes of each tensor that has not been begun, the last first.
    rest: Vec<u64>,
    /// Bytes that the current tensor still lacks, and padding after it.
    lacks: u64,
    padding: u64,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header of a file that will hold `tensors`. `file` is its name in messages.
    ///
    /// # Errors
    /// [`IoError::Gguf`] for a type that the format lacks or rows that end within a block,
    /// [`IoError::Write`].
    ///
    /// # Panics
    /// If `metadata` holds a list.
    pub fn new(
        out: W,
        file: &str,
        metadata: &BTreeMap<String, GgufValue>,
        tensors: &[GgufTensor],
    ) -> Result<Self> {
        let header = header(metadata, tensors)
            .map_err(|problem| IoError::Gguf { file: file.to_string(), problem })?;
        let mut rest: Vec<u64> = tensors.iter().filter_map(byte_len).collect();
        rest.reverse();
        let mut writer = GgufWriter { out, file: file.to_string(), rest, lacks: 0, padding: 0 };
        writer.put(&header)?;
        writer.padding = padding(header.len() as u64);
        writer.next()?;
        Ok(writer)
    }

    /// Bytes of the file that would hold `tensors`, header and padding included, at most.
    pub fn file_bytes(metadata: &BTreeMap<String, GgufValue>, tensors: &[GgufTensor]) -> u64 {
        let header = header(metadata, tensors).map_or(0, |header| header.len() as u64);
        let padded = |bytes: u64| bytes.saturating_add(DEFAULT_ALIGNMENT);
        let data = tensors.iter().filter_map(byte_len).map(padded);
        data.fold(padded(header), u64::saturating_add)
    }

    /// Writes the next bytes of data.
    ///
    /// # Errors
    /// [`IoError::Write`].
    ///
    /// # Panics
    /// If these are more than the tensors have.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let length = self.lacks.min(bytes.len() as u64) as usize;
            assert!(length > 0, "more bytes than the tensors have");
            let (now, later) = bytes.split_at(length);
            self.put(now)?;
            self.lacks -= length as u64;
            self.next()?;
            bytes = later;
        }
        Ok(())
    }

    /// Flushes, and gives back what was written to.
    ///
    /// # Errors
    /// [`IoError::Write`].
    ///
    /// # Panics
    /// If bytes of a tensor are missing.
    pub fn finish(mut self) -> Result<W> {
        assert!(self.lacks == 0 && self.rest.is_empty(), "bytes of a tensor are missing");
        let flushed = self.out.flush();
        self.check(flushed)?;
        Ok(self.out)
    }

    /// Passes on to the next tensor that has bytes, once the current one is complete.
    fn next(&mut self) -> Result<()> {
        while self.lacks == 0 {
            let zeros = [0; DEFAULT_ALIGNMENT as usize];
            self.put(&zeros[..self.padding as usize])?;
            self.padding = 0;
            let Some(bytes) = self.rest.pop() else { break };
            (self.lacks, self.padding) = (bytes, padding(bytes));
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        self.check(written)
    }

    fn check(&self, outcome: std::io::Result<()>) -> Result<()> {
        outcome
            .map_err(|source| IoError::Write { file: self.file.clone(), reason: Arc::new(source) })
    }
}

/// Bytes from here to the next multiple of the alignment.
fn padding(bytes: u64) -> u64 {
    bytes.wrapping_neg() % DEFAULT_ALIGNMENT
}

fn byte_len(tensor: &GgufTensor) -> Option<u64> {
    tensor.dtype.byte_len(&tensor.shape).map(|bytes| bytes as u64)
}

fn header(
    metadata: &BTreeMap<String, GgufValue>,
    tensors: &[GgufTensor],
) -> Result<Vec<u8>, GgufProblem> {
    let mut header = MAGIC.to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        metadata::write(key, value, &mut header);
    }
    let mut offset = 0_u64;
    for tensor in tensors {
        let GgufTensor { name, dtype, shape } = tensor;
        let Some(number) = types::number(*dtype) else {
            return Err(GgufProblem::Type { tensor: name.clone(), found: dtype.to_string() });
        };
        let Some(bytes) = byte_len(tensor) else {
            let (tensor, dtype, shape) = (name.clone(), *dtype, shape.clone());
            return Err(GgufProblem::PartialBlock { tensor, dtype, shape });
        };
        metadata::write_text(name, &mut header);
        header.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|&n| header.extend((n as u64).to_le_bytes()));
        header.extend(number.to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset += bytes + padding(bytes);
    }
    Ok(header)
}
