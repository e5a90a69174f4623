//! A kind of device with its memory: weights come in, activations live there.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::format::Format;
use crate::meter::Meter;
use crate::ragged::Ragged;
use crate::weights::{HostBlock, TensorRef};

/// What a backend is and has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// Implementation and device, for people.
    pub name: String,
    /// Whether its memory is the host's: nothing is copied to it then, and one budget counts both.
    pub shares_host_memory: bool,
    /// Bytes of one element of an activation, in the device's memory and where it is kept on host or disk.
    pub activation_bytes: usize,
}

impl Caps {
    /// A backend in the host's memory, with activations in f32.
    pub fn on_host(name: impl Into<String>) -> Self {
        Caps { name: name.into(), shares_host_memory: true, activation_bytes: size_of::<f32>() }
    }
}

/// The widths of a model that decide how much memory a layer takes while it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Widths {
    /// Columns of a hidden state.
    pub hidden: usize,
    /// Columns within a feed-forward block.
    pub intermediate: usize,
    /// Whether that block has a gate beside its input projection.
    pub gated: bool,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Whether a query of some layer sees what comes after it.
    pub whole_attention: bool,
    /// Rows of a table of distances between tokens, for layers that attend by distance.
    pub distance_rows: usize,
    /// Tables of rotary angles, one of cosines and one of sines each.
    pub angle_tables: usize,
    /// How the layers' matrices are stored, where all of them are stored alike.
    pub format: Option<Format>,
    /// Whether some of the layers' matrices are stored in bf16, or it is not known.
    pub bf16: bool,
    /// Whether gate and input projection of each layer are stored alike.
    pub gate_alike: bool,
    /// Whether blocks' outcomes are scaled, before the product that they end with.
    pub scaled: bool,
    /// Whether what a block adds to the hidden state is normalised before.
    pub normed_ends: bool,
}

impl Widths {
    /// One head as wide as the hidden state, no gate, causal, no rotary angles.
    pub fn new(hidden: usize, intermediate: usize) -> Self {
        Widths {
            hidden,
            intermediate,
            gated: false,
            heads: 1,
            kv_heads: 1,
            head_dim: hidden,
            whole_attention: false,
            distance_rows: 0,
            angle_tables: 0,
            format: None,
            bf16: true,
            gate_alike: false,
            scaled: false,
            normed_ends: false,
        }
    }

    /// With these heads.
    #[must_use]
    pub fn with_heads(self, heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Widths { heads, kv_heads, head_dim, ..self }
    }

    /// Whether with a gate.
    #[must_use]
    pub fn with_gate(self, gated: bool) -> Self {
        Widths { gated, ..self }
    }

    /// Whether with queries that see what comes after them.
    #[must_use]
    pub fn with_whole_attention(self, whole_attention: bool) -> Self {
        Widths { whole_attention, ..self }
    }

    /// With a table of so many rows of distances.
    #[must_use]
    pub fn with_distance_rows(self, distance_rows: usize) -> Self {
        Widths { distance_rows, ..self }
    }

    /// With so many rotary embeddings.
    #[must_use]
    pub fn with_angle_tables(self, angle_tables: usize) -> Self {
        Widths { angle_tables, ..self }
    }

    /// With matrices that are all stored so, and whether each gate is stored as the projection beside it.
    #[must_use]
    pub fn with_format(self, format: Option<Format>, gate_alike: bool) -> Self {
        Widths { format, gate_alike, ..self }
    }

    /// Whether with matrices in bf16.
    #[must_use]
    pub fn with_bf16(self, bf16: bool) -> Self {
        Widths { bf16, ..self }
    }

    /// Whether with blocks whose outcomes are scaled, and with such that normalise what they add.
    #[must_use]
    pub fn with_ends(self, scaled: bool, normed_ends: bool) -> Self {
        Widths { scaled, normed_ends, ..self }
    }
}

/// What computing takes beside weights and hidden states, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workspace {
    /// For each token of a chunk.
    pub per_token: usize,
    /// Whatever the chunk.
    pub fixed: usize,
    /// Of one element of keys and values that are kept for those that come after a prefix.
    pub key_bytes: usize,
}

impl Workspace {
    /// So many bytes for each token of a chunk, and so many whatever the chunk.
    pub const fn new(per_token: usize, fixed: usize) -> Self {
        Workspace { per_token, fixed, key_bytes: size_of::<f32>() }
    }

    /// With keys and values of so many bytes an element.
    #[must_use]
    pub const fn with_key_bytes(self, key_bytes: usize) -> Self {
        Workspace { key_bytes, ..self }
    }
}

