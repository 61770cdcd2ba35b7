//! Looking at the system before and after a measurement.

use super::{Taint, TaintKind};
use std::path::Path;
use std::process::Command;

/// Share of CPU time stolen, from which it is told.
const STEAL: f64 = 0.01;
/// Share of the cores' time that others used, from which it is told.
const LOAD: f64 = 0.10;
/// Degrees from which a Pi and most laptops slow down.
const HOT: f64 = 80.0;

/// Counters of the system at one moment; all zero where it has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// CPU time of all cores in ticks: busy with anything but idling, and the total.
    pub busy: u64,
    /// Ticks of all cores altogether.
    pub total: u64,
    /// Ticks that a hypervisor gave to others.
    pub steal: u64,
    /// Pages swapped in or out since boot.
    pub swapped: u64,
    /// Events of thermal throttling since boot (x86).
    pub throttled: u64,
    /// The largest current frequency of a core, kHz.
    pub frequency: u64,
    /// Ticks of this process and of children that have been waited for.
    pub own: u64,
}

impl Snapshot {
    /// Now, on this machine.
    pub fn now() -> Snapshot {
        Snapshot::read(Path::new("/"))
    }

    /// From the files below `root`, for tests.
    pub fn read(root: &Path) -> Snapshot {
        let read = |path: String| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let number = |path: String| read(path).trim().parse::<u64>().ok();
        let stat = read("proc/stat".to_owned());
        let line = stat.lines().find(|l| l.starts_with("cpu ")).unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
        // user nice system idle iowait irq softirq steal; guest time is in user already.
        let total: u64 = ticks.iter().take(8).sum();
        let vmstat = read("proc/vmstat".to_owned());
        let counter = |name: &str| {
            let line = vmstat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|v| v.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let each = |file: &str| {
            (0..256)
                .map_while(|c| number(format!("sys/devices/system/cpu/cpu{c}/{file}")))
                .collect::<Vec<_>>()
        };
        let own = read("proc/self/stat".to_owned());
        let own = own.rsplit_once(')').map_or("", |p| p.1);
        let own = own.split_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u64>().ok()).sum();
        Snapshot {
            busy: total - at(3) - at(4),
            total,
            steal: at(7),
            swapped: counter("pswpin") + counter("pswpout"),
            throttled: each("thermal_throttle/core_throttle_count").iter().sum(),
            frequency: each("cpufreq/scaling_cur_freq").into_iter().max().unwrap_or(0),
            own,
        }
    }

    /// A beginning for which as much has happened at `to` as had for this one at `from`.
    fn moved(&self, from: &Snapshot, to: &Snapshot) -> Snapshot {
        let moved = |f: fn(&Snapshot) -> u64| f(to).saturating_sub(f(from).saturating_sub(f(self)));
        Snapshot {
            busy: moved(|s| s.busy),
            total: moved(|s| s.total),
            steal: moved(|s| s.steal),
            swapped: moved(|s| s.swapped),
            throttled: moved(|s| s.throttled),
            frequency: self.frequency,
            own: moved(|s| s.own),
        }
    }

    /// What happened from this moment to `end`; `own` are ticks of the measured processes themselves.
    pub fn until(&self, end: &Snapshot, own: u64) -> Vec<Taint> {
        let since = |f: fn(&Snapshot) -> u64| f(end).saturating_sub(f(self));
        let (total, steal) = (since(|s| s.total), since(|s| s.steal));
        let mut taint = Vec::new();
        if total > 0 {
            let share = steal as f64 / total as f64;
            if share >= STEAL {
                taint.push(Taint::new(
                    TaintKind::Steal,
                    format!("{:.1} % of CPU time stolen by the hypervisor", 100.0 * share),
                ));
            }
            let others = since(|s| s.busy).saturating_sub(steal + own) as f64 / total as f64;
            if others >= LOAD {
                taint.push(Taint::new(
                    TaintKind::Load,
                    format!("other processes used {:.0} % of the cores", 100.0 * others),
                ));
            }
        }
        if since(|s| s.swapped) > 0 {
            taint.push(Taint::new(TaintKind::Swap, format!("{} pages swapped", since(|s| s.swapped))));
        }
        if since(|s| s.throttled) > 0 {
            taint.push(Taint::new(
                TaintKind::Throttling,
                format!("throttled {} times", since(|s| s.throttled)),
            ));
        }
        let (low, high) = (self.frequency.min(end.frequency), self.frequency.max(end.frequency));
        if low > 0 && (high - low) as f64 > 0.03 * high as f64 {
            let what = format!("frequency moved between {} and {} MHz", low / 1000, high / 1000);
            taint.push(Taint::new(TaintKind::Frequency, what));
        }
        taint
    }
}

