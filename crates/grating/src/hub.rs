//! Models by hub id: fetched once into the standard Hugging Face cache, then read from there.
//!
//! # Brief overview
//!
//! [`fetch`] takes an id (`owner/name`), a revision and [`HubOptions`], and returns the snapshot folder, which is
//! then opened like any other model folder. Only what a reranker needs is downloaded: `config.json`,
//! `tokenizer.json`, the safetensors weights (one file, or the index and its shards) and, where the repository has
//! them, `grating.json` and the small files that say what the model is: the model card, `tokenizer_config.json`, chat
//! templates, sentence-transformers' settings and an adapter's `adapter_config.json`. Of a repository of GGUF files it is
//! one of them (the only one, or the one named in `owner/name:Q4_K_M` or `owner/name/file.gguf`) and the small files as
//! far as there are any.
//!
//! The cache is the one of Python's `huggingface_hub` (`models--owner--name/{blobs,refs,snapshots}`, locks in
//! `.locks`): what Python fetched is reused, and the other way round. [`HubOptions::from_env`] finds it, the token
//! and the endpoint as Python does; [`fetch`] itself reads no such variable. Proxies are taken from `HTTPS_PROXY`,
//! `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` by the HTTP client.
//!
//! # What happens to a request
//!
//! 1. Offline: the snapshot that the revision named last is returned if it is complete, no connection is made.
//! 2. Otherwise the hub is asked which commit the revision names. When the hub cannot be reached or is out of order
//!    (no connection, 5xx, 429, an answer that is not the hub's), a complete cached snapshot is used and reported as
//!    [`DownloadPhase::UsingCache`]; a refusal (401, 403, 404) is an error even then.
//! 3. Files that the snapshot lacks are downloaded one after the other. An interrupted download is resumed where
//!    it stopped, a bounded number of times, and also by the next call. Its length is checked against what the hub
//!    announced, and its SHA-256 where the hub gives one (all weights in practice). Only then does it get its name
//!    in the cache: a snapshot never holds a partial file.
//! 4. When all files are there the revision's ref is moved to the commit.
//!
//! Addresses, the listing and the cache's paths come from the `hf-hub` crate. The transfer is this module's own,
//! over the same HTTP client: that of `hf-hub` checks neither length nor content, appends to a partial file when
//! the server answers a resume with the whole file, and waits for a silent server for ever.
//!
//! # Example
//!
//! ```no_run
//! use grating::hub::{self, HubOptions};
//!
//! let options = HubOptions::from_env()?;
//! let folder = hub::fetch("BAAI/bge-reranker-v2-m3", None, &options, |p| {
//!     eprintln!("{} {}/{} bytes", p.file, p.done_bytes, p.total_bytes);
//! })?;
//! println!("{}", folder.display());
//! # Ok::<(), grating::hub::HubError>(())
//! ```

mod cache;
mod client;
mod error;
mod models;
mod names;
mod options;
mod plan;
mod transfer;

use std::path::PathBuf;

pub use error::HubError;
pub use options::HubOptions;

use cache::RepoCache;
use client::{Client, FileMeta};
use plan::Weights;
use transfer::Download;

/// The revision where none is given.
pub const DEFAULT_REVISION: &str = "main";

/// What a call of the progress callback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownloadPhase {
    /// Bytes of `file` have arrived (or were there from an interrupted download).
    Downloading,
    /// Another process is downloading `file` into the same cache; this one waits for it.
    Waiting,
    /// The hub could not be reached; the complete snapshot in the cache is used, which may not be the newest.
    UsingCache,
}

/// How far a fetch has come. The callback is not called at all when nothing has to be downloaded.
///
/// Of a sharded checkpoint the index comes first, on its own: the totals start anew with the files it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadProgress<'a> {
    /// What is going on.
    pub phase: DownloadPhase,
    /// The file in the repository; empty with [`DownloadPhase::UsingCache`].
    pub file: &'a str,
    /// Which of the files to download this is, from 1.
    pub file_number: usize,
    /// Files to download.
    pub files: usize,
    /// Bytes of this file that are here.
    pub file_done_bytes: u64,
    /// Bytes of this file.
    pub file_total_bytes: u64,
    /// Bytes of all files to download that are here.
    pub done_bytes: u64,
    /// Bytes of all files to download.
    pub total_bytes: u64,
}

