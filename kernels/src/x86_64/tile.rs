//! `ROWS` rows by 32 weights, the unit that every format unpacks to and that [`super::dot`] multiplies.

use super::ahead::Ahead;
use super::dot::{Acc, Columns};
use super::matmul::add_tiles;
use super::simd::Simd;
use crate::format::Mins;

/// 32 weights of `ROWS` rows. `codes[j]` holds weights `4j .. 4j+4` of each row, one dword per row.
///
/// Fields that a format's [`Codes`] do not use are neither written nor read.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Tile<S: Simd> {
    /// Unsigned codes (`q + OFFSET`), or signed ones where `SIGNED`.
    pub codes: [S::I; 8],
    /// Scale of each row.
    pub d: S::F,
    /// With `SUB_SCALES`, those of each half: i16 pairs `(s, s)` per row, or f32 where the tier has `VNNI`.
    pub s: [S::I; 2],
    /// With `SUB_SCALES` and an offset, `OFFSET * (s[0], s[1])` as an i16 pair per row; not used with `VNNI`.
    pub o: S::I,
    /// Mins of each half; equal, and only the first used, for one min per 32.
    pub m: [S::F; 2],
}

impl<S: Simd> Tile<S> {
    /// Takes the scales of `from`, not its mins.
    #[inline(always)]
    pub(crate) fn take_scales<C: Codes>(&mut self, from: &Tile<S>) {
        self.d = from.d;
        if C::SUB_SCALES {
            self.s = from.s;
            if !S::VNNI && C::OFFSET_LOG2 > 0 {
                self.o = from.o;
            }
        }
    }
}

/// What kind of codes a tile holds: all that the arithmetic depends on, so formats of one kind share its code.
pub(crate) trait Codes {
    /// Whether and how there are mins.
    const MINS: Mins = Mins::None;
    /// Whether halves have integer sub-scales.
    const SUB_SCALES: bool = false;
    /// `codes = q + (1 << OFFSET_LOG2)`, or 0 for no offset.
    const OFFSET_LOG2: i32 = 0;
    /// Codes are signed bytes. `vpmaddubsw` takes |w| as its unsigned side and gives its sign to x; for `vpdpbusd`
    /// they are stored with 128 added.
    const SIGNED: bool = false;
    /// How many vpmaddubsw results one i16 can hold, each at most `2 * 127 * code`: 8 for codes up to 15 (30480), 4 up
    /// to 31 (31496), 2 up to 63 (32004), 1 up to 128, also for signed codes. At most 4 with sub-scales, which cover 16.
    /// 8 also for up to 31 minus 16: what the offset adds comes first, and the sum with it is at most 16 * 127 * 16 (32512).
    const STEPS: usize;
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $value:expr),* })*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Codes for $name {
            $(const $field: $type = $value;)*
        }
    )*};
}
codes! {
    /// Q4_0: `0..=15`, minus 8.
    U4Minus8 { STEPS: usize = 8, OFFSET_LOG2: i32 = 3 }
    /// Q4_1, Q4_K: `0..=15`.
    U4Min { STEPS: usize = 8, MINS: Mins = Mins::Per32 }
    /// Q5_0, IQ1_S, IQ3_S: `0..=31`, minus 16.
    U5Minus16 { STEPS: usize = 8, OFFSET_LOG2: i32 = 4 }
    /// Q5_1, Q5_K: `0..=31`.
    U5Min { STEPS: usize = 4, MINS: Mins = Mins::Per32 }
    /// Q2_K: `0..=3`, a sub-scale and a min per 16.
    U2SubMin { STEPS: usize = 4, SUB_SCALES: bool = true, MINS: Mins = Mins::Per16 }
    /// Q3_K: `0..=7`, minus 4, a sub-scale per 16.
    U3Minus4Sub { STEPS: usize = 4, SUB_SCALES: bool = true, OFFSET_LOG2: i32 = 2 }
    /// Q6_K: `0..=63`, minus 32, a sub-scale per 16.
    U6Minus32Sub { STEPS: usize = 2, SUB_SCALES: bool = true, OFFSET_LOG2: i32 = 5 }
    /// IQ1_M: `7..=25`, minus 16, a sub-scale per 16.
    U5Minus16Sub { STEPS: usize = 4, SUB_SCALES: bool = true, OFFSET_LOG2: i32 = 4 }
    /// IQ2_XXS, IQ3_XXS: `2..=126`, minus 64.
    U7Minus64 { STEPS: usize = 1, OFFSET_LOG2: i32 = 6 }
    /// IQ2_XS, IQ2_S: `21..=107`, minus 64, a sub-scale per 16.
    U7Minus64Sub { STEPS: usize = 1, SUB_SCALES: bool = true, OFFSET_LOG2: i32 = 6 }
    /// Q8_0, IQ4: any signed byte.
    I8 { STEPS: usize = 1, SIGNED: bool = true }
}

