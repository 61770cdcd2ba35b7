//! `kinglet convert`, on checkpoints made from the fixtures: the same tensors, the same model, the oracle's logits; and what is wrong
//! with a checkpoint in one line, without an output file.

mod checkpoint;
mod support;

use checkpoint::cases::{cases, checkpoint_of};
use checkpoint::{Family, fixture};
use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet_kernels::{Kernels, KvType};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use support::{Folder, emulated, own_program};

fn convert(from: &Path, to: &Path, more: &[&str]) -> Output {
    let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
    command.arg("convert").arg(from).arg("-o").arg(to).args(more);
    command.output().unwrap()
}

fn logits(gguf: &Gguf, dir: &Path) -> (Vec<f32>, Vec<f32>) {
    let model = Model::new(gguf).unwrap();
    let json =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(dir.join(name)).unwrap()).unwrap() };
    let defaults = SessionOptions::for_model(&model);
    let n_ctx = json("case.json")["n_ctx"].as_u64().map_or(defaults.n_ctx, |n| n as usize);
    let options = SessionOptions { n_ctx, kv: KvType::F32, ..defaults };
    let tokens: Vec<u32> = serde_json::from_value(json("tokens.json")).unwrap();
    let mut session = Session::new(&model, Kernels::detect().unwrap(), options).unwrap();
    let mut logits = Vec::new();
    let sink = |_: usize, row: &[f32]| logits.extend_from_slice(row);
    session.eval_with(&Team::new(1).unwrap(), &tokens, Want::From(0), sink).unwrap();
    let expected = std::fs::read(dir.join("logits.f32")).unwrap();
    (logits, expected.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

#[test]
fn every_family_becomes_the_model_it_was() {
    let folder = Folder::new("convert-families");
    // ci/convert.sh looks at the checkpoints and files too.
    let kept = std::env::var_os("KINGLET_CONVERTED").map(std::path::PathBuf::from);
    let place = |name: &str| kept.as_ref().map_or_else(|| folder.join(name), |kept| kept.join(name));
    for (i, case) in cases().iter().enumerate() {
        let name = case.0;
        let (from, to) = (place(name), place(&format!("{name}.gguf")));
        let original = checkpoint_of(&from, case, i % 2 == 0);
        let out = convert(&from, &to, &["--type", "f32", "--tokenizer", "none"]);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let gguf = Gguf::open(&to).unwrap();
        let own = match gguf.string("general.architecture").unwrap() {
            Some("gptneox" | "stablelm") => Some("kinglet.rope_theta"),
            Some("gemma2") => Some("kinglet.attention_scale"),
            _ => None,
        };
        assert!(own.is_none_or(|key| gguf.float(key).unwrap().is_some()), "{name} lacks {own:?}");
        let mut names: Vec<&str> = gguf.tensors().iter().map(|t| &t.name[..]).collect();
        let mut wanted: Vec<&str> = original.tensors().iter().map(|t| &t.name[..]).collect();
        names.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(names, wanted, "{name}");
        for tensor in original.tensors() {
            let (a, b) =
                (checkpoint::values(&gguf, &tensor.name), checkpoint::values(&original, &tensor.name));
            let ((shape_a, a), (shape_b, b)) = (a.unwrap(), b.unwrap());
            assert_eq!(shape_a, shape_b, "{name}: {}", tensor.name);
            // Factors are computed; all else is only moved.
            let slack = if tensor.name.starts_with("rope_") { 1e-6 } else { 0.0 };
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= slack * b.abs();
            assert!(a.iter().zip(&b).all(near), "{name}: {} differs", tensor.name);
        }
        let ((a, expected), eps) =
            (logits(&gguf, &fixture(name)), if name == "tiny-openelm" { 1e-3 } else { 2e-5 });
        let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let furthest = a.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(a.len() == expected.len() && furthest <= eps * largest, "{name}: {furthest} of {largest}");
    }
}

/// DCLM's sizes may be left to a configuration that is only named.
#[test]
fn dclm_by_the_name_of_its_configuration() {
    let folder = Folder::new("convert-dclm");
    let mut case = cases().into_iter().find(|c| c.0 == "tiny-dclm").unwrap();
    let write = |case: &(&str, Family, Value), name: &str| {
        let (from, to) = (folder.join(name), folder.join(&format!("{name}.gguf")));
        checkpoint_of(&from, case, false);
        let out = convert(&from, &to, &["--type", "f32", "--tokenizer", "none", "--name", "dclm"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        std::fs::read(to).unwrap()
    };
    let whole = write(&case, "whole");
    case.2 = json!({"model_type": "openlm", "params": null, "params_args_dict": {"model": "configs/d=32_l=2_h=4.json",
        "seq_len": 64, "model_norm": "gain_only_lp_layer_norm", "qk_norm": true, "ffn_type": "swiglu", "moe_freq": 0,
        "moe_num_experts": 8, "norm_eps": 1e-5, "positional_embedding_type": "rotary", "attn_name": "auto"}});
    assert!(write(&case, "named") == whole);
    case.2["params_args_dict"]["positional_embedding_type"] = json!("head_rotary");
    checkpoint_of(&folder.join("other"), &case, false);
    let out = convert(&folder.join("other"), &folder.join("other.gguf"), &["--tokenizer", "none"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(3) && said.contains("head_rotary"), "{said}");
}

#[test]
fn each_type_is_written_as_it_says() {
    let folder = Folder::new("convert-types");
    let case = cases().swap_remove(0);
    let from = folder.join("checkpoint");
    let original = checkpoint_of(&from, &case, true);
    let (exact, _) = logits(&original, &fixture(case.0));
    let std = (exact.iter().map(|x| x * x).sum::<f32>() / exact.len() as f32).sqrt();
    // Rounding of weights, relative to the logits; wider types are nearer. This model's rows fit no super-block, so that K-quants
    // give way.
    for (name, kind, embedding, limit) in [
        ("F32", "F32", "F32", 1e-6),
        ("F16", "F16", "F16", 2e-3),
        ("bf16", "BF16", "BF16", 2e-2),
        ("Q8_0", "Q8_0", "Q8_0", 6e-2),
        ("Q6_K", "Q8_0", "Q8_0", 6e-2),
        ("Q5_K", "Q5_1", "Q5_1", 0.25),
        ("Q5_1", "Q5_1", "Q5_1", 0.25),
        ("Q5_0", "Q5_0", "Q5_0", 0.3),
        ("Q4_K_M", "Q5_0", "Q5_0", 0.3),
        ("Q4_1", "Q4_1", "Q4_1", 0.5),
        ("Q4_0", "Q4_0", "Q4_0", 0.6),
        ("IQ4_NL", "IQ4_NL", "IQ4_NL", 0.5),
    ] {
        let to = folder.join(&format!("{name}.gguf"));
        let out = convert(&from, &to, &["--type", name, "--tokenizer", "none"]);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let gguf = Gguf::open(&to).unwrap();
        let format = |t: &str| gguf.tensor(t).unwrap().format.unwrap().to_string();
        assert_eq!(
            (format("blk.0.attn_q.weight"), format("token_embd.weight"), format("blk.1.attn_norm.weight")),
            (kind.to_owned(), embedding.to_owned(), "F32".to_owned()),
            "{name}"
        );
        let output = if name.starts_with(['F', 'b']) { kind } else { "Q8_0" };
        assert_eq!(format("output.weight"), output, "{name}");
        let (got, _) = logits(&gguf, &fixture(case.0));
        let rms =
            (got.iter().zip(&exact).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / exact.len() as f32).sqrt();
        assert!(rms <= limit * std && (name == "F32" || rms > 0.0), "{name}: {rms} of {std}");
    }
}

/// A model whose rows are whole super-blocks: which tensors of a mix get which format, as llama.cpp's quantizer chooses.
#[test]
fn mixes_are_those_of_llama_cpp() {
    if too_slow("mixes_are_those_of_llama_cpp") {
        return;
    }
    let folder = Folder::new("convert-mixes");
    let from = folder.join("checkpoint");
    let (dim, ffn, layers, vocab) = (256usize, 512, 8, 64);
    let mut seed = 1u32;
    let mut tensor = |name: String, shape: &[usize]| {
        let values = (0..shape.iter().product::<usize>())
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 8) as f32 / (1u32 << 24) as f32 - 0.5
            })
            .collect();
        (name, shape.to_vec(), values)
    };
    let mut all = vec![
        tensor("model.embed_tokens.weight".into(), &[vocab, dim]),
        tensor("model.norm.weight".into(), &[dim]),
    ];
    all.push(tensor("lm_head.weight".into(), &[vocab, dim]));
    for i in 0..layers {
        for (name, shape) in [
            ("input_layernorm", &[dim][..]),
            ("post_attention_layernorm", &[dim]),
            ("self_attn.q_proj", &[dim, dim]),
            ("self_attn.k_proj", &[dim / 4, dim]),
            ("self_attn.v_proj", &[dim / 4, dim]),
            ("self_attn.o_proj", &[dim, dim]),
            ("mlp.gate_proj", &[ffn, dim]),
            ("mlp.up_proj", &[ffn, dim]),
            ("mlp.down_proj", &[dim, ffn]),
        ] {
            all.push(tensor(format!("model.layers.{i}.{name}.weight"), shape));
        }
    }
    let config = json!({"architectures": ["LlamaForCausalLM"], "hidden_size": dim, "num_hidden_layers": layers,
        "intermediate_size": ffn, "num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": false});
    checkpoint::write(&from, &config, &all, false);
    // Of 8 layers the first and the last get more bits, and every third between.
    for (name, usual, output, value, down, which) in [
        ("Q4_K_M", "Q4_K", "Q6_K", "Q6_K", "Q6_K", &[0, 3, 6, 7][..]),
        ("Q5_K_M", "Q5_K", "Q6_K", "Q6_K", "Q6_K", &[0, 3, 6, 7]),
        ("Q5_K_S", "Q5_K", "Q6_K", "Q5_K", "Q5_K", &[0]),
        ("Q6_K", "Q6_K", "Q6_K", "Q6_K", "Q6_K", &[0]),
        ("Q4_0", "Q4_0", "Q6_K", "Q4_0", "Q4_0", &[0]),
    ] {
        let to = folder.join(&format!("{name}.gguf"));
        let out = convert(&from, &to, &["--type", name, "--tokenizer", "none"]);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let gguf = Gguf::open(&to).unwrap();
        let format = |t: &str| gguf.tensor(t).unwrap().format.unwrap().to_string();
        assert_eq!(
            (&format("output.weight")[..], &format("token_embd.weight")[..]),
            (output, usual),
            "{name}"
        );
        for i in 0..layers {
            let of = |t: &str| format(&format!("blk.{i}.{t}.weight"));
            let (v, d) = if which.contains(&i) { (value, down) } else { (usual, usual) };
            assert_eq!((&of("attn_v")[..], &of("ffn_down")[..]), (v, d), "{name}, layer {i}");
            assert_eq!((&of("attn_q")[..], &of("ffn_gate")[..]), (usual, usual), "{name}, layer {i}");
        }
    }
    // Q4_K_S: values of the first four layers; IQ4_NL: values that four queries share.
    for (name, usual, value, down) in [("Q4_K_S", "Q4_K", 0..4, 0..1), ("IQ4_NL", "IQ4_NL", 0..8, 0..1)] {
        let to = folder.join(&format!("{name}.gguf"));
        assert!(convert(&from, &to, &["--type", name, "--tokenizer", "none"]).status.success(), "{name}");
        let gguf = Gguf::open(&to).unwrap();
        for i in 0..layers {
            let of =
                |t: &str| gguf.tensor(&format!("blk.{i}.{t}.weight")).unwrap().format.unwrap().to_string();
            let or = |more: bool| if more { "Q5_K" } else { usual };
            assert_eq!(
                (&of("attn_v")[..], &of("ffn_down")[..]),
                (or(value.contains(&i)), or(down.contains(&i))),
                "{name}, layer {i}"
            );
        }
    }
}

/// Where queries, keys and values are one matrix, it is what values are.
#[test]
fn mixes_of_fused_projections() {
    if too_slow("mixes_of_fused_projections") {
        return;
    }
    let folder = Folder::new("convert-fused");
    let from = folder.join("checkpoint");
    let dim = 256usize;
    let tensor = |name: String, shape: &[usize]| {
        let values =
            (0..shape.iter().product::<usize>()).map(|i| ((i * 7919) % 1009) as f32 / 504.0 - 1.0).collect();
        (name, shape.to_vec(), values)
    };
    let mut all = vec![
        tensor("gpt_neox.embed_in.weight".into(), &[64, dim]),
        tensor("embed_out.weight".into(), &[64, dim]),
    ];
    let both = |name: String, shape: &[usize]| {
        [tensor(format!("{name}.weight"), shape), tensor(format!("{name}.bias"), &shape[..1])]
    };
    all.extend(both("gpt_neox.final_layer_norm".into(), &[dim]));
    for i in 0..4 {
        for (name, shape) in [
            ("input_layernorm", &[dim][..]),
            ("post_attention_layernorm", &[dim]),
            ("attention.query_key_value", &[3 * dim, dim]),
            ("attention.dense", &[dim, dim]),
            ("mlp.dense_h_to_4h", &[4 * dim, dim]),
            ("mlp.dense_4h_to_h", &[dim, 4 * dim]),
        ] {
            all.extend(both(format!("gpt_neox.layers.{i}.{name}"), shape));
        }
    }
    let config = json!({"architectures": ["GPTNeoXForCausalLM"], "hidden_size": dim, "num_hidden_layers": 4, "hidden_act": "gelu",
        "intermediate_size": 4 * dim, "num_attention_heads": 4, "max_position_embeddings": 64, "rotary_pct": 0.25});
    checkpoint::write(&from, &config, &all, true);
    for (name, want) in [
        ("Q4_K_M", ["Q4_K", "Q4_K", "Q6_K", "Q6_K"]),
        ("Q4_K_S", ["Q5_K"; 4]),
        ("Q5_K_M", ["Q5_K", "Q5_K", "Q6_K", "Q6_K"]),
        ("IQ4_NL", ["IQ4_NL"; 4]),
    ] {
        let to = folder.join(&format!("{name}.gguf"));
        let out = convert(&from, &to, &["--type", name, "--tokenizer", "none"]);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let gguf = Gguf::open(&to).unwrap();
        for (i, want) in want.into_iter().enumerate() {
            let of = |t: &str| gguf.tensor(&format!("blk.{i}.{t}")).unwrap().format.unwrap().to_string();
            assert_eq!(
                (&of("attn_qkv.weight")[..], &of("attn_qkv.bias")[..]),
                (want, "F32"),
                "{name}, layer {i}"
            );
        }
    }
}

/// Serves the files of a folder as a hub serves those of `owner/model`; every path that was asked for.
fn serve(folder: &Path) -> (u16, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, folder) = (listener.local_addr().unwrap().port(), folder.to_owned());
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
            lines.take_while(|l| !l.is_empty()).for_each(drop);
            let file = path.strip_prefix("/owner/model/resolve/main/").map(|f| folder.join(f));
            let reply = match file.and_then(|f| std::fs::read(f).ok()) {
                Some(bytes) => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        bytes.len()
                    );
                    [head.into_bytes(), bytes].concat()
                }
                None => b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(),
            };
            log.lock().unwrap().push(path);
            let _ = (&stream).write_all(&reply);
        }
    });
    (port, asked)
}

