//! Every entry point with random arguments, right and wrong: a status or a right result, never undefined behaviour.
//!
//! Memory that is said to be there is there, to the byte, so that AddressSanitizer sees a step past any end (`ci/capi.sh` builds this
//! file with it). Each call that is accepted is made on the portable tier too, and the results must be equal bit for bit; each
//! that is refused must have written nothing. `KINGLET_FUZZ_RUNS` and `KINGLET_FUZZ_SEED` say how many calls and which.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one argument for all calls: memory that is said to be there is there"
)]

use kinglet_c::*;
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// Mostly small; sometimes 0, and sometimes so large that nothing can be of that size.
    fn size(&mut self, most: usize) -> usize {
        const HUGE: [usize; 6] =
            [usize::MAX, usize::MAX / 2 + 1, usize::MAX / 3, 1 << 62, (1 << 62) + 1, 1 << 63];
        match self.below(40) {
            0 => 0,
            1 => HUGE[self.below(HUGE.len())],
            _ => 1 + self.below(most),
        }
    }
    fn float(&mut self) -> f32 {
        match self.below(50) {
            0 => f32::from_bits(self.next() as u32),
            1 => [f32::NAN, f32::INFINITY, -0.0, 1e-41, f32::MAX][self.below(5)],
            _ => (self.next() >> 40) as f32 / (1u32 << 22) as f32 - 2.0,
        }
    }
}

/// Memory of exactly the size that a call is told.
struct Memory {
    p: *mut u8,
    layout: Layout,
    /// Whether a call is told that anything is there.
    claimed: bool,
}

/// More than this is not allocated. A call that claims more gets a null pointer, or is refused for its size.
const MOST: usize = 1 << 22;

impl Memory {
    fn new(bytes: usize) -> Memory {
        let layout = Layout::from_size_align(bytes.clamp(1, MOST), 16).unwrap();
        // SAFETY: not of size 0.
        let p = unsafe { alloc(layout) };
        assert!(!p.is_null());
        Memory { p, layout, claimed: bytes > 0 }
    }
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes are ours; every caller writes before it reads, below.
        unsafe { std::slice::from_raw_parts_mut(self.p, self.layout.size()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated above with this layout.
        unsafe { dealloc(self.p, self.layout) }
    }
}

/// The arguments of one call.
struct Call {
    rng: Rng,
    memory: Vec<Memory>,
    /// Index into `memory` of what the call writes, and a copy of it from before.
    written: Vec<(usize, Vec<u8>)>,
    /// How often an argument is spoilt: one in so many.
    spoil: usize,
}

/// Bytes of `n` values, or `None` when nothing can be of that size.
fn bytes_of(n: Option<usize>, each: usize) -> Option<usize> {
    n?.checked_mul(each).filter(|bytes| *bytes <= isize::MAX as usize)
}

impl Call {
    /// Spoils a pointer, in a way that has to be refused when there is anything to read or write.
    fn spoil<T>(&mut self, p: *mut T) -> *mut T {
        match self.rng.below(self.spoil * 2) {
            0 => std::ptr::null_mut(),
            1 if align_of::<T>() > 1 => p.wrapping_byte_add(1),
            _ => p,
        }
    }

    /// `n` values of random bytes.
    fn raw<T>(&mut self, n: Option<usize>) -> *mut T {
        let bytes = bytes_of(n, size_of::<T>());
        let mut memory = Memory::new(bytes.unwrap_or(1));
        for byte in memory.bytes() {
            *byte = self.rng.next() as u8;
        }
        let p = if bytes.is_some_and(|b| b > MOST) { std::ptr::null_mut() } else { memory.p.cast() };
        self.memory.push(memory);
        let p: *mut T = self.spoil(p);
        // Null stands for an argument that is left out where there may be none.
        if let Some(memory) = self.memory.last_mut().filter(|_| p.is_null()) {
            memory.claimed = false;
        }
        p
    }

    /// `n` floats.
    fn floats(&mut self, n: Option<usize>) -> *mut f32 {
        let p = self.raw::<f32>(n);
        let (memory, rng) = (self.memory.last_mut().unwrap(), &mut self.rng);
        for four in memory.bytes().chunks_exact_mut(4) {
            four.copy_from_slice(&rng.float().to_ne_bytes());
        }
        p
    }