/// Looks at the system from its making until [`Watch::finish`], or for several stretches of time.
#[derive(Debug)]
pub struct Watch {
    start: Snapshot,
    /// While it does not look: when that began.
    paused: Option<Snapshot>,
    states: Vec<Taint>,
}

impl Watch {
    /// Begins to look.
    pub fn start() -> Watch {
        Watch { start: Snapshot::now(), paused: None, states: states(Path::new("/"), vcgencmd().as_deref()) }
    }

    /// Does not look until [`Watch::resume`].
    pub fn pause(&mut self) {
        self.paused = Some(Snapshot::now());
    }

    /// Looks again.
    pub fn resume(&mut self) {
        if let Some(paused) = self.paused.take() {
            self.start = self.start.moved(&paused, &Snapshot::now());
        }
    }

    /// What was seen since. `children` are CPU ticks of measured processes that still run.
    pub fn finish(&self, children: u64) -> Vec<Taint> {
        let end = self.paused.clone().unwrap_or_else(Snapshot::now);
        let own = end.own.saturating_sub(self.start.own) + children;
        let mut taint = self.states.clone();
        for t in states(Path::new("/"), vcgencmd().as_deref()) {
            if !taint.iter().any(|o| o.kind == t.kind) {
                taint.push(t);
            }
        }
        for t in self.start.until(&end, own) {
            if !taint.iter().any(|o| o == &t) {
                taint.push(t);
            }
        }
        taint
    }
}

/// What a Raspberry Pi says of its power and temperature, `throttled=0x50005`.
fn vcgencmd() -> Option<String> {
    // Only a Pi has the device; everywhere else no process is started.
    let pi = ["/dev/vcio", "/dev/vchiq"].iter().any(|d| Path::new(d).exists());
    let output = pi.then(|| Command::new("vcgencmd").arg("get_throttled").output().ok()).flatten()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// States that taint as long as they last. `throttled` is the answer of a Pi.
pub(super) fn states(root: &Path, throttled: Option<&str>) -> Vec<Taint> {
    let read = |path: String| std::fs::read_to_string(root.join(path)).ok().map(|t| t.trim().to_owned());
    let mut taint = Vec::new();
    let governor = read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor".to_owned());
    if let Some(governor) = governor.filter(|g| g != "performance") {
        let what =
            format!("governor `{governor}` (set `performance`: sudo cpupower frequency-set -g performance)");
        taint.push(Taint::new(TaintKind::Frequency, what));
    }
    let bits = throttled.and_then(|t| u32::from_str_radix(t.strip_prefix("throttled=0x")?, 16).ok());
    let names =
        [(0, "under-voltage"), (1, "frequency capped"), (2, "throttled"), (3, "soft temperature limit")];
    let now: Vec<&str> = names.iter().filter(|n| bits.unwrap_or(0) >> n.0 & 1 == 1).map(|n| n.1).collect();
    if !now.is_empty() {
        taint.push(Taint::new(TaintKind::Throttling, format!("the board reports {}", now.join(", "))));
    }
    let zones = (0..64).map_while(|z| read(format!("sys/class/thermal/thermal_zone{z}/temp")));
    let hottest = zones.filter_map(|t| t.parse::<f64>().ok()).fold(0.0, f64::max) / 1000.0;
    if hottest >= HOT {
        taint.push(Taint::new(TaintKind::Temperature, format!("{hottest:.0} °C")));
    }
    for supply in ["BAT0", "BAT1", "battery"] {
        if read(format!("sys/class/power_supply/{supply}/status")).is_some_and(|s| s == "Discharging") {
            taint.push(Taint::new(TaintKind::Battery, "running on battery"));
        }
    }
    taint
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
