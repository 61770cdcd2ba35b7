//! [`FloatTable`]: the float kernels of one tier, all instantiated by one line of [`float_table`].
//!
//! A kernel is a generic `#[inline(always)]` function over [`super::lanes::Lanes`]. Instantiated inside a function with the tier's
//! `#[target_feature]`s, it is compiled with them. Adding a tier takes a `Lanes` and one `float_table!` line;
//! adding a kernel takes one line of [`float_kernels`].

use super::attention::Page;
use super::elementwise::Activation;
use super::fold::Fold;
use super::kv::Store;
use super::rope::Rope;
use crate::matrix::{MatMut, Matrix};

/// The one list of float kernels, handed to the macro `$then` after its own arguments.
///
/// Safety of all: the tier is usable; pointers are valid for the `usize` values that follow them; shapes are
/// checked by the methods of `Kernels` that call them. `src` and `dst` of norms may be equal.
macro_rules! float_kernels {
    ($then:ident!($($arg:tt)*)) => {
        $then! {
            ($($arg)*)
            /// `y[c][r] = dot(w[r], x[c])`, `x` is `[y.n()][w.cols()]`.
            matmul: matmul(w: &Matrix<'_>, x: *const f32, y: &mut MatMut<'_>);
            /// `src`, weight, eps, `dst`.
            rms_norm: norm(src: *const f32, w: Option<&[f32]>, eps: f32, dst: *mut f32, n: usize);
            /// `src`, weight, bias, eps, `dst`.
            layer_norm: norm(src: *const f32, w: Option<&[f32]>, b: Option<&[f32]>, eps: f32, dst: *mut f32, n: usize);
            rope_interleaved: rope(rope: &mut Rope<'_>);
            rope_half_split: rope(rope: &mut Rope<'_>);
            activate: elementwise(a: Activation, x: *mut f32, n: usize);
            activate_mul: elementwise(a: Activation, gate: *mut f32, up: *const f32, n: usize);
            exp: elementwise(x: *mut f32, n: usize);
            tanh: elementwise(x: *mut f32, n: usize);
            erf: elementwise(x: *mut f32, n: usize);
            add: elementwise(x: *mut f32, y: *const f32, n: usize);
            add_scaled: elementwise(x: *mut f32, y: *const f32, s: f32, n: usize);
            scale: elementwise(x: *mut f32, s: f32, n: usize);
            softcap: elementwise(x: *mut f32, cap: f32, n: usize);
            softmax: elementwise(x: *mut f32, n: usize);
            store_kv: kv(store: &mut Store<'_>);
            attention_page: attention(page: &mut Page<'_>);
            attention_fold: fold(fold: &mut Fold<'_>);
            /// `l`, `o`, values per row of `o`, result, values per row of it.
            attention_finish: fold(l: &[f32], o: &[f32], dim: usize, out: &mut [f32], value_dim: usize);
        }
    };
}
pub(crate) use float_kernels;

macro_rules! define_struct {
    (() $($(#[$doc:meta])* $name:ident: $module:ident($($arg:ident: $ty:ty),*);)*) => {
        /// The float kernels of one tier. See [`float_kernels`] for what each does and for their safety.
        pub(crate) struct FloatTable {
            $($(#[$doc])* pub(super) $name: unsafe fn($($ty),*),)*
        }

        impl FloatTable {
            /// Whether all kernels are those of `other`.
            pub(crate) fn equals(&self, other: &FloatTable) -> bool {
                $(core::ptr::fn_addr_eq(self.$name, other.$name))&&*
            }
        }
    };
}
float_kernels!(define_struct!());

/// `float_table!(name, Lanes type, [attributes of every function])` defines the function that gives the table.
///
/// A function and not a static or constant: those are compiled into every program that contains this crate's code, with all
/// that they refer to, and so into the unit tests, which need none of it.
macro_rules! float_table {
    ($table:ident, $lanes:ty, $attrs:tt) => {
        $crate::float::table::float_kernels!(define_table!($table, $lanes, $attrs));
    };
}

macro_rules! define_table {
    (($table:ident, $lanes:ty, $attrs:tt) $($(#[$doc:meta])* $name:ident: $module:ident($($arg:ident: $ty:ty),*);)*) => {
        pub(crate) const fn $table() -> &'static FloatTable {
            $(instantiate!($attrs $name, $module, $lanes, $($arg: $ty),*);)*
            const { &FloatTable { $($name),* } }
        }
    };
}

macro_rules! instantiate {
    ([$($attr:tt)*] $name:ident, $module:ident, $lanes:ty, $($arg:ident: $ty:ty),*) => {
        $($attr)*
        unsafe fn $name($($arg: $ty),*) {
            // SAFETY: the caller's, passed on.
            unsafe { super::$module::$name::<$lanes>($($arg),*) }
        }
    };
}

float_table!(scalar, super::lanes::Array16, []);
#[cfg(target_arch = "x86_64")]
float_table!(avx2, super::lanes::avx2::Ymm2, [#[target_feature(enable = "avx2,fma,f16c")]]);
#[cfg(target_arch = "x86_64")]
float_table!(avx512, super::lanes::avx512::Zmm, [#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]]);
#[cfg(target_arch = "aarch64")]
float_table!(neon, super::lanes::neon::Q4, [#[target_feature(enable = "neon")]]);
