//! Weight formats: how GGUF stores them, and how each decodes into signed bytes and scales.
//!
//! One file per format. A format knows its on-disk block and how to decode the `g`-th group of 32 weights
//! into a [`Group`]; from that alone every kernel has a portable version (the scalar tier), and every tier a
//! default for formats it has no hand-written code for.

mod decode;
#[cfg(feature = "std")]
mod encode;
pub(crate) mod grids;
pub mod iq1_m;
pub mod iq1_s;
pub mod iq2_s;
pub mod iq2_xs;
pub mod iq2_xxs;
pub mod iq3_s;
pub mod iq3_xxs;
pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub mod tq1_0;
pub mod tq2_0;

pub use decode::{decode_groups, dequantize_row};
#[cfg(feature = "std")]
pub use encode::{encode_row, encodes};
use std::fmt;

/// Weights per group: the unit in which every format decodes and in which activations are quantized.
pub const GROUP: usize = 32;

/// Weights per super-block of the K, IQ and TQ formats.
pub const SUPER_BLOCK: usize = 256;

/// 32 decoded weights: weight `i` is `d * s[i / 16] * q[i] + m[i / 16]`.
///
/// Formats whose scale covers 32 weights have `s == [1, 1]`; formats without mins have `m == [0.0, 0.0]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Codes, signed.
    pub q: [i8; GROUP],
    /// Integer sub-scale of each half.
    pub s: [i16; 2],
    /// Scale.
    pub d: f32,
    /// Min of each half, added (so usually negative for K-quants).
    pub m: [f32; 2],
}

/// Whether a format has mins, and how many weights one min covers. Part of the numerical contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mins {
    /// No mins: `y = acc`.
    None,
    /// One per group of 32.
    Per32,
    /// One per half group of 16 (Q2_K).
    Per16,
}

/// What a quantized format is to every portable kernel.
///
/// Implemented by the `#[repr(C)]` block of each format.
pub trait Block: bytemuck::Pod {
    /// The format this block belongs to.
    const FORMAT: Format;
    /// Whether and how the format has mins.
    const MINS: Mins = Mins::None;
    /// Whether `s` is ever other than `[1, 1]`.
    const SUB_SCALES: bool = false;
    /// Weights in this block: 32 or 256.
    const LEN: usize;

    /// Decodes weights `32 * g .. 32 * g + 32` of the block; `g < LEN / 32`.
    fn group(&self, g: usize) -> Group;
}

/// A GGUF tensor type that kinglet can read. Discriminants are ggml's type numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(non_camel_case_types, missing_docs, reason = "the names are the field's own")]
#[repr(u32)]
pub enum Format {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
}

