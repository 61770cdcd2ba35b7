//! The shared library's SONAME: it changes when the ABI does (`ABI_VERSION` in `src/lib.rs`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos" | "ios") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libkinglet.1.dylib");
        }
        Ok("linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkinglet.so.1");
        }
        _ => {}
    }
}
