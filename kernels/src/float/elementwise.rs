//! Activations, additions, softcap and softmax: contract section 7.

use super::lanes::{Lanes, load_n, store_n};
use super::math;

/// The activation functions of feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + exp(-x))`
    Silu,
    /// GELU by the tanh approximation, computed as `x / (1 + exp(-2u))`.
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// `max(0, x)`
    Relu,
    /// `max(0, x)^2`
    Relu2,
}

/// A function of one value, or of two. A trait and not a closure, because only functions can be forced inline into the
/// caller that has the tier's features.
trait Map: Copy {
    unsafe fn at<L: Lanes>(self, x: L) -> L;
}
trait Zip: Copy {
    unsafe fn at<L: Lanes>(self, x: L, y: L) -> L;
}

macro_rules! map {
    ($name:ident, $self:ident, $x:ident => $body:expr) => {
        impl Map for $name {
            #[inline(always)]
            unsafe fn at<L: Lanes>($self, $x: L) -> L {
                // SAFETY: the caller has the features of `L`.
                unsafe { $body }
            }
        }
    };
}
macro_rules! zip {
    ($name:ty $(where $M:ident)?, $self:ident, $x:ident, $y:ident => $body:expr) => {
        impl $(<$M: Map>)? Zip for $name {
            #[inline(always)]
            unsafe fn at<L: Lanes>($self, $x: L, $y: L) -> L {
                // SAFETY: the caller has the features of `L`.
                unsafe { $body }
            }
        }
    };
}

/// `x[i] = f(x[i])`
#[inline(always)]
unsafe fn map<L: Lanes>(f: impl Map, x: *mut f32, n: usize) {
    let full = n / 16 * 16;
    // SAFETY: `x` has `n` values.
    unsafe {
        for i in (0..full).step_by(16) {
            f.at(L::load(x.add(i))).store(x.add(i));
        }
        if full < n {
            store_n(f.at(load_n::<L>(x.add(full), n - full)), x.add(full), n - full);
        }
    }
}

/// `x[i] = f(x[i], y[i])`
#[inline(always)]
unsafe fn zip<L: Lanes>(f: impl Zip, x: *mut f32, y: *const f32, n: usize) {
    let full = n / 16 * 16;
    // SAFETY: `x` and `y` have `n` values.
    unsafe {
        for i in (0..full).step_by(16) {
            f.at(L::load(x.add(i)), L::load(y.add(i))).store(x.add(i));
        }
        if full < n {
            let (a, b) = (load_n::<L>(x.add(full), n - full), load_n::<L>(y.add(full), n - full));
            store_n(f.at(a, b), x.add(full), n - full);
        }
    }
}

#[derive(Clone, Copy)]
struct Silu;
map!(Silu, self, x => x.div(L::splat(1.0).add(math::exp(L::splat(0.0).sub(x)))));

#[derive(Clone, Copy)]
struct GeluTanh;
map!(GeluTanh, self, x => {
    let u = L::splat(0.797_884_6).mul(L::splat(0.044_715).mul(x).mul(x).fma(x, x));
    x.div(L::splat(1.0).add(math::exp(L::splat(-2.0).mul(u))))
});

#[derive(Clone, Copy)]
struct GeluErf;
map!(GeluErf, self, x => {
    let e = math::erf(x.mul(L::splat(std::f32::consts::FRAC_1_SQRT_2)));
    L::splat(0.5).mul(x).mul(L::splat(1.0).add(e))
});

#[derive(Clone, Copy)]
struct Relu;
map!(Relu, self, x => L::splat(0.0).max(x));

#[derive(Clone, Copy)]
struct Relu2;
map!(Relu2, self, x => { let r = L::splat(0.0).max(x); r.mul(r) });

#[derive(Clone, Copy)]
struct Exp;
map!(Exp, self, x => math::exp(x));

#[derive(Clone, Copy)]
struct Tanh;
map!(Tanh, self, x => math::tanh(x));

#[derive(Clone, Copy)]
struct Erf;
map!(Erf, self, x => math::erf(x));

#[derive(Clone, Copy)]
struct Scale(f32);
map!(Scale, self, x => x.mul(L::splat(self.0)));

#[derive(Clone, Copy)]
struct Softcap(f32);
map!(Softcap, self, x => L::splat(self.0).mul(math::tanh(x.div(L::splat(self.0)))));

#[derive(Clone, Copy)]
struct ExpMinus(f32);
map!(ExpMinus, self, x => math::exp(x.sub(L::splat(self.0))));

