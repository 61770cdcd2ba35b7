//! The choice of a tier: the fastest usable one, and the one that the surroundings say it must be.

#[path = "support/own_program.rs"]
mod own_program;

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

#[test]
fn caps_bound_their_architecture_and_nothing_else() {
    let usable = Tier::usable();
    for cap in Tier::ALL {
        let got = Kernels::builder().cap(*cap).ignore_environment().build().unwrap().tier();
        let within = |t: &&Tier| match (t.arch(), cap.arch()) {
            (_, None) => **t == Tier::Scalar,
            (a, b) => a != b || *t <= cap,
        };
        assert_eq!(Some(&got), usable.iter().rfind(within), "cap {cap}");
    }
    let beyond = Kernels::builder().cap(Tier::Scalar).exact(*usable.last().unwrap()).build();
    assert_eq!(beyond.is_err(), usable.len() > 1);
    let foreign = if cfg!(target_arch = "x86_64") { Tier::Neon } else { Tier::Avx2 };
    assert!(matches!(Kernels::builder().exact(foreign).build(), Err(Error::UnusableTier { .. })));
}

/// What [`a_wrong_variable_is_named`] sets for itself when it runs again: a process has one environment and many threads.
const AGAIN: &str = "KINGLET_TEST_WRONG_VARIABLE";

#[test]
fn a_wrong_variable_is_named() {
    let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    if std::env::var_os(AGAIN).is_some() {
        let name = std::env::var("KINGLET_TIER").unwrap();
        let named = |error: Error| {
            let said = error.to_string();
            assert!(said.starts_with("KINGLET_TIER: ") && said.contains(&format!("tier `{name}`")), "{said}");
        };
        if name == "sse9" || name == foreign {
            named(Tier::choose().unwrap_err());
            named(Kernels::detect().unwrap_err());
        }
        // A tier of the other architecture is not within this cap either, and the fastest one here is usable but beyond it.
        named(Kernels::builder().cap(Tier::Scalar).build().unwrap_err());
        // What the program itself asks for has nothing to do with it.
        assert!(!"sse9".parse::<Tier>().unwrap_err().to_string().contains("KINGLET_TIER"));
        let exact = foreign.parse().unwrap();
        let error = Kernels::builder().exact(exact).build().unwrap_err();
        assert!(!error.to_string().contains("KINGLET_TIER"), "{error}");
        assert!(Kernels::builder().ignore_environment().build().is_ok());
        println!("refused {name}");
        return;
    }
    let fastest = *Tier::usable().last().unwrap();
    let beyond = (fastest != Tier::Scalar).then(|| fastest.name());
    for name in ["sse9", foreign].into_iter().chain(beyond) {
        let mut again = own_program::own_program(&std::env::current_exe().unwrap());
        again.args(["--exact", "a_wrong_variable_is_named", "--nocapture"]);
        let output = again.env("KINGLET_TIER", name).env(AGAIN, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(&format!("refused {name}")), "{output:?}");
    }
}
