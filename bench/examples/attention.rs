//! Decode's attention over a cache that is not in the CPU's caches, as Markdown:
//!
//!     cargo run --release -p kinglet-bench --example attention -- \
//!         [--tiers NAME,NAME…] [--types f32,f16,q8_0] [--keys N,N…] [--kib N]
//!
//! For the heads of the three models and each number of keys: pages of 256 MiB of key heads (`--kib N`: fewer;
//! 512 KiB are in L2) are attended to one after the other by the query heads that share them. *GB/s* are of the keys and
//! values that are seen, *share* that of a plain read of the same bytes; medians of rounds in turns. `bench/log/x86.md` keeps runs.

use kinglet_bench::{roof::best, stats::median};
use kinglet_kernels::{AttentionParams, KV_PAGE, Kernels, KvLayout, KvType, Partial, QueryRow, Tier};
use std::hint::black_box;
use std::time::Instant;

/// Model, query heads for each key head, values of a head.
const HEADS: [(&str, usize, usize); 3] =
    [("SmolLM2 135M", 3, 64), ("Gemma 3 270M", 4, 256), ("Qwen2.5 0.5B", 7, 64)];
const MEMORY_KIB: usize = 256 << 10;
const ROUNDS: usize = 7;

/// Pages of one key head after the other, keys and values of each together.
struct Pages {
    layout: KvLayout,
    data: Vec<u8>,
    page_bytes: usize,
}

impl Pages {
    fn new(kernels: &Kernels, ty: KvType, dim: usize, kib: usize) -> Result<Pages, kinglet_kernels::Error> {
        let layout = KvLayout { ty, head_dim: dim, value_dim: dim };
        let page_bytes = layout.key_page_bytes() + layout.value_page_bytes();
        let mut page = vec![0; page_bytes];
        let (keys, values) = page.split_at_mut(layout.key_page_bytes());
        for slot in 0..KV_PAGE {
            let x: Vec<f32> = (0..dim).map(|i| ((slot * 31 + i * 7) % 17) as f32 / 8.0 - 1.0).collect();
            kernels.store_kv(layout, keys, values, slot, &x, &x)?;
        }
        Ok(Pages { layout, data: page.repeat((kib << 10).div_ceil(page_bytes)), page_bytes })
    }

    /// Seconds for the first `seen` keys of every page.
    fn attend(&self, kernels: &Kernels, rows: usize, seen: usize) -> Result<f64, kinglet_kernels::Error> {
        let (layout, dim) = (self.layout, self.layout.head_dim);
        let q: Vec<f32> = (0..rows * dim).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect();
        let rows = vec![QueryRow { position: seen - 1, visible: 0..seen, slope: 0.0 }; rows];
        let params = AttentionParams { scale: 0.1, softcap: None };
        let mut scratch = vec![0; kernels.attention_scratch(layout, rows.len())];
        let (mut m, mut l) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
        let mut o = vec![0.0; rows.len() * layout.output_dim()];
        let start = Instant::now();
        for page in self.data.chunks_exact(self.page_bytes) {
            let (keys, values) = page.split_at(layout.key_page_bytes());
            let out = Partial { m: &mut m, l: &mut l, o: &mut o };
            kernels.attention_page(layout, params, &q, &rows, 0, keys, values, out, &mut scratch)?;
            black_box(&o);
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut tiers, mut types, mut seen) = (Tier::usable(), vec![KvType::F16], vec![64, KV_PAGE]);
    let mut kib = MEMORY_KIB;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("`{arg}` needs a value"))?;
        let mut list = value.split(',');
        match arg.as_str() {
            "--tiers" => tiers = list.map(str::parse).collect::<Result<_, _>>()?,
            "--keys" => seen = list.map(str::parse).collect::<Result<_, _>>()?,
            "--kib" => kib = value.parse()?,
            "--types" => {
                let known = [KvType::F32, KvType::F16, KvType::Q8_0];
                let find =
                    |name: &str| known.into_iter().find(|ty| format!("{ty:?}").eq_ignore_ascii_case(name));
                types =
                    list.by_ref().map(find).collect::<Option<_>>().ok_or("types are f32, f16 and q8_0")?;
            }
            other => {
                return Err(format!("`{other}` is not an option: --tiers, --types, --keys, --kib").into());
            }
        }
    }
    if !(1..=MEMORY_KIB).contains(&kib) {
        return Err(format!("--kib are 1 to {MEMORY_KIB}").into());
    }
    if !seen.iter().all(|n| (1..=KV_PAGE).contains(n)) {
        return Err(format!("--keys are 1 to {KV_PAGE}, the keys of a page").into());
    }
    let kernels: Vec<Kernels> = tiers.iter().filter_map(|t| Kernels::with_tier(*t).ok()).collect();
    println!("| heads | cache | keys | tier | GB/s | read GB/s | share |\n|---|---|---:|---|---:|---:|---:|");
    for (model, rows, dim) in HEADS {
        for ty in &types {
            let pages = Pages::new(&Kernels::detect()?, *ty, dim, kib)?;
            for seen in &seen {
                let gb = (pages.data.len() / KV_PAGE * seen) as f64 / 1e9;
                let mut samples = vec![[(); 3].map(|()| Vec::new()); kernels.len()];
                for _ in 0..ROUNDS * (MEMORY_KIB << 10).div_ceil(pages.data.len()) {
                    for (kernels, samples) in kernels.iter().zip(&mut samples) {
                        let reading = best(|read| {
                            let start = Instant::now();
                            black_box(read(&pages.data));
                            pages.data.len() as f64 / 1e9 / start.elapsed().as_secs_f64()
                        });
                        let speed = gb / pages.attend(kernels, rows, *seen)?;
                        samples[0].push(speed);
                        samples[1].push(reading);
                        samples[2].push(speed / reading);
                    }
                }
                for (kernels, [speed, reading, share]) in kernels.iter().zip(samples) {
                    let (speed, reading, share) = (median(&speed), median(&reading), median(&share));
                    let tier = kernels.tier();
                    println!(
                        "| {model} | {ty:?} | {seen} | {tier} | {speed:.1} | {reading:.1} | {share:.2} |"
                    );
                }
            }
        }
    }
    Ok(())
}
