//! Every float kernel of every tier against the reference, bit for bit: at every small size and around register tiles, with
//! guard pages at both ends, poison around the results, and special values.

mod support;

use kinglet_kernels::{Activation, Error, Format, Kernels, MatMut, Matrix};
use kinglet_reference::{dot_float::dot_float, elementwise, half, math, norm, rope};
use support::{Guarded, Place, Rng, emulated, same, tiers};

fn sizes() -> Vec<usize> {
    let more: &[usize] =
        if emulated() { &[64, 129] } else { &[48, 63, 64, 65, 100, 127, 128, 129, 576, 1000] };
    (1..=40).chain(more.iter().copied()).collect()
}

const SPECIAL: &[f32] = &[
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    -0.0,
    0.0,
    1e-40,
    -1e-40,
    f32::MAX,
    -f32::MAX,
    88.8,
    -103.9,
    -87.4,
    0.625,
    -0.875,
];

/// Ordinary values, every third row with special ones among them.
fn row(rng: &mut Rng, n: usize, special: bool) -> Vec<f32> {
    let mut one = |i: usize| {
        if special && rng.next().is_multiple_of(3) {
            SPECIAL[(rng.next() as usize + i) % SPECIAL.len()]
        } else {
            4.0 * rng.float()
        }
    };
    (0..n).map(&mut one).collect()
}

/// A function of one value, as the reference has it.
type Function = fn(f32) -> f32;
/// The kernel for it.
type InPlace = fn(&Kernels, &mut [f32]) -> Result<(), Error>;

fn bytes(x: &[f32]) -> &[u8] {
    bytemuck::cast_slice(x)
}

/// Runs a kernel on `x` and `w` into `y`, all between guard pages, and compares `y` with `want`.
fn check(
    what: &str,
    x: &[f32],
    w: &[f32],
    y: &[f32],
    want: &[f32],
    run: impl Fn(&Kernels, &[f32], &[f32], &mut [f32]) -> Result<(), Error>,
) {
    for kernels in tiers() {
        for place in [Place::AtStart, Place::AtEnd] {
            let (x, w, mut y) =
                (Guarded::new(bytes(x), place), Guarded::new(bytes(w), place), Guarded::new(bytes(y), place));
            run(&kernels, x.cast(), w.cast(), y.cast_mut()).unwrap();
            assert!(
                y.surroundings_are_intact(),
                "{what}.{} n {} wrote past its result",
                kernels.tier(),
                want.len()
            );
            for (i, (got, want)) in y.cast::<f32>().iter().zip(want).enumerate() {
                let (tier, n) = (kernels.tier(), x.cast::<f32>().len());
                assert!(same(*got, *want), "{what}.{tier} n {n}: {got:e} where {want:e} is expected at {i}");
            }
        }
    }
}

/// A result that a kernel must overwrite.
fn poison(n: usize) -> Vec<f32> {
    vec![f32::from_bits(0x7fc0_dead); n]
}

#[test]
fn norms() {
    let mut rng = Rng(1);
    for n in sizes() {
        for special in [false, true] {
            let (x, w, b) = (row(&mut rng, n, special), row(&mut rng, n, false), row(&mut rng, n, false));
            let y = poison(n);
            check("rms_norm", &x, &w, &y, &norm::rms_norm(&x, Some(&w), 1e-5), |k, x, w, y| {
                k.rms_norm(x, Some(w), 1e-5, y)
            });
            check("rms_norm", &x, &w, &y, &norm::rms_norm(&x, None, 1e-6), |k, x, _, y| {
                k.rms_norm(x, None, 1e-6, y)
            });
            check("rms_norm_in_place", &x, &w, &x, &norm::rms_norm(&x, Some(&w), 1e-5), |k, _, w, y| {
                k.rms_norm_in_place(y, Some(w), 1e-5)
            });
            let want = norm::layer_norm(&x, Some(&w), Some(&b), 1e-5);
            check("layer_norm", &x, &w, &y, &want, |k, x, w, y| k.layer_norm(x, Some(w), Some(&b), 1e-5, y));
            check("layer_norm_in_place", &x, &w, &x, &want, |k, _, w, y| {
                k.layer_norm_in_place(y, Some(w), Some(&b), 1e-5)
            });
            let want = norm::layer_norm(&x, Some(&w), None, 1e-5);
            check("layer_norm", &x, &w, &y, &want, |k, x, w, y| k.layer_norm(x, Some(w), None, 1e-5, y));
            let want = norm::layer_norm(&x, None, None, 1e-5);
            check("layer_norm", &x, &w, &y, &want, |k, x, _, y| k.layer_norm(x, None, None, 1e-5, y));
        }
    }
}

