use super::*;
use crate::random::Random;

#[test]
fn orders_are_right() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(median(&[]).is_nan());
    assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0, 4.0], 0.25), 1.0);
    assert_eq!(middle_mean(&[100.0, 1.0, 2.0, 3.0, -50.0, 2.0, 2.0, 2.0]), 2.0);
    assert!((spread(&[1.0, 2.0, 3.0, 4.0, 100.0]) - 1.4826).abs() < 1e-9);
}

#[test]
fn holm_is_the_textbooks() {
    let p = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (have, want) in p.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        assert!((have - want).abs() < 1e-12, "{p:?}");
    }
    assert_eq!(holm(&[]), Vec::<f64>::new());
}

#[test]
fn clopper_pearson_is_the_textbooks() {
    let near = |(a, b): (f64, f64), (c, d): (f64, f64)| (a - c).abs() < 1e-3 && (b - d).abs() < 1e-3;
    assert!(near(clopper_pearson(0, 36, 0.05), (0.0, 0.0974)), "{:?}", clopper_pearson(0, 36, 0.05));
    assert!(near(clopper_pearson(9, 10, 0.05), (0.5550, 0.9975)), "{:?}", clopper_pearson(9, 10, 0.05));
    assert!(near(clopper_pearson(10, 10, 0.05), (0.6915, 1.0)));
    assert_eq!(clopper_pearson(0, 0, 0.05), (0.0, 1.0));
}

/// Symmetric noise with a heavy tail: one round in ten is five times as wide.
fn noise(random: &mut Random, width: f64) -> f64 {
    let wide = if random.below(10) == 0 { 5.0 } else { 1.0 };
    width * wide * random.normal()
}

#[test]
fn looking_after_every_round_keeps_the_promise() {
    let (mut random, alpha, runs) = (Random::new(7), 0.05, 2000);
    let (mut alarms, mut misses) = (0, 0);
    for run in 0..runs {
        let width = [0.002, 0.01, 0.05][run % 3];
        let rounds: Vec<f64> = (0..40).map(|_| noise(&mut random, width)).collect();
        // p only ever falls, so that its last value is the smallest of all looks.
        alarms += u32::from(p_above(&rounds, 0.0) <= alpha);
        let (low, high) = interval(&rounds, alpha);
        misses += u32::from(low > 0.0 || high < 0.0);
    }
    assert!(f64::from(alarms) <= alpha * runs as f64, "{alarms} of {runs}");
    assert!(f64::from(misses) <= alpha * runs as f64, "{misses} of {runs}");
    assert!(alarms > 0, "a bound that is never reached tests nothing");
}

#[test]
fn p_falls_with_the_effect_and_never_rises_again() {
    let rounds = [0.04, 0.05, 0.06, 0.05, 0.03, 0.05, -0.9];
    let at = |n: usize, t| p_above(&rounds[..n], t);
    assert!(at(6, 0.0) < at(6, 0.03) && at(6, 0.03) < at(6, 0.05));
    assert!(at(7, 0.0) <= at(6, 0.0), "what was certain once stays so");
    assert_eq!(p_below(&rounds[..6], 0.0), 1.0);
    let (low, high) = interval(&[0.05; 30], 0.001);
    assert!(low > 0.03 && low < 0.05 && high > 0.05 && high < 0.07, "{low} {high}");
    assert_eq!(interval(&[], 0.01), (f64::NEG_INFINITY, f64::INFINITY));
    assert_eq!(interval(&[0.1], 0.01), (f64::NEG_INFINITY, f64::INFINITY), "one round proves nothing");
}

/// Three rounds in a hundred in which the machine gave one side half of its time.
fn stall(random: &mut Random) -> f64 {
    match random.below(200) {
        0..3 => 0.7,
        3..6 => -0.7,
        _ => 0.0,
    }
}

#[test]
fn five_percent_are_found_among_twelve_benchmarks() {
    let (mut random, mut found) = (Random::new(3), 0);
    let alpha = 0.01 / 24.0;
    for _ in 0..400 {
        let rounds: Vec<f64> =
            (0..32).map(|_| 0.0488 + stall(&mut random) + noise(&mut random, 0.01)).collect();
        found += u32::from(p_above(&rounds, libm::log(1.02)) <= alpha);
    }
    assert!(found >= 390, "{found} of 400");
}

#[test]
fn two_groups_and_movement_are_seen_and_noise_is_neither() {
    let mut random = Random::new(5);
    let (mut two, mut moved) = (0, 0);
    for _ in 0..300 {
        let rounds: Vec<f64> = (0..24).map(|_| noise(&mut random, 0.01)).collect();
        two += u32::from(bimodal(&rounds));
        moved += u32::from(drift(&rounds));
    }
    assert!(two <= 6 && moved <= 3, "{two} {moved}");
    let groups: Vec<f64> = (0..24).map(|i| f64::from(i % 3 == 0) * 0.08 + 0.003 * random.normal()).collect();
    assert!(bimodal(&groups) && !drift(&groups), "{groups:?}");
    let rising: Vec<f64> = (0..24).map(|i| 0.002 * f64::from(i) + 0.003 * random.normal()).collect();
    assert!(drift(&rising), "{rising:?}");
    assert!(!bimodal(&[]) && !drift(&[]));
}