/// The most rows of a tile on any tier.
pub(crate) const MAX_ROWS: usize = 16;

/// Where a block begins in each row of a tile. The rows are `stride` bytes apart, so that few registers make all their addresses: an
/// address for each row would be twice as many as there are registers.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Of each fourth row. A tier with fewer rows uses the first ones only.
    fours: [*const u8; MAX_ROWS / 4],
    stride: usize,
    /// What [`TileFormat::stage`] took from the blocks.
    head: &'a Head,
}

/// The first `HEAD` bytes of the block of each row, see [`TileFormat::HEAD`].
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Head([u64; MAX_ROWS]);

impl Head {
    pub(crate) const EMPTY: Head = Head([0; MAX_ROWS]);
}

impl Rows<'_> {
    /// Rows from `start` on. A matrix of one row may have any stride: what is not there is not read.
    #[inline(always)]
    pub(crate) fn new(start: *const u8, stride: usize) -> Rows<'static> {
        let fours = std::array::from_fn(|q| start.wrapping_add(stride.wrapping_mul(4 * q)));
        Rows { fours, stride, head: &Head::EMPTY }
    }

    /// `offset` bytes into the block of row `i`.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize, offset: usize) -> *const u8 {
        self.fours[i / 4].wrapping_add(i % 4 * self.stride).wrapping_add(offset)
    }

    /// With what has been staged of their blocks.
    #[inline(always)]
    pub(crate) fn with_head(self, head: &Head) -> Rows<'_> {
        Rows { head, ..self }
    }

    /// The same, with a stride of which the compiler knows nothing, so that what is done from here on cannot be joined with what was
    /// done before.
    #[inline(always)]
    pub(crate) fn pinned(self) -> Self {
        let mut stride = self.stride;
        // SAFETY: no instruction.
        unsafe { std::arch::asm!("/* {} */", inout(reg) stride, options(nomem, nostack, preserves_flags)) };
        Rows { head: self.head, ..Rows::new(self.fours[0], stride) }
    }

    /// `bytes` further in each row.
    #[inline(always)]
    pub(crate) fn skip(self, bytes: usize) -> Self {
        Rows { fours: self.fours.map(|four| four.wrapping_add(bytes)), ..self }
    }
}

