//! Rotary embedding: contract section 6, `(fma(a, c, -(b * s)), fma(b, c, a * s))` for every pair.

use super::lanes::{Lanes, load_n, store_n};

/// One head and the table of its position.
pub(super) struct Rope<'a> {
    /// At least `2 * cos.len()` values, of which the first so many are rotated.
    pub x: &'a mut [f32],
    /// One value per pair.
    pub cos: &'a [f32],
    /// One value per pair.
    pub sin: &'a [f32],
}

/// Pairs are `(x[2i], x[2i + 1])`.
#[inline(always)]
pub(super) unsafe fn rope_interleaved<L: Lanes>(rope: &mut Rope<'_>) {
    /// Turns the sine of both members of a pair into `-s, s`, which changes no other bit.
    static SIGNS: [f32; 16] = [-1., 1., -1., 1., -1., 1., -1., 1., -1., 1., -1., 1., -1., 1., -1., 1.];
    let pairs = rope.cos.len();
    let (x, cos, sin) = (rope.x.as_mut_ptr(), rope.cos.as_ptr(), rope.sin.as_ptr());
    let full = pairs / 8 * 8;
    // SAFETY: `x` has `2 * pairs` values, `cos` and `sin` have `pairs`; the tail goes through padded copies.
    unsafe {
        let signs = L::load(SIGNS.as_ptr());
        for i in (0..full).step_by(8) {
            let v = L::load(x.add(2 * i));
            let s = L::load_twice(sin.add(i)).mul(signs);
            v.fma(L::load_twice(cos.add(i)), v.swap_pairs().mul(s)).store(x.add(2 * i));
        }
        let tail = pairs - full;
        if tail > 0 {
            let (mut c, mut s) = ([0.0f32; 8], [0.0f32; 8]);
            std::ptr::copy_nonoverlapping(cos.add(full), c.as_mut_ptr(), tail);
            std::ptr::copy_nonoverlapping(sin.add(full), s.as_mut_ptr(), tail);
            let v: L = load_n(x.add(2 * full), 2 * tail);
            let s = L::load_twice(s.as_ptr()).mul(signs);
            let y = v.fma(L::load_twice(c.as_ptr()), v.swap_pairs().mul(s));
            store_n(y, x.add(2 * full), 2 * tail);
        }
    }
}

/// Pairs are `(x[i], x[i + cos.len()])`.
#[inline(always)]
pub(super) unsafe fn rope_half_split<L: Lanes>(rope: &mut Rope<'_>) {
    let pairs = rope.cos.len();
    let (x, cos, sin) = (rope.x.as_mut_ptr(), rope.cos.as_ptr(), rope.sin.as_ptr());
    let full = pairs / 16 * 16;
    // SAFETY: as above.
    unsafe {
        for i in (0..full).step_by(16) {
            let (a, b) = (L::load(x.add(i)), L::load(x.add(pairs + i)));
            let (a, b) = rotate(a, b, L::load(cos.add(i)), L::load(sin.add(i)));
            a.store(x.add(i));
            b.store(x.add(pairs + i));
        }
        let tail = pairs - full;
        if tail > 0 {
            let (low, high) = (x.add(full), x.add(pairs + full));
            let (c, s) = (load_n(cos.add(full), tail), load_n(sin.add(full), tail));
            let (a, b) = rotate::<L>(load_n(low, tail), load_n(high, tail), c, s);
            store_n(a, low, tail);
            store_n(b, high, tail);
        }
    }
}

#[inline(always)]
unsafe fn rotate<L: Lanes>(a: L, b: L, c: L, s: L) -> (L, L) {
    // SAFETY: the caller has the features of `L`. Multiplying by -s is subtracting the product, without a change of bits.
    unsafe { (a.fma(c, b.mul(L::splat(0.0).sub(s))), b.fma(c, a.mul(s))) }
}
