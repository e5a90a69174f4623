//! Weights as bytes: typed views of tensors, wherever their bytes lie.

use grating_io::Dtype;

use crate::error::{ModelError, Result};

/// A tensor's bytes, row-major and little-endian as in the checkpoint, with its type and shape.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    dtype: Dtype,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Checks that `bytes` is what `shape` and `dtype` need.
    ///
    /// # Errors
    /// [`ModelError::WeightBytes`] when it is not.
    pub fn new(dtype: Dtype, shape: &'a [usize], bytes: &'a [u8]) -> Result<Self> {
        let expected = shape.iter().product::<usize>() * dtype.bits() as usize / 8;
        if bytes.len() != expected {
            return Err(ModelError::WeightBytes {
                shape: shape.to_vec(),
                dtype,
                expected,
                found: bytes.len(),
            });
        }
        Ok(TensorView { dtype, shape, bytes })
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The bytes; no alignment is promised.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements converted to f32, exactly.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.shape.iter().product()];
        self.widen_into(&mut out);
        out
    }

    /// The elements converted to f32, exactly.
    ///
    /// # Panics
    /// If `out` is not as long as there are elements, or for a type that no model is loaded with.
    pub fn widen_into(&self, out: &mut [f32]) {
        widen(self.dtype, self.bytes, out);
    }
}

/// Converts stored elements to f32, exactly; every supported type is narrower.
///
/// # Panics
/// If the lengths do not fit each other, or for a type that [`is_supported`] refuses.
pub(crate) fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len() * 8, out.len() * dtype.bits() as usize, "bytes and elements differ");
    match dtype {
        Dtype::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Dtype::F16 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *o = half::f16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        Dtype::BF16 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *o = half::bf16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        other => unreachable!("{other} is refused when the model is loaded"),
    }
}

/// Whether weights of this type can be computed on.
pub(crate) fn is_supported(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The weights of one layer (or head): views under the family's own names for them.
///
/// The names are the checkpoint's without the layer's prefix, e.g. `self_attn.q_proj.weight`.
#[derive(Debug, Clone)]
pub struct LayerWeights<'a> {
    entries: Vec<(&'static str, TensorView<'a>)>,
}

impl<'a> LayerWeights<'a> {
    /// Collects views; at most a few dozen, so look-ups are linear.
    pub fn new(entries: Vec<(&'static str, TensorView<'a>)>) -> Self {
        LayerWeights { entries }
    }

    /// The view under `name`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] when it did not come.
    pub fn view(&self, name: &str) -> Result<TensorView<'a>> {
        self.optional(name)
            .ok_or_else(|| ModelError::MissingTensor { tensor: name.to_string(), expected: vec![] })
    }

    /// The view under `name`, if it is there.
    pub fn optional(&self, name: &str) -> Option<TensorView<'a>> {
        self.entries.iter().find(|(n, _)| *n == name).map(|(_, view)| *view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_is_exact() {
        let values = [0.0f32, -1.5, 3.140625, 65504.0];
        let f16: Vec<u8> =
            values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(TensorView::new(Dtype::F16, &[2, 2], &f16).unwrap().to_f32(), values);
        let f32: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(TensorView::new(Dtype::F32, &[4], &f32).unwrap().to_f32(), values);
    }

    #[test]
    fn a_view_of_the_wrong_length_is_refused() {
        let error = TensorView::new(Dtype::BF16, &[3], &[0; 5]).unwrap_err();
        assert!(matches!(error, ModelError::WeightBytes { expected: 6, found: 5, .. }));
    }
}
