//! A suite of something that is not kinglet: two ways to sort. A program like this is all that record, compare and calibrate need.
//!
//!     cargo build --release -p kinglet-bench --example other_suite
//!     kinglet-bench record  --program cmd:target/release/examples/other_suite --output sorting.jsonl
//!     kinglet-bench compare cmd:target/release/examples/other_suite 'cmd:target/release/examples/other_suite --slow'
//!
//! `--slow` does some of the work twice: the second command must find it.

use kinglet_bench::checksum::Checksum;
use kinglet_bench::record::{Layer, Revision, Spec, Unit, Work};
use kinglet_bench::suite::{Entry, Run, Suite};
use kinglet_bench::worker;

const LEN: usize = 10_000;

struct Sorting {
    slow: bool,
}

impl Suite for Sorting {
    fn name(&self) -> &str {
        "sorting"
    }

    fn list(&self) -> Vec<Entry> {
        let entry = |name: &str| {
            let work = Work { bytes: 4 * LEN as u64, ..Work::default() };
            // Both sorts have the same answer. A wrong one is a failure and not a number.
            let expected = Some("d0400f811d69a352".to_owned());
            let spec =
                Spec { name: name.to_owned(), layer: Layer::Operation, unit: Unit::Ns, work, expected };
            Entry { spec, skip: None }
        };
        vec![entry("sort"), entry("sort_unstable")]
    }

    fn prepare(&mut self, name: &str) -> Result<Box<dyn Run>, String> {
        let stable = match name {
            "sort" => true,
            "sort_unstable" => false,
            other => return Err(format!("no benchmark `{other}`")),
        };
        let data: Vec<f32> = (0..LEN).map(|i| ((i * 7919) % 10_007) as f32).collect();
        Ok(Box::new(Sort { sorted: data.clone(), data, stable, twice: self.slow && stable }))
    }
}

struct Sort {
    data: Vec<f32>,
    sorted: Vec<f32>,
    stable: bool,
    twice: bool,
}

impl Run for Sort {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        for _ in 0..iterations {
            for _ in 0..1 + u32::from(self.twice) {
                self.sorted.copy_from_slice(&self.data);
                if self.stable {
                    self.sorted.sort_by(f32::total_cmp);
                } else {
                    self.sorted.sort_unstable_by(f32::total_cmp);
                }
            }
            std::hint::black_box(&mut self.sorted);
        }
        // The clock around this call is the measure.
        Ok(None)
    }

    fn checksum(&mut self) -> Result<String, String> {
        self.run(1)?;
        Ok(Checksum::of(&self.sorted))
    }
}

fn main() -> std::io::Result<()> {
    let slow = std::env::args().any(|a| a == "--slow");
    worker::serve(&mut Sorting { slow }, env!("CARGO_PKG_VERSION"), Revision::default(), &[])
}
