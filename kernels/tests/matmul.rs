//! `matmul` of every tier, the portable one included, against the reference: every format, bit for bit.
//!
//! Shapes lie below, at and above every tile edge.

mod support;

use kinglet_kernels::{Format, MatMut, Matrix};
use kinglet_reference::quantize::quantize;
use support::matmul::{self, Columns, MOST};
use support::{Place, Rng, same, tiers};

#[test]
fn every_shape_around_the_tiles() {
    let rows: Vec<usize> = (1..=20).chain([31, 32, 33, 48, MOST]).collect();
    let columns: Vec<usize> = (1..=14).chain([17, MOST]).collect();
    matmul::every_shape(&tiers(), &rows, &columns);
}

#[test]
fn misaligned_weights() {
    matmul::misaligned_weights(&tiers(), &[1, 6]);
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
fn more_columns_than_are_worked_on_at_once() {
    matmul::many_columns(&tiers(), &[512, 513, 531]);
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
    let mut x: Vec<f32> = (0..32 * 64).map(|_| rng.float()).collect();
    for (i, special) in [f32::NAN, f32::INFINITY, -0.0, 1e-38, -f32::MAX, 3e-31].into_iter().enumerate() {
        x[32 * i..32 * i + 32].fill(special);
        x[32 * (10 + i) + 5] = special;
    }
    let want = quantize(&x);
    for kernels in tiers() {
        let (mut q, mut d, mut sums) = (vec![99; x.len()], vec![9.0; x.len() / 32], vec![99; x.len() / 16]);
        kernels.quantize(&x, &mut q, &mut d, &mut sums).unwrap();
        assert_eq!((&want.q, &want.sums), (&q, &sums), "{}", kernels.tier());
        assert!(want.d.iter().zip(&d).all(|(a, b)| same(*a, *b)), "{}", kernels.tier());
    }
}
