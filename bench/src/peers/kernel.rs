//! Kernel against kernel through ggml's C interface, on the same blocks: `vec_dot`, row by row, and our GEMV; `mul_mat` of many columns
//! and our GEMM, quantization of activations included.

use super::gemm::{Graphs, Product};
use crate::print::say;
use crate::stats::median;
use crate::weights;
use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows, Tier};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows and columns: 200 kB of weights at most, which L2 holds.
const ROWS: usize = 256;
const COLS: usize = 1024;
/// Columns of the larger product.
const BATCH: usize = 64;

type FromFloat = unsafe extern "C" fn(*const f32, *mut c_void, i64);
type VecDot = unsafe extern "C" fn(c_int, *mut f32, usize, *const c_void, usize, *const c_void, usize, c_int);

/// ggml's `struct ggml_type_traits_cpu`.
#[repr(C)]
struct Traits {
    from_float: Option<FromFloat>,
    vec_dot: Option<VecDot>,
    vec_dot_type: c_int,
    nrows: i64,
}

/// What is called of ggml.
struct Ggml {
    traits: unsafe extern "C" fn(c_int) -> *const Traits,
    row_size: unsafe extern "C" fn(c_int, i64) -> usize,
    graphs: Graphs,
}

fn path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| "a path with a zero byte".to_owned())
}

impl Ggml {
    /// Loads the libraries in `dir` for as long as this process lives.
    fn load(dir: &Path) -> Result<Ggml, String> {
        let open = |name: &str| {
            let file = dir.join(name);
            let name = path(&file)?;
            // SAFETY: a C string; the libraries' constructors are those of a shared library that the user named.
            let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
            if handle.is_null() { Err(format!("cannot load {}", file.display())) } else { Ok(handle) }
        };
        let (base, cpu) = (open("libggml-base.so")?, open("libggml-cpu.so")?);
        let symbol = |library: *mut c_void, name: &std::ffi::CStr| {
            // SAFETY: an open library and a C string.
            let found = unsafe { libc::dlsym(library, name.as_ptr().cast::<c_char>()) };
            let shown = name.to_string_lossy();
            if found.is_null() { Err(format!("{} has no {shown}", dir.display())) } else { Ok(found) }
        };
        macro_rules! function {
            ($library:expr, $name:expr) => {{
                let found = symbol($library, $name)?;
                // SAFETY: the field it goes to has the signature that ggml's headers have, and a pointer's size.
                unsafe { std::mem::transmute_copy(&found) }
            }};
        }
        let init: unsafe extern "C" fn() = function!(cpu, c"ggml_cpu_init");
        // SAFETY: it comes before all others.
        unsafe { init() };
        Ok(Ggml {
            traits: function!(cpu, c"ggml_get_type_traits_cpu"),
            row_size: function!(base, c"ggml_row_size"),
            graphs: Graphs {
                init: function!(base, c"ggml_init"),
                free: function!(base, c"ggml_free"),
                new_tensor_2d: function!(base, c"ggml_new_tensor_2d"),
                mul_mat: function!(base, c"ggml_mul_mat"),
                new_graph: function!(base, c"ggml_new_graph"),
                build_forward_expand: function!(base, c"ggml_build_forward_expand"),
                get_data: function!(base, c"ggml_get_data"),
                backend_cpu_init: function!(cpu, c"ggml_backend_cpu_init"),
                backend_cpu_set_n_threads: function!(cpu, c"ggml_backend_cpu_set_n_threads"),
                backend_graph_compute: function!(base, c"ggml_backend_graph_compute"),
                backend_free: function!(base, c"ggml_backend_free"),
            },
        })
    }
}

/// Seconds per call: the best of what fits 5 ms.
fn time(mut f: impl FnMut()) -> f64 {
    let (start, mut best, mut calls) = (Instant::now(), f64::INFINITY, 0);
    while calls < 3 || start.elapsed() < Duration::from_millis(5) {
        let one = Instant::now();
        f();
        best = best.min(one.elapsed().as_secs_f64());
        calls += 1;
    }
    best
}

/// Compares every quantized format, one line each: `FORMAT OURS THEIRS RATIO DIFFERENCE` of one column and again of many; GB of weights
/// and 10^9 multiply-adds per second, the median ratio of neighbours, and the largest difference of a result over the largest
/// result (activations are rounded differently).
///
/// # Errors
/// When the libraries cannot be loaded or the tier does not run here.
pub fn serve(libraries: &Path, tier: Tier, rounds: usize) -> Result<(), String> {
    let ggml = Ggml::load(libraries)?;
    let kernels = Kernels::with_tier(tier).map_err(|e| e.to_string())?;
    for &format in Format::ALL.iter().filter(|f| !f.is_float()) {
        let both = compare(&ggml, &kernels, format, rounds)
            .and_then(|one| Ok(format!("{one} {}", compare_many(&ggml, &kernels, format, rounds)?)));
        match both {
            Ok(line) => say!("{format} {line}"),
            Err(why) => say!("{format} error: {why}"),
        }
    }
    Ok(())
}

