//! Tables of the rotary embedding, contract section 6: f64 throughout, rounded once.

use crate::model::spec::{RopeFactors, RopeScaling, RopeSpec};

/// One rotary embedding, ready to make tables.
#[derive(Debug, Clone)]
pub(super) struct Rope {
    /// Angle per position of each pair.
    frequencies: Vec<f64>,
    attention_factor: f64,
}

/// `cos` and `sin` of consecutive positions, `[position][pair]` each.
#[derive(Debug, Default, Clone)]
pub(super) struct RopeTable {
    pairs: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// For a session of `n_ctx` positions.
    pub(super) fn new(spec: &RopeSpec, n_ctx: usize) -> Rope {
        let n = spec.n_rot as f64;
        let factors = match &spec.factors {
            RopeFactors::None => None,
            RopeFactors::Fixed(factors) => Some(factors),
            RopeFactors::ByContext { original_context, short, long } => {
                Some(if n_ctx > *original_context { long } else { short })
            }
        };
        let frequency = |i: usize| {
            let plain = libm::pow(spec.theta, -2.0 * i as f64 / n);
            let plain = factors.map_or(plain, |f| plain / f64::from(f[i]));
            match spec.scaling {
                RopeScaling::None => plain,
                RopeScaling::Linear { factor } => plain / factor,
                RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow } => {
                    // The pair that turns `rotations` times over the original context.
                    let pair_of = |rotations: f64| {
                        let turns = original_context / (rotations * 2.0 * std::f64::consts::PI);
                        n * libm::log(turns) / (2.0 * libm::log(spec.theta))
                    };
                    let low = libm::floor(pair_of(beta_fast)).max(0.0);
                    let high = libm::ceil(pair_of(beta_slow)).min(n - 1.0);
                    let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    plain / factor * ramp + plain * (1.0 - ramp)
                }
            }
        };
        let frequencies = (0..spec.n_rot / 2).map(frequency).collect();
        Rope { frequencies, attention_factor: spec.attention_factor }
    }

    /// The table of positions `start..start + n`.
    pub(super) fn fill(&self, table: &mut RopeTable, start: usize, n: usize) {
        table.pairs = self.frequencies.len();
        table.cos.clear();
        table.sin.clear();
        for position in start..start + n {
            for frequency in &self.frequencies {
                let (sin, cos) = libm::sincos(position as f64 * frequency);
                table.cos.push((cos * self.attention_factor) as f32);
                table.sin.push((sin * self.attention_factor) as f32);
            }
        }
    }
}

impl RopeTable {
    /// `cos` and `sin` of every pair at the `i`-th position of the table.
    pub(super) fn at(&self, i: usize) -> (&[f32], &[f32]) {
        let range = i * self.pairs..(i + 1) * self.pairs;
        (&self.cos[range.clone()], &self.sin[range])
    }
}
