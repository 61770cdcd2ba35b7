//! Layers with a sliding window keep only the pages that a query can still see: less memory, the same bits as with everything kept,
//! also after going back to where something was dropped.
//!
//! `KINGLET_EMULATED=1` takes one division of the work.

mod common;
mod support;

use common::{Builder, Meta, Rng, TINY};
use kinglet::decoder::{Session, SessionOptions, Want, cache_bytes, kept_positions};
use kinglet::gguf::Gguf;
use kinglet::model::{Model, ModelSpec};
use kinglet::team::Team;
use kinglet_kernels::{Format, KV_PAGE, Kernels, KvType, Tier};
use std::path::PathBuf;
use support::emulated;

/// Positions: several times what a window keeps.
const N: usize = 3_100;

/// A fixture with a window of `window` keys and room for [`N`] positions.
fn fixture(name: &str, window: u32) -> Gguf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures");
    let gguf = Gguf::open(&root.join(name).join("model.gguf")).unwrap();
    let arch = gguf.string("general.architecture").unwrap().unwrap().to_owned();
    let mut b = Builder::from_gguf(&gguf);
    b.set(&format!("{arch}.context_length"), Some(Meta::U32(N as u32)));
    b.set(&format!("{arch}.attention.sliding_window"), Some(Meta::U32(window)));
    Gguf::from_bytes(b.quantize().bytes()).unwrap()
}

/// A Mistral of the first kind: a window on every layer.
fn mistral(window: u32) -> Gguf {
    let mut b = common::llama(common::Sizes { context: N as u32, ..TINY }, &[Format::Q8_0, Format::Q4_0]);
    b.set("llama.attention.sliding_window", Some(Meta::U32(window)));
    Gguf::from_bytes(b.bytes()).unwrap()
}

fn models() -> Vec<(&'static str, usize, Gguf)> {
    let of = |name, window| (name, window as usize, fixture(name, window));
    vec![
        of("tiny-gemma2", 600),
        of("tiny-gemma3", 512),
        of("tiny-olmo3", 1_025),
        of("tiny-phi3-window", 5),
        ("mistral", 700, mistral(700)),
    ]
}

fn session<'m>(model: &'m Model<'m>, batch: usize, kv: KvType) -> Session<'m> {
    let kernels = Kernels::with_tier(*Tier::usable().last().unwrap()).unwrap();
    Session::new(model, kernels, SessionOptions { n_ctx: N, kv, batch }).unwrap()
}

/// The text, and other tokens that must leave nothing behind.
fn texts(spec: &ModelSpec) -> (Vec<u32>, Vec<u32>) {
    let mut rng = Rng(11);
    let mut text = || (0..N).map(|_| rng.below(spec.vocab_size) as u32).collect();
    (text(), text())
}

/// Logits after every token, in pieces of `piece` tokens.
fn logits(session: &mut Session<'_>, team: &Team, tokens: &[u32], piece: usize) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for piece in tokens.chunks(piece) {
        session.eval_with(team, piece, Want::From(0), |_, l| all.push(l.to_vec())).unwrap();
    }
    all
}

/// Bytes of keys and values with `pages` pages for each layer that has a window, and all for the others.
fn bytes(spec: &ModelSpec, kv: KvType, pages: usize) -> usize {
    let layer = |a: &kinglet::model::spec::AttentionSpec| {
        let page = cache_bytes(&one_layer(spec, a), kv, KV_PAGE, 1);
        page * if a.window.is_some() { pages } else { N.div_ceil(KV_PAGE) }
    };
    spec.attentions().map(layer).sum()
}

/// The model with nothing but this attention.
fn one_layer(spec: &ModelSpec, a: &kinglet::model::spec::AttentionSpec) -> ModelSpec {
    let mut spec = spec.clone();
    spec.layers.retain(|l| l.mixer.attention() == Some(a));
    spec.layers.truncate(1);
    spec
}

