//! The strided sum, contract section 3: sixteen accumulators and a fixed tree.

use crate::fma::fma;

fn tree(mut lane: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lane[i] += lane[i + half];
        }
    }
    lane[0]
}

/// The maximum of `x`, over the same lanes and tree, each lane from minus infinity; a NaN never enters a lane.
pub fn smax(x: impl IntoIterator<Item = f32>) -> f32 {
    let mut lane = [f32::NEG_INFINITY; 16];
    for (k, x) in x.into_iter().enumerate() {
        if x > lane[k % 16] {
            lane[k % 16] = x;
        }
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lane[i] = if lane[i] > lane[i + half] { lane[i] } else { lane[i + half] };
        }
    }
    lane[0]
}

/// The sum of `x`.
pub fn ssum(x: impl IntoIterator<Item = f32>) -> f32 {
    let mut lane = [0.0f32; 16];
    for (k, x) in x.into_iter().enumerate() {
        lane[k % 16] += x;
    }
    tree(lane)
}

/// The sum of `a * b`.
pub fn ssum_fma(pairs: impl IntoIterator<Item = (f32, f32)>) -> f32 {
    let mut lane = [0.0f32; 16];
    for (k, (a, b)) in pairs.into_iter().enumerate() {
        lane[k % 16] = fma(a, b, lane[k % 16]);
    }
    tree(lane)
}
