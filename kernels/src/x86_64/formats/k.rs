//! The K formats, and TQ2_0, which packs its codes as Q2_K does. Scales of a super-block of all rows are decoded once:
//! each row's scale bytes are transposed to dwords, so that one vector operation serves 4 sub-blocks of every row. Codes
//! that share bytes are split from one transposed load.

use super::super::ahead::Ahead;
use super::super::dot::{Acc, Columns};
use super::super::matmul::add_halves;
use super::super::simd::Simd;
use super::super::tile::{
    HalfFormat, Rows, Tile, TileFormat, U2SubMin, U3Minus4Sub, U4Min, U4Minus8, U5Min, U6Minus32Sub,
    high_nibbles, load_f16, load_u32, low_nibbles, transpose, transpose16,
};

/// Each of the four bytes of each dword as floats, times `d`.
#[inline(always)]
unsafe fn scaled_bytes<S: Simd>(words: S::I, d: S::F) -> [S::F; 4] {
    let mut scaled = [d; 4];
    for (i, scaled) in scaled.iter_mut().enumerate() {
        // SAFETY: the caller has the tier's features (here and below).
        unsafe {
            let byte = S::and(S::shr32(words, 8 * i as i32), S::splat32(255));
            *scaled = S::mul(d, S::to_f32(byte));
        }
    }
    scaled
}

/// `-v`, exact and for every v; `(-v) * min` is then `-(v * min)`.
#[inline(always)]
unsafe fn negate<S: Simd>(v: S::F) -> S::F {
    // SAFETY: as above.
    unsafe { S::as_f32(S::xor(S::as_i32(v), S::splat32(i32::MIN))) }
}

/// `bits & mask` after a shift of each i16 to the right.
#[inline(always)]
unsafe fn field<S: Simd>(bytes: S::I, shift: i32, mask: i8) -> S::I {
    // SAFETY: as above.
    unsafe { S::and(S::shr16(bytes, shift), S::splat8(mask)) }
}

/// `d`, `dmin` and the packed 6-bit scales and mins of Q4_K and Q5_K into all tiles.
///
/// # Safety
/// The tier's features; 16 bytes are readable in each of `rows`.
#[inline(always)]
unsafe fn scales_and_mins<S: Simd>(rows: Rows<'_>, tiles: &mut [Tile<S>; 8]) {
    // SAFETY: the caller's.
    unsafe {
        let [head, a, b, c] = transpose16::<S>(rows, 0);
        let (d, dmin) = S::split_f16(head);
        let dmin = negate::<S>(dmin);
        // Bits 6-7 of a byte go to bits 4-5 of it.
        let scales = [field::<S>(a, 0, 63), S::or(low_nibbles::<S>(c), field::<S>(a, 2, 48))];
        let mins = [field::<S>(b, 0, 63), S::or(high_nibbles::<S>(c), field::<S>(b, 2, 48))];
        for half in 0..2 {
            let (d, m) = (scaled_bytes::<S>(scales[half], d), scaled_bytes::<S>(mins[half], dmin));
            for (k, tile) in tiles[4 * half..4 * half + 4].iter_mut().enumerate() {
                tile.d = d[k];
                tile.m[0] = m[k];
            }
        }
    }
}

/// Bytes `a` and `b` of each dword as the high bytes of its two i16: shifting right then extends the sign.
#[inline(always)]
unsafe fn pick<S: Simd>(words: S::I, a: u8, b: u8) -> S::I {
    let mut index = [0x80u8; 16];
    for dword in 0..4 {
        index[4 * dword + 1] = 4 * dword as u8 + a;
        index[4 * dword + 3] = 4 * dword as u8 + b;
    }
    // SAFETY: as above.
    unsafe { S::shuffle(words, S::table(&index)) }
}

/// 16 signed sub-scales per row, the bytes of `words`, into all tiles, in the form of [`Tile::s`]; with `1 << LOG2` times them where
/// `shift == 8 - LOG2`.
#[inline(always)]
pub(super) unsafe fn sub_scales<S: Simd>(words: [S::I; 4], shift: i32, tiles: &mut [Tile<S>; 8]) {
    for (g, tile) in tiles.iter_mut().enumerate() {
        let (v, a) = (words[g / 2], 2 * (g % 2) as u8);
        // SAFETY: as above.
        unsafe {
            if S::VNNI {
                for (s, byte) in tile.s.iter_mut().zip(i32::from(a)..) {
                    *s = S::as_i32(S::to_f32(S::sra32(S::shl32(v, 24 - 8 * byte), 24)));
                }
                continue;
            }
            tile.s[0] = S::sra16(pick::<S>(v, a, a), 8);
            tile.s[1] = S::sra16(pick::<S>(v, a + 1, a + 1), 8);
            tile.o = S::sra16(pick::<S>(v, a, a + 1), shift);
        }
    }
}

/// The four 2-bit codes of each byte.
#[inline(always)]
unsafe fn two_bits<S: Simd>(bytes: S::I) -> [S::I; 4] {
    // SAFETY: as above.
    unsafe {
        [field::<S>(bytes, 0, 3), field::<S>(bytes, 2, 3), field::<S>(bytes, 4, 3), field::<S>(bytes, 6, 3)]
    }
}

/// The codes of some dwords of a part, `[group][j]`, of those of each vector of bytes. A macro, because a closure might not be inlined, and would be
/// compiled without the tier's features.
macro_rules! each {
    ($bytes:expr, |$j:pat_param, $qs:ident| $codes:expr) => {{
        let bytes = $bytes;
        let mut groups = [bytes; 4];
        for (j, $qs) in bytes.into_iter().enumerate() {
            let $j = j;
            for (group, code) in groups.iter_mut().zip($codes) {
                group[j] = code;
            }
        }
        groups
    }};
}

