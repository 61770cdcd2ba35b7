//! Checksums of answers: FNV-1a over the bits of floats, the same on every machine because results are.

/// A checksum in the making.
#[derive(Debug, Clone, Copy)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Checksum {
        Checksum(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// The checksum of `values`, 16 digits.
    pub fn of(values: &[f32]) -> String {
        let mut sum = Checksum::default();
        sum.floats(values);
        sum.finish()
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Adds floats; every NaN is the same.
    pub fn floats(&mut self, values: &[f32]) {
        for v in values {
            let bits = if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() };
            self.bytes(&bits.to_le_bytes());
        }
    }

    /// 16 hexadecimal digits.
    pub fn finish(self) -> String {
        format!("{:016x}", self.0)
    }
}
