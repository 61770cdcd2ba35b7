//! The measurements behind the numerical contract, as Markdown: `cargo run --release -p kinglet-bench --example contract`.
//!
//! First accuracy, which is the same on every machine, then speed, where the variants of a question take turns within the
//! same seconds and the median of the ratios is shown. `bench/log/contract.md` keeps one run and says what was chosen.

#[path = "contract/accuracy.rs"]
mod accuracy;
#[cfg(target_arch = "x86_64")]
#[path = "contract/speed.rs"]
mod speed;

/// SplitMix64, and a sum of four for something like a normal distribution with variance 1.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn normal(&mut self) -> f32 {
        let sum: i64 = (0..4).map(|_| (self.next() >> 40) as i64 - (1 << 23)).sum();
        sum as f32 / (1 << 23) as f32 * 0.866
    }

    /// `n` normal values, `outliers` of them 20 times as large.
    fn row(&mut self, n: usize, outliers: usize) -> Vec<f32> {
        let mut row: Vec<f32> = (0..n).map(|_| self.normal()).collect();
        for _ in 0..outliers {
            let at = self.next() as usize % n;
            row[at] *= 20.0;
        }
        row
    }
}

fn main() {
    accuracy::print();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        speed::print();
    } else {
        println!("speed: NOT RUN: the CPU has no AVX2");
    }
}
