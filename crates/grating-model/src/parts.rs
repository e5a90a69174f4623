//! Which bytes of a checkpoint make up a layer, the stem or the head, resolved and checked once at load time.

use std::ops::Range;

use grating_backend::HostBlock;
use grating_io::{Checkpoint, Dtype, Extent, TensorInfo};

use crate::error::{ModelError, Result};
use crate::spec::TensorSpec;
use crate::weights::{TensorView, is_supported};

impl TensorSpec {
    /// Finds the tensor and checks its shape and type.
    pub(crate) fn resolve(&self, checkpoint: &Checkpoint) -> Result<Part> {
        let mut names = std::iter::once(&self.name).chain(&self.aliases);
        let info = names.find_map(|name| checkpoint.get(name)).ok_or_else(|| {
            ModelError::MissingTensor { tensor: self.name.clone(), expected: self.shape.clone() }
        })?;
        // GGML does not tell a matrix of one row from a vector.
        if without_ones(&info.shape) != without_ones(&self.shape) {
            return Err(ModelError::Shape {
                tensor: info.name.clone(),
                expected: self.shape.clone(),
                found: info.shape.clone(),
            });
        }
        if !is_supported(info.dtype) {
            return Err(ModelError::UnsupportedDtype {
                tensor: info.name.clone(),
                found: info.dtype,
            });
        }
        let mut shape = self.shape.clone();
        if let Some(rows) = &self.rows {
            shape[0] = rows.iter().map(Range::len).sum();
        }
        Ok(Part { spec: self.clone(), shape, info: info.clone() })
    }
}

/// A shape without the leading extents that are 1.
fn without_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|&&n| n == 1).count();
    &shape[ones..]
}

/// One tensor, or a few rows of one, of a layer, the stem or the head.
#[derive(Debug, Clone)]
pub struct Part {
    spec: TensorSpec,
    /// Of what is read.
    shape: Vec<usize>,
    info: TensorInfo,
}

impl Part {
    pub(crate) fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// Shape of what is read: of the rows alone, where only rows are.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The checkpoint's tensor.
    pub fn tensor(&self) -> &TensorInfo {
        &self.info
    }

    /// Bytes that are read.
    pub fn byte_len(&self) -> usize {
        let bytes = self.info.dtype.byte_len(&self.shape);
        bytes.expect("the checkpoint has checked rows of this length")
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.info.dtype
    }

    /// Where its bytes lie, for a reader of files.
    ///
    /// # Panics
    /// If it is several runs of rows: only a head has those, and reads them itself.
    pub fn extent(&self, checkpoint: &Checkpoint) -> Extent {
        let whole = checkpoint.extent(&self.info);
        match self.spec.rows.as_deref() {
            None => whole,
            Some([rows]) => {
                let first = whole.offset + (self.row_bytes() * rows.start) as u64;
                Extent::new(whole.storage, first, self.byte_len(), whole.label)
            }
            Some(_) => panic!("rows that do not follow one another are no extent"),
        }
    }

    /// Bytes of a row, of which rows are read.
    fn row_bytes(&self) -> usize {
        self.byte_len() / self.shape[0]
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// The checkpoint's own.
    ///
    /// # Panics
    /// If `buffer` is not `byte_len` long.
    pub fn read(&self, checkpoint: &Checkpoint, buffer: &mut [u8]) -> Result<()> {
        assert_eq!(buffer.len(), self.byte_len(), "buffer and part differ in length");
        let Some(rows) = &self.spec.rows else {
            return Ok(checkpoint.read(&self.info, buffer)?);
        };
        let row_bytes = self.row_bytes();
        let mut rest = buffer;
        for rows in rows {
            let (out, after) = rest.split_at_mut(rows.len() * row_bytes);
            checkpoint.read_range(&self.info, rows.start as u64 * row_bytes as u64, out)?;
            rest = after;
        }
        Ok(())
    }
}

/// The bytes of some parts, read into one buffer that is reused.
///
/// A simple synchronous way to feed a model: fine for tests, tools and small models. A streaming engine has its own.
#[derive(Debug, Default)]
pub struct PartBuffer {
    bytes: Vec<u8>,
    /// Where the bytes of each part end.
    ends: Vec<usize>,
}

impl PartBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        PartBuffer::default()
    }

    /// Reads all parts, replacing what was there; returns the number of bytes read.
    ///
    /// # Errors
    /// The checkpoint's own.
    pub fn fill(&mut self, checkpoint: &Checkpoint, parts: &[Part]) -> Result<u64> {
        self.ends.clear();
        self.bytes.resize(parts.iter().map(Part::byte_len).sum(), 0);
        let mut start = 0;
        for part in parts {
            let end = start + part.byte_len();
            part.read(checkpoint, &mut self.bytes[start..end])?;
            self.ends.push(end);
            start = end;
        }
        Ok(self.bytes.len() as u64)
    }

    /// The bytes of some parts, read into a buffer of their own.
    ///
    /// # Errors
    /// The checkpoint's own.
    pub fn read(checkpoint: &Checkpoint, parts: &[Part]) -> Result<Self> {
        let mut buffer = PartBuffer::new();
        buffer.fill(checkpoint, parts)?;
        Ok(buffer)
    }

    /// The part that was read as number `index`, which must be the one given.
    ///
    /// # Errors
    /// [`crate::ModelError::WeightBytes`] when it is not.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn view<'a>(&'a self, index: usize, part: &'a Part) -> Result<TensorView<'a>> {
        TensorView::new(part.dtype(), &part.shape, self.bytes(index))
    }
}

impl HostBlock for PartBuffer {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}
