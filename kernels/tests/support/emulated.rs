//! Whether tests run in an emulator.

/// `KINGLET_EMULATED=1`, which `ci/lib.sh` sets there, asks tests for smaller sizes.
pub fn emulated() -> bool {
    std::env::var_os("KINGLET_EMULATED").is_some()
}
