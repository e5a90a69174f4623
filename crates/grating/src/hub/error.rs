//! Why a model could not be fetched, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::models;

/// Why a model could not be had from the hub or its cache. No message holds the token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The id breaks the hub's rules.
    #[error("`{id}` is not a hub id: {reason}; expected owner/name, as in BAAI/bge-reranker-v2-m3")]
    InvalidId {
        /// As given.
        id: String,
        /// Which rule.
        reason: &'static str,
    },
    /// The revision is empty or has characters that are not used.
    #[error(
        "`{revision}` is not a revision: give a branch, a tag or a commit hash \
         (letters, digits, `-`, `_`, `.`, `+`, `/`); a commit hash always works"
    )]
    InvalidRevision {
        /// As given.
        revision: String,
    },
    /// The endpoint is not an address.
    #[error(
        "the hub's endpoint `{endpoint}` is not usable: {reason}; correct HF_ENDPOINT, as in https://huggingface.co"
    )]
    InvalidEndpoint {
        /// As given, without what may be a password.
        endpoint: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The token cannot be sent in a header.
    #[error(
        "the access token has characters that no token has; log in again with `hf auth login`, or correct HF_TOKEN"
    )]
    InvalidToken,
    /// No variable names the cache folder and there is no home folder.
    #[error("there is no home folder to hold the cache of models; set HF_HOME or HF_HUB_CACHE")]
    NoCacheFolder,
    /// Offline, and the cache does not have the whole model.
    #[error(
        "{id} at `{revision}` is not complete in the cache {cache} (missing: {missing}) and offline mode is on; \
         leave out --offline and HF_HUB_OFFLINE to fetch it, or give a local folder"
    )]
    NotCached {
        /// The model.
        id: String,
        /// The revision.
        revision: String,
        /// The cache folder.
        cache: PathBuf,
        /// Files, or `the revision`.
        missing: String,
    },
    /// No such repository, or none that an anonymous caller may see.
    #[error("{}", not_found(.id, .endpoint, *.token_sent))]
    RepoNotFound {
        /// The model.
        id: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        token_sent: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error(
        "{id} has no revision `{revision}`; its branches and tags are listed under \"Files\" at {endpoint}/{id}"
    )]
    RevisionNotFound {
        /// The model.
        id: String,
        /// The revision.
        revision: String,
        /// The hub.
        endpoint: String,
    },
    /// The authors give access on request only.
    #[error("{}", gated(.id, .endpoint, *.token_sent))]
    Gated {
        /// The model.
        id: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        token_sent: bool,
    },
    /// The hub refuses for another reason (401 or 403).
    #[error("{}", denied(.id, *.status, *.token_sent, .reason))]
    AccessDenied {
        /// The model.
        id: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        token_sent: bool,
        /// The hub's words; may be empty.
        reason: String,
    },
    /// The repository holds weights in other formats only.
    #[error(
        "{id} has no safetensors or GGUF weights (found: {found}), and other formats are not read; look for a revision or \
         repository with model.safetensors, or convert it with transformers \
         (`model.save_pretrained(folder, safe_serialization=True)`) and give that folder"
    )]
    NoSafetensors {
        /// The model.
        id: String,
        /// What is there.
        found: String,
    },
    /// The repository holds several models and none was chosen.
    #[error("{}", several(.id, .files))]
    SeveralModels {
        /// The repository.
        id: String,
        /// A file of each.
        files: Vec<String>,
    },
    /// The repository does not hold the model that was chosen.
    #[error("{id} holds no model `{choice}`; {}", holds(.id, .found))]
    NoSuchModel {
        /// The repository.
        id: String,
        /// As given.
        choice: String,
        /// A file of each that it holds.
        found: Vec<String>,
    },
    /// The repository lacks a file that every model needs.
    #[error("{id} has no {file}; {hint}")]
    MissingFile {
        /// The model.
        id: String,
        /// The file.
        file: String,
        /// What to do.
        hint: &'static str,
    },
    /// The index of a sharded checkpoint cannot be used.
    #[error(
        "the index {path} cannot be used: {reason}; if it is damaged, delete it and fetch again"
    )]
    BadIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The hub does not answer: no network, name not found, refused, timed out.
    #[error(
        "cannot reach {endpoint}: {reason}; check the network and proxy (HTTPS_PROXY), or give a local folder; \
         a model that is complete in the cache needs no network"
    )]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// The system's words.
        reason: String,
    },
    /// The hub is out of order.
    #[error(
        "the hub answered {status} for {url}, {attempts} times; try again later, or give a local folder"
    )]
    Server {
        /// A status of 500 or above, or 408.
        status: u16,
        /// What was asked for.
        url: String,
        /// How often.
        attempts: u32,
    },
    /// Too many requests.
    #[error("the hub limits the rate of requests (429){}; try again later, with HF_TOKEN set the limit is higher", retry_after(.seconds))]
    RateLimited {
        /// How long to wait, where the hub says so.
        seconds: Option<u64>,
    },
    /// The answer is not one of a hub.
    #[error(
        "unexpected answer for {url}: {reason}; is HF_ENDPOINT a hub, and is there a login page or proxy in between?"
    )]
    BadResponse {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The download broke off too often. What has arrived is kept: the next call goes on from there.
    #[error(
        "the download of {file} broke off at {received} of {expected} bytes and {attempts} attempts in a row brought \
         little or nothing: {reason}; try again, it goes on from there"
    )]
    Interrupted {
        /// In the repository.
        file: String,
        /// Bytes here.
        received: u64,
        /// Bytes in all.
        expected: u64,
        /// Failures in a row.
        attempts: u32,
        /// The last one.
        reason: String,
    },
    /// The server sends another number of bytes than the hub announced.
    #[error(
        "{file}: the hub announced {expected} bytes, the server sends {found}; a proxy may alter files, try again later"
    )]
    WrongLength {
        /// In the repository.
        file: String,
        /// Bytes.
        expected: u64,
        /// Bytes.
        found: u64,
    },
    /// The content is not the one the hub announced; it was discarded.
    #[error(
        "{file} arrived damaged (SHA-256 {found}, expected {expected}) and was discarded; try again"
    )]
    WrongChecksum {
        /// In the repository.
        file: String,
        /// Hexadecimal.
        expected: String,
        /// Hexadecimal.
        found: String,
    },
    /// The cache or the token file cannot be read or written.
    #[error("cannot {action} {}: {reason}{}", .path.display(), io_hint(.reason))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
}

