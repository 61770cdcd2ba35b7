//! Mistakes one by one, each with its status.

use crate::handles;
use kinglet_c::*;
use std::ffi::c_void;

/// One call after the other, each with one thing wrong, and its status.
#[test]
fn each_mistake_has_its_status() {
    let k = handles()[1];
    let mut block = vec![0x00, 0x3c]; // 1.0 as f16
    block.extend([1u8; 32]);
    let data = block.repeat(4);
    let good = Matrix {
        size: size_of::<Matrix>(),
        data: data.as_ptr().cast(),
        data_size: data.len(),
        rows: 4,
        cols: 32,
        stride: 0,
        format: 8,
        reserved: 0,
        next: std::ptr::null(),
    };
    let (q, d, sums) = ([1i8; 64], [1.0f32; 2], [16i16; 4]);
    let x = Activations {
        size: size_of::<Activations>(),
        q: q.as_ptr(),
        d: d.as_ptr(),
        sums: sums.as_ptr(),
        n: 2,
        k: 32,
    };
    let mut y = [7.0f32; 8];
    let p = y.as_mut_ptr();
    let mut need = 0;
    assert_eq!(unsafe { kinglet_matmul_workspace(k, &good, &mut need) }, Status::Ok);
    let mut workspace = vec![0u8; need.max(64)];
    let ws: *mut c_void = workspace.as_mut_ptr().cast();
    let run = |w: &Matrix,
               x: *const Activations,
               (begin, end): (usize, usize),
               y: *mut f32,
               stride: usize,
               size: usize| {
        // SAFETY: everything lives; what is wrong is refused.
        unsafe { kinglet_matmul(k, w, x, std::ptr::null(), begin, end, y, stride, ws, size) }
    };
    let no = std::ptr::null();
    let size = workspace.len();
    let huge = usize::MAX / 8;
    let w = |change: fn(&mut Matrix)| {
        let mut w = good;
        change(&mut w);
        w
    };
    let cases = [
        (run(&good, &x, (1, 4), std::ptr::null_mut(), 4, size), Status::NullPointer),
        (run(&good, no, (0, 4), p, 4, size), Status::NullPointer),
        (run(&good, &x, (1, 4), p.wrapping_byte_add(2), 4, size), Status::Misaligned),
        (run(&good, &x, (0, 4), p, 3, size), Status::Shape),
        (run(&good, &x, (0, 5), p, 4, size), Status::Shape),
        (run(&good, &x, (3, 2), p, 4, size), Status::Shape),
        (run(&good, &x, (0, 4), p, huge * 7, size), Status::TooLarge),
        (run(&good, &x, (0, 4), ws.cast(), 4, size), Status::Overlap),
        (run(&good, &x, (0, 4), (&raw const x).cast_mut().cast(), 4, size), Status::Overlap),
        (run(&good, &x, (0, 4), (&raw const good).cast_mut().cast(), 4, size), Status::Overlap),
        (run(&good, &Activations { k: 64, n: 1, ..x }, (0, 4), p, 4, size), Status::Shape),
        (run(&good, &Activations { size: 8, ..x }, (0, 4), p, 4, size), Status::StructSize),
        (run(&w(|w| w.format = 4), &x, (0, 4), p, 4, size), Status::UnknownValue),
        (run(&w(|w| w.format = 0), &x, (0, 4), p, 4, size), Status::Shape),
        (run(&w(|w| w.reserved = 1), &x, (0, 4), p, 4, size), Status::StructSize),
        (run(&w(|w| w.size -= 1), &x, (0, 4), p, 4, size), Status::StructSize),
        (run(&w(|w| w.size -= 16), &x, (0, 4), p, 4, size), Status::StructSize),
        (run(&w(|w| w.data = std::ptr::null()), &x, (0, 4), p, 4, size), Status::NullPointer),
        (run(&w(|w| w.data_size -= 1), &x, (0, 4), p, 4, size), Status::Shape),
        (run(&w(|w| w.data_size = usize::MAX), &x, (0, 4), p, 4, size), Status::TooLarge),
        (run(&w(|w| w.rows = usize::MAX / 2), &x, (0, 4), p, 4, size), Status::Shape),
        (run(&w(|w| w.stride = 33), &x, (0, 4), p, 4, size), Status::Shape),
        (unsafe { kinglet_softmax(k, p, 1 << 40, 1 << 40) }, Status::TooLarge),
        (unsafe { kinglet_softmax(std::ptr::dangling(), p, 1, 8) }, Status::BadHandle),
        (unsafe { kinglet_softmax(std::ptr::null(), p, 1, 8) }, Status::NullPointer),
        (unsafe { kinglet_activate(k, 5, p, 8) }, Status::UnknownValue),
    ];
    for (i, (got, want)) in cases.into_iter().enumerate() {
        assert_eq!(got, want, "case {i}");
    }
    assert_eq!(y, [7.0; 8], "refused calls have written");
    if need > 0 {
        assert_eq!(run(&good, &x, (0, 4), p, 4, need - 1), Status::Workspace);
    }
    assert_eq!(run(&good, &x, (1, 3), p, 4, size), Status::Ok);
    assert_eq!(y, [7.0, 32.0, 32.0, 7.0, 7.0, 32.0, 32.0, 7.0]);
    let (mut row, mut out) = ([1.0f32; 32], [7u8; 34]);
    for (value, want) in
        [(f32::NAN, Status::Value), (1e6, Status::Value), (f32::INFINITY, Status::Value), (1e4, Status::Ok)]
    {
        row[31] = value;
        let got = unsafe { kinglet_encode_row(8, row.as_ptr(), 32, out.as_mut_ptr().cast(), 34) };
        assert_eq!(got, want, "{value}");
        assert!(got == Status::Ok || out == [7; 34], "{value}: refused, and wrote");
    }
    // SAFETY: null in the place of nothing.
    assert_eq!(unsafe { kinglet_softmax(k, std::ptr::null_mut(), 0, 8) }, Status::Ok);
    let text = unsafe { std::ffi::CStr::from_ptr(kinglet_strerror(5)) };
    assert_eq!(text.to_str(), Ok("sizes do not fit together"));
    let options =
        |tier, cap| Options { size: size_of::<Options>(), tier, cap, ignore_environment: 0, reserved: 0 };
    let mut out = std::ptr::null();
    let foreign = if cfg!(target_arch = "x86_64") { c"neon" } else { c"avx2" };
    for (tier, cap, want) in [
        (c"avx3".as_ptr(), std::ptr::null(), Status::UnknownName),
        (foreign.as_ptr(), std::ptr::null(), Status::UnusableTier),
        (std::ptr::null(), c"scalar".as_ptr(), Status::Ok),
    ] {
        assert_eq!(unsafe { kinglet_detect(&options(tier, cap), &mut out) }, want);
    }
    let name = unsafe { std::ffi::CStr::from_ptr(kinglet_tier_name(out)) };
    assert_eq!(name.to_str(), Ok("scalar"));
    let mut differences = 9;
    assert_eq!(unsafe { kinglet_verify(k, 0, &mut differences) }, Status::Ok);
    assert_eq!(differences, 0);
}

