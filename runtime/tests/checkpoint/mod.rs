//! Checkpoints as Hugging Face has them, made from the GGUF files of `reference/fixtures`: every change that a converter makes, undone.

pub mod cases;

use kinglet::gguf::Gguf;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A tensor: name, shape as in PyTorch, values.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures").join(name)
}

/// What undoes the converter's change of a tensor.
#[derive(Clone, Copy, PartialEq)]
pub enum Undo {
    Nothing,
    /// Heads whose halves were interleaved.
    Interleave(usize),
    /// Norms that got 1 added.
    AddOne,
    /// Matrices stored for multiplication from the other side.
    Transpose,
    /// Queries, keys and values of each head side by side: the number of heads.
    Fuse(usize),
    /// One tensor for each row: `{h}` in its name.
    Unstack,
}

/// `(part of the GGUF's name, of the checkpoint's, what to undo)`; parts of layers go with `layers`.
pub struct Family {
    pub top: Vec<(&'static str, &'static str, Undo)>,
    /// Prefix of layer `{}`.
    pub layers: &'static str,
    pub layer: Vec<(&'static str, &'static str, Undo)>,
    /// Tensors of a layer that are the rows of several in the GGUF.
    pub joined: Vec<(&'static [&'static str], &'static str)>,
}

pub fn values(gguf: &Gguf, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let tensor = gguf.tensor(name)?;
    let shape = tensor.shape.iter().rev().map(|d| *d as usize).collect();
    let floats = gguf.data(tensor).chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    Some((shape, floats.collect()))
}

fn undo(shape: &mut [usize], values: &mut [f32], undo: Undo) {
    let (rows, old) = (shape[0], values.to_vec());
    let cols = values.len() / rows;
    let mut put = |to: usize, from: usize| {
        values[to * cols..][..cols].copy_from_slice(&old[from * cols..][..cols]);
    };
    match undo {
        Nothing | Unstack => {}
        AddOne => values.iter_mut().for_each(|v| *v -= 1.0),
        Interleave(heads) => {
            let half = rows / heads / 2;
            for (h, p, j) in cube(heads, 2, half) {
                put((h * 2 + p) * half + j, (h * half + j) * 2 + p);
            }
        }
        Fuse(heads) => {
            let d = rows / heads / 3;
            for (h, part, i) in cube(heads, 3, d) {
                put((h * 3 + part) * d + i, (part * heads + h) * d + i);
            }
        }
        Transpose if shape.len() == 2 => {
            for (r, c, _) in cube(rows, cols, 1) {
                values[c * rows + r] = old[r * cols + c];
            }
            shape.reverse();
        }
        Transpose => {}
    }
}

fn cube(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |x| (0..b).flat_map(move |y| (0..c).map(move |z| (x, y, z))))
}

/// The tensors of a checkpoint.
pub fn tensors(gguf: &Gguf, family: &Family, n_layers: usize) -> Vec<Tensor> {
    let mut all = Vec::new();
    let mut add = |from: &str, to: &str, how: Undo| {
        for end in ["weight", "bias"] {
            let Some((mut shape, mut v)) = values(gguf, &format!("{from}.{end}")) else { continue };
            if how == AddOne && end == "bias" {
                continue;
            }
            undo(&mut shape, &mut v, how);
            if how == Unstack {
                for (h, row) in v.chunks(shape[1]).enumerate() {
                    let name = to.replace("{h}", &h.to_string());
                    all.push((format!("{name}.{end}"), vec![shape[1]], row.to_vec()));
                }
            } else {
                all.push((format!("{to}.{end}"), shape, v));
            }
        }
    };
    for (from, to, how) in &family.top {
        add(from, to, *how);
    }
    for i in 0..n_layers {
        let prefix = family.layers.replace("{}", &i.to_string());
        for (from, to, how) in &family.layer {
            add(&format!("blk.{i}.{from}"), &format!("{prefix}{to}"), *how);
        }
    }
    for (i, (parts, to)) in (0..n_layers).flat_map(|i| family.joined.iter().map(move |j| (i, j))) {
        let prefix = family.layers.replace("{}", &i.to_string());
        let pieces = parts.iter().map(|p| values(gguf, &format!("blk.{i}.{p}.weight")).unwrap());
        let (rows, cols, joined) = pieces.fold((0, 0, Vec::new()), |(rows, _, all), (shape, v)| {
            (rows + shape[0], shape[1], [all, v].concat())
        });
        all.push((format!("{prefix}{to}.weight"), vec![rows, cols], joined));
    }
    all
}

