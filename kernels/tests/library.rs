//! What an engine that links the kernels relies on: strides, parts of rows, experts, bias and whole layers give the bits of the plain
//! product on every tier; nothing allocates; and every listed operation is tested between guard pages.

mod support;

use kinglet_kernels::list::{Op, Operand};
use kinglet_kernels::{Experts, Format, Kernels, KvLayout, KvType, MatMut, Matrix, QuantizedRows, Strided};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::{Guarded, Place, Rng, same, tiers};

/// Counts this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> usize {
    ALLOCATIONS.with(Cell::get)
}

struct Case {
    format: Format,
    rows: usize,
    cols: usize,
    n: usize,
    data: Vec<u8>,
    x: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(format: Format, rows: usize, n: usize) -> Case {
        let mut rng = Rng(400 + format as u64);
        let cols = format.block_len().max(32) * 2;
        let data = (0..rows * format.row_bytes(cols).unwrap()).map(|_| rng.next() as u8).collect();
        let x = (0..n * cols).map(|_| rng.float()).collect();
        let bias = (0..rows).map(|_| rng.float()).collect();
        Case { format, rows, cols, n, data, x, bias }
    }
    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.format, &self.data, self.rows, self.cols).unwrap()
    }
    /// The plain product of `x` with `w`.
    fn product(&self, k: &Kernels, w: &Matrix<'_>) -> Vec<f32> {
        let mut y = vec![0.0; w.rows() * self.n];
        let mut out = MatMut::new(&mut y, w.rows(), self.n).unwrap();
        if self.format.is_float() {
            k.matmul_float(w, &self.x, &mut out).unwrap();
        } else {
            let (q, d, sums) = self.quantized(k);
            let x = QuantizedRows::new(&q, &d, &sums, self.n, self.cols).unwrap();
            k.matmul(w, &x, &mut out, &mut vec![0; k.matmul_scratch(w)]).unwrap();
        }
        y
    }
    fn quantized(&self, k: &Kernels) -> (Vec<i8>, Vec<f32>, Vec<i16>) {
        let len = self.x.len();
        let (mut q, mut d, mut sums) = (vec![0; len], vec![0.0; len / 32], vec![0; len / 16]);
        k.quantize(&self.x, &mut q, &mut d, &mut sums).unwrap();
        (q, d, sums)
    }
}

fn assert_same(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len());
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!(same(*a, *b), "{what}: value {i} is {a:e}, expected {b:e}");
    }
}

#[test]
fn strided_weights_and_results_multiply_as_packed_ones() {
    for k in tiers() {
        for &format in Format::ALL {
            for n in [1, 3, 9] {
                let case = Case::new(format, 21, n);
                let w = case.matrix();
                let want = case.product(&k, &w);
                // Rows with something else between them, the last one ending at a page that cannot be read.
                let (row, stride) = (w.row_bytes(), w.row_bytes() + 13);
                let mut spread = vec![0xff; 20 * stride + row];
                for r in 0..21 {
                    spread[r * stride..][..row].copy_from_slice(w.row(r).unwrap());
                }
                let spread = Guarded::new(&spread, Place::AtEnd);
                let strided = Matrix::with_stride(format, spread.bytes(), 21, case.cols, stride).unwrap();
                assert_same(&case.product(&k, &strided), &want, &format!("{format} {}", k.tier()));
                let part = strided.slice_rows(5..14);
                let (got, rows) = (case.product(&k, &part), 9);
                for c in 0..n {
                    assert_same(
                        &got[c * rows..][..rows],
                        &want[c * 21 + 5..][..rows],
                        &format!("{format} rows 5..14"),
                    );
                }
                // Columns of the result with something between them.
                let mut y = vec![7.0; n * 24];
                let mut out = MatMut::with_stride(&mut y, 21, n, 24).unwrap();
                let mut workspace = vec![0xff; k.linear_workspace(&w, n).unwrap()];
                k.linear(&w, &case.x, None, &mut out, &mut workspace).unwrap();
                for c in 0..n {
                    assert_same(&y[c * 24..][..21], &want[c * 21..][..21], "strided result");
                    assert_eq!(y[c * 24 + 21..][..3], [7.0; 3], "between columns");
                }
            }
        }
    }
}

