//! [`Cpus`]: how many threads are worth starting, from what the process may really run on.

use super::cgroup::Cgroups;
use std::collections::HashSet;
use std::path::Path;

/// A CPU counts as fast from this share of the fastest one's speed: above what favoured cores differ by, below what
/// separates kinds of cores.
const FAST: f64 = 0.8;

/// The CPUs that this process may run on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpus {
    /// Hardware threads of its affinity (`taskset`, cpusets).
    pub usable: usize,
    /// Physical cores among them.
    pub cores: usize,
    /// Those of the fastest kind, where there are several kinds (big.LITTLE, performance and efficiency cores).
    pub fast_cores: usize,
    /// CPU time per time that a control group allows, in CPUs.
    pub quota: Option<f64>,
}

impl Cpus {
    /// What the system says now.
    pub fn detect() -> Cpus {
        let quota = Cgroups::of_this_process().cpu_quota();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let mut cpus = Cpus::read(Path::new("/sys/devices"), &allowed(&status), quota);
        if cpus.usable == 0 {
            // Not Linux: the standard library knows other systems.
            let std = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
            cpus = Cpus { usable: std, cores: std, fast_cores: std, quota };
        }
        cpus
    }

    /// What `sys` (`/sys/devices`) says of the CPUs `allowed`.
    fn read(sys: &Path, allowed: &[usize], quota: Option<f64>) -> Cpus {
        let read = |path: String| std::fs::read_to_string(sys.join(path)).ok();
        let number = |path: String| read(path)?.trim().parse::<f64>().ok();
        // Intel's hybrid CPUs have a performance monitor for each kind of core. The frequencies alone do not separate them.
        let slow = read("cpu_atom/cpus".to_owned()).filter(|_| sys.join("cpu_core").exists());
        let slow = slow.map(|l| list(&l)).unwrap_or_default();
        let speed = |cpu: usize| {
            let known = number(format!("system/cpu/cpu{cpu}/cpu_capacity"));
            known.or_else(|| number(format!("system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"))).unwrap_or(1.0)
        };
        let core = |cpu: usize| {
            let siblings = read(format!("system/cpu/cpu{cpu}/topology/thread_siblings_list"));
            siblings.and_then(|l| list(&l).first().copied()).unwrap_or(cpu)
        };
        let fastest = allowed.iter().map(|c| speed(*c)).fold(0.0, f64::max);
        let only_slow = allowed.iter().all(|c| slow.contains(c));
        let fast = |cpu: &&usize| speed(**cpu) >= FAST * fastest && (only_slow || !slow.contains(cpu));
        let cores: HashSet<usize> = allowed.iter().map(|c| core(*c)).collect();
        let fast_cores: HashSet<usize> = allowed.iter().filter(fast).map(|c| core(*c)).collect();
        Cpus { usable: allowed.len(), cores: cores.len(), fast_cores: fast_cores.len(), quota }
    }

    /// Threads that can run at the same time: one more than this, and some thread waits. A control group's share is
    /// rounded down, because all threads stop together when it is used up.
    pub fn limit(&self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |q| q.max(1.0) as usize);
        self.usable.min(quota).max(1)
    }

    /// Threads for prompts, which are bound by arithmetic: one for each fast core. A second hardware thread of a core shares
    /// its multipliers, and a slow core is waited for.
    pub fn threads_batch(&self) -> usize {
        self.fast_cores.min(self.limit()).max(1)
    }

    /// Threads for generation, which is bound by memory: at most as for prompts. Fewer may be faster, which depends on the memory
    /// and not on what the CPUs are called: a team finds out ([`crate::team::Team::find_pace`]), and so does `kinglet tune`.
    pub fn threads(&self) -> usize {
        self.threads_batch()
    }
}

/// The CPUs of `Cpus_allowed_list` in `/proc/PID/status`.
fn allowed(status: &str) -> Vec<usize> {
    status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).map(list).unwrap_or_default()
}

