//! Every kernel of one tier once, each between two markers that a counter of executed instructions sees:
//!
//!     count TIER callgrind|qemu|step [FILTER]
//!
//! Prints `<kernel>.<tier> <shape>` for each in turn; the first is `empty.<tier>`, which is what the markers themselves take.
//! `kinglet-bench counts` runs it under valgrind's callgrind, under QEMU with `bench/arm/instructions.c`, or one instruction
//! at a time, and joins names and counts. Run by itself it does nothing of use.
//!
//! Everything happens on a thread: its stack and heap lie the same way in every run, and so does what depends on alignment.

use kinglet_kernels::{
    Activation, AttentionParams, Format, KV_PAGE, Kernels, KvLayout, KvType, MatMut, Matrix, Partial,
    PartialRef, QuantizedRows, QueryRow, Tier,
};

/// Sizes: every tile of every tier is full.
#[derive(Clone, Copy)]
struct Sizes {
    /// Rows and columns of weights, whole super-blocks.
    rows: usize,
    cols: usize,
    /// Columns of the larger product.
    n: usize,
    /// Tokens of a prompt.
    tokens: usize,
}

/// A stepped instruction takes some ten microseconds, an emulated one some ten nanoseconds.
const STEPPED: Sizes = Sizes { rows: 32, cols: 256, n: 24, tokens: 4 };
const EMULATED: Sizes = Sizes { rows: 64, cols: 768, n: 64, tokens: 32 };

/// Values per head, and those of a norm: SmolLM2's.
const HEAD: usize = 64;
const DIM: usize = 576;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Who counts.
#[derive(Clone, Copy, PartialEq)]
enum Counter {
    Callgrind,
    Qemu,
    Step,
}

/// Valgrind's client request: nothing outside of valgrind.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn valgrind(request: u64, argument: u64) {
    let arguments = [request, argument, 0, 0, 0, 0];
    // SAFETY: rotations by 64 in total leave rdi as it was and `xchg rbx, rbx` does nothing; valgrind reads `arguments` and
    // writes rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") &raw const arguments, inout("rdx") 0u64 => _,
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn valgrind(_: u64, _: u64) {}

/// A marker of the QEMU plugin: an instruction that does nothing and that compilers do not use.
#[inline(never)]
fn qemu() {
    // SAFETY: no operation.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("xchg r13, r13");
    }
    // SAFETY: no operation.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("hint #100");
    }
}

/// A breakpoint, for the process that steps through this one.
#[inline(never)]
fn breakpoint() {
    // SAFETY: whoever passed `step` waits for it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("int3");
    }
}

impl Counter {
    fn begin(self) {
        match self {
            Counter::Callgrind => valgrind(0x4354_0001, 0), // CALLGRIND_ZERO_STATS
            Counter::Qemu => qemu(),
            Counter::Step => breakpoint(),
        }
    }

    fn end(self) {
        match self {
            Counter::Callgrind => valgrind(0x4354_0003, c"kernel".as_ptr() as u64), // CALLGRIND_DUMP_STATS_AT
            Counter::Qemu => qemu(),
            Counter::Step => breakpoint(),
        }
    }
}

/// Values that start on a cache line.
struct Aligned<T> {
    values: Vec<T>,
    skip: usize,
    len: usize,
}

impl<T: Copy> Aligned<T> {
    fn new(len: usize, value: impl Fn(usize) -> T) -> Aligned<T> {
        let spare = 64 / size_of::<T>();
        let mut values = vec![value(0); len + spare];
        let skip = values.as_ptr().align_offset(64).min(spare);
        for (i, v) in values[skip..skip + len].iter_mut().enumerate() {
            *v = value(i);
        }
        Aligned { values, skip, len }
    }
    fn get(&self) -> &[T] {
        &self.values[self.skip..self.skip + self.len]
    }
    fn get_mut(&mut self) -> &mut [T] {
        &mut self.values[self.skip..self.skip + self.len]
    }
}

struct Counting {
    kernels: Kernels,
    counter: Counter,
    sizes: Sizes,
    filter: String,
}

impl Counting {
    /// `run` between markers, unless the filter leaves it out.
    fn count(
        &self,
        kernel: &str,
        shape: &str,
        run: impl FnOnce(&Kernels) -> Result<(), kinglet_kernels::Error>,
    ) -> Outcome {
        let name = format!("{kernel}.{}", self.kernels.tier());
        if kernel != "empty" && !name.contains(&self.filter) {
            return Ok(());
        }
        println!("{name} {shape}");
        self.counter.begin();
        let outcome = run(&self.kernels);
        self.counter.end();
        outcome.map_err(|e| format!("{name}: {e}").into())
    }