#[derive(Clone, Copy)]
struct Add;
zip!(Add, self, x, y => x.add(y));

#[derive(Clone, Copy)]
struct AddScaled(f32);
zip!(AddScaled, self, x, y => x.add(y.mul(L::splat(self.0))));

#[derive(Clone, Copy)]
struct Gated<M>(M);
zip!(Gated<M> where M, self, g, u => self.0.at(g).mul(u));

#[inline(always)]
pub(super) unsafe fn activate<L: Lanes>(a: Activation, x: *mut f32, n: usize) {
    // SAFETY: the caller's (here and below; see `float_kernels`).
    unsafe {
        match a {
            Activation::Silu => map::<L>(Silu, x, n),
            Activation::GeluTanh => map::<L>(GeluTanh, x, n),
            Activation::GeluErf => map::<L>(GeluErf, x, n),
            Activation::Relu => map::<L>(Relu, x, n),
            Activation::Relu2 => map::<L>(Relu2, x, n),
        }
    }
}

#[inline(always)]
pub(super) unsafe fn activate_mul<L: Lanes>(a: Activation, gate: *mut f32, up: *const f32, n: usize) {
    // SAFETY: as above.
    unsafe {
        match a {
            Activation::Silu => zip::<L>(Gated(Silu), gate, up, n),
            Activation::GeluTanh => zip::<L>(Gated(GeluTanh), gate, up, n),
            Activation::GeluErf => zip::<L>(Gated(GeluErf), gate, up, n),
            Activation::Relu => zip::<L>(Gated(Relu), gate, up, n),
            Activation::Relu2 => zip::<L>(Gated(Relu2), gate, up, n),
        }
    }
}

#[inline(always)]
pub(super) unsafe fn exp<L: Lanes>(x: *mut f32, n: usize) {
    // SAFETY: as above.
    unsafe { map::<L>(Exp, x, n) }
}

#[inline(always)]
pub(super) unsafe fn tanh<L: Lanes>(x: *mut f32, n: usize) {
    // SAFETY: as above.
    unsafe { map::<L>(Tanh, x, n) }
}

#[inline(always)]
pub(super) unsafe fn erf<L: Lanes>(x: *mut f32, n: usize) {
    // SAFETY: as above.
    unsafe { map::<L>(Erf, x, n) }
}

#[inline(always)]
pub(super) unsafe fn add<L: Lanes>(x: *mut f32, y: *const f32, n: usize) {
    // SAFETY: as above.
    unsafe { zip::<L>(Add, x, y, n) }
}

#[inline(always)]
pub(super) unsafe fn add_scaled<L: Lanes>(x: *mut f32, y: *const f32, s: f32, n: usize) {
    // SAFETY: as above.
    unsafe { zip::<L>(AddScaled(s), x, y, n) }
}

#[inline(always)]
pub(super) unsafe fn scale<L: Lanes>(x: *mut f32, s: f32, n: usize) {
    // SAFETY: as above.
    unsafe { map::<L>(Scale(s), x, n) }
}

#[inline(always)]
pub(super) unsafe fn softcap<L: Lanes>(x: *mut f32, cap: f32, n: usize) {
    // SAFETY: as above.
    unsafe { map::<L>(Softcap(cap), x, n) }
}

/// Maximum over sixteen strided lanes, `exp(x - max)`, their strided sum, times its reciprocal.
#[inline(always)]
pub(super) unsafe fn softmax<L: Lanes>(x: *mut f32, n: usize) {
    let full = n / 16 * 16;
    // SAFETY: `x` has `n` values.
    unsafe {
        let mut max = L::splat(f32::NEG_INFINITY);
        for i in (0..full).step_by(16) {
            max = L::load(x.add(i)).max(max);
        }
        if full < n {
            let mut tail = [f32::NEG_INFINITY; 16];
            std::ptr::copy_nonoverlapping(x.add(full), tail.as_mut_ptr(), n - full);
            max = L::load(tail.as_ptr()).max(max);
        }
        map::<L>(ExpMinus(max.max_of_all()), x, n);
        let mut sum = L::splat(0.0);
        for i in (0..full).step_by(16) {
            sum = sum.add(L::load(x.add(i)));
        }
        if full < n {
            sum = sum.add(load_n(x.add(full), n - full));
        }
        map::<L>(Scale(1.0 / sum.sum()), x, n);
    }
}