#[test]
fn layers_add_their_bias_as_add_does() {
    for k in tiers() {
        for &format in Format::ALL {
            let case = Case::new(format, 10, 4);
            let w = case.matrix();
            let mut want = case.product(&k, &w);
            want.chunks_mut(10).for_each(|column| k.add(column, &case.bias).unwrap());
            let need = k.linear_workspace(&w, 4).unwrap();
            for shift in [0, 1, 63] {
                let mut workspace = vec![0xa5; need + shift];
                let mut y = vec![0.0; 40];
                let mut out = MatMut::new(&mut y, 10, 4).unwrap();
                k.linear(&w, &case.x, Some(&case.bias), &mut out, &mut workspace[shift..]).unwrap();
                assert_same(&y, &want, &format!("{format}.linear.{}", k.tier()));
            }
            if need > 0 {
                let mut y = vec![7.0; 40];
                let mut out = MatMut::new(&mut y, 10, 4).unwrap();
                assert!(k.linear(&w, &case.x, None, &mut out, &mut vec![0; need - 1]).is_err());
                assert!(k.linear(&w, &case.x, Some(&case.bias[1..]), &mut out, &mut vec![0; need]).is_err());
                assert_eq!(y, [7.0; 40]);
            }
        }
    }
}

#[test]
fn experts_multiply_as_their_own_matrices() {
    for k in tiers() {
        for &format in Format::ALL.iter().filter(|f| !f.is_float()) {
            // Four experts of seven rows.
            let case = Case::new(format, 28, 5);
            let experts = Experts::new(case.matrix(), 4).unwrap();
            let each: Vec<Vec<f32>> = (0..4).map(|e| case.product(&k, &experts.expert(e).unwrap())).collect();
            let (q, d, sums) = case.quantized(&k);
            let x = QuantizedRows::new(&q, &d, &sums, 5, case.cols).unwrap();
            let mut scratch = vec![0; k.matmul_id_scratch(&experts)];
            for (per_row, ids) in [(1, vec![2, 2, 0, 3, 3]), (2, vec![3, 1, 0, 2, 1, 1, 2, 0, 0, 3])] {
                let mut y = vec![7.0; ids.len() * 7];
                let (low, high) = MatMut::new(&mut y, 7, ids.len()).unwrap().split_rows(3);
                for (mut part, rows) in [(low, 0..3), (high, 3..7)] {
                    k.matmul_id(&experts.slice_rows(rows), &ids, per_row, &x, &mut part, &mut scratch)
                        .unwrap();
                }
                for (c, id) in ids.iter().enumerate() {
                    let want = &each[*id as usize][c / per_row * 7..][..7];
                    assert_same(
                        &y[c * 7..][..7],
                        want,
                        &format!("{format}.matmul_id.{} column {c}", k.tier()),
                    );
                }
            }
            let mut y = vec![7.0; 35];
            for (ids, per_row) in
                [(vec![0, 1, 2, 3, 4], 1), (vec![0; 5], 0), (vec![0; 4], 1), (vec![0; 5], 2)]
            {
                let mut out = MatMut::new(&mut y, 7, 5).unwrap();
                assert!(k.matmul_id(&experts, &ids, per_row, &x, &mut out, &mut scratch).is_err(), "{ids:?}");
            }
            assert_eq!(y, [7.0; 35]);
        }
    }
}

