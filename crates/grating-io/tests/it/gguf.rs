//! GGUF files: written and read back, and everything that can be wrong with a header made by hand.

use std::collections::BTreeMap;

use grating_io::{
    Checkpoint, Dtype, GgufList, GgufProblem, GgufTensor, GgufValue, GgufWriter, IoError,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::invariants;
use crate::support::{open, read, refused, variant, write};

/// A file made by hand, so that it can be wrong.
#[derive(Clone)]
struct File {
    version: u32,
    tensor_count: Option<u64>,
    key_count: Option<u64>,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

/// Extents as the file has them: innermost first.
fn tensor(name: &str, extents: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let extents_bytes = extents.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let rank = (extents.len() as u32).to_le_bytes();
    let (kind, offset) = (kind.to_le_bytes(), offset.to_le_bytes());
    [&text(name)[..], &rank, &extents_bytes, &kind, &offset].concat()
}

const F32: u32 = 0;
const I8: u32 = 24;

impl File {
    /// Two tensors, 3 bytes and 2 floats.
    fn good() -> File {
        File {
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: vec![key("general.name", 8, &text("x"))],
            tensors: vec![tensor("a", &[3], I8, 0), tensor("b", &[2], F32, 32)],
            data: (0..40).collect(),
        }
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

/// The problem with a good file after `change`.
#[track_caller]
fn problem(change: impl FnOnce(&mut File)) -> GgufProblem {
    let mut file = File::good();
    change(&mut file);
    match refused(file.bytes()) {
        IoError::Gguf { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

/// The variant of the error after `change`.
#[track_caller]
fn error(change: impl FnOnce(&mut File)) -> String {
    let mut file = File::good();
    change(&mut file);
    variant(&refused(file.bytes()))
}

#[test]
fn a_file_made_by_hand_is_read() {
    for version in [2, 3] {
        let checkpoint = open(File { version, ..File::good() }.bytes()).unwrap();
        invariants::check(&checkpoint);
        assert_eq!(read(&checkpoint, "a"), [0, 1, 2]);
        assert_eq!(read(&checkpoint, "b"), [32, 33, 34, 35, 36, 37, 38, 39]);
        assert_eq!(checkpoint.metadata()["general.name"], GgufValue::Text("x".into()));
    }
}

#[test]
fn extents_are_turned_to_outermost_first() {
    let mut file = File::good();
    file.tensors[1] = tensor("b", &[2, 1], F32, 32);
    let checkpoint = open(file.bytes()).unwrap();
    assert_eq!(checkpoint.tensor("b").unwrap().shape, [1, 2]);
}

#[test]
fn every_kind_of_value_is_kept_and_lists_are_counted() {
    let mut list = 4_u32.to_le_bytes().to_vec();
    list.extend(2_u64.to_le_bytes());
    list.extend([0; 8]);
    let texts = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("p"), &text("qq")].concat();
    let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &list].concat();
    let mut file = File::good();
    file.keys = vec![
        key("u8", 0, &[200]),
        key("i8", 1, &[200]),
        key("u16", 2, &[1, 1]),
        key("i16", 3, &[255, 255]),
        key("u32", 4, &7_u32.to_le_bytes()),
        key("i32", 5, &(-7_i32).to_le_bytes()),
        key("f32", 6, &0.5_f32.to_le_bytes()),
        key("bool", 7, &[1]),
        key("u64", 10, &u64::MAX.to_le_bytes()),
        key("i64", 11, &i64::MIN.to_le_bytes()),
        key("f64", 12, &0.25_f64.to_le_bytes()),
        key("list", 9, &list),
        key("texts", 9, &texts),
        key("nested", 9, &nested),
    ];
    let checkpoint = open(file.bytes()).unwrap();
    let expected = [
        ("u8", GgufValue::Unsigned(200)),
        ("i8", GgufValue::Signed(-56)),
        ("u16", GgufValue::Unsigned(257)),
        ("i16", GgufValue::Signed(-1)),
        ("u32", GgufValue::Unsigned(7)),
        ("i32", GgufValue::Signed(-7)),
        ("f32", GgufValue::Float(0.5)),
        ("bool", GgufValue::Bool(true)),
        ("u64", GgufValue::Unsigned(u64::MAX)),
        ("i64", GgufValue::Signed(i64::MIN)),
        ("f64", GgufValue::Float(0.25)),
        ("list", GgufValue::List(2)),
        ("texts", GgufValue::List(2)),
        ("nested", GgufValue::List(1)),
    ];
    assert_eq!(checkpoint.metadata().len(), expected.len());
    for (key, value) in expected {
        assert_eq!(checkpoint.metadata()[key], value, "{key}");
    }
    assert_eq!(read(&checkpoint, "a"), [0, 1, 2], "what follows the metadata is found");
    let list = |key: &str| checkpoint.metadata_list(key);
    assert_eq!(list("list").unwrap(), Some(GgufList::Numbers(vec![0.0; 2])));
    assert_eq!(list("texts").unwrap(), Some(GgufList::Texts(vec!["p".into(), "qq".into()])));
    assert_eq!((list("u8").unwrap(), list("absent").unwrap()), (None, None));
    assert_eq!(variant(&list("nested").unwrap_err()), "Gguf");
}

#[test]
fn alignment_is_the_files_own() {
    let with = |n: u32| key("general.alignment", 4, &n.to_le_bytes());
    let mut file = File::good();
    file.keys = vec![with(8)];
    file.tensors[1] = tensor("b", &[2], F32, 8);
    let mut bytes = file.header();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(0..16);
    assert_eq!(read(&open(bytes).unwrap(), "b"), [8, 9, 10, 11, 12, 13, 14, 15]);

    let refused = |key: Vec<u8>| problem(|file| file.keys = vec![key]);
    for bad in [with(0), with(12), with(1 << 30), key("general.alignment", 8, &text("8"))] {
        let GgufProblem::Key { key, .. } = refused(bad) else { panic!() };
        assert_eq!(key, "general.alignment");
    }
}

#[test]
fn other_versions_and_files_are_told_apart() {
    assert_eq!(problem(|f| f.version = 1), GgufProblem::Version { found: 1 });
    assert_eq!(problem(|f| f.version = 4), GgufProblem::Version { found: 4 });
    assert_eq!(problem(|f| f.version = 3_u32.swap_bytes()), GgufProblem::BigEndian);
    let parts = key("split.count", 2, &3_u16.to_le_bytes());
    assert_eq!(problem(|f| f.keys.push(parts)), GgufProblem::Split { count: 3 });
    let folder = tempfile::tempdir().unwrap();
    for (bytes, expected) in [
        (&b"<html>not found</html>"[..], "Gguf"),
        (b"", "EmptyFile"),
        (b"GG", "Header::TruncatedHeader"),
    ] {
        write(folder.path(), "m.gguf", bytes);
        let error = Checkpoint::open(folder.path().join("m.gguf")).unwrap_err();
        assert_eq!(variant(&error), expected);
    }
}

#[test]
fn parts_are_put_together_and_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let name = |n: usize| format!("m-{n:05}-of-00002.gguf");
    let part = |number: u16, count: u16, tensors: i32, name: &str| {
        let mut file = File::good();
        file.keys.push(key("split.no", 2, &number.to_le_bytes()));
        file.keys.push(key("split.count", 2, &count.to_le_bytes()));
        file.keys.push(key("split.tensors.count", 5, &tensors.to_le_bytes()));
        file.tensors = vec![tensor(name, &[3], I8, 0)];
        file.data.truncate(3);
        file.bytes()
    };
    let open = |second: Vec<u8>| {
        write(folder.path(), &name(1), part(0, 2, 2, "a"));
        write(folder.path(), &name(2), second);
        Checkpoint::open(folder.path())
    };
    let checkpoint = open(part(1, 2, 2, "b")).unwrap();
    assert_eq!(["a", "b"].map(|name| checkpoint.tensor(name).unwrap().shard), [0, 1]);
    assert_eq!(checkpoint.metadata()["general.name"], GgufValue::Text("x".into()));
    assert_eq!(Checkpoint::open(folder.path().join(name(2))).unwrap().tensors().count(), 2);
    for wrong in [part(0, 2, 2, "b"), part(1, 3, 2, "b")] {
        let error = open(wrong).unwrap_err();
        assert!(error.to_string().contains("split.no"), "{error}");
    }
    assert_eq!(variant(&open(part(1, 2, 2, "a")).unwrap_err()), "PartsDisagree");
    write(folder.path(), &name(1), part(0, 2, 3, "a"));
    write(folder.path(), &name(2), part(1, 2, 3, "b"));
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("hold 2 tensors, expected 3"), "{error}");
}

#[test]
fn every_shorter_length_is_refused() {
    let whole = File::good().bytes();
    for length in 4..whole.len() {
        let expected = match length < whole.len() - 40 {
            true if length < File::good().header().len() => "Header::TruncatedHeader",
            _ => "Header::Truncated",
        };
        assert_eq!(variant(&refused(&whole[..length])), expected, "{length} bytes");
    }
}

#[test]
fn padding_at_the_end_may_be_there_or_not_and_nothing_else() {
    let mut file = File::good();
    file.data.resize(64, 0);
    assert!(open(file.bytes()).is_ok());
    assert_eq!(error(|f| f.data.resize(65, 0)), "Header::TrailingBytes");
}

#[test]
fn counts_are_claims_that_cost_nothing() {
    let runs_out = ["Gguf", "Header::TruncatedHeader", "Header::NotUtf8"];
    assert!(runs_out.contains(&&*error(|f| f.tensor_count = Some(u64::MAX))));
    assert!(runs_out.contains(&&*error(|f| f.key_count = Some(u64::MAX))));
    let huge = u64::MAX.to_le_bytes();
    let list = |kind: u32, count: &[u8]| [&kind.to_le_bytes()[..], count].concat();
    for kind in [0, 8, 12] {
        let key = key("k", 9, &list(kind, &huge));
        assert_eq!(error(|f| f.keys.push(key)), "Header::TruncatedHeader", "a list of type {kind}");
    }
    assert_eq!(error(|f| f.keys.push(key("k", 8, &huge))), "Header::TruncatedHeader");
    let deep = list(9, &1_u64.to_le_bytes()).repeat(100_000);
    let GgufProblem::Key { reason, .. } = problem(|f| f.keys.push(key("k", 9, &deep))) else {
        panic!()
    };
    assert!(reason.contains("deep"), "{reason}");
}

#[test]
fn keys_are_unique_and_of_known_types() {
    let twice = problem(|f| f.keys.push(key("general.name", 8, &text("y"))));
    assert!(matches!(twice, GgufProblem::Key { key, .. } if key == "general.name"));
    let unknown = problem(|f| f.keys.push(key("k", 13, &[0; 8])));
    assert!(matches!(unknown, GgufProblem::Key { reason, .. } if reason.contains("13")));
    assert_eq!(
        error(|f| f.keys[0] = key("\u{fffd}", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff])),
        "Header::NotUtf8"
    );
}

#[test]
fn tensors_are_judged_one_by_one() {
    let with = |tensor| problem(move |f: &mut File| f.tensors[1] = tensor);
    let name = |name: &str| name.to_string();
    let rank = GgufProblem::Rank { tensor: name("b"), found: 5 };
    assert_eq!(with(tensor("b", &[1; 5], F32, 32)), rank);
    for (kind, found) in [(10, "Q2_K"), (99, "type 99")] {
        let expected = GgufProblem::Type { tensor: name("b"), found: name(found) };
        assert_eq!(with(tensor("b", &[2], kind, 32)), expected);
    }
    let (dtype, shape) = (Dtype::Q8_0, vec![32, 16]);
    let expected = GgufProblem::PartialBlock { tensor: name("b"), dtype, shape };
    assert_eq!(with(tensor("b", &[16, 32], 8, 32)), expected);
    for extents in [vec![u64::MAX, 2], vec![1 << 62, 8], vec![1 << 63]] {
        assert_eq!(
            error(|f| f.tensors[1] = tensor("b", &extents, F32, 32)),
            "Header::ShapeOverflow"
        );
    }
    assert_eq!(error(|f| f.tensors[1] = tensor("a", &[2], F32, 32)), "Header::DuplicateTensor");
    assert_eq!(error(|f| f.tensors[1] = tensor("b", &[3], F32, 32)), "Header::Truncated");
}

#[test]
fn tensors_follow_one_another() {
    for offset in [0, 3, 31, 33, 64, u64::MAX] {
        let found = problem(|f| f.tensors[1] = tensor("b", &[2], F32, offset));
        // With an offset of 0 both begin there, and the shorter is taken for the first.
        let (first, alignment) = (offset == 0, 32);
        let (tensor, expected, found_at) = if first { ("b", 32, 0) } else { ("b", 32, offset) };
        let tensor = tensor.to_string();
        assert_eq!(found, GgufProblem::Offset { tensor, expected, found: found_at, alignment });
    }
}

#[test]
fn a_folder_with_one_gguf_file_is_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "Some-Model-Q8_0.GGUF", File::good().bytes());
    assert_eq!(Checkpoint::open(folder.path()).unwrap().tensors().count(), 2);
    write(folder.path(), "another.gguf", File::good().bytes());
    let IoError::NoCheckpoint { candidates, .. } = Checkpoint::open(folder.path()).unwrap_err()
    else {
        panic!()
    };
    assert_eq!(candidates, ["Some-Model-Q8_0.GGUF", "another.gguf"]);
    write(folder.path(), "model.gguf", File::good().bytes());
    assert!(Checkpoint::open(folder.path()).unwrap().name().ends_with("model.gguf"));
}

