//! Fingerprints: what a machine, its system and a build are, so that unlike ones are never compared unawares.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod probe;
pub use probe::parse_cpuinfo;

/// A machine, its system, and the compiler and flags of the measured program. Unknown fields are empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// The CPU's own name, or the board's where CPUs have none (`Raspberry Pi 5 Model B Rev 1.0`).
    pub cpu: String,
    /// Family, model and stepping, or implementer, part and revision.
    pub stepping: String,
    /// Features that kernels ask for and that are usable.
    pub features: Vec<String>,
    /// Caches of one core: `L1d 48K`, `L2 2048K`.
    pub caches: Vec<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory in MiB, rounded to 256.
    pub memory_mib: u64,
    /// `Linux 6.12.0`.
    pub kernel: String,
    /// Frequency governor, `performance`; empty when the system has none.
    pub governor: String,
    /// Bytes of a page.
    pub page_size: u64,
    /// `rustc 1.95.0 (…)`.
    pub compiler: String,
    /// Flags and profile of the build.
    pub flags: String,
    /// The tier that kinglet chooses here.
    pub tier: String,
}

impl Fingerprint {
    /// A directory name: the CPU in readable form and 8 digits over all fields except `tier`, which is a choice and not a
    /// property of the machine.
    pub fn id(&self) -> String {
        let words: String = self
            .cpu
            .to_lowercase()
            .replace("(r)", "")
            .replace("(tm)", "")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' })
            .collect();
        let slug: Vec<&str> =
            words.split_whitespace().filter(|w| !["cpu", "processor"].contains(w)).take(5).collect();
        let mut hash = Sha256::new();
        for (_, value) in self.fields().iter().filter(|(name, _)| *name != "tier") {
            hash.update(value.as_bytes());
            hash.update([0]);
        }
        let digits: String = hash.finalize().iter().take(4).map(|b| format!("{b:02x}")).collect();
        format!("{}-{}{}{digits}", self.architecture, slug.join("-"), if slug.is_empty() { "" } else { "-" })
    }

    /// Every field by name, as text.
    pub fn fields(&self) -> [(&'static str, String); 13] {
        [
            ("architecture", self.architecture.clone()),
            ("cpu", self.cpu.clone()),
            ("stepping", self.stepping.clone()),
            ("features", self.features.join(" ")),
            ("caches", self.caches.join(", ")),
            ("cores", self.cores.to_string()),
            ("memory_mib", self.memory_mib.to_string()),
            ("kernel", self.kernel.clone()),
            ("governor", self.governor.clone()),
            ("page_size", self.page_size.to_string()),
            ("compiler", self.compiler.clone()),
            ("flags", self.flags.clone()),
            ("tier", self.tier.clone()),
        ]
    }

    /// The fields in which two differ, as (name, this one's value, the other's). `tier` is not among them: every benchmark
    /// names its own.
    pub fn differences(&self, other: &Fingerprint) -> Vec<(&'static str, String, String)> {
        let pairs = self.fields().into_iter().zip(other.fields());
        pairs
            .filter(|((name, a), (_, b))| *name != "tier" && a != b)
            .map(|((name, a), (_, b))| (name, a, b))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XEON: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\nstepping\t: 2\n";
    const PI: &str = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n";

    #[test]
    fn cpus_are_named() {
        let (name, stepping) = parse_cpuinfo(XEON);
        assert_eq!((&*name, &*stepping), ("Intel(R) Xeon(R) Processor", "family 6 model 207 stepping 2"));
        let (name, stepping) = parse_cpuinfo(PI);
        assert_eq!(name, "Raspberry Pi 5 Model B Rev 1.0");
        assert_eq!(stepping, "implementer 0x41 part 0xd0b revision 1");
        assert_eq!(parse_cpuinfo(""), Default::default());
    }

    #[test]
    fn ids_are_directory_names_and_change_with_every_property() {
        let one = Fingerprint {
            architecture: "x86_64".to_owned(),
            cpu: "Intel(R) Xeon(R) Processor".to_owned(),
            ..Fingerprint::default()
        };
        let id = one.id();
        assert!(id.starts_with("x86_64-intel-xeon-"), "{id}");
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{id}");
        let other = Fingerprint { kernel: "Linux 7".to_owned(), ..one.clone() };
        assert_ne!(other.id(), id);
        assert_eq!(one.differences(&other), [("kernel", String::new(), "Linux 7".to_owned())]);
        // The tier is chosen, and every benchmark names its own.
        let forced = Fingerprint { tier: "avx2".to_owned(), ..one.clone() };
        assert_eq!((forced.id(), one.differences(&forced)), (id, vec![]));
        assert!(Fingerprint::default().id().starts_with('-'), "nothing known is still a name");
    }

    #[test]
    fn this_machine_has_one() {
        let here = Fingerprint::of_this_machine();
        assert_eq!(here, Fingerprint::of_this_machine(), "asked twice, the same");
        assert_eq!(here.architecture, std::env::consts::ARCH);
        assert!(here.cores > 0 && here.compiler.starts_with("rustc"), "{here:?}");
    }
}