fn compare(ggml: &Ggml, kernels: &Kernels, format: Format, rounds: usize) -> Result<String, String> {
    let told = |e: kinglet_kernels::Error| e.to_string();
    let row = format.row_bytes(COLS).ok_or("no whole blocks")?;
    let data = weights(format, ROWS * row);
    let x: Vec<f32> = (0..COLS).map(|i| ((i * 7919) % 255) as f32 / 127.0 - 1.0).collect();

    let id = format as u32 as c_int;
    // SAFETY: ggml's table has an entry for each of its type numbers, which ours are, and it lives as long as the library.
    let traits = unsafe { (ggml.traits)(id).as_ref() }.ok_or("ggml does not know it")?;
    let dot = traits.vec_dot.ok_or("ggml has no vec_dot of it")?;
    // SAFETY: as above.
    let (other, theirs_row) =
        unsafe { ((ggml.traits)(traits.vec_dot_type).as_ref(), (ggml.row_size)(id, COLS as i64)) };
    let quantize = other.and_then(|t| t.from_float).ok_or("ggml cannot quantize activations for it")?;
    if theirs_row != row {
        return Err(format!("a row is {theirs_row} bytes there and {row} here"));
    }
    // SAFETY: COLS is a multiple of every block length.
    let bytes = unsafe { (ggml.row_size)(traits.vec_dot_type, COLS as i64) };
    // As u64, for any alignment that their blocks need.
    let mut quantized = vec![0u64; bytes.div_ceil(8)];
    // SAFETY: COLS values and room for them as blocks.
    unsafe { quantize(x.as_ptr(), quantized.as_mut_ptr().cast(), COLS as i64) };
    let mut theirs = vec![0.0f32; ROWS];
    let run_theirs = |out: &mut [f32]| {
        for (r, y) in out.iter_mut().enumerate() {
            // SAFETY: row `r` is COLS weights and `quantized` COLS activations; one result is written.
            unsafe {
                dot(
                    COLS as c_int,
                    y,
                    0,
                    data.as_ptr().add(r * row).cast(),
                    0,
                    quantized.as_ptr().cast(),
                    0,
                    1,
                )
            };
        }
    };

    let w = Matrix::new(format, &data, ROWS, COLS).map_err(told)?;
    let (mut q, mut d, mut sums) = (vec![0; COLS], vec![0.0; COLS / 32], vec![0; COLS / 16]);
    kernels.quantize(&x, &mut q, &mut d, &mut sums).map_err(told)?;
    let x = QuantizedRows::new(&q, &d, &sums, 1, COLS).map_err(told)?;
    let (mut ours, mut scratch) = (vec![0.0f32; ROWS], vec![0; kernels.matmul_scratch(&w)]);
    let mut run_ours = |out: &mut [f32]| {
        let mut y = MatMut::new(out, ROWS, 1)?;
        kernels.matmul(&w, &x, &mut y, &mut scratch)
    };
    run_ours(&mut ours).map_err(told)?;
    run_theirs(&mut theirs);
    let apart = difference(&ours, &theirs);
    race(
        rounds,
        (ROWS * row) as f64 / 1e9,
        apart,
        || run_ours(&mut ours).map_err(told),
        || {
            run_theirs(&mut theirs);
            Ok(())
        },
    )
}

fn compare_many(ggml: &Ggml, kernels: &Kernels, format: Format, rounds: usize) -> Result<String, String> {
    let told = |e: kinglet_kernels::Error| e.to_string();
    let data = weights(format, ROWS * format.row_bytes(COLS).ok_or("no whole blocks")?);
    let x: Vec<f32> = (0..BATCH * COLS).map(|i| ((i * 7919) % 257) as f32 / 128.0 - 1.0).collect();
    let theirs = Product::new(&ggml.graphs, format as u32 as c_int, &data, &x, (ROWS, COLS))?;

    let w = Matrix::new(format, &data, ROWS, COLS).map_err(told)?;
    let len = BATCH * COLS;
    let (mut q, mut d, mut sums) = (vec![0; len], vec![0.0; len / 32], vec![0; len / 16]);
    let (mut ours, mut scratch) = (vec![0.0f32; ROWS * BATCH], vec![0; kernels.matmul_scratch(&w)]);
    let mut run_ours = |out: &mut [f32]| {
        kernels.quantize(&x, &mut q, &mut d, &mut sums)?;
        let x = QuantizedRows::new(&q, &d, &sums, BATCH, COLS)?;
        kernels.matmul(&w, &x, &mut MatMut::new(out, ROWS, BATCH)?, &mut scratch)
    };
    run_ours(&mut ours).map_err(told)?;
    theirs.run()?;
    let apart = difference(&ours, theirs.result());
    let work = (ROWS * COLS * BATCH) as f64 / 1e9;
    race(rounds, work, apart, || run_ours(&mut ours).map_err(told), || theirs.run())
}

/// The largest difference over the largest of `theirs`.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    let largest = theirs.iter().fold(0.0f32, |m, y| m.max(y.abs()));
    ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// Both in turns: `OURS THEIRS RATIO DIFFERENCE`, of so much work a call.
fn race(
    rounds: usize,
    work: f64,
    apart: f32,
    mut ours: impl FnMut() -> Result<(), String>,
    mut theirs: impl FnMut() -> Result<(), String>,
) -> Result<String, String> {
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let mut failed = None;
        let a = time(|| failed = ours().err());
        failed.map_or(Ok(()), Err)?;
        let mut failed = None;
        let b = time(|| failed = theirs().err());
        failed.map_or(Ok(()), Err)?;
        samples[0].push(work / a);
        samples[1].push(work / b);
        samples[2].push(b / a);
    }
    let [a, b, ratio] = samples.map(|s| median(&s));
    Ok(format!("{a} {b} {ratio} {apart}"))
}
