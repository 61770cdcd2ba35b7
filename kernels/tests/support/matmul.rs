//! The differential runner of `matmul`: every format against the reference, bit for bit.
//!
//! Results are written into the middle of a poisoned buffer.

use super::{Guarded, Place, Rng, same};
use kinglet_kernels::format::{Mins, decode_groups};
use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows};
use kinglet_reference::dot_quantized::{self, dot_quantized};
use kinglet_reference::quantize::{Activation, quantize};

const POISON: u32 = 0x7fc0_dead;
/// Rows and columns of the largest product; smaller ones are parts of it.
pub const MOST: usize = 49;

fn quantized() -> impl Iterator<Item = Format> {
    Format::ALL.iter().copied().filter(|f| !f.is_float())
}

/// Sets every f16 scale and min of a block to `bits`; MXFP4 has the nearest thing to it, an exponent.
fn set_scales(format: Format, block: &mut [u8], bits: u16) {
    let offsets: &[usize] = match format {
        Format::F32 | Format::F16 | Format::BF16 => unreachable!("float formats have no scales"),
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::IQ4_NL | Format::IQ4_XS => &[0],
        Format::IQ1_S | Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => &[0],
        Format::IQ3_XXS | Format::IQ3_S => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
        Format::TQ1_0 => &[52],
        Format::TQ2_0 => &[64],
        Format::IQ1_M => {
            for i in 0..4 {
                let byte = &mut block[49 + 2 * i];
                *byte = *byte & 15 | ((bits >> (4 * i)) as u8 & 15) << 4;
            }
            &[]
        }
        Format::MXFP4 => {
            block[0] = ((bits >> 10) & 31) as u8 + 112;
            &[]
        }
    };
    for &at in offsets {
        block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    }
}

/// Rows of random blocks whose scales are all of one magnitude, so that no block hides another.
fn random_weights(rng: &mut Rng, format: Format, rows: usize, cols: usize) -> Vec<u8> {
    let mut data: Vec<u8> = (0..rows * format.row_bytes(cols).unwrap()).map(|_| rng.next() as u8).collect();
    for block in data.chunks_exact_mut(format.block_bytes()) {
        // 2^-6 <= |d| < 2^-5, either sign.
        set_scales(format, block, 0x2400 | (rng.next() as u16 & 0x83ff));
    }
    data
}

/// What the contract says, as `[column][row]`.
fn reference(w: &Matrix<'_>, x: &[Activation]) -> Vec<Vec<f32>> {
    let mins = match w.format().mins() {
        Mins::None => dot_quantized::Mins::None,
        Mins::Per32 => dot_quantized::Mins::Per32,
        Mins::Per16 => dot_quantized::Mins::Per16,
    };
    let row = |r: usize| {
        let mut groups = Vec::new();
        assert!(decode_groups(w.format(), w.row(r).unwrap(), |_, g| {
            groups.push(dot_quantized::Group { q: g.q, s: g.s.map(|s| s as i8), d: g.d, m: g.m });
        }));
        groups
    };
    let rows: Vec<_> = (0..w.rows()).map(row).collect();
    x.iter().map(|x| rows.iter().map(|w| dot_quantized(w, mins, x)).collect()).collect()
}

/// Activations in guarded memory, one after the other.
pub struct Columns {
    q: Guarded,
    d: Guarded,
    sums: Guarded,
    n: usize,
    k: usize,
}

impl Columns {
    pub fn new(x: &[Activation], place: Place) -> Columns {
        let q: Vec<u8> = x.iter().flat_map(|x| x.q.iter().map(|q| *q as u8)).collect();
        let d: Vec<u8> = x.iter().flat_map(|x| x.d.iter().flat_map(|d| d.to_ne_bytes())).collect();
        let sums: Vec<u8> = x.iter().flat_map(|x| x.sums.iter().flat_map(|s| s.to_ne_bytes())).collect();
        let [q, d, sums] = [q, d, sums].map(|bytes| Guarded::new(&bytes, place));
        Columns { q, d, sums, n: x.len(), k: x[0].q.len() }
    }
    pub fn view(&self) -> QuantizedRows<'_> {
        QuantizedRows::new(self.q.cast(), self.d.cast(), self.sums.cast(), self.n, self.k).unwrap()
    }
}

