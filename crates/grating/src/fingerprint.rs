//! Which model this is: a hash that is cheap for weights of any size.

use std::sync::OnceLock;

use grating_io::Checkpoint;
use grating_model::{Identity, PromptSource};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::files::ModelFiles;

/// Bytes of each tensor that count, from its beginning and from its end.
const SAMPLE_BYTES: u64 = 4096;

/// A model's hash, taken when it is first asked for.
///
/// SHA-256 of `config.json`, `grating.json` where there is one, the files that say which prompt is the model's where
/// some do, and for each tensor by name its name, type, shape and
/// its first and last 4096 bytes. Training moves every tensor, so another training is another hash; an edit in the
/// middle of one tensor is not seen.
#[derive(Debug)]
pub(crate) struct Fingerprint {
    settings: Sha256,
    checkpoint: Checkpoint,
    hash: OnceLock<String>,
}

impl Fingerprint {
    pub(crate) fn new(files: &ModelFiles, identity: &Identity) -> Self {
        let mut settings = Sha256::new();
        for file in [Some(&files.config), files.grating.as_ref()] {
            let file = file.map_or(&[][..], Vec::as_slice);
            settings.update((file.len() as u64).to_le_bytes());
            settings.update(file);
        }
        if identity.source == PromptSource::Files {
            // The model card may be edited at will.
            for (path, content) in files.side_files.files().filter(|(path, _)| *path != "README.md")
            {
                settings.update(format!("{path}\0{}\0", content.len()));
                settings.update(content);
            }
        }
        Fingerprint { settings, checkpoint: files.checkpoint.clone(), hash: OnceLock::new() }
    }

    /// The hash, in hex.
    ///
    /// # Errors
    /// When the weights cannot be read.
    pub(crate) fn hash(&self) -> Result<String> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash.clone());
        }
        let hash = self.take()?;
        Ok(self.hash.get_or_init(|| hash).clone())
    }

    fn take(&self) -> Result<String> {
        let mut hash = self.settings.clone();
        let mut bytes = vec![0; SAMPLE_BYTES as usize];
        for tensor in self.checkpoint.tensors() {
            hash.update(format!("{}\0{}\0{:?}\0", tensor.name, tensor.dtype, tensor.shape));
            let sample = tensor.byte_len().min(SAMPLE_BYTES);
            let bytes = &mut bytes[..sample as usize];
            for offset in [0, tensor.byte_len() - sample] {
                self.checkpoint.read_range(tensor, offset, bytes)?;
                hash.update(&*bytes);
            }
        }
        Ok(hex(&hash.finalize()))
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