#[test]
fn rotary_embeddings() {
    let mut rng = Rng(2);
    for pairs in sizes() {
        // A head may be longer than what is rotated.
        for extra in [0, 3] {
            let x = row(&mut rng, 2 * pairs + extra, extra == 3);
            let table = row(&mut rng, 2 * pairs, false);
            let (cos, sin) = table.split_at(pairs);
            let mut want = x.clone();
            rope::rope_interleaved(&mut want, cos, sin);
            check("rope_interleaved", &x, &table, &x, &want, |k, _, t, y| {
                k.rope_interleaved(y, &t[..t.len() / 2], &t[t.len() / 2..])
            });
            let mut want = x.clone();
            rope::rope_half_split(&mut want, cos, sin);
            check("rope_half_split", &x, &table, &x, &want, |k, _, t, y| {
                k.rope_half_split(y, &t[..t.len() / 2], &t[t.len() / 2..])
            });
        }
    }
}

#[test]
fn elementwise_kernels() {
    let activations: [(Activation, Function); 5] = [
        (Activation::Silu, elementwise::silu),
        (Activation::GeluTanh, elementwise::gelu_tanh),
        (Activation::GeluErf, elementwise::gelu_erf),
        (Activation::Relu, elementwise::relu),
        (Activation::Relu2, elementwise::relu2),
    ];
    let mut rng = Rng(3);
    for n in sizes() {
        let (x, u) = (row(&mut rng, n, n % 2 == 0), row(&mut rng, n, n % 4 == 0));
        let of = |f: &dyn Fn(f32) -> f32| -> Vec<f32> { x.iter().map(|x| f(*x)).collect() };
        let with =
            |f: &dyn Fn(f32, f32) -> f32| -> Vec<f32> { x.iter().zip(&u).map(|(x, u)| f(*x, *u)).collect() };
        for (a, f) in activations {
            check(&format!("{a:?}"), &x, &u, &x, &of(&f), |k, _, _, y| k.activate(a, y));
            check(&format!("{a:?}_mul"), &x, &u, &x, &with(&|g, u| f(g) * u), |k, _, u, y| {
                k.activate_mul(a, y, u)
            });
        }
        check("exp", &x, &u, &x, &of(&math::exp), |k, _, _, y| k.exp(y));
        check("tanh", &x, &u, &x, &of(&math::tanh), |k, _, _, y| k.tanh(y));
        check("erf", &x, &u, &x, &of(&math::erf), |k, _, _, y| k.erf(y));
        check("add", &x, &u, &x, &with(&|x, u| x + u), |k, _, u, y| k.add(y, u));
        check("add_scaled", &x, &u, &x, &with(&|x, u| x + u * 0.3), |k, _, u, y| k.add_scaled(y, u, 0.3));
        check("scale", &x, &u, &x, &of(&|x| x * 0.3), |k, _, _, y| k.scale(y, 0.3));
        check("softcap", &x, &u, &x, &of(&|x| elementwise::softcap(x, 30.0)), |k, _, _, y| {
            k.softcap(y, 30.0)
        });
        check("softmax", &x, &u, &x, &elementwise::softmax(&x), |k, _, _, y| k.softmax(y));
    }
}

/// Every binade and both signs, which random rows do not reach.
#[test]
fn functions_over_all_magnitudes() {
    let step = if emulated() { 2_000_003 } else { 65_537 };
    let x: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
    let functions: [(&str, Function, InPlace); 3] = [
        ("exp", math::exp, |k, y| k.exp(y)),
        ("tanh", math::tanh, |k, y| k.tanh(y)),
        ("erf", math::erf, |k, y| k.erf(y)),
    ];
    for (name, f, run) in functions {
        let want: Vec<f32> = x.iter().map(|x| f(*x)).collect();
        check(name, &x, &[], &x, &want, |k, _, _, y| run(k, y));
    }
}

#[test]
fn float_matmul() {
    let mut rng = Rng(4);
    let ks: &[usize] = if emulated() { &[1, 17, 64] } else { &[1, 2, 7, 15, 16, 17, 31, 33, 64, 100, 576] };
    for format in [Format::F32, Format::F16, Format::BF16] {
        for &k in ks {
            for (rows, n) in
                (1..=9).flat_map(|r| (1..=7).map(move |n| (r, n))).chain([(17, 1), (17, 17), (33, 3)])
            {
                let (mut data, mut wide) = (Vec::new(), Vec::new());
                for w in row(&mut rng, rows * k, rows % 5 == 4) {
                    match format {
                        Format::F32 => {
                            data.extend(w.to_le_bytes());
                            wide.push(w);
                        }
                        Format::F16 => {
                            data.extend(half::to_f16(w).to_le_bytes());
                            wide.push(half::from_f16(half::to_f16(w)));
                        }
                        _ => {
                            let bits = (w.to_bits() >> 16) as u16;
                            data.extend(bits.to_le_bytes());
                            wide.push(half::from_bf16(bits));
                        }
                    }
                }
                let x = row(&mut rng, n * k, rows % 7 == 6);
                let want: Vec<f32> =
                    x.chunks(k).flat_map(|x| wide.chunks(k).map(move |w| dot_float(w, x))).collect();
                for place in [Place::AtStart, Place::AtEnd] {
                    let data = Guarded::new(&data, place);
                    let w = Matrix::new(format, data.bytes(), rows, k).unwrap();
                    check(
                        &format!("{format}.matmul k {k} rows {rows}"),
                        &x,
                        &[],
                        &poison(n * rows),
                        &want,
                        |kernels, x, _, y| kernels.matmul_float(&w, x, &mut MatMut::new(y, rows, n)?),
                    );
                }
            }
        }
    }
}

