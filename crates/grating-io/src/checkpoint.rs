//! A checkpoint: the tensors of one file or of several shards, found and read by name.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{IndexError, IoError, Result, quote};
use crate::gguf::{self, GgufList, GgufValue, Metadata, PartOf};
use crate::header;
use crate::index::Index;
use crate::locate::{Located, locate};
use crate::prefetch::{Extent, PrefetchOptions, Prefetcher, SlotAllocator};
use crate::storage::{FileStorage, Storage};
use crate::tensor::TensorInfo;

/// An open checkpoint whose headers have been checked completely.
///
/// Opening reads headers only. Afterwards each tensor's byte range is known to lie within its
/// shard and to have the length of its shape and data type, and no two tensors share a byte.
/// What the bytes hold (NaN, say) is not looked at.
///
/// A clone is cheap and shares the open files. Any number of threads may read at once.
#[derive(Clone)]
pub struct Checkpoint {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    /// Sorted by name, each name once.
    tensors: Vec<TensorInfo>,
    shards: Vec<Shard>,
    /// Of a GGUF file, the first of several.
    metadata: Metadata,
}

/// One file of a checkpoint.
#[derive(Clone, Debug)]
pub struct Shard {
    storage: Arc<dyn Storage>,
}

impl Shard {
    /// Path or label, for messages.
    pub fn name(&self) -> &str {
        self.storage.name()
    }

    /// The bytes, header included; [`TensorInfo::range`] counts in them.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Length, bytes, header included. Never 0.
    #[allow(clippy::len_without_is_empty)] // An empty shard does not pass the checks.
    pub fn len(&self) -> u64 {
        self.storage.len()
    }
}

