//! Whether the tensors that a header describes lie in the file without gaps, overlaps or lies.

use super::entries::Entry;
use crate::dtype::Dtype;
use crate::error::{HeaderError, IoError, Result};
use crate::tensor::TensorInfo;

/// The file that the entries are about.
#[derive(Clone, Copy)]
pub(super) struct FileInfo<'a> {
    pub(super) file: &'a str,
    pub(super) shard: usize,
    /// First byte after the header.
    pub(super) data_start: u64,
    /// Bytes of the whole file, at least `data_start`.
    pub(super) file_bytes: u64,
}

/// Checks that names are unique, then every entry by itself, then all together; sorted by name.
pub(super) fn check(mut entries: Vec<Entry>, file_info: FileInfo<'_>) -> Result<Vec<TensorInfo>> {
    debug_assert!(file_info.data_start <= file_info.file_bytes);
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let (file, tensor) = (file_info.file.to_string(), pair[0].name.clone());
        return Err(IoError::Header(HeaderError::DuplicateTensor { file, tensor }));
    }
    let mut tensors =
        entries.into_iter().map(|entry| tensor(entry, file_info)).collect::<Result<Vec<_>>>()?;
    check_coverage(&tensors, file_info)?;
    for tensor in &mut tensors {
        // No overflow: coverage has shown that the sums lie within the file.
        tensor.range.start += file_info.data_start;
        tensor.range.end += file_info.data_start;
    }
    Ok(tensors)
}

/// One entry by itself; its range still counts from the end of the header.
fn tensor(entry: Entry, file_info: FileInfo<'_>) -> Result<TensorInfo> {
    let Entry { name, dtype, shape, begin, end } = entry;
    let file = || file_info.file.to_string();
    let Some(dtype) = Dtype::from_name(&dtype).filter(|dtype| !dtype.is_quantized()) else {
        return Err(IoError::Header(HeaderError::UnknownDtype {
            file: file(),
            tensor: name,
            found: dtype,
        }));
    };
    if !is_addressable(dtype, &shape) {
        return Err(IoError::Header(HeaderError::ShapeOverflow {
            file: file(),
            tensor: name,
            dtype,
            shape,
        }));
    }
    let Some(expected) = dtype.byte_len(&shape) else {
        return Err(IoError::Header(HeaderError::PartialByte {
            file: file(),
            tensor: name,
            dtype,
            shape,
        }));
    };
    let expected = expected as u64;
    let Some(found) = end.checked_sub(begin) else {
        return Err(IoError::Header(HeaderError::ReversedOffsets {
            file: file(),
            tensor: name,
            begin,
            end,
        }));
    };
    if found != expected {
        let file = file();
        return Err(IoError::Header(HeaderError::SizeMismatch {
            file,
            tensor: name,
            dtype,
            shape,
            expected,
            found,
        }));
    }
    Ok(TensorInfo { name, dtype, shape, shard: file_info.shard, range: begin..end })
}

/// Whether elements and bytes of a tensor can be counted.
///
/// Zero extents count as one: `[0, 2^63, 4]` has no elements, yet whoever computes the size of a
/// row would overflow, so it is refused as well.
pub(crate) fn is_addressable(dtype: Dtype, shape: &[usize]) -> bool {
    let (elements, bytes) = dtype.block();
    let count = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n.max(1)));
    count.is_some_and(|count| (count / elements).checked_mul(bytes).is_some())
}