/// Structs and what is asked for are pointers of their own, which `ops.rs` always has.
#[test]
fn every_struct_and_answer_may_be_null() {
    let (k, no) = (handles()[1], std::ptr::null::<c_void>());
    let data = [0u8; 34];
    let w = Matrix {
        size: size_of::<Matrix>(),
        data: data.as_ptr().cast(),
        data_size: 34,
        rows: 1,
        cols: 32,
        stride: 0,
        format: 8,
        reserved: 0,
        next: std::ptr::null(),
    };
    let cache = Cache { size: size_of::<Cache>(), head_dim: 16, value_dim: 16, kind: 0, reserved: 0 };
    let mut x = [0f32; 64];
    let (p, f, m) = (x.as_mut_ptr(), x.as_ptr(), std::ptr::null_mut());
    let mut bytes = 0usize;
    // SAFETY: refused before anything is read.
    let statuses = unsafe {
        [
            kinglet_detect(std::ptr::null(), std::ptr::null_mut()),
            kinglet_kernel_at(k, 0, std::ptr::null_mut()),
            kinglet_kernel_for(k, c"exp".as_ptr(), u32::MAX, u32::MAX, 1, std::ptr::null_mut()),
            kinglet_verify(k, 0, std::ptr::null_mut()),
            kinglet_row_size(8, 32, std::ptr::null_mut()),
            kinglet_matmul_workspace(k, no.cast(), &mut bytes),
            kinglet_matmul_workspace(k, &w, std::ptr::null_mut()),
            kinglet_linear_workspace(k, no.cast(), 1, &mut bytes),
            kinglet_linear_workspace(k, &w, 1, std::ptr::null_mut()),
            kinglet_matmul(k, no.cast(), no.cast(), f, 0, 1, p, 1, m, 0),
            kinglet_matmul(k, &w, no.cast(), f, 0, 1, p, 1, m, 0),
            kinglet_matmul_id(k, no.cast(), 1, no.cast(), 1, no.cast(), 0, 1, p, 1, m, 0),
            kinglet_matmul_id(k, &w, 1, no.cast(), 1, no.cast(), 0, 1, p, 1, m, 0),
            kinglet_matmul_float(k, no.cast(), f, 1, 0, 1, p, 1),
            kinglet_linear(k, no.cast(), f, 1, no.cast(), p, 1, m, 0),
            kinglet_dequantize_row(k, no.cast(), 0, p),
            kinglet_cache_sizes(k, no.cast(), std::ptr::null_mut()),
            kinglet_cache_sizes(k, &cache, std::ptr::null_mut()),
            kinglet_store_kv(k, no.cast(), m, m, 0, f, f),
            kinglet_store_kv_batch(k, no.cast(), m, m, 0, 1, f, 16, f, 16),
            kinglet_attention_page(k, no.cast(), no.cast()),
            kinglet_attention_page(k, &cache, no.cast()),
            kinglet_attention_fold(k, no.cast(), 1, p, p, p, f, f, f),
            kinglet_attention_finish(k, no.cast(), 1, f, f, p),
        ]
    };
    for (i, status) in statuses.into_iter().enumerate() {
        assert_eq!(status, Status::NullPointer, "call {i}");
    }
    assert_eq!((x, bytes), ([0.0; 64], 0), "refused calls have written");
}

