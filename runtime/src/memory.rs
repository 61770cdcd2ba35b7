//! How much memory there is, and what to say when a model does not fit.
//!
//! Weights are pages of the model's file, which the system drops and reads again as it needs; only the key-value cache is
//! memory that must be there.

use std::path::Path;

/// Bytes that this process may still take, if the system tells: the machine's, or what its control group leaves.
pub fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|t| mem_available(&t));
    match (machine, cgroup_left(Path::new("/sys/fs/cgroup"))) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the limit of this process's control group (version 2) leaves; its page cache can be reclaimed and does not count.
fn cgroup_left(root: &Path) -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|l| l.strip_prefix("0::/"))?;
    let folder = root.join(own);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    left(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?)
}

fn left(max: &str, current: &str, stat: &str) -> Option<u64> {
    // `max` means no limit.
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let cache = stat.lines().find_map(|l| l.strip_prefix("file "))?.trim().parse::<u64>().ok()?;
    Some(max.saturating_sub(current.saturating_sub(cache)))
}

/// An error for a key-value cache of `needed` bytes where only `available` are left.
///
/// # Errors
/// When it does not fit: one line with the numbers and what to do.
pub fn check_fits(needed: u64, available: Option<u64>, n_ctx: usize) -> Result<(), String> {
    match available {
        Some(available) if needed > available => Err(format!(
            "a context of {n_ctx} tokens needs {} of memory for keys and values, and {} are available; \
             use a smaller --ctx, or --kv q8_0",
            size(needed),
            size(available)
        )),
        _ => Ok(()),
    }
}

fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_understood() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
        assert_eq!(left("1000\n", "700\n", "anon 200\nfile 500\n"), Some(800));
        assert_eq!(left("max\n", "700\n", "file 500\n"), None);
        assert_eq!(left("100\n", "700\n", "file 0\n"), Some(0));
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_numbers() {
        let said = check_fits(3 << 30, Some(100 << 20), 32768).unwrap_err();
        for word in ["32768", "3.0 GiB", "100 MiB", "--ctx", "--kv q8_0"] {
            assert!(said.contains(word), "{said}");
        }
        assert_eq!((check_fits(5, Some(5), 1), check_fits(5, None, 1)), (Ok(()), Ok(())));
    }
}
