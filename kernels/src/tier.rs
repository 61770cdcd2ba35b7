//! Tiers: exact sets of CPU features, which of them this machine can run, and the only code that detects.
//!
//! Everything else asks this module. A tier is *usable* when the CPU has the instructions **and** the
//! operating system saves the registers they use (`is_x86_feature_detected!` checks XCR0 for AVX, and so does what
//! replaces it without the standard library).

mod amx;

use crate::Error;
use crate::error::{Message, message};
use std::fmt::{self, Write};
use std::str::FromStr;

/// A set of CPU features that kernels are written for.
///
/// Tiers do not form one chain; [`Tier::ALL`] lists them from slowest to fastest within an architecture, which is also their
/// order as values.
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
    /// [`Tier::Avx512Vnni`] and AMX with 8-bit integers (Sapphire Rapids and later Xeons), on Linux.
    ///
    /// A process that has asked Linux for tile registers can no longer install alternate signal stacks that are too small for
    /// them (8 KiB): a program whose `sigaltstack` fails then caps the tier ([`crate::Builder::cap`]).
    AmxInt8,
    /// ARMv8.0 with NEON only: no dotprod, fp16 or LSE (Raspberry Pi 3 and 4, Cortex-A53/A72).
    Neon,
    /// [`Tier::Neon`] and the dot products of ARMv8.2 (Raspberry Pi 5, Cortex-A76, Neoverse N1 and later).
    DotProd,
    /// [`Tier::DotProd`] and the 8-bit matrix multiplication of ARMv8.6 (Graviton 3, Neoverse V1 and N2, Cortex-X2 and later).
    I8mm,
}

