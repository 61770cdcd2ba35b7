//! Tells the program which candle it was built with.
fn main() {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let after = lock.split("name = \"candle-core\"\nversion = \"").nth(1).unwrap_or("?");
    println!("cargo::rustc-env=CANDLE_VERSION={}", after.split('"').next().unwrap_or("?"));
    println!("cargo::rerun-if-changed=Cargo.lock");
}
