//! The folder of a quantized model, complete or not at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grating_engine::CancelToken;
use grating_io::{AtomicFolder, Checkpoint, GgufTensor, GgufValue, GgufWriter, free_bytes};
use grating_model::{Identity, PromptSource, TensorView};
use rayon::prelude::*;

use super::plan::Planned;
use super::{QuantizeError, WeightFormat};
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// What the folder's name begins with until it is complete.
const HIDDEN: &str = ".grating-quantize-";
/// Weights in memory at one time.
const PIECE_ELEMENTS: usize = 1 << 20;

/// Links to nowhere count: something of that name is there.
pub(super) fn refuse_existing(out: &Path) -> Result<(), QuantizeError> {
    match out.symlink_metadata().is_ok() {
        true => Err(QuantizeError::Exists { path: out.into() }),
        false => Ok(()),
    }
}

/// Writes a folder beside `out`, then gives it that name.
pub(super) fn write(
    files: &ModelFiles,
    tensors: &[Planned],
    identity: &Identity,
    format: WeightFormat,
    out: &Path,
    cancel: &CancelToken,
) -> Result<()> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let metadata = metadata(&files.name, format);
    let entry = |tensor: &Planned| {
        let from = &tensor.from;
        GgufTensor::new(&from.name, tensor.to, from.shape.clone())
    };
    let entries: Vec<GgufTensor> = tensors.iter().map(entry).collect();
    let small = small_files(files, identity);
    let json_bytes: usize = small.iter().map(|(_, bytes)| bytes.len()).sum();
    check_space(
        parent,
        GgufWriter::<File>::file_bytes(&metadata, &entries) + json_bytes as u64,
        free_bytes(parent),
    )?;

    let folder = AtomicFolder::new(parent, HIDDEN).map_err(failure(parent))?;
    for (name, bytes) in small {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failure(parent))?;
        }
        fs::write(&path, bytes).map_err(failure(&path))?;
    }
    let path = folder.path().join("model.gguf");
    let file = File::create_new(&path).map_err(failure(&path))?;
    let shown = path.display().to_string();
    let mut writer = GgufWriter::new(BufWriter::new(file), &shown, &metadata, &entries)?;
    for tensor in tensors {
        write_tensor(&files.checkpoint, tensor, &mut writer, cancel)?;
    }
    let file = writer.finish()?.into_inner().map_err(|error| failure(&path)(error.into_error()))?;
    file.sync_all().map_err(failure(&path))?;
    refuse_existing(out)?;
    folder.commit(out).map_err(failure(out))?;
    Ok(())
}

/// All that says what the model is; a new folder has another name than the old one.
fn small_files<'a>(files: &'a ModelFiles, identity: &Identity) -> Vec<(&'a str, Cow<'a, [u8]>)> {
    let mut small: Vec<(&str, Cow<'_, [u8]>)> = vec![
        ("config.json", Cow::from(&files.config)),
        ("tokenizer.json", Cow::from(&files.tokenizer)),
    ];
    let beside = &files.beside_tokenizer;
    small.extend(beside.iter().map(|(name, bytes)| (*name, Cow::from(bytes))));
    let others =
        files.side_files.files().filter(|(path, _)| beside.iter().all(|(name, _)| name != path));
    small.extend(others.map(|(path, bytes)| (path, Cow::from(bytes))));
    match &files.grating {
        Some(bytes) => small.push(("grating.json", Cow::from(bytes))),
        None => {
            if let PromptSource::Name { grating_json } = &identity.source {
                small.push(("grating.json", Cow::from(grating_json.clone().into_bytes())));
            }
        }
    }
    small
}

/// What the file says of itself. The architecture is not one of llama.cpp's: names of tensors are the original ones.
fn metadata(model: &str, format: WeightFormat) -> BTreeMap<String, GgufValue> {
    let text = |text: &str| GgufValue::Text(text.to_string());
    BTreeMap::from([
        ("general.architecture".to_string(), text("grating")),
        ("general.name".to_string(), text(model)),
        ("general.quantization_version".to_string(), GgufValue::Unsigned(2)),
        ("grating.format".to_string(), text(format.name())),
    ])
}

fn check_space(folder: &Path, needed: u64, free: Option<u64>) -> Result<(), QuantizeError> {
    match free {
        Some(free) if free < needed => {
            Err(QuantizeError::DiskSpace { folder: folder.into(), needed, free })
        }
        _ => Ok(()),
    }
}

fn failure(path: &Path) -> impl Fn(std::io::Error) -> QuantizeError {
    let path = PathBuf::from(path);
    move |source| QuantizeError::Write { path: path.clone(), reason: Arc::new(source) }
}

fn write_tensor<W: Write>(
    checkpoint: &Checkpoint,
    tensor: &Planned,
    writer: &mut GgufWriter<W>,
    cancel: &CancelToken,
) -> Result<()> {
    let Planned { from, to } = tensor;
    let columns = from.shape.last().copied().unwrap_or(1);
    let rows = from.elements() / columns.max(1);
    let row_bytes = from.byte_len() / rows.max(1) as u64;
    let piece_rows = (PIECE_ELEMENTS / columns.max(1)).max(1);
    for first in (0..rows).step_by(piece_rows) {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let count = piece_rows.min(rows - first);
        let mut bytes = vec![0; count * row_bytes as usize];
        checkpoint.read_range(from, first as u64 * row_bytes, &mut bytes)?;
        if from.dtype != *to {
            let shape = [count, columns];
            let view = TensorView::new(from.dtype, &shape, &bytes).map_err(of_tensor(tensor))?;
            bytes = quantized(tensor, view.to_f32(), columns, first)?;
        }
        writer.write(&bytes)?;
    }
    Ok(())
}

/// The blocks of some whole rows, the first of which is row `first` of the tensor.
fn quantized(
    tensor: &Planned,
    elements: Vec<f32>,
    columns: usize,
    first: usize,
) -> Result<Vec<u8>> {
    if let Some(at) = elements.iter().position(|x| !x.is_finite()) {
        let element = (first * columns + at) as u64;
        return Err(QuantizeError::NotFinite { tensor: tensor.from.name.clone(), element }.into());
    }
    let row = |row: &[f32]| {
        let mut blocks = Vec::new();
        grating_model::quantize(tensor.to, row, &mut blocks).map(|()| blocks)
    };
    let rows: Result<Vec<Vec<u8>>, _> = elements.par_chunks(columns).map(row).collect();
    Ok(rows.map_err(of_tensor(tensor))?.concat())
}

fn of_tensor(tensor: &Planned) -> impl Fn(grating_model::ModelError) -> Error {
    let name = tensor.from.name.clone();
    move |error| Error::of_model(&name, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_said_to_be_with_both_sizes() {
        let error = check_space(Path::new("/somewhere"), 1000, Some(999)).unwrap_err().to_string();
        assert!(["/somewhere", "999", "1000"].iter().all(|s| error.contains(s)), "{error}");
        assert!(check_space(Path::new("."), 1000, Some(1000)).is_ok());
        assert!(check_space(Path::new("."), 1000, None).is_ok());
    }
}
