//! Energy that a machine uses while something runs: Intel's and AMD's RAPL counters, or a Raspberry Pi 5's power monitor.
//!
//! RAPL counts what the CPU packages use: cores, caches, memory controller and integrated graphics, but not the memory, the
//! disk or the power supply. A Pi 5's power monitor measures the rails of its power chip, and so SoC, memory and the board's
//! logic, but not what USB devices draw from 5 V. Both see everything that runs meanwhile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Where Linux has RAPL.
const POWERCAP: &str = "/sys/class/powercap";
/// What a Pi asks its firmware with.
const VCGENCMD: &str = "vcgencmd";
/// How often power is read while something runs.
const SAMPLE: Duration = Duration::from_millis(50);
/// How often counters are: long before the smallest ones wrap around.
const COUNT: Duration = Duration::from_secs(10);

/// Says what could not be read.
pub const MISSING: &str = "no energy can be read: neither RAPL (/sys/class/powercap/intel-rapl:N/energy_uj, often for root only) nor \
                           a Raspberry Pi 5's power monitor (vcgencmd pmic_read_adc)";

/// Something that can tell the energy used.
#[derive(Debug, Clone, PartialEq)]
pub enum Meter {
    /// Counters of all CPU packages.
    Rapl(Vec<Package>),
    /// The program that prints a Pi's currents and voltages.
    Pmic(PathBuf),
}

/// A RAPL zone of one CPU package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    counter: PathBuf,
    /// The largest value of the counter, in microjoules; the next one is 0.
    range: u64,
}

impl Meter {
    /// What this machine has.
    pub fn find() -> Option<Meter> {
        Meter::find_in(Path::new(POWERCAP), Path::new(VCGENCMD))
    }

    /// What there is below a folder of power zones, or else what a program tells.
    pub fn find_in(powercap: &Path, vcgencmd: &Path) -> Option<Meter> {
        let packages = packages(powercap);
        if !packages.is_empty() && packages.iter().all(|p| p.read().is_some()) {
            return Some(Meter::Rapl(packages));
        }
        power(vcgencmd).map(|_| Meter::Pmic(vcgencmd.to_owned()))
    }

    /// Runs `f`. Returns what it does and the microjoules that were used meanwhile.
    ///
    /// # Errors
    /// When the meter could not be read any more.
    pub fn over<R>(&self, f: impl FnOnce() -> R) -> Result<(R, f64), String> {
        let mut reading = Reading::start(self)?;
        let interval = if matches!(self, Meter::Pmic(_)) { SAMPLE } else { COUNT };
        let (done, wait) = channel::<()>();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                while wait.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    reading.update()?;
                }
                reading.update()?;
                Ok(reading.microjoules)
            });
            let result = f();
            drop(done);
            let used =
                reader.join().unwrap_or_else(|_| Err("the thread that reads energy ended".to_owned()))?;
            Ok((result, used))
        })
    }
}

/// Energy that is being summed.
enum Last<'a> {
    Counters(&'a [Package], Vec<u64>),
    Power(&'a Path, f64, Instant),
}

struct Reading<'a> {
    last: Last<'a>,
    microjoules: f64,
}

impl Reading<'_> {
    fn start(meter: &Meter) -> Result<Reading<'_>, String> {
        let last = match meter {
            Meter::Rapl(packages) => Last::Counters(packages, counters(packages)?),
            Meter::Pmic(program) => {
                let watts = power(program).ok_or_else(|| gone(program))?;
                Last::Power(program, watts, Instant::now())
            }
        };
        Ok(Reading { last, microjoules: 0.0 })
    }

    /// Adds what was used since the last time.
    fn update(&mut self) -> Result<(), String> {
        match &mut self.last {
            Last::Counters(packages, last) => {
                let now = counters(packages)?;
                let each = packages.iter().zip(last.iter().zip(&now));
                self.microjoules += each.map(|(p, (a, b))| used(*a, *b, p.range) as f64).sum::<f64>();
                *last = now;
            }
            Last::Power(program, last, at) => {
                let watts = power(program).ok_or_else(|| gone(program))?;
                let now = Instant::now();
                let seconds = now.duration_since(*at).as_secs_f64();
                self.microjoules += 1e6 * seconds * (*last + watts) / 2.0;
                (*last, *at) = (watts, now);
            }
        }
        Ok(())
    }
}

