//! What this process may use of the machine: CPUs ([`Cpus`]), and what a container leaves it ([`cgroup`]).
//!
//! All of it decides how fast an answer comes, never which one (law 1).

pub mod cgroup;
mod cpus;

pub use cpus::Cpus;