    /// Room for `n` values that the call writes; sometimes that of another argument.
    fn out<T>(&mut self, n: Option<usize>) -> *mut T {
        let exact = bytes_of(n, size_of::<T>()).unwrap_or(1).clamp(1, MOST);
        // Bytes have no alignment to spoil, and an address moved by one would be too short for them.
        let p: *mut T = if align_of::<T>() > 1 && exact.is_multiple_of(4) {
            self.floats(bytes_of(n, size_of::<T>()).map(|bytes| bytes / 4)).cast()
        } else {
            self.raw(n)
        };
        let at = self.memory.len() - 1;
        let before = self.memory[at].bytes().to_vec();
        self.written.push((at, before));
        if at > 1 && self.rng.one_in(self.spoil * 2) && n.is_some_and(|n| n > 0) {
            // Overlap is refused where something is said to be; elsewhere the address would be too short for the result.
            let other = self.rng.below(at);
            if self.memory[other].claimed {
                return self.memory[other].p.cast();
            }
        }
        p
    }

    /// Reads and writes: its content matters.
    fn in_out(&mut self, n: Option<usize>) -> *mut f32 {
        self.out(n)
    }

    fn number(&mut self, most: u32) -> u32 {
        if self.rng.one_in(self.spoil) {
            self.rng.next() as u32
        } else {
            self.rng.below(most as usize) as u32
        }
    }

    fn struct_size(&mut self, size: usize) -> usize {
        if !self.rng.one_in(self.spoil) {
            return size;
        }
        // A larger one would claim bytes that are not there, except where that is refused.
        [0, 1, size - 1, size / 2, usize::MAX, size + 4097][self.rng.below(6)]
    }

    fn format(&mut self) -> u32 {
        const FORMATS: [u32; 25] =
            [0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 29, 30, 34, 35, 39];
        if self.rng.one_in(self.spoil) { self.rng.next() as u32 % 64 } else { FORMATS[self.rng.below(25)] }
    }

    /// A matrix of `rows` rows of random bytes, sometimes strided.
    fn matrix(&mut self, format: u32, rows: usize, cols: usize) -> Matrix {
        let mut row = 0;
        // SAFETY: `row` can be written.
        let known = unsafe { kinglet_row_size(format, cols, &mut row) } == Status::Ok;
        let row = if known { row } else { 8 };
        let stride = if self.rng.one_in(4) { row.saturating_add(self.rng.below(70)) } else { 0 };
        let each = if stride == 0 { row } else { stride };
        let mut size = rows.checked_sub(1).map_or(Some(0), |r| r.checked_mul(each)?.checked_add(row));
        if self.rng.one_in(self.spoil) {
            size = size.map(|s| s.saturating_sub(1));
        }
        let data = self.raw::<u8>(size).cast_const().cast();
        let data_size = size.unwrap_or(usize::MAX);
        let stride = if self.rng.one_in(self.spoil * 2) { self.rng.size(200) } else { stride };
        let reserved = u32::from(self.rng.one_in(self.spoil * 3));
        let size = self.struct_size(size_of::<Matrix>());
        Matrix { size, data, data_size, rows, cols, stride, format, reserved }
    }

    /// Quantized activations, of random codes within what `kinglet_quantize` writes.
    fn activations(&mut self, n: usize, k: usize) -> Activations {
        let values = n.checked_mul(k);
        let q = self.raw::<i8>(values);
        let codes = self.memory.last_mut().unwrap();
        codes.bytes().iter_mut().filter(|b| **b == 128).for_each(|b| *b = 0);
        let mut sums: Vec<i16> = Vec::new();
        for half in codes.bytes().chunks_exact(16) {
            sums.push(half.iter().map(|b| i16::from(*b as i8)).sum());
        }
        let d = self.floats(values.map(|v| v / 32));
        let s = self.raw::<i16>(values.map(|v| v / 16));
        let room = self.memory.last_mut().unwrap();
        for (two, sum) in room.bytes().chunks_exact_mut(2).zip(sums) {
            two.copy_from_slice(&sum.to_ne_bytes());
        }
        Activations { size: self.struct_size(size_of::<Activations>()), q, d, sums: s, n, k }
    }

    fn cols(&mut self, format: u32) -> usize {
        let block = if self.rng.one_in(self.spoil) {
            self.rng.size(300)
        } else if format >= 10 {
            256
        } else {
            32
        };
        block.checked_mul(1 + self.rng.below(3)).unwrap_or(block)
    }

