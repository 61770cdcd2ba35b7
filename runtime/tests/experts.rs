//! Mixtures of experts: what no token is routed to takes no part, and a batch routes as its tokens do one by one.
//!
//! An expert whose weights are all NaN tells: whatever it takes part in is no number.

mod common;

use common::{Builder, Rng, fixtures};
use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::model::spec::ExpertsSpec;
use kinglet::team::Team;
use kinglet_kernels::{Kernels, KvType};

const TOKENS: usize = 7;

/// Logits after each token, all decoded at once or one by one.
fn logits(gguf: &Gguf, batch: usize) -> Vec<Vec<f32>> {
    let model = Model::new(gguf).unwrap();
    let options = SessionOptions { n_ctx: 32, kv: KvType::F32, batch };
    let mut session = Session::new(&model, Kernels::detect().unwrap(), options).unwrap();
    let mut rng = Rng(3);
    let tokens: Vec<u32> = (0..TOKENS).map(|_| rng.below(model.spec.vocab_size) as u32).collect();
    let mut all = Vec::new();
    session.eval_with(&Team::new(2).unwrap(), &tokens, Want::From(0), |_, l| all.push(l.to_vec())).unwrap();
    all
}

/// The first token whose logits are not as without the poison; those must be no numbers, and those before bit for bit the same.
fn first_use(clean: &[Vec<f32>], poisoned: &[Vec<f32>], what: &str) -> Option<usize> {
    assert_eq!(clean.len(), poisoned.len());
    let first = clean.iter().zip(poisoned).position(|(a, b)| a != b);
    let numbers = first.is_some_and(|i| poisoned[i].iter().all(|l| l.is_finite()));
    assert!(!numbers, "{what}: other logits, and all of them numbers");
    first
}

/// The experts of each layer that has some.
fn layers(gguf: &Gguf) -> Vec<(usize, ExpertsSpec)> {
    let spec = Model::new(gguf).unwrap().spec;
    spec.layers.iter().enumerate().filter_map(|(i, l)| Some((i, l.ffn.experts?))).collect()
}

#[test]
fn only_those_that_a_token_is_routed_to_take_part() {
    let (mut models, mut unused) = (0, 0);
    for folder in fixtures() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let plain = Gguf::open(&folder.join("model.gguf")).unwrap();
        let all = layers(&plain);
        if all.is_empty() {
            continue;
        }
        models += 1;
        let open = || {
            let mut b = Builder::from_gguf(&plain);
            b.quantize();
            b
        };
        let clean = Gguf::from_bytes(open().bytes()).unwrap();
        let (together, apart) = (logits(&clean, TOKENS), logits(&clean, 1));
        assert_eq!(together, apart, "{name}");
        for (layer, spec) in all {
            let mut used_by_first = 0;
            for expert in 0..spec.n {
                let what = format!("{name}, layer {layer}, expert {expert}");
                let poisoned = Gguf::from_bytes(open().poison_expert(layer, expert, spec.n).bytes()).unwrap();
                let first = first_use(&together, &logits(&poisoned, TOKENS), &what);
                assert_eq!(first, first_use(&apart, &logits(&poisoned, 1), &what), "{what}");
                used_by_first += usize::from(first == Some(0));
                unused += usize::from(first.is_none());
            }
            assert_eq!(used_by_first, spec.used, "{name}, layer {layer}: experts of the first token");
        }
    }
    assert!(models >= 5 && unused > 0, "{models} models, {unused} experts that no token used");
}
