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

/// Run by itself again with each variable, because a process has one environment and many threads.
#[test]
fn a_wrong_variable_is_named() {
    let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    if let Ok(name) = std::env::var("KINGLET_TIER") {
        if name != "sse9" && name != foreign {
            println!("NOT RUN: KINGLET_TIER is set");
            return;
        }
        for error in [Kernels::detect().unwrap_err(), Tier::choose().unwrap_err()] {
            let said = error.to_string();
            assert!(said.starts_with("KINGLET_TIER: ") && said.contains(&format!("tier `{name}`")), "{said}");
        }
        // What the program itself asks for has nothing to do with it.
        assert!(!"sse9".parse::<Tier>().unwrap_err().to_string().contains("KINGLET_TIER"));
        assert!(Kernels::builder().ignore_environment().build().is_ok());
        println!("refused {name}");
        return;
    }
    for name in ["sse9", foreign] {
        let mut again = own_program::own_program(&std::env::current_exe().unwrap());
        again.args(["--exact", "a_wrong_variable_is_named", "--nocapture"]).env("KINGLET_TIER", name);
        let output = again.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(&format!("refused {name}")), "{output:?}");
    }
}
