//! One file from the hub into a partial file: resumed when it breaks off, and checked when it is whole.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::cache::Report;
use super::client::{Client, Content, FileMeta};
use super::{DownloadPhase, HubError, names};

const CHUNK: usize = 256 << 10;
/// An attempt that brings this many new bytes is no failure, however it ends. Together with the size of the file
/// this bounds the attempts.
const WORTHWHILE: u64 = 1 << 20;

/// The download of one file.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) commit: &'a str,
    pub(super) meta: &'a FileMeta,
}

/// Why an attempt ended before the file did.
enum Stop {
    /// Another attempt may bring the rest.
    Passing(String),
    Fatal(HubError),
}

impl Download<'_> {
    /// Completes the file at `partial`, whatever of it is there, and checks length and content. On disk afterwards.
    pub(super) fn run(&self, partial: &Path, report: &mut Report<'_>) -> Result<(), HubError> {
        let mut sink = Sink::open(partial, self.meta)?;
        let resumed = sink.length > 0;
        report(DownloadPhase::Downloading, sink.length);
        self.fill(&mut sink, report)?;
        if resumed && sink.wrong_checksum().is_some() {
            // What an earlier run left may be what is wrong: once more from the start.
            sink.restart()?;
            self.fill(&mut sink, report)?;
        }
        if let Some(found) = sink.wrong_checksum() {
            sink.restart()?; // keep nothing of it
            return Err(HubError::WrongChecksum {
                file: self.meta.file.clone(),
                expected: self.meta.etag.clone(),
                found,
            });
        }
        sink.file.sync_all().map_err(|e| HubError::io("write", partial, e))
    }

    /// Attempts until all bytes are there or too many in a row brought nothing.
    fn fill(&self, sink: &mut Sink<'_>, report: &mut Report<'_>) -> Result<(), HubError> {
        let mut failures = 0;
        let mut furthest = sink.length;
        while sink.length < self.meta.size {
            let reason = match self.attempt(sink, report) {
                Ok(()) => continue,
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Passing(reason)) => reason,
            };
            // Counted from the furthest point, so that a server that always starts over brings nothing new.
            failures =
                if sink.length >= furthest.saturating_add(WORTHWHILE) { 1 } else { failures + 1 };
            furthest = furthest.max(sink.length);
            if failures > self.client.retries() {
                return Err(HubError::Interrupted {
                    file: self.meta.file.clone(),
                    received: sink.length,
                    expected: self.meta.size,
                    attempts: failures,
                    reason,
                });
            }
            self.client.back_off(failures);
        }
        Ok(())
    }

    /// One request, from where the sink stands.
    fn attempt(&self, sink: &mut Sink<'_>, report: &mut Report<'_>) -> Result<(), Stop> {
        let mut content = match self.client.open(self.commit, &self.meta.file, sink.length) {
            Ok(content) => content,
            // Also a 416 for an offset that the server does not know: from the start then.
            Err(HubError::BadResponse { .. }) if sink.length > 0 => {
                sink.restart()?;
                return Err(Stop::Passing("the server cannot resume".to_string()));
            }
            Err(error) if error.is_transient() => return Err(Stop::Passing(error.to_string())),
            Err(error) => return Err(Stop::Fatal(error)),
        };
        if content.offset != sink.length {
            sink.restart()?;
            if content.offset != 0 {
                return Err(Stop::Passing("the server resumes at another place".to_string()));
            }
        }
        self.check_length(content.total.unwrap_or(self.meta.size))?;
        self.copy(&mut content, sink, report)
    }

    fn copy(
        &self,
        content: &mut Content,
        sink: &mut Sink<'_>,
        report: &mut Report<'_>,
    ) -> Result<(), Stop> {
        let mut chunk = vec![0; CHUNK];
        while sink.length < self.meta.size {
            match content.reader.read(&mut chunk) {
                Ok(0) => return Err(Stop::Passing("the connection was closed".to_string())),
                Ok(n) => {
                    self.check_length(self.meta.size.max(sink.length + n as u64))?;
                    sink.write(&chunk[..n])?;
                    report(DownloadPhase::Downloading, sink.length);
                }
                Err(e) => return Err(Stop::Passing(e.to_string())),
            }
        }
        Ok(())
    }

    fn check_length(&self, found: u64) -> Result<(), Stop> {
        if found == self.meta.size {
            return Ok(());
        }
        let (file, expected) = (self.meta.file.clone(), self.meta.size);
        Err(Stop::Fatal(HubError::WrongLength { file, expected, found }))
    }
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Stop::Fatal(error)
    }
}

/// The partial file and, where the ETag is one, the SHA-256 of what it holds so far.
struct Sink<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    hash: Option<Sha256>,
    etag: &'a str,
}

impl<'a> Sink<'a> {
    /// Goes on with what an interrupted run left, unless it is longer than the file is to be.
    fn open(path: &'a Path, meta: &'a FileMeta) -> Result<Self, HubError> {
        let failed = |e| HubError::io("write", path, e);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let hash = names::is_sha256(&meta.etag).then(Sha256::new);
        let mut sink = Sink { path, file, length, hash, etag: &meta.etag };
        if length > meta.size {
            sink.restart()?;
        } else if length > 0 {
            sink.seed().map_err(|e| HubError::io("read", path, e))?;
        }
        Ok(sink)
    }

    /// Hashes what is there and goes to its end.
    fn seed(&mut self) -> std::io::Result<()> {
        if let Some(hash) = &mut self.hash {
            self.length = std::io::copy(&mut (&self.file).take(self.length), hash)?;
        }
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(|e| HubError::io("write", self.path, e))?;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|e| HubError::io("write", self.path, e))?;
        self.length = 0;
        if let Some(hash) = &mut self.hash {
            hash.reset();
        }
        Ok(())
    }

    /// The checksum, if it is not the expected one.
    fn wrong_checksum(&self) -> Option<String> {
        let digest = self.hash.clone()?.finalize();
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        (found != self.etag).then_some(found)
    }
}
