//! Finished measurements on disk, found again by all their parameters.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The folder of finished cells.
pub(super) struct Cells {
    folder: PathBuf,
}

/// One file.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    key: Value,
    result: T,
}

impl Cells {
    pub(super) fn open(out: &Path) -> Result<Self> {
        let folder = out.join("cells");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The stored result of `key`, or that of `measure`, which is stored. `key` names whatever could
    /// change the result.
    pub(super) fn get_or<T: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        key: Value,
        measure: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self.folder.join(format!("{kind}-{}.json", digest(key.to_string().as_bytes())));
        // A file that cannot be read back is of an older form or cut short: measured again.
        if let Ok(text) = fs::read_to_string(&path)
            && let Ok(stored) = serde_json::from_str::<Stored<T>>(&text)
            && stored.key == key
        {
            return Ok(stored.result);
        }
        let result = measure()?;
        let stored = Stored { key, result };
        write_whole(&path, &serde_json::to_string_pretty(&stored)?)?;
        Ok(stored.result)
    }
}

/// Writes under a temporary name first: a file is there whole or not at all.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The first 64 bits of SHA-256, in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_measured_once_and_again_when_a_parameter_or_the_file_changes() {
        let out = tempfile::tempdir().unwrap();
        let cells = Cells::open(out.path()).unwrap();
        let mut measured = 0;
        let mut get = |key: Value| -> u32 {
            cells
                .get_or("test", key, || {
                    measured += 1;
                    Ok(measured)
                })
                .unwrap()
        };
        assert_eq!((get(json!({"n": 1})), get(json!({"n": 1}))), (1, 1));
        assert_eq!((get(json!({"n": 2})), get(json!({"n": 1}))), (2, 1));
        for entry in fs::read_dir(out.path().join("cells")).unwrap() {
            fs::write(entry.unwrap().path(), "{\"key\": ").unwrap();
        }
        assert_eq!(get(json!({"n": 1})), 3);
        let failed = cells.get_or::<u32>("test", json!({"n": 3}), || anyhow::bail!("no"));
        assert!(failed.is_err());
        assert_eq!(get(json!({"n": 3})), 4, "a failure is not kept");
    }
}
