//! Sharded checkpoints: indexes that lie, and shards that do not fit them.

use std::path::Path;

use grating_io::{Checkpoint, HeaderError, IndexError, IoError};

use crate::support::{read, variant, vectors, write};

const INDEX: &str = "model.safetensors.index.json";

/// A folder with two shards, `1.safetensors` (a, b) and `2.safetensors` (c), and this index.
fn sharded(index: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.safetensors", vectors(&[("a", 1), ("b", 2)]));
    write(folder.path(), "2.safetensors", vectors(&[("c", 3)]));
    write(folder.path(), INDEX, index);
    folder
}

fn weight_map(entries: &[(&str, &str)]) -> String {
    let entries: Vec<String> = entries.iter().map(|(t, s)| format!("{t:?}:{s:?}")).collect();
    format!(r#"{{"metadata":{{"total_size":6}},"weight_map":{{{}}}}}"#, entries.join(","))
}

const A: (&str, &str) = ("a", "1.safetensors");
const B: (&str, &str) = ("b", "1.safetensors");
const C: (&str, &str) = ("c", "2.safetensors");

#[track_caller]
fn refused(entries: &[(&str, &str)]) -> IoError {
    let folder = sharded(&weight_map(entries));
    let error = Checkpoint::open(folder.path()).expect_err("the index must be refused");
    assert!(error.to_string().contains(INDEX), "{error}");
    error
}

#[test]
fn tensors_of_all_shards_are_found() {
    let folder = sharded(&weight_map(&[C, A, B]));
    for path in [folder.path(), &folder.path().join(INDEX)] {
        let checkpoint = Checkpoint::open(path).unwrap();
        let places: Vec<_> = checkpoint.tensors().map(|t| (t.name.as_str(), t.shard)).collect();
        assert_eq!(places, [("a", 0), ("b", 0), ("c", 1)]);
        assert_eq!((read(&checkpoint, "b"), read(&checkpoint, "c")), (vec![1, 2], vec![0, 1, 2]));
        assert_eq!(checkpoint.data_bytes(), 6);
        assert!(checkpoint.shards()[1].name().ends_with("2.safetensors"));
    }
}

#[test]
fn the_shards_order_is_that_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> =
        (0..12).map(|n| format!("model-{n:05}-of-00012.safetensors")).collect();
    let tensors: Vec<String> = (0..12).map(|n| format!("layer.{n}")).collect();
    let mut map: Vec<_> =
        tensors.iter().zip(&names).map(|(t, s)| (t.as_str(), s.as_str())).collect();
    for (tensor, shard) in &map {
        write(folder.path(), shard, vectors(&[(tensor, 4)]));
    }
    map.reverse();
    write(folder.path(), INDEX, weight_map(&map));
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    for (at, shard) in checkpoint.shards().iter().enumerate() {
        assert_eq!(Path::new(shard.name()).file_name().unwrap(), &*names[at]);
        assert_eq!(checkpoint.tensor(&tensors[at]).unwrap().shard, at);
    }
}

#[test]
fn a_shard_that_does_not_exist() {
    let error = refused(&[A, B, ("c", "3.safetensors"), ("d", "3.safetensors")]);
    assert!(matches!(&error, IoError::Index(IndexError::MissingShard { tensor, shard, .. })
        if tensor == "c" && shard == "3.safetensors"));
}

#[test]
fn shard_names_that_leave_the_folder() {
    for name in ["../1.safetensors", "/etc/passwd", "sub/1.safetensors", "..", ".", "", "C:1"] {
        let error = refused(&[A, B, ("c", name)]);
        assert!(matches!(&error, IoError::Index(IndexError::ShardName { tensor, shard, .. })
            if tensor == "c" && shard == name));
    }
    let folder = sharded(r#"{"weight_map":{"a":"..\\1.safetensors"}}"#);
    assert_eq!(variant(&Checkpoint::open(folder.path()).unwrap_err()), "Index::ShardName");
}

#[test]
fn a_tensor_that_no_shard_has() {
    for extra in ["0", "bb", "d"] {
        let error = refused(&[A, B, C, (extra, "2.safetensors")]);
        assert!(
            matches!(&error, IoError::Index(IndexError::NotInShard { tensor, shard, found_in: None, .. })
                if tensor == extra && shard == "2.safetensors"),
            "{error:?}"
        );
    }
}

#[test]
fn a_tensor_that_another_shard_has() {
    let error = refused(&[A, ("b", "2.safetensors"), C]);
    assert!(
        matches!(&error, IoError::Index(IndexError::NotInShard { tensor, found_in: Some(shard), .. })
            if tensor == "b" && shard == "1.safetensors"),
        "{error:?}"
    );
}

#[test]
fn a_tensor_that_the_index_does_not_list() {
    for (left, entries) in [("a", [B, C]), ("b", [A, C])] {
        let error = refused(&entries);
        assert!(
            matches!(&error, IoError::Index(IndexError::NotInIndex { tensor, shard, .. })
                if tensor == left && shard == "1.safetensors"),
            "{error:?}"
        );
    }
    let folder = sharded(&weight_map(&[A, B, C]));
    write(folder.path(), "2.safetensors", vectors(&[("c", 3), ("z", 1)]));
    assert_eq!(variant(&Checkpoint::open(folder.path()).unwrap_err()), "Index::NotInIndex");
}

#[test]
fn one_tensor_in_two_shards() {
    let folder = sharded(&weight_map(&[A, B, C]));
    write(folder.path(), "2.safetensors", vectors(&[("c", 3), ("a", 1)]));
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, IoError::Index(IndexError::InTwoShards { tensor, shard, other, .. })
            if tensor == "a" && shard == "1.safetensors" && other == "2.safetensors"),
        "{error:?}"
    );
}

#[test]
fn a_tensor_listed_twice() {
    for again in [A, ("a", "2.safetensors")] {
        assert_eq!(variant(&refused(&[A, B, C, again])), "Index::DuplicateTensor");
    }
}

#[test]
fn damage_in_a_shard_names_the_shard() {
    let folder = sharded(&weight_map(&[A, B, C]));
    let whole = vectors(&[("c", 3)]);
    write(folder.path(), "2.safetensors", &whole[..whole.len() - 1]);
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, IoError::Header(HeaderError::Truncated { file, .. }) if file.ends_with("2.safetensors"))
    );
}

#[test]
fn indexes_that_are_none() {
    for (text, expected) in [
        ("", "EmptyFile"),
        ("<html>", "Index::NotJson"),
        (r#"{"weight_map":{"a":"1.safetensors""#, "Index::NotJson"),
        ("{}", "Index::Malformed"),
        (r#"{"weight_map":{}}"#, "Index::Malformed"),
        (r#"{"weight_map":{"a":["1.safetensors"]}}"#, "Index::Malformed"),
    ] {
        let folder = sharded(text);
        assert_eq!(variant(&Checkpoint::open(folder.path()).unwrap_err()), expected, "{text}");
    }
}

#[test]
fn an_index_too_large_to_be_one() {
    let folder = sharded("");
    // A sparse file: the length alone decides, nothing of it is read.
    let index = std::fs::File::create(folder.path().join(INDEX)).unwrap();
    index.set_len(grating_io::MAX_HEADER_BYTES + 1).unwrap();
    assert_eq!(variant(&Checkpoint::open(folder.path()).unwrap_err()), "Index::TooLarge");
}