/// How a format's blocks unpack into tiles.
pub(crate) trait TileFormat<S: Simd>: Sized + 'static {
    /// What the tiles hold.
    type Codes: Codes;
    /// Bytes per block.
    const BYTES: usize;
    /// Groups of 32 per block, each a tile.
    const GROUPS: usize;

    /// How many groups share the bytes of their codes, and are unpacked together, as a *part* of the block. A GEMV multiplies each part before
    /// it unpacks the next, so that loads and arithmetic overlap.
    const WIDTH: usize = Self::GROUPS;

    /// How many bytes at the beginning of each block (0, 2, 4 or 8) `scales` and `codes` take from [`Rows::head`].
    ///
    /// Scales are narrow and a row apart, so they are gathered through memory, and a vector load of bytes that were just
    /// stored waits until the stores have left the store buffer. A GEMV therefore stages them some blocks ahead.
    const HEAD: usize = 0;

    /// Whether a GEMV of one column gains where the next tile is fetched into L1 ([`Reach`](super::ahead::Reach)), by measurement.
    const NEAR: bool = false;

    /// Copies the heads of the blocks that begin `offset` bytes into each of `rows` to `to`.
    ///
    /// # Safety
    /// `HEAD` bytes are readable there.
    #[inline(always)]
    unsafe fn stage(rows: Rows<'_>, offset: usize, to: &mut Head) {
        let to = to.0.as_mut_ptr();
        for i in 0..S::ROWS {
            let from = rows.at(i, offset);
            // SAFETY: the caller's bytes; a head has 8 bytes for each row.
            unsafe {
                match Self::HEAD {
                    2 => to.cast::<u16>().add(i).write(from.cast::<u16>().read_unaligned()),
                    4 => to.cast::<u32>().add(head_slot::<S>(i)).write(from.cast::<u32>().read_unaligned()),
                    8 => to.add(head_slot::<S>(i)).write(from.cast::<u64>().read_unaligned()),
                    _ => {}
                }
            }
        }
    }

    /// Unpacks the scales (and sub-scales and mins) of the block that begins at each of `rows` into its `GROUPS` tiles.
    ///
    /// # Safety
    /// The tier's features; `BYTES` bytes are readable in each of `rows`; `tiles` points to `GROUPS` tiles.
    unsafe fn scales(rows: Rows<'_>, tiles: *mut Tile<S>);

    /// Unpacks the codes of part `part` into its tiles; `tiles` points to the first of them.
    ///
    /// # Safety
    /// As [`TileFormat::scales`], but for the tiles, of which there are `WIDTH`.
    unsafe fn codes(rows: Rows<'_>, part: usize, tiles: *mut Tile<S>);

    /// Adds the products of part `part` with the columns `x`, which begin with the part, to `acc`; `tiles` points to the tiles of the part,
    /// of which only scales are read.
    ///
    /// # Safety
    /// As [`TileFormat::codes`]; the columns have its groups.
    #[inline(always)]
    unsafe fn add_part<const N: usize>(
        acc: &mut Acc<S, 1, N>,
        rows: Rows<'_>,
        part: usize,
        tiles: *const Tile<S>,
        x: Columns<N>,
        ahead: &mut Ahead,
    ) {
        // SAFETY: the caller's.
        unsafe { add_tiles::<S, Self, N>(acc, rows, part, tiles, x, ahead) }
    }

    /// All of `blocks` blocks that follow each other, into the tiles of each; one block, where a block has several groups.
    ///
    /// # Safety
    /// As [`TileFormat::scales`], for each block.
    #[inline(always)]
    unsafe fn unpack(mut rows: Rows<'_>, blocks: usize, tiles: *mut Tile<S>) {
        // Not known to the compiler as one, it would cost long formats registers.
        let blocks = if Self::GROUPS > 1 { 1 } else { blocks };
        for b in 0..blocks {
            // SAFETY: the caller's.
            unsafe {
                let tiles = tiles.add(b * Self::GROUPS);
                let mut head = Head::EMPTY;
                Self::stage(rows, 0, &mut head);
                let rows = rows.with_head(&head);
                Self::scales(rows, tiles);
                for part in 0..Self::GROUPS / Self::WIDTH {
                    Self::codes(rows, part, tiles.add(part * Self::WIDTH));
                }
            }
            rows = rows.skip(Self::BYTES);
        }
    }
}

/// A format of which some of the codes of a part can be unpacked alone, so that a GEMV of one column has all of them in registers.
pub(crate) trait HalfFormat<S: Simd>: TileFormat<S> {
    /// Whether the registers hold all codes of a part.
    const FITS: bool = 8 * Self::WIDTH < S::REGISTERS;

    /// The codes of dwords `first .. first + J` (4 or 8 of them; `first` is 0 or 4) of each of the `WIDTH` groups, at most 4, of
    /// part `part`.
    ///
    /// # Safety
    /// As [`TileFormat::codes`].
    unsafe fn dwords<const J: usize>(rows: Rows<'_>, part: usize, first: usize) -> [[S::I; J]; 4];

    /// [`TileFormat::codes`], made of these.
    ///
    /// # Safety
    /// As it.
    #[inline(always)]
    unsafe fn whole(rows: Rows<'_>, part: usize, tiles: *mut Tile<S>) {
        // SAFETY: the caller's.
        unsafe {
            if Self::FITS {
                Self::write(Self::dwords::<8>(rows, part, 0), 0, tiles);
            } else {
                Self::write(Self::dwords::<4>(rows, part, 0), 0, tiles);
                Self::write(Self::dwords::<4>(rows, part, 4), 4, tiles);
            }
        }
    }

    /// Writes dwords from `first` on to the tiles of their groups.
    ///
    /// # Safety
    /// `tiles` points to `WIDTH` tiles.
    #[inline(always)]
    unsafe fn write<const J: usize>(codes: [[S::I; J]; 4], first: usize, tiles: *mut Tile<S>) {
        for (i, codes) in codes.iter().enumerate().take(Self::WIDTH) {
            for (j, code) in codes.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe { (*tiles.add(i)).codes[first + j] = *code };
            }
        }
    }
}

/// Transposes 4 or 8 dwords of each row: result `j` holds dword `j` of every row.
///
/// # Safety
/// The tier's features; `4 * J` bytes are readable at `offset` in every row.
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd, const J: usize>(rows: Rows<'_>, offset: usize) -> [S::I; J] {
    const { assert!(J == 4 || J == 8) };
    // SAFETY: the caller's.
    unsafe {
        let mut dwords = [S::splat32(0); J];
        if J == 8 {
            dwords.copy_from_slice(&transpose32::<S>(rows, offset)[..J]);
        } else {
            dwords.copy_from_slice(&transpose16::<S>(rows, offset)[..J]);
        }
        dwords
    }
}

/// Transposes 16 bytes of each row: result `j` holds dword `j` of every row.
///
/// # Safety
/// The tier's features; 16 bytes are readable at `offset` in every row.
#[inline(always)]
pub(crate) unsafe fn transpose16<S: Simd>(rows: Rows<'_>, offset: usize) -> [S::I; 4] {
    // SAFETY: the caller's.
    unsafe { transpose16_of::<S>(|i| rows.at(i, offset)) }
}

/// As [`transpose16`], of rows that may lie anywhere.
///
/// # Safety
/// The tier's features; 16 bytes are readable at each of the addresses of its rows.
#[inline(always)]
pub(crate) unsafe fn transpose16_of<S: Simd>(at: impl Fn(usize) -> *const u8 + Copy) -> [S::I; 4] {
    // SAFETY: the caller's. Lanes of 128 bits hold rows i, i + 4 (and i + 8, i + 12).
    unsafe {
        let (r0, r1) = (S::load_lanes(at, 0), S::load_lanes(at, 1));
        let (r2, r3) = (S::load_lanes(at, 2), S::load_lanes(at, 3));
        let (a, b) = (S::unpack_lo32(r0, r1), S::unpack_hi32(r0, r1));
        let (c, d) = (S::unpack_lo32(r2, r3), S::unpack_hi32(r2, r3));
        [S::unpack_lo64(a, c), S::unpack_hi64(a, c), S::unpack_lo64(b, d), S::unpack_hi64(b, d)]
    }
}

/// 32 bytes of each row: dword `j` of every row in vector `j`.
///
/// # Safety
/// The tier's features; 32 bytes are readable at `offset` in every row.
#[inline(always)]
pub(crate) unsafe fn transpose32<S: Simd>(rows: Rows<'_>, offset: usize) -> [S::I; 8] {
    // SAFETY: the caller's.
    unsafe { S::transpose32(|i| rows.at(i, offset)) }
}

/// f16 scales, one per row, widened.
///
/// # Safety
/// The tier's features; 2 bytes are readable at `offset` in every row.
#[inline(always)]
pub(crate) unsafe fn load_f16<S: Simd>(rows: Rows<'_>, offset: usize) -> S::F {
    let mut bits = [0u16; MAX_ROWS];
    for (i, bits) in bits.iter_mut().enumerate().take(S::ROWS) {
        // SAFETY: the caller's 2 bytes.
        *bits = unsafe { rows.at(i, offset).cast::<u16>().read_unaligned() };
    }
    // SAFETY: an f16 per row.
    unsafe { S::load_f16s(bits.as_ptr()) }
}

/// Where the 4 or 8 bytes of row `i` are in a head: so that the even and the odd halves of two vectors are in the order of rows.
const fn head_slot<S: Simd>(i: usize) -> usize {
    i % 4 / 2 * (S::ROWS / 2) + i / 4 * 2 + i % 2
}

/// Heads of 2 bytes as f16, widened.
///
/// # Safety
/// The tier's features; a format with `HEAD == 2` (in the next functions: 4, 8), staged.
#[inline(always)]
pub(crate) unsafe fn head_f16<S: Simd>(rows: Rows<'_>) -> S::F {
    // SAFETY: the caller's.
    unsafe { S::load_f16s(rows.head.0.as_ptr().cast()) }
}

/// Heads of 4 bytes as two f16, widened.
///
/// # Safety
/// As [`head_f16`].
#[inline(always)]
pub(crate) unsafe fn head_f16s<S: Simd>(rows: Rows<'_>) -> (S::F, S::F) {
    let head: *const u16 = rows.head.0.as_ptr().cast();
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (S::as_i32(S::load_f16s(head)), S::as_i32(S::load_f16s(head.add(S::ROWS))));
        (S::as_f32(S::even32(a, b)), S::as_f32(S::odd32(a, b)))
    }
}

