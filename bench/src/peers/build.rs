//! Peers built once, into the cache: llama.cpp as a virtual environment of Python, candle as a program.

use crate::source::cache;
use kinglet_kernels::Tier;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What llama.cpp is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX2, FMA and F16C; NEON alone on Arm.
    Basic,
    /// All that this CPU has, but not AMX, which kinglet does not use.
    Native,
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    eprintln!("{what}");
    // Standard output is for results.
    let out = command.stdout(std::process::Stdio::null()).output().map_err(|e| format!("{what}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let line =
        said.lines().rev().find(|l| l.to_lowercase().contains("error")).or_else(|| said.lines().last());
    Err(format!("{what}: failed: {}", line.unwrap_or("no message").trim()))
}

/// A file that is written when a build is complete: an interrupted one is begun again.
fn complete(dir: &Path) -> PathBuf {
    dir.join("complete")
}

/// The Python of a virtual environment that has llama.cpp's bindings, built from PyPI's source package for `isa`.
///
/// # Errors
/// What failed, in one line.
pub fn llama(isa: Isa) -> Result<PathBuf, String> {
    let dir = cache().join(if isa == Isa::Basic { "llama-basic" } else { "llama-native" });
    let python = dir.join("bin/python");
    if complete(&dir).exists() {
        return Ok(python);
    }
    let host = std::env::var("KINGLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    run(Command::new(host).args(["-m", "venv", "--clear"]).arg(&dir), &format!("making {}", dir.display()))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "-q",
        "--no-cache-dir",
        "--no-binary",
        "llama-cpp-python",
        "llama-cpp-python",
        "numpy",
    ]);
    let x86 = cfg!(target_arch = "x86_64");
    match (isa, x86) {
        (Isa::Basic, true) => {
            let flags = "-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON";
            pip.env("CMAKE_ARGS", flags);
        }
        (Isa::Basic, false) => {
            pip.env("CMAKE_ARGS", "-DGGML_NATIVE=OFF");
        }
        (Isa::Native, true) => {
            let off = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16";
            pip.env("CFLAGS", off).env("CXXFLAGS", off);
        }
        (Isa::Native, false) => {}
    }
    let what = format!(
        "building llama.cpp ({isa:?}) from PyPI's llama-cpp-python, once: some minutes, needs a C++ compiler"
    );
    run(&mut pip, &what)?;
    crate::files::write(&complete(&dir), "")?;
    Ok(python)
}

/// The program around candle, built from `source` for this CPU.
///
/// # Errors
/// What failed, in one line.
pub fn candle(source: &Path) -> Result<PathBuf, String> {
    let dir = cache().join("candle");
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--release", "-q", "--manifest-path"]).arg(source.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&dir).env("RUSTFLAGS", "-C target-cpu=native");
    run(&mut cargo, "building candle for this CPU (some minutes the first time)")?;
    Ok(dir.join("release/kinglet-peer-candle"))
}

/// The tier of ours that uses the same instructions as a build of llama.cpp, by what it says it was built for.
pub fn tier(system_info: &str) -> Option<Tier> {
    let has = |feature: &str| system_info.contains(&format!("{feature} = 1"));
    let tiers = [
        ("AVX512_VNNI", Tier::Avx512Vnni),
        ("AVX_VNNI", Tier::AvxVnni),
        ("AVX2", Tier::Avx2),
        ("MATMUL_INT8", Tier::I8mm),
        ("DOTPROD", Tier::DotProd),
        ("NEON", Tier::Neon),
    ];
    // An AVX-512 build without VNNI has no tier of its own: AVX2 is what it shares with ours.
    tiers.into_iter().find(|(feature, tier)| has(feature) && tier.check().is_ok()).map(|t| t.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tier_follows_what_was_built() {
        assert_eq!(tier("CPU : SSE3 = 1 | LLAMAFILE = 1 | "), None);
        if Tier::Avx2.check().is_ok() {
            assert_eq!(tier("CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | "), Some(Tier::Avx2));
        }
        if Tier::Neon.check().is_ok() {
            assert_eq!(tier("CPU : NEON = 1 | ARM_FMA = 1 | "), Some(Tier::Neon));
        }
    }
}
