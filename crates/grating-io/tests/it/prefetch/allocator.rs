//! Slots where an allocator puts them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use grating_io::{SlotAllocator, SlotBytes};

use super::*;

/// Whole pages out of a vector; counts those that are alive.
struct Counted {
    bytes: Vec<u8>,
    skip: usize,
    len: usize,
    alive: Arc<AtomicUsize>,
}

impl Counted {
    fn boxed(len: usize, skip: usize, alive: &Arc<AtomicUsize>) -> SlotBytes {
        alive.fetch_add(1, Ordering::SeqCst);
        let bytes = vec![0; len + 2 * PAGE];
        let skip = skip + bytes.as_ptr().align_offset(PAGE);
        Box::new(Counted { bytes, skip, len, alive: Arc::clone(alive) })
    }
}

impl AsMut<[u8]> for Counted {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.skip..][..self.len]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start_in(slots: &[usize], allocator: SlotAllocator) -> Prefetcher {
    let storage = storage(0, 100 * PAGE);
    Prefetcher::start_in(vec![storage], options(slots), Some(allocator)).unwrap()
}

fn pages(tags: std::ops::Range<u64>) -> impl Iterator<Item = Block> {
    tags.map(|tag| block(tag, tag * PAGE as u64, PAGE))
}

#[test]
fn slots_are_where_the_allocator_puts_them_and_are_given_back() {
    let (alive, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let allocator: SlotAllocator = {
        let (alive, asked) = (Arc::clone(&alive), Arc::clone(&asked));
        Arc::new(move |bytes| {
            asked.lock().unwrap().push(bytes);
            // The third of them need not be anywhere.
            let ordinary = asked.lock().unwrap().len() == 3;
            Ok((!ordinary).then(|| Counted::boxed(bytes, 0, &alive)))
        })
    };
    let prefetcher = start_in(&[PAGE; 3], allocator);
    prefetcher.schedule(pages(0..50)).unwrap();
    let mut kept = None;
    for tag in 0..50 {
        let lease = prefetcher.next().unwrap();
        assert_eq!(lease.tag(), tag);
        check(&lease);
        if tag == 0 {
            kept = Some(lease);
        }
    }
    assert_eq!(*asked.lock().unwrap(), [PAGE; 3], "memory is taken once for each slot");
    assert_eq!(alive.load(Ordering::SeqCst), 2);
    drop(prefetcher);
    let kept = kept.unwrap();
    check(&kept);
    drop(kept);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn what_an_allocator_does_wrong_is_its_blocks_error_and_the_next_is_served() {
    type Wrong = fn(usize, &Arc<AtomicUsize>) -> io::Result<Option<SlotBytes>>;
    let wrongs: [(Wrong, &str); 4] = [
        (|_, _| Err(io::Error::other("the device is full")), "the device is full"),
        (|_, _| panic!("a bad allocator"), "panicked"),
        (|bytes, alive| Ok(Some(Counted::boxed(bytes, 8, alive))), "whole pages"),
        (|bytes, alive| Ok(Some(Counted::boxed(bytes - 1, 0, alive))), "whole pages"),
    ];
    for (wrong, said) in wrongs {
        let (alive, calls) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let counted = Arc::clone(&alive);
        let prefetcher = start_in(
            &[PAGE],
            Arc::new(move |bytes| match calls.fetch_add(1, Ordering::SeqCst) {
                0 => wrong(bytes, &counted),
                _ => Ok(Some(Counted::boxed(bytes, 0, &counted))),
            }),
        );
        prefetcher.schedule(pages(3..4)).unwrap();
        let prefetcher = within(Duration::from_secs(10), move || {
            let error = prefetcher.next().unwrap_err();
            assert!(matches!(&error, IoError::OutOfMemory { needed: PAGE, .. }), "{error:?}");
            assert!(error.to_string().contains(said), "{error}");
            prefetcher
        });
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{said}");
        prefetcher.schedule(pages(4..6)).unwrap();
        (4..6).for_each(|tag| {
            let lease = prefetcher.next().unwrap();
            assert_eq!(lease.tag(), tag);
            check(&lease);
        });
    }
}