/// What is multiplied next is a hint: whatever it is, the bits are the same, and what is wrong with it is refused as of any matrix.
#[test]
fn the_next_matrix_changes_nothing_and_is_checked() {
    const FIRST: usize = std::mem::offset_of!(Matrix, next);
    for k in handles() {
        let data: Vec<u8> = (0..40 * 34).map(|i| (i * 7 % 61) as u8).collect();
        let plain = Matrix {
            size: size_of::<Matrix>(),
            data: data.as_ptr().cast(),
            data_size: data.len(),
            rows: 40,
            cols: 32,
            stride: 0,
            format: 8,
            reserved: 0,
            next: std::ptr::null(),
        };
        let (q, d, sums) = ([3i8; 12 * 32], [0.5f32; 12], [48i16; 24]);
        let (q, d, sums, n) = (q.as_ptr(), d.as_ptr(), sums.as_ptr(), 12);
        let mut need = 0;
        assert_eq!(unsafe { kinglet_matmul_workspace(k, &plain, &mut need) }, Status::Ok);
        let mut workspace = vec![0u8; need];
        let mut run = |w: &Matrix, n: usize| {
            let x = Activations { size: size_of::<Activations>(), q, d, sums, n, k: 32 };
            let (mut y, ws) = ([7.0f32; 12 * 40], workspace.as_mut_ptr().cast());
            // SAFETY: everything lives; what is wrong is refused.
            let status =
                unsafe { kinglet_matmul(k, w, &x, std::ptr::null(), 0, 40, y.as_mut_ptr(), 40, ws, need) };
            assert!(status == Status::Ok || y == [7.0; 12 * 40], "{status:?}, and wrote");
            (status, y)
        };
        // Itself, another format, with gaps, nothing; with a next one of its own that is wrong and not looked at.
        let wrong = Matrix { format: 4, ..plain };
        let floats = Matrix { format: 0, cols: 1, rows: 3, next: &wrong, ..plain };
        let gaps = Matrix { rows: 20, stride: 68, ..plain };
        let nothing = Matrix { data: std::ptr::null(), data_size: 0, rows: 0, ..plain };
        let earlier = Matrix { size: FIRST, ..plain };
        for n in [1, n] {
            let want = run(&plain, n);
            assert_eq!(want.0, Status::Ok);
            for next in [&plain, &floats, &gaps, &nothing, &earlier] {
                assert!(run(&Matrix { next, ..plain }, n) == want, "{n} columns");
            }
            // A program that knows of no next one has something else in its place.
            assert!(run(&Matrix { size: FIRST, next: std::ptr::dangling(), ..plain }, n) == want);
        }
        for (next, status) in [
            (wrong, Status::UnknownValue),
            (Matrix { size: 8, ..plain }, Status::StructSize),
            (Matrix { reserved: 1, ..plain }, Status::StructSize),
            (Matrix { data: std::ptr::null(), ..plain }, Status::NullPointer),
            (Matrix { rows: 41, ..plain }, Status::Shape),
            (Matrix { data_size: usize::MAX, ..plain }, Status::TooLarge),
        ] {
            assert_eq!(run(&Matrix { next: &next, ..plain }, n).0, status);
        }
        let odd = (&raw const plain).wrapping_byte_add(1);
        assert_eq!(run(&Matrix { next: odd, ..plain }, n).0, Status::Misaligned);
    }
}

