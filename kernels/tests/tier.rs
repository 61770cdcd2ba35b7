//! The choice of a tier: the fastest usable one, and the one that the surroundings say it must be.

use kinglet_kernels::{Error, Kernels, Tier};

#[test]
fn the_fastest_usable_tier_is_chosen() {
    // `KINGLET_TIER` of the surroundings decides otherwise; a test run sets it only on purpose.
    if std::env::var_os("KINGLET_TIER").is_some() {
        println!("NOT RUN: KINGLET_TIER is set");
        return;
    }
    let chosen = Kernels::detect().unwrap().tier();
    assert_eq!(Some(&chosen), Tier::usable().last());
    // CI says which one this is on the machine it emulates.
    if let Ok(expected) = std::env::var("KINGLET_EXPECT_TIER") {
        assert_eq!(chosen.name(), expected);
    }
}

#[test]
fn a_tier_of_another_architecture_is_refused() {
    let foreign = if cfg!(target_arch = "x86_64") { Tier::Neon } else { Tier::Avx2 };
    assert!(matches!(Kernels::with_tier(foreign), Err(Error::UnusableTier { .. })));
    assert!(matches!("avx3".parse::<Tier>(), Err(Error::UnknownTier { .. })));
}
