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
        (run(&w(|w| w.size -= 8), &x, (0, 4), p, 4, size), Status::StructSize),
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
