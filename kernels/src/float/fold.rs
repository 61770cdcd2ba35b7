//! Folding the partial results of pages, contract section 8: one page after the other, in ascending order.

use super::lanes::{Lanes, store_n};
use super::math::exp;

/// The running result and the page that is added to it.
pub(super) struct Fold<'a> {
    /// Maxima, one per row.
    pub m: &'a mut [f32],
    /// Sums, one per row.
    pub l: &'a mut [f32],
    /// Outputs, as many values per row.
    pub o: &'a mut [f32],
    /// Values per row of `o`, a multiple of 16.
    pub dim: usize,
    /// The page's maxima.
    pub part_m: &'a [f32],
    /// The page's sums.
    pub part_l: &'a [f32],
    /// The page's outputs.
    pub part_o: &'a [f32],
}

/// `M' = max(M, m); a = exp(M - M'); b = exp(m - M'); L = fma(L, a, l * b); O = fma(O, a, o * b)`.
#[inline(always)]
pub(super) unsafe fn attention_fold<L: Lanes>(f: &mut Fold<'_>) {
    for r in 0..f.m.len() {
        // Any visible key makes `l` at least 1, or NaN.
        if f.part_l[r] == 0.0 {
            continue;
        }
        // SAFETY: the caller has the features of `L`; every row has `dim` outputs, a multiple of 16.
        unsafe {
            if f.l[r] == 0.0 {
                // The first page: a is 0 and b is 1, or all results are NaN as those of the page are. Adding 0 makes +0 of
                // -0, as the fma does.
                (f.m[r], f.l[r]) = (f.part_m[r], f.part_l[r]);
                for t in (r * f.dim..(r + 1) * f.dim).step_by(16) {
                    L::load(f.part_o.as_ptr().add(t)).add(L::splat(0.0)).store(f.o.as_mut_ptr().add(t));
                }
                continue;
            }
            let (m, part_m) = (L::splat(f.m[r]), L::splat(f.part_m[r]));
            let max = m.max(part_m);
            let (a, b) = (exp(m.sub(max)), exp(part_m.sub(max)));
            f.m[r] = first(max);
            f.l[r] = first(L::splat(f.l[r]).fma(a, L::splat(f.part_l[r]).mul(b)));
            let (o, part) = (f.o.as_mut_ptr().add(r * f.dim), f.part_o.as_ptr().add(r * f.dim));
            for t in (0..f.dim).step_by(16) {
                L::load(o.add(t)).fma(a, L::load(part.add(t)).mul(b)).store(o.add(t));
            }
        }
    }
}

/// The first lane.
#[inline(always)]
unsafe fn first<L: Lanes>(v: L) -> f32 {
    let mut lanes = [0.0f32; 16];
    // SAFETY: 16 values.
    unsafe { v.store(lanes.as_mut_ptr()) };
    lanes[0]
}

/// `out[r] = o[r] * (1 / l[r])`, or 0 where no key was visible.
#[inline(always)]
pub(super) unsafe fn attention_finish<L: Lanes>(
    l: &[f32],
    o: &[f32],
    dim: usize,
    out: &mut [f32],
    value_dim: usize,
) {
    for (r, l) in l.iter().enumerate() {
        let r_l = if *l == 0.0 { 0.0 } else { 1.0 / l };
        // SAFETY: row r has `dim` accumulated values, a multiple of 16, and `value_dim <= dim` results.
        unsafe {
            let (o, out) = (o.as_ptr().add(r * dim), out.as_mut_ptr().add(r * value_dim));
            for t in (0..value_dim).step_by(16) {
                let n = 16.min(value_dim - t);
                let v = L::load(o.add(t)).mul(L::splat(r_l));
                if n == 16 { v.store(out.add(t)) } else { store_n(v, out.add(t), n) }
            }
        }
    }
}