#[test]
fn the_same_bits_as_with_everything_kept_in_less_memory() {
    let emulated = emulated();
    // A fused multiply-add in software, in an emulator: a wide window is minutes.
    let slow = emulated && Tier::usable() == [Tier::Scalar];
    let models: Vec<_> = models().into_iter().filter(|(_, window, _)| !slow || *window < 100).collect();
    assert!(!models.is_empty());
    for (name, window, gguf) in models {
        let model = Model::new(&gguf).unwrap();
        let windowed = model.spec.attentions().filter(|a| a.window == Some(window)).count();
        assert!(windowed > 0, "{name} has no window of {window}");
        let (text, _) = texts(&model.spec);
        let n = if emulated { 2 * KV_PAGE + window + 64 } else { N };
        // A batch as long as the context: nothing can be dropped while it is decoded.
        let mut all = session(&model, N, KvType::F16);
        let expected = logits(&mut all, &Team::new(2).unwrap(), &text[..n], 512);
        assert_eq!(all.resumes_at(1), 1, "{name}: everything is kept");
        let every = [(64, 1_000, 2), (512, 512, 1), (512, 700, 3), (7, 9_999, 3), (1, 9_999, 1), (512, 3, 2)];
        for &(batch, piece, threads) in if emulated { &every[..1] } else { &every } {
            let mut session = session(&model, batch, KvType::F16);
            let got = logits(&mut session, &Team::new(threads).unwrap(), &text[..n], piece);
            assert!(got == expected, "{name}: batch {batch}, pieces of {piece}, {threads} threads");
            assert!(
                kept_positions(Some(window), N, batch) < n,
                "{name}: with so many positions nothing is dropped"
            );
            if emulated {
                continue;
            }
            // The window before the first query of a batch and the batch itself, which may begin at the end of a page.
            let pages = (window + batch - 2) / KV_PAGE + 2;
            assert_eq!(kept_positions(Some(window), N, batch), pages * KV_PAGE, "{name}");
            let most = bytes(&model.spec, KvType::F16, pages);
            assert_eq!(session.cache_bytes(), most, "{name} with batches of {batch}");
            assert_eq!(session.cache_bytes(), cache_bytes(&model.spec, KvType::F16, N, batch), "{name}");
            assert!(
                most < all.cache_bytes(),
                "{name}: {most} bytes, {} with everything kept",
                all.cache_bytes()
            );
        }
    }
}

#[test]
fn the_same_bits_after_going_back_past_what_was_dropped() {
    if emulated() {
        eprintln!("going back: NOT RUN: takes minutes in an emulator, and is the decoder's, not a tier's");
        return;
    }
    let team = Team::new(2).unwrap();
    let (mut near, mut far) = (0, 0);
    for (name, window, gguf) in models() {
        let model = Model::new(&gguf).unwrap();
        let (text, other) = texts(&model.spec);
        let n = 2_300;
        let expected = logits(&mut session(&model, N, KvType::Q8_0), &team, &text[..n], 512);
        let batch = 200;
        let mut session = session(&model, batch, KvType::Q8_0);
        logits(&mut session, &team, &text[..n], n);
        // How far it has been since all was decoded anew.
        let mut farthest = n;
        for back in [n - 1, n - batch, n - 3 * batch, n - 1_500, window.min(n - 1), 513, 1, 0, n - 2] {
            let at = session.position();
            let back = back.min(at);
            let resumes = session.resumes_at(back);
            assert!(resumes == back || resumes == 0, "{name}: {resumes}");
            if farthest - back <= batch {
                assert_eq!(resumes, back, "{name}: within a batch of {farthest}");
            }
            (near, far) = if resumes == back { (near + 1, far) } else { (near, far + 1) };
            session.rewind(back);
            assert_eq!(session.position(), back);
            // Another text first, which must leave nothing behind, and past a page.
            logits(&mut session, &team, &other[..600.min(N - back)], 600);
            farthest = if resumes == back { farthest.max(session.position()) } else { session.position() };
            farthest = if session.resumes_at(back) == back { farthest } else { n };
            session.rewind(back);
            let end = (back + 600).min(n);
            let again = logits(&mut session, &team, &text[back..end], 100);
            assert!(again == expected[back..end], "{name}: after going back to {back}");
            assert_eq!(session.position(), end);
            // To where the next one starts from.
            logits(&mut session, &team, &text[end..n], n);
            farthest = farthest.max(n);
        }
        assert!(session.cache_bytes() <= cache_bytes(&model.spec, KvType::Q8_0, N, batch), "{name}");
    }
    assert!(near > 0 && far > 0, "{near} times at once, {far} times by decoding again");
}
