//! Tells the program which compiler and flags built it: both are part of a recording's fingerprint.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("-V").output().ok().filter(|o| o.status.success());
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut flags = format!("profile={} opt-level={}", variable("PROFILE"), variable("OPT_LEVEL"));
    // Arguments of the linker say where the linker is and shuffle functions; they change no instruction.
    let all = variable("CARGO_ENCODED_RUSTFLAGS");
    for flag in all.split('\x1f').filter(|f| !f.is_empty() && !f.contains("link-arg") && *f != "-C") {
        flags.push(' ');
        flags.push_str(flag);
    }
    println!("cargo::rustc-env=KINGLET_BENCH_RUSTC={version}");
    println!("cargo::rustc-env=KINGLET_BENCH_FLAGS={flags}");
    println!("cargo::rerun-if-changed=build.rs");
}
