//! Balance between keys and queries for a cache of q8_0.
//!
//! Some models (Qwen2, Qwen2.5) add biases of up to a few hundred to a few channels of their keys. Codes of 8 bits have one
//! scale for 32 channels, so one such channel takes the precision of 31 others. A score is a sum of `q * k` over channels: it
//! does not change when keys are divided and queries multiplied by the same number. Powers of two make that exact.

use super::spec::{AttentionSpec, RopeStyle};

/// The largest exponent: biases up to 2^31 are balanced, and nothing overflows.
const MAX_EXPONENT: u32 = 15;

/// By what each channel of the keys `[n_kv_heads * head_dim]` is divided, and of the queries that meet it multiplied: about the
/// square root of its bias where that is above 1. Channels that rope rotates into each other (`pairs`: the style, and how many
/// values it rotates) have the same. `None` where nothing is to be done.
pub(super) fn of_bias(
    a: &AttentionSpec,
    pairs: Option<(RopeStyle, usize)>,
    bias: &[f32],
) -> Option<Vec<f32>> {
    let mut balance = vec![1.0f32; bias.len()];
    for (bias, balance) in bias.chunks_exact(a.head_dim).zip(balance.chunks_exact_mut(a.head_dim)) {
        for (balance, bias) in balance.iter_mut().zip(bias) {
            *balance = power(bias * bias);
        }
        if let Some((style, n_rot)) = pairs {
            let rotated = a.rope_start..(a.rope_start + n_rot).min(a.head_dim);
            for i in 0..rotated.len() / 2 {
                let (x, y) = match style {
                    RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                    RopeStyle::HalfSplit => (i, i + rotated.len() / 2),
                };
                let (x, y) = (rotated.start + x, rotated.start + y);
                let power = power(bias[x] * bias[x] + bias[y] * bias[y]);
                (balance[x], balance[y]) = (power, power);
            }
        }
    }
    balance.iter().any(|&b| b != 1.0).then_some(balance)
}

/// 2^e, `e >= 0` nearest to half the logarithm of the square root of `square`.
fn power(square: f32) -> f32 {
    // e is right as long as 2^(2e - 1) <= sqrt(square).
    let enough = |e: &u32| square >= f32::from_bits((127 + 4 * e - 2) << 23);
    let exponent = (1..=MAX_EXPONENT).take_while(enough).last();
    (1u32 << exponent.unwrap_or(0)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_the_nearest() {
        for (bias, expected) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.9, 1.0),
            (2.1, 2.0),
            (7.9, 2.0),
            (8.1, 4.0),
            (100.0, 8.0),
            (200.0, 16.0),
            (f32::NAN, 1.0),
            (f32::INFINITY, 32768.0),
        ] {
            assert_eq!(power(bias * bias), expected, "{bias}");
        }
    }
}
