//! Which files a path means, and what is said when there are none.

use grating_io::{Checkpoint, FileStorage, IoError, Storage};

use crate::support::{read, variant, vectors, write};

#[test]
fn a_folder_with_one_file() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", vectors(&[("b", 3), ("a", 2)]));
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.tensors().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(read(&checkpoint, "a"), [3, 4]);
    assert_eq!((checkpoint.data_bytes(), checkpoint.shards().len()), (5, 1));
    assert!(checkpoint.name().ends_with("model.safetensors"));
    assert_eq!(checkpoint.shards()[0].name(), checkpoint.name());
}

#[test]
fn one_file_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "adapter.safetensors", vectors(&[("a", 2)]));
    assert!(Checkpoint::open(folder.path().join("adapter.safetensors")).is_ok());
}

#[test]
fn the_single_file_wins_over_an_index() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", vectors(&[("a", 2)]));
    write(folder.path(), "model.safetensors.index.json", "not even JSON");
    assert!(Checkpoint::open(folder.path()).is_ok());
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "config.json", "{}");
    let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("model.safetensors and model.safetensors.index.json"), "{message}");
}

#[test]
fn an_adapter_is_offered_and_not_taken_for_a_model() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "adapter_model.safetensors", vectors(&[("a", 2)]));
    write(folder.path(), "pytorch_model.bin", "");
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, IoError::NoCheckpoint { candidates, .. }
            if candidates == &["adapter_model.safetensors"]),
        "{error:?}"
    );
}

#[test]
fn nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("absent"), folder.path().join("absent/model.safetensors")] {
        assert_eq!(variant(&Checkpoint::open(&path).unwrap_err()), "NotFound");
        assert_eq!(variant(&FileStorage::open(&path).unwrap_err()), "NotFound");
    }
}

#[test]
fn a_folder_is_not_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(variant(&Checkpoint::open(folder.path()).unwrap_err()), "NotAFile");
    assert_eq!(variant(&FileStorage::open(folder.path()).unwrap_err()), "NotAFile");
}

#[cfg(unix)]
#[test]
fn devices_are_not_files_and_links_are_followed() {
    assert_eq!(variant(&Checkpoint::open("/dev/null").unwrap_err()), "NotAFile");

    // The layout of the Hugging Face cache: links into a folder of blobs.
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("model.safetensors");
    std::os::unix::fs::symlink("blob", &link).unwrap();
    let dangling = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(&dangling, IoError::NotFound { path } if *path == link), "{dangling:?}");
    write(folder.path(), "blob", vectors(&[("a", 2)]));
    assert!(Checkpoint::open(folder.path()).is_ok());
}

#[test]
fn file_storage_reads_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "f", b"0123456789");
    let storage = FileStorage::open(folder.path().join("f")).unwrap();
    assert_eq!((storage.len(), storage.is_empty()), (10, false));
    assert!(storage.name().ends_with('f'));
    let mut three = [0; 3];
    storage.read_at(7, &mut three).unwrap();
    assert_eq!(&three, b"789");
    storage.read_at(10, &mut []).unwrap();
    for offset in [8, 10, u64::MAX] {
        assert_eq!(variant(&storage.read_at(offset, &mut three).unwrap_err()), "OutOfBounds");
    }
}

/// Opening a pipe waits for somebody to write into it, so it must be recognised before.
#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("model.safetensors");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(FileStorage::open(pipe).map(drop)));
    let outcome = outcome.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(variant(&outcome.expect("it must not wait").unwrap_err()), "NotAFile");
}

#[test]
fn one_model_under_any_name_is_the_folders() {
    for name in ["weights.safetensors", "model-00001-of-00001.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, vectors(&[("a", 2)]));
        write(folder.path(), "adapter_model.safetensors", "beside it");
        for path in [folder.path().into(), folder.path().join(name)] {
            assert_eq!(Checkpoint::open(path).unwrap().tensors().count(), 1, "{name}");
        }
        write(folder.path(), "another.safetensors", vectors(&[("a", 2)]));
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        let named = folder.path().join("another.safetensors").display().to_string();
        assert!(message.contains(name) && message.contains(&named), "{message}");
    }
}

#[test]
fn all_parts_without_an_index_make_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let part = |n: usize| format!("x-{n:05}-of-00002.safetensors");
    write(folder.path(), &part(1), vectors(&[("b", 2)]));
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, IoError::MissingPart { missing, .. } if *missing == part(2)),
        "{error}"
    );
    write(folder.path(), &part(2), vectors(&[("a", 3)]));
    for path in [folder.path().into(), folder.path().join(part(2))] {
        let checkpoint = Checkpoint::open(path).unwrap();
        let shards = ["a", "b"].map(|name| checkpoint.tensor(name).unwrap().shard);
        assert_eq!(shards, [1, 0]);
    }
    write(folder.path(), &part(2), vectors(&[("b", 3)]));
    assert_eq!(variant(&Checkpoint::open(folder.path()).unwrap_err()), "PartsDisagree");
}