    fn products(&self, format: Format) -> Outcome {
        let Sizes { rows, cols, n: many, .. } = self.sizes;
        let bytes = rows * format.row_bytes(cols).ok_or("whole blocks")?;
        // Below 0x40 every two bytes are an ordinary f16; so is 120 as MXFP4's exponent.
        let data = Aligned::new(bytes, |i| {
            if format == Format::MXFP4 && i % 17 == 0 { 120 } else { (i * 7 % 61) as u8 & 0x3f }
        });
        let w = Matrix::new(format, data.get(), rows, cols)?;
        let mut scratch = Aligned::new(self.kernels.matmul_scratch(&w), |_| 0u8);
        for (op, n) in [("gemv", 1), ("gemm4", 4), ("gemm", many)] {
            let name = format!("{}.{op}", format.name().to_lowercase());
            let shape = format!("{rows}x{cols}x{n}");
            let x = Aligned::new(n * cols, |i| (i % 17) as f32 - 8.0);
            let mut y = Aligned::new(n * rows, |_| 0.0f32);
            if format.is_float() {
                self.count(&name, &shape, |k| {
                    k.matmul_float(&w, x.get(), &mut MatMut::new(y.get_mut(), rows, n)?)
                })?;
                continue;
            }
            let mut q = Aligned::new(n * cols, |_| 0i8);
            let mut d = Aligned::new(n * cols / 32, |_| 0.0f32);
            let mut sums = Aligned::new(n * cols / 16, |_| 0i16);
            self.kernels.quantize(x.get(), q.get_mut(), d.get_mut(), sums.get_mut())?;
            let x = QuantizedRows::new(q.get(), d.get(), sums.get(), n, cols)?;
            self.count(&name, &shape, |k| {
                k.matmul(&w, &x, &mut MatMut::new(y.get_mut(), rows, n)?, scratch.get_mut())
            })?;
        }
        if self.filter.is_empty() || format!("{format}.dequantize").to_lowercase().contains(&self.filter) {
            let mut out = Aligned::new(cols, |_| 0.0f32);
            let name = format!("{}.dequantize", format.name().to_lowercase());
            self.count(&name, &cols.to_string(), |k| k.dequantize_row(&w, 0, out.get_mut()))?;
        }
        Ok(())
    }

    fn attention(&self, ty: KvType) -> Outcome {
        let layout = KvLayout { ty, head_dim: HEAD, value_dim: HEAD };
        let kind = format!("{ty:?}").to_lowercase();
        let mut keys = Aligned::new(layout.key_page_bytes(), |_| 0u8);
        let mut values = Aligned::new(layout.value_page_bytes(), |_| 0u8);
        let x = Aligned::new(HEAD, |i| (i % 13) as f32 / 8.0 - 0.75);
        for slot in 0..KV_PAGE - 1 {
            self.kernels.store_kv(layout, keys.get_mut(), values.get_mut(), slot, x.get(), x.get())?;
        }
        self.count(&format!("store_kv.{kind}"), &HEAD.to_string(), |k| {
            k.store_kv(layout, keys.get_mut(), values.get_mut(), KV_PAGE - 1, x.get(), x.get())
        })?;
        let params = AttentionParams { scale: 0.125, softcap: None };
        // Three heads of a token behind a full page; of the last tokens of a page, each seeing those before.
        for (name, tokens) in [("attention_decode", 1), ("attention_prefill", self.sizes.tokens)] {
            let rows: Vec<QueryRow> = (0..3 * tokens)
                .map(|r| {
                    let position = KV_PAGE - tokens + r / 3;
                    QueryRow { position, visible: 0..position + 1, slope: 0.0 }
                })
                .collect();
            let n = rows.len();
            let q = Aligned::new(n * HEAD, |i| (i % 11) as f32 / 8.0 - 0.625);
            let mut scratch = Aligned::new(self.kernels.attention_scratch(layout, n), |_| 0u8);
            let mut part =
                [Aligned::new(n, |_| 0.0f32), Aligned::new(n, |_| 0.0), Aligned::new(n * HEAD, |_| 0.0)];
            let [m, l, o] = &mut part;
            let shape = format!("{n}x{KV_PAGE}x{HEAD}");
            self.count(&format!("{name}.{kind}"), &shape, |k| {
                let out = Partial { m: m.get_mut(), l: l.get_mut(), o: o.get_mut() };
                let (keys, values) = (keys.get(), values.get());
                k.attention_page(layout, params, q.get(), &rows, 0, keys, values, out, scratch.get_mut())
            })?;
            if ty != KvType::F16 || tokens == 1 {
                continue;
            }
            let [m, l, o] = &part;
            let part = PartialRef { m: m.get(), l: l.get(), o: o.get() };
            let mut into =
                [Aligned::new(n, |_| 0.5f32), Aligned::new(n, |_| 1.0), Aligned::new(n * HEAD, |_| 1.0)];
            let [m, l, o] = &mut into;
            self.count("attention_fold", &format!("{n}x{HEAD}"), |k| {
                k.attention_fold(Partial { m: m.get_mut(), l: l.get_mut(), o: o.get_mut() }, &part)
            })?;
            let mut out = Aligned::new(n * HEAD, |_| 0.0f32);
            self.count("attention_finish", &format!("{n}x{HEAD}"), |k| {
                k.attention_finish(layout, part, out.get_mut())
            })?;
        }
        Ok(())
    }

