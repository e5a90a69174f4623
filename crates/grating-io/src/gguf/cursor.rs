//! Reading a header whose length is not known, value by value.

use super::problem::GgufProblem;
use crate::error::{HeaderError, IoError, Result};
use crate::header::MAX_HEADER_BYTES;
use crate::storage::Storage;

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// A position in a file, and the bytes from there on that have been read.
pub(super) struct Cursor<'a> {
    storage: &'a dyn Storage,
    position: u64,
    chunk: Vec<u8>,
    chunk_start: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(storage: &'a dyn Storage) -> Self {
        Cursor::at(storage, 0)
    }

    pub(super) fn at(storage: &'a dyn Storage, position: u64) -> Self {
        Cursor { storage, position, chunk: Vec::new(), chunk_start: 0 }
    }

    /// Bytes passed so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The error that names this file.
    pub(super) fn fail(&self, problem: GgufProblem) -> IoError {
        IoError::Gguf { file: self.storage.name().to_string(), problem }
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes(N as u64)?;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    /// A length and so many bytes of UTF-8.
    pub(super) fn text(&mut self) -> Result<String> {
        let length = self.u64()?;
        let offset = self.position;
        let text = self.bytes(length)?.to_vec();
        String::from_utf8(text).map_err(|error| {
            IoError::Header(HeaderError::NotUtf8 {
                file: self.storage.name().to_string(),
                offset: offset + error.utf8_error().valid_up_to() as u64,
            })
        })
    }

    /// Passes over bytes without reading them.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<()> {
        self.position = self.end_of(bytes)?;
        Ok(())
    }

    fn bytes(&mut self, length: u64) -> Result<&[u8]> {
        let end = self.end_of(length)?;
        let start = self.position;
        let chunk_end = self.chunk_start + self.chunk.len() as u64;
        if start < self.chunk_start || end > chunk_end {
            let wanted = length.max(CHUNK_BYTES).min(self.storage.len() - start);
            self.chunk.resize(wanted as usize, 0); // at most MAX_HEADER_BYTES, and in the file
            self.storage.read_at(start, &mut self.chunk)?;
            self.chunk_start = start;
        }
        self.position = end;
        let from = (start - self.chunk_start) as usize;
        Ok(&self.chunk[from..from + length as usize])
    }

    /// Where the next `length` bytes end, if the file has them and they may be the header's.
    fn end_of(&self, length: u64) -> Result<u64> {
        let file = || self.storage.name().to_string();
        let end = self.position.saturating_add(length);
        let found = self.storage.len();
        if end > found {
            return Err(IoError::Header(HeaderError::TruncatedHeader {
                file: file(),
                expected: end,
                found,
            }));
        }
        if end > MAX_HEADER_BYTES {
            let expected = MAX_HEADER_BYTES;
            return Err(IoError::Header(HeaderError::TooLarge {
                file: file(),
                expected,
                found: end,
            }));
        }
        Ok(end)
    }
}
