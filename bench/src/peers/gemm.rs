//! ggml's product of many columns through its C interface: a graph of one `mul_mat` on its CPU backend, as llama.cpp computes it where
//! weights are not repacked into a second copy.

use std::ffi::{c_int, c_void};

/// `struct ggml_init_params`.
#[repr(C)]
pub(super) struct InitParams {
    size: usize,
    memory: *mut c_void,
    no_alloc: bool,
}

/// Room for a context's own records and its graph.
const RECORDS: usize = 4 << 20;
/// `GGML_TYPE_F32`.
const F32: c_int = 0;

type Pointer = *mut c_void;

/// What is called of ggml (ggml.h, ggml-backend.h, ggml-cpu.h). Contexts, tensors, graphs and backends are opaque.
pub(super) struct Graphs {
    pub init: unsafe extern "C" fn(InitParams) -> Pointer,
    pub free: unsafe extern "C" fn(Pointer),
    pub new_tensor_2d: unsafe extern "C" fn(Pointer, c_int, i64, i64) -> Pointer,
    pub mul_mat: unsafe extern "C" fn(Pointer, Pointer, Pointer) -> Pointer,
    pub new_graph: unsafe extern "C" fn(Pointer) -> Pointer,
    pub build_forward_expand: unsafe extern "C" fn(Pointer, Pointer),
    pub get_data: unsafe extern "C" fn(Pointer) -> Pointer,
    pub backend_cpu_init: unsafe extern "C" fn() -> Pointer,
    pub backend_cpu_set_n_threads: unsafe extern "C" fn(Pointer, c_int),
    pub backend_graph_compute: unsafe extern "C" fn(Pointer, Pointer) -> c_int,
    pub backend_free: unsafe extern "C" fn(Pointer),
}

/// `weights * x`, ready to run.
pub(super) struct Product<'a> {
    graphs: &'a Graphs,
    context: Pointer,
    backend: Pointer,
    graph: Pointer,
    data: *const f32,
    len: usize,
}

impl<'a> Product<'a> {
    /// Of weights of type number `id`, `[rows][cols]`, and `x`, `[n][cols]`, both copied.
    pub fn new(
        graphs: &'a Graphs,
        id: c_int,
        weights: &[u8],
        x: &[f32],
        (rows, cols): (usize, usize),
    ) -> Result<Product<'a>, String> {
        let n = x.len() / cols;
        let size = RECORDS + weights.len() + size_of_val(x) + rows * n * size_of::<f32>();
        // SAFETY: the signatures are ggml's. The context has room for the three tensors and a graph, and ggml gives memory of it for
        // `weights.len()` bytes of weights, which the caller has compared, and `x.len()` floats.
        unsafe {
            let context = (graphs.init)(InitParams { size, memory: std::ptr::null_mut(), no_alloc: false });
            let backend = (graphs.backend_cpu_init)();
            if context.is_null() || backend.is_null() {
                return Err("ggml gives no memory".to_owned());
            }
            (graphs.backend_cpu_set_n_threads)(backend, 1);
            let w = (graphs.new_tensor_2d)(context, id, cols as i64, rows as i64);
            let input = (graphs.new_tensor_2d)(context, F32, cols as i64, n as i64);
            let place: *mut u8 = (graphs.get_data)(w).cast();
            place.copy_from_nonoverlapping(weights.as_ptr(), weights.len());
            (graphs.get_data)(input).cast::<f32>().copy_from_nonoverlapping(x.as_ptr(), x.len());
            let y = (graphs.mul_mat)(context, w, input);
            let graph = (graphs.new_graph)(context);
            (graphs.build_forward_expand)(graph, y);
            let data = (graphs.get_data)(y).cast::<f32>().cast_const();
            Ok(Product { graphs, context, backend, graph, data, len: rows * n })
        }
    }

    /// Computes it once; activations are quantized each time.
    pub fn run(&self) -> Result<(), String> {
        // SAFETY: a graph and a backend that live as long as this does.
        match unsafe { (self.graphs.backend_graph_compute)(self.backend, self.graph) } {
            0 => Ok(()),
            status => Err(format!("ggml computes no product of it (status {status})")),
        }
    }

    /// The result, `[n][rows]`, after a run.
    pub fn result(&self) -> &[f32] {
        // SAFETY: ggml's memory of so many floats, which only `run` writes.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl Drop for Product<'_> {
    fn drop(&mut self) {
        // SAFETY: both were made by these libraries, and nothing else uses them.
        unsafe {
            (self.graphs.backend_free)(self.backend);
            (self.graphs.free)(self.context);
        }
    }
}