#[test]
fn a_repository_is_fetched_and_converted() {
    let folder = Folder::new("convert-repository");
    let case = cases().swap_remove(0);
    for (shards, how) in [(false, "owner/model"), (true, "hf:owner/model")] {
        let (from, to) = (folder.join(&format!("from-{shards}")), folder.join(&format!("{shards}.gguf")));
        checkpoint_of(&from, &case, shards);
        let (port, asked) = serve(&from);
        let home = folder.join(&format!("home-{shards}"));
        let get = |more: &[&str]| {
            let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
            command.args(["convert", how, "--type", "Q8_0", "--tokenizer", "none", "-o"]).arg(&to).args(more);
            command.env("HF_ENDPOINT", format!("http://127.0.0.1:{port}")).env("KINGLET_HOME", &home);
            command.env_remove("HF_TOKEN").current_dir(folder.join("")).output().unwrap()
        };
        let out = get(&[]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let gguf = Gguf::open(&to).unwrap();
        assert_eq!(gguf.string("general.name").unwrap(), Some("model"));
        let weights = if shards { SHARD } else { "model.safetensors" };
        assert!(home.join("hf/owner/model/main").join(weights).is_file());
        let first = std::fs::read(&to).unwrap();
        // What has been fetched is not asked for again, and what is there is replaced only when told so.
        let n = asked.lock().unwrap().len();
        let again = get(&[]);
        let said = String::from_utf8(again.stderr).unwrap();
        assert!(again.status.code() == Some(2) && said.contains("--force"), "{said}");
        assert!(get(&["--force"]).status.success());
        assert_eq!(std::fs::read(&to).unwrap(), first);
        assert_eq!(asked.lock().unwrap().len(), n);
        // A folder of that name is taken first.
        std::fs::create_dir_all(folder.join("owner/model")).unwrap();
        let said = String::from_utf8(get(&["--force"]).stderr).unwrap();
        assert_eq!(said.contains("config.json"), !shards, "{said}");
        std::fs::remove_dir_all(folder.join("owner")).unwrap();
        // A GGUF file of the same repository is not part of the checkpoint.
        let gguf = "home-.../hf/owner/model/main/x.gguf".replace("...", &shards.to_string());
        folder.write(&gguf, b"GGUF");
        let rm = || {
            let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
            command.args(["rm", "hf:owner/model"]).env("KINGLET_HOME", &home).output().unwrap()
        };
        assert!(rm().status.success());
        let left = support::files(&home).into_iter().filter(|f| f.starts_with("hf/")).collect::<Vec<_>>();
        assert_eq!(left, ["hf/owner/model/main/x.gguf"]);
        assert!(String::from_utf8(rm().stderr).unwrap().contains("not in the cache"));
    }
}

#[test]
fn repositories_that_cannot_be_converted() {
    let folder = Folder::new("convert-no-repository");
    let served = folder.join("served");
    std::fs::create_dir_all(&served).unwrap();
    let (port, _) = serve(&served);
    let fails = |name: &str, code: i32, want: &[&str]| {
        let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
        let command = command.args(["convert", name, "-o"]).arg(folder.join("x.gguf"));
        command
            .env("HF_ENDPOINT", format!("http://127.0.0.1:{port}"))
            .env("KINGLET_HOME", folder.join("home"));
        let out = command.output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        let said: Vec<&str> = said.lines().filter(|l| l.starts_with("kinglet: ")).collect();
        assert_eq!((out.status.code(), said.len()), (Some(code), 1), "{said:?}");
        assert!(want.iter().all(|w| said[0].contains(w)), "{said:?}");
        assert!(!folder.join("x.gguf").exists());
    };
    fails("./owner/model", 3, &["no such folder", "OWNER/REPO"]);
    fails("model", 3, &["no such folder", "OWNER/REPO"]);
    fails("owner/model/x", 3, &["no such folder"]);
    fails("owner/other", 4, &["hf:owner/other/config.json", "no such file"]);
    std::fs::write(served.join("config.json"), "<!DOCTYPE html>").unwrap();
    fails("owner/model", 4, &["config.json", "JSON"]);
    std::fs::write(served.join("config.json"), "{}").unwrap();
    fails("owner/model", 4, &["hf:owner/model", "model.safetensors", "save_pretrained"]);
    std::fs::write(served.join("model.safetensors"), "version https://git-lfs.github.com/spec/v1").unwrap();
    fails("owner/model", 4, &["model.safetensors", "not a safetensors"]);
    std::fs::remove_file(served.join("model.safetensors")).unwrap();
    let index = r#"{"weight_map": {"a": "../../x.safetensors"}}"#;
    std::fs::write(served.join("model.safetensors.index.json"), index).unwrap();
    fails("owner/model", 4, &["index", "names something else"]);
    // Kept in the cache with the rest: another endpoint's file is another name.
    std::fs::remove_dir_all(folder.join("home")).unwrap();
    std::fs::write(served.join("model.safetensors.index.json"), r#"{"weight_map": {"a": "b.safetensors"}}"#)
        .unwrap();
    fails("owner/model", 4, &["b.safetensors", "no such file"]);
}

/// Converts a checkpoint that `damage` has changed: one line that has all of `want`, the code of bad input, and no file.
#[track_caller]
fn refuses(name: &str, want: &[&str], damage: impl FnOnce(&Path)) {
    let folder = Folder::new(&format!("convert-bad-{name}"));
    let (from, to) = (folder.join("checkpoint"), folder.join("out.gguf"));
    checkpoint_of(&from, &cases().swap_remove(0), true);
    damage(&from);
    let out = convert(&from, &to, &["--tokenizer", "none"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.lines().count() == 1 && want.iter().all(|w| said.contains(w)), "{said}");
    assert_eq!(support::files(to.parent().unwrap()).iter().filter(|f| f.contains("out.gguf")).count(), 0);
}

const SHARD: &str = "model-00002-of-00002.safetensors";

fn edit(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

fn edit_json(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(file, json.to_string()).unwrap();
}

#[test]
fn damaged_shards() {
    refuses("short", &[SHARD, "cut short"], |d| edit(&d.join(SHARD), |b| b.truncate(b.len() - 1)));
    refuses("no-header", &[SHARD, "cut short"], |d| edit(&d.join(SHARD), |b| b.truncate(20)));
    refuses("empty", &[SHARD, "0 bytes"], |d| edit(&d.join(SHARD), Vec::clear));
    let huge = |n: u64| move |b: &mut Vec<u8>| b[..8].copy_from_slice(&n.to_le_bytes());
    refuses("huge", &[SHARD, "header"], |d| edit(&d.join(SHARD), huge(u64::MAX)));
    refuses("large", &[SHARD, "header"], |d| edit(&d.join(SHARD), huge(90_000_000)));
    refuses("missing-shard", &[SHARD, "missing"], |d| std::fs::remove_file(d.join(SHARD)).unwrap());
    let header = |text: &'static str| {
        move |b: &mut Vec<u8>| {
            *b = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &[0; 8]].concat()
        }
    };
    for (name, text, want) in [
        ("shape", r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, "shape"),
        ("backwards", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, "ends before it begins"),
        ("outside", r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, "cut short"),
        (
            "overlap",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}"#,
            "overlap",
        ),
        ("no-json", "{nothing}", "not JSON"),
    ] {
        refuses(name, &[SHARD, want], |d| edit(&d.join(SHARD), header(text)));
    }
}

#[test]
fn checkpoints_that_are_not_what_they_say() {
    let index = "model.safetensors.index.json";
    let layers = |n: u64| move |c: &mut Value| c["num_hidden_layers"] = json!(n);
    refuses("tensor", &["model.layers.2.", "missing"], |d| edit_json(&d.join("config.json"), layers(3)));
    refuses("unused", &["model.layers.1.", "no place"], |d| edit_json(&d.join("config.json"), layers(1)));
    refuses("heads", &["q_proj", "heads"], |d| {
        edit_json(&d.join("config.json"), |c| c["head_dim"] = json!(1000));
    });
    refuses("width", &["do not go together", "ffn_up"], |d| {
        edit_json(&d.join("config.json"), |c| c["intermediate_size"] = json!(97));
    });
    refuses("class", &["FooForCausalLM", "LlamaForCausalLM", "OpenELMForCausalLM"], |d| {
        edit_json(&d.join("config.json"), |c| c["architectures"] = json!(["FooForCausalLM"]));
    });
    refuses("rope", &["dynamic", "longrope"], |d| {
        edit_json(&d.join("config.json"), |c| c["rope_scaling"] = json!({"type": "dynamic", "factor": 2.0}));
    });
    refuses("quantized", &["quantization_config"], |d| {
        edit_json(&d.join("config.json"), |c| c["quantization_config"] = json!({"bits": 4}));
    });
    refuses("elsewhere", &[index, "../x.safetensors"], |d| {
        edit_json(&d.join(index), |c| c["weight_map"]["model.norm.weight"] = json!("../x.safetensors"));
    });
    refuses("no-config", &["config.json"], |d| std::fs::remove_file(d.join("config.json")).unwrap());
    refuses("pickle", &["pickle", "safetensors"], |d| {
        for file in support::files(d).iter().filter(|f| f.contains("safetensors")) {
            std::fs::remove_file(d.join(file)).unwrap();
        }
        std::fs::write(d.join("pytorch_model.bin"), "x").unwrap();
    });
    refuses("nan", &["output_norm.weight", "NaN"], |d| {
        edit(&d.join("model-00001-of-00002.safetensors"), |b| {
            let n = u64::from_le_bytes(b[..8].try_into().unwrap()) as usize;
            let header: Value = serde_json::from_slice(&b[8..8 + n]).unwrap();
            let at = header["model.norm.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
            b[8 + n + at..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        });
    });
}

/// Whether this runs in an emulator, where quantizing takes minutes; codes are the same on every CPU (kernels/tests/encode.rs).
fn too_slow(test: &str) -> bool {
    if emulated() {
        eprintln!("{test}: NOT RUN: quantizing takes minutes in an emulator");
    }
    emulated()
}