/// The format's rule: the tensors cover the data from its first byte to the end of the file, each
/// byte once.
fn check_coverage(tensors: &[TensorInfo], file_info: FileInfo<'_>) -> Result<()> {
    let file = || file_info.file.to_string();
    let mut tensors: Vec<&TensorInfo> = tensors.iter().collect();
    // Empty tensors come before the one that begins at the same byte.
    tensors.sort_unstable_by_key(|t| (t.range.start, t.range.end));
    let mut covered = 0;
    for (at, tensor) in tensors.iter().enumerate() {
        let (name, found) = (tensor.name.clone(), tensor.range.start);
        if found > covered {
            return Err(IoError::Header(HeaderError::Hole {
                file: file(),
                tensor: name,
                expected: covered,
                found,
            }));
        }
        if found < covered {
            let other = tensors[at - 1].name.clone(); // the first begins at 0 = covered
            let expected = covered;
            return Err(IoError::Header(HeaderError::Overlap {
                file: file(),
                tensor: name,
                other,
                expected,
                found,
            }));
        }
        covered = tensor.range.end;
    }
    let data_bytes = file_info.file_bytes - file_info.data_start;
    let expected = file_info.data_start.saturating_add(covered);
    let found = file_info.file_bytes;
    match tensors.iter().find(|t| t.range.end > data_bytes) {
        Some(first) => Err(IoError::Header(HeaderError::Truncated {
            file: file(),
            tensor: first.name.clone(),
            expected,
            found,
        })),
        None if covered < data_bytes => {
            Err(IoError::Header(HeaderError::TrailingBytes { file: file(), expected, found }))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileInfo<'static> =
        FileInfo { file: "f", shard: 3, data_start: 100, file_bytes: 110 };

    fn entry(name: &str, dtype: &str, shape: &[usize], begin: u64, end: u64) -> Entry {
        Entry { name: name.into(), dtype: dtype.into(), shape: shape.into(), begin, end }
    }

    fn bytes(name: &str, begin: u64, end: u64) -> Entry {
        entry(name, "U8", &[(end - begin) as usize], begin, end)
    }

    #[test]
    fn ranges_become_absolute_and_names_sorted() {
        let entries = vec![bytes("z", 0, 4), bytes("b", 6, 10), bytes("a", 4, 6)];
        let tensors = check(entries, FILE).unwrap();
        let ranges: Vec<_> = tensors.iter().map(|t| (&*t.name, t.range.clone())).collect();
        assert_eq!(ranges, [("a", 104..106), ("b", 106..110), ("z", 100..104)]);
        assert!(tensors.iter().all(|t| t.shard == 3));
    }

    #[test]
    fn empty_tensors_may_lie_between_others_but_not_within_one() {
        let fits = vec![bytes("a", 0, 4), bytes("e", 4, 4), bytes("f", 10, 10), bytes("b", 4, 10)];
        assert_eq!(check(fits, FILE).unwrap().len(), 4);
        let within = vec![bytes("a", 0, 10), bytes("e", 5, 5)];
        assert!(matches!(check(within, FILE), Err(IoError::Header(HeaderError::Overlap { .. }))));
    }

    #[test]
    fn no_tensors_need_no_data() {
        assert!(check(vec![], FileInfo { file_bytes: 100, ..FILE }).unwrap().is_empty());
        let error = check(vec![], FILE).unwrap_err();
        assert!(matches!(
            error,
            IoError::Header(HeaderError::TrailingBytes { expected: 100, found: 110, .. })
        ));
    }

    #[test]
    fn overflow_is_found_in_elements_bits_and_behind_zeros() {
        let half = 1_usize << (usize::BITS - 1);
        for shape in [&[half, 2][..], &[half][..], &[0, half, 2], &[half, half, 0]] {
            let error = check(vec![entry("a", "F64", shape, 0, 8)], FILE).unwrap_err();
            assert!(
                matches!(error, IoError::Header(HeaderError::ShapeOverflow { .. })),
                "{shape:?}: {error:?}"
            );
        }
    }

    #[test]
    fn packed_types_fill_whole_bytes() {
        let f4 = |n: usize| vec![entry("a", "F4", &[n], 0, 10)];
        assert!(check(f4(20), FILE).is_ok());
        assert!(matches!(
            check(f4(21), FILE),
            Err(IoError::Header(HeaderError::PartialByte { .. }))
        ));
        assert!(matches!(
            check(f4(22), FILE),
            Err(IoError::Header(HeaderError::SizeMismatch { expected: 11, .. }))
        ));
    }

    #[test]
    fn offsets_near_the_largest_integer_do_not_wrap() {
        let far = vec![bytes("a", 0, 10), entry("b", "U8", &[1], u64::MAX - 1, u64::MAX)];
        assert!(matches!(check(far, FILE), Err(IoError::Header(HeaderError::Hole { .. }))));
        let n = 1_usize << (usize::BITS - 4);
        let long = vec![entry("a", "U8", &[n], 0, n as u64)];
        assert!(matches!(check(long, FILE), Err(IoError::Header(HeaderError::Truncated { .. }))));
    }
}