#[test]
fn views_that_do_not_fit_are_refused() {
    let data = [0u8; 100];
    let huge = usize::MAX;
    for (rows, cols, stride) in
        [(3, 32, 50), (2, 32, 33), (huge, 32, 34), (huge, 32, huge), (2, 33, 34), (2, huge - 31, 34)]
    {
        assert!(
            Matrix::with_stride(Format::Q8_0, &data, rows, cols, stride).is_err(),
            "{rows} {cols} {stride}"
        );
    }
    assert!(Matrix::with_stride(Format::Q8_0, &data, 2, 32, 66).is_ok());
    assert!(Matrix::new(Format::Q8_0, &data, huge, 32).is_err());
    let mut y = [0.0; 10];
    for (rows, n, stride) in [(5, 2, 4), (5, 3, 5), (huge, 1, huge), (1, huge, huge), (2, huge / 2, 2)] {
        assert!(MatMut::with_stride(&mut y, rows, n, stride).is_err(), "{rows} {n} {stride}");
    }
    // More columns than can be, without a row: sizes that follow from them would wrap.
    for &format in Format::ALL {
        let cols = huge / format.block_bytes().max(format.block_len()) * format.block_len();
        assert!(Matrix::new(format, &[], 0, cols).is_err(), "{format}");
        let w = Matrix::new(format, &[], 0, (usize::MAX >> 10) + 1).unwrap();
        for k in tiers() {
            assert!(k.matmul_scratch(&w) < usize::MAX / 2, "{format}.{}", k.tier());
        }
    }
    // Rows without a byte can be any number, and cost nothing.
    let empty = Matrix::new(Format::F32, &[], huge, 0).unwrap();
    for k in tiers() {
        // SAFETY: there is nothing to write.
        let mut none = unsafe { MatMut::from_raw_parts(std::ptr::dangling_mut(), huge, 0, huge) }.unwrap();
        k.matmul_float(&empty, &[], &mut none).unwrap();
    }
}

/// One row has no next one: its stride may be any number. Built with overflow checks, a kernel that multiplies it would stop.
#[test]
fn a_row_alone_has_any_stride() {
    for k in tiers() {
        for (format, n) in Format::ALL.iter().flat_map(|format| [1, 2, 9, 40].map(|n| (*format, n))) {
            let case = Case::new(format, 1, n);
            let want = case.product(&k, &case.matrix());
            for stride in [usize::MAX, usize::MAX / 3, 1 << 62] {
                let w = Matrix::with_stride(format, &case.data, 1, case.cols, stride).unwrap();
                assert_same(&case.product(&k, &w), &want, &format!("{format} {}, {stride}", k.tier()));
                assert_eq!((w.slice_rows(1..9).rows(), w.row(1)), (0, None));
            }
        }
    }
}

/// Columns without a value are any number and cost nothing: a loop over them would not end.
#[test]
fn columns_of_nothing_take_no_time() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for k in tiers() {
            let w = Matrix::new(Format::Q8_0, &[], 0, 0).unwrap();
            let x = QuantizedRows::new(&[], &[], &[], usize::MAX, 0).unwrap();
            let mut y = MatMut::new(&mut [], 0, usize::MAX).unwrap();
            let mut workspace = vec![0; k.linear_workspace(&w, usize::MAX).unwrap()];
            k.matmul(&w, &x, &mut y, &mut workspace).unwrap();
            k.matmul_bias(&w, &x, Some(&[]), &mut y, &mut workspace).unwrap();
            k.linear(&w, &[], Some(&[]), &mut y, &mut workspace).unwrap();
            let w = Matrix::new(Format::F32, &[], 0, 0).unwrap();
            k.linear(&w, &[], Some(&[]), &mut y, &mut []).unwrap();
        }
        done.send(()).unwrap();
    });
    assert!(wait.recv_timeout(std::time::Duration::from_secs(30)).is_ok(), "a loop over nothing");
}

/// Results without a column have nothing at their pointer, however many rows they are said to have.
#[test]
fn results_without_columns_are_divided() {
    for rows in [8, usize::MAX] {
        let (mut low, high) = MatMut::new(&mut [], rows, 0).unwrap().split_rows(rows / 2);
        let (mut middle, high) = high.split_rows(usize::MAX);
        assert_eq!((low.rows(), middle.rows(), high.rows()), (rows / 2, rows - rows / 2, 0));
        assert!(low.columns().next().is_none() && middle.columns().next().is_none());
    }
}

/// Sizes may be asked for before a layout is checked. Built with overflow checks, those that wrap would stop.
#[test]
fn layouts_of_any_dimension_are_refused_without_a_panic() {
    for (k, ty) in
        tiers().into_iter().flat_map(|k| [KvType::F32, KvType::F16, KvType::Q8_0].map(|ty| (k, ty)))
    {
        for dim in [0, 4097, usize::MAX / 30, usize::MAX / 2, usize::MAX - 15, usize::MAX] {
            let layout = KvLayout { ty, head_dim: dim, value_dim: dim };
            let _ = (layout.output_dim(), layout.key_page_bytes(), layout.value_page_bytes());
            let _ = k.attention_scratch(layout, 1);
            assert!(layout.check().is_err(), "{dim}");
            let none = Strided { values: &[], stride: 0 };
            assert!(k.store_kv_batch(layout, &mut [], &mut [], 0..0, none, none).is_err(), "{dim}");
        }
    }
}

