//! Asking the system. Linux answers everything; elsewhere fields stay empty.

use super::Fingerprint;
use kinglet_kernels::Tier;
use std::collections::BTreeMap;
use std::path::Path;

impl Fingerprint {
    /// This machine and this build.
    pub fn of_this_machine() -> Fingerprint {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (mut cpu, stepping) = parse_cpuinfo(&read("/proc/cpuinfo"));
        let board = read("/proc/device-tree/model");
        let board = board.trim_matches(['\0', '\n']);
        if !board.is_empty() {
            cpu = board.to_owned();
        }
        let features = Tier::features().into_iter().filter(|f| f.1).map(|f| f.0.to_owned()).collect();
        let memory: u64 = read("/proc/meminfo")
            .lines()
            .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok())
            .unwrap_or(0);
        let (name, release) = (read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease"));
        let kernel = format!("{} {}", name.trim(), release.trim()).trim().to_owned();
        Fingerprint {
            architecture: std::env::consts::ARCH.to_owned(),
            cpu,
            stepping,
            features,
            caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            // The kernel takes a little for itself, and not always the same.
            memory_mib: (memory / 1024).next_multiple_of(256),
            kernel: if kernel.is_empty() { std::env::consts::OS.to_owned() } else { kernel },
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim().to_owned(),
            page_size: page_size(),
            compiler: env!("KINGLET_BENCH_RUSTC").to_owned(),
            flags: env!("KINGLET_BENCH_FLAGS").to_owned(),
            tier: Tier::usable().last().map_or(String::new(), |t| t.name().to_owned()),
        }
    }
}

/// The CPU's name and its stepping from the text of `/proc/cpuinfo`, of x86 or Arm.
pub fn parse_cpuinfo(text: &str) -> (String, String) {
    let mut fields = BTreeMap::new();
    for (key, value) in text.lines().filter_map(|l| l.split_once(':')) {
        fields.entry(key.trim()).or_insert(value.trim());
    }
    let get = |key: &str| fields.get(key).copied().unwrap_or_default();
    let name = [get("model name"), get("Model"), get("Hardware"), get("CPU part")];
    let name = name.into_iter().find(|n| !n.is_empty()).unwrap_or_default();
    let parts = if fields.contains_key("CPU implementer") {
        [("implementer", "CPU implementer"), ("part", "CPU part"), ("revision", "CPU revision")]
    } else {
        [("family", "cpu family"), ("model", "model"), ("stepping", "stepping")]
    };
    let known = parts.iter().filter(|p| !get(p.1).is_empty());
    let stepping: Vec<String> = known.map(|(label, key)| format!("{label} {}", get(key))).collect();
    (name.to_owned(), stepping.join(" "))
}

/// `L1d 48K`, `L2 2048K`, … of the folder of one CPU's caches.
fn caches(folder: &Path) -> Vec<String> {
    let read = |i: usize, file: &str| {
        let text = std::fs::read_to_string(folder.join(format!("index{i}")).join(file)).ok()?;
        Some(text.trim().to_owned())
    };
    let cache = |i| {
        let kind = match read(i, "type")?.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        Some(format!("L{}{kind} {}", read(i, "level")?, read(i, "size")?))
    };
    (0..8).map_while(cache).collect()
}

#[cfg(unix)]
fn page_size() -> u64 {
    // SAFETY: sysconf reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(0)
}

#[cfg(not(unix))]
fn page_size() -> u64 {
    0
}