/// Multiplies rows `r0 .. r0 + rows` and columns `c0 .. c0 + n` and compares all bits, also those that must not change.
fn check(
    kernels: &Kernels,
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    (r0, rows): (usize, usize),
    (c0, n): (usize, usize),
    want: &[Vec<f32>],
) {
    let part = w.slice_rows(r0..r0 + rows);
    let mut y = vec![f32::from_bits(POISON); w.rows() * n];
    let mut scratch = vec![0xa5; kernels.matmul_scratch(&part)];
    let (_, y_part) = MatMut::new(&mut y, w.rows(), n).unwrap().split_rows(r0);
    let (mut y_part, _) = y_part.split_rows(rows);
    kernels.matmul(&part, &x.slice(c0..c0 + n), &mut y_part, &mut scratch).unwrap();
    for c in 0..n {
        for r in 0..w.rows() {
            let got = y[c * w.rows() + r];
            let place = || {
                let (format, tier, cols) = (w.format(), kernels.tier(), w.cols());
                format!(
                    "{format}.matmul.{tier}: {rows} x {cols}, {n} columns: row {} column {c}",
                    r as isize - r0 as isize
                )
            };
            if (r0..r0 + rows).contains(&r) {
                let want = want[c0 + c][r];
                assert!(same(got, want), "{} is {got:e}, expected {want:e}", place());
            } else {
                assert_eq!(got.to_bits(), POISON, "{} was overwritten", place());
            }
        }
    }
}

/// Products of every format whose rows and columns are one of `rows` and `columns`, all at most [`MOST`]. Weights and activations end
/// (or begin) at a page that cannot be read.
pub fn every_shape(kernels: &[Kernels], rows: &[usize], columns: &[usize]) {
    for format in quantized() {
        for (i, blocks) in [1, 2, 3, 9].into_iter().enumerate() {
            // A seed per case, so that each can be repeated alone.
            let mut rng = Rng(1000 * format as u64 + blocks as u64);
            let place = if i % 2 == 0 { Place::AtEnd } else { Place::AtStart };
            let cols = format.block_len() * if format.block_len() == 256 { blocks.min(4) } else { blocks };
            let data = Guarded::new(&random_weights(&mut rng, format, MOST, cols), place);
            let w = Matrix::new(format, data.bytes(), MOST, cols).unwrap();
            let x: Vec<_> =
                (0..MOST).map(|_| quantize(&(0..cols).map(|_| rng.float()).collect::<Vec<_>>())).collect();
            let want = reference(&w, &x);
            let all = Columns::new(&x, place);
            for kernels in kernels {
                for &rows in rows {
                    for &n in columns {
                        // The part that touches the guard page.
                        let (r0, c0) = match place {
                            Place::AtEnd => (MOST - rows, MOST - n),
                            Place::AtStart => (0, 0),
                        };
                        check(kernels, &w, &all.view(), (r0, rows), (c0, n), &want);
                    }
                }
            }
        }
    }
}

/// Weights at every distance from an alignment of 64 bytes.
pub fn misaligned_weights(kernels: &[Kernels], columns: &[usize]) {
    for format in quantized() {
        let mut rng = Rng(7 + format as u64);
        let cols = format.block_len() * 2;
        let data = random_weights(&mut rng, format, 17, cols);
        let x: Vec<_> =
            (0..MOST).map(|_| quantize(&(0..cols).map(|_| rng.float()).collect::<Vec<_>>())).collect();
        let want = reference(&Matrix::new(format, &data, 17, cols).unwrap(), &x);
        let all = Columns::new(&x, Place::AtEnd);
        for kernels in kernels {
            for shift in 0..64 {
                let shifted: Vec<u8> = std::iter::repeat_n(0xee, shift).chain(data.iter().copied()).collect();
                let shifted = Guarded::new(&shifted, Place::AtStart);
                let w = Matrix::new(format, &shifted.bytes()[shift..], 17, cols).unwrap();
                for &n in columns {
                    check(kernels, &w, &all.view(), (0, 17), (0, n), &want);
                }
            }
        }
    }
}

