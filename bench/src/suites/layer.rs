//! One decoder layer: a model of one layer with the sizes of a real one and a tiny vocabulary, run by the runtime itself.

use super::file::ModelSize;
use super::operations::Op;
use crate::checksum::Checksum;
use crate::record::Work;
use crate::suite::Run;
use crate::weights;
use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet_kernels::{Format, Kernels, KvType};

const VOCAB: usize = 32;
const TENSORS: [&str; 7] = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

fn format(name: &str) -> Result<Format, String> {
    let known = Format::ALL.iter().copied().find(|f| f.name().eq_ignore_ascii_case(name) && !f.is_float());
    known.ok_or_else(|| format!("no quantized format `{name}`"))
}

/// Weights that are read and multiplied.
pub fn work(size: ModelSize, kind: &str, op: Op) -> Work {
    let mut work = Work { tokens: op.tokens as u64, ..Work::default() };
    for tensor in TENSORS {
        let (rows, cols) = size.tensor(tensor).unwrap_or_default();
        let row = format(kind).ok().and_then(|f| f.row_bytes(cols)).unwrap_or(0);
        work.bytes += (rows * row) as u64;
        work.multiply_adds += (rows * cols * op.tokens) as u64;
    }
    work
}

/// A layer that is ready.
pub struct Layer {
    gguf: Gguf,
    kernels: Kernels,
    op: Op,
}

impl Layer {
    /// A layer with weights of one format.
    ///
    /// # Errors
    /// When a row is not whole blocks of the format, or the runtime refuses the model.
    pub fn new(kernels: Kernels, size: ModelSize, kind: &str, op: Op) -> Result<Layer, String> {
        let gguf = Gguf::from_bytes(file(size, format(kind)?)?).map_err(|e| e.to_string())?;
        Ok(Layer { gguf, kernels, op })
    }

    /// Calls `f` with a session that has the depth behind it, and the tokens to decode.
    fn with<R>(
        &self,
        f: impl FnOnce(&mut Session<'_>, &Team, &[u32]) -> Result<R, String>,
    ) -> Result<R, String> {
        let model = Model::new(&self.gguf).map_err(|e| e.to_string())?;
        let team = Team::new(1)?;
        let n_ctx = self.op.depth + self.op.tokens;
        let options = SessionOptions { n_ctx, kv: KvType::F16, batch: 512 };
        let mut session = Session::new(&model, self.kernels, options).map_err(|e| e.to_string())?;
        let tokens: Vec<u32> = (0..n_ctx).map(|i| (i * 7 % VOCAB) as u32).collect();
        let (before, now) = tokens.split_at(self.op.depth);
        if !before.is_empty() {
            session.eval_with(&team, before, Want::Nothing, |_, _| {}).map_err(|e| e.to_string())?;
        }
        f(&mut session, &team, now)
    }
}

impl Run for Layer {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        let depth = self.op.depth;
        // The session borrows the model, so that it is made here; only what follows is counted.
        self.with(|session, team, tokens| {
            session.eval(team, tokens).map_err(|e| e.to_string())?;
            let start = std::time::Instant::now();
            for _ in 0..iterations {
                session.rewind(depth);
                session.eval(team, tokens).map_err(|e| e.to_string())?;
            }
            Ok(Some(start.elapsed().as_nanos() as f64))
        })
    }

    fn checksum(&mut self) -> Result<String, String> {
        self.with(|session, team, tokens| {
            session.eval(team, tokens).map(Checksum::of).map_err(|e| e.to_string())
        })
    }
}

/// The model's file.
fn file(size: ModelSize, format: Format) -> Result<Vec<u8>, String> {
    let mut tensors: Vec<(String, Vec<usize>, Format, Vec<u8>)> = Vec::new();
    let ones = |n: usize| (0..n).flat_map(|_| 1f32.to_le_bytes()).collect::<Vec<u8>>();
    for name in TENSORS {
        let (rows, cols) = size.tensor(name)?;
        let row = format
            .row_bytes(cols)
            .ok_or_else(|| format!("{cols} columns are no whole blocks of {format}"))?;
        tensors.push((format!("blk.0.{name}.weight"), vec![cols, rows], format, weights(format, rows * row)));
    }
    for name in ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"] {
        tensors.push((name.to_owned(), vec![size.dim], Format::F32, ones(size.dim)));
    }
    let embedding = super::operations::values_of(VOCAB * size.dim);
    let embedding = embedding.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensors.push(("token_embd.weight".to_owned(), vec![size.dim, VOCAB], Format::F32, embedding));

    let string = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    let numbers = [
        ("llama.block_count", 1),
        ("llama.context_length", 65_536),
        ("llama.embedding_length", size.dim),
        ("llama.feed_forward_length", size.ffn_dim),
        ("llama.attention.head_count", size.n_heads),
        ("llama.attention.head_count_kv", size.n_kv_heads),
        ("llama.rope.dimension_count", size.head_dim),
        ("llama.attention.key_length", size.head_dim),
        ("llama.attention.value_length", size.head_dim),
        ("llama.vocab_size", VOCAB),
    ];
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((numbers.len() as u64 + 3).to_le_bytes());
    string(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    string(&mut out, "llama");
    for (key, value) in [("llama.attention.layer_norm_rms_epsilon", 1e-5f32), ("llama.rope.freq_base", 1e4)] {
        string(&mut out, key);
        out.extend(6u32.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    for (key, value) in numbers {
        string(&mut out, key);
        out.extend(4u32.to_le_bytes());
        out.extend((value as u32).to_le_bytes());
    }
    let mut offset = 0u64;
    for (name, shape, format, data) in &tensors {
        string(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|n| out.extend((*n as u64).to_le_bytes()));
        out.extend((*format as u32).to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += (data.len() as u64).next_multiple_of(32);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    for (_, _, _, data) in &tensors {
        out.extend(data);
        out.resize(out.len().next_multiple_of(32), 0);
    }
    Ok(out)
}
