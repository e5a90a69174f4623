//! Dropping the prefetcher, whatever it is doing.

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn before_anything_was_scheduled() {
    within(LIMIT, || drop(start(storage(0, 10), &[PAGE])));
}

#[test]
fn while_reading() {
    let disk = Gated::new(storage(0, 100 * PAGE), 0);
    let prefetcher = start(Arc::clone(&disk) as _, &[100 * PAGE]);
    prefetcher.schedule([block(1, 0, 100 * PAGE)]).unwrap();
    disk.wait_for(3);
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        drop(prefetcher);
        sender.send(()).unwrap();
    });
    // Those in flight return, and after the end has come readers ask for no more.
    while ended.recv_timeout(Duration::from_millis(1)).is_err() {
        disk.change(|gate| gate.permits = gate.waiting);
    }
    assert!(disk.arrived() < 100, "the requests in flight and few others");
}

#[test]
fn while_the_slots_are_full() {
    let prefetcher = start(storage(0, 10 * PAGE), &[PAGE]);
    prefetcher.schedule((0..10).map(|tag| block(tag, tag * 4096, PAGE))).unwrap();
    while !prefetcher.is_ready() {
        thread::yield_now();
    }
    within(LIMIT, || drop(prefetcher));
}

#[test]
fn leases_outlive_it() {
    let prefetcher = start(storage(0, 10 * PAGE), &[PAGE; 3]);
    prefetcher.schedule((0..10).map(|tag| block(tag, tag * 4096, PAGE))).unwrap();
    let leases = [prefetcher.next().unwrap(), prefetcher.next().unwrap()];
    within(LIMIT, || drop(prefetcher));
    leases.iter().for_each(check);
    within(LIMIT, || drop(leases));
}

#[test]
#[cfg(target_os = "linux")]
fn memory_goes_back_to_the_system() {
    const SLOT: usize = 64 << 20;
    // Address space that was reserved by this process, KiB.
    let reserved = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    };
    let prefetcher = start(storage(0, SLOT), &[SLOT; 2]);
    prefetcher.schedule([block(1, 0, SLOT), block(2, 0, SLOT)]).unwrap();
    let lease = prefetcher.next().unwrap();
    while !prefetcher.is_ready() {
        thread::yield_now();
    }
    let full = reserved();
    drop(prefetcher);
    let one = reserved();
    check(&lease);
    drop(lease);
    let none = reserved();
    // Other tests take and give back memory meanwhile, though far less than a slot.
    assert!(full > one + SLOT / 2, "the slot that was free: {full} {one}");
    assert!(one > none + SLOT / 2, "the slot that was leased: {one} {none}");
}
