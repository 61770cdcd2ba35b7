//! Q4_K and Q5_K: super-blocks of 256, `w = d * s * q - dmin * m` with 6-bit `s` and `m` for each 32. Sub-blocks are fitted on
//! their own; their scales and mins are rounded to multiples of the super-block's, trying neighbours with the codes that they
//! give; then the super-block's two are fitted to all codes, and the neighbours tried again.

use super::f16_scale;
use super::minmax::{Line, fit};
use super::search::{code, inverse, max, sum};

/// Rounds of fitting the super-block's scale and min.
const ROUNDS: usize = 2;

/// A super-block before it is packed.
#[derive(Clone, Copy)]
struct Fitted {
    d: f32,
    dmin: f32,
    /// Scale and min of each sub-block, `0..=63`.
    parts: [(f32, f32); 8],
    codes: [[f32; 32]; 8],
    error: f32,
}

/// The best multiples of `d` and `dmin` near what each sub-block wants.
fn round_to(d: f32, dmin: f32, wanted: &[Line; 8], subs: &[[f32; 32]; 8], top: f32) -> Fitted {
    let (to_s, to_m) = (inverse(d), inverse(dmin));
    let mut out = Fitted { d, dmin, parts: [(0.0, 0.0); 8], codes: [[0.0; 32]; 8], error: 0.0 };
    for (j, (x, wanted)) in subs.iter().zip(wanted).enumerate() {
        let (s, m) = (code(wanted.scale * to_s, 0.0, 63.0), code(-wanted.min * to_m, 0.0, 63.0));
        let mut least = f32::INFINITY;
        // Without a scale, where the super-block's is too coarse for this one, the min is the mean.
        let mean = code(sum::<32>(|i| x[i]) / -32.0 * to_m, 0.0, 63.0);
        let mut near = [(0.0, mean); 10];
        for (i, near) in near.iter_mut().enumerate().skip(1) {
            let (i, k) = ((i - 1) / 3, (i - 1) % 3);
            *near = ((s + i as f32 - 1.0).clamp(0.0, 63.0), (m + k as f32 - 1.0).clamp(0.0, 63.0));
        }
        for (s, m) in near {
            let line = Line { scale: d * s, min: -(dmin * m) };
            let q = line.codes(x, top);
            let error = line.error(x, &q);
            if error < least {
                (least, out.parts[j], out.codes[j]) = (error, (s, m), q);
            }
        }
        out.error += least;
    }
    out
}

/// The super-block's scale and min by least squares over all of its codes; `None` where they cannot be told apart.
fn refit(f: &Fitted, subs: &[[f32; 32]; 8]) -> Option<(f32, f32)> {
    // w = d * a - dmin * b, with a = s * q and b = m.
    let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
    for ((x, q), (s, m)) in subs.iter().zip(&f.codes).zip(f.parts) {
        let (q1, qq) = (sum::<32>(|i| q[i]), sum::<32>(|i| q[i] * q[i]));
        aa += s * s * qq;
        ab += s * m * q1;
        bb += m * m * 32.0;
        ax += s * sum::<32>(|i| q[i] * x[i]);
        bx += m * sum::<32>(|i| x[i]);
    }
    if bb == 0.0 {
        return (aa > 0.0 && ax > 0.0).then(|| (ax / aa, 0.0));
    }
    let det = aa * bb - ab * ab;
    let (d, dmin) = ((ax * bb - bx * ab) / det, (ab * ax - aa * bx) / det);
    (det > 1e-3 * aa * bb && d > 0.0 && dmin > 0.0).then_some((d, dmin))
}

fn super_block(x: &[f32; 256], top: f32) -> ([u8; 16], [[u8; 32]; 8]) {
    let mut subs = [[0.0; 32]; 8];
    subs.iter_mut().zip(x.as_chunks::<32>().0).for_each(|(s, x)| *s = *x);
    let mut wanted = [Line::default(); 8];
    wanted.iter_mut().zip(&subs).for_each(|(w, x)| *w = fit(x, top, Some(0.0)));
    let largest = |of: fn(&Line) -> f32| wanted.iter().map(of).fold(0.0f32, |most, v| max(v, most)) / 63.0;
    let (mut d, mut dmin) = (largest(|w| w.scale), largest(|w| -w.min));
    let mut best = round_to(f16_scale(d).0, f16_scale(dmin).0, &wanted, &subs, top);
    for _ in 0..ROUNDS {
        match refit(&best, &subs) {
            Some(better) => (d, dmin) = better,
            None => break,
        }
        let next = round_to(f16_scale(d).0, f16_scale(dmin).0, &wanted, &subs, top);
        if next.error >= best.error {
            break;
        }
        best = next;
    }
    let mut head = [0; 16];
    head[..2].copy_from_slice(&f16_scale(best.d).1);
    head[2..4].copy_from_slice(&f16_scale(best.dmin).1);
    pack(&best.parts.map(|(s, m)| (s as u8, m as u8)), &mut head[4..]);
    (head, best.codes.map(|q| q.map(|q| q as u8)))
}

/// Six bits each: whole for the first four sub-blocks; the others' high two bits lie above those.
fn pack(parts: &[(u8, u8); 8], out: &mut [u8]) {
    for (j, (s, m)) in parts.iter().enumerate() {
        if j < 4 {
            out[j] |= s;
            out[j + 4] |= m;
        } else {
            out[j + 4] |= (s & 15) | (m & 15) << 4;
            out[j - 4] |= (s >> 4) << 6;
            out[j] |= (m >> 4) << 6;
        }
    }
}

/// Low nibbles of even sub-blocks' codes, high nibbles of odd ones'.
fn pairs(codes: &[[u8; 32]; 8], out: &mut [u8]) {
    for (pair, bytes) in codes.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for (b, (low, high)) in bytes.iter_mut().zip(pair[0].iter().zip(&pair[1])) {
            *b = low & 15 | high << 4;
        }
    }
}

pub(super) fn q4_k(x: &[f32; 256]) -> [u8; 144] {
    let (head, codes) = super_block(x, 15.0);
    let mut out = [0; 144];
    out[..16].copy_from_slice(&head);
    pairs(&codes, &mut out[16..]);
    out
}

pub(super) fn q5_k(x: &[f32; 256]) -> [u8; 176] {
    let (head, codes) = super_block(x, 31.0);
    let mut out = [0; 176];
    out[..16].copy_from_slice(&head);
    for (j, sub) in codes.iter().enumerate() {
        out[16..48].iter_mut().zip(sub).for_each(|(b, q)| *b |= (q >> 4) << j);
    }
    pairs(&codes, &mut out[48..]);
    out
}
