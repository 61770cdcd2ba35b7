//! The list of kernels and the tables that calls go through.

use kinglet_kernels::list::{self, Op, Operand};
use kinglet_kernels::{Format, Kernels, Tier};

/// The tiers of this architecture, usable or not.
fn native() -> Vec<Tier> {
    let here = |t: &Tier| t.arch().is_none_or(|arch| arch == std::env::consts::ARCH);
    Tier::ALL.iter().copied().filter(here).collect()
}

#[test]
fn every_kernel_of_the_tables_is_listed_and_every_listed_one_is_there() {
    let mut wrong = Vec::new();
    let own = list::compare_with_tables(|kernel| wrong.push(kernel.to_string()));
    assert_eq!(wrong, [""; 0]);
    // Both for each format and tier, but for the GEMV that is another tier's.
    let borrowed = usize::from(native().contains(&Tier::AmxInt8));
    assert!(own >= 22 * (2 * native().len() - borrowed), "{own}");
}

#[test]
fn names_are_unique_and_the_chosen_kernel_is_listed() {
    for tier in native() {
        let names: Vec<String> = list::of(tier).map(|k| k.to_string()).collect();
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        let Ok(k) = Kernels::with_tier(tier) else { continue };
        for format in Format::ALL {
            for columns in 1..40 {
                let kernel = k.kernel_for(Op::Gemv, Operand::Weights(*format), columns).unwrap();
                // With few columns it can be another tier's.
                assert!(list::of(kernel.tier).any(|listed| listed == kernel), "{kernel}");
            }
        }
        assert_eq!(k.kernel_for(Op::RmsNorm, Operand::Weights(Format::Q4_K), 1), None);
    }
}
