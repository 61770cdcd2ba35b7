//! RMSNorm and LayerNorm: contract section 5.

use super::fma::sqrt;
use super::lanes::{Lanes, load_n, store_n};

/// `y = (x * r) * w` with `r = 1 / sqrt(sum of x^2 / n + eps)`.
#[inline(always)]
pub(super) unsafe fn rms_norm<L: Lanes>(
    src: *const f32,
    w: Option<&[f32]>,
    eps: f32,
    dst: *mut f32,
    n: usize,
) {
    let full = n / 16 * 16;
    // SAFETY: `src`, `dst` and `w` have `n` values; each is read before it is written.
    unsafe {
        let mut sum = L::splat(0.0);
        for i in (0..full).step_by(16) {
            let x = L::load(src.add(i));
            sum = x.fma(x, sum);
        }
        if full < n {
            let x: L = load_n(src.add(full), n - full);
            sum = x.fma(x, sum);
        }
        let r = 1.0 / sqrt(sum.sum() / n as f32 + eps);
        scale_shift::<L>(src, 0.0, r, w, None, dst, n);
    }
}

/// `y = (c * r) * w`, or `fma(c * r, w, b)`, with `c = x - mean` and `r = 1 / sqrt(sum of c^2 / n + eps)`.
#[inline(always)]
pub(super) unsafe fn layer_norm<L: Lanes>(
    src: *const f32,
    w: Option<&[f32]>,
    b: Option<&[f32]>,
    eps: f32,
    dst: *mut f32,
    n: usize,
) {
    let full = n / 16 * 16;
    // SAFETY: as in `rms_norm`; `b` has `n` values too.
    unsafe {
        let mut sum = L::splat(0.0);
        for i in (0..full).step_by(16) {
            sum = sum.add(L::load(src.add(i)));
        }
        if full < n {
            sum = sum.add(load_n(src.add(full), n - full));
        }
        let mean = sum.sum() / n as f32;
        let mu = L::splat(mean);
        let mut sum = L::splat(0.0);
        for i in (0..full).step_by(16) {
            let c = L::load(src.add(i)).sub(mu);
            sum = c.fma(c, sum);
        }
        if full < n {
            // The centred tail, with +0 again in the lanes that have no element.
            let mut c = [0.0f32; 16];
            store_n(load_n::<L>(src.add(full), n - full).sub(mu), c.as_mut_ptr(), n - full);
            let c = L::load(c.as_ptr());
            sum = c.fma(c, sum);
        }
        let r = 1.0 / sqrt(sum.sum() / n as f32 + eps);
        if let Some(b) = b {
            scale_shift::<L>(src, mean, r, w, Some(b), dst, n);
        } else {
            scale_shift::<L>(src, mean, r, w, None, dst, n);
        }
    }
}

/// The second pass: `(x - mu) * r`, then the weight and the bias that there are.
#[inline(always)]
unsafe fn scale_shift<L: Lanes>(
    src: *const f32,
    mu: f32,
    r: f32,
    w: Option<&[f32]>,
    b: Option<&[f32]>,
    dst: *mut f32,
    n: usize,
) {
    // A missing weight is 1 and a missing bias is not added: both leave the bits as they are.
    let (w, b) = (w.map(<[f32]>::as_ptr), b.map(<[f32]>::as_ptr));
    let full = n / 16 * 16;
    // SAFETY: as in `layer_norm`.
    unsafe {
        let (mu, r, one) = (L::splat(mu), L::splat(r), L::splat(1.0));
        let mut i = 0;
        macro_rules! pass {
            ($i:ident => $w:expr, $b:expr) => {{
                while i < full {
                    let $i = i;
                    finish(L::load(src.add(i)).sub(mu).mul(r), $w, $b).store(dst.add(i));
                    i += 16;
                }
            }};
        }
        match (w, b) {
            (None, None) => pass!(_i => one, None),
            (Some(w), None) => pass!(i => L::load(w.add(i)), None),
            (None, Some(b)) => pass!(i => one, Some(L::load(b.add(i)))),
            (Some(w), Some(b)) => pass!(i => L::load(w.add(i)), Some(L::load(b.add(i)))),
        }
        if full < n {
            let len = n - full;
            let w = w.map_or(one, |w| load_n(w.add(full), len));
            let b = b.map(|b| load_n(b.add(full), len));
            store_n(finish(load_n::<L>(src.add(full), len).sub(mu).mul(r), w, b), dst.add(full), len);
        }
    }
}

#[inline(always)]
unsafe fn finish<L: Lanes>(v: L, w: L, b: Option<L>) -> L {
    // SAFETY: the caller has the features of `L`.
    unsafe {
        match b {
            Some(b) => v.fma(w, b),
            None => v.mul(w),
        }
    }
}