/// Rows within longer ones are quantized as rows alone, and what lies between them stays.
#[test]
fn rows_that_are_apart_are_quantized_as_rows_alone() {
    for k in handles() {
        // Short rows are quantized many at a time.
        for (n, width) in [(34, 32), (34, 96), (3, 160), (0, 64), (2, 0)] {
            let x: Vec<f32> = (0..n * width).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            let (before, stride) = (32, width + 96);
            let size = n * stride + before;
            let mut want = (vec![9i8; size], vec![9f32; size / 32], vec![9i16; size / 16]);
            let mut got = want.clone();
            for (r, x) in x.chunks(width.max(1)).enumerate() {
                let at = r * stride + before;
                let (q, d, sums) = (&mut want.0[at..], &mut want.1[at / 32..], &mut want.2[at / 16..]);
                let (q, d, sums) = (q.as_mut_ptr(), d.as_mut_ptr(), sums.as_mut_ptr());
                assert_eq!(unsafe { kinglet_quantize(k, x.as_ptr(), 1, width, q, d, sums) }, Status::Ok);
            }
            let before_all = got.clone();
            let mut run = |width: usize, stride: usize| {
                let (q, d) = (got.0[before..].as_mut_ptr(), got.1[before / 32..].as_mut_ptr());
                let sums = got.2[before / 16..].as_mut_ptr();
                let status = unsafe { kinglet_quantize_rows(k, x.as_ptr(), n, width, q, d, sums, stride) };
                assert!(status == Status::Ok || got == before_all, "{status:?}, and wrote");
                status
            };
            if n > 1 && width > 0 {
                assert_eq!(run(width, width - 32), Status::Shape);
                assert_eq!(run(width, usize::MAX / 32 * 32), Status::TooLarge);
                assert_eq!(run(width - 1, stride), Status::Shape);
            }
            assert_eq!(run(width, stride + 16), Status::Shape);
            assert_eq!(run(width, stride), Status::Ok);
            assert!(got == want, "{n} rows of {width}");
        }
    }
}

/// A batch is stored as its keys and values one by one.
#[test]
fn a_batch_is_stored_as_its_slots_one_by_one() {
    for (k, kind) in handles().into_iter().flat_map(|k| [0, 1, 2].map(|kind| (k, kind))) {
        let cache = Cache { size: size_of::<Cache>(), head_dim: 33, value_dim: 20, kind, reserved: 0 };
        let mut sizes = CacheSizes::default();
        assert_eq!(unsafe { kinglet_cache_sizes(k, &cache, &mut sizes) }, Status::Ok);
        let page = || (vec![9u8; sizes.key_page], vec![9u8; sizes.value_page]);
        let x: Vec<f32> = (0..512 * 40).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
        let (mut want, mut got) = (page(), page());
        for (row, slot) in (5..50).enumerate() {
            let (keys, values) = (want.0.as_mut_ptr().cast(), want.1.as_mut_ptr().cast());
            let (key, value) = (x[40 * row..].as_ptr(), x[7 + 20 * row..].as_ptr());
            let status = unsafe { kinglet_store_kv(k, &cache, keys, values, slot, key, value) };
            assert_eq!(status, Status::Ok);
        }
        let mut run = |begin, end, k_stride, v_stride| {
            let (keys, values) = (got.0.as_mut_ptr().cast(), got.1.as_mut_ptr().cast());
            let (key, value) = (x.as_ptr(), x[7..].as_ptr());
            let status = unsafe {
                kinglet_store_kv_batch(k, &cache, keys, values, begin, end, key, k_stride, value, v_stride)
            };
            assert!(status == Status::Ok || got == page(), "{status:?}, and wrote");
            status
        };
        assert_eq!(run(5, 50, 32, 20), Status::Shape);
        assert_eq!(run(5, 50, 40, 19), Status::Shape);
        assert_eq!(run(5, 50, usize::MAX / 2, 20), Status::TooLarge);
        assert_eq!(run(50, 5, 40, 20), Status::Shape);
        assert_eq!(run(500, 513, 40, 20), Status::Shape);
        assert_eq!(run(usize::MAX, usize::MAX, 40, 20), Status::Shape);
        // Nothing, and one, whose stride nobody asks for.
        assert_eq!(run(512, 512, 0, 0), Status::Ok);
        assert_eq!(run(5, 6, 0, usize::MAX), Status::Ok);
        assert_eq!(run(5, 50, 40, 20), Status::Ok);
        assert!(got == want, "cache {kind}");
    }
}
