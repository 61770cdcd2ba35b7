//! The `kinglet` program.
fn main() {}
