//! Loads that several formats share: four rows at once, lanes are rows.

use super::tile::Rows;
use std::arch::aarch64::*;

/// `[{ let i = 0; e }, { let i = 1; e }, …]`: an array whose elements are written out. Closures over arrays (`from_fn`,
/// `map`) are not always inlined in bodies as long as a kernel's, and then everything goes through memory.
macro_rules! each {
    (2, $i:ident => $e:expr) => { each!(@ $i => $e; 0 1) };
    (4, $i:ident => $e:expr) => { each!(@ $i => $e; 0 1 2 3) };
    (8, $i:ident => $e:expr) => { each!(@ $i => $e; 0 1 2 3 4 5 6 7) };
    (@ $i:ident => $e:expr; $($n:literal)*) => { [$({ let $i: usize = $n; $e }),*] };
}
pub(crate) use each;

/// 16 bytes at `offset` of row `r`.
///
/// # Safety
/// They are readable.
#[inline(always)]
pub(super) unsafe fn bytes(rows: &Rows, r: usize, offset: usize) -> uint8x16_t {
    // SAFETY: the caller's.
    unsafe { vld1q_u8(rows[r].add(offset)) }
}

/// The 4 bytes at `offset` of each row.
///
/// # Safety
/// They are readable.
#[inline(always)]
pub(super) unsafe fn words(rows: &Rows, offset: usize) -> uint32x4_t {
    // SAFETY: the caller's 4 bytes.
    let w = each!(4, r => unsafe { rows[r].add(offset).cast::<u32>().read_unaligned() });
    // SAFETY: 16 bytes.
    unsafe { vld1q_u32(w.as_ptr()) }
}