/// Rows to copy from: a tensor of the backend's, or one that was [parked](Backend::park) on the host.
#[derive(Debug)]
pub enum Source<'a, T> {
    /// On the device.
    Tensor(&'a T),
    /// On the host, as [`Backend::park`] wrote it.
    Host(&'a [u8]),
}

// Not derived: that would ask for tensors that can be copied.
impl<T> Clone for Source<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Source<'_, T> {}

/// Bytes of the host's memory with one owner, given back when it is dropped.
pub type HostMemory = Box<dyn AsMut<[u8]> + Send>;

/// Allocates at least so many bytes of the host's memory, in whole pages of 4096 bytes. `None`: there is no more of that
/// kind, and ordinary memory does as well, only slower.
pub type HostAllocator = Arc<dyn Fn(usize) -> Result<Option<HostMemory>> + Send + Sync>;

/// A kind of device: its memory, its threads or queues, and what moves between it and the host.
///
/// Everything but [`Self::wait`] may be queued; errors may then come late, at the latest from `wait`.
pub trait Backend: Send + Sync + 'static {
    /// An activation tensor `[rows, columns]`.
    type Tensor: Send + Sync;
    /// A block of weights where the backend computes on it.
    type Slot: Send + Sync;
    /// A weight as the backend computes on it; it may borrow the slot's bytes.
    type Weight<'s>: Send + Sync
    where
        Self: 's;
    /// What a chunk's rows are, where the backend wants it.
    type Layout: Send + Sync;
    /// Numbers on their way to the host.
    type Pending: Send;

    /// What it is and has.
    fn caps(&self) -> Caps;

    /// Runs `work`, which calls operations, where the backend's threads are.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// Runs `work`, whose operations follow each other without a wait, where the thread that calls it is: within
    /// [`Self::run`]. Threads that share in operations need not go to sleep between them.
    fn run_closely<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }

    /// Takes a block of weights in, in place of `spare` where there is one. Where host and device are one memory nothing
    /// is copied and the slot keeps `block` alive; elsewhere a copy starts and keeps it alive for as long as it reads.
    ///
    /// # Errors
    /// [`crate::BackendError::OutOfMemory`], or the device's.
    fn admit(&self, block: Arc<dyn HostBlock>, spare: Option<Self::Slot>) -> Result<Self::Slot>;

    /// Memory that blocks of weights are best read into because copies to the device are faster from there. `None`: any
    /// memory is as good.
    fn host_memory(&self) -> Option<HostAllocator> {
        None
    }

    /// Waits until no copy reads a block that was [admitted](Self::admit): then the backend keeps none of them alive that
    /// it has copied. To be called before somebody waits for what a block's end would give back.
    ///
    /// # Errors
    /// What failed; the blocks are let go nevertheless.
    fn finish_copies(&self) -> Result<()> {
        Ok(())
    }

    /// Makes a tensor of an admitted block usable.
    ///
    /// # Errors
    /// [`crate::BackendError::Unsupported`], or the device's.
    fn bind<'s>(&self, slot: &'s Self::Slot, tensor: TensorRef<'_>) -> Result<Self::Weight<'s>>;

    /// What the rows of a chunk are, made once for all layers.
    ///
    /// # Errors
    /// The device's.
    fn layout(&self, rows: &Ragged) -> Result<Self::Layout>;

    /// A tensor `[rows, columns]` whose elements are unspecified, to be written by [`Self::copy_rows`].
    ///
    /// # Errors
    /// [`crate::BackendError::OutOfMemory`], or the device's.
    fn empty(&self, rows: usize, columns: usize) -> Result<Self::Tensor>;

    /// A tensor `[rows, columns]` that `write` writes in f32, row-major, where the tensor lies if the host can reach
    /// it; what it holds before is unspecified.
    ///
    /// # Errors
    /// What `write` fails with, or the device's.
    fn written<E: From<crate::BackendError>>(
        &self,
        rows: usize,
        columns: usize,
        write: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<Self::Tensor, E>;

    /// Copies `rows` of `source`, which has as many columns, to `out` from its row `at` on. Re-packing a pool is a
    /// sequence of these. What is on the host has been read when this returns.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If `source` has no such rows or `out` no such room.
    fn copy_rows(
        &self,
        out: &mut Self::Tensor,
        at: usize,
        source: Source<'_, Self::Tensor>,
        rows: Range<usize>,
    ) -> Result<()>;

    /// Writes a tensor to host memory, `rows * columns *` [`Caps::activation_bytes`] bytes, from where
    /// [`Source::Host`] brings it back to the bit.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If `out` is not so long.
    fn park(&self, x: &Self::Tensor, out: &mut [u8]) -> Result<()>;

    /// Starts to bring a tensor's elements to the host, as f32.
    ///
    /// # Errors
    /// The device's.
    fn read(&self, x: &Self::Tensor) -> Result<Self::Pending>;

    /// Waits for what was [read](Self::read), row-major.
    ///
    /// # Errors
    /// Whatever failed since the last wait.
    fn wait(&self, pending: Self::Pending) -> Result<Vec<f32>>;

    /// What a layer of such widths takes, where the longest sequence has `longest` tokens, a shared prefix included.
    fn workspace(&self, widths: &Widths, longest: usize) -> Workspace;

    /// What was counted since the last [`Self::trim`].
    fn meter(&self) -> Meter;

    /// Gives memory that nothing uses back to the system, and begins to count anew.
    fn trim(&self);
}
