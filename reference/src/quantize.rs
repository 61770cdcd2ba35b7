//! Activation quantization, contract section 1.

/// One activation row in blocks of 32.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation {
    /// Codes, one per value.
    pub q: Vec<i8>,
    /// Scales, one per 32 values.
    pub d: Vec<f32>,
    /// Sums of codes, one per 16 values.
    pub sums: Vec<i16>,
}

/// Quantizes `x`, a multiple of 32 values.
pub fn quantize(x: &[f32]) -> Activation {
    let mut a = Activation { q: Vec::new(), d: Vec::new(), sums: Vec::new() };
    for block in x.chunks(32) {
        let mut amax = 0.0f32;
        for v in block {
            if v.abs() > amax {
                amax = v.abs();
            }
        }
        let smallest = 1.0 / (1u128 << 100) as f32;
        let (d, q): (f32, Vec<i8>) = if block.iter().any(|v| !v.is_finite()) {
            (f32::NAN, vec![0; 32])
        } else if amax < smallest {
            (0.0, vec![0; 32])
        } else {
            let id = 127.0 / amax;
            (amax / 127.0, block.iter().map(|v| (v * id).round_ties_even() as i8).collect())
        };
        a.d.push(d);
        a.sums.extend(q.chunks(16).map(|half| half.iter().map(|q| i16::from(*q)).sum::<i16>()));
        a.q.extend(q);
    }
    a
}