impl Format {
    /// Every format, in the order of ggml's type numbers.
    #[rustfmt::skip]
    pub const ALL: &'static [Format] = &[
        Format::F32, Format::F16, Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::Q5_1, Format::Q8_0,
        Format::Q2_K, Format::Q3_K, Format::Q4_K, Format::Q5_K, Format::Q6_K,
        Format::IQ2_XXS, Format::IQ2_XS, Format::IQ3_XXS, Format::IQ1_S, Format::IQ4_NL, Format::IQ3_S,
        Format::IQ2_S, Format::IQ4_XS, Format::IQ1_M, Format::BF16, Format::TQ1_0, Format::TQ2_0, Format::MXFP4,
    ];

    /// `(name, weights per block, bytes per block)`, the one table of formats.
    const fn facts(self) -> (&'static str, usize, usize) {
        match self {
            Format::F32 => ("F32", 1, 4),
            Format::F16 => ("F16", 1, 2),
            Format::BF16 => ("BF16", 1, 2),
            Format::Q4_0 => ("Q4_0", 32, 18),
            Format::Q4_1 => ("Q4_1", 32, 20),
            Format::Q5_0 => ("Q5_0", 32, 22),
            Format::Q5_1 => ("Q5_1", 32, 24),
            Format::Q8_0 => ("Q8_0", 32, 34),
            Format::Q2_K => ("Q2_K", 256, 84),
            Format::Q3_K => ("Q3_K", 256, 110),
            Format::Q4_K => ("Q4_K", 256, 144),
            Format::Q5_K => ("Q5_K", 256, 176),
            Format::Q6_K => ("Q6_K", 256, 210),
            Format::IQ2_XXS => ("IQ2_XXS", 256, 66),
            Format::IQ2_XS => ("IQ2_XS", 256, 74),
            Format::IQ3_XXS => ("IQ3_XXS", 256, 98),
            Format::IQ1_S => ("IQ1_S", 256, 50),
            Format::IQ4_NL => ("IQ4_NL", 32, 18),
            Format::IQ3_S => ("IQ3_S", 256, 110),
            Format::IQ2_S => ("IQ2_S", 256, 82),
            Format::IQ4_XS => ("IQ4_XS", 256, 136),
            Format::IQ1_M => ("IQ1_M", 256, 56),
            Format::TQ1_0 => ("TQ1_0", 256, 54),
            Format::TQ2_0 => ("TQ2_0", 256, 66),
            Format::MXFP4 => ("MXFP4", 32, 17),
        }
    }

    /// The name as ggml and GGUF tools print it, for instance `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Weights per block (1 for float formats).
    pub const fn block_len(self) -> usize {
        self.facts().1
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        self.facts().2
    }

    /// Whether weights are stored as floats and multiply f32 activations.
    pub const fn is_float(self) -> bool {
        matches!(self, Format::F32 | Format::F16 | Format::BF16)
    }

    /// Bytes of a row of `cols` weights, or `None` when `cols` is not a whole number of blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (_, len, bytes) = self.facts();
        cols.is_multiple_of(len).then(|| (cols / len).checked_mul(bytes)).flatten()
    }

    /// Whether and how the format has mins; [`Mins::None`] for float formats.
    pub fn mins(self) -> Mins {
        with_block!(self, B => <B as Block>::MINS, else => Mins::None)
    }

    /// The format with this ggml type number.
    pub fn from_ggml(id: u32) -> Option<Format> {
        Format::ALL.iter().copied().find(|f| *f as u32 == id)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `$body` with `$B` standing for the block type of `$format`, or `$other` for float formats.
macro_rules! with_block {
    ($format:expr, $B:ident => $body:expr, else => $other:expr) => {{
        macro_rules! arm {
            ($block:ty) => {{
                type $B = $block;
                $body
            }};
        }
        use $crate::Format as F;
        use $crate::format as f;
        match $format {
            F::Q4_0 => arm!(f::q4_0::BlockQ4_0),
            F::Q4_1 => arm!(f::q4_1::BlockQ4_1),
            F::Q5_0 => arm!(f::q5_0::BlockQ5_0),
            F::Q5_1 => arm!(f::q5_1::BlockQ5_1),
            F::Q8_0 => arm!(f::q8_0::BlockQ8_0),
            F::Q2_K => arm!(f::q2_k::BlockQ2_K),
            F::Q3_K => arm!(f::q3_k::BlockQ3_K),
            F::Q4_K => arm!(f::q4_k::BlockQ4_K),
            F::Q5_K => arm!(f::q5_k::BlockQ5_K),
            F::Q6_K => arm!(f::q6_k::BlockQ6_K),
            F::IQ4_NL => arm!(f::iq4_nl::BlockIQ4_NL),
            F::IQ4_XS => arm!(f::iq4_xs::BlockIQ4_XS),
            F::MXFP4 => arm!(f::mxfp4::BlockMXFP4),
            F::TQ1_0 => arm!(f::tq1_0::BlockTQ1_0),
            F::TQ2_0 => arm!(f::tq2_0::BlockTQ2_0),
            F::IQ1_S => arm!(f::iq1_s::BlockIQ1_S),
            F::IQ1_M => arm!(f::iq1_m::BlockIQ1_M),
            F::IQ2_XXS => arm!(f::iq2_xxs::BlockIQ2_XXS),
            F::IQ2_XS => arm!(f::iq2_xs::BlockIQ2_XS),
            F::IQ2_S => arm!(f::iq2_s::BlockIQ2_S),
            F::IQ3_XXS => arm!(f::iq3_xxs::BlockIQ3_XXS),
            F::IQ3_S => arm!(f::iq3_s::BlockIQ3_S),
            F::F32 | F::F16 | F::BF16 => $other,
        }
    }};
}
pub(crate) use with_block;

/// An f16 field, which in a file has no alignment.
#[inline]
fn f16(bytes: [u8; 2]) -> f32 {
    half::f16::from_le_bytes(bytes).to_f32()
}

/// 32 nibbles: the low ones of the 16 bytes, then the high ones.
#[inline]
fn nibbles(qs: &[u8; 16]) -> [u8; GROUP] {
    std::array::from_fn(|i| (qs[i % 16] >> (4 * (i / 16))) & 15)
}

/// [`nibbles`], weight `i` topped by bit `i` of `qh`.
#[inline]
fn with_fifth_bit(qs: &[u8; 16], qh: [u8; 4]) -> [u8; GROUP] {
    let (low, qh) = (nibbles(qs), u32::from_le_bytes(qh));
    std::array::from_fn(|i| low[i] | ((qh >> i) as u8 & 1) << 4)
}

/// The 6-bit scale and min of sub-block `g` in the 12 packed bytes of Q4_K and Q5_K.
#[inline]
fn scale_min(scales: &[u8; 12], g: usize) -> (u8, u8) {
    if g < 4 {
        (scales[g] & 63, scales[g + 4] & 63)
    } else {
        let low = scales[g + 4];
        ((low & 15) | (scales[g - 4] >> 6) << 4, (low >> 4) | (scales[g] >> 6) << 4)
    }
}

/// 32 weights from four runs of 8.
///
/// These helpers are loops because the closures of `array::map` and `from_fn` are not always inlined, which costs a
/// call for every weight.
#[inline]
fn join(mut run: impl FnMut(usize) -> [i8; 8]) -> [i8; GROUP] {
    let mut runs = [[0; 8]; 4];
    for (l, out) in runs.iter_mut().enumerate() {
        *out = run(l);
    }
    bytemuck::cast(runs)
}

/// `grid` with the weights negated whose bits are set in `signs`.
#[inline]
fn signed(mut grid: [i8; 8], signs: u8) -> [i8; 8] {
    for (i, q) in grid.iter_mut().enumerate() {
        let minus = -((signs >> i & 1) as i8);
        *q = (*q ^ minus) - minus;
    }
    grid
}

/// `grid`, all weights plus `delta`.
#[inline]
fn shifted(mut grid: [i8; 8], delta: i8) -> [i8; 8] {
    for q in &mut grid {
        *q += delta;
    }
    grid
}

/// Eight sign bits of which seven are stored: the number of minus signs is even. The top bit of `signs` is ignored.
#[inline]
fn eighth_by_parity(signs: u8) -> u8 {
    let seven = signs & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// `2 * sc + 1` for the low and the high nibble.
#[inline]
fn odd_scales(nibbles: u8) -> [i16; 2] {
    [2 * i16::from(nibbles & 15) + 1, 2 * i16::from(nibbles >> 4) + 1]
}