#[test]
fn no_call_allocates_also_when_it_is_refused() {
    for k in tiers() {
        for format in [Format::Q4_K, Format::Q8_0, Format::IQ2_S, Format::F16] {
            let case = Case::new(format, 20, 6);
            let w = case.matrix();
            let mut workspace = vec![0; k.linear_workspace(&w, 6).unwrap()];
            let mut y = vec![0.0; 120];
            let before = allocations();
            let mut out = MatMut::new(&mut y, 20, 6).unwrap();
            k.linear(&w, &case.x, Some(&case.bias), &mut out, &mut workspace).unwrap();
            assert!(k.linear(&w, &case.x[1..], None, &mut out, &mut workspace).is_err());
            assert!(Matrix::new(format, &case.data, 1, 3).is_err());
            assert!(k.softmax(&mut y).is_ok() && k.rms_norm(&case.x, None, 0.0, &mut y).is_err());
            assert!(Kernels::with_tier(kinglet_kernels::Tier::Scalar).is_ok());
            assert!(k.kernel_for(Op::Gemv, Operand::Weights(format), 1).is_some());
            assert_eq!(allocations(), before, "{format} {}", k.tier());
        }
    }
    assert!(allocations() > 0);
}

#[test]
fn quantization_and_dequantization_stay_within_their_memory() {
    let mut rng = Rng(9);
    for k in tiers() {
        for place in [Place::AtStart, Place::AtEnd] {
            for n in [32, 64, 160, 512] {
                let x: Vec<f32> = (0..n).map(|_| rng.float()).collect();
                let x = Guarded::new(bytemuck::cast_slice(&x), place);
                let room = |bytes: usize| Guarded::new(&vec![0; bytes], place);
                let (mut q, mut d, mut sums) = (room(n), room(n / 8), room(n / 8));
                k.quantize(x.cast(), q.cast_mut(), d.cast_mut(), sums.cast_mut()).unwrap();
                assert!([&q, &d, &sums].iter().all(|g| g.surroundings_are_intact()), "quantize.{}", k.tier());
            }
            for &format in Format::ALL {
                let case = Case::new(format, 2, 1);
                let data = Guarded::new(&case.data, place);
                let w = Matrix::new(format, data.bytes(), 2, case.cols).unwrap();
                let mut out = Guarded::new(&vec![0; case.cols * 4], place);
                for row in 0..2 {
                    k.dequantize_row(&w, row, out.cast_mut()).unwrap();
                }
                assert!(out.surroundings_are_intact(), "{format}.dequantize_row.{}", k.tier());
            }
        }
    }
}

/// Where each operation runs between guard pages, on every tier and for every operand: a call that must be in the test's source.
#[test]
fn every_listed_operation_runs_between_guard_pages() {
    let matmul = include_str!("support/matmul.rs");
    let float = include_str!("float.rs");
    let attention = include_str!("attention.rs");
    let this = include_str!("library.rs");
    for op in Op::ALL {
        let (name, sources): (String, &[&str]) = match op {
            // Quantized weights in one file and float ones in the other.
            Op::Gemv | Op::Gemm => ("matmul".to_owned(), &[matmul, float]),
            Op::Quantize | Op::DequantizeRow => (op.name().to_owned(), &[this]),
            Op::StoreKv | Op::AttentionPage | Op::AttentionFold | Op::AttentionFinish => {
                (op.name().to_owned(), &[attention])
            }
            _ => (op.name().to_owned(), &[float]),
        };
        for source in sources {
            let calls = [format!(".{name}("), format!(".{name}_float(")];
            assert!(
                source.contains("Guarded::new") && calls.iter().any(|call| source.contains(call)),
                "{op}"
            );
        }
    }
}
