//! The arithmetic of contract section 2 on tile registers: tiles of 16 rows of weights times blocks of 16 columns.
//!
//! `tdpbssd C, A, B`: `C[c][r] += Σ A[c][4j + i] * B[j][4r + i]` over dwords `j` and their 4 signed bytes `i`. A is 32 activations
//! of up to 16 columns, where they lie; B is the codes of a tile: dword `j` of 16 rows is row `j` of B. So C has a row for
//! each column, with a lane for each row of weights, as everywhere on x86-64.
//!
//! | per group of 32, 16 rows and 16 columns | cycles on Sapphire Rapids |
//! |---|---|
//! | tileloadd A and B | 14 |
//! | tilezero, tdpbssd | 18, for 32 weights as for 64; no 512-bit instruction starts meanwhile |
//! | tilestored into L1 | 18; shares them with nothing |
//! | 16 x (vcvtdq2ps, vmulps, vfmadd) | 27 |
//! | all of it | 50 in L1 (`bench/examples/amx_cycles.rs`); about 60 with panels and activations in L2 |
//!
//! With sub-scales there are two products of 16 weights each, and the f32 step is twice the conversion and two multiplications
//! more. All 16 float sums of a tile stay in zmm0 to zmm15, so a second C beside it would not find room for its sums; the tile
//! product of group g + 1 is asked for before the f32 step of group g, in other tile registers and another buffer, so that they
//! overlap.
//!
//! The compiler knows nothing of tile registers: what is between `ldtilecfg` and `tilerelease` is one assembler block, and the
//! host's tile state is left as it was found, released.
//!
//! Source: Intel SDM, volume 1, chapter 18, and volume 2, TDPBSSD; the AMX chapter of the optimization manual.

use super::super::simd::Avx512Vnni;
use super::super::tile::Tile;
use std::mem::offset_of;

/// Rows of weights, and columns of activations, of a tile product.
pub(super) const ROWS: usize = 16;
pub(super) const COLUMNS: usize = 16;

/// The operand of `ldtilecfg`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Config {
    /// 1: eight tiles of up to 16 rows of up to 64 bytes.
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes per row of each tile register.
    row_bytes: [u16; 16],
    /// Rows of each.
    rows: [u8; 16],
}

impl Config {
    /// Tile registers for `columns` columns, and products of `k` weights: C is 0 to 3, A is 4 and 5, B is 6 and 7.
    const fn new(columns: usize, k: usize) -> Config {
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let mut i = 0;
        while i < 8 {
            let (rows, bytes) = match i {
                0..4 => (columns, 4 * ROWS),
                4..6 => (columns, k),
                _ => (k / 4, 4 * ROWS),
            };
            (config.rows[i], config.row_bytes[i]) = (rows as u8, bytes as u16);
            i += 1;
        }
        config
    }
}

/// What C is stored into: two groups in flight, with two C each.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Sums([[[i32; ROWS]; COLUMNS]; 4]);

impl Sums {
    pub(super) const ZERO: Sums = Sums([[[0; ROWS]; COLUMNS]; 4]);
}

/// A product of `tiles` tiles of rows, one after the other, with `blocks` blocks of `columns` columns each.
///
/// The assembler reads the fields by their offsets, and moves `x`, `dx` and `y` on.
#[repr(C)]
pub(super) struct Product {
    config: Config,
    /// `tiles` times `groups` of them, codes signed.
    panel: *const Tile<Avx512Vnni>,
    tiles: usize,
    groups: usize,
    /// Activations of the first column, and bytes to the next block.
    x: *const i8,
    x_block: usize,
    /// Scales of activations, 16 for each group, block after block.
    dx: *const f32,
    /// The result at the first row and column; bytes to the next column and to the next block.
    y: *mut f32,
    y_column: usize,
    y_block: usize,
    columns: usize,
    blocks: usize,
}

/// Weights, as in [`Product`].
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub start: *const Tile<Avx512Vnni>,
    pub groups: usize,
    /// Rows, and so how many tiles: the last may have less than 16.
    pub live: usize,
}

/// Some columns: activations, `stride` values apart, their scales, 16 for each group and block, and the result, `y_stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub x: *const i8,
    pub stride: usize,
    pub dx: *const f32,
    pub y: *mut f32,
    pub y_stride: usize,
}