fn gone(program: &Path) -> String {
    format!("`{} pmic_read_adc` does not tell currents and voltages any more", program.display())
}

/// The zones `intel-rapl:N` of CPU packages; `intel-rapl:N:M` are parts of them, and `psys` is a whole that contains them.
fn packages(powercap: &Path) -> Vec<Package> {
    let Ok(zones) = std::fs::read_dir(powercap) else { return Vec::new() };
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let mut packages: Vec<Package> = zones
        .flatten()
        .filter(|zone| {
            let name = zone.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("intel-rapl:").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        })
        .map(|zone| zone.path())
        .filter(|zone| text(zone.join("name")) != "psys")
        .map(|zone| Package {
            counter: zone.join("energy_uj"),
            range: text(zone.join("max_energy_range_uj")).parse().unwrap_or(u64::MAX),
        })
        .collect();
    packages.sort_by(|a, b| a.counter.cmp(&b.counter));
    packages
}

impl Package {
    fn read(&self) -> Option<u64> {
        std::fs::read_to_string(&self.counter).ok()?.trim().parse().ok()
    }
}

fn counters(packages: &[Package]) -> Result<Vec<u64>, String> {
    let read = |p: &Package| p.read().ok_or_else(|| format!("cannot read {} any more", p.counter.display()));
    packages.iter().map(read).collect()
}

/// From one value of a counter to another that is at most one turn later.
fn used(before: u64, after: u64, range: u64) -> u64 {
    if after >= before { after - before } else { range.saturating_sub(before).saturating_add(after + 1) }
}

/// Watts of a Pi's rails.
fn power(program: &Path) -> Option<f64> {
    let output = Command::new(program).arg("pmic_read_adc").output().ok()?;
    watts(&String::from_utf8_lossy(&output.stdout))
}

