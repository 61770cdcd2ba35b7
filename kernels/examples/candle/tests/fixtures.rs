//! Whole models: the small ones of `reference/fixtures`, whose logits come from an implementation that is neither kinglet's nor
//! candle's. Both decoders must be near them.

use candle_core::Result;
use kinglet_candle::{CandleLinear, Engine, KingletLinear, Linear, Model, ModelFile, Pool};
use std::path::{Path, PathBuf};

/// Name, and how far logits may be off, as a share of the largest. 8-bit activations are what the second kind costs; it is some
/// hundredths in llama.cpp too (`case.json`).
const FIXTURES: [(&str, f32); 9] = [
    ("llama-tinyllama", 1e-4),
    ("llama31", 1e-4),
    ("qwen2-tied", 1e-4),
    ("llama-tinyllama-q-q2_k", 0.1),
    ("llama-tinyllama-q-q4_k", 0.1),
    ("llama-tinyllama-q-q6_k", 0.1),
    ("smollm2-q-q4_1", 0.1),
    ("smollm2-q-q5_0", 0.1),
    ("smollm2-q-mix-q4_k_m", 0.1),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../reference/fixtures").join(name)
}

fn tokens(dir: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(dir.join("tokens.json")).unwrap();
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    numbers.map(|word| word.parse().unwrap()).collect()
}

/// Logits of all tokens, read in one piece, in two, and one by one.
fn logits<L: Linear>(context: &L::Context, file: &ModelFile, ids: &[u32]) -> Result<[Vec<f32>; 3]> {
    let mut model = Model::<L>::load(context, file)?;
    let mut read = |each: usize| {
        let mut out = Vec::new();
        for (i, part) in ids.chunks(each).enumerate() {
            out.extend(model.logits(part, i * each, true)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok::<_, candle_core::Error>(out)
    };
    Ok([read(ids.len())?, read(ids.len().div_ceil(2))?, read(1)?])
}

#[test]
fn both_are_near_the_oracle() -> Result<()> {
    let engine = Engine::new(Pool::Rayon, 2)?;
    for (name, within) in FIXTURES {
        let dir = fixture(name);
        let file = ModelFile::open(&dir.join("model.gguf"))?;
        let bytes = std::fs::read(dir.join("logits.f32"))?;
        let expected: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let most = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let ids = tokens(&dir);
        let candle = logits::<CandleLinear>(&(), &file, &ids)?;
        let kinglet = logits::<KingletLinear>(&engine, &file, &ids)?;
        for (whose, results) in [("candle", candle), ("kinglet", kinglet)] {
            for (how, result) in ["in one piece", "in two", "one by one"].iter().zip(results) {
                assert_eq!(result.len(), expected.len(), "{name}");
                let off = result.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / most;
                println!("{name:>24} {whose:>8} {how:>12}: off by {off:.6}");
                assert!(off <= within, "{name} by {whose} {how}: off by {off}, more than {within}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_the_decoder_does_not_know_is_an_error() -> Result<()> {
    let engine = Engine::new(Pool::Rayon, 1)?;
    for (name, text) in
        [("qwen2-yarn", "rope scaling"), ("tiny-gemma3", "gemma3"), ("tiny-llama-moe", "experts")]
    {
        let file = ModelFile::open(&fixture(name).join("model.gguf"))?;
        let error =
            Model::<KingletLinear>::load(&engine, &file).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(text), "{name}: {error}");
    }
    let file = ModelFile::open(&fixture("llama-tinyllama").join("model.gguf"))?;
    let mut model = Model::<KingletLinear>::load(&engine, &file)?;
    assert!(model.logits(&[1], 5, false).is_err(), "a gap");
    assert!(model.logits(&[1; 300], 0, false).is_err(), "too many positions");
    assert!(model.logits(&[256], 0, false).is_err(), "no such token");
    assert!(ModelFile::open(&fixture("llama-tinyllama").join("tokens.json")).is_err(), "no GGUF file");
    Ok(())
}

#[test]
fn a_file_that_ends_too_early_is_an_error() -> Result<()> {
    let engine = Engine::new(Pool::Rayon, 1)?;
    let whole = std::fs::read(fixture("smollm2-q-q4_1").join("model.gguf"))?;
    let path = std::env::temp_dir().join(format!("kinglet-candle-{}.gguf", std::process::id()));
    for len in (0..whole.len()).step_by(whole.len() / 40 + 1).chain([whole.len() - 32]) {
        std::fs::write(&path, &whole[..len])?;
        let model = ModelFile::open(&path).and_then(|file| Model::<KingletLinear>::load(&engine, &file));
        assert!(model.is_err(), "{len} of {} bytes were enough", whole.len());
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
