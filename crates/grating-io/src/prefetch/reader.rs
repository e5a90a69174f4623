//! What a reader thread does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::handover::{Handover, ReadTask, SlotMemory};
use super::memory::{Lent, Portion, Region, SlotAllocator};
use super::placement::{Placement, Request};
use super::stats::Counters;
use crate::error::{IoError, Result};
use crate::storage::{DirectStorage, Storage};

/// A storage and the way past the page cache to it, if that is the way to go.
#[derive(Debug)]
pub(super) struct OpenStorage {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) direct: Option<Arc<dyn DirectStorage>>,
    /// Reads through the cache are to leave no trace in it.
    pub(super) drop_behind: bool,
}

impl SlotMemory for Region {
    type Portion = Portion;
    type Lent = Lent;
    type Source = Option<SlotAllocator>;

    fn allocate(source: &Self::Source, bytes: usize) -> Result<Self> {
        match source {
            Some(allocator) => Region::allocate_by(allocator, bytes),
            None => Region::allocate(bytes),
        }
    }

    fn lend(self, ranges: impl Iterator<Item = std::ops::Range<usize>>) -> (Lent, Vec<Portion>) {
        Region::lend(self, ranges)
    }

    fn reclaim(lent: Lent) -> Self {
        lent.reclaim().unwrap_or_else(|_| unreachable!("all portions have been dropped"))
    }
}

/// Reads until the end.
pub(super) fn run(handover: &Handover<Region>, sources: &[OpenStorage], counters: &Counters) {
    while let Some(mut task) = handover.take_task() {
        let request = task.placement.requests[task.request].clone();
        let source = &sources[request.storage];
        counters.begin();
        // What the closure touches is not looked at again when it panics: the portion is dropped.
        let outcome = catch_unwind(AssertUnwindSafe(|| read(source, &request, &mut task)))
            .unwrap_or_else(|panic| Err(panicked(source, &request, &*panic)));
        let bytes = if source.direct.is_some() { request.end } else { request.end - request.skip };
        counters.end(bytes, outcome.is_ok());
        let outcome = outcome.map_err(|error| blame(&task.placement, &request, source, error));
        handover.complete(task, outcome);
    }
}

fn read(source: &OpenStorage, request: &Request, task: &mut ReadTask<Portion>) -> Result<()> {
    let bytes = task.portion.bytes_mut();
    match &source.direct {
        Some(direct) => direct.read_aligned(request.start, bytes, request.end),
        None => {
            let offset = request.start + request.skip as u64;
            source.storage.read_at(offset, &mut bytes[request.skip..request.end])?;
            if source.drop_behind {
                source.storage.not_needed(offset, (request.end - request.skip) as u64);
            }
            Ok(())
        }
    }
}

/// Adds the extent to an error.
fn blame(
    placement: &Placement,
    request: &Request,
    source: &OpenStorage,
    error: IoError,
) -> IoError {
    let position = match &error {
        IoError::Read { offset, .. } => *offset,
        IoError::ShortRead { offset, found, .. } => offset + found,
        _ => request.start,
    };
    let position = position.max(request.start + request.skip as u64);
    let extent = placement.extent_at(request.storage, position);
    IoError::Tensor {
        file: source.storage.name().to_string(),
        label: extent.map_or_else(String::new, |extent| extent.label.to_string()),
        offset: position,
        reason: Arc::new(error),
    }
}

fn panicked(source: &OpenStorage, request: &Request, panic: &(dyn Any + Send)) -> IoError {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let reason = text.or_else(|| panic.downcast_ref::<String>().cloned());
    IoError::Panicked {
        file: source.storage.name().to_string(),
        offset: request.start,
        reason: reason.unwrap_or_else(|| "no message".to_string()),
    }
}