impl Tier {
    /// Every tier, slowest first within an architecture.
    #[rustfmt::skip]
    pub const ALL: &'static [Tier] = &[
        Tier::Scalar, Tier::Avx2, Tier::AvxVnni, Tier::Avx512Vnni, Tier::AmxInt8, Tier::Neon, Tier::DotProd, Tier::I8mm,
    ];

    /// The name used by `KINGLET_TIER`, `--tier`, logs and benches.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::AvxVnni => "avx_vnni",
            Tier::Avx512Vnni => "avx512_vnni",
            Tier::AmxInt8 => "amx_int8",
            Tier::Neon => "neon",
            Tier::DotProd => "dotprod",
            Tier::I8mm => "i8mm",
        }
    }

    /// The CPU features that the tier's code uses, by the names of Rust's `target_feature`.
    pub const fn requires(self) -> &'static [&'static str] {
        match self {
            Tier::Scalar => &[],
            Tier::Avx2 => &["avx2", "fma", "f16c"],
            Tier::AvxVnni => &["avx2", "fma", "f16c", "avxvnni"],
            Tier::Avx512Vnni => {
                &["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"]
            }
            #[rustfmt::skip]
            Tier::AmxInt8 => &[
                "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "amx-tile", "amx-int8",
            ],
            Tier::Neon => &["neon"],
            Tier::DotProd => &["neon", "dotprod"],
            Tier::I8mm => &["neon", "dotprod", "i8mm"],
        }
    }

    /// The architecture of the tier by Rust's name, or `None` for the scalar one, which every architecture has.
    pub const fn arch(self) -> Option<&'static str> {
        match self {
            Tier::Scalar => None,
            Tier::Avx2 | Tier::AvxVnni | Tier::Avx512Vnni | Tier::AmxInt8 => Some("x86_64"),
            Tier::Neon | Tier::DotProd | Tier::I8mm => Some("aarch64"),
        }
    }

    /// Whether this program was compiled for the tier's architecture.
    pub(crate) fn is_native(self) -> bool {
        self.arch().is_none_or(|arch| {
            (cfg!(target_arch = "x86_64") && arch == "x86_64")
                || (cfg!(target_arch = "aarch64") && arch == "aarch64")
        })
    }

    /// Whether this machine can run the tier, or what is missing.
    ///
    /// # Errors
    /// [`Error::UnusableTier`] names the missing features.
    pub fn check(self) -> Result<(), Error> {
        let mut why = match self.arch() {
            Some(arch) if !self.is_native() => message!("this is not an {arch} CPU"),
            _ if self.requires().iter().all(|feature| has(feature)) => match self {
                Tier::AmxInt8 => return amx::missing().map_or(Ok(()), |why| Err(self.unusable(why))),
                _ => return Ok(()),
            },
            _ => Message::from("the CPU or the operating system lacks"),
        };
        if self.is_native() {
            let missing = self.requires().iter().filter(|feature| !has(feature));
            for (i, feature) in missing.enumerate() {
                // Writing to a message does not fail.
                let _ = write!(why, "{}{feature}", if i == 0 { " " } else { ", " });
            }
        }
        Err(self.unusable(why))
    }

    /// The error of a tier that somebody asked for.
    pub(crate) fn unusable(self, why: impl Into<Message>) -> Error {
        Error::UnusableTier { tier: self, why: why.into(), forced: false }
    }

    /// [`Tier::check`], and what must be asked of the operating system before the tier's code runs.
    pub(crate) fn acquire(self) -> Result<(), Error> {
        self.check()?;
        match self {
            Tier::AmxInt8 => amx::ask().map_err(|why| self.unusable(why)),
            _ => Ok(()),
        }
    }

    /// The CPU features that tiers ask for or will, and whether this machine has each in a usable way.
    #[cfg(feature = "std")]
    pub fn features() -> Vec<(&'static str, bool)> {
        FEATURES.iter().map(|feature| (*feature, has(feature))).collect()
    }

    /// The tiers this machine can run, slowest first.
    #[cfg(feature = "std")]
    pub fn usable() -> Vec<Tier> {
        Tier::ALL.iter().copied().filter(|t| t.check().is_ok()).collect()
    }

    /// The tier to use: the one `KINGLET_TIER` names, or else the fastest usable one. Without the standard library there
    /// is no environment. [`crate::Kernels::builder`] has more to choose by.
    ///
    /// # Errors
    /// [`Error::UnknownTier`] or [`Error::UnusableTier`] when `KINGLET_TIER` names a tier that does not exist
    /// or cannot run here; the text names the variable. A forced tier is never silently replaced.
    pub fn choose() -> Result<Tier, Error> {
        match Tier::forced()? {
            Some(tier) => tier.check().map(|()| tier).map_err(Error::of_environment),
            None => Ok(Tier::fastest(|_| true)),
        }
    }

    /// The tier that `KINGLET_TIER` names, whether or not it can run here; `None` when it is unset, empty, or there is no
    /// environment.
    pub(crate) fn forced() -> Result<Option<Tier>, Error> {
        #[cfg(feature = "std")]
        if let Some(name) = std::env::var_os("KINGLET_TIER").filter(|name| !name.is_empty()) {
            return name.to_string_lossy().parse().map(Some).map_err(Error::of_environment);
        }
        Ok(None)
    }

    /// The fastest tier of those that `may` allows, this machine can run and the operating system permits; the scalar one
    /// when there is no other.
    pub(crate) fn fastest(may: impl Fn(Tier) -> bool) -> Tier {
        Tier::ALL.iter().copied().rev().find(|t| may(*t) && t.acquire().is_ok()).unwrap_or(Tier::Scalar)
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
        found.ok_or_else(|| Error::UnknownTier { name: s.into(), forced: false })
    }
}

/// `has(feature)` by the standard library's macro `$detected`, or by `$by_hand` where that is unstable, and the list of features
/// they know.
#[cfg(feature = "std")]
macro_rules! detection {
    ($detected:ident: [$($name:tt)*], $by_hand:path: [$($other:tt)*]) => {
        const FEATURES: &[&str] = &[$($name,)* $($other),*];
        fn has(feature: &str) -> bool {
            match feature {
                $($name => std::arch::$detected!($name),)*
                $($other => $by_hand($other),)*
                _ => false,
            }
        }
    };
}
#[cfg(all(feature = "std", target_arch = "x86_64"))]
detection!(is_x86_feature_detected: ["sse4.2" "avx" "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512dq"
    "avx512vl" "avx512vbmi" "avx512vnni" "avx512bf16"], cpuid::has: ["amx-tile" "amx-int8"]);