super_blocks! {
    /// `scales: [u8; 16], qs: [u8; 64], d: f16, dmin: f16`, `w = d * sc * q - dmin * min`.
    Q2_K: U2SubMin, 84, |rows, tiles| {
        let scales = transpose16::<S>(rows, 0);
        let (d, dmin) = S::split_f16(load_u32::<S>(rows, 80));
        let dmin = negate::<S>(dmin);
        let mut low = scales;
        for (i, v) in scales.into_iter().enumerate() {
            low[i] = low_nibbles::<S>(v);
            let m = scaled_bytes::<S>(high_nibbles::<S>(v), dmin);
            tiles[2 * i].m = [m[0], m[1]];
            tiles[2 * i + 1].m = [m[2], m[3]];
        }
        sub_scales::<S>(low, 8, tiles);
        for tile in tiles {
            tile.d = d;
        }
    }, halves(4, |part, first| {
        each!(transpose::<S, J>(rows, 16 + 32 * part + 4 * first), |_, qs| two_bits::<S>(qs))
    })

    /// `hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16`, `w = d * (sc - 32) * (q - 4)`.
    Q3_K: U3Minus4Sub, 110, |rows, tiles| {
        // The last 16 bytes: two of qs, the scales, d. The scales as dwords are two bytes further.
        let tail = transpose16::<S>(rows, 94);
        let mut words = [tail[0]; 3];
        for (i, word) in words.iter_mut().enumerate() {
            *word = S::or(S::shr32(tail[i], 16), S::shl32(tail[i + 1], 16));
        }
        let [a, b, c] = words;
        let (_, d) = S::split_f16(tail[3]);
        let high = two_bits::<S>(c);
        let mut scales = [low_nibbles::<S>(a), low_nibbles::<S>(b), high_nibbles::<S>(a), high_nibbles::<S>(b)];
        for (scale, high) in scales.iter_mut().zip(high) {
            *scale = S::sub8(S::or(*scale, S::shl16(high, 4)), S::splat8(32));
        }
        sub_scales::<S>(scales, 6, tiles);
        for tile in tiles {
            tile.d = d;
        }
    }, halves(4, |part, first| {
        let masks = transpose::<S, J>(rows, 4 * first);
        each!(transpose::<S, J>(rows, 32 + 32 * part + 4 * first), |j, qs| {
            // The part's four bits are the lowest.
            let bits = S::shr16(masks[j], 4 * part as i32);
            let bits = [S::shl16(bits, 2), S::shl16(bits, 1), bits, S::shr16(bits, 1)];
            let mut codes = two_bits::<S>(qs);
            for (code, bit) in codes.iter_mut().zip(bits) {
                *code = S::or(*code, S::and(bit, S::splat8(4)));
            }
            codes
        })
    })

    /// `d: f16, dmin: f16, scales: [u8; 12], qs: [u8; 128]`, `w = d * sc * q - dmin * min`.
    Q4_K: U4Min, 144, |rows, tiles| {
        scales_and_mins::<S>(rows, tiles);
    }, halves(2, |part, first| {
        each!(transpose::<S, J>(rows, 16 + 32 * part + 4 * first), |_, qs| {
            [low_nibbles::<S>(qs), high_nibbles::<S>(qs)]
        })
    })

    /// `d: f16, dmin: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]`, `w = d * sc * q - dmin * min`.
    Q5_K: U5Min, 176, |rows, tiles| {
        scales_and_mins::<S>(rows, tiles);
    }, halves(2, |part, first| {
        let bits = transpose::<S, J>(rows, 16 + 4 * first);
        each!(transpose::<S, J>(rows, 48 + 32 * part + 4 * first), |j, qs| {
            // The part's two bits are the lowest.
            let bits = S::shr16(bits[j], 2 * part as i32);
            let first = S::and(S::shl16(bits, 4), S::splat8(16));
            let second = S::and(S::shl16(bits, 3), S::splat8(16));
            [S::or(low_nibbles::<S>(qs), first), S::or(high_nibbles::<S>(qs), second)]
        })
    })

    /// `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16`, `w = d * sc * (q - 32)`.
    Q6_K: U6Minus32Sub, 210, |rows, tiles| {
        sub_scales::<S>(transpose16::<S>(rows, 192), 3, tiles);
        let d = load_f16::<S>(rows, 208);
        for tile in tiles {
            tile.d = d;
        }
    }, halves(4, |part, first| {
        let a = transpose::<S, J>(rows, 64 * part + 4 * first);
        let b = transpose::<S, J>(rows, 64 * part + 32 + 4 * first);
        each!(transpose::<S, J>(rows, 128 + 32 * part + 4 * first), |j, h| {
            let (a, b) = (a[j], b[j]);
            [
                S::or(low_nibbles::<S>(a), S::and(S::shl16(h, 4), S::splat8(48))),
                S::or(low_nibbles::<S>(b), S::and(S::shl16(h, 2), S::splat8(48))),
                S::or(high_nibbles::<S>(a), field::<S>(h, 0, 48)),
                S::or(high_nibbles::<S>(b), field::<S>(h, 2, 48)),
            ]
        })
    })

    /// `qs: [u8; 64], d: f16`, `w = d * (q - 1)`. Codes are `q + 7`, to share the arithmetic of Q4_0.
    TQ2_0: U4Minus8, 66, |rows, tiles| {
        let d = load_f16::<S>(rows, 64);
        for tile in tiles {
            tile.d = d;
        }
    }, halves(4, |part, first| {
        each!(transpose::<S, J>(rows, 32 * part + 4 * first), |_, qs| {
            two_bits::<S>(qs).map(|codes| S::add8(codes, S::splat8(7)))
        })
    })
}
