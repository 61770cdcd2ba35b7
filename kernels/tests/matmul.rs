//! `matmul` of every tier, the portable one included, against the reference: every format, bit for bit.
//!
//! Shapes lie below, at and above every tile edge.

mod support;

use kinglet_kernels::{Format, MatMut, Matrix, QuantizedMut};
use kinglet_reference::quantize::quantize;
use support::matmul::{self, Columns, MOST};
use support::{Guarded, Place, Rng, same, tiers};

#[test]
fn every_shape_around_the_tiles() {
    let rows: Vec<usize> = (1..=20).chain([31, 32, 33, 48, MOST]).collect();
    let columns: Vec<usize> = (1..=14).chain([17, MOST]).collect();
    matmul::every_shape(&tiers(), &rows, &columns);
}

#[test]
fn misaligned_weights() {
    matmul::misaligned_weights(&tiers(), &[1, 6, 9]);
}

#[test]
fn extreme_codes_and_activations() {
    matmul::extreme_codes_and_activations(&tiers());
}

#[test]
fn special_scales() {
    matmul::special_scales(&tiers());
}

#[test]
fn many_columns() {
    // On AVX-512 those over 128 have loops of their own, whose register tiles are 6 wide; at 512 everything begins anew.
    matmul::many_columns(&tiers(), &[128, 129, 130, 131, 132, 133, 134, 512, 513, 531]);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    for kernels in tiers() {
        for &format in Format::ALL {
            let cols = format.block_len().max(32);
            let data = vec![0; 3 * format.row_bytes(cols).unwrap()];
            let w = Matrix::new(format, &data, 3, cols).unwrap();
            let x = Columns::new(&[quantize(&vec![1.0; cols])], Place::AtEnd);
            let long = Columns::new(&[quantize(&vec![1.0; 2 * cols])], Place::AtEnd);
            let (mut y, mut scratch) = (vec![0.0; 4], vec![0; kernels.matmul_scratch(&w)]);
            let mut run = |w: &Matrix<'_>, x: &Columns, rows: usize, scratch: &mut [u8]| {
                kernels
                    .matmul(w, &x.view(), &mut MatMut::new(&mut y[..rows], rows, 1).unwrap(), scratch)
                    .is_ok()
            };
            assert_eq!(run(&w, &x, 3, &mut scratch), !format.is_float(), "{format}");
            assert!(!run(&w, &long, 3, &mut scratch), "{format}: other lengths");
            assert!(!run(&w, &x, 4, &mut scratch), "{format}: other rows");
            if let Some(less) = scratch.len().checked_sub(1) {
                assert!(!run(&w, &x, 3, &mut scratch[..less]), "{format}: too little scratch");
            }
            // Nothing to do is no error.
            assert_eq!(
                run(&w.slice_rows(1..1), &x, 0, &mut scratch),
                !format.is_float(),
                "{format}: no rows"
            );
        }
    }
}

#[test]
fn every_tier_quantizes_as_the_reference() {
    let mut rng = Rng(7);
    // Blocks are worked on by fours and these in chunks of 32 blocks; a special one changes the way of its chunk.
    let smallest = 1.0 / (1u128 << 100) as f32;
    let specials =
        [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-38, 1e-45, -f32::MAX]
            .into_iter()
            .chain([smallest, -smallest, smallest.next_down(), 3e-31]);
    let sizes = (0..=13).chain([31, 32, 33, 34, 35, 36, 37, 63, 64, 65]);
    let mut rows: Vec<Vec<f32>> =
        sizes.map(|blocks| (0..32 * blocks).map(|_| rng.float()).collect()).collect();
    for (special, blocks) in specials.flat_map(|s| [(s, 9), (s, 67)]) {
        for whole in [false, true] {
            let mut x: Vec<f32> = (0..32 * blocks).map(|_| rng.float()).collect();
            let at = rng.next() as usize % x.len();
            if whole {
                x[at / 32 * 32..][..32].fill(special);
            } else {
                x[at] = special;
            }
            rows.push(x);
        }
    }
    // The largest value of a block in each of its places.
    rows.push(
        (0..32)
            .flat_map(|at| (0..32).map(move |i| if i == at { -7.0 } else { 1.0 - i as f32 / 32.0 }))
            .collect(),
    );
    for (x, kernels) in rows.iter().flat_map(|x| tiers().into_iter().map(move |k| (x, k))) {
        let (want, n, tier) = (quantize(x), x.len(), kernels.tier());
        for place in [Place::AtStart, Place::AtEnd] {
            let x = Guarded::new(bytemuck::cast_slice(x), place);
            let [mut q, mut d, mut sums] =
                [n, n / 8, n / 8].map(|bytes| Guarded::new(&vec![99; bytes], place));
            kernels.quantize(x.cast(), q.cast_mut(), d.cast_mut(), sums.cast_mut()).unwrap();
            assert_eq!((&want.q[..], &want.sums[..]), (q.cast(), sums.cast()), "{tier}, {n} values");
            assert!(want.d.iter().zip(d.cast()).all(|(a, b)| same(*a, *b)), "{tier}, {n} values");
            assert!([x, q, d, sums].iter().all(Guarded::surroundings_are_intact), "{tier}, {n} values");
        }
    }
}

