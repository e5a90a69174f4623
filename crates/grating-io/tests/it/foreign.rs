//! Pickles, git-lfs pointers and web pages, by name and by content.

use std::path::PathBuf;

use grating_io::{Checkpoint, IoError};

use crate::support::{refused, variant, vectors, write};

fn folder_with(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        write(folder.path(), name, b"irrelevant");
    }
    let path = folder.path().to_path_buf();
    (folder, path)
}

#[test]
fn a_folder_with_only_a_pickle_says_how_to_convert_it() {
    for name in ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"] {
        let (_guard, path) = folder_with(&[name, "config.json", "tokenizer.json"]);
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(matches!(&error, IoError::Pickle { file } if file.ends_with(name)), "{error:?}");
        assert!(error.to_string().contains("torch.load"), "{error}");
    }
}

#[test]
fn a_pickle_beside_safetensors_is_ignored() {
    let (_guard, path) = folder_with(&["pytorch_model.bin"]);
    write(&path, "model.safetensors", vectors(&[("a", 1)]));
    assert!(Checkpoint::open(&path).is_ok());
}

#[test]
fn what_training_leaves_behind_is_not_taken_for_weights() {
    let (_guard, path) = folder_with(&["training_args.bin", "optimizer.pt", "rng_state.pth"]);
    assert_eq!(variant(&Checkpoint::open(path).unwrap_err()), "NoCheckpoint");
}

#[test]
fn files_named_directly() {
    let (_guard, path) = folder_with(&["pytorch_model.bin", "weights.pt"]);
    for name in ["pytorch_model.bin", "weights.pt"] {
        assert_eq!(variant(&Checkpoint::open(path.join(name)).unwrap_err()), "Pickle");
    }
}

#[test]
fn contents_under_the_wrong_name() {
    let padded = |start: &[u8]| [start, &[0; 200]].concat();
    for (bytes, expected) in [
        (padded(b"PK\x03\x04\x00\x00\x08\x08"), "Pickle"),
        (padded(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."), "Pickle"),
        (padded(b"GGUF\x01\x00\x00\x00"), "Gguf"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n".to_vec(), "GitLfsPointer"),
        (b"<!DOCTYPE html><html>404</html>".to_vec(), "Header::NotSafetensors"),
        (padded(b""), "Header::NotSafetensors"),
        (b"Entry not found".to_vec(), "Header::NotSafetensors"),
        (b"hello".to_vec(), "Header::TruncatedHeader"),
    ] {
        assert_eq!(variant(&refused(bytes.clone())), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_first_bytes_are_shown() {
    let message = refused(b"<!DOCTYPE html><html>404</html>".to_vec()).to_string();
    assert!(message.contains("<!DOCTYPE html>"), "{message}");
}

#[test]
fn a_header_length_that_looks_like_a_pickle_is_no_pickle() {
    // 0x0280 bytes of header: the file begins as a protocol-2 pickle does.
    let header = format!("{{}}{}", " ".repeat(0x280 - 2));
    assert!(crate::support::open(crate::support::image(&header, b"")).is_ok());
}
