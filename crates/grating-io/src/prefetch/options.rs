//! Settings of a prefetcher.

/// How a prefetcher's bytes are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoMode {
    /// Through the page cache if all the storages together take at most half of the memory that
    /// is available at the start, past it otherwise: a model that fits is read from the disk once,
    /// one that does not fit would evict its own first bytes (and other programs' files) before
    /// they are needed again.
    #[default]
    Auto,
    /// Past the page cache (`O_DIRECT` on Linux, `F_NOCACHE` on macOS), so that a model larger than
    /// the memory leaves no trace in it. Storages and file systems that cannot do it are read
    /// through the cache, which is told to drop each request's pages once it has been read;
    /// [`PrefetchStats::direct`](super::PrefetchStats::direct) tells which.
    Direct,
    /// Through the page cache.
    Cached,
}

/// Settings of a [`Prefetcher`](super::Prefetcher).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefetchOptions {
    /// Capacity of each slot, bytes. Blocks go into the smallest capacity for them
    /// ([`Block::slot_bytes`](super::Block::slot_bytes)), and never into a larger one.
    pub slots: Vec<usize>,
    /// Length of a request, bytes; rounded up to whole pages of 4096. The default is 2 MiB.
    pub request_bytes: usize,
    /// Threads that read, hence requests in flight; 0 counts as 1. The default is 4.
    pub readers: usize,
    /// Through or past the page cache.
    pub io: IoMode,
}

impl PrefetchOptions {
    /// These slots, and the defaults.
    pub fn new(slots: Vec<usize>) -> Self {
        PrefetchOptions { slots, request_bytes: 2 << 20, readers: 4, io: IoMode::Auto }
    }

    /// With requests of this length, bytes.
    #[must_use]
    pub fn with_request_bytes(self, request_bytes: usize) -> Self {
        PrefetchOptions { request_bytes, ..self }
    }

    /// With so many threads that read.
    #[must_use]
    pub fn with_readers(self, readers: usize) -> Self {
        PrefetchOptions { readers, ..self }
    }

    /// Through or past the page cache.
    #[must_use]
    pub fn with_io(self, io: IoMode) -> Self {
        PrefetchOptions { io, ..self }
    }
}
