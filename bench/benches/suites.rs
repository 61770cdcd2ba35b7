//! Criterion over the suites' files: `cargo bench -p kinglet-bench`, its reports, `critcmp`.
//!
//!     cargo bench -p kinglet-bench -- 'q4_k\.gemv\.avx2'
//!     KINGLET_BENCH_SUITES=gate cargo bench -p kinglet-bench -- --save-baseline before
//!
//! `KINGLET_BENCH_SUITES` is a comma-separated list; kernels and operations by default. An answer that is wrong ends the program.

use criterion::{Criterion, Throughput};
use kinglet_bench::record::Unit;
use kinglet_bench::suite::Suite;
use kinglet_bench::suites::KingletSuite;
use std::cell::OnceCell;
use std::time::Duration;

fn main() {
    let names = std::env::var("KINGLET_BENCH_SUITES").unwrap_or_else(|_| "kernels,operations".to_owned());
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for name in names.split(',') {
        let suite = KingletSuite::find(name, std::env::var_os("KINGLET_BENCH_MODEL").map(Into::into));
        match suite {
            Ok(mut suite) => measure(&mut criterion, &mut suite),
            Err(e) => {
                eprintln!("error: {e}");
                std::process::exit(2);
            }
        }
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, suite: &mut KingletSuite) {
    for entry in suite.list() {
        if entry.skip.is_some() || entry.spec.unit != Unit::Ns {
            continue;
        }
        let spec = entry.spec;
        let mut group = criterion.benchmark_group(suite.name());
        let (bytes, adds) = (spec.work.bytes, spec.work.multiply_adds);
        if spec.work.tokens > 1 && adds > 0 {
            group.throughput(Throughput::Elements(adds));
        } else if bytes > 0 {
            group.throughput(Throughput::Bytes(bytes));
        }
        // Made by the first run, and so not at all for what the command line filters out.
        let ready = OnceCell::new();
        group.bench_function(spec.name.as_str(), |b| {
            let run = ready.get_or_init(|| {
                let mut run = suite.prepare(&spec.name).unwrap_or_else(|e| fail(&spec.name, &e));
                let sum = run.checksum().unwrap_or_else(|e| fail(&spec.name, &e));
                if spec.expected.as_ref().is_some_and(|e| *e != sum) {
                    fail(&spec.name, &format!("wrong answer: checksum {sum}"));
                }
                std::cell::RefCell::new(run)
            });
            let mut run = run.borrow_mut();
            b.iter_custom(|iterations| {
                let start = std::time::Instant::now();
                match run.run(iterations) {
                    Ok(Some(ns)) => Duration::from_nanos(ns as u64),
                    Ok(None) => start.elapsed(),
                    Err(e) => fail(&spec.name, &e),
                }
            });
        });
        group.finish();
    }
}

fn fail(name: &str, why: &str) -> ! {
    eprintln!("error: {name}: {why}");
    std::process::exit(6)
}
