//! Law 1: the logits of a model are the same bits over tiers, threads, batch sizes and chunkings of the prompt, and on every
//! architecture: the hashes below are checked on x86-64 and on aarch64.
//!
//! `KINGLET_EMULATED=1` takes one combination, on all positions.

mod common;
mod support;

use common::{Rng, TINY};
use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet_kernels::{Format, Kernels, KvType, Tier};
use support::emulated;

/// Crosses attention pages (512), windows and batches.
const POSITIONS: usize = 2_150;

#[derive(Debug, Clone, Copy)]
struct Setting {
    tier: Tier,
    threads: usize,
    batch: usize,
    /// Prompts come in pieces of random length up to this.
    pieces: usize,
}

/// FNV-1a over the bits of all logits, with every NaN equal.
fn hash(model: &Model<'_>, kv: KvType, s: Setting) -> u64 {
    let mut rng = Rng(99);
    let tokens: Vec<u32> = (0..POSITIONS).map(|_| rng.below(model.spec.vocab_size) as u32).collect();
    let options = SessionOptions { n_ctx: POSITIONS, kv, batch: s.batch };
    let mut session = Session::new(model, Kernels::with_tier(s.tier).unwrap(), options).unwrap();
    let team = Team::new(s.threads).unwrap();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut rest = &tokens[..];
    while !rest.is_empty() {
        let n = (1 + rng.below(s.pieces)).min(rest.len());
        let (piece, after) = rest.split_at(n);
        rest = after;
        let sink = |_: usize, logits: &[f32]| {
            for l in logits {
                assert!(l.is_finite());
                for byte in l.to_bits().to_le_bytes() {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
        };
        session.eval_with(&team, piece, Want::From(0), sink).unwrap();
    }
    hash
}

fn check(name: &str, bytes: Vec<u8>, kv: KvType, golden: u64) {
    let gguf = Gguf::from_bytes(bytes).unwrap();
    let model = Model::new(&gguf).unwrap();
    let required = std::env::var("KINGLET_REQUIRE_TIERS").unwrap_or_default();
    let emulated = emulated();
    if emulated && Tier::usable() == [Tier::Scalar] && name != "llama f16" {
        println!(
            "{name}: NOT RUN: the scalar tier in an emulator takes minutes; it runs natively on every machine"
        );
        return;
    }
    let mut settings = Vec::new();
    for tier in Tier::ALL.iter().copied() {
        match tier.check() {
            // An emulator is slow, and the kernels' own tests have compared its tiers.
            Ok(()) if emulated => {}
            Ok(()) => settings.push(Setting { tier, threads: 2, batch: 512, pieces: POSITIONS }),
            Err(why) => {
                assert!(!required.split(',').any(|r| r == tier.name()), "required tier: {why}");
                println!("{tier}: NOT RUN: {why}");
            }
        }
    }
    let tier = *Tier::usable().last().unwrap();
    let all = [
        (1, 1, 9999),
        (2, 7, 9999),
        (3, 64, 9999),
        (4, 512, 9999),
        (1, 512, 9999),
        (3, 512, 300),
        (2, 64, 5),
    ];
    let some = [(2, 64, 100)];
    for &(threads, batch, pieces) in if emulated { &some[..] } else { &all[..] } {
        settings.push(Setting { tier, threads, batch, pieces });
    }
    for s in settings {
        let got = hash(&model, kv, s);
        assert!(got == golden, "{name}: {got:#018x} where {golden:#018x} is expected, with {s:?}");
    }
}

const MIX: &[Format] = &[
    Format::Q8_0,
    Format::Q4_0,
    Format::Q5_1,
    Format::Q4_1,
    Format::F16,
    Format::Q5_0,
    Format::Q8_0,
    Format::F32,
];

#[test]
fn llama_with_an_f16_cache() {
    check("llama f16", common::llama(TINY, MIX).bytes(), KvType::F16, 0x113f_0109_67b2_48c6);
}

#[test]
fn llama_with_a_q8_0_cache() {
    check("llama q8_0", common::llama(TINY, MIX).bytes(), KvType::Q8_0, 0x49bc_5151_c0ce_4bbb);
}

#[test]
fn gemma3_with_windows() {
    let sizes = common::Sizes { layers: 6, kv_heads: 1, heads: 4, head_dim: 24, ..TINY };
    let b = common::gemma3(sizes, 600, &[Format::Q8_0, Format::Q5_0]);
    check("gemma3 f32", b.bytes(), KvType::F32, 0xe050_5851_aaef_cd93);
}

#[test]
fn k_quants() {
    let sizes = common::Sizes { dim: 256, heads: 4, kv_heads: 1, head_dim: 64, ffn: 256, layers: 1, ..TINY };
    let formats = [Format::Q4_K, Format::Q6_K, Format::Q5_K, Format::Q3_K, Format::Q2_K];
    check("k-quants", common::llama(sizes, &formats).bytes(), KvType::F16, 0x3360_5d76_abbd_1be0);
}
