//! `MODELS.md` is what the registry and the conformance cases say. `KINGLET_WRITE_DOCS=1` writes it anew.

mod oracle;

use kinglet::model::arch;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

const HEAD: &str = "# Models\n
The decoder runs every GGUF model of these architectures (`general.architecture` in the file; `kinglet inspect` tells it, and how a model
will run or the first thing that keeps it from running). This page is written by a test from `runtime/src/model/arch/mod.rs` and the cases in
`reference/fixtures`.\n
*Distance*: the largest difference of any logit from an independent oracle, over the largest logit; unquantized weights, cache in f32. 2e-5 is the
limit; [the conformance table](reference/CONFORMANCE.md) has more cases, quantized ones too, and llama.cpp beside. *Memory*:
weights as Q4_K_M plus keys and values of a context of 4096 in f16, estimated. A layer with a window keeps the window and one batch. The weights are
pages of the file, which the system can drop and read again.\n
| architecture | models | apart from Llama | distance | memory |
|---|---|---|---:|---|
";

const TAIL: &str = "
## Keys of our own\n
What a decoder needs and GGUF has no key for. `kinglet convert` writes them, and they come before any other key; files without them run by the
rules of llama.cpp's.\n
| key | type | what |
|---|---|---|
| `kinglet.activation` | string | activation of the feed-forward network: `silu`, `gelu` (erf), `gelu_tanh`, `relu` or `relu2`; `gpt2` files cannot say it otherwise |
| `kinglet.attention_scale` | float | what scores are multiplied by (Gemma 2: `query_pre_attn_scalar ^ -1/2`) |
| `kinglet.rope_theta` | float | base of the rotary frequencies (GPT-NeoX, StableLM) |
| `kinglet.rope_layers` | array | for each layer, whether it rotates queries and keys |
| `kinglet.windows` | array | for each layer, how many keys a query sees, itself included; 0 for all |
";

#[test]
fn the_page_is_what_the_registry_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for folder in oracle::folders(&root.join("reference/fixtures")).unwrap() {
        let case = oracle::Case::run(&folder);
        let distance = case.ours.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        if !case.quantized {
            let worst = worst.entry(case.architecture).or_default();
            *worst = worst.max(distance.rel_max);
        }
    }
    let mut page = HEAD.to_owned();
    for a in arch::REGISTRY {
        let (weights, cache) = a.example.bytes(4096);
        let gb = |bytes: f64| format!("{:.1}", bytes / 1e9);
        let all = format!("{} GB ({} + {})", gb(weights + cache), gb(weights), gb(cache));
        let (name, models, quirks, example, far) =
            (a.name, a.models, a.quirks, a.example.name, worst[a.name]);
        writeln!(page, "| `{name}` | {models} | {quirks} | {far:.1e} | {example}: {all} |").unwrap();
    }
    page += TAIL;
    let path = root.join("MODELS.md");
    if std::env::var_os("KINGLET_WRITE_DOCS").is_some() {
        return std::fs::write(path, page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "MODELS.md is stale: run this test with KINGLET_WRITE_DOCS=1\n{page}");
}
