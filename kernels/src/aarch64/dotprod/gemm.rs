//! The inner loop of GEMM with `sdot`: two rows of packed tiles times four columns, one group per turn.
//!
//! Written out, because here every instruction counts: four vectors come by one `ld1`, every pointer moves with a load, and
//! all 32 registers are spoken for. Instructions per 8 x 32 weights times 4 columns (1024 multiply-adds):
//!
//! | instruction | count | with sub-scales | note |
//! |---|---|---|---|
//! | sdot by element | 64 | 64 | 16 multiply-adds each: the bound of 32 per cycle of a Cortex-A76 |
//! | ld1 of four | 6 | 8 | 16 vectors of weights, and what sums start from: the bits of 1.5 * 2^23 |
//! | ldp, ldr | 7 | 7 | activations, scales of both |
//! | fsub | 8 | 16 | sums to floats, see [`to_float`](crate::aarch64::neon::dot::to_float) |
//! | fcvtl, fmul, fmla | 0 | 20 | sub-scales times sums of halves; exact, as every sum is below 2^24 |
//! | fmul, fmla | 16 | 16 | the float step, lanes are rows |
//!
//! Sub-scales multiply floats because integer `mul` and `mla` take one of the two vector pipes for two cycles.

use crate::aarch64::neon::gemm::VALUES;
use crate::aarch64::neon::tile::{Class, Tile};
use crate::format::GROUP;
use crate::matrix::QuantizedRows;
use std::arch::aarch64::*;
use std::arch::asm;

/// 16 weights of four rows in v24-v27 times 16 activations of four columns.
macro_rules! sdot {
    ($s0:literal $s1:literal $s2:literal $s3:literal, $x0:literal $x1:literal $x2:literal $x3:literal) => {
        concat!(
            sdot!(@ 24 0, $s0 $s1 $s2 $s3, $x0 $x1 $x2 $x3),
            sdot!(@ 25 1, $s0 $s1 $s2 $s3, $x0 $x1 $x2 $x3),
            sdot!(@ 26 2, $s0 $s1 $s2 $s3, $x0 $x1 $x2 $x3),
            sdot!(@ 27 3, $s0 $s1 $s2 $s3, $x0 $x1 $x2 $x3),
        )
    };
    (@ $w:literal $j:literal, $($s:literal)*, $($x:literal)*) => {
        concat!($("sdot v", $s, ".4s, v", $w, ".16b, v", $x, ".4b[", $j, "]\n"),*)
    };
}

/// `$op` of three vectors of four floats, once per column.
macro_rules! each_column {
    ($op:literal: $($to:literal, $a:literal, $b:literal);*) => {
        concat!($($op, " v", $to, ".4s, v", $a, ".4s, v", $b, "\n"),*)
    };
}

/// Activations of four columns to v0-v7 (low, high), their scales to v29.
macro_rules! columns {
    () => {
        "ldp q0, q1, [{x0}], #32
        ldp q2, q3, [{x1}], #32
        ldp q4, q5, [{x2}], #32
        ldp q6, q7, [{x3}], #32
        ldr q29, [{side}], #48"
    };
}

