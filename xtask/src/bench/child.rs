//! One measured child process: wall time, processor time and memory of the whole process.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wait4::Wait4;

/// From one look at a child's memory to the next.
const SAMPLING: Duration = Duration::from_millis(10);

/// A child that has ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
    pub(super) wall: Duration,
    /// User and system time of all its threads.
    pub(super) cpu: Duration,
    /// Largest resident set, as the system reports it at the end.
    pub(super) peak_rss_bytes: u64,
    /// Mean of the resident set over its life, where it can be sampled.
    pub(super) mean_rss_bytes: Option<u64>,
    /// Whether it was stopped at its time limit.
    pub(super) timed_out: bool,
}

/// Runs `command` to its end or to `limit`, with `input` on its standard input.
pub(super) fn run(mut command: Command, input: &[u8], limit: Duration) -> Result<Finished> {
    let shown = crate::process::shown(&command);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    let id = child.id();
    let mut stdin = child.stdin.take().context("the child's stdin was asked for")?;
    let mut stdout = child.stdout.take().context("the child's stdout was asked for")?;
    let mut stderr = child.stderr.take().context("the child's stderr was asked for")?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that does not read its input may still answer.
            let _ = stdin.write_all(input);
        });
        let errors = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let watch = scope.spawn(|| watch(id, started + limit, &done));
        let mut output = Vec::new();
        let read = stdout.read_to_end(&mut output);
        let ended = child.wait4();
        let wall = started.elapsed();
        done.store(true, Ordering::Relaxed);
        let (sampled, timed_out) = watch.join().expect("the watcher does not panic");
        let stderr = errors.join().expect("the reader does not panic");
        read.with_context(|| format!("cannot read what `{shown}` prints"))?;
        let ended = ended.with_context(|| format!("cannot wait for `{shown}`"))?;
        let usage = ended.rusage;
        // Until it becomes another program a child shares its parent's memory, whose peak the system
        // counts as the child's too.
        let inherited = peak_bytes(std::process::id()).unwrap_or(0);
        let own = usage.maxrss > inherited || sampled.largest == 0;
        Ok(Finished {
            status: ended.status,
            stdout: output,
            stderr,
            wall,
            cpu: usage.utime + usage.stime,
            peak_rss_bytes: if own { usage.maxrss } else { sampled.largest },
            mean_rss_bytes: sampled.mean(),
            timed_out,
        })
    })
}

/// Resident sets seen while a child ran.
#[derive(Default)]
struct Sampled {
    sum: u64,
    count: u64,
    largest: u64,
}

impl Sampled {
    fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count)
    }
}

/// Looks at the child's memory until `done`, and ends the child at `deadline`.
fn watch(id: u32, deadline: Instant, done: &AtomicBool) -> (Sampled, bool) {
    let mut sampled = Sampled::default();
    let mut timed_out = false;
    while !done.load(Ordering::Relaxed) {
        if let Some(bytes) = resident_bytes(id) {
            sampled.sum += bytes;
            sampled.count += 1;
            sampled.largest = sampled.largest.max(peak_bytes(id).unwrap_or(bytes));
        }
        if !timed_out && Instant::now() > deadline {
            timed_out = true;
            end(id);
        }
        std::thread::sleep(SAMPLING);
    }
    (sampled, timed_out)
}

/// Resident set of a process; Linux only.
fn resident_bytes(id: u32) -> Option<u64> {
    status_bytes(id, "VmRSS:")
}

/// The largest that it was so far; Linux only.
fn peak_bytes(id: u32) -> Option<u64> {
    status_bytes(id, "VmHWM:")
}

fn status_bytes(id: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(unix)]
fn end(id: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn end(_: u32) {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_status_and_memory_come_back() {
        let long = Duration::from_secs(60);
        // It lives for long enough to be looked at a few times.
        let child = run(shell("cat; echo bad >&2; sleep 0.2; exit 3"), b"in", long).unwrap();
        assert_eq!((child.stdout.as_slice(), child.stderr.trim()), (&b"in"[..], "bad"));
        assert_eq!(child.status.code(), Some(3));
        assert!(!child.timed_out && child.peak_rss_bytes > 100_000);
        let big = "head -c 60000000 /dev/zero | tail -c 60000000 | cat > /dev/null";
        // The shell stands in for a process that holds little while its children hold much.
        assert!(!run(shell(big), b"", long).unwrap().timed_out);
    }

    #[test]
    fn a_child_that_hangs_is_ended() {
        let child = run(shell("exec sleep 60"), b"", Duration::from_millis(100)).unwrap();
        // Had it run to its own end, its status would be a success.
        assert!(child.timed_out && !child.status.success());
    }
}