impl HubError {
    pub(super) fn io(action: &'static str, path: &Path, reason: io::Error) -> Self {
        HubError::Io { action, path: path.to_path_buf(), reason }
    }

    /// The hub cannot be used at all, for now: a complete cached snapshot is the better answer.
    pub(super) fn is_outage(&self) -> bool {
        self.is_transient() || matches!(self, HubError::BadResponse { .. })
    }

    /// Trying again may help.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self,
            HubError::Unreachable { .. } | HubError::Server { .. } | HubError::RateLimited { .. }
        )
    }
}

/// Names shown of the models that can be chosen.
const SHOWN_MODELS: usize = 20;

fn list(files: &[String]) -> String {
    let shown = files.iter().take(SHOWN_MODELS).cloned().collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(SHOWN_MODELS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn several(id: &str, files: &[String]) -> String {
    let first = files.first().map_or("", String::as_str);
    format!(
        "{id} holds several models: {}; name one, as in {id}:{} or {id}/{first}",
        list(files),
        models::tag(first)
    )
}

fn holds(id: &str, found: &[String]) -> String {
    match found {
        [] => format!("its files have none under a name of its own; leave the choice out: {id}"),
        found => format!("it holds {}", list(found)),
    }
}

const TOKEN_HINT: &str = "log in with `hf auth login`, or set HF_TOKEN";

fn not_found(id: &str, endpoint: &str, token_sent: bool) -> String {
    let private = if token_sent {
        "if it is private, your token needs read access to it".to_string()
    } else {
        format!("if it is private, {TOKEN_HINT}")
    };
    format!(
        "{endpoint} has no model `{id}`: check the spelling, or give an existing folder; {private}"
    )
}

fn gated(id: &str, endpoint: &str, token_sent: bool) -> String {
    let then = if token_sent {
        "with the account of your token".to_string()
    } else {
        format!("then {TOKEN_HINT}")
    };
    format!("access to {id} must be asked for: accept its terms at {endpoint}/{id}, {then}")
}

fn denied(id: &str, status: u16, token_sent: bool, reason: &str) -> String {
    let said = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let next = if token_sent {
        "check that your token is valid and may read the model; a copy in the cache can be used with HF_HUB_OFFLINE=1"
            .to_string()
    } else {
        TOKEN_HINT.to_string()
    };
    format!("the hub refuses access to {id}: {status}{said}; {next}")
}

fn retry_after(seconds: &Option<u64>) -> impl fmt::Display {
    seconds.map_or(String::new(), |seconds| format!(", wait {seconds} s"))
}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or set HF_HUB_CACHE to another disk, then try again: the download goes on from there"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; set HF_HUB_CACHE to a folder that you may write"
        }
        _ => "",
    }
}