/// Four f16, widened.
#[inline(always)]
pub(crate) fn widen_f16(bits: uint16x4_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: fcvtl is ARMv8.0; it has no effect but its result. The f16 vector type is not stable in std.
    unsafe {
        std::arch::asm!("fcvtl {o:v}.4s, {i:v}.4h", o = lateout(vreg) out, i = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The f16 of four integers of at most 11 bits, as bits.
#[inline(always)]
pub(crate) fn narrow_f16(v: float32x4_t) -> int16x4_t {
    let out: int16x4_t;
    // SAFETY: fcvtn is ARMv8.0; it has no effect but its result.
    unsafe {
        std::arch::asm!("fcvtn {o:v}.4h, {i:v}.4s", o = lateout(vreg) out, i = in(vreg) v,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The f16 at `offset` of each row, widened.
///
/// # Safety
/// Its 2 bytes are readable.
#[inline(always)]
pub(super) unsafe fn f16(rows: &Rows, offset: usize) -> float32x4_t {
    // SAFETY: the caller's 2 bytes.
    let half = |r: usize| u64::from(unsafe { rows[r].add(offset).cast::<u16>().read_unaligned() });
    f16_lanes(each!(4, r => half(r)))
}

/// One f16 per row, in the low 16 bits, widened.
#[inline(always)]
pub(super) fn f16_lanes(half: [u64; 4]) -> float32x4_t {
    let mut bits = half[0] | half[1] << 16 | half[2] << 32 | half[3] << 48;
    // Combined in general registers: the compiler would load lane by lane, which takes the NEON pipes and a chain of three
    // loads. The empty assembly hides from it where the bits came from.
    // SAFETY: no instruction; the value comes out as it went in.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) bits, options(pure, nomem, nostack, preserves_flags)) };
    // SAFETY: NEON is part of the aarch64 baseline.
    widen_f16(unsafe { vcreate_u16(bits) })
}

/// Unsigned 32-bit lanes as floats.
#[inline(always)]
pub(super) fn float(v: uint32x4_t) -> float32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { vcvtq_f32_u32(v) }
}

/// `v >> shift & mask` in every byte.
#[inline(always)]
pub(super) fn field(v: uint8x16_t, shift: usize, mask: u8) -> uint8x16_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        let shifted = match shift {
            0 => v,
            1 => vshrq_n_u8::<1>(v),
            2 => vshrq_n_u8::<2>(v),
            3 => vshrq_n_u8::<3>(v),
            4 => vshrq_n_u8::<4>(v),
            5 => vshrq_n_u8::<5>(v),
            6 => vshrq_n_u8::<6>(v),
            _ => vshrq_n_u8::<7>(v),
        };
        if mask == 0xff >> shift { shifted } else { vandq_u8(shifted, vdupq_n_u8(mask)) }
    }
}

/// `v` with the bits of `mask` taken from `bits` shifted left by `left` (right where negative).
///
/// `bit` does in one instruction what the compiler would rewrite as two, knowing those bits of `v` to be clear.
#[inline(always)]
pub(super) fn insert(v: uint8x16_t, bits: uint8x16_t, left: i32, mask: u8) -> uint8x16_t {
    // SAFETY: NEON is part of the aarch64 baseline; `bit` has no effect but its result.
    unsafe {
        let bits = match left {
            4 => vshlq_n_u8::<4>(bits),
            3 => vshlq_n_u8::<3>(bits),
            2 => vshlq_n_u8::<2>(bits),
            1 => vshlq_n_u8::<1>(bits),
            -1 => vshrq_n_u8::<1>(bits),
            -2 => vshrq_n_u8::<2>(bits),
            -3 => vshrq_n_u8::<3>(bits),
            -4 => vshrq_n_u8::<4>(bits),
            -5 => vshrq_n_u8::<5>(bits),
            _ => bits,
        };
        insert_masked(v, bits, vdupq_n_u8(mask))
    }
}

/// `v` with the bits of `mask` taken from `bits`.
#[inline(always)]
pub(super) fn insert_masked(mut v: uint8x16_t, bits: uint8x16_t, mask: uint8x16_t) -> uint8x16_t {
    // SAFETY: NEON is part of the aarch64 baseline; `bit` has no effect but its result.
    unsafe {
        std::arch::asm!("bit {v:v}.16b, {b:v}.16b, {m:v}.16b", v = inout(vreg) v, b = in(vreg) bits,
            m = in(vreg) mask, options(pure, nomem, nostack, preserves_flags));
    }
    v
}

/// `BYTE` in every byte, by an instruction that the compiler does not know: what it does know it makes anew, which takes a
/// vector pipe, where it would have to load it.
#[inline(always)]
pub(super) fn kept_byte<const BYTE: u8>() -> uint8x16_t {
    let out;
    // SAFETY: NEON is part of the aarch64 baseline; `movi` has no effect but its result.
    unsafe {
        std::arch::asm!("movi {o:v}.16b, {b}", o = out(vreg) out, b = const BYTE,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

macro_rules! shift_insert {
    ($(#[$doc:meta])* $name:ident($into:ident, $from:ident), $instruction:literal) => {
        $(#[$doc])*
        ///
        /// Assembler for the same reason as in [`insert`].
        #[inline(always)]
        pub(super) fn $name(mut $into: uint8x16_t, $from: uint8x16_t) -> uint8x16_t {
            // SAFETY: NEON is part of the aarch64 baseline; the instruction has no effect but its result.
            unsafe {
                std::arch::asm!(concat!($instruction, " {i:v}.16b, {f:v}.16b, #4"), i = inout(vreg) $into,
                    f = in(vreg) $from, options(pure, nomem, nostack, preserves_flags));
            }
            $into
        }
    };
}

shift_insert! {
    /// The low nibbles of `high` above the low nibbles of `low`.
    nibbles_above(low, high), "sli"
}
shift_insert! {
    /// The high nibbles of `low` below the high nibbles of `high`.
    nibbles_below(high, low), "sri"
}

/// 16 bytes per row, seen as 4 words, transposed: lanes are rows.
#[inline(always)]
pub(super) fn transpose_words(rows: [uint8x16_t; 4]) -> [uint32x4_t; 4] {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        let r = each!(4, i => vreinterpretq_u32_u8(rows[i]));
        let (even, odd) = (
            (vzip1q_u32(r[0], r[2]), vzip2q_u32(r[0], r[2])),
            (vzip1q_u32(r[1], r[3]), vzip2q_u32(r[1], r[3])),
        );
        [
            vzip1q_u32(even.0, odd.0),
            vzip2q_u32(even.0, odd.0),
            vzip1q_u32(even.1, odd.1),
            vzip2q_u32(even.1, odd.1),
        ]
    }
}

/// 16 bytes per row, seen as 8 pairs, transposed: result `g` holds pair `g` of rows 0, 1, 2, 3.
#[inline(always)]
pub(super) fn transpose_pairs(rows: [uint8x16_t; 4]) -> [uint8x8_t; 8] {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        let r = each!(4, i => vreinterpretq_u16_u8(rows[i]));
        let (even, odd) = (
            (vzip1q_u16(r[0], r[2]), vzip2q_u16(r[0], r[2])),
            (vzip1q_u16(r[1], r[3]), vzip2q_u16(r[1], r[3])),
        );
        let quads = [
            vzip1q_u16(even.0, odd.0),
            vzip2q_u16(even.0, odd.0),
            vzip1q_u16(even.1, odd.1),
            vzip2q_u16(even.1, odd.1),
        ];
        let quads = each!(4, i => vreinterpretq_u8_u16(quads[i]));
        each!(8, g => if g.is_multiple_of(2) { vget_low_u8(quads[g / 2]) } else { vget_high_u8(quads[g / 2]) })
    }
}