/// One safetensors file.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// Writes a checkpoint to `folder`: in one file, or in two with an index.
pub fn write(folder: &Path, config: &Value, tensors: &[Tensor], shards: bool) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    if !shards {
        std::fs::write(folder.join("model.safetensors"), safetensors(tensors)).unwrap();
        return;
    }
    let mut map = Map::new();
    for (i, part) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let name = format!("model-{:05}-of-00002.safetensors", i + 1);
        std::fs::write(folder.join(&name), safetensors(part)).unwrap();
        map.extend(part.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
    }
    let index = json!({"metadata": {}, "weight_map": map});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

use Undo::*;

const NORMS: [(&str, &str, Undo); 2] =
    [("attn_norm", "input_layernorm", Nothing), ("ffn_norm", "post_attention_layernorm", Nothing)];

fn top(how: Undo) -> Vec<(&'static str, &'static str, Undo)> {
    vec![
        ("token_embd", "model.embed_tokens", Nothing),
        ("output_norm", "model.norm", how),
        ("output", "lm_head", Nothing),
    ]
}

/// Llama's names, with queries and keys as the family has them.
pub fn llama(q: Undo, k: Undo) -> Family {
    let layer = [
        ("attn_q", "self_attn.q_proj", q),
        ("attn_k", "self_attn.k_proj", k),
        ("attn_v", "self_attn.v_proj", Nothing),
        ("attn_output", "self_attn.o_proj", Nothing),
        ("attn_q_norm", "self_attn.q_norm", Nothing),
        ("attn_k_norm", "self_attn.k_norm", Nothing),
        ("ffn_gate", "mlp.gate_proj", Nothing),
        ("ffn_up", "mlp.up_proj", Nothing),
        ("ffn_down", "mlp.down_proj", Nothing),
    ];
    Family {
        top: top(Nothing),
        layers: "model.layers.{}.",
        layer: [&NORMS[..], &layer].concat(),
        joined: Vec::new(),
    }
}

pub fn minicpm3() -> Family {
    let mut family = llama(Nothing, Nothing);
    family
        .layer
        .retain(|(name, ..)| !["attn_q", "attn_k", "attn_v", "attn_q_norm", "attn_k_norm"].contains(name));
    family.layer.extend([
        ("attn_q_a", "self_attn.q_a_proj", Nothing),
        ("attn_q_a_norm", "self_attn.q_a_layernorm", Nothing),
        ("attn_q_b", "self_attn.q_b_proj", Nothing),
        ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa", Nothing),
        ("attn_kv_a_norm", "self_attn.kv_a_layernorm", Nothing),
        ("attn_kv_b", "self_attn.kv_b_proj", Nothing),
    ]);
    family
}

pub fn stablelm() -> Family {
    let mut family = llama(Nothing, Nothing);
    family.layer.retain(|(name, ..)| !name.ends_with("_norm") || NORMS.iter().any(|n| n.0 == *name));
    family.layer.push(("attn_q_norm", "self_attn.q_layernorm.norms.{h}", Unstack));
    family.layer.push(("attn_k_norm", "self_attn.k_layernorm.norms.{h}", Unstack));
    family
}

pub fn phi3() -> Family {
    let mut family = llama(Nothing, Nothing);
    family.layer.retain(|(name, ..)| *name != "ffn_up");
    family.layer.push(("attn_qkv", "self_attn.qkv_proj", Nothing));
    family.layer.push(("ffn_up", "mlp.gate_up_proj", Nothing));
    family
}

