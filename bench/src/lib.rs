//! Benchmarks of kinglet.