impl Checkpoint {
    /// Opens a checkpoint on disk.
    ///
    /// `path` is a folder with `model.safetensors`, or with `model.safetensors.index.json` and the
    /// shards it lists (the single file wins where both exist), or with `model.gguf`, or with one model in
    /// safetensors or GGUF under any other name, all its parts (`-00001-of-00003`) counted as one; or one
    /// `.safetensors` or `.gguf` file (one part stands for all), or one index file.
    ///
    /// # Errors
    /// Every way in which the files can be missing, of another format, damaged, inconsistent or
    /// hostile has its own variant of [`IoError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        match locate(path.as_ref())? {
            Located::Single(file) => Self::from_storage(Arc::new(FileStorage::open(file)?)),
            Located::Gguf(file) => Self::from_gguf(Arc::new(FileStorage::open(file)?)),
            Located::Parts(files) => {
                let open =
                    |file| -> Result<Arc<dyn Storage>> { Ok(Arc::new(FileStorage::open(file)?)) };
                Self::from_parts(files.into_iter().map(open).collect::<Result<_>>()?)
            }
            Located::Index(index) => {
                let folder = index.parent().unwrap_or(Path::new(""));
                let open = |shard: &str| -> Result<Arc<dyn Storage>> {
                    Ok(Arc::new(FileStorage::open(folder.join(shard))?))
                };
                Self::from_index(&FileStorage::open(&index)?, open)
            }
        }
    }

    /// Opens one safetensors or GGUF image, told apart by their first bytes, for example one embedded in the program.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], without those about folders and shards.
    pub fn from_storage(storage: Arc<dyn Storage>) -> Result<Self> {
        let tensors = match header::read(&*storage, 0) {
            Err(_) if gguf::has_magic(&*storage) => return Self::from_gguf(storage),
            tensors => tensors?,
        };
        let name = storage.name().to_string();
        Ok(Self::new(name, tensors, vec![Shard { storage }], Metadata::default()))
    }

    fn from_gguf(storage: Arc<dyn Storage>) -> Result<Self> {
        let whole = PartOf { number: 0, count: 1 };
        let gguf::Contents { tensors, metadata } = gguf::read(&*storage, whole)?;
        let name = storage.name().to_string();
        Ok(Self::new(name, tensors, vec![Shard { storage }], metadata))
    }

    /// Opens a model that was split into parts of one kind, all of them in order. What a GGUF file says of itself
    /// stands in its first part.
    fn from_parts(parts: Vec<Arc<dyn Storage>>) -> Result<Self> {
        let count = parts.len();
        let (mut tensors, mut metadata) = (Vec::new(), Metadata::default());
        for (number, storage) in parts.iter().enumerate() {
            if gguf::has_magic(&**storage) {
                let contents = gguf::read(&**storage, PartOf { number, count })?;
                tensors.extend(contents.tensors);
                if number == 0 {
                    metadata = contents.metadata;
                }
            } else {
                tensors.extend(header::read(&**storage, number)?);
            }
        }
        tensors.sort_unstable_by(|a, b| (&a.name, a.shard).cmp(&(&b.name, b.shard)));
        let disagree = |shard: usize, reason: String| IoError::PartsDisagree {
            file: parts[shard].name().to_string(),
            reason,
        };
        if let Some([_, second]) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let reason = format!("tensor {} is in another part too", quote(&second.name));
            return Err(disagree(second.shard, reason));
        }
        if let Some(expected) = gguf::tensors_of_all_parts(&metadata.values)
            && expected != tensors.len() as u64
        {
            let reason = format!("the parts hold {} tensors, expected {expected}", tensors.len());
            return Err(disagree(0, reason));
        }
        let name = parts[0].name().to_string();
        let shards = parts.into_iter().map(|storage| Shard { storage }).collect();
        Ok(Self::new(name, tensors, shards, metadata))
    }

    /// Opens a sharded checkpoint from wherever its index and shards are stored.
    ///
    /// `open` is called once for each file name in the index, in sorted order; names that are not
    /// plain file names are refused before. The tensors must be the same in the index and in the
    /// shards: one that is listed and missing, unlisted, or in two shards is an error.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and whatever `open` returns; [`IoError::NotFound`] from it becomes
    /// [`IndexError::MissingShard`].
    pub fn from_index(
        index: &dyn Storage,
        mut open: impl FnMut(&str) -> Result<Arc<dyn Storage>>,
    ) -> Result<Self> {
        let file = index.name();
        let index = Index::read(index)?;
        let mut tensors = Vec::with_capacity(index.tensors.len());
        let mut shards = Vec::with_capacity(index.shards.len());
        for (at, shard) in index.shards.iter().enumerate() {
            let storage = open(shard).map_err(|error| match error {
                IoError::NotFound { .. } => IoError::Index(IndexError::MissingShard {
                    file: file.to_string(),
                    tensor: index.example(at).to_string(),
                    shard: shard.clone(),
                }),
                other => other,
            })?;
            tensors.append(&mut header::read(&*storage, at)?);
            shards.push(Shard { storage });
        }
        tensors.sort_unstable_by(|a, b| (&a.name, a.shard).cmp(&(&b.name, b.shard)));
        check_agreement(file, &index, &tensors)?;
        Ok(Self::new(file.to_string(), tensors, shards, Metadata::default()))
    }

    fn new(name: String, tensors: Vec<TensorInfo>, shards: Vec<Shard>, metadata: Metadata) -> Self {
        debug_assert!(tensors.windows(2).all(|pair| pair[0].name < pair[1].name));
        Checkpoint { inner: Arc::new(Inner { name, tensors, shards, metadata }) }
    }

    /// The same tensors, with each file's storage replaced by what `wrap` makes of it: one that
    /// counts, decrypts, is slower, or fails on purpose ([`FaultyStorage`](crate::FaultyStorage)).
    /// What it returns must have the same length.
    pub fn map_storages(&self, mut wrap: impl FnMut(Arc<dyn Storage>) -> Arc<dyn Storage>) -> Self {
        let wrapped = |shard: &Shard| Shard { storage: wrap(Arc::clone(&shard.storage)) };
        let Inner { name, tensors, shards, metadata } = &*self.inner;
        let shards = shards.iter().map(wrapped).collect();
        Self::new(name.clone(), tensors.clone(), shards, metadata.clone())
    }

    /// The file or the index that was opened, for messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What a GGUF file says of itself by key; empty for safetensors.
    pub fn metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.inner.metadata.values
    }

    /// The values of a list in a GGUF file's metadata, read from the file; `None` where the key is absent or no list.
    ///
    /// # Errors
    /// What the storage reports, and [`IoError::Gguf`] for a list of lists.
    pub fn metadata_list(&self, key: &str) -> Result<Option<GgufList>> {
        let Some(&position) = self.inner.metadata.lists.get(key) else { return Ok(None) };
        let Some(first) = self.inner.shards.first() else { return Ok(None) };
        gguf::read_list(&*first.storage, key, position).map(Some)
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.inner.tensors.iter()
    }

    /// The tensor of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let tensors = &self.inner.tensors;
        tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|at| &tensors[at])
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`IoError::MissingTensor`], which suggests a tensor that differs only by a prefix such as
    /// `model.`, if there is one.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo> {
        self.get(name).ok_or_else(|| IoError::MissingTensor {
            file: self.inner.name.clone(),
            tensor: name.to_string(),
            found: self.inner.tensors.len(),
            similar: self.similar(name),
        })
    }

    fn similar(&self, name: &str) -> Option<String> {
        let ends_with_part = |long: &str, short: &str| {
            long.strip_suffix(short)
                .is_some_and(|prefix| !short.is_empty() && prefix.ends_with('.'))
        };
        self.tensors()
            .map(|t| t.name.as_str())
            .find(|have| ends_with_part(have, name) || ends_with_part(name, have))
            .map(str::to_string)
    }

    /// Reads a whole tensor; `buf` has exactly [`TensorInfo::byte_len`] bytes.
    ///
    /// # Errors
    /// [`IoError::BufferLength`], or what the storage reports.
    pub fn read(&self, tensor: &TensorInfo, buf: &mut [u8]) -> Result<()> {
        if buf.len() as u64 != tensor.byte_len() {
            return Err(IoError::BufferLength {
                tensor: tensor.name.clone(),
                expected: tensor.byte_len(),
                found: buf.len() as u64,
            });
        }
        self.read_range(tensor, 0, buf)
    }

    /// Reads a part of a tensor, for example some rows of an embedding matrix: `buf.len()` bytes
    /// from `offset` on, which counts from the tensor's first byte.
    ///
    /// # Errors
    /// [`IoError::OutsideTensor`], or what the storage reports.
    pub fn read_range(&self, tensor: &TensorInfo, offset: u64, buf: &mut [u8]) -> Result<()> {
        let length = buf.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > tensor.byte_len()) {
            return Err(IoError::OutsideTensor {
                tensor: tensor.name.clone(),
                offset,
                length,
                expected: tensor.byte_len(),
            });
        }
        let Some(shard) = self.inner.shards.get(tensor.shard) else {
            return Err(IoError::ForeignTensor {
                tensor: tensor.name.clone(),
                expected: self.inner.shards.len(),
                found: tensor.shard,
            });
        };
        // No overflow: start + offset <= start + byte_len = end.
        shard.storage.read_at(tensor.range.start + offset, buf)
    }

    /// Hints that this part of a tensor will be read soon; a range that does not exist is ignored.
    pub(crate) fn will_need(&self, tensor: &TensorInfo, offset: u64, len: u64) {
        if let Some(shard) = self.inner.shards.get(tensor.shard)
            && offset.checked_add(len).is_some_and(|end| end <= tensor.byte_len())
        {
            shard.storage.will_need(tensor.range.start + offset, len);
        }
    }

    /// The files, in the order of their names.
    pub fn shards(&self) -> &[Shard] {
        &self.inner.shards
    }

    /// The files' storages, in the order of [`Checkpoint::shards`].
    pub fn storages(&self) -> Vec<Arc<dyn Storage>> {
        self.inner.shards.iter().map(|shard| Arc::clone(&shard.storage)).collect()
    }

    /// Where a tensor lies, as a [`Prefetcher`] wants to know it.
    pub fn extent(&self, tensor: &TensorInfo) -> Extent {
        // A tensor beyond the address space fits into no slot, which the prefetcher will say.
        let len = usize::try_from(tensor.byte_len()).unwrap_or(usize::MAX);
        Extent::new(tensor.shard, tensor.range.start, len, tensor.name.as_str())
    }

    /// Starts a prefetcher over this checkpoint's files; [`Checkpoint::extent`] makes its extents.
    ///
    /// # Errors
    /// As [`Prefetcher::start`].
    pub fn prefetcher(&self, options: PrefetchOptions) -> Result<Prefetcher> {
        Prefetcher::start(self.storages(), options)
    }

    /// The same, with slots where `allocator` puts them.
    ///
    /// # Errors
    /// As [`Prefetcher::start_in`].
    pub fn prefetcher_in(
        &self,
        options: PrefetchOptions,
        allocator: Option<SlotAllocator>,
    ) -> Result<Prefetcher> {
        Prefetcher::start_in(self.storages(), options, allocator)
    }

    /// Bytes of all tensors together, without headers.
    pub fn data_bytes(&self) -> u64 {
        // No overflow: ranges do not overlap and lie within files.
        self.tensors().map(TensorInfo::byte_len).sum()
    }
}

