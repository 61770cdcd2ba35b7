//! Limits of this process's control groups, of version 1 and 2: CPU time and memory. A limit of any group above counts too.

use std::path::{Path, PathBuf};

/// Where control groups are mounted, and which ones a process is in.
#[derive(Debug, Clone)]
pub struct Cgroups {
    root: PathBuf,
    own: String,
}

impl Cgroups {
    /// Those of this process; of none, where the system has no such thing.
    pub fn of_this_process() -> Cgroups {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Cgroups::new(Path::new("/sys/fs/cgroup"), &own)
    }

    /// Groups mounted under `root`, `own` being the text of `/proc/PID/cgroup`.
    pub fn new(root: &Path, own: &str) -> Cgroups {
        Cgroups { root: root.to_owned(), own: own.to_owned() }
    }

    /// CPU time per time that all threads together may use: 1.5 is one and a half CPUs.
    pub fn cpu_quota(&self) -> Option<f64> {
        let ratio = |quota: f64, period: f64| (quota > 0.0 && period > 0.0).then(|| quota / period);
        let v2 = |folder: &Path| {
            let text = read(folder, "cpu.max")?;
            let mut words = text.split_whitespace().map(|w| w.parse::<f64>().ok());
            // `max` is no number: no limit.
            ratio(words.next()??, words.next().flatten().unwrap_or(100_000.0))
        };
        let v1 =
            |folder: &Path| ratio(number(folder, "cpu.cfs_quota_us")?, number(folder, "cpu.cfs_period_us")?);
        self.least(None, v2, f64::min)
            .into_iter()
            .chain(self.least(Some("cpu"), v1, f64::min))
            .reduce(f64::min)
    }

    /// Bytes that the memory limit leaves. Page cache of files can be reclaimed and does not count as used.
    pub fn memory_left(&self) -> Option<u64> {
        let left = |limit: u64, used: u64, stat: &str, files: [&str; 2]| {
            let field = |name: &str| {
                let line = stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
                line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            let cache = files.map(field).iter().fold(0u64, |a, b| a.saturating_add(*b));
            limit.saturating_sub(used.saturating_sub(cache))
        };
        let v2 = |folder: &Path| {
            let (limit, used) = (number(folder, "memory.max")?, number(folder, "memory.current")?);
            Some(left(limit, used, &read(folder, "memory.stat")?, ["active_file", "inactive_file"]))
        };
        let v1 = |folder: &Path| {
            // Version 1 says "no limit" with the largest multiple of a page.
            let limit = number(folder, "memory.limit_in_bytes").filter(|n| *n < 1 << 60)?;
            let used = number(folder, "memory.usage_in_bytes")?;
            let stat = read(folder, "memory.stat")?;
            Some(left(limit, used, &stat, ["total_active_file", "total_inactive_file"]))
        };
        self.least(None, v2, u64::min).into_iter().chain(self.least(Some("memory"), v1, u64::min)).min()
    }

    /// The least of `f` over the process's group and those above it; `controller` is `None` for version 2.
    fn least<T>(
        &self,
        controller: Option<&str>,
        f: impl Fn(&Path) -> Option<T>,
        less: fn(T, T) -> T,
    ) -> Option<T> {
        self.folders(controller).iter().filter_map(|folder| f(folder)).reduce(less)
    }

    /// Folders from the process's own group up to the root of the mount. In a container the root itself may be the
    /// container's group, and the path that of the host: folders that do not exist are skipped by whoever reads them.
    fn folders(&self, controller: Option<&str>) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for line in self.own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
            let mounts = match controller {
                None if names.is_empty() => [self.root.clone(), self.root.join("unified")],
                Some(c) if names.split(',').any(|n| n == c) => [self.root.join(names), self.root.join(c)],
                _ => continue,
            };
            let path = Path::new(path.trim_start_matches('/'));
            folders.extend(mounts.iter().flat_map(|m| path.ancestors().map(|a| m.join(a))));
        }
        folders
    }
}

fn read(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}

fn number<T: std::str::FromStr>(folder: &Path, name: &str) -> Option<T> {
    read(folder, name)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Cgroups;
    use crate::machine::cpus::tests::Fake;

    #[test]
    fn version_2_counts_every_group_above() {
        let fake = Fake::new("cgroup-v2");
        fake.write("a/cpu.max", "150000 100000\n").write("a/b/cpu.max", "max 100000\n");
        fake.write("a/memory.max", "1000\n").write("a/memory.current", "700\n");
        fake.write("a/memory.stat", "anon 200\nactive_file 300\ninactive_file 200\nshmem 9\n");
        fake.write("a/b/memory.max", "max\n").write("a/b/memory.current", "600\n");
        let groups = Cgroups::new(fake.root(), "0::/a/b\n");
        assert_eq!((groups.cpu_quota(), groups.memory_left()), (Some(1.5), Some(800)));
        fake.write("a/b/cpu.max", "25000 50000\n").write("a/b/memory.max", "500\n");
        fake.write("a/b/memory.stat", "active_file 0\n");
        assert_eq!((groups.cpu_quota(), groups.memory_left()), (Some(0.5), Some(0)));
        let none = Cgroups::new(fake.root(), "0::/\n");
        assert_eq!((none.cpu_quota(), none.memory_left()), (None, None));
    }

    #[test]
    fn version_1_has_a_folder_for_each_controller() {
        let fake = Fake::new("cgroup-v1");
        fake.write("cpu,cpuacct/box/cpu.cfs_quota_us", "200000\n");
        fake.write("cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
        fake.write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n").write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        fake.write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        fake.write("memory/box/memory.limit_in_bytes", "4096\n")
            .write("memory/box/memory.usage_in_bytes", "96\n");
        fake.write("memory/box/memory.stat", "cache 99\ntotal_active_file 5\ntotal_inactive_file 1\n");
        // `gone` is a group of the host that the container does not see.
        let own = "9:name=systemd:/\n4:memory:/box/gone\n2:cpu,cpuacct:/box\n0::/\n";
        let groups = Cgroups::new(fake.root(), own);
        assert_eq!((groups.cpu_quota(), groups.memory_left()), (Some(2.0), Some(4006)));
    }
}