/// Any row of a float matrix, also one whose bytes are not aligned for its type.
#[test]
fn float_rows_widen_exactly() {
    let mut rng = Rng(5);
    for (format, width) in [(Format::F32, 4), (Format::F16, 2), (Format::BF16, 2)] {
        for (rows, cols) in (1..=40).map(|n| (n % 3 + 1, n)) {
            let data: Vec<u8> = (0..rows * cols * width).map(|_| rng.next() as u8).collect();
            let widen = |b: &[u8]| match format {
                Format::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
                Format::F16 => half::from_f16(u16::from_le_bytes([b[0], b[1]])),
                _ => half::from_bf16(u16::from_le_bytes([b[0], b[1]])),
            };
            let shifted = Guarded::new(&[&[0], data.as_slice()].concat(), Place::AtEnd);
            let w = Matrix::new(format, &shifted.bytes()[1..], rows, cols).unwrap();
            for r in 0..rows {
                let row = &data[r * cols * width..][..cols * width];
                let want: Vec<f32> = row.chunks(width).map(widen).collect();
                check(&format!("{format}.dequantize_row"), &want, &[], &poison(cols), &want, |k, _, _, y| {
                    k.dequantize_row(&w, r, y)
                });
            }
        }
    }
}

#[test]
fn misaligned_float_weights_multiply_as_aligned_ones() {
    let mut rng = Rng(6);
    for (format, width) in [(Format::F32, 4), (Format::F16, 2), (Format::BF16, 2)] {
        let (rows, k, n) = (5, 37, 4);
        // Bytes of ordinary numbers: every value's exponent is that of 1, in each of the three formats.
        let top = if format == Format::F16 { 0x3c } else { 0x3f };
        let mut data: Vec<u8> = (0..rows * k * width).map(|_| rng.next() as u8).collect();
        data.chunks_mut(width).for_each(|w| w[width - 1] = top);
        let x = row(&mut rng, n * k, false);
        let product = |kernels: &Kernels, bytes: &[u8]| {
            let (w, mut y) = (Matrix::new(format, bytes, rows, k).unwrap(), poison(n * rows));
            kernels.matmul_float(&w, &x, &mut MatMut::new(&mut y, rows, n).unwrap()).unwrap();
            y
        };
        for kernels in tiers() {
            let want = product(&kernels, Guarded::new(&data, Place::AtStart).bytes());
            for shift in 1..4 {
                let shifted = Guarded::new(&[&vec![0; shift], data.as_slice()].concat(), Place::AtStart);
                let got = product(&kernels, &shifted.bytes()[shift..]);
                let tier = kernels.tier();
                assert!(
                    got.iter().zip(&want).all(|(a, b)| same(*a, *b)),
                    "{format}.{tier} shifted by {shift}"
                );
            }
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let k = Kernels::detect().unwrap();
    let (a, mut b) = ([0.0; 8], [0.0; 9]);
    assert!(k.rms_norm(&a, None, 1e-5, &mut b).is_err());
    assert!(k.rms_norm_in_place(&mut b, Some(&a), 1e-5).is_err());
    assert!(k.layer_norm(&b, Some(&b), Some(&a), 1e-5, &mut [0.0; 9]).is_err());
    assert!(k.rope_half_split(&mut b, &[0.0; 5], &[0.0; 5]).is_err());
    assert!(k.rope_interleaved(&mut b, &[0.0; 4], &[0.0; 3]).is_err());
    assert!(k.activate_mul(Activation::Silu, &mut b, &a).is_err());
    assert!(k.add(&mut b, &a).is_err());
    let w = Matrix::new(Format::F32, &[0; 64], 2, 8).unwrap();
    assert!(k.matmul_float(&w, &b, &mut MatMut::new(&mut [0.0; 2], 2, 1).unwrap()).is_err());
    assert!(k.dequantize_row(&w, 1, &mut [0.0; 8]).is_ok());
    assert!(k.dequantize_row(&w, 1, &mut [0.0; 7]).is_err());
    let empty = Matrix::new(Format::F32, &[], 2, 0).unwrap();
    assert!(k.dequantize_row(&empty, usize::MAX, &mut []).is_err());
    for row in [2, usize::MAX / 32, usize::MAX] {
        assert!(k.dequantize_row(&w, row, &mut [0.0; 8]).is_err());
    }
}
