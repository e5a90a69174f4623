//! How much memory the page cache could take.

/// Memory that the system could give without swapping, bytes; at most what the control group
/// leaves to this process. `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn available_memory() -> Option<u64> {
    let available = field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")? << 10;
    // The limit as seen within a container; its root has no such file.
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    Some(available.min(limit))
}

/// Not known: other systems are read through their page cache unless told otherwise.
#[cfg(not(target_os = "linux"))]
pub(crate) fn available_memory() -> Option<u64> {
    None
}

/// The number behind `name` on its line.
#[cfg(target_os = "linux")]
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_meminfo() {
        let text = "MemTotal:       100 kB\nMemAvailable:   42 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(42));
        assert_eq!(field("MemAvailable: much", "MemAvailable:"), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads the system's files")]
    fn this_machine_has_some() {
        assert!(available_memory().unwrap() > 1 << 20);
    }
}