#[cfg(all(feature = "std", target_arch = "aarch64"))]
detection!(is_aarch64_feature_detected: ["neon" "dotprod" "i8mm" "bf16" "fp16" "lse" "sve" "sve2"], no: []);
#[cfg(all(feature = "std", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
const FEATURES: &[&str] = &[];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has(_: &str) -> bool {
    false
}
#[cfg(all(not(feature = "std"), target_arch = "x86_64"))]
use cpuid::has;
/// Without an operating system to ask, what the program was compiled for; [`crate::Kernels::with_tier_unchecked`] is for
/// callers who know more.
#[cfg(all(not(feature = "std"), target_arch = "aarch64"))]
fn has(feature: &str) -> bool {
    match feature {
        "neon" => cfg!(target_feature = "neon"),
        "dotprod" => cfg!(target_feature = "dotprod"),
        "i8mm" => cfg!(target_feature = "i8mm"),
        _ => false,
    }
}

/// Detection without the standard library, or of what it does not know yet: CPUID, and XGETBV for what the operating system saves.
///
/// Source: Intel SDM, volume 2A, CPUID leaves 1 and 7; volume 1, 13.3, XCR0.
#[cfg(target_arch = "x86_64")]
pub(crate) mod cpuid {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Whether AMD made the CPU. Asked once: CPUID takes microseconds in a virtual machine.
    #[inline]
    pub(crate) fn is_amd() -> bool {
        static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
        const UNKNOWN: u8 = 2;
        match ANSWER.load(Ordering::Relaxed) {
            UNKNOWN => {
                let vendor = __cpuid(0);
                let amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes)
                    == [*b"Auth", *b"enti", *b"cAMD"];
                ANSWER.store(amd.into(), Ordering::Relaxed);
                amd
            }
            answer => answer == 1,
        }
    }

    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: register 0 always exists where XGETBV does.
        unsafe { _xgetbv(0) }
    }

    /// Whether the CPU has `feature` and the operating system saves its registers.
    pub(super) fn has(feature: &str) -> bool {
        let most = __cpuid(0).eax;
        let one = __cpuid(1);
        let (seven, seven_one) = if most >= 7 {
            let seven = __cpuid_count(7, 0);
            let next = if seven.eax >= 1 { __cpuid_count(7, 1).eax } else { 0 };
            (seven, next)
        } else {
            (std::arch::x86_64::CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 }, 0)
        };
        // SAFETY: OSXSAVE says that XGETBV exists.
        let saved = if one.ecx >> 27 & 1 == 1 { unsafe { xcr0() } } else { 0 };
        let avx = saved & 0b110 == 0b110 && one.ecx >> 28 & 1 == 1;
        let avx512 = avx && saved & 0b1110_0000 == 0b1110_0000 && seven.ebx >> 16 & 1 == 1;
        let tiles = saved >> 17 & 0b11 == 0b11;
        let (os, bit) = match feature {
            "avx2" => (avx, seven.ebx >> 5),
            "fma" => (avx, one.ecx >> 12),
            "f16c" => (avx, one.ecx >> 29),
            "avxvnni" => (avx, seven_one >> 4),
            "avx512f" => (avx512, 1),
            "avx512dq" => (avx512, seven.ebx >> 17),
            "avx512bw" => (avx512, seven.ebx >> 30),
            "avx512vl" => (avx512, seven.ebx >> 31),
            "avx512vnni" => (avx512, seven.ecx >> 11),
            "amx-tile" => (tiles, seven.edx >> 24),
            "amx-int8" => (tiles, seven.edx >> 25),
            _ => (false, 0),
        };
        os && bit & 1 == 1
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    /// CPUID by hand finds what the standard library finds.
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    #[test]
    fn both_detections_agree() {
        for tier in Tier::ALL.iter().filter(|t| t.arch() == Some("x86_64")) {
            for feature in tier.requires() {
                assert_eq!(cpuid::has(feature), has(feature), "{feature}");
            }
        }
    }

    #[test]
    fn every_required_feature_is_one_that_is_detected() {
        for tier in Tier::ALL.iter().filter(|t| t.is_native()) {
            for feature in tier.requires() {
                #[cfg(feature = "std")]
                assert!(FEATURES.contains(feature), "{feature} of {tier}");
                let _ = feature;
            }
        }
    }
}