/// The numbers of a list such as `0-3,8`, as far as it is one.
fn list(text: &str) -> Vec<usize> {
    /// More CPUs than any Linux has, so that nothing in a file makes us count for ever.
    const MOST: usize = 1 << 16;
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            numbers.extend(first..=last.min(MOST));
        }
    }
    numbers
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Cpus, allowed, list};
    use std::path::{Path, PathBuf};

    /// A folder of small files, removed at the end.
    pub(in crate::machine) struct Fake(PathBuf);

    impl Fake {
        pub(in crate::machine) fn new(name: &str) -> Fake {
            let path = std::env::temp_dir().join(format!("kinglet-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Fake(path)
        }

        pub(in crate::machine) fn root(&self) -> &Path {
            &self.0
        }

        pub(in crate::machine) fn write(&self, path: &str, text: &str) -> &Fake {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            self
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lists_of_cpus_are_understood() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list(""), [0; 0]);
        assert_eq!(list("5-2, x, 7"), [7]);
        assert_eq!(allowed("Name: a\nCpus_allowed:\tf\nCpus_allowed_list:\t1,3\n"), [1, 3]);
    }

    #[test]
    fn hardware_threads_of_one_core_count_once() {
        let fake = Fake::new("smt");
        for (cpu, siblings) in ["0,2", "1,3", "0,2", "1,3"].iter().enumerate() {
            fake.write(&format!("system/cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
        }
        let cpus = Cpus::read(fake.root(), &[0, 1, 2, 3], None);
        assert_eq!((cpus.usable, cpus.cores, cpus.fast_cores, cpus.limit()), (4, 2, 2, 4));
        let pinned = Cpus::read(fake.root(), &[1, 3], None);
        assert_eq!((pinned.usable, pinned.threads(), pinned.threads_batch()), (2, 1, 1));
    }

    #[test]
    fn only_fast_cores_compute_by_default() {
        let fake = Fake::new("big-little");
        for (cpu, capacity) in [446, 446, 446, 446, 1024, 871].iter().enumerate() {
            fake.write(&format!("system/cpu/cpu{cpu}/cpu_capacity"), &format!("{capacity}\n"));
        }
        let cpus = Cpus::read(fake.root(), &[0, 1, 2, 3, 4, 5], None);
        assert_eq!((cpus.cores, cpus.threads_batch()), (6, 2));
        assert_eq!(Cpus::read(fake.root(), &[0, 1, 2], None).threads_batch(), 3);
        // Capacity is not there, frequency is.
        let fake = Fake::new("cpufreq");
        for (cpu, khz) in [1_400_000, 1_400_000, 1_800_000, 1_750_000].iter().enumerate() {
            fake.write(&format!("system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"), &khz.to_string());
        }
        assert_eq!(Cpus::read(fake.root(), &[0, 1, 2, 3], None).threads_batch(), 2);
        // Kinds of cores by name, whose frequencies are close.
        let fake = Fake::new("hybrid");
        fake.write("cpu_core/cpus", "0-1\n").write("cpu_atom/cpus", "2-4\n");
        assert_eq!(Cpus::read(fake.root(), &[0, 1, 2, 3, 4], None).threads_batch(), 2);
        assert_eq!(Cpus::read(fake.root(), &[2, 3, 4], None).threads_batch(), 3);
    }

    #[test]
    fn a_share_of_cpu_time_is_a_limit() {
        let with = |quota| Cpus { usable: 8, cores: 8, fast_cores: 8, quota };
        assert_eq!(
            [Some(0.5), Some(1.0), Some(2.9), Some(99.0), None].map(|q| with(q).limit()),
            [1, 1, 2, 8, 8]
        );
        assert_eq!((with(Some(3.0)).threads(), with(Some(3.0)).threads_batch()), (3, 3));
    }

    #[test]
    fn this_machine_has_a_cpu() {
        let cpus = Cpus::detect();
        assert!(
            cpus.usable >= cpus.cores && cpus.cores >= cpus.fast_cores && cpus.fast_cores >= 1,
            "{cpus:?}"
        );
        let std = std::thread::available_parallelism().unwrap().get();
        assert_eq!(cpus.limit(), std, "{cpus:?}");
    }
}