    fn workspace(&mut self, need: usize) -> (*mut c_void, usize) {
        let size =
            if self.rng.one_in(self.spoil) { need.saturating_sub(1 + self.rng.below(64)) } else { need };
        let shift = self.rng.below(4);
        // Anywhere, also at odd addresses.
        let p = self.raw::<u8>(Some(size + shift));
        (if p.is_null() { p } else { p.wrapping_add(shift) }.cast(), size)
    }
}

fn handles() -> [*const Handle; 2] {
    let mut out = [std::ptr::null(); 2];
    let options = Options {
        size: size_of::<Options>(),
        tier: c"scalar".as_ptr(),
        cap: std::ptr::null(),
        ignore_environment: 0,
        reserved: 0,
    };
    // SAFETY: as the functions say.
    unsafe {
        assert_eq!(kinglet_detect(&options, &mut out[0]), Status::Ok);
        assert_eq!(kinglet_detect(std::ptr::null(), &mut out[1]), Status::Ok);
    }
    out
}

type Op = fn(&mut Call, *const Handle) -> Status;

/// Each makes its arguments from the call's random numbers, so that two runs from one seed have the same ones.
const OPS: &[(&str, Op)] = &[
    ("quantize", |c, h| {
        let (n, k) = (c.rng.size(4), 32 * c.rng.size(6).min(1 << 58) + usize::from(c.rng.one_in(c.spoil)));
        let values = n.checked_mul(k);
        let x = c.floats(values);
        let (q, d, s) = (c.out(values), c.out(values.map(|v| v / 32)), c.out(values.map(|v| v / 16)));
        unsafe { kinglet_quantize(h, x, n, k, q, d, s) }
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
        let (format, n) = (c.format(), c.rng.size(9).saturating_mul(32));
        let mut size = 7;
        unsafe { kinglet_row_size(format, n, &mut size) };
        let size = if c.rng.one_in(c.spoil) { size ^ 1 } else { size };
        let x = c.floats(Some(n));
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

/// A handle, or what is none.
fn handle(rng: &mut Rng, good: *const Handle, spoil: usize) -> *const Handle {
    match rng.below(spoil * 4) {
        0 => std::ptr::null(),
        1 => good.wrapping_byte_add(8),
        2 => std::ptr::without_provenance(rng.next() as usize),
        _ => good,
    }
}

#[test]
fn random_calls_are_refused_or_right() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |v| v.parse().unwrap());
    let default = if std::env::var_os("KINGLET_EMULATED").is_some() { 4_000 } else { 20_000 };
    let (runs, seed) = (number("KINGLET_FUZZ_RUNS", default), number("KINGLET_FUZZ_SEED", 1));
    let handles = handles();
    let mut counts = vec![[0u64; 16]; OPS.len()];
    for run in 0..runs {
        let at = run as usize % OPS.len();
        let (name, op) = OPS[at];
        let seed = seed.wrapping_mul(0x9e37_79b9).wrapping_add(run);
        // One call in two is meant to be right.
        let spoil = if Rng(seed).one_in(2) { 8 } else { 1 << 20 };
        let once = |good: *const Handle| {
            let mut rng = Rng(seed);
            let handle = handle(&mut rng, good, spoil);
            let mut call = Call { rng, memory: Vec::new(), written: Vec::new(), spoil };
            let status = op(&mut call, handle);
            let mut after = Vec::new();
            for (at, before) in &call.written {
                let now = call.memory[*at].bytes().to_vec();
                if status != Status::Ok {
                    assert!(*before == now, "{name}, seed {seed}: refused with {status:?}, and wrote");
                }
                after.push(now);
            }
            (status, after)
        };
        let (portable, fast) = (once(handles[0]), once(handles[1]));
        // Workspaces differ between tiers, so what is too little or overlaps can.
        if portable.0 != fast.0 {
            assert!(portable.0 != Status::Internal && fast.0 != Status::Internal, "{name}, seed {seed}");
            continue;
        }
        assert_ne!(portable.0, Status::Internal, "{name}, seed {seed}");
        counts[at][portable.0 as usize] += 1;
        if portable.0 == Status::Ok {
            for (a, b) in portable.1.iter().zip(&fast.1) {
                assert!(same(a, b), "{name}, seed {seed}: tiers differ");
            }
        }
    }
    for ((name, _), counts) in OPS.iter().zip(&counts) {
        println!(
            "{name:<18} accepted {:>7}, refused {:>7}: {:?}",
            counts[0],
            counts[1..].iter().sum::<u64>(),
            &counts[1..]
        );
        assert!(
            runs < 2000 || counts[0] > 0 && counts[1..].iter().sum::<u64>() > 0,
            "{name} was only refused, or never"
        );
    }
}

/// Equal bytes, or floats of which both are NaN.
fn same(a: &[u8], b: &[u8]) -> bool {
    let float = |four: &[u8]| f32::from_ne_bytes(four.try_into().unwrap());
    a == b
        || a.chunks_exact(4)
            .zip(b.chunks_exact(4))
            .all(|(a, b)| a == b || float(a).is_nan() && float(b).is_nan())
            && a.chunks_exact(4).remainder() == b.chunks_exact(4).remainder()
}

/// One call after the other, each with one thing wrong, and its status.
#[test]
fn each_mistake_has_its_status() {
    let [_, k] = handles();
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