impl fmt::Debug for Checkpoint {
    /// A summary: a large checkpoint has thousands of tensors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("name", &self.inner.name)
            .field("shards", &self.inner.shards.len())
            .field("tensors", &self.inner.tensors.len())
            .finish_non_exhaustive()
    }
}

/// Whether index and shards list the same tensors in the same places; `found` is sorted by name.
fn check_agreement(file: &str, index: &Index, found: &[TensorInfo]) -> Result<()> {
    let file = || file.to_string();
    let shard_name = |shard: usize| index.shards[shard].clone();
    if let Some(pair) = found.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(IoError::Index(IndexError::InTwoShards {
            file: file(),
            tensor: pair[0].name.clone(),
            shard: shard_name(pair[0].shard),
            other: shard_name(pair[1].shard),
        }));
    }
    let missing = |tensor: &str, listed: usize, actual: Option<usize>| {
        IoError::Index(IndexError::NotInShard {
            file: file(),
            tensor: tensor.to_string(),
            shard: shard_name(listed),
            found_in: actual.map(shard_name),
        })
    };
    let mut found = found.iter().peekable();
    for (name, listed) in &index.tensors {
        // Both sides are sorted: whatever comes before `name` is in no index entry.
        match found.peek().map(|have| (have.name.cmp(name), have.shard)) {
            Some((Ordering::Equal, shard)) if shard == *listed => _ = found.next(),
            Some((Ordering::Equal, shard)) => return Err(missing(name, *listed, Some(shard))),
            Some((Ordering::Less, _)) => break,
            Some((Ordering::Greater, _)) | None => return Err(missing(name, *listed, None)),
        }
    }
    match found.next() {
        Some(extra) => Err(IoError::Index(IndexError::NotInIndex {
            file: file(),
            tensor: extra.name.clone(),
            shard: shard_name(extra.shard),
        })),
        None => Ok(()),
    }
}