pub fn gemma() -> Family {
    let mut family = llama(Nothing, Nothing);
    family.top = top(AddOne);
    for (name, to, how) in &mut family.layer {
        if name.ends_with("_norm") {
            *how = AddOne;
        }
        if *name == "ffn_norm" {
            *to = "pre_feedforward_layernorm";
        }
    }
    family.layer.push(("post_attention_norm", "post_attention_layernorm", AddOne));
    family.layer.push(("post_ffw_norm", "post_feedforward_layernorm", AddOne));
    family
}

pub fn gptneox(heads: usize) -> Family {
    let layer = [
        ("attn_qkv", "attention.query_key_value", Fuse(heads)),
        ("attn_output", "attention.dense", Nothing),
        ("ffn_up", "mlp.dense_h_to_4h", Nothing),
        ("ffn_down", "mlp.dense_4h_to_h", Nothing),
    ];
    let top = [
        ("token_embd", "gpt_neox.embed_in", Nothing),
        ("output_norm", "gpt_neox.final_layer_norm", Nothing),
        ("output", "embed_out", Nothing),
    ];
    let layer = [&NORMS[..], &layer].concat();
    Family { top: top.to_vec(), layers: "gpt_neox.layers.{}.", layer, joined: Vec::new() }
}

pub fn gpt2() -> Family {
    let layer = [
        ("attn_norm", "ln_1", Nothing),
        ("ffn_norm", "ln_2", Nothing),
        ("attn_qkv", "attn.c_attn", Transpose),
        ("attn_output", "attn.c_proj", Transpose),
        ("ffn_up", "mlp.c_fc", Transpose),
        ("ffn_down", "mlp.c_proj", Transpose),
    ];
    let top = [
        ("token_embd", "transformer.wte", Nothing),
        ("position_embd", "transformer.wpe", Nothing),
        ("output_norm", "transformer.ln_f", Nothing),
    ];
    Family { top: top.to_vec(), layers: "transformer.h.{}.", layer: layer.to_vec(), joined: Vec::new() }
}

pub fn openelm() -> Family {
    let layer = [
        ("attn_norm", "attn_norm", Nothing),
        ("ffn_norm", "ffn_norm", Nothing),
        ("attn_q_norm", "attn.q_norm", Nothing),
        ("attn_k_norm", "attn.k_norm", Nothing),
        ("attn_qkv", "attn.qkv_proj", Nothing),
        ("attn_output", "attn.out_proj", Nothing),
        ("ffn_down", "ffn.proj_2", Nothing),
    ];
    let top = [
        ("token_embd", "transformer.token_embeddings", Nothing),
        ("output_norm", "transformer.norm", Nothing),
    ];
    Family {
        top: top.to_vec(),
        layers: "transformer.layers.{}.",
        layer: layer.to_vec(),
        joined: vec![(&["ffn_gate", "ffn_up"], "ffn.proj_1")],
    }
}

pub fn dclm() -> Family {
    let layer = [
        ("attn_norm", "attention_norm", Nothing),
        ("ffn_norm", "ffn_norm", Nothing),
        ("attn_q_norm", "attention.q_norm", Nothing),
        ("attn_k_norm", "attention.k_norm", Nothing),
        ("attn_output", "attention.out_proj", Nothing),
        ("ffn_down", "feed_forward.w3", Nothing),
    ];
    let top = [
        ("token_embd", "model.tok_embeddings", Nothing),
        ("output_norm", "model.norm", Nothing),
        ("output", "model.output", Nothing),
    ];
    Family {
        top: top.to_vec(),
        layers: "model.layers.{}.",
        layer: layer.to_vec(),
        joined: vec![
            (&["attn_q", "attn_k", "attn_v"], "attention.in_proj"),
            (&["ffn_gate", "ffn_up"], "feed_forward.w12"),
        ],
    }
}
