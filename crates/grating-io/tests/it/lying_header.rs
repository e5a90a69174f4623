//! Headers that are not what they should be: one test for each lie.

use grating_io::{Dtype, HeaderError, IoError, MAX_HEADER_BYTES};

use crate::support::{image, open, refused, variant};

/// An image with one entry `x` and eight bytes of data.
fn one(entry: &str) -> Vec<u8> {
    image(&format!(r#"{{"x":{entry}}}"#), &[0; 8])
}

#[test]
fn length_beyond_the_limit() {
    for length in [MAX_HEADER_BYTES + 1, u64::MAX - 7, u64::MAX] {
        let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
        let error = refused(bytes);
        assert!(
            matches!(error, IoError::Header(HeaderError::TooLarge { expected: MAX_HEADER_BYTES, found, .. })
                if found == length),
            "{error:?}"
        );
    }
}

#[test]
fn length_shorter_than_any_header() {
    for length in [0_u64, 1] {
        let error = refused([&length.to_le_bytes()[..], b"{}"].concat());
        assert!(matches!(error, IoError::Header(HeaderError::NotSafetensors { .. })), "{error:?}");
    }
}

#[test]
fn length_that_cuts_or_extends_the_json() {
    let good = one(r#"{"dtype":"U8","shape":[8],"data_offsets":[0,8]}"#);
    let length = u64::from_le_bytes(*good.first_chunk().unwrap());
    for wrong in [length - 1, length + 1] {
        let bytes = [&wrong.to_le_bytes(), &good[8..]].concat();
        assert_eq!(variant(&refused(bytes)), "Header::NotJson");
    }
}

#[test]
fn text_that_is_not_utf8() {
    let error = refused([&5_u64.to_le_bytes()[..], b"{\"a\xff}"].concat());
    assert!(matches!(error, IoError::Header(HeaderError::NotUtf8 { offset: 11, .. })), "{error:?}");
}

#[test]
fn whitespace_before_the_brace() {
    let error = refused(image(" {}", b""));
    assert!(matches!(error, IoError::Header(HeaderError::NotSafetensors { .. })), "{error:?}");
}

#[test]
fn names_twice() {
    let entry = r#"{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#;
    let other = r#"{"dtype":"U8","shape":[4],"data_offsets":[4,8]}"#;
    for header in [
        format!(r#"{{"x":{entry},"x":{entry}}}"#),
        format!(r#"{{"x":{entry},"x":{other}}}"#),
        // Equal only after JSON's escapes are resolved.
        format!(r#"{{"x":{entry},"\u0078":{other}}}"#),
    ] {
        let error = refused(image(&header, &[0; 8]));
        assert!(
            matches!(&error, IoError::Header(HeaderError::DuplicateTensor { tensor, .. }) if tensor == "x")
        );
    }
}

#[test]
fn fields_that_are_missing_or_of_another_type() {
    let error = refused(one(r#"{"dtype":"U8","shape":[8]}"#));
    let IoError::Header(HeaderError::Entry { tensor, reason, .. }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(tensor, "x");
    assert!(reason.contains("missing field `data_offsets`"), "{reason}");
}

#[test]
fn a_dtype_that_does_not_exist() {
    let error = refused(one(r#"{"dtype":"F7","shape":[8],"data_offsets":[0,8]}"#));
    assert!(matches!(&error, IoError::Header(HeaderError::UnknownDtype { tensor, found, .. })
        if tensor == "x" && found == "F7"));
    assert!(error.to_string().contains("BF16"), "{error}");
}

#[test]
fn a_size_that_is_not_shape_times_dtype() {
    for (dtype, shape, expected) in [("U8", "[7]", 7), ("F16", "[2,3]", 12), ("F64", "[]", 8)] {
        let entry = format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,8]}}"#);
        match open(one(&entry)) {
            Ok(checkpoint) => assert_eq!(checkpoint.data_bytes(), expected),
            Err(IoError::Header(HeaderError::SizeMismatch { expected: bytes, found, .. })) => {
                assert_eq!((bytes, found), (expected, 8));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn shapes_that_overflow() {
    let huge = usize::MAX;
    for shape in [format!("[{huge},{huge}]"), format!("[{huge}]"), format!("[0,{huge},{huge}]")] {
        let entry = format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[0,8]}}"#);
        let error = refused(one(&entry));
        assert!(
            matches!(&error, IoError::Header(HeaderError::ShapeOverflow { tensor, dtype: Dtype::F32, .. }) if tensor == "x"),
            "{shape}: {error:?}"
        );
    }
}

#[test]
fn offsets_that_end_before_they_begin() {
    let error = refused(one(r#"{"dtype":"U8","shape":[8],"data_offsets":[8,0]}"#));
    assert!(matches!(
        error,
        IoError::Header(HeaderError::ReversedOffsets { begin: 8, end: 0, .. })
    ));
}

/// Two tensors over eight bytes.
fn two(a: [u64; 2], b: [u64; 2]) -> Vec<u8> {
    let entry = |[begin, end]: [u64; 2]| {
        let length = end - begin;
        format!(r#"{{"dtype":"U8","shape":[{length}],"data_offsets":[{begin},{end}]}}"#)
    };
    image(&format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b)), &[0; 8])
}

#[test]
fn tensors_that_share_bytes() {
    for (a, b) in [([0, 5], [4, 8]), ([0, 8], [0, 8]), ([0, 8], [2, 4])] {
        let error = refused(two(a, b));
        assert!(matches!(&error, IoError::Header(HeaderError::Overlap { tensor, other, .. })
            if [tensor.as_str(), other] == ["b", "a"] || [tensor.as_str(), other] == ["a", "b"]));
    }
}

#[test]
fn bytes_that_belong_to_no_tensor() {
    let between = refused(two([0, 3], [4, 8]));
    assert!(
        matches!(&between, IoError::Header(HeaderError::Hole { tensor, expected: 3, found: 4, .. }) if tensor == "b")
    );
    let before = refused(two([1, 3], [3, 8]));
    assert!(
        matches!(&before, IoError::Header(HeaderError::Hole { tensor, expected: 0, found: 1, .. }) if tensor == "a")
    );
    let after = refused(two([0, 3], [3, 7]));
    assert!(matches!(after, IoError::Header(HeaderError::TrailingBytes { .. })));
}

#[test]
fn offsets_beyond_the_file() {
    let entry = format!(r#"{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}"#, 1_u64 << 40);
    let error = refused(one(&entry));
    assert!(
        matches!(&error, IoError::Header(HeaderError::Truncated { tensor, .. }) if tensor == "x")
    );
}

#[test]
fn a_hostile_name_cannot_fill_a_log_or_drive_a_terminal() {
    let name = "\\u001b[2J".repeat(10_000);
    let header = format!(r#"{{"{name}":{{"dtype":"?","shape":[],"data_offsets":[0,0]}}}}"#);
    let message = refused(image(&header, b"")).to_string();
    assert!(message.len() < 2000 && !message.contains('\u{1b}'), "{message}");
}

#[test]
fn nesting_without_end() {
    let error = refused(image(&format!("{{\"x\":{{\"y\":{}", "[".repeat(1 << 20)), b""));
    assert!(matches!(error, IoError::Header(HeaderError::NotJson { .. })), "{error:?}");
}