/// The sum over rails of current times voltage: lines `3V3_SYS_A current(1)=0.05A` and `3V3_SYS_V volt(9)=3.3V`. Rails with one
/// of them only (what comes from outside, the clock's battery) are left out; `None` when no rail has both.
fn watts(text: &str) -> Option<f64> {
    let value = |line: &str, ending: &str, unit: char| {
        let (name, rest) = line.trim().split_once(' ')?;
        let number = rest.split_once('=')?.1.trim().strip_suffix(unit)?.parse::<f64>().ok()?;
        Some((name.strip_suffix(ending)?.to_owned(), number))
    };
    let volts: Vec<_> = text.lines().filter_map(|l| value(l, "_V", 'V')).collect();
    let rails = text.lines().filter_map(|l| value(l, "_A", 'A'));
    let each: Vec<f64> =
        rails.filter_map(|(rail, a)| Some(a * volts.iter().find(|v| v.0 == rail)?.1)).collect();
    (!each.is_empty()).then(|| each.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("kinglet-bench-energy-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
        fn zone(&self, zone: &str, name: &str, energy: &str, range: u64) {
            let path = self.0.join(zone);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("name"), format!("{name}\n")).unwrap();
            fs::write(path.join("energy_uj"), format!("{energy}\n")).unwrap();
            fs::write(path.join("max_energy_range_uj"), format!("{range}\n")).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn all_packages_are_summed_beyond_the_end_of_a_counter() {
        let folder = Folder::new("rapl");
        folder.zone("intel-rapl:0", "package-0", "1000", 9999);
        folder.zone("intel-rapl:1", "package-1", "9990", 9999);
        folder.zone("intel-rapl:0:0", "core", "5", 9999);
        folder.zone("intel-rapl:2", "psys", "7", 9999);
        folder.zone("intel-rapl-mmio:0", "package-0", "1000", 9999);
        let meter = Meter::find_in(&folder.0, Path::new("/no/such/program")).unwrap();
        assert!(matches!(&meter, Meter::Rapl(packages) if packages.len() == 2), "{meter:?}");
        let ((), used) = meter
            .over(|| {
                folder.zone("intel-rapl:0", "package-0", "1500", 9999);
                folder.zone("intel-rapl:0:0", "core", "400", 9999);
                folder.zone("intel-rapl:1", "package-1", "89", 9999);
                folder.zone("intel-rapl:2", "psys", "5000", 9999);
            })
            .unwrap();
        assert_eq!(used, 500.0 + 99.0);

        // One that cannot be read would make the sum wrong.
        folder.zone("intel-rapl:1", "package-1", "secret", 9999);
        assert_eq!(Meter::find_in(&folder.0, Path::new("/no/such/program")), None);
        assert!(meter.over(|| ()).unwrap_err().contains("intel-rapl:1/energy_uj"));
        assert_eq!(Meter::find_in(&folder.0.join("no"), Path::new("/no/such/program")), None);
    }

    #[test]
    fn a_counter_starts_again_after_its_range() {
        assert_eq!(used(5, 12, 99), 7);
        assert_eq!(used(98, 3, 99), 5);
        assert_eq!(used(7, 7, 99), 0);
        assert_eq!(used(u64::MAX, 0, u64::MAX), 1);
    }

    const READ: &str = "
   3V7_WL_SW_A current(0)=0.50000000A
   VDD_CORE_A current(7)=2.00000000A
   3V7_WL_SW_V volt(8)=3.70000000V
   VDD_CORE_V volt(15)=0.75000000V
   EXT5V_V volt(24)=5.10000000V
   BATT_V volt(25)=0.00000000V
";

    #[test]
    fn rails_with_current_and_voltage_make_the_power() {
        assert!((watts(READ).unwrap() - (0.5 * 3.7 + 2.0 * 0.75)).abs() < 1e-12);
        for none in
            ["", "error=1 error_msg=\"Command not registered\"", "EXT5V_V volt(24)=5.1V", "X_A current(0)=1A"]
        {
            assert_eq!(watts(none), None, "{none}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pi_is_asked_again_and_again() {
        let folder = Folder::new("pmic");
        let program = folder.0.join("vcgencmd");
        let asked = folder.0.join("asked");
        let script = format!("#!/bin/sh\necho $1 >> {}\ncat <<END{READ}END\n", asked.display());
        fs::write(&program, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).unwrap();
        // A process that another test starts at this moment may still hold the file open for writing.
        let meter = (0..100).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            Meter::find_in(&folder.0, &program)
        });
        let meter = meter.unwrap();
        assert_eq!(meter, Meter::Pmic(program.clone()));
        let start = Instant::now();
        let (inside, used) = meter
            .over(|| {
                let inside = Instant::now();
                // However slow the machine: until it has been asked in the meantime.
                while fs::read_to_string(&asked).unwrap().lines().count() < 5 {
                    std::thread::sleep(Duration::from_millis(5));
                }
                inside.elapsed()
            })
            .unwrap();
        let (least, most) = (inside.as_secs_f64() * 3.35e6, start.elapsed().as_secs_f64() * 3.35e6);
        assert!(least <= used && used <= most, "{least} {used} {most}");
        assert!(fs::read_to_string(&asked).unwrap().lines().all(|l| l == "pmic_read_adc"));
        fs::remove_file(&program).unwrap();
        assert!(meter.over(|| ()).unwrap_err().contains("pmic_read_adc"));
    }

    #[test]
    fn the_message_names_both() {
        assert!(MISSING.contains("intel-rapl") && MISSING.contains("vcgencmd pmic_read_adc"));
    }
}
