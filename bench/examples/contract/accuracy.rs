//! How far each candidate is from the exact result.

use super::Rng;
use kinglet_reference::fma::fma;
use kinglet_reference::{attention, ssum};

const TRIALS: usize = 400;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Root mean square of `error / deviation of the result`, over trials that `f` makes as `(exact, approximate)`.
fn relative_rms(trials: usize, mut f: impl FnMut() -> (f64, f64)) -> f64 {
    let pairs: Vec<(f64, f64)> = (0..trials).map(|_| f()).collect();
    let square = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(|p| f(p) * f(p)).sum::<f64>();
    libm::sqrt(square(&|(a, b)| a - b) / square(&|(a, _)| *a))
}

/// `x` rounded to 8-bit codes with one scale for each `block` values.
fn quantized(x: &[f32], block: usize) -> Vec<f32> {
    let block_of = |x: &[f32]| {
        let amax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let d = amax / 127.0;
        x.iter().map(|x| if d > 0.0 { (x / d).round_ties_even() * d } else { 0.0 }).collect::<Vec<f32>>()
    };
    x.chunks(block).flat_map(block_of).collect()
}

/// `w` rounded as Q4_0 rounds it.
fn q4_0(w: &[f32]) -> Vec<f32> {
    let block_of = |w: &[f32]| {
        let extreme = w.iter().fold(0.0f32, |m, w| if w.abs() > m.abs() { *w } else { m });
        let d = extreme / -8.0;
        w.iter().map(|w| (w / d + 8.5).floor().clamp(0.0, 15.0) * d - 8.0 * d).collect::<Vec<f32>>()
    };
    w.chunks(32).flat_map(block_of).collect()
}

pub fn print() {
    activation_scales();
    chains();
    float_sums();
    attention_blocks();
}

fn activation_scales() {
    println!("### How many activations share a scale (K = 4096; error of a dot over its deviation)\n");
    println!(
        "| outliers of 20x in the row | per 32 | per 64 | per 256 | per row | for comparison: Q4_0 weights |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for outliers in [0, 4, 16] {
        let of = |f: &dyn Fn(&[f32], &[f32]) -> f64| {
            let mut rng = Rng(1);
            relative_rms(TRIALS, || {
                let (w, x) = (rng.row(4096, 0), rng.row(4096, outliers));
                (dot(&w, &x), f(&w, &x))
            })
        };
        let scales = [32, 64, 256, 4096].map(|block| of(&|w, x| dot(w, &quantized(x, block))));
        let weights = of(&|w, x| dot(&q4_0(w), x));
        let [a, b, c, d] = scales;
        println!("| {outliers} | {a:.4} | {b:.4} | {c:.4} | {d:.4} | {weights:.4} |");
    }
    println!();
}

fn chains() {
    println!(
        "### What the f32 steps add (the same codes, against exact sums; over the deviation of the result)\n"
    );
    println!(
        "| K | f32 step per 32 | f32 step per 256 | mins in the same chain | mins in a chain of their own |"
    );
    println!("|---:|---:|---:|---:|---:|");
    for k in [576, 4096, 14336] {
        let mut rng = Rng(2);
        let mut error = |step: usize, mins: Option<bool>| {
            relative_rms(TRIALS, || {
                let (mut acc, mut macc, mut exact) = (0.0f32, 0.0f32, 0.0f64);
                let groups: Vec<(f32, f32, f32, f32)> = (0..k / 32)
                    .map(|_| {
                        let isum = (0..32)
                            .map(|_| ((rng.next() % 31) as i64 - 15) * ((rng.next() % 255) as i64 - 127));
                        let isum: i64 = isum.sum();
                        (
                            rng.normal().abs() + 0.1,
                            isum as f32,
                            rng.normal(),
                            (rng.next() % 4001) as f32 - 2000.0,
                        )
                    })
                    .collect();
                for block in groups.chunks(step / 32) {
                    // A step per 256 has one scale, and its sum of 8 groups is exact.
                    let d = block[0].0;
                    if step > 32 {
                        let sum: f32 = block.iter().map(|g| g.1).sum();
                        acc = fma(d, sum, acc);
                        exact += f64::from(d) * f64::from(sum);
                    } else {
                        acc = fma(d, block[0].1, acc);
                        exact += f64::from(d) * f64::from(block[0].1);
                    }
                    if let Some(own) = mins {
                        let (m, sum) = (block[0].2, block[0].3);
                        if own {
                            macc = fma(m, sum, macc)
                        } else {
                            acc = fma(m, sum, acc)
                        }
                        exact += f64::from(m) * f64::from(sum);
                    }
                }
                (exact, f64::from(acc + macc))
            })
        };
        let (a, b, c, d) = (error(32, None), error(256, None), error(32, Some(false)), error(32, Some(true)));
        println!("| {k} | {a:.1e} | {b:.1e} | {c:.1e} | {d:.1e} |");
    }
    println!();
}