/// The chain of contract section 2 without mins over all groups: [`crate::aarch64::neon::dot::Dot::multiply`] for 2 x 4.
///
/// # Safety
/// The CPU has `dotprod`; each of `tiles` points to as many packed tiles as `x` has groups, at least one; columns
/// `c0 .. c0 + 4` exist and `side` is filled for them.
#[inline(always)]
pub(super) unsafe fn multiply<C: Class>(
    tiles: [*const Tile; 2],
    x: &QuantizedRows<'_>,
    c0: usize,
    side: *const f32,
) -> [[float32x4_t; 4]; 2] {
    const {
        assert!(size_of::<Tile>() == 192 && std::mem::offset_of!(Tile, d) == 128);
        assert!(std::mem::offset_of!(Tile, s) == 144 && VALUES * 4 * size_of::<f32>() == 48);
    }
    // The bits of 1.5 * 2^23. A sum without sub-scales is small for every class, and so are sums of halves.
    const { assert!(C::CODES.max_scale != 0 || C::CODES.small()) };
    static START: [[i32; 4]; 4] = [[0x4b40_0000; 4]; 4];
    let groups = x.k() / GROUP;
    let mut q = x.q.as_ptr().wrapping_add(c0 * groups * GROUP);
    let mut next = || {
        let column = q;
        q = q.wrapping_add(groups * GROUP);
        column
    };
    let (x0, x1, x2, x3) = (next(), next(), next(), next());
    // SAFETY: NEON is part of the aarch64 baseline.
    let zero = unsafe { vdupq_n_f32(0.0) };
    let mut acc = [[zero; 4]; 2];
    let [[a0, a1, a2, a3], [b0, b1, b2, b3]] = &mut acc;
    macro_rules! run {
        ($($code:expr),*) => {
            // SAFETY: reads the caller's tiles, columns and side, and START. Each turn moves the pointers by one group.
            unsafe {
                asm!(
                    ".arch_extension dotprod", "2:", $($code,)* "subs {n}, {n}, #1", "b.ne 2b",
                    t0 = inout(reg) tiles[0] => _, t1 = inout(reg) tiles[1] => _, side = inout(reg) side => _,
                    x0 = inout(reg) x0 => _, x1 = inout(reg) x1 => _, x2 = inout(reg) x2 => _, x3 = inout(reg) x3 => _,
                    n = inout(reg) groups => _, start = in(reg) START.as_ptr(),
                    inout("v8") *a0, inout("v9") *a1, inout("v10") *a2, inout("v11") *a3,
                    inout("v12") *b0, inout("v13") *b1, inout("v14") *b2, inout("v15") *b3,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
                    out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    in("v28") vdupq_n_f32(12_582_912.0),
                    out("v29") _, out("v30") _, out("v31") _,
                    options(readonly, nostack),
                )
            }
        };
    }
    if C::CODES.max_scale == 0 {
        run!(
            columns!(),
            "ld1 {{v16.4s-v19.4s}}, [{start}]",
            "ld1 {{v24.16b-v27.16b}}, [{t0}], #64",
            sdot!(16 17 18 19, 0 2 4 6),
            "ld1 {{v20.4s-v23.4s}}, [{start}]",
            "ld1 {{v24.16b-v27.16b}}, [{t1}], #64",
            sdot!(20 21 22 23, 0 2 4 6),
            "ld1 {{v24.16b-v27.16b}}, [{t0}], #64",
            sdot!(16 17 18 19, 1 3 5 7),
            "ld1 {{v24.16b-v27.16b}}, [{t1}], #64",
            sdot!(20 21 22 23, 1 3 5 7),
            "ldr q30, [{t0}], #64",
            "ldr q31, [{t1}], #64",
            each_column!("fmul": 0, 30, "29.s[0]"; 1, 30, "29.s[1]"; 2, 30, "29.s[2]"; 3, 30, "29.s[3]"),
            each_column!("fmul": 4, 31, "29.s[0]"; 5, 31, "29.s[1]"; 6, 31, "29.s[2]"; 7, 31, "29.s[3]"),
            each_column!("fsub": 16, 16, "28.4s"; 17, 17, "28.4s"; 18, 18, "28.4s"; 19, 19, "28.4s"),
            each_column!("fmla": 8, 0, "16.4s"; 9, 1, "17.4s"; 10, 2, "18.4s"; 11, 3, "19.4s"),
            each_column!("fsub": 20, 20, "28.4s"; 21, 21, "28.4s"; 22, 22, "28.4s"; 23, 23, "28.4s"),
            each_column!("fmla": 12, 4, "20.4s"; 13, 5, "21.4s"; 14, 6, "22.4s"; 15, 7, "23.4s")
        );
    } else {
        macro_rules! tile {
            ($t:literal, $a0:literal $a1:literal $a2:literal $a3:literal) => {
                concat!(
                    "ld1 {{v16.4s-v19.4s}}, [{start}]\n",
                    "ld1 {{v24.16b-v27.16b}}, [{", $t, "}], #64\n",
                    sdot!(16 17 18 19, 0 2 4 6),
                    "ld1 {{v20.4s-v23.4s}}, [{start}]\n",
                    "ld1 {{v24.16b-v27.16b}}, [{", $t, "}], #64\n",
                    sdot!(20 21 22 23, 1 3 5 7),
                    "ldp q31, q30, [{", $t, "}], #64\n",
                    each_column!("fsub": 16, 16, "28.4s"; 17, 17, "28.4s"; 18, 18, "28.4s"; 19, 19, "28.4s"),
                    "fcvtl v24.4s, v30.4h\n",
                    "fcvtl2 v25.4s, v30.8h\n",
                    each_column!("fsub": 20, 20, "28.4s"; 21, 21, "28.4s"; 22, 22, "28.4s"; 23, 23, "28.4s"),
                    each_column!("fmul": 16, 16, "24.4s"; 17, 17, "24.4s"; 18, 18, "24.4s"; 19, 19, "24.4s"),
                    each_column!("fmla": 16, 20, "25.4s"; 17, 21, "25.4s"; 18, 22, "25.4s"; 19, 23, "25.4s"),
                    each_column!("fmul": 20, 31, "29.s[0]"; 21, 31, "29.s[1]"; 22, 31, "29.s[2]"; 23, 31, "29.s[3]"),
                    each_column!("fmla": $a0, 20, "16.4s"; $a1, 21, "17.4s"; $a2, 22, "18.4s"; $a3, 23, "19.4s"),
                )
            };
        }
        run!(columns!(), tile!("t0", 8 9 10 11), tile!("t1", 12 13 14 15));
    }
    acc
}