/// Extreme codes times extreme activations: nothing may saturate or wrap, whichever lanes they fall into.
pub fn extreme_codes_and_activations(kernels: &[Kernels]) {
    const PATTERNS: [[u8; 4]; 12] = [
        [0x00; 4],
        [0xff; 4],
        [0x0f; 4],
        [0xf0; 4],
        [0x80; 4],
        [0x7f; 4],
        [0x81; 4],
        [0x80, 0x7f, 0x80, 0x7f],
        [0xff, 0x00, 0xff, 0x00],
        [0xff, 0xff, 0x00, 0x00],
        [0x0f, 0xf0, 0x0f, 0xf0],
        [0xaa, 0x55, 0xaa, 0x55],
    ];
    for format in quantized() {
        let mut rng = Rng(format as u64);
        let (rows, cols) = (PATTERNS.len() + 12, format.block_len() * 2);
        let mut data = random_weights(&mut rng, format, rows, cols);
        let blocks = data.chunks_exact_mut(format.block_bytes());
        for (b, block) in blocks.enumerate().take(2 * PATTERNS.len()) {
            for (i, byte) in block.iter_mut().enumerate() {
                *byte = PATTERNS[b / 2][i % 4];
            }
            set_scales(format, block, 0x3c00);
        }
        // Signs of 127 by the bits of the position: all patterns of period up to 32, and random ones.
        let signs =
            (0..32u32).map(|mask| (0..cols as u32).map(|i| (i & mask).count_ones() % 2 == 1).collect());
        let random = (0..8).map(|_| (0..cols).map(|_| rng.next().is_multiple_of(2)).collect());
        let signs: Vec<Vec<bool>> = signs.chain(random).collect();
        let x: Vec<_> = signs
            .into_iter()
            .map(|signs| {
                let q: Vec<i8> = signs.into_iter().map(|minus| if minus { -127 } else { 127 }).collect();
                let sums = q.chunks(16).map(|half| half.iter().map(|q| i16::from(*q)).sum()).collect();
                Activation { d: vec![1.0; q.len() / 32], sums, q }
            })
            .collect();
        let w = Matrix::new(format, &data, rows, cols).unwrap();
        let want = reference(&w, &x);
        let columns = Columns::new(&x, Place::AtEnd);
        for kernels in kernels {
            check(kernels, &w, &columns.view(), (0, rows), (0, x.len()), &want);
            for c in 0..x.len() {
                check(kernels, &w, &columns.view(), (0, rows), (c, 1), &want);
            }
        }
    }
}

/// Infinite, NaN, subnormal, zero and largest scales on either side.
pub fn special_scales(kernels: &[Kernels]) {
    const F16: [u16; 9] = [0x7c00, 0xfc00, 0x7e00, 0x0001, 0x83ff, 0x0000, 0x8000, 0x7bff, 0x3c00];
    let scales = [f32::INFINITY, f32::NAN, 0.0, -0.0, 1e-45, f32::MIN_POSITIVE, f32::MAX, 1e30, 1.0];
    for format in quantized() {
        let mut rng = Rng(50 + format as u64);
        let (rows, cols) = (F16.len(), format.block_len() * 2);
        let mut data = random_weights(&mut rng, format, rows, cols);
        for (row, bits) in data.chunks_exact_mut(format.row_bytes(cols).unwrap()).zip(F16) {
            // The second block stays ordinary, so that what follows the special one is seen too.
            set_scales(format, &mut row[..format.block_bytes()], bits);
        }
        // Each twice: some tiers have kernels for many columns only.
        let x: Vec<_> = [scales; 2]
            .as_flattened()
            .iter()
            .map(|&d| {
                let mut x = quantize(&(0..cols).map(|_| rng.float()).collect::<Vec<_>>());
                x.d[0] = d;
                x
            })
            .collect();
        let w = Matrix::new(format, &data, rows, cols).unwrap();
        let want = reference(&w, &x);
        let columns = Columns::new(&x, Place::AtEnd);
        for kernels in kernels {
            for (c0, n) in [(0, x.len()), (0, scales.len()), (0, 1), (1, 1), (2, 3), (5, 4)] {
                check(kernels, &w, &columns.view(), (0, rows), (c0, n), &want);
            }
        }
    }
}

/// More columns than [`every_shape`] has.
pub fn many_columns(kernels: &[Kernels], columns: &[usize]) {
    for format in quantized() {
        let mut rng = Rng(90 + format as u64);
        let (rows, cols) = (17, format.block_len());
        let data = random_weights(&mut rng, format, rows, cols);
        let w = Matrix::new(format, &data, rows, cols).unwrap();
        let most = columns.iter().copied().max().unwrap_or(0);
        let x: Vec<_> =
            (0..most).map(|_| quantize(&(0..cols).map(|_| rng.float()).collect::<Vec<_>>())).collect();
        let want = reference(&w, &x);
        let all = Columns::new(&x, Place::AtEnd);
        for kernels in kernels {
            for &n in columns {
                check(kernels, &w, &all.view(), (0, rows), (most - n, n), &want);
            }
        }
    }
}