#[test]
fn rows_are_quantized_where_they_are_and_nowhere_else() {
    let mut rng = Rng(9);
    // Up to 96 values rows are gathered by 1024 values; n is around that.
    for (k, n) in
        [32, 64, 96, 128, 160].into_iter().flat_map(|k| [0, 1, 9, 10, 11, 32, 33, 40].map(|n| (k, n)))
    {
        let x: Vec<f32> = (0..n * k).map(|_| rng.float()).collect();
        // In the middle of longer rows.
        let (before, stride) = (32, 32 + k + 64);
        let size = n * stride;
        let mut want = (vec![99; size], vec![-9.0; size / 32], vec![77; size / 16]);
        for (r, x) in x.chunks(k).enumerate() {
            let (at, row) = (r * stride + before, quantize(x));
            want.0[at..][..k].copy_from_slice(&row.q);
            want.1[at / 32..][..k / 32].copy_from_slice(&row.d);
            want.2[at / 16..][..k / 16].copy_from_slice(&row.sums);
        }
        for kernels in tiers() {
            let (mut q, mut d, mut sums) = (vec![99; size], vec![-9.0; size / 32], vec![77; size / 16]);
            let all = QuantizedMut::new(&mut q, &mut d, &mut sums, n, stride).unwrap();
            let mut out = all.split(before).1.split(k).0;
            kernels.quantize_rows(&x, &mut out).unwrap();
            assert!(kernels.quantize_rows(&vec![0.0; n * k + 1], &mut out).is_err());
            assert_eq!((&q, &d, &sums), (&want.0, &want.1, &want.2), "{}, {n} rows of {k}", kernels.tier());
        }
    }
    // The same by addresses, of which only the rows are ours.
    let (x, mut got) = ([2.0; 64], ([99i8; 96], [-9f32; 3], [77i16; 6]));
    for kernels in tiers() {
        let (q, d, sums) = (got.0.as_mut_ptr(), got.1.as_mut_ptr(), got.2.as_mut_ptr());
        // SAFETY: two rows of 32, 64 apart, in 96 values; refused, or nothing is written.
        let room = |n, k, stride| unsafe { QuantizedMut::from_raw_parts(q, d, sums, n, k, stride) };
        let huge = usize::MAX / 32 * 32;
        for (n, k, stride) in [(2, 31, 64), (2, 32, 63), (2, 64, 32), (3, 32, huge), (1, huge, huge)] {
            assert!(room(n, k, stride).is_err(), "{n} rows of {k}, {stride} apart");
        }
        assert!(room(0, 64, huge).is_ok());
        kernels.quantize_rows(&x, &mut room(2, 32, 64).unwrap()).unwrap();
        let row = quantize(&x[..32]);
        for r in [0, 64] {
            assert_eq!(got.0[r..][..32], row.q[..]);
            assert_eq!((&got.1[r / 32..][..1], &got.2[r / 16..][..2]), (&row.d[..], &row.sums[..]));
        }
        assert_eq!((&got.0[32..64], got.1[1], &got.2[2..4]), (&[99; 32][..], -9.0, &[77; 2][..]));
    }
    for kernels in tiers() {
        let mut nothing = QuantizedMut::new(&mut [], &mut [], &mut [], 3, 0).unwrap();
        kernels.quantize_rows(&[], &mut nothing).unwrap();
    }
}
