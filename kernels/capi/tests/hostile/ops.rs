//! Every function that takes memory or numbers, with arguments from a [`Call`].

use crate::call::Call;
use kinglet_c::*;

pub type Op = fn(&mut Call, *const Handle) -> Status;

/// Each makes its arguments from the call's random numbers, so that two runs from one seed have the same ones.
pub const OPS: &[(&str, Op)] = &[
    ("quantize", |c, h| {
        let (n, k) = (c.rng.size(4), 32 * c.rng.size(6).min(1 << 58) + usize::from(c.rng.one_in(c.spoil)));
        let values = n.checked_mul(k);
        let x = c.floats(values);
        let (q, d, s) = (c.out(values), c.out(values.map(|v| v / 32)), c.out(values.map(|v| v / 16)));
        unsafe { kinglet_quantize(h, x, n, k, q, d, s) }
    }),
    ("quantize_rows", |c, h| {
        let (n, k) = (c.rng.size(40), 32 * c.rng.size(6).min(1 << 58));
        let k = k + usize::from(c.rng.one_in(c.spoil));
        let stride = k.saturating_add(32 * c.rng.below(3));
        let stride = if c.rng.one_in(c.spoil) { c.rng.size(300) } else { stride };
        let x = c.floats(n.checked_mul(k));
        let extent = if k == 0 {
            Some(0)
        } else {
            n.checked_sub(1).map_or(Some(0), |n| n.checked_mul(stride)?.checked_add(k))
        };
        let (q, d, s) = (c.out(extent), c.out(extent.map(|v| v / 32)), c.out(extent.map(|v| v / 16)));
        unsafe { kinglet_quantize_rows(h, x, n, k, q, d, s, stride) }
    }),
    ("matmul", |c, h| {
        let (format, rows, n) = (c.format(), c.rng.size(40), c.rng.size(12));
        let cols = c.cols(format);
        let w = c.matrix(format, rows, cols);
        let k = if c.rng.one_in(c.spoil) { cols.wrapping_add(32) } else { cols };
        let x = c.activations(n, k);
        let bias = if c.rng.one_in(2) { std::ptr::null_mut() } else { c.floats(Some(rows)) };
        let mut need = 0;
        unsafe { kinglet_matmul_workspace(h, &w, &mut need) };
        let (begin, end) =
            if c.rng.one_in(3) && rows < 99 { (c.rng.below(rows + 1), rows) } else { (0, rows) };
        let end = if c.rng.one_in(c.spoil) { c.rng.size(rows.max(1)) } else { end };
        let stride = rows.saturating_add(c.rng.below(3)).wrapping_sub(usize::from(c.rng.one_in(c.spoil)));
        let extent = n.checked_sub(1).map_or(Some(0), |n| n.checked_mul(stride)?.checked_add(rows.max(end)));
        let y = c.out(extent);
        let (ws, ws_size) = c.workspace(need);
        unsafe { kinglet_matmul(h, &w, &x, bias, begin, end, y, stride, ws, ws_size) }
    }),
    ("matmul_id", |c, h| {
        let (format, rows, n) = (c.format(), c.rng.size(20), c.rng.size(6));
        let (experts, per_row) = (c.rng.size(4), c.rng.size(3));
        let cols = c.cols(format);
        let w = c.matrix(format, rows.wrapping_mul(experts), cols);
        let x = c.activations(n, cols);
        let columns = n.checked_mul(per_row);
        let ids = c.raw::<u32>(columns);
        let spoil = c.rng.one_in(c.spoil);
        for four in c.memory.last_mut().unwrap().bytes().chunks_exact_mut(4) {
            let id = u32::from_ne_bytes(four.try_into().unwrap())
                % (experts as u32).saturating_add(spoil as u32).max(1);
            four.copy_from_slice(&id.to_ne_bytes());
        }
        let mut need = 0;
        unsafe { kinglet_matmul_workspace(h, &w, &mut need) };
        let extent = columns
            .and_then(|n| n.checked_sub(1).map_or(Some(0), |n| n.checked_mul(rows)?.checked_add(rows)));
        let y = c.out(extent);
        let (ws, ws_size) = c.workspace(need);
        unsafe { kinglet_matmul_id(h, &w, experts, ids, per_row, &x, 0, rows, y, rows, ws, ws_size) }
    }),
    ("matmul_float", |c, h| {
        let (format, rows, n) = ([0, 1, 30, 12][c.rng.below(4)], c.rng.size(20), c.rng.size(8));
        let cols = if format == 12 { 256 } else { c.rng.size(70) };
        let w = c.matrix(format, rows, cols);
        let x = c.floats(n.checked_mul(cols));
        let y = c.out(n.checked_mul(rows));
        unsafe { kinglet_matmul_float(h, &w, x, n, 0, rows, y, rows) }
    }),
    ("linear", |c, h| {
        let (format, rows, n) = (c.format(), c.rng.size(20), c.rng.size(8));
        let cols = c.cols(format);
        let w = c.matrix(format, rows, cols);
        let x = c.floats(n.checked_mul(cols));
        let bias = if c.rng.one_in(2) { std::ptr::null_mut() } else { c.floats(Some(rows)) };
        let mut need = 0;
        unsafe { kinglet_linear_workspace(h, &w, n, &mut need) };
        let y = c.out(n.checked_mul(rows));
        let (ws, ws_size) = c.workspace(need);
        unsafe { kinglet_linear(h, &w, x, n, bias, y, rows, ws, ws_size) }
    }),
    ("dequantize_row", |c, h| {
        let (format, rows) = (c.format(), c.rng.size(3));
        let cols = c.cols(format);
        let w = c.matrix(format, rows, cols);
        let row = if c.rng.one_in(c.spoil) { c.rng.size(5) } else { c.rng.below(rows.max(1)) };
        let out = c.out(Some(cols));
        unsafe { kinglet_dequantize_row(h, &w, row, out) }
    }),
    ("encode_row", |c, _| {
        let format = c.format();
        let n = c.cols(format);
        let mut size = 7;
        unsafe { kinglet_row_size(format, n, &mut size) };
        let size = if c.rng.one_in(c.spoil) { size ^ 1 } else { size };
        let x = c.floats(Some(n));
        if !c.rng.one_in(4) {
            // What every format can hold.
            for four in c.memory.last_mut().unwrap().bytes().chunks_exact_mut(4) {
                let x = f32::from_ne_bytes(four.try_into().unwrap());
                if x.is_nan() || x.abs() >= 60_000.0 {
                    four.copy_from_slice(&0.5f32.to_ne_bytes());
                }
            }
        }
        let out = c.out::<u8>(Some(size));
        unsafe { kinglet_encode_row(format, x, n, out.cast(), size) }
    }),
    ("rms_norm", |c, h| {
        let (rows, n) = (c.rng.size(4), c.rng.size(70));
        let values = rows.checked_mul(n);
        let w = if c.rng.one_in(3) { std::ptr::null_mut() } else { c.floats(Some(n)) };
        if c.rng.one_in(2) {
            let y = c.in_out(values);
            return unsafe { kinglet_rms_norm(h, y, rows, n, w, 1e-6, y) };
        }
        let (x, y) = (c.floats(values), c.out(values));
        unsafe { kinglet_rms_norm(h, x, rows, n, w, 1e-6, y) }
    }),
    ("layer_norm", |c, h| {
        let (rows, n) = (c.rng.size(4), c.rng.size(70));
        let values = rows.checked_mul(n);
        let w = if c.rng.one_in(3) { std::ptr::null_mut() } else { c.floats(Some(n)) };
        let b = if c.rng.one_in(3) { std::ptr::null_mut() } else { c.floats(Some(n)) };
        if c.rng.one_in(2) {
            let y = c.in_out(values);
            return unsafe { kinglet_layer_norm(h, y, rows, n, w, b, 1e-5, y) };
        }
        let (x, y) = (c.floats(values), c.out(values));
        unsafe { kinglet_layer_norm(h, x, rows, n, w, b, 1e-5, y) }
    }),
    ("rope", |c, h| {
        let (kind, heads, pairs) = (c.number(2), c.rng.size(4), c.rng.size(40));
        let dim = if c.rng.one_in(c.spoil) {
            c.rng.size(60)
        } else {
            pairs.saturating_mul(2).saturating_add(c.rng.below(9))
        };
        let x = c.in_out(heads.checked_mul(dim));
        let (cos, sin) = (c.floats(Some(pairs)), c.floats(Some(pairs)));
        unsafe { kinglet_rope(h, kind, x, heads, dim, cos, sin, pairs) }
    }),
    ("activate", |c, h| {
        let (kind, n) = (c.number(5), c.rng.size(70));
        let x = c.in_out(Some(n));
        unsafe { kinglet_activate(h, kind, x, n) }
    }),
    ("activate_mul", |c, h| {
        let (kind, n) = (c.number(5), c.rng.size(70));
        let (x, up) = (c.in_out(Some(n)), c.floats(Some(n)));
        unsafe { kinglet_activate_mul(h, kind, x, up, n) }
    }),
    ("map", |c, h| {
        let (kind, parameter, n) = (c.number(5), c.rng.float(), c.rng.size(70));
        let x = c.in_out(Some(n));
        unsafe { kinglet_map(h, kind, parameter, x, n) }
    }),
    ("add", |c, h| {
        let n = c.rng.size(70);
        let (x, y) = (c.in_out(Some(n)), c.floats(Some(n)));
        unsafe { kinglet_add(h, x, y, n) }
    }),
    ("add_scaled", |c, h| {
        let (n, s) = (c.rng.size(70), c.rng.float());
        let (x, y) = (c.in_out(Some(n)), c.floats(Some(n)));
        unsafe { kinglet_add_scaled(h, x, y, s, n) }
    }),
    ("softmax", |c, h| {
        let (rows, n) = (c.rng.size(4), c.rng.size(70));
        let x = c.in_out(rows.checked_mul(n));
        unsafe { kinglet_softmax(h, x, rows, n) }
    }),
    ("store_kv", |c, h| {
        let (cache, sizes) = cache(c, h);
        let (keys, values) = (c.out::<u8>(Some(sizes.key_page)), c.out::<u8>(Some(sizes.value_page)));
        let (k, v) = (c.floats(Some(cache.head_dim)), c.floats(Some(cache.value_dim)));
        let slot = if c.rng.one_in(c.spoil) { c.rng.size(2000) } else { c.rng.below(512) };
        unsafe { kinglet_store_kv(h, &cache, keys.cast(), values.cast(), slot, k, v) }
    }),
    ("store_kv_batch", |c, h| {
        let (cache, sizes) = cache(c, h);
        let (keys, values) = (c.out::<u8>(Some(sizes.key_page)), c.out::<u8>(Some(sizes.value_page)));
        let (begin, n) = (c.rng.below(512), c.rng.below(50));
        let end = if c.rng.one_in(c.spoil) { c.rng.size(2000) } else { (begin + n).min(512) };
        let mut rows = |width: usize| {
            let stride = width.saturating_add(c.rng.below(9));
            let stride = if c.rng.one_in(c.spoil) { c.rng.size(100) } else { stride };
            let extent = match end.saturating_sub(begin).checked_sub(1) {
                // More slots than a page has are refused, whatever is there.
                Some(before) => before.checked_mul(stride).and_then(|e| e.checked_add(width)),
                None => Some(0),
            };
            (c.floats(extent).cast_const(), stride)
        };
        let ((k, k_stride), (v, v_stride)) = (rows(cache.head_dim), rows(cache.value_dim));
        let (keys, values) = (keys.cast(), values.cast());
        unsafe { kinglet_store_kv_batch(h, &cache, keys, values, begin, end, k, k_stride, v, v_stride) }
    }),
    ("attention_page", |c, h| {
        let (cache, sizes) = cache(c, h);
        let (rows, page) = (c.rng.size(60), c.rng.size(3));
        let q = c.floats(rows.checked_mul(cache.head_dim));
        let queries = c.raw::<Query>(Some(rows));
        let at = c.memory.len() - 1;
        for i in 0..if rows > 64 { 0 } else { rows } {
            let visible_begin = c.rng.size(1600);
            let visible_end = visible_begin.saturating_add(c.rng.below(900));
            let slope = if c.rng.one_in(3) { c.rng.float() } else { 0.0 };
            let query = Query { position: c.rng.size(3000), visible_begin, visible_end, slope, reserved: 0 };
            unsafe { c.memory[at].p.cast::<Query>().add(i).write(query) };
        }
        let keys = c.raw::<u8>(Some(sizes.key_page)).cast_const().cast();
        let values = c.raw::<u8>(Some(sizes.value_page)).cast_const().cast();
        let (m, l, o) = (c.out(Some(rows)), c.out(Some(rows)), c.out(rows.checked_mul(sizes.output_dim)));
        let (workspace, workspace_size) = c.workspace(sizes.workspace);
        let (scale, softcap) = (0.125, if c.rng.one_in(2) { 30.0 } else { 0.0 });
        let size = c.struct_size(size_of::<Attention>());
        let a = Attention {
            size,
            q,
            queries,
            rows,
            page,
            keys,
            values,
            m,
            l,
            o,
            scale,
            softcap,
            workspace,
            workspace_size,
        };
        unsafe { kinglet_attention_page(h, &cache, &a) }
    }),
    ("attention_fold", |c, h| {
        let (cache, sizes) = cache(c, h);
        let rows = c.rng.size(5);
        let values = rows.checked_mul(sizes.output_dim);
        let (m, l, o) = (c.in_out(Some(rows)), c.in_out(Some(rows)), c.in_out(values));
        let (pm, pl, po) = (c.floats(Some(rows)), c.floats(Some(rows)), c.floats(values));
        unsafe { kinglet_attention_fold(h, &cache, rows, m, l, o, pm, pl, po) }
    }),
    ("attention_finish", |c, h| {
        let (cache, sizes) = cache(c, h);
        let rows = c.rng.size(5);
        let (l, o) = (c.floats(Some(rows)), c.floats(rows.checked_mul(sizes.output_dim)));
        let out = c.out(rows.checked_mul(cache.value_dim));
        unsafe { kinglet_attention_finish(h, &cache, rows, l, o, out) }
    }),
    ("kernel_for", |c, h| {
        let ops = [c"gemv", c"gemm", c"softmax", c"store_kv", c"nothing", c""];
        let op = if c.rng.one_in(c.spoil) { std::ptr::null() } else { ops[c.rng.below(6)].as_ptr() };
        let (weights, kind) = (
            if c.rng.one_in(3) { u32::MAX } else { c.format() },
            if c.rng.one_in(3) { c.number(3) } else { u32::MAX },
        );
        let info = c.out::<KernelInfo>(Some(1));
        let _ = unsafe { kinglet_kernel_at(h, c.rng.size(200), info) };
        // What a list says differs between tiers: only that it answers is looked at.
        let status = unsafe { kinglet_kernel_for(h, op, weights, kind, c.rng.size(9), info) };
        c.written.clear();
        status
    }),
    ("detect", |c, _| {
        let mut names = [c"scalar".as_ptr(); 2];
        for name in &mut names {
            let texts = [c"scalar", c"avx2", c"neon", c"avx512_vnni", c"AVX2", c"", c"\xff\xfe"];
            *name = if c.rng.one_in(2) { std::ptr::null() } else { texts[c.rng.below(7)].as_ptr() };
        }
        let size = c.struct_size(size_of::<Options>());
        let reserved = u32::from(c.rng.one_in(c.spoil));
        let options = Options { size, tier: names[0], cap: names[1], ignore_environment: 1, reserved };
        let out = c.out::<*const Handle>(Some(1));
        let status = unsafe { kinglet_detect(&options, out) };
        if status == Status::Ok {
            assert!(!unsafe { kinglet_tier_name(out.read()) }.is_null());
        }
        status
    }),
    ("row_size", |c, _| {
        let format = c.format();
        let n = c.cols(format);
        let texts = [
            kinglet_format_name(format),
            kinglet_strerror(format as i32),
            kinglet_last_error(),
            kinglet_version(),
        ];
        for text in texts.into_iter().filter(|text| !text.is_null()) {
            assert!(unsafe { std::ffi::CStr::from_ptr(text) }.to_str().is_ok());
        }
        assert_eq!(kinglet_abi_version(), ABI_VERSION);
        assert_eq!(kinglet_contract_version(), 1);
        let bytes = c.out::<usize>(Some(1));
        unsafe { kinglet_row_size(format, n, bytes) }
    }),
    ("cache_sizes", |c, h| {
        let (kind, reserved) = (c.number(3), u32::from(c.rng.one_in(c.spoil * 3)));
        let (head_dim, value_dim) = (c.rng.size(4500), c.rng.size(4500));
        let cache = Cache { size: c.struct_size(size_of::<Cache>()), head_dim, value_dim, kind, reserved };
        let sizes = c.out::<CacheSizes>(Some(1));
        let status = unsafe { kinglet_cache_sizes(h, &cache, sizes) };
        // Tiers need workspaces of different sizes.
        if status == Status::Ok {
            c.written.clear();
        }
        status
    }),
];

fn cache(c: &mut Call, h: *const Handle) -> (Cache, CacheSizes) {
    let (head_dim, value_dim) = (c.rng.size(70), c.rng.size(70));
    let (kind, reserved) = (c.number(3), u32::from(c.rng.one_in(c.spoil * 3)));
    let cache = Cache { size: c.struct_size(size_of::<Cache>()), head_dim, value_dim, kind, reserved };
    let mut sizes = CacheSizes::default();
    // SAFETY: as the function says. Refused: what uses it is refused too.
    unsafe { kinglet_cache_sizes(h, &cache, &mut sizes) };
    (cache, sizes)
}
