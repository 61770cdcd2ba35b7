//! Tiers: exact sets of CPU features, which of them this machine can run, and the only code that detects.
//!
//! Everything else asks this module. A tier is *usable* when the CPU has the instructions **and** the
//! operating system saves the registers they use (`is_x86_feature_detected!` checks XCR0 for AVX).

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// A set of CPU features that kernels are written for.
///
/// Tiers do not form one chain; [`Tier::ALL`] lists them from slowest to fastest within an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Portable Rust; runs everywhere and is the default of every kernel.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C (Haswell, Zen and later).
    Avx2,
    /// [`Tier::Avx2`] and AVX-VNNI: the 256-bit, VEX encoded `vpdpbusd` (Alder Lake, Sapphire Rapids, Zen 5 and later).
    AvxVnni,
    /// [`Tier::Avx2`] and AVX-512 F, BW, DQ, VL and VNNI (Cascade Lake, Ice Lake, Zen 4 and later).
    Avx512Vnni,
    /// ARMv8.0 with NEON only: no dotprod, fp16 or LSE (Raspberry Pi 3 and 4, Cortex-A53/A72).
    Neon,
    /// [`Tier::Neon`] and the dot products of ARMv8.2 (Raspberry Pi 5, Cortex-A76, Neoverse N1 and later).
    DotProd,
    /// [`Tier::DotProd`] and the 8-bit matrix multiplication of ARMv8.6 (Graviton 3, Neoverse V1 and N2, Cortex-X2 and later).
    I8mm,
}

impl Tier {
    /// Every tier, slowest first within an architecture.
    pub const ALL: &'static [Tier] =
        &[Tier::Scalar, Tier::Avx2, Tier::AvxVnni, Tier::Avx512Vnni, Tier::Neon, Tier::DotProd, Tier::I8mm];

    /// The name used by `KINGLET_TIER`, `--tier`, logs and benches.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::AvxVnni => "avx_vnni",
            Tier::Avx512Vnni => "avx512_vnni",
            Tier::Neon => "neon",
            Tier::DotProd => "dotprod",
            Tier::I8mm => "i8mm",
        }
    }

    /// Whether this machine can run the tier, or what is missing.
    ///
    /// # Errors
    /// [`Error::UnusableTier`] names the missing feature.
    pub fn check(self) -> Result<(), Error> {
        let why = match self {
            Tier::Scalar => return Ok(()),
            Tier::Avx2 | Tier::AvxVnni | Tier::Avx512Vnni => missing_x86(self),
            Tier::Neon | Tier::DotProd | Tier::I8mm => missing_arm(self),
        };
        match why {
            None => Ok(()),
            Some(why) => Err(Error::UnusableTier { tier: self, why }),
        }
    }

    /// The CPU features that tiers ask for or will, and whether this machine has each in a usable way.
    pub fn features() -> Vec<(&'static str, bool)> {
        macro_rules! features {
            ($detected:ident: $($name:tt)*) => { vec![$(($name, std::arch::$detected!($name))),*] };
        }
        #[cfg(target_arch = "x86_64")]
        return features!(is_x86_feature_detected: "sse4.2" "avx" "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw"
            "avx512dq" "avx512vl" "avx512vbmi" "avx512vnni" "avx512bf16");
        #[cfg(target_arch = "aarch64")]
        return features!(is_aarch64_feature_detected: "neon" "dotprod" "i8mm" "bf16" "fp16" "lse" "sve" "sve2");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Vec::new()
    }

    /// The tiers this machine can run, slowest first.
    pub fn usable() -> Vec<Tier> {
        Tier::ALL.iter().copied().filter(|t| t.check().is_ok()).collect()
    }

    /// The tier to use: the one `KINGLET_TIER` names, or else the fastest usable one.
    ///
    /// # Errors
    /// [`Error::UnknownTier`] or [`Error::UnusableTier`] when `KINGLET_TIER` names a tier that does not exist
    /// or cannot run here. A forced tier is never silently replaced.
    pub fn choose() -> Result<Tier, Error> {
        match std::env::var_os("KINGLET_TIER") {
            Some(name) if !name.is_empty() => {
                let tier: Tier = name.to_string_lossy().parse()?;
                tier.check()?;
                Ok(tier)
            }
            _ => Ok(Tier::usable().last().copied().unwrap_or(Tier::Scalar)),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Tier {
    type Err = Error;
    fn from_str(s: &str) -> Result<Tier, Error> {
        let found = Tier::ALL.iter().copied().find(|t| t.name() == s);
        found.ok_or_else(|| Error::UnknownTier { name: s.to_owned() })
    }
}

#[cfg(target_arch = "x86_64")]
fn missing_x86(tier: Tier) -> Option<String> {
    macro_rules! have {
        ($($name:tt)*) => { [$(($name, std::is_x86_feature_detected!($name))),*] };
    }
    let mut have = have!("avx2" "fma" "f16c").to_vec();
    match tier {
        Tier::AvxVnni => have.extend(have!("avxvnni")),
        Tier::Avx512Vnni => have.extend(have!("avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni")),
        _ => {}
    }
    let missing: Vec<&str> = have.iter().filter(|(_, have)| !have).map(|(name, _)| *name).collect();
    (!missing.is_empty()).then(|| format!("the CPU or the operating system lacks {}", missing.join(", ")))
}

#[cfg(not(target_arch = "x86_64"))]
fn missing_x86(_: Tier) -> Option<String> {
    Some("this is not an x86-64 CPU".to_owned())
}

#[cfg(target_arch = "aarch64")]
fn missing_arm(tier: Tier) -> Option<String> {
    let have = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", tier < Tier::DotProd || std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", tier < Tier::I8mm || std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    let missing: Vec<&str> = have.iter().filter(|(_, have)| !have).map(|(name, _)| *name).collect();
    (!missing.is_empty()).then(|| format!("the CPU or the operating system lacks {}", missing.join(", ")))
}

#[cfg(not(target_arch = "aarch64"))]
fn missing_arm(_tier: Tier) -> Option<String> {
    Some("this is not an aarch64 CPU".to_owned())
}
