//! Q6_K: super-blocks of 256, `w = d * s * q` with an 8-bit `s` for each 16. Fitted as in `k.rs`.

use super::f16_scale;
use super::search::{code, extreme, inverse, scale, steps, sum};

const ROUNDS: usize = 2;

#[derive(Clone, Copy)]
struct Fitted {
    d: f32,
    scales: [f32; 16],
    codes: [[f32; 16]; 16],
    error: f32,
}

fn value(v: f32) -> f32 {
    code(v, -32.0, 31.0)
}

fn round_to(d: f32, wanted: &[f32; 16], subs: &[[f32; 16]; 16]) -> Fitted {
    let to_s = inverse(d);
    let mut out = Fitted { d, scales: [0.0; 16], codes: [[0.0; 16]; 16], error: 0.0 };
    for (j, (x, wanted)) in subs.iter().zip(wanted).enumerate() {
        let s = code(wanted * to_s, -128.0, 127.0);
        let mut least = f32::INFINITY;
        for s in [s - 2.0, s - 1.0, s, s + 1.0, s + 2.0] {
            let s = s.clamp(-128.0, 127.0);
            let (scale, to_code) = (d * s, inverse(d * s));
            let mut q = [0.0; 16];
            q.iter_mut().zip(x).for_each(|(q, v)| *q = value(v * to_code));
            let error = sum::<16>(|i| {
                let e = x[i] - scale * q[i];
                e * e
            });
            if error < least {
                (least, out.scales[j], out.codes[j]) = (error, s, q);
            }
        }
        out.error += least;
    }
    out
}

/// The super-block's scale by least squares over all of its codes.
fn refit(f: &Fitted, subs: &[[f32; 16]; 16]) -> Option<f32> {
    let (mut aa, mut ax) = (0.0f32, 0.0f32);
    for ((x, q), s) in subs.iter().zip(&f.codes).zip(f.scales) {
        aa += s * s * sum::<16>(|i| q[i] * q[i]);
        ax += s * sum::<16>(|i| q[i] * x[i]);
    }
    (aa > 0.0).then(|| ax / aa)
}

pub(super) fn q6_k(x: &[f32; 256]) -> [u8; 210] {
    let mut subs = [[0.0; 16]; 16];
    subs.iter_mut().zip(x.as_chunks::<16>().0).for_each(|(s, x)| *s = *x);
    let mut wanted = [0.0f32; 16];
    for (wanted, x) in wanted.iter_mut().zip(&subs) {
        *wanted = scale(x, steps(-33.4, -29.8, 13).chain(steps(28.8, 32.4, 13)), value);
    }
    // The largest scale becomes the code that reaches furthest.
    let mut best = round_to(f16_scale(extreme(&wanted) / -128.0).0, &wanted, &subs);
    for _ in 0..ROUNDS {
        let Some(d) = refit(&best, &subs) else { break };
        let next = round_to(f16_scale(d).0, &wanted, &subs);
        if next.error >= best.error {
            break;
        }
        best = next;
    }
    let mut out = [0; 210];
    let (low, rest) = out.split_at_mut(128);
    let (high, rest) = rest.split_at_mut(64);
    let (scales, d) = rest.split_at_mut(16);
    scales.iter_mut().zip(best.scales).for_each(|(o, s)| *o = s as i8 as u8);
    d.copy_from_slice(&f16_scale(best.d).1);
    let codes = best.codes.map(|q| q.map(|q| (q + 32.0) as u8));
    for (half, q) in codes.as_flattened().as_chunks::<128>().0.iter().enumerate() {
        for l in 0..32 {
            let part = |p: usize| q[l + 32 * p];
            low[64 * half + l] = part(0) & 15 | (part(2) & 15) << 4;
            low[64 * half + 32 + l] = part(1) & 15 | (part(3) & 15) << 4;
            high[32 * half + l] = (0..4).fold(0, |bits, p| bits | (part(p) >> 4) << (2 * p));
        }
    }
    out
}
