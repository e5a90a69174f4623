//! Which bytes of a checkpoint make up a layer, the stem or the head, resolved and checked once at load time.

use grating_backend::HostBlock;
use grating_io::{Checkpoint, Dtype, TensorInfo};

use crate::error::{ModelError, Result};
use crate::gguf_names;
use crate::weights::{TensorView, is_supported};

/// A tensor that a configuration calls for.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Name without the prefix of the layer or model.
    pub name: &'static str,
    /// Older spelling of the same tensor, if there is one.
    pub alias: Option<&'static str>,
    /// Shape that the configuration calls for.
    pub shape: Vec<usize>,
}

impl Spec {
    pub(crate) fn new(name: &'static str, shape: impl Into<Vec<usize>>) -> Self {
        Spec { name, alias: None, shape: shape.into() }
    }

    pub(crate) fn or(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// Finds the tensor under `prefix` and checks its shape and type.
    pub(crate) fn resolve(&self, checkpoint: &Checkpoint, prefix: &str) -> Result<Part> {
        let full = |name: &str| format!("{prefix}{name}");
        let info = checkpoint
            .get(&full(self.name))
            .or_else(|| self.alias.and_then(|alias| checkpoint.get(&full(alias))))
            .or_else(|| gguf_names::of(&full(self.name)).and_then(|name| checkpoint.get(&name)))
            .ok_or_else(|| ModelError::MissingTensor {
                tensor: full(self.name),
                expected: self.shape.clone(),
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
        Ok(Part { name: self.name, shape: self.shape.clone(), info: info.clone(), rows: None })
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
    name: &'static str,
    shape: Vec<usize>,
    info: TensorInfo,
    rows: Option<Vec<u32>>,
}

impl Part {
    /// The family's name for it, e.g. `self_attn.q_proj.weight`.
    pub fn name(&self) -> &'static str {
        self.name
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

    /// Only these rows of the matrix.
    pub(crate) fn rows(mut self, rows: &[u32]) -> Self {
        self.shape[0] = rows.len();
        self.rows = Some(rows.to_vec());
        self
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
        match &self.rows {
            None => checkpoint.read(&self.info, buffer)?,
            Some(rows) => {
                let row_bytes = buffer.len() / rows.len();
                for (row, out) in rows.iter().zip(buffer.chunks_exact_mut(row_bytes)) {
                    checkpoint.read_range(&self.info, u64::from(*row) * row_bytes as u64, out)?;
                }
            }
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
