//! Weights: typed views of tensors on the host, and tensors in a backend's slot.

use grating_backend::{Backend, BackendError, Format, TensorRef, Then};
use grating_io::Dtype;
use grating_quant as quant;

use crate::error::{ModelError, Result};
use crate::parts::Part;
use crate::spec::{LinearSpec, TensorSpec};

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
        let expected = dtype.byte_len(shape);
        if expected != Some(bytes.len()) {
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

    /// The elements converted to f32, exactly; of a block format, the numbers that its blocks stand for.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.shape.iter().product()];
        self.widen_into(&mut out);
        out
    }

    /// As [`Self::to_f32`], into `out`.
    ///
    /// # Panics
    /// If `out` is not as long as there are elements, or for a type that no model is loaded with.
    pub fn widen_into(&self, out: &mut [f32]) {
        widen(self.dtype, self.bytes, out);
    }
}

/// Converts stored elements to f32; every supported type is narrower, so that nothing is rounded but the product of
/// scale and quant in a block format.
///
/// # Panics
/// If the lengths do not fit each other, or for a type that [`is_supported`] refuses.
pub(crate) fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(dtype.byte_len(&[out.len()]), Some(bytes.len()), "bytes and elements differ");
    let format = format_of(dtype).expect("other types are refused when a model is loaded");
    quant::dequantize_into(format, bytes, out).expect("the bytes are those of the elements");
}

/// How backends call this type, if models are loaded with it.
pub fn format_of(dtype: Dtype) -> Option<Format> {
    match dtype {
        Dtype::F32 => Some(Format::F32),
        Dtype::F16 => Some(Format::F16),
        Dtype::BF16 => Some(Format::Bf16),
        Dtype::Q8_0 => Some(Format::Q8_0),
        Dtype::Q4_0 => Some(Format::Q4_0),
        Dtype::Q4_1 => Some(Format::Q4_1),
        Dtype::Q5_0 => Some(Format::Q5_0),
        Dtype::Q5_1 => Some(Format::Q5_1),
        Dtype::Q4K => Some(Format::Q4K),
        Dtype::Q5K => Some(Format::Q5K),
        Dtype::Q6K => Some(Format::Q6K),
        _ => None,
    }
}

/// Appends `elements` to `out` as blocks of `dtype` that GGML reads: `Q8_0` with steps that products of integers keep
/// ([`quant::quantize_q8_0_in_groups`]), `Q4_0` byte for byte as GGML does, `Q4_K` as close ([`quant::quantize_q4_k`]).
///
/// # Errors
/// [`ModelError::UnsupportedDtype`] for types that are no blocks, [`ModelError::Backend`] where `elements` are no
/// whole number of blocks.
pub fn quantize(dtype: Dtype, elements: &[f32], out: &mut Vec<u8>) -> Result<()> {
    let quantized = match dtype {
        Dtype::Q8_0 => quant::quantize_q8_0_in_groups(elements, out),
        Dtype::Q4_0 => quant::quantize_q4_0(elements, out),
        Dtype::Q4K => quant::quantize_q4_k(elements, out),
        found => {
            return Err(ModelError::UnsupportedDtype { tensor: "(to quantize)".into(), found });
        }
    };
    Ok(quantized.map_err(BackendError::failed)?)
}

/// Whether weights of this type can be computed on.
pub(crate) fn is_supported(dtype: Dtype) -> bool {
    format_of(dtype).is_some()
}

/// The one that all of them are.
pub(crate) fn alike(formats: impl IntoIterator<Item = Option<Format>>) -> Option<Format> {
    let mut formats = formats.into_iter();
    let first = formats.next()??;
    formats.all(|format| format == Some(first)).then_some(first)
}

/// The weights of a layer, the stem or the head in a backend's slot.
pub struct LayerWeights<'s, B: Backend> {
    backend: &'s B,
    slot: &'s B::Slot,
    parts: &'s [Part],
}

impl<'s, B: Backend> LayerWeights<'s, B> {
    /// Of `parts`, which are the tensors of the block in `slot`, in its order.
    pub fn new(backend: &'s B, slot: &'s B::Slot, parts: &'s [Part]) -> Self {
        LayerWeights { backend, slot, parts }
    }

