//! The linear layer with kinglet's kernels: what an engine needs of them, in one file.

use crate::file::Place;
use crate::{Linear, ModelFile, Pool};
use candle_core::backend::BackendStorage;
use candle_core::quantized::GgmlDType;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use kinglet_kernels::{Error, Format, Kernels, MatMut, Matrix, QuantizedRows, SCRATCH_ALIGN, format};
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of a part are a multiple of this, so that no tile of the kernels is cut.
const ROW_TILE: usize = 32;
/// Parts of a product for each thread, so that a thread that is late costs little.
const PARTS_PER_THREAD: usize = 4;

/// Bytes that live as long as a layer: a mapped file, or a vector.
pub type Weights = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What all layers share: the kernels, the threads, and workspaces.
pub struct Engine {
    kernels: Kernels,
    pool: Pool,
    threads: usize,
    /// Workspaces that no product uses now. One is enough until two products run at the same time.
    spare: Mutex<Vec<Workspace>>,
}

/// Quantized activations and scratch. The kernels allocate nothing, so this is kept from one product to the next.
#[derive(Default)]
struct Workspace {
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
    scratch: Vec<u8>,
}

/// The first `len` elements, which are made when they are missing.
fn room<T: Clone + Default>(v: &mut Vec<T>, len: usize) -> &mut [T] {
    if v.len() < len {
        v.resize(len, T::default());
    }
    &mut v[..len]
}

/// What a call of a kernel returns.
type Outcome = std::result::Result<(), Error>;

fn wrap(e: Error) -> candle_core::Error {
    candle_core::Error::wrap(e)
}

impl Engine {
    /// The fastest kernels of this CPU (`KINGLET_TIER` names others), on `threads` threads of `pool`.
    ///
    /// # Errors
    /// When `KINGLET_TIER` names what this CPU cannot run.
    pub fn new(pool: Pool, threads: usize) -> Result<Arc<Engine>> {
        let kernels = Kernels::detect().map_err(wrap)?;
        Ok(Arc::new(Engine { kernels, pool, threads: threads.max(1), spare: Mutex::default() }))
    }

    /// The kernels.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `y[c] = w * x[c] + bias`, divided by rows; `x` is `[n][cols]`, `y` is `[n][rows]`.
    fn product(&self, w: &Matrix<'_>, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) -> Outcome {
        let mut workspace = self.spare().pop().unwrap_or_default();
        let done = self.product_in(&mut workspace, w, x, bias, y);
        self.spare().push(workspace);
        done
    }

    fn product_in(
        &self,
        space: &mut Workspace,
        w: &Matrix<'_>,
        x: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) -> Outcome {
        let (k, kernels) = (w.cols(), &self.kernels);
        let n = x.len() / k;
        let input = match w.format().is_float() {
            true => None,
            false => {
                let q = room(&mut space.q, x.len());
                let d = room(&mut space.d, x.len() / format::GROUP);
                let sums = room(&mut space.sums, x.len() / 16);
                let each = n.div_ceil(self.threads).max(1) * k;
                let parts = x.chunks(each).zip(q.chunks_mut(each));
                let parts = parts.zip(d.chunks_mut(each / format::GROUP)).zip(sums.chunks_mut(each / 16));
                self.pool.for_each(parts.collect(), |(((x, q), d), sums)| kernels.quantize(x, q, d, sums))?;
                Some(QuantizedRows::new(q, d, sums, n, k)?)
            }
        };
        let shares = if self.threads == 1 { 1 } else { self.threads * PARTS_PER_THREAD };
        let each = w.rows().div_ceil(shares).max(1).next_multiple_of(ROW_TILE);
        let need = kernels.matmul_scratch(w).next_multiple_of(SCRATCH_ALIGN).max(SCRATCH_ALIGN);
        let scratch = room(&mut space.scratch, w.rows().div_ceil(each) * need);
        let mut rest = MatMut::new(y, w.rows(), n)?;
        let mut parts = Vec::new();
        for (start, scratch) in (0..w.rows()).step_by(each).zip(scratch.chunks_mut(need)) {
            let rows = start..(start + each).min(w.rows());
            let (part, after) = rest.split_rows(rows.len());
            rest = after;
            parts.push((rows, part, scratch));
        }
        self.pool.for_each(parts, |(rows, mut y, scratch)| {
            let (w, bias) = (w.slice_rows(rows.clone()), bias.map(|bias| &bias[rows]));
            match &input {
                Some(x) => kernels.matmul_bias(&w, x, bias, &mut y, scratch),
                // Float weights multiply float activations, and need no workspace.
                None => kernels.linear(&w, x, bias, &mut y, &mut []),
            }
        })
    }
}

/// `x -> x w^T + bias` for weights in GGUF blocks, used where they lie.
pub struct KingletLinear {
    engine: Arc<Engine>,
    weights: Weights,
    place: Place,
    format: Format,
    bias: Option<Vec<f32>>,
}

