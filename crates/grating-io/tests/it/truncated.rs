//! Files that end too early, or go on too long.

use grating_io::{HeaderError, IoError};

use crate::support::{image, open, refused, variant, vectors, write};

#[test]
fn every_shorter_length_is_refused() {
    let whole = vectors(&[("a", 3), ("b", 0), ("c", 5)]);
    assert!(open(whole.clone()).is_ok());
    let header_end = whole.len() - 8;
    for length in 0..whole.len() {
        let expected = match length {
            0 => "EmptyFile",
            _ if length < header_end => "Header::TruncatedHeader",
            _ => "Header::Truncated",
        };
        assert_eq!(variant(&refused(&whole[..length])), expected, "{length} bytes");
    }
}

#[test]
fn the_first_incomplete_tensor_is_named_with_both_sizes() {
    let whole = vectors(&[("a", 3), ("b", 4), ("c", 5)]);
    let IoError::Header(HeaderError::Truncated { tensor, expected, found, .. }) =
        refused(&whole[..whole.len() - 6])
    else {
        panic!("another error")
    };
    assert_eq!((tensor.as_str(), expected - found), ("b", 6));
    assert_eq!(expected, whole.len() as u64);
}

#[test]
fn a_byte_too_many_is_refused() {
    let mut image = vectors(&[("a", 3)]);
    image.push(0);
    let error = refused(image.clone());
    assert!(matches!(&error, IoError::Header(HeaderError::TrailingBytes { expected, found, .. })
        if *found == image.len() as u64 && expected + 1 == *found));
}

#[test]
fn a_tiny_file_that_claims_a_large_header_costs_nothing() {
    // Within the limit, far beyond the file: refused before 99 MB are allocated.
    let mut bytes = 99_000_000_u64.to_le_bytes().to_vec();
    bytes.push(b'{');
    let error = refused(bytes);
    assert!(matches!(
        error,
        IoError::Header(HeaderError::TruncatedHeader { expected: 99_000_008, found: 9, .. })
    ));
}

#[test]
fn the_same_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let whole = vectors(&[("a", 300)]);
    write(folder.path(), "model.safetensors", &whole[..whole.len() - 1]);
    let error = grating_io::Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, IoError::Header(HeaderError::Truncated { file, .. }) if file.ends_with("model.safetensors"))
    );
    write(folder.path(), "model.safetensors", []);
    let error = grating_io::Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error, IoError::EmptyFile { .. }));
}

#[test]
fn the_smallest_files() {
    assert_eq!(open(image("{}", b"")).unwrap().tensors().count(), 0);
    assert_eq!(open(image("{}      ", b"")).unwrap().data_bytes(), 0);
}