    /// What computes on them.
    pub(crate) fn backend(&self) -> &'s B {
        self.backend
    }

    /// The weight that `spec` calls for.
    pub(crate) fn bind(&self, spec: &TensorSpec) -> Result<B::Weight<'s>> {
        self.bound(self.index(spec)?, |tensor| tensor)
    }

    /// [`Self::bind_then`] for a vector that is stored less one.
    pub(crate) fn bind_from_one(&self, spec: &TensorSpec, then: Then) -> Result<B::Weight<'s>> {
        self.bound(self.index(spec)?, |tensor| tensor.with_one_added(true).with_then(then))
    }

    /// [`Self::bind`] for the scoring head, whose products are never rounded.
    pub(crate) fn bind_unrounded(&self, spec: &TensorSpec) -> Result<B::Weight<'s>> {
        self.bound(self.index(spec)?, |tensor| tensor.with_unrounded(true))
    }

    /// [`Self::bind`], where this becomes of the outcome of an operation with it.
    pub(crate) fn bind_then(&self, spec: &TensorSpec, then: Then) -> Result<B::Weight<'s>> {
        self.bound(self.index(spec)?, |tensor| tensor.with_then(then))
    }

    /// What becomes of the input of these maps, if nothing else takes it.
    pub(crate) fn input_of<'a>(
        &self,
        maps: impl IntoIterator<Item = &'a LinearSpec>,
    ) -> Result<Then> {
        let format = |map: &LinearSpec| Ok(format_of(self.part(self.index(&map.weight)?).dtype()));
        let formats = maps.into_iter().map(format).collect::<Result<Vec<_>>>()?;
        Ok(Then::Multiplied(alike(formats)))
    }

    /// The weight that `spec` calls for, where there is one.
    pub(crate) fn bind_optional(&self, spec: Option<&TensorSpec>) -> Result<Option<B::Weight<'s>>> {
        spec.map(|spec| self.bind(spec)).transpose()
    }

    /// Which tensor of the block `spec` calls for; at most a few dozen, so that look-ups are linear.
    pub(crate) fn index(&self, spec: &TensorSpec) -> Result<usize> {
        let index = self.parts.iter().position(|part| part.spec() == spec);
        index.ok_or_else(|| ModelError::MissingTensor {
            tensor: spec.name.clone(),
            expected: spec.shape.clone(),
        })
    }

    /// A tensor of the block.
    pub(crate) fn part(&self, index: usize) -> &'s Part {
        &self.parts[index]
    }

    fn bound(
        &self,
        index: usize,
        with: impl FnOnce(TensorRef<'s>) -> TensorRef<'s>,
    ) -> Result<B::Weight<'s>> {
        let part = &self.parts[index];
        let found = part.dtype();
        let format = format_of(found).ok_or_else(|| ModelError::UnsupportedDtype {
            tensor: part.tensor().name.clone(),
            found,
        })?;
        let tensor = with(TensorRef::new(index, format, part.shape()));
        Ok(self.backend.bind(self.slot, tensor)?)
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
        assert!(matches!(error, ModelError::WeightBytes { expected: Some(6), found: 5, .. }));
        let error = TensorView::new(Dtype::Q8_0, &[4, 16], &[0; 68]).unwrap_err();
        assert!(matches!(error, ModelError::WeightBytes { expected: None, .. }), "half a block");
    }

    #[test]
    fn blocks_widen_to_what_they_stand_for() {
        // Scale 0.5, then 0, 1, 2, ...
        let mut block = half::f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend(0..32_u8);
        let blocks = block.repeat(2);
        let expected: Vec<f32> = (0..64).map(|i| (i % 32) as f32 * 0.5).collect();
        assert_eq!(TensorView::new(Dtype::Q8_0, &[2, 32], &blocks).unwrap().to_f32(), expected);
        // Scale 2, low halves 8 (zero), high halves 15 (seven).
        let mut block = half::f16::from_f32(2.0).to_le_bytes().to_vec();
        block.extend([0xf8; 16]);
        let row = TensorView::new(Dtype::Q4_0, &[32], &block).unwrap().to_f32();
        assert_eq!((&row[..16], &row[16..]), (&[0.0; 16][..], &[14.0; 16][..]));
    }
}
