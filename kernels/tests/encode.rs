//! What is encoded decodes to what it was, as nearly as the format allows, and to the same bytes on every CPU.

use kinglet_kernels::Format;
use kinglet_kernels::format::{EncodeError, MAX_F16, dequantize_row, encode_row, encodes};

/// Uniform in 0..1, the same everywhere.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u32 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    /// Student's t with four degrees of freedom.
    fn heavy(&mut self) -> f32 {
        let spread = (0..4).map(|_| self.normal()).fold(0.0, |s, n| s + n * n) / 4.0;
        self.normal() / spread.sqrt()
    }
}

fn encode(format: Format, row: &[f32]) -> Vec<u8> {
    let mut out = vec![0xa5; format.row_bytes(row.len()).unwrap()];
    encode_row(format, row, &mut out).unwrap();
    out
}

fn decode(format: Format, bytes: &[u8], len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    dequantize_row(format, bytes, &mut out);
    out
}

fn rms(x: impl Iterator<Item = f32>, n: usize) -> f64 {
    (x.map(|x| f64::from(x) * f64::from(x)).sum::<f64>() / n as f64).sqrt()
}

/// rms of the error in parts of the values' own rms.
fn error(format: Format, row: &[f32]) -> f64 {
    let back = decode(format, &encode(format, row), row.len());
    rms(back.iter().zip(row).map(|(a, b)| a - b), row.len()) / rms(row.iter().copied(), row.len())
}

fn quantized() -> impl Iterator<Item = Format> {
    Format::ALL.iter().copied().filter(|f| encodes(*f) && !f.is_float())
}

/// Per cent of rms error for normally distributed values and for heavy tails: at most a hundredth more than was measured, which
/// is below llama.cpp's (bench/log/quantize.md).
#[test]
fn errors_are_as_small_as_measured() {
    let mut random = Random(1);
    let normal: Vec<f32> = (0..1 << 17).map(|_| random.normal() * 0.02).collect();
    let heavy: Vec<f32> = (0..1 << 17).map(|_| random.heavy() * 0.02).collect();
    let limits = [
        (Format::Q4_0, 8.108, 11.044),
        (Format::Q4_1, 6.956, 8.363),
        (Format::Q5_0, 4.007, 5.576),
        (Format::Q5_1, 3.347, 4.026),
        (Format::Q8_0, 0.536, 0.726),
        (Format::IQ4_NL, 7.348, 8.984),
        (Format::Q4_K, 6.995, 8.437),
        (Format::Q5_K, 3.443, 4.158),
        (Format::Q6_K, 1.669, 2.159),
    ];
    assert!(quantized().all(|f| limits.iter().any(|l| l.0 == f)), "a format without a limit");
    for (format, of_normal, of_heavy) in limits {
        for (what, x, limit) in [("normal", &normal, of_normal), ("heavy", &heavy, of_heavy)] {
            let e = 100.0 * error(format, x);
            assert!(e <= 1.01 * limit && e >= 0.9 * limit, "{format}, {what}: {e:.3} %, not {limit} %");
        }
    }
}

/// FNV-1a of what a format makes of all kinds of rows: the same on every CPU.
#[test]
fn bytes_are_the_same_everywhere() {
    let mut random = Random(2);
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for scale in [1e-12, 1e-7, 1e-4, 0.02, 1.0, 1e4] {
        rows.push((0..1024).map(|_| random.normal() * scale).collect());
        rows.push((0..1024).map(|_| random.heavy() * scale * 0.1 + scale).collect());
    }
    // Zeros of both signs.
    rows.push((0..1024).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect());
    rows.push((0..1024).map(|i| if i % 7 == 0 { 1.0 } else { [0.0, -0.0][i % 2] }).collect());
    let hash = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
    };
    let found: Vec<(Format, u64)> = quantized()
        .map(|f| (f, hash(&rows.iter().flat_map(|row| encode(f, row)).collect::<Vec<u8>>())))
        .collect();
    let expected = [
        (Format::Q4_0, 0x8f927ad4552064ca),
        (Format::Q4_1, 0x4604418cfa3f3426),
        (Format::Q5_0, 0x8e7727a187bd3b3c),
        (Format::Q5_1, 0x21f824955221bf43),
        (Format::Q8_0, 0x3ce47b054c3c34e6),
        (Format::Q4_K, 0xc0e190c2be941bed),
        (Format::Q5_K, 0x7f8696dce8ed7467),
        (Format::Q6_K, 0xaff9c4b61c5a27b8),
        (Format::IQ4_NL, 0xb34dfbe858a860f),
    ];
    assert_eq!(found, expected, "{found:#x?}");
}

#[test]
fn odd_rows() {
    let spike =
        |at: usize, value: f32| (0..256).map(|i| if i == at { value } else { 0.0 }).collect::<Vec<f32>>();
    for format in quantized() {
        assert!(decode(format, &encode(format, &[0.0; 256]), 256).iter().all(|x| *x == 0.0), "{format}");
        for value in [1.0, -1.0, 3e-5, -MAX_F16, MAX_F16] {
            for row in [vec![value; 256], spike(0, value), spike(255, value)] {
                let e = error(format, &row);
                // IQ4_NL has no zero: the smallest of its values is 1 of 127.
                assert!(e < if format == Format::IQ4_NL { 0.05 } else { 0.02 }, "{format}: {e} for {value}");
            }
        }
        // Too small for any scale: nothing is left, and nothing else is made of it.
        let tiny = decode(format, &encode(format, &[1e-20; 256]), 256);
        assert!(tiny.iter().all(|x| x.abs() < 1e-6), "{format}: {tiny:?}");
        // The smallest that a scale holds, and a block among others that are far larger.
        let mut mixed: Vec<f32> = (0..256).map(|i| ((i * 37) % 64) as f32 - 31.5).collect();
        mixed[64..96].iter_mut().for_each(|x| *x *= 1e-3);
        assert!(error(format, &mixed) < 0.12, "{format}: {}", error(format, &mixed));
        let small: Vec<f32> = mixed.iter().map(|x| x * 1e-8).collect();
        // Of values about as small as the smallest scale little is left.
        assert!(error(format, &small) < 1.05, "{format}: {}", error(format, &small));
    }
}

#[test]
fn what_cannot_be_encoded_is_an_error() {
    for format in Format::ALL.iter().copied() {
        let bytes = format.row_bytes(256).unwrap();
        let mut out = vec![0x5a; bytes];
        let try_row = |row: &[f32], out: &mut [u8]| {
            let result = encode_row(format, row, out);
            assert!(
                result.is_ok() || out.iter().all(|b| *b == 0x5a),
                "{format}: written in spite of {result:?}"
            );
            result
        };
        if !encodes(format) {
            assert_eq!(try_row(&[0.0; 256], &mut out), Err(EncodeError::Format(format)));
            continue;
        }
        assert_eq!(try_row(&[0.0; 256], &mut out[1..]), Err(EncodeError::Length), "{format}");
        if format.block_len() > 1 {
            assert_eq!(try_row(&[0.0; 250], &mut out), Err(EncodeError::Length), "{format}");
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = [0.0; 256];
            row[200] = value;
            let result = try_row(&row, &mut out);
            assert!(matches!(result, Err(EncodeError::NotFinite { at: 200, .. })), "{format}: {result:?}");
        }
        let mut row = [0.0; 256];
        row[3] = -1e6;
        let fits = matches!(format, Format::F32 | Format::BF16);
        let wanted = if fits { Ok(()) } else { Err(EncodeError::TooLarge { at: 3, value: -1e6 }) };
        assert_eq!(try_row(&row, &mut out), wanted, "{format}");
    }
}