/// Tensors by name, with data.
type Contents = Vec<(GgufTensor, Vec<u8>)>;

fn contents() -> impl Strategy<Value = Contents> {
    let dtypes = [
        Dtype::F64,
        Dtype::F32,
        Dtype::F16,
        Dtype::BF16,
        Dtype::I64,
        Dtype::I32,
        Dtype::I16,
        Dtype::I8,
        Dtype::Q8_0,
        Dtype::Q4_0,
        Dtype::Q5_1,
        Dtype::Q4K,
        Dtype::Q6K,
    ];
    let shape = (select(dtypes.to_vec()), vec(0_usize..5, 0..4), 1..3_usize).prop_map(
        |(dtype, mut shape, blocks)| {
            if dtype.is_quantized() {
                shape.push(blocks * dtype.block().0);
            }
            (dtype, shape)
        },
    );
    btree_map(any::<String>(), shape, 0..8).prop_map(|map| {
        let tensor = |(at, (name, (dtype, shape))): (usize, (String, (Dtype, Vec<usize>)))| {
            let bytes = dtype.byte_len(&shape).unwrap();
            let data = (0..bytes).map(|i| (i * 7 + at) as u8).collect();
            (GgufTensor::new(name, dtype, shape), data)
        };
        map.into_iter().enumerate().map(tensor).collect::<Contents>()
    })
}

