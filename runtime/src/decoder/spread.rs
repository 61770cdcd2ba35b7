//! Keys and queries as a q8_0 cache takes them, contract section 9: balanced, then spread over the channels of a head.

/// The widest block that [`hadamard`] makes of a head: the largest power of two that divides its width.
fn block(head_dim: usize) -> usize {
    1 << head_dim.trailing_zeros()
}

/// Each key head of `k: [n][n_kv_heads * head_dim]` divided by its powers and spread.
pub(super) fn keys(k: &mut [f32], head_dim: usize, balance: Option<&[f32]>) {
    if let Some(powers) = balance {
        for k in k.chunks_mut(powers.len()) {
            k.iter_mut().zip(powers).for_each(|(k, power)| *k /= power);
        }
    }
    k.chunks_mut(block(head_dim)).for_each(hadamard);
}

/// Each query head of `q: [n][n_heads * head_dim]` multiplied by the powers of its key head and spread. Both spread, scores are
/// `block` times what they were: a power of two, divided out here.
pub(super) fn queries(
    q: &mut [f32],
    head_dim: usize,
    (n_heads, n_kv_heads): (usize, usize),
    balance: Option<&[f32]>,
) {
    let block = block(head_dim);
    let undo = 1.0 / block as f32;
    for (i, q) in q.chunks_mut(head_dim).enumerate() {
        match balance {
            Some(powers) => {
                let powers = &powers[i % n_heads / (n_heads / n_kv_heads) * head_dim..];
                q.iter_mut().zip(powers).for_each(|(q, power)| *q *= power * undo);
            }
            None => q.iter_mut().for_each(|q| *q *= undo),
        }
        q.chunks_mut(block).for_each(hadamard);
    }
}

/// The Hadamard transform of `x`, whose length is a power of two, not normed: neighbours at distance 1, then 2, 4 and so on become
/// their sum and difference. What one channel held is then spread over all.
fn hadamard(x: &mut [f32]) {
    let mut distance = 1;
    while distance < x.len() {
        for pair in x.chunks_exact_mut(2 * distance) {
            let (a, b) = pair.split_at_mut(distance);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stay() {
        // Small integers and powers of two: every sum is exact. A head of 24 has blocks of 8.
        let (head_dim, heads, powers) = (24, (4, 2), (0..48).map(|i| (1 << (i % 3)) as f32));
        let powers: Vec<f32> = powers.collect();
        let mut k: Vec<f32> = (0..48).map(|i| 4.0 * ((i * 7 % 11) as f32 - 5.0)).collect();
        let mut q: Vec<f32> = (0..96).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
        let score = |q: &[f32], k: &[f32], h: usize| -> f32 {
            (0..head_dim).map(|i| q[h * head_dim + i] * k[h / 2 * head_dim + i]).sum()
        };
        let before: Vec<f32> = (0..4).map(|h| score(&q, &k, h)).collect();
        keys(&mut k, head_dim, Some(&powers));
        queries(&mut q, head_dim, heads, Some(&powers));
        let after: Vec<f32> = (0..4).map(|h| score(&q, &k, h)).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn one_channel_is_spread_over_all() {
        let mut k = [0.0; 64];
        k[9] = 100.0;
        keys(&mut k, 64, None);
        assert!(k.iter().all(|k| k.abs() == 100.0));
    }
}