/// `panel` times `blocks` blocks of `columns <= 16` columns into the result; sums in halves of 16 where there are sub-scales.
///
/// # Safety
/// The tier's features, tile data permitted; `live` and `groups` are at least 1; panel, columns and result exist; scales of absent
/// columns of a block exist too.
pub(super) unsafe fn multiply(
    sub_scales: bool,
    panel: Panel,
    o: Operands,
    (blocks, columns): (usize, usize),
    sums: &mut Sums,
) {
    debug_assert!((1..=COLUMNS).contains(&columns) && panel.live > 0 && panel.groups > 0);
    let tiles = panel.live.div_ceil(ROWS);
    let mut product = Product {
        config: Config::new(columns, if sub_scales { 16 } else { 32 }),
        panel: panel.start,
        tiles,
        groups: panel.groups,
        x: o.x,
        x_block: COLUMNS * o.stride,
        dx: o.dx,
        y: o.y,
        y_column: size_of::<f32>() * o.y_stride,
        y_block: size_of::<f32>() * COLUMNS * o.y_stride,
        columns,
        blocks,
    };
    // The lanes of the last tile that exist.
    let lanes = u32::MAX >> (32 - (panel.live - (tiles - 1) * ROWS));
    // SAFETY: the caller's.
    unsafe {
        if sub_scales {
            halves(&mut product, lanes, o.stride, sums);
        } else {
            whole(&mut product, lanes, o.stride, sums);
        }
    }
}

/// One tile product: the activations at `{px} + $x` and the codes at `{pb} + $b`, summed in `$c` and stored at `$to`.
macro_rules! tile_product {
    ($c:literal = $a:literal * $b:literal, $x:literal, $codes:literal, $to:literal) => {
        concat!(
            "tileloadd ",
            $a,
            ", [{px} + {xs}*1 + ",
            $x,
            "]\n",
            "tileloadd ",
            $b,
            ", [{pb} + {c64}*1 + ",
            $codes,
            "]\n",
            "tilezero ",
            $c,
            "\n",
            "tdpbssd ",
            $c,
            ", ",
            $a,
            ", ",
            $b,
            "\n",
            "tilestored [{sums} + {c64}*1 + ",
            $to,
            "], ",
            $c,
            "\n",
        )
    };
}

