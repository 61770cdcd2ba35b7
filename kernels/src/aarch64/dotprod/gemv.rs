//! The inner loop of GEMV with `sdot` for formats whose blocks are an f16 scale and the codes of 32 weights: eight rows at a
//! time, two groups per turn. Scales are loaded a group ahead, each behind the row's codes: four rows' are a chain of loads into one
//! vector.
//!
//! Written out, because a third of what the compiler makes of the general loop are steps of pointers and scales on their way
//! through general registers. Here a scale is one `ld1` of a lane, the codes are one more load, and both move the row's
//! pointer. Instructions per 8 x 64 weights (512 multiply-adds), beside prefetches:
//!
//! | instruction | Q8_0 | Q4_0 | note |
//! |---|---|---|---|
//! | ldr, ld1 of scales, ldp or ldr of codes | 32 | 32 | |
//! | and, ushr | 0 | 32 | |
//! | sdot | 32 | 32 | |
//! | addp | 12 | 12 | lanes of four rows become one vector of four sums |
//! | fcvtl, fmul, fsub, fmla | 16 | 16 | lanes are rows |
//! | ld1 of four, ldr | 6 | 6 | what sums start from, activations and their scales |
//! | add, subs, b.ne | 3 | 3 | |
//!
//! The loads of lanes take a vector pipe each, so by llvm-mca's model of a Neoverse N1 the loop for Q4_0 is a little longer than one
//! with scales in general registers (0.106 cycles per multiply-add against 0.095) with a quarter fewer instructions; that for
//! Q8_0, which has vector pipes to spare, is not (0.081 against 0.087).

use crate::aarch64::neon::columns::Side;
use crate::aarch64::neon::tile::{Codes, Codes32, TileFormat};
use crate::format::iq4_nl::CODEBOOK;
use crate::format::{GROUP, Mins};
use crate::matrix::QuantizedRows;
use std::arch::aarch64::*;
use std::arch::asm;

/// Rows at a time.
pub(crate) const ROWS: usize = 8;

/// The 32 codes of the row at `$p` to v6 and v7.
macro_rules! codes {
    (bytes, $p:literal) => {
        concat!("ldp q6, q7, [{", $p, "}], #32\n")
    };
    (nibbles, $p:literal) => {
        concat!("ldr q7, [{", $p, "}], #16\n", "and v6.16b, v7.16b, v25.16b\n", "ushr v7.16b, v7.16b, #4\n")
    };
    (codebook, $p:literal) => {
        concat!(codes!(nibbles, $p), "tbl v6.16b, {{v24.16b}}, v6.16b\n", "tbl v7.16b, {{v24.16b}}, v7.16b\n")
    };
}

/// A row times the activations in `$low` and `$high`.
macro_rules! row {
    ($codes:ident, $p:literal, $sum:literal, $low:literal, $high:literal) => {
        concat!(
            codes!($codes, $p),
            "sdot v",
            $sum,
            ".4s, v6.16b, v",
            $low,
            ".16b\n",
            "sdot v",
            $sum,
            ".4s, v7.16b, v",
            $high,
            ".16b\n",
        )
    };
}

/// The scale of the row at `$p` to lane `$lane` of `$d`, as f16; nothing for a `$d` of `none`.
macro_rules! scale {
    (none, $lane:literal, $p:literal) => {
        ""
    };
    ($d:literal, 0, $p:literal) => {
        concat!("ldr h", $d, ", [{", $p, "}], #2\n")
    };
    ($d:literal, $lane:literal, $p:literal) => {
        concat!("ld1 {{v", $d, ".h}}[", $lane, "], [{", $p, "}], #2\n")
    };
}

/// The scales of four rows to `$d`.
macro_rules! scales {
    ($d:literal, $p0:literal $p1:literal $p2:literal $p3:literal) => {
        concat!(scale!($d, 0, $p0), scale!($d, 1, $p1), scale!($d, 2, $p2), scale!($d, 3, $p3))
    };
}

/// Four rows times a group, their scales being in `$d` and that of the activations in lane `$dx`. The rows' next scales, which
/// follow their codes, go to `$next`.
macro_rules! rows {
    ($codes:ident, $d:literal, $p0:literal $p1:literal $p2:literal $p3:literal, $low:literal $high:literal, $dx:literal, $start:literal, $acc:literal, $next:tt) => {
        concat!(
            "ld1 {{v20.4s-v23.4s}}, ",
            $start,
            "\n",
            row!($codes, $p0, "20", $low, $high),
            scale!($next, 0, $p0),
            row!($codes, $p1, "21", $low, $high),
            scale!($next, 1, $p1),
            row!($codes, $p2, "22", $low, $high),
            scale!($next, 2, $p2),
            row!($codes, $p3, "23", $low, $high),
            scale!($next, 3, $p3),
            "fcvtl v",
            $d,
            ".4s, v",
            $d,
            ".4h\n",
            "addp v20.4s, v20.4s, v21.4s\n",
            "addp v22.4s, v22.4s, v23.4s\n",
            "addp v20.4s, v20.4s, v22.4s\n",
            "fmul v",
            $d,
            ".4s, v",
            $d,
            ".4s, v4.s[",
            $dx,
            "]\n",
            "fsub v20.4s, v20.4s, v26.4s\n",
            "fmla v",
            $acc,
            ".4s, v",
            $d,
            ".4s, v20.4s\n",
        )
    };
}