fn float_sums() {
    println!("### Orders of a float dot (error over its deviation)\n");
    println!("| K | one chain | 8 strided | 16 strided (chosen) | 32 strided |");
    println!("|---:|---:|---:|---:|---:|");
    for k in [576, 4096, 14336] {
        let strided = |lanes: usize| {
            let mut rng = Rng(3);
            relative_rms(TRIALS, || {
                let (w, x) = (rng.row(k, 0), rng.row(k, 4));
                let approximate = if lanes == 16 {
                    ssum::ssum_fma(w.iter().copied().zip(x.iter().copied()))
                } else {
                    let mut acc = vec![0.0f32; lanes];
                    w.iter()
                        .zip(&x)
                        .enumerate()
                        .for_each(|(i, (w, x))| acc[i % lanes] = fma(*w, *x, acc[i % lanes]));
                    while acc.len() > 1 {
                        let high = acc.split_off(acc.len() / 2);
                        acc.iter_mut().zip(high).for_each(|(a, b)| *a += b);
                    }
                    acc[0]
                };
                (dot(&w, &x), f64::from(approximate))
            })
        };
        let [a, b, c, d] = [1, 8, 16, 32].map(strided);
        println!("| {k} | {a:.1e} | {b:.1e} | {c:.1e} | {d:.1e} |");
    }
    println!();
}

fn attention_blocks() {
    println!(
        "### Attention in absolute blocks of 512 keys (head_dim 64, f32 cache; error over the deviation of the output)\n"
    );
    println!("| keys | blocks of 512, folded (chosen) | scores of all keys at once, one chain |");
    println!("|---:|---:|---:|");
    for n in [500, 2000, 8000] {
        let mut rng = Rng(4);
        let (mut folded, mut once) = ((0.0, 0.0), (0.0, 0.0));
        for _ in 0..6 {
            let keys: Vec<Vec<f32>> = (0..n).map(|_| rng.row(64, 0)).collect();
            let values: Vec<Vec<f32>> = (0..n).map(|_| rng.row(64, 0)).collect();
            let q = rng.row(64, 0);
            let exact = exact_attention(&q, &keys, &values);
            let refs = |v: &'_ [Vec<f32>]| -> Vec<Vec<f32>> { v.to_vec() };
            let (k, v) = (refs(&keys), refs(&values));
            let (k, v): (Vec<&[f32]>, Vec<&[f32]>) =
                (k.iter().map(Vec::as_slice).collect(), v.iter().map(Vec::as_slice).collect());
            let query = attention::Query {
                q: &q,
                position: n - 1,
                visible: 0..n,
                slope: 0.0,
                scale: 0.125,
                softcap: None,
            };
            let ours = attention::attention(attention::KvType::F32, &query, &k, &v);
            let scores: Vec<f32> =
                k.iter().map(|k| q.iter().zip(*k).fold(0.0, |s, (q, k)| fma(*q, *k, s)) * 0.125).collect();
            let max = scores.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
            let p: Vec<f32> = scores.iter().map(|s| kinglet_reference::math::exp(s - max)).collect();
            let sum = p.iter().fold(0.0f32, |a, p| a + p);
            let plain: Vec<f32> =
                (0..64).map(|t| v.iter().zip(&p).fold(0.0f32, |o, (v, p)| fma(*p, v[t], o)) / sum).collect();
            for t in 0..64 {
                for (at, y) in [(&mut folded, ours[t]), (&mut once, plain[t])] {
                    at.0 += (f64::from(y) - exact[t]) * (f64::from(y) - exact[t]);
                    at.1 += exact[t] * exact[t];
                }
            }
        }
        let rms = |(e, s): (f64, f64)| libm::sqrt(e / s);
        println!("| {n} | {:.1e} | {:.1e} |", rms(folded), rms(once));
    }
    println!();
}

fn exact_attention(q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f64> {
    let scores: Vec<f64> = keys.iter().map(|k| dot(q, k) * 0.125).collect();
    let max = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
    let p: Vec<f64> = scores.iter().map(|s| libm::exp(s - max)).collect();
    let sum: f64 = p.iter().sum();
    (0..q.len()).map(|t| values.iter().zip(&p).map(|(v, p)| p * f64::from(v[t])).sum::<f64>() / sum).collect()
}
