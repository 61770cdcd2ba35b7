use super::*;
use std::fs;
use std::path::PathBuf;

struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let root = std::env::temp_dir().join(format!("kinglet-bench-taint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        Root(root)
    }
    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kinds(taint: &[Taint]) -> Vec<TaintKind> {
    taint.iter().map(|t| t.kind).collect()
}

#[test]
fn counters_are_read_and_their_changes_told() {
    let root = Root::new("counters");
    root.write("proc/stat", "cpu  100 0 50 1000 10 0 0 5 7 7\ncpu0 1 2 3\n");
    root.write("proc/vmstat", "pswpin 3\npswpout 4\npswpin_x 100\n");
    root.write("proc/self/stat", "7 (a ) b) R 1 2 3 4 5 6 7 8 9 10 20 30 2 3 0 0\n");
    root.write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "2\n");
    root.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n");
    let s = Snapshot::read(&root.0);
    assert_eq!((s.busy, s.total, s.steal, s.swapped), (155, 1165, 5, 7));
    assert_eq!((s.throttled, s.frequency, s.own), (2, 1_500_000, 55));

    assert_eq!(s.until(&s, 0), []);
    let mut end = Snapshot { total: s.total + 1000, ..s.clone() };
    end.busy += 500;
    assert_eq!(kinds(&s.until(&end, 450)), [], "our own time is no load");
    assert_eq!(kinds(&s.until(&end, 300)), [TaintKind::Load]);
    end.steal += 30;
    assert_eq!(s.until(&end, 450)[0].detail, "3.0 % of CPU time stolen by the hypervisor");
    end = Snapshot { swapped: 9, throttled: 3, frequency: 1_400_000, ..s.clone() };
    assert_eq!(kinds(&s.until(&end, 0)), [TaintKind::Swap, TaintKind::Throttling, TaintKind::Frequency]);
}

#[test]
fn what_happens_during_a_pause_does_not_count() {
    let at = |total, busy, own| Snapshot { total, busy, own, ..Snapshot::default() };
    let start = at(1000, 100, 10);
    // 50 ticks of looking, all our own; then 200 of others while nobody looks; then 50 of our own again.
    let resumed = start.moved(&at(1050, 150, 60), &at(1250, 350, 60));
    assert_eq!(resumed, at(1200, 300, 10));
    let end = at(1300, 400, 110);
    assert_eq!(kinds(&resumed.until(&end, end.own - resumed.own)), []);
    assert_eq!(kinds(&start.until(&end, end.own - start.own)), [TaintKind::Load]);
}

#[test]
fn a_machine_without_these_files_has_no_taint() {
    let root = Root::new("none");
    let s = Snapshot::read(&root.0);
    assert_eq!(s, Snapshot::default());
    assert_eq!(s.until(&s, 0), []);
    assert_eq!(states(&root.0, None), []);
}

#[test]
fn states_are_told() {
    let root = Root::new("states");
    root.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand\n");
    root.write("sys/class/thermal/thermal_zone0/temp", "45000\n");
    root.write("sys/class/thermal/thermal_zone1/temp", "83000\n");
    root.write("sys/class/power_supply/BAT0/status", "Discharging\n");
    let taint = states(&root.0, Some("throttled=0x50005"));
    let want = [TaintKind::Frequency, TaintKind::Throttling, TaintKind::Temperature, TaintKind::Battery];
    assert_eq!(kinds(&taint), want);
    assert_eq!(taint[1].detail, "the board reports under-voltage, throttled");
    assert_eq!(taint[2].detail, "83 °C");
    // What happened since boot and is over (bits 16 to 19) does not taint.
    root.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
    assert!(!kinds(&states(&root.0, Some("throttled=0x50000"))).contains(&TaintKind::Throttling));
    assert!(!kinds(&states(&root.0, Some("error"))).contains(&TaintKind::Frequency));
}