/// A function around the assembler block.
///
/// `$first` is the tile product of group 0 into the first half of the buffer; `$even` and `$odd` are those of the next group, into
/// the first and the second half; `$load` loads the scales of a group; `$step` adds column `\c` of it, from the half of
/// the buffer that begins at `$step`'s argument.
macro_rules! assembler {
    ($(#[$doc:meta])* $name:ident, $first:expr, $even:expr, $odd:expr, $load:expr, $step:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As [`multiply`]; `lanes` are those of the last tile.
        #[inline(never)]
        #[target_feature(enable = "avx512f")]
        unsafe fn $name(product: &mut Product, lanes: u32, stride: usize, sums: &mut Sums) {
            // SAFETY: reads and writes what the caller says there is, and `product` and `sums`; every register that is written
            // is an operand or declared as overwritten, tile registers too; the stack is not used. `tilerelease` and
            // `vzeroupper` leave what the ABI asks for at a call or return.
            unsafe {
                std::arch::asm!(
                    "ldtilecfg [{p}]",
                    "kmovw k1, {lanes:e}",
                    "2:", // A block of columns.
                    "mov {pb}, [{p} + {PANEL}]",
                    "mov {y}, [{p} + {Y}]",
                    "mov {tiles}, [{p} + {TILES}]",
                    "3:", // A tile of rows.
                    "mov {px}, [{p} + {X}]",
                    "mov {pd}, [{p} + {DX}]",
                    "mov {n}, [{p} + {GROUPS}]",
                    ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    "vpxord zmm\\c, zmm\\c, zmm\\c",
                    ".endr",
                    $first,
                    "4:", // Two groups.
                    "dec {n}",
                    "jz 5f",
                    $odd,
                    $load,
                    ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    $step!("0"),
                    ".endr",
                    "add {px}, 32",
                    "add {pb}, {TILE}",
                    "add {pd}, 64",
                    "dec {n}",
                    "jz 6f",
                    $even,
                    $load,
                    ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    $step!("2048"),
                    ".endr",
                    "add {px}, 32",
                    "add {pb}, {TILE}",
                    "add {pd}, 64",
                    "jmp 4b",
                    "5:", // The last group, in the first half of the buffer.
                    $load,
                    ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    $step!("0"),
                    ".endr",
                    "jmp 7f",
                    "6:", // The last group, in the second half.
                    $load,
                    ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    $step!("2048"),
                    ".endr",
                    "7:", // Only the last tile may have absent rows.
                    "add {pb}, {TILE}",
                    "add {pd}, 64",
                    "kxnorw k2, k2, k2",
                    "cmp {tiles}, 1",
                    "jne 8f",
                    "kmovw k2, k1",
                    "8:",
                    "mov {px}, {y}",
                    "mov {n}, [{p} + {COLUMNS}]",
                    ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    "vmovups [{px}]{{k2}}, zmm\\c",
                    "add {px}, [{p} + {Y_COLUMN}]",
                    "dec {n}",
                    "jz 9f",
                    ".endr",
                    "9:",
                    "add {y}, 64",
                    "dec {tiles}",
                    "jnz 3b",
                    "mov [{p} + {DX}], {pd}",
                    "mov {px}, [{p} + {X_BLOCK}]",
                    "add [{p} + {X}], {px}",
                    "mov {px}, [{p} + {Y_BLOCK}]",
                    "add [{p} + {Y}], {px}",
                    "dec qword ptr [{p} + {BLOCKS}]",
                    "jnz 2b",
                    "tilerelease",
                    "vzeroupper",
                    p = in(reg) product,
                    lanes = in(reg) lanes,
                    xs = in(reg) stride,
                    c64 = in(reg) 64usize,
                    sums = in(reg) sums,
                    px = out(reg) _,
                    pb = out(reg) _,
                    pd = out(reg) _,
                    y = out(reg) _,
                    n = out(reg) _,
                    tiles = out(reg) _,
                    PANEL = const offset_of!(Product, panel),
                    TILES = const offset_of!(Product, tiles),
                    GROUPS = const offset_of!(Product, groups),
                    X = const offset_of!(Product, x),
                    X_BLOCK = const offset_of!(Product, x_block),
                    DX = const offset_of!(Product, dx),
                    Y = const offset_of!(Product, y),
                    Y_COLUMN = const offset_of!(Product, y_column),
                    Y_BLOCK = const offset_of!(Product, y_block),
                    COLUMNS = const offset_of!(Product, columns),
                    BLOCKS = const offset_of!(Product, blocks),
                    TILE = const size_of::<Tile<Avx512Vnni>>(),
                    D = const offset_of!(Tile<Avx512Vnni>, d),
                    S = const offset_of!(Tile<Avx512Vnni>, s),
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                    out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _,
                    out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _,
                    out("k1") _, out("k2") _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
                    out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

/// `acc = fma(d * dx, sum as f32, acc)`, for the 16 rows of column `\c`.
macro_rules! whole_step {
    ($sums:literal) => {
        concat!(
            "vcvtdq2ps zmm17, [{sums} + ",
            $sums,
            " + 64*\\c]\n",
            "vmulps zmm18, zmm16, dword ptr [{pd} + 4*\\c]{{1to16}}\n",
            "vfmadd231ps zmm\\c, zmm18, zmm17\n",
        )
    };
}

/// The same for `s[0] * sum[0] + s[1] * sum[1]`, which is exact: integers below 2^24.
macro_rules! halves_step {
    ($sums:literal) => {
        concat!(
            "vcvtdq2ps zmm17, [{sums} + ",
            $sums,
            " + 64*\\c]\n",
            "vcvtdq2ps zmm21, [{sums} + ",
            $sums,
            " + 1024 + 64*\\c]\n",
            "vmulps zmm17, zmm17, zmm19\n",
            "vfmadd231ps zmm17, zmm21, zmm20\n",
            "vmulps zmm18, zmm16, dword ptr [{pd} + 4*\\c]{{1to16}}\n",
            "vfmadd231ps zmm\\c, zmm18, zmm17\n",
        )
    };
}

assembler! {
    /// One product of 32 weights for each group.
    whole,
    tile_product!("tmm0" = "tmm4" * "tmm6", "0", "0", "0"),
    tile_product!("tmm0" = "tmm4" * "tmm6", "32", "{TILE}", "0"),
    tile_product!("tmm2" = "tmm5" * "tmm7", "32", "{TILE}", "2048"),
    "vmovaps zmm16, [{pb} + {D}] /* {S} is not used */",
    whole_step
}

assembler! {
    /// Two products of 16 weights for each group.
    halves,
    concat!(
        tile_product!("tmm0" = "tmm4" * "tmm6", "0", "0", "0"),
        tile_product!("tmm1" = "tmm5" * "tmm7", "16", "256", "1024"),
    ),
    concat!(
        tile_product!("tmm0" = "tmm4" * "tmm6", "32", "{TILE}", "0"),
        tile_product!("tmm1" = "tmm5" * "tmm7", "32 + 16", "{TILE} + 256", "1024"),
    ),
    concat!(
        tile_product!("tmm2" = "tmm4" * "tmm6", "32", "{TILE}", "2048"),
        tile_product!("tmm3" = "tmm5" * "tmm7", "32 + 16", "{TILE} + 256", "2048 + 1024"),
    ),
    "vmovaps zmm16, [{pb} + {D}]\nvmovaps zmm19, [{pb} + {S}]\nvmovaps zmm20, [{pb} + {S} + 64]",
    halves_step
}