/// The low and the high dwords of heads of 8 bytes.
///
/// # Safety
/// As [`head_f16`].
#[inline(always)]
pub(crate) unsafe fn head_u64<S: Simd>(rows: Rows<'_>) -> (S::I, S::I) {
    let head: *const i32 = rows.head.0.as_ptr().cast();
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (S::load(head), S::load(head.add(S::ROWS)));
        (S::even32(a, b), S::odd32(a, b))
    }
}

/// A dword per row.
///
/// # Safety
/// The tier's features; 4 bytes are readable at `offset` in every row.
#[inline(always)]
pub(crate) unsafe fn load_u32<S: Simd>(rows: Rows<'_>, offset: usize) -> S::I {
    let mut words = [0i32; MAX_ROWS];
    for (i, word) in words.iter_mut().enumerate().take(S::ROWS) {
        // SAFETY: the caller's 4 bytes.
        *word = unsafe { rows.at(i, offset).cast::<i32>().read_unaligned() };
    }
    // SAFETY: a dword per row.
    unsafe { S::load(words.as_ptr()) }
}

/// Signed codes as the tier's dot product takes them.
#[inline(always)]
pub(crate) unsafe fn signed<S: Simd>(codes: S::I) -> S::I {
    // SAFETY: the caller has the tier's features (here and below).
    unsafe { if S::VNNI { S::xor(codes, S::splat8(-128)) } else { codes } }
}

/// The low nibble of every byte.
#[inline(always)]
pub(crate) unsafe fn low_nibbles<S: Simd>(bytes: S::I) -> S::I {
    // SAFETY: as above.
    unsafe { S::and(bytes, S::splat8(15)) }
}

/// The high nibble of every byte.
#[inline(always)]
pub(crate) unsafe fn high_nibbles<S: Simd>(bytes: S::I) -> S::I {
    // SAFETY: as above.
    unsafe { low_nibbles::<S>(S::shr16(bytes, 4)) }
}

/// Splits 16 bytes per row into nibbles: weights 0..16 are the low ones, 16..32 the high ones.
#[inline(always)]
pub(crate) unsafe fn nibbles<S: Simd>(b: [S::I; 4]) -> [S::I; 8] {
    let mut codes = [b[0]; 8];
    for j in 0..4 {
        // SAFETY: as above.
        unsafe {
            codes[j] = low_nibbles::<S>(b[j]);
            codes[j + 4] = high_nibbles::<S>(b[j]);
        }
    }
    codes
}
