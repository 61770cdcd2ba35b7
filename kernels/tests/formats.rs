//! The portable decoder of every format against golden data of the `gguf` Python package
//! (`reference/oracle/formats.py`), and against the contract's formula.
//!
//! Bits are equal, not close: every product of scales and codes is exact in f32, so the order of multiplication does not
//! matter, and formats with mins round once in both implementations.

use kinglet_kernels::Format;
use kinglet_kernels::format::{Mins, decode_groups, dequantize_row};
use kinglet_reference::{dequantize, dot_quantized};

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// `(format, blocks, expected weights)` of every format in the fixture.
fn golden() -> Vec<(Format, Vec<u8>, Vec<f32>)> {
    let mut rest: &[u8] = include_bytes!("data/formats.bin");
    let mut take = |n: usize| {
        let (head, tail) = rest.split_at(n);
        rest = tail;
        head
    };
    let mut out = Vec::new();
    while out.len() < Format::ALL.iter().filter(|f| !f.is_float()).count() {
        let mut word = || u32::from_le_bytes(take(4).try_into().unwrap());
        let (id, blocks) = (word(), word() as usize);
        let format = Format::from_ggml(id).unwrap();
        let data = take(blocks * format.block_bytes()).to_vec();
        let values = take(4 * blocks * format.block_len()).chunks(4);
        let values = values.map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
        out.push((format, data, values));
    }
    assert!(rest.is_empty());
    out
}

#[test]
fn every_format_decodes_as_the_oracle() {
    let golden = golden();
    for &format in Format::ALL.iter().filter(|f| !f.is_float()) {
        let (_, data, want) = golden.iter().find(|g| g.0 == format).expect("a format without golden data");
        let mut got = vec![f32::from_bits(0x7fc0_dead); want.len()];
        assert!(dequantize_row(format, data, &mut got));
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(same(*got, *want), "{format}: weight {i} is {got:e}, expected {want:e}");
        }
    }
}

#[test]
fn dequantize_is_the_contracts() {
    for (format, data, _) in golden() {
        let mut got = vec![0.0; data.len() / format.block_bytes() * format.block_len()];
        assert!(dequantize_row(format, &data, &mut got));
        let mins = match format.mins() {
            Mins::None => dot_quantized::Mins::None,
            Mins::Per32 => dot_quantized::Mins::Per32,
            Mins::Per16 => dot_quantized::Mins::Per16,
        };
        let mut groups = 0;
        assert!(decode_groups(format, &data, |g, w| {
            let s = w.s.map(|s| i8::try_from(s).expect("the contract's range of s"));
            let group = dot_quantized::Group { q: w.q, s, d: w.d, m: w.m };
            let want = dequantize::dequantize(&group, mins);
            assert!(got[32 * g..][..32].iter().zip(want).all(|(a, b)| same(*a, b)), "{format}: group {g}");
            // The bound that makes isum exact in f32, whatever the activations.
            let sum: i32 = (0..32).map(|i| i32::from(w.s[i / 16]) * i32::from(w.q[i])).map(i32::abs).sum();
            assert!(sum * 127 < 1 << 24, "{format}: group {g}");
            assert!(mins != dot_quantized::Mins::Per32 || same(w.m[0], w.m[1]));
            groups += 1;
        }));
        assert_eq!(groups * 32, got.len());
    }
}

#[test]
fn lengths_that_do_not_fit_leave_the_output_alone() {
    for &format in Format::ALL {
        let mut out = vec![7.0; 2 * format.block_len()];
        let data = vec![0; 2 * format.block_bytes()];
        assert!(!dequantize_row(format, &data[1..], &mut out), "{format}");
        assert!(!dequantize_row(format, &data, &mut out[1..]), "{format}");
        assert!(!decode_groups(format, &data[1..], |_, _| panic!("{format}")) || format.block_bytes() == 1);
        assert_eq!(dequantize_row(format, &data, &mut out), !format.is_float(), "{format}");
        assert_eq!(format.is_float(), out[0] == 7.0);
    }
}
