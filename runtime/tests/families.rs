//! Every family of `reference/fixtures`: the same bits however the work is divided, also after going back; no key or tensor that can be
//! left out silently, nothing that panics.
//!
//! The hashes in `families.txt` are those of every machine. `KINGLET_EMULATED=1` takes two divisions of the work, and the first
//! positions only.

mod common;
mod support;

use common::{Builder, Meta, Rng, families, fixtures};
use kinglet::cli::inspect::unsupported;
use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::{Model, arch};
use kinglet::team::Team;
use kinglet_kernels::{Kernels, KvType, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::emulated;

/// Positions of the first hash: fewer than the small models were made for.
const FEW: usize = 48;
/// Of the second: past an attention page (512) and a kept state of convolutions.
const MANY: usize = 530;

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

fn open(folder: &Path) -> Builder {
    Builder::from_gguf(&Gguf::open(&folder.join("model.gguf")).unwrap())
}

/// The model with most of its matrices quantized, and with room for `MANY` positions where its tensors allow that.
fn mixed(folder: &Path) -> Gguf {
    mixed_of(open(folder))
}

fn mixed_of(mut b: Builder) -> Gguf {
    let gguf = Gguf::from_bytes(b.bytes()).unwrap();
    let arch = gguf.string("general.architecture").unwrap().unwrap();
    if gguf.tensor("position_embd.weight").is_none() {
        b.set(&format!("{arch}.context_length"), Some(Meta::U32(MANY as u32)));
    }
    Gguf::from_bytes(b.quantize().bytes()).unwrap()
}

struct Setting {
    tier: Tier,
    threads: usize,
    batch: usize,
    pieces: usize,
}

/// FNV-1a over the bits of all logits.
struct Hash(u64);

impl Hash {
    fn add(&mut self, logits: &[f32]) {
        assert!(logits.iter().all(|l| l.is_finite()));
        for byte in logits.iter().flat_map(|l| l.to_bits().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

fn session<'m>(model: &'m Model<'m>, tier: Tier, batch: usize) -> Session<'m> {
    let n_ctx = model.spec.context_length;
    Session::new(model, Kernels::with_tier(tier).unwrap(), SessionOptions { n_ctx, kv: KvType::F16, batch })
        .unwrap()
}

fn tokens(model: &Model<'_>, n: usize) -> Vec<u32> {
    let mut rng = Rng(5);
    (0..n.min(model.spec.context_length)).map(|_| rng.below(model.spec.vocab_size) as u32).collect()
}

/// The hash after [`FEW`] positions and after all of `tokens`.
fn hashes(model: &Model<'_>, tokens: &[u32], s: &Setting) -> [u64; 2] {
    let mut session = session(model, s.tier, s.batch);
    let team = Team::new(s.threads).unwrap();
    let (mut rng, mut hash, mut hashes) = (Rng(99), Hash(0xcbf2_9ce4_8422_2325), [0; 2]);
    let mut done = 0;
    for (i, end) in [FEW.min(tokens.len()), tokens.len()].into_iter().enumerate() {
        while done < end {
            let n = (1 + rng.below(s.pieces)).min(end - done);
            let piece = &tokens[done..done + n];
            session.eval_with(&team, piece, Want::From(0), |_, logits| hash.add(logits)).unwrap();
            done += n;
        }
        hashes[i] = hash.0;
    }
    hashes
}

fn golden() -> BTreeMap<String, [u64; 2]> {
    let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].to_owned(), [number(words[1]), number(words[2])])
    };
    include_str!("families.txt").lines().map(line).collect()
}

/// Every tier with one to three threads, decoding one, three and all tokens at once: for the first positions.
fn every_setting() -> Vec<Setting> {
    let mut settings = Vec::new();
    for tier in Tier::usable() {
        for threads in 1..=3 {
            settings.extend([1, 3, FEW].map(|batch| Setting { tier, threads, batch, pieces: FEW }));
        }
    }
    settings
}

/// Some divisions for all positions, every tier among them.
fn some_settings() -> Vec<Setting> {
    let best = *Tier::usable().last().unwrap();
    let setting = |tier, threads, batch, pieces| Setting { tier, threads, batch, pieces };
    let mut settings = vec![setting(best, 2, 64, 100)];
    settings.extend(Tier::usable().into_iter().map(|tier| setting(tier, 2, 512, 600)));
    settings.extend([setting(best, 1, 1, 600), setting(best, 3, 7, 40), setting(best, 1, 512, 600)]);
    settings
}

#[test]
fn the_same_bits_however_the_work_is_divided() {
    let emulated = emulated();
    let required = std::env::var("KINGLET_REQUIRE_TIERS").unwrap_or_default();
    for tier in required.split(',').filter(|t| !t.is_empty()) {
        assert!(Tier::usable().iter().any(|t| t.name() == tier), "required tier {tier} does not run here");
    }
    assert!(Tier::usable().contains(&Tier::Scalar));
    let (mut every, mut some) = (every_setting(), some_settings());
    if emulated {
        // The kernels' own tests have compared its tiers.
        some.clear();
        every.retain(|s| {
            s.tier == *Tier::usable().last().unwrap() && matches!((s.threads, s.batch), (1, 1) | (3, FEW))
        });
    }
    let (golden, mut wrong, mut seen) = (golden(), String::new(), BTreeSet::new());
    let mut architectures: BTreeSet<&str> = arch::REGISTRY.iter().map(|a| a.name).collect();
    for folder in fixtures() {
        let (name, gguf) = (name(&folder), mixed(&folder));
        let model = Model::new(&gguf).unwrap_or_else(|e| panic!("{name}: {e}"));
        architectures.remove(model.spec.architecture.as_str());
        let tokens = tokens(&model, MANY);
        let first = &tokens[..FEW.min(tokens.len())];
        let expected = golden.get(&name).copied().unwrap_or_default();
        // The larger ones are here for their formats, which the first positions have met on every tier.
        let few = if name.starts_with("tiny-") { some.len() } else { some.len().min(1) };
        let runs = every.iter().map(|s| (s, first, 0)).chain(some[..few].iter().map(|s| (s, &tokens[..], 1)));
        for (s, tokens, which) in runs {
            let got = hashes(&model, tokens, s)[which];
            if got != expected[which] {
                let Setting { tier, threads, batch, pieces } = s;
                wrong += &format!("{name} column {which}: {got:016x}    {tier} {threads} {batch} {pieces}\n");
            }
        }
        seen.insert(name);
    }
    assert!(wrong.is_empty(), "not as in runtime/tests/families.txt:\n{wrong}");
    assert!(seen.iter().eq(golden.keys()), "families.txt has {:?}, there are {seen:?}", golden.keys());
    assert!(architectures.is_empty(), "without a fixture: {architectures:?}");
}

/// The last layer computes no more than is wanted.
#[test]
fn the_same_bits_however_many_are_wanted() {
    let check = |name: &str, gguf: Gguf| {
        let (team, tier) = (Team::new(2).unwrap(), *Tier::usable().last().unwrap());
        let model = Model::new(&gguf).unwrap();
        let tokens = tokens(&model, FEW);
        let of = |batch, want| {
            let (mut session, mut logits) = (session(&model, tier, batch), Vec::new());
            session.eval_with(&team, &tokens, want, |i, l| logits.push((i, l.to_vec()))).unwrap();
            // What has not been wanted is looked back at all the same.
            session
                .eval_with(&team, &tokens[..1], Want::Last, |_, l| logits.push((FEW, l.to_vec())))
                .unwrap();
            logits
        };
        let all = of(FEW, Want::From(0));
        assert!(all.iter().map(|(i, _)| *i).eq(0..=FEW));
        for batch in [7, FEW] {
            for from in [1, FEW / 2, FEW - 17, FEW - 1] {
                assert!(of(batch, Want::From(from)) == all[from..], "{name}: {from}, {batch}");
            }
            assert!(of(batch, Want::Last) == all[FEW - 1..], "{name}: last, {batch}");
            assert!(of(batch, Want::Nothing) == all[FEW..], "{name}: nothing, {batch}");
        }
    };
    // Nothing here depends on the tier.
    let emulated = emulated();
    for folder in families().into_iter().filter(|_| !emulated) {
        check(&name(&folder), mixed(&folder));
    }
    // The one family with convolutions, whose last layer is one in the models of that family and not in the fixture.
    let mut b = open(&fixtures().into_iter().find(|f| name(f) == "tiny-lfm2").unwrap());
    b.set("lfm2.block_count", Some(Meta::U32(3)));
    b.set("lfm2.attention.head_count_kv", Some(Meta::I32s(vec![0, 2, 0])));
    let (_, tensors) = b.names();
    tensors.iter().filter(|t| t.starts_with("blk.3.")).for_each(|t| _ = b.remove_tensor(t));
    check("tiny-lfm2 of 3 layers", mixed_of(b));
}

#[test]
fn the_same_bits_after_going_back() {
    let emulated = emulated();
    let team = Team::new(1).unwrap();
    let tier = *Tier::usable().last().unwrap();
    for folder in families() {
        // Only what a layer carries from one position to the next can be wrong here.
        if emulated && !name(&folder).contains("lfm2") {
            continue;
        }
        let gguf = mixed(&folder);
        let model = Model::new(&gguf).unwrap();
        let tokens = tokens(&model, MANY);
        let mut all = Vec::new();
        let mut session = session(&model, tier, 512);
        session.eval_with(&team, &tokens, Want::From(0), |_, l| all.push(l.to_vec())).unwrap();
        let n = tokens.len();
        for back in [n - 1, n - 3, n.min(514), n.min(513), n.min(512), n / 2, 1, 0] {
            let end = (back + 3).min(n);
            session.rewind(back);
            // Something else first, which must leave nothing behind.
            session.eval_with(&team, &tokens[..end - back], Want::Nothing, |_, _| {}).unwrap();
            session.rewind(back);
            let mut again = Vec::new();
            session
                .eval_with(&team, &tokens[back..end], Want::From(0), |_, l| again.push(l.to_vec()))
                .unwrap();
            assert!(again == all[back..end], "{} is not the same after going back to {back}", name(&folder));
            assert_eq!(session.position(), end);
        }
    }
}

#[test]
fn inspect_says_how_each_runs_or_what_keeps_it_from_running() {
    for folder in fixtures() {
        let (name, gguf) = (name(&folder), Gguf::open(&folder.join("model.gguf")).unwrap());
        let lines = unsupported(&gguf);
        assert!(lines.len() == 1 && lines[0].contains("no tokenizer"), "{name}: {lines:?}");
        let described = Model::new(&gguf).unwrap().spec.describe();
        let names: Vec<_> = described.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["layers", "vocabulary", "heads", "attention", "network", "positions", "besides"],
            "{name}"
        );
        assert!(described.iter().all(|(_, what)| !what.is_empty()), "{name}: {described:?}");
        // Of several things the first, by its name.
        let (keys, tensors) = open(&folder).names();
        let arch = keys.iter().find_map(|k| k.strip_suffix(".block_count")).unwrap().to_owned();
        let mut broken = open(&folder);
        broken.rename_tensor("token_embd.weight", "embedding.weight").remove_tensor(tensors.last().unwrap());
        let lines = unsupported(&Gguf::from_bytes(broken.bytes()).unwrap());
        assert!(lines[0].contains("token_embd.weight"), "{name}: {lines:?}");
        let mut other = open(&folder);
        other.set("general.architecture", Some(Meta::Str("mamba")));
        let lines = unsupported(&Gguf::from_bytes(other.bytes()).unwrap());
        assert!(lines[0].contains("`mamba`") && lines[0].contains(&arch), "{name}: {lines:?}");
    }
}