    fn floats(&self) -> Outcome {
        let x = Aligned::new(DIM, |i| (i % 23) as f32 / 8.0 - 1.375);
        let w = Aligned::new(DIM, |i| 1.0 + (i % 5) as f32 / 16.0);
        let mut y = Aligned::new(DIM, |i| (i % 19) as f32 / 8.0 - 1.0);
        let shape = DIM.to_string();
        let (x, w) = (x.get(), w.get());
        self.count("rms_norm", &shape, |k| k.rms_norm(x, Some(w), 1e-5, y.get_mut()))?;
        self.count("layer_norm", &shape, |k| k.layer_norm(x, Some(w), Some(w), 1e-5, y.get_mut()))?;
        y.get_mut().copy_from_slice(x);
        let (cos, sin) = (Aligned::new(HEAD / 2, |_| 0.8f32), Aligned::new(HEAD / 2, |_| 0.6f32));
        let head = HEAD.to_string();
        self.count("rope_interleaved", &head, |k| {
            k.rope_interleaved(&mut y.get_mut()[..HEAD], cos.get(), sin.get())
        })?;
        self.count("rope_half_split", &head, |k| {
            k.rope_half_split(&mut y.get_mut()[..HEAD], cos.get(), sin.get())
        })?;
        for (name, a) in [
            ("silu_mul", Activation::Silu),
            ("gelu_tanh_mul", Activation::GeluTanh),
            ("gelu_erf_mul", Activation::GeluErf),
        ] {
            self.count(name, &shape, |k| k.activate_mul(a, y.get_mut(), x))?;
            y.get_mut().copy_from_slice(x);
        }
        self.count("softmax", &shape, |k| k.softmax(y.get_mut()))?;
        self.count("softcap", &shape, |k| k.softcap(y.get_mut(), 30.0))?;
        self.count("add", &shape, |k| k.add(y.get_mut(), x))?;
        self.count("add_scaled", &shape, |k| k.add_scaled(y.get_mut(), x, 0.5))?;
        self.count("scale", &shape, |k| k.scale(y.get_mut(), 0.5))?;
        let (mut q, mut d, mut sums) = (
            Aligned::new(DIM, |_| 0i8),
            Aligned::new(DIM / 32, |_| 0.0f32),
            Aligned::new(DIM / 16, |_| 0i16),
        );
        self.count("quantize", &shape, |k| k.quantize(x, q.get_mut(), d.get_mut(), sums.get_mut()))
    }

    fn all(&self) -> Outcome {
        self.count("empty", "0", |_| Ok(()))?;
        for &format in Format::ALL {
            self.products(format)?;
        }
        for ty in [KvType::F32, KvType::F16, KvType::Q8_0] {
            self.attention(ty)?;
        }
        self.floats()
    }
}

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = "count TIER callgrind|qemu|step [FILTER]";
    let [tier, counter, rest @ ..] = &args[..] else { return Err(usage.into()) };
    let counter = match counter.as_str() {
        "callgrind" => Counter::Callgrind,
        "qemu" => Counter::Qemu,
        "step" => Counter::Step,
        _ => return Err(usage.into()),
    };
    let tier: Tier = tier.parse()?;
    let filter = rest.first().cloned().unwrap_or_default();
    let sizes = if counter == Counter::Step { STEPPED } else { EMULATED };
    let counting = Counting { kernels: Kernels::with_tier(tier)?, counter, sizes, filter };
    std::thread::spawn(move || counting.all()).join().map_err(|_| "a kernel panicked")?
}