/// Makes the snapshot of model `id` at `revision` (a branch, tag or commit; `main` if `None`) complete in the cache
/// and returns its folder, or the file of weights where those go by a name of their own. Of several such,
/// `owner/name:Q4_K_M` or `owner/name/file.gguf` names one. See the [module](self) for what is downloaded, checked and reused.
///
/// `progress` is called on the calling thread, for every chunk (at most 256 KiB).
///
/// # Errors
/// [`HubError`]; each message says what to do next.
pub fn fetch(
    id: &str,
    revision: Option<&str>,
    options: &HubOptions,
    mut progress: impl FnMut(DownloadProgress<'_>),
) -> Result<PathBuf, HubError> {
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    let (id, choice) = names::split_choice(id);
    names::check_id(id)?;
    names::check_choice(id, choice)?;
    names::check_revision(revision)?;
    let cache = RepoCache::new(&options.cache_dir, id, revision);
    if options.offline {
        return cache.complete_snapshot(choice);
    }
    let client = Client::new(id, revision, options)?;
    let listing = match client.listing() {
        Ok(listing) => listing,
        Err(error) if error.is_outage() => {
            let Ok(folder) = cache.complete_snapshot(choice) else { return Err(error) };
            progress(DownloadProgress::using_cache());
            return Ok(folder);
        }
        Err(error) => return Err(error),
    };
    let session = Session { client: &client, cache: &cache, commit: &listing.commit };
    let (small_files, weights) = plan::files(id, &listing, choice)?;
    session.complete(&small_files, &weights, &mut progress)?;
    cache.set_ref(&listing.commit)?;
    Ok(plan::path(cache.snapshot(&listing.commit), &weights))
}

impl DownloadProgress<'_> {
    fn using_cache() -> Self {
        DownloadProgress {
            phase: DownloadPhase::UsingCache,
            file: "",
            file_number: 0,
            files: 0,
            file_done_bytes: 0,
            file_total_bytes: 0,
            done_bytes: 0,
            total_bytes: 0,
        }
    }
}

/// The fetch of one commit.
struct Session<'a> {
    client: &'a Client,
    cache: &'a RepoCache,
    commit: &'a str,
}

impl Session<'_> {
    /// Brings every missing file of the snapshot. Sizes are asked for first, so that progress has a total; the
    /// index is fetched ahead (it is small), because it names the shards.
    fn complete(
        &self,
        small_files: &[String],
        weights: &Weights,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<(), HubError> {
        let mut wanted = small_files.to_vec();
        match weights {
            Weights::Single => wanted.push(plan::SINGLE.to_string()),
            Weights::Sharded => {
                let index = self.describe(&[plan::INDEX.to_string()])?;
                self.download_all(&index, progress)?;
                wanted.extend(plan::shards(&self.cache.snapshot(self.commit).join(plan::INDEX))?);
            }
            Weights::Model(files) => wanted.extend(files.iter().cloned()),
        }
        self.download_all(&self.describe(&wanted)?, progress)
    }

    /// Size and ETag of each of `files` that the snapshot lacks.
    fn describe(&self, files: &[String]) -> Result<Vec<FileMeta>, HubError> {
        let snapshot = self.cache.snapshot(self.commit);
        let missing = files.iter().filter(|file| !snapshot.join(file).exists());
        missing.map(|file| self.client.describe(self.commit, file)).collect()
    }

    fn download_all(
        &self,
        files: &[FileMeta],
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<(), HubError> {
        let total_bytes = files.iter().fold(0, |sum: u64, meta| sum.saturating_add(meta.size));
        let mut before = 0u64;
        for (i, meta) in files.iter().enumerate() {
            let mut report = |phase, file_done_bytes| {
                progress(DownloadProgress {
                    phase,
                    file: &meta.file,
                    file_number: i + 1,
                    files: files.len(),
                    file_done_bytes,
                    file_total_bytes: meta.size,
                    done_bytes: before.saturating_add(file_done_bytes),
                    total_bytes,
                });
            };
            let download = Download { client: self.client, commit: self.commit, meta };
            self.cache
                .ensure_blob(meta, &mut report, |partial, report| download.run(partial, report))?;
            self.cache.link(self.commit, meta)?;
            before = before.saturating_add(meta.size);
        }
        Ok(())
    }
}
