//! What the drivers read of the activations: one group of a column at a time.

use super::dot::Dot;
use super::tile::Codes;
use crate::format::{GROUP, Mins};
use crate::matrix::QuantizedRows;
use std::arch::aarch64::*;

/// What GEMV reads of a column and a group only: `[n][groups]` of each, column after column.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Side {
    /// `dx * sum` of the group, or of its halves: what the mins are multiplied by.
    pub sums: [f32; 2],
    /// [`Dot::bias`] twice over, each in the first lane of a vector that sums start from.
    pub start: [[i32; 4]; 4],
}

/// Fills `side` for columns `c0 .. c0 + n`.
///
/// # Safety
/// `side` has room for `n` times the groups of `x`; the columns exist.
pub(crate) unsafe fn fill_side<D: Dot>(
    x: &QuantizedRows<'_>,
    c0: usize,
    n: usize,
    mins: Mins,
    codes: Codes,
    side: *mut Side,
) {
    let groups = x.k() / GROUP;
    for i in 0..n * groups {
        let at = c0 * groups + i;
        let (low, high) = (i32::from(x.sums[2 * at]), i32::from(x.sums[2 * at + 1]));
        let sums = side_sums(x, at, mins);
        // SAFETY: the caller's n * groups elements.
        unsafe {
            let [a, b] = D::bias(codes, low, high).map(|b| [b, 0, 0, 0]);
            side.add(i).write(Side { sums, start: [a, b, a, b] });
        }
    }
}

/// [`Side::sums`] of group `at` within all columns.
#[inline]
pub(crate) fn side_sums(x: &QuantizedRows<'_>, at: usize, mins: Mins) -> [f32; 2] {
    let (dx, low, high) = (x.d[at], i32::from(x.sums[2 * at]), i32::from(x.sums[2 * at + 1]));
    match mins {
        Mins::None => [0.0; 2],
        Mins::Per32 => [dx * (low + high) as f32, 0.0],
        Mins::Per16 => [dx * low as f32, dx * high as f32],
    }
}

/// `e` for each column, written out: accumulators in a loop that is not unrolled would live in memory.
macro_rules! columns {
    ($n:expr, $c:ident => $e:expr) => { columns!(@ $n, $c => $e; 0 1 2 3 4 5 6 7) };
    (@ $n:expr, $c:ident => $e:expr; $($i:literal)*) => {$(
        if $i < $n {
            let $c: usize = $i;
            $e
        }
    )*};
}
pub(crate) use columns;

/// One group of one column.
pub(crate) struct Column<'a> {
    x: &'a QuantizedRows<'a>,
    /// Of the first column.
    side: *const Side,
    /// Group within all columns.
    at: usize,
    /// Group within the columns of `side`.
    side_at: usize,
}

impl<'a> Column<'a> {
    /// Group `g` of column `c`; `side` begins at column `c`.
    #[inline(always)]
    pub(crate) fn new(x: &'a QuantizedRows<'a>, c: usize, g: usize, side: *const Side) -> Column<'a> {
        Column { x, side, at: c * (x.k() / GROUP) + g, side_at: g }
    }

    /// The same group of the next column, once `done` is computed.
    ///
    /// Left alone, the compiler interleaves the columns and spills dozens of vectors. The empty assembly makes the next
    /// column's addresses depend on `done`, at the cost of no instruction; the CPU overlaps the columns all the same.
    #[inline(always)]
    pub(crate) fn next(&mut self, done: float32x4_t) {
        self.at += self.x.k() / GROUP;
        self.side_at += self.x.k() / GROUP;
        // SAFETY: no instruction; the index comes out as it went in.
        unsafe {
            std::arch::asm!("/* {0} {1:v} */", inout(reg) self.at, in(vreg) done,
                options(pure, nomem, nostack, preserves_flags));
        }
    }

    /// The 32 activations.
    #[inline(always)]
    pub(crate) unsafe fn q(&self) -> [int8x16_t; 2] {
        // SAFETY: the caller's group exists, and has 32 bytes.
        unsafe {
            let q = self.x.q.as_ptr().add(self.at * GROUP);
            [vld1q_s8(q), vld1q_s8(q.add(16))]
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn d(&self) -> f32 {
        // SAFETY: the caller's group exists.
        unsafe { *self.x.d.as_ptr().add(self.at) }
    }

    /// Both half sums.
    #[inline(always)]
    pub(crate) unsafe fn sums(&self) -> i32 {
        // SAFETY: the caller's group exists.
        unsafe { self.x.sums.as_ptr().cast::<i32>().add(self.at).read_unaligned() }
    }

    #[inline(always)]
    pub(crate) unsafe fn side(&self) -> &Side {
        // SAFETY: the caller's group exists, and its side is filled.
        unsafe { &*self.side.add(self.side_at) }
    }
}