#[test]
fn no_tensor_is_left_out_silently() {
    for folder in families() {
        let (_, tensors) = open(&folder).names();
        for tensor in &tensors {
            let other = format!("{tensor}x");
            let gguf = Gguf::from_bytes(open(&folder).rename_tensor(tensor, &other).bytes()).unwrap();
            if tensor.starts_with("rope_factors") || tensor.starts_with("rope_freqs") {
                // Their names are known in any form; the other half of them is then missing.
                assert!(Model::new(&gguf).is_err(), "{}: without `{tensor}`", name(&folder));
                continue;
            }
            let said = Model::new(&gguf).err().unwrap_or_else(|| panic!("{}: `{tensor}`", name(&folder)));
            let said = said.to_string();
            assert!(said.contains(tensor.as_str()), "{}: {said}", name(&folder));
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn no_key_panics_whatever_it_says() {
    let absurd = |i: usize| {
        [
            None,
            Some(Meta::U32(0)),
            Some(Meta::U32(3)),
            Some(Meta::U32(u32::MAX)),
            Some(Meta::F32(f32::NAN)),
            Some(Meta::Bool(true)),
            Some(Meta::Str("longrope")),
            Some(Meta::I32s(vec![1, 0, 7])),
            Some(Meta::I32s(vec![])),
        ][i]
            .clone()
    };
    let ours = ["activation", "attention_scale", "rope_theta", "windows", "rope_layers"];
    // All of it takes an emulator minutes.
    let every = if emulated() { 8 } else { 1 };
    for folder in families().into_iter().step_by(every) {
        let (mut keys, _) = open(&folder).names();
        let arch = keys.iter().find_map(|k| k.strip_suffix(".block_count")).unwrap().to_owned();
        keys.extend(ours.map(|k| format!("kinglet.{k}")));
        for key in [
            "attention.key_length",
            "attention.value_length",
            "expert_count",
            "attention.sliding_window_pattern",
        ] {
            keys.push(format!("{arch}.{key}"));
        }
        for key in keys {
            for i in 0..9 {
                let Ok(gguf) = Gguf::from_bytes(open(&folder).set(&key, absurd(i)).bytes()) else { continue };
                let model = match Model::new(&gguf) {
                    Ok(model) => model,
                    Err(e) => {
                        assert_eq!(e.to_string().lines().count(), 1, "{e}");
                        continue;
                    }
                };
                let options = SessionOptions {
                    n_ctx: model.spec.context_length.min(8),
                    ..SessionOptions::for_model(&model)
                };
                let mut session = Session::new(&model, Kernels::detect().unwrap(), options).unwrap();
                let said = session.eval(&Team::new(1).unwrap(), &[0, 1, 0]);
                assert!(said.is_ok(), "{} with {key} {i}: {said:?}", name(&folder));
            }
        }
    }
}
