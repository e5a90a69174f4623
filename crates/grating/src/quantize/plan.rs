//! Which tensor is stored as what, and in which order.

use std::collections::{BTreeMap, HashSet};

use grating_io::{Dtype, TensorInfo};
use grating_model::{Model, Part};

use super::{QuantizeError, QuantizeReport, StoredAs, WeightFormat};

/// A tensor of the model and what it will be stored as.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    pub(super) from: TensorInfo,
    pub(super) to: Dtype,
}

impl Planned {
    pub(super) fn byte_len(&self) -> u64 {
        let bytes = self.to.byte_len(&self.from.shape);
        bytes.expect("types are chosen to fit the shape") as u64
    }
}

/// Every tensor that the model uses, once. Layers follow one another, as they are read.
pub(super) fn plan(model: &Model, format: WeightFormat) -> Result<Vec<Planned>, QuantizeError> {
    let layers = (0..model.config().layers).flat_map(|layer| model.layer_parts(layer));
    let head: HashSet<&str> = model.head_parts().iter().map(|p| p.tensor().name.as_str()).collect();
    let embeddings = model.token_embeddings();
    let is_head = head.contains(embeddings.tensor().name.as_str());
    let kept = |part: &Part| Planned { from: part.tensor().clone(), to: part.dtype() };
    let planned = (model.stem_parts().iter().map(kept))
        .chain(layers.map(|part| stored_as(part, format.dtype())))
        .chain(model.position_embeddings().map(kept))
        .chain((!is_head).then(|| stored_as(embeddings, Dtype::Q8_0)))
        .chain(model.head_parts().iter().map(kept));
    let mut planned: Vec<Planned> = planned.collect();
    // Of a tensor that holds several matrices, or their biases, each is a part.
    let mut seen = HashSet::new();
    planned.retain(|planned| seen.insert(planned.from.name.clone()));
    match planned.iter().find(|p| p.from.dtype.is_quantized()) {
        Some(Planned { from, .. }) => {
            Err(QuantizeError::Already { tensor: from.name.clone(), dtype: from.dtype })
        }
        None => Ok(planned),
    }
}

/// A matrix in `wanted` if its rows are whole blocks, else in smaller blocks, else as it is.
fn stored_as(part: &Part, wanted: Dtype) -> Planned {
    let from = part.tensor().clone();
    let fits = |dtype: &Dtype| dtype.byte_len(&from.shape).is_some();
    let to = match from.shape.as_slice() {
        [rows, columns] if *rows > 1 && *columns > 1 => {
            [wanted, Dtype::Q8_0].into_iter().find(fits).unwrap_or(from.dtype)
        }
        _ => from.dtype,
    };
    Planned { from, to }
}

/// What was written.
pub(super) fn report(tensors: &[Planned], format: WeightFormat) -> QuantizeReport {
    let mut by_type: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for tensor in tensors {
        let (count, bytes) = by_type.entry(tensor.to.name()).or_default();
        *count += 1;
        *bytes += tensor.byte_len();
    }
    let row = |(dtype, (tensors, bytes)): (&str, (usize, u64))| StoredAs {
        dtype: dtype.to_string(),
        tensors,
        bytes,
    };
    let mut stored: Vec<StoredAs> = by_type.into_iter().map(row).collect();
    stored.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    QuantizeReport {
        stored,
        in_format: tensors.iter().filter(|tensor| tensor.to == format.dtype()).count(),
        bytes_before: tensors.iter().map(|t| t.from.byte_len()).sum(),
        bytes_after: tensors.iter().map(Planned::byte_len).sum(),
    }
}
