//! Weights on their way: blocks of bytes on the host, and which of them are a tensor.

use crate::format::Format;

/// The bytes of a block of weights in host memory, tensor by tensor, for as long as the value lives.
pub trait HostBlock: Send + Sync {
    /// Tensors of the block.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of tensor `index`, as they lie in the checkpoint; no alignment is promised.
    ///
    /// # Panics
    /// If there are not so many.
    fn bytes(&self, index: usize) -> &[u8];
}

/// What becomes of the outcome of an operation, by which a backend may store it: who tells nothing gets the most exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Then {
    /// It is part of a hidden state or of a score, or goes to the host.
    #[default]
    Kept,
    /// It is queries, keys or values of attention.
    Attended,
    /// It is multiplied by matrices, and nothing else; of this format, where all of them are stored alike.
    Multiplied(Option<Format>),
}

/// One tensor of an admitted block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorRef<'a> {
    /// Its number in the block.
    pub index: usize,
    /// How its elements are stored.
    pub format: Format,
    /// `[n]` for vectors, `[out, in]` for matrices.
    pub shape: &'a [usize],
    /// Whether products with it are taken in f32 whatever the backend's precision: the scoring head's.
    pub unrounded: bool,
    /// Whether a vector's elements are stored less one, which is added in f32: norms that begin at the identity.
    pub one_added: bool,
    /// What becomes of the outcome of an operation with it.
    pub then: Then,
}

impl<'a> TensorRef<'a> {
    /// Tensor `index` of its block.
    pub const fn new(index: usize, format: Format, shape: &'a [usize]) -> Self {
        TensorRef { index, format, shape, unrounded: false, one_added: false, then: Then::Kept }
    }

    /// With products in f32 whatever the backend's precision, or not.
    #[must_use]
    pub const fn with_unrounded(self, unrounded: bool) -> Self {
        TensorRef { unrounded, ..self }
    }

    /// With one added to the elements of a vector, or not.
    #[must_use]
    pub const fn with_one_added(self, one_added: bool) -> Self {
        TensorRef { one_added, ..self }
    }

    /// With outcomes of which this becomes.
    #[must_use]
    pub const fn with_then(self, then: Then) -> Self {
        TensorRef { then, ..self }
    }
}