impl KingletLinear {
    /// The layer whose weights, `shape = (outputs, inputs)` of `dtype`, are the bytes `range` of `weights`.
    ///
    /// # Errors
    /// When the kernels do not have the format, or sizes do not fit together.
    pub fn new(
        engine: Arc<Engine>,
        weights: Weights,
        range: std::ops::Range<usize>,
        dtype: GgmlDType,
        shape: (usize, usize),
        bias: Option<Vec<f32>>,
    ) -> Result<KingletLinear> {
        let format = format_of(dtype)?;
        let layer = KingletLinear { engine, weights, place: Place { range, dtype, shape }, format, bias };
        layer.matrix()?;
        if shape.1 == 0 {
            bail!("a layer without inputs");
        }
        if let Some(bias) = layer.bias.as_ref().filter(|bias| bias.len() != shape.0) {
            bail!("a bias of {} values for {} outputs", bias.len(), shape.0);
        }
        Ok(layer)
    }

    /// The weights as the kernels see them. A view costs a few comparisons, so it is made for every product.
    fn matrix(&self) -> Result<Matrix<'_>> {
        let (all, Place { range, shape, .. }) = ((*self.weights).as_ref(), &self.place);
        let Some(bytes) = all.get(range.clone()) else {
            bail!("weights at {range:?}, where there are {} bytes", all.len());
        };
        Matrix::new(self.format, bytes, shape.0, shape.1).map_err(wrap)
    }
}

/// The quantized formats of weights that both know.
pub const QUANTIZED: [GgmlDType; 10] = [
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// kinglet's name of a format.
fn format_of(dtype: GgmlDType) -> Result<Format> {
    Ok(match dtype {
        GgmlDType::F32 => Format::F32,
        GgmlDType::F16 => Format::F16,
        GgmlDType::BF16 => Format::BF16,
        GgmlDType::Q4_0 => Format::Q4_0,
        GgmlDType::Q4_1 => Format::Q4_1,
        GgmlDType::Q5_0 => Format::Q5_0,
        GgmlDType::Q5_1 => Format::Q5_1,
        GgmlDType::Q8_0 => Format::Q8_0,
        GgmlDType::Q2K => Format::Q2_K,
        GgmlDType::Q3K => Format::Q3_K,
        GgmlDType::Q4K => Format::Q4_K,
        GgmlDType::Q5K => Format::Q5_K,
        GgmlDType::Q6K => Format::Q6_K,
        GgmlDType::Q8_1 | GgmlDType::Q8K => {
            bail!("{dtype:?} is a format of activations, which the kernels do not take for weights; use Q8_0")
        }
    })
}

impl CustomOp1 for KingletLinear {
    fn name(&self) -> &'static str {
        "kinglet-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, cols) = self.place.shape;
        let CpuStorage::F32(x) = storage else {
            bail!("activations of {:?}: the kernels take F32; call to_dtype", storage.dtype());
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("activations are not contiguous: call contiguous ({layout:?})");
        };
        let mut dims = layout.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == cols => *last = rows,
            _ => bail!("activations {:?} for a layer of {cols} inputs", layout.shape()),
        }
        let shape = Shape::from(dims);
        let mut y = vec![0.0; shape.elem_count()];
        self.engine.product(&self.matrix()?, &x[start..end], self.bias.as_deref(), &mut y).map_err(wrap)?;
        Ok((CpuStorage::F32(y), shape))
    }
}

impl Linear for KingletLinear {
    type Context = Arc<Engine>;

    fn load(engine: &Arc<Engine>, file: &ModelFile, name: &str) -> Result<KingletLinear> {
        let weight = format!("{name}.weight");
        let Place { range, dtype, shape } = file.place(&weight)?;
        let bias = format!("{name}.bias");
        let bias = file.has(&bias).then(|| file.floats(&bias)?.to_vec1()).transpose()?;
        let layer = KingletLinear::new(engine.clone(), file.map(), range, dtype, shape, bias);
        layer.map_err(|e| e.context(weight))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(self)
    }

    fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let (ids, w) = (ids.to_vec1::<u32>()?, self.matrix()?);
        let mut out = vec![0.0; ids.len() * w.cols()];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(w.cols())) {
            let Some(row) = w.row(*id as usize) else { bail!("row {id} of {}", w.rows()) };
            match w.format() {
                format if format.is_float() => read_floats(format, row, out),
                format => assert!(format::dequantize_row(format, row, out), "a row has the length of a row"),
            }
        }
        Tensor::from_vec(out, (ids.len(), w.cols()), &Device::Cpu)
    }
}

/// A row of float weights.
fn read_floats(format: Format, row: &[u8], out: &mut [f32]) {
    for (bytes, out) in row.chunks_exact(format.block_bytes()).zip(out) {
        *out = match (format, bytes) {
            (Format::F16, &[a, b]) => half::f16::from_le_bytes([a, b]).to_f32(),
            (Format::BF16, &[a, b]) => half::bf16::from_le_bytes([a, b]).to_f32(),
            (_, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            _ => f32::NAN,
        };
    }
}