/// Of the first four rows, scales.
macro_rules! scales_a {
    ($d:literal) => { scales!($d, "r0" "r1" "r2" "r3") };
}
/// Of the last four rows, scales.
macro_rules! scales_b {
    ($d:literal) => { scales!($d, "r4" "r5" "r6" "r7") };
}
/// Of the first four rows, the rest.
macro_rules! rows_a {
    ($codes:ident, $d:literal, $x:literal $x1:literal, $dx:literal, $next:tt) => {
        rows!($codes, $d, "r0" "r1" "r2" "r3", $x $x1, $dx, "[{start}]", "30", $next)
    };
}
/// Of the last four rows, the rest.
macro_rules! rows_b {
    ($codes:ident, $d:literal, $x:literal $x1:literal, $dx:literal, $next:tt) => {
        rows!($codes, $d, "r4" "r5" "r6" "r7", $x $x1, $dx, "[{start}], {side}", "31", $next)
    };
}

/// All rows times two groups. The first group's scales have been loaded to v5 and v16; those that follow the second group go to
/// `$next_a` and `$next_b`.
macro_rules! turn {
    ($codes:ident, [$($first:literal)*] [$($second:literal)*] [$($third:literal)*] [$($fourth:literal)*], $next_a:tt $next_b:tt) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{q}], #64\n",
            "ldr d4, [{d}], #8\n",
            lines!($($first)*),
            rows_a!($codes, "5", "0" "1", "0", "17"),
            lines!($($second)*),
            rows_b!($codes, "16", "0" "1", "0", "18"),
            lines!($($third)*),
            rows_a!($codes, "17", "2" "3", "1", $next_a),
            lines!($($fourth)*),
            "add {ahead}, {ahead}, #{step}\n",
            rows_b!($codes, "18", "2" "3", "1", $next_b),
        )
    };
}

/// Prefetches lines from `ahead` on.
macro_rules! lines {
    ($($line:literal)*) => { concat!($("prfm pldl1keep, [{ahead}, #", $line, "]\n"),*) };
}

/// The chains of contract section 2 for [`ROWS`] rows and one column, the rows' next [`ROWS`] being prefetched at `ahead`.
///
/// # Safety
/// The CPU has `dotprod`; `rows` point to rows of `x.k()` weights of format `F`; `side` is filled for the column.
#[inline(always)]
pub(crate) unsafe fn gemv<F: TileFormat>(
    rows: [*const u8; ROWS],
    ahead: *const u8,
    x: &QuantizedRows<'_>,
    side: *const Side,
) -> [float32x4_t; 2] {
    const {
        let plain = F::LEN == GROUP && matches!(F::MINS, Mins::None) && F::MAX_SCALE == 0;
        assert!(F::CODES32.is_none() || plain && Codes::loaded::<F>().small());
    }
    let mut at = rows;
    let [r0, r1, r2, r3, r4, r5, r6, r7] = &mut at;
    let groups = x.k() / GROUP;
    // SAFETY: NEON is part of the aarch64 baseline; the codebook has 16 bytes.
    let (zero, codebook) = unsafe { (vdupq_n_f32(0.0), vld1q_s8(CODEBOOK.as_ptr())) };
    let mut acc = [zero; 2];
    let [a0, a1] = &mut acc;
    // SAFETY: the caller's side is filled.
    let start = unsafe { &raw const (*side).start };
    let mut column = (x.q.as_ptr(), x.d.as_ptr(), start);
    let (q, d, start) = &mut column;
    macro_rules! run {
        ([$($operand:tt)*] $($code:expr),*) => {
            // SAFETY: reads the caller's rows, columns and side, group after group; prefetches only hint.
            unsafe {
                asm!(
                    ".arch_extension dotprod", $($code,)*
                    r0 = inout(reg) *r0, r1 = inout(reg) *r1, r2 = inout(reg) *r2, r3 = inout(reg) *r3,
                    r4 = inout(reg) *r4, r5 = inout(reg) *r5, r6 = inout(reg) *r6, r7 = inout(reg) *r7,
                    q = inout(reg) *q, d = inout(reg) *d, start = inout(reg) *start, side = in(reg) size_of::<Side>(),
                    $($operand)*
                    inout("v30") *a0, inout("v31") *a1,
                    in("v24") codebook, in("v25") vdupq_n_u8(15), in("v26") vdupq_n_f32(12_582_912.0),
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v16") _, out("v17") _, out("v18") _,
                    out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                    options(readonly, nostack),
                )
            }
        };
    }
    macro_rules! run_all {
        ($codes:ident, $($lines:tt)*) => {{
            if groups >= 2 {
                run!(
                    [n = inout(reg) groups / 2 - 1 => _, ahead = inout(reg) ahead => _, step = const 2 * ROWS * F::BYTES,]
                    scales_a!("5"), scales_b!("16"),
                    "cbz {n}, 3f",
                    "2:",
                    turn!($codes, $($lines)*, "5" "16"),
                    "subs {n}, {n}, #1",
                    "b.ne 2b",
                    // Nothing follows the last group, so nothing is loaded after it.
                    "3:",
                    turn!($codes, $($lines)*, none none)
                );
            }
            if !groups.is_multiple_of(2) {
                run!([]
                    "ldp q0, q1, [{q}], #32", "ldr s4, [{d}], #4",
                    scales_a!("5"), scales_b!("16"),
                    rows_a!($codes, "5", "0" "1", "0", none),
                    rows_b!($codes, "16", "0" "1", "0", none)
                );
            }
        }};
    }
    match F::CODES32 {
        Some(Codes32::Bytes) => run_all!(bytes, [0 64 128] [192 256] [320 384] [448 512]),
        Some(Codes32::Nibbles) => run_all!(nibbles, [0 64] [128] [192] [256]),
        Some(Codes32::Codebook) => run_all!(codebook, [0 64] [128] [192] [256]),
        None => {}
    }
    acc
}