fn metadata() -> impl Strategy<Value = BTreeMap<String, GgufValue>> {
    let value = prop_oneof![
        any::<u64>().prop_map(GgufValue::Unsigned),
        any::<i64>().prop_map(GgufValue::Signed),
        (-1e9..1e9_f64).prop_map(GgufValue::Float),
        any::<bool>().prop_map(GgufValue::Bool),
        any::<String>().prop_map(GgufValue::Text),
    ];
    let key = any::<String>()
        .prop_filter("has a meaning", |key| !key.starts_with("general.") && key != "split.count");
    btree_map(key, value, 0..6)
}

fn encode(contents: &Contents, metadata: &BTreeMap<String, GgufValue>, piece: usize) -> Vec<u8> {
    let tensors: Vec<GgufTensor> = contents.iter().map(|(tensor, _)| tensor.clone()).collect();
    let mut writer = GgufWriter::new(Vec::new(), "image", metadata, &tensors).unwrap();
    for part in
        contents.iter().flat_map(|(_, data)| data.clone()).collect::<Vec<u8>>().chunks(piece)
    {
        writer.write(part).unwrap();
    }
    let bytes = writer.finish().unwrap();
    assert!(bytes.len() as u64 <= GgufWriter::<Vec<u8>>::file_bytes(metadata, &tensors));
    bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read(contents in contents(), metadata in metadata(), piece in 1..300_usize) {
        let checkpoint = open(encode(&contents, &metadata, piece)).unwrap();
        invariants::check(&checkpoint);
        prop_assert_eq!(checkpoint.metadata(), &metadata);
        prop_assert_eq!(checkpoint.tensors().count(), contents.len());
        for (tensor, data) in &contents {
            let found = checkpoint.tensor(&tensor.name).unwrap();
            prop_assert_eq!((found.dtype, &found.shape), (tensor.dtype, &tensor.shape));
            prop_assert_eq!(&read(&checkpoint, &tensor.name), data);
        }
    }

    #[test]
    fn flipped_bytes_never_yield_a_range_outside(
        contents in contents(), metadata in metadata(), flips in vec((any::<Index>(), 1_u8..), 1..6),
    ) {
        let mut bytes = encode(&contents, &metadata, 1000);
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        invariants::header(&bytes);
        invariants::gguf(&bytes[8..]);
    }
}
