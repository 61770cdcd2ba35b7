use super::*;
use crate::record::Name;
use std::collections::BTreeMap;

fn built_in(name: &str) -> KingletSuite {
    KingletSuite::find(name, Some(PathBuf::from("Some Model.gguf"))).unwrap()
}

#[test]
fn every_built_in_suite_is_sound() {
    for (name, _) in file::BUILT_IN {
        let suite = built_in(name);
        assert_eq!(suite.name(), name);
        let list = suite.list();
        assert!(list.iter().any(|e| e.skip.is_none()), "{name}: nothing can run here");
        for Entry { spec, .. } in &list {
            let parts = Name::parse(&spec.name).unwrap_or_else(|| panic!("{}", spec.name));
            assert!(parts.tier.parse::<Tier>().is_ok(), "{}", spec.name);
            assert!(!spec.name.contains(char::is_whitespace), "{}", spec.name);
        }
    }
    assert!(built_in("end_to_end").list().iter().any(|e| e.spec.name.starts_with("some-model.tg32.f16.t")));
}

#[test]
fn every_kernel_and_operation_has_a_checksum() {
    for name in ["gate", "kernels", "operations"] {
        for Entry { spec, .. } in built_in(name).list() {
            assert!(
                spec.expected.is_some(),
                "{}: run `kinglet-bench list --suite {name} --checksums`",
                spec.name
            );
        }
    }
}

/// The gate on every tier of this machine, and everything on the fastest one; large products are left to `record`.
#[test]
fn answers_are_the_expected_ones() {
    let fastest = Tier::usable().last().unwrap().name();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for name in ["gate", "kernels", "operations"] {
        let mut suite = built_in(name);
        for Entry { spec, skip } in suite.list() {
            let parts = Name::parse(&spec.name).unwrap();
            let large = parts.op == "gemm512" || parts.op == "gemv_ram" || parts.part == "output";
            if skip.is_some() || large || (name != "gate" && parts.tier != fastest) {
                continue;
            }
            let mut run = suite.prepare(&spec.name).unwrap();
            run.run(2).unwrap();
            assert_eq!(run.checksum().unwrap(), spec.expected.unwrap(), "{}", spec.name);
            *seen.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert!(seen["gate"] >= 1 && seen["kernels"] > 60 && seen["operations"] > 20, "{seen:?}");
}

#[test]
fn what_makes_no_sense_is_said_in_one_line() {
    let grid = |fields: &str| format!("schema = 1\nname = \"x\"\n[[kernels]]\n{fields}\n");
    let sound = "model = \"qwen2.5-0.5b\"\nparts = [\"ffn_down\"]\nformats = [\"q4_k\"]\nops = [\"gemv\"]\ntiers = [\"all\"]";
    assert!(KingletSuite::new(SuiteFile::parse(&grid(sound)).unwrap(), None).is_ok());
    for (from, to, word) in [
        ("qwen2.5", "qwen9", "no model `qwen9-0.5b`"),
        ("ffn_down", "ffn_side", "no tensor `ffn_side`"),
        ("ffn_down", "ffn_up", "no whole blocks"),
        ("q4_k", "q4_x", "no format `q4_x`"),
        ("gemv", "gemx", "no operation `gemx`"),
        ("gemv", "gemm0", "no operation `gemm0`"),
        ("gemv\"", "gemv\", \"gemv\"", "listed twice"),
        ("all", "avx9", "unknown tier `avx9`"),
        ("ops", "opps", "opps"),
        ("schema = 1", "schema = 2", "schema 2"),
        ("\"x\"", "\"x y\"", "no name"),
    ] {
        let text = grid(sound).replacen(from, to, 1);
        let said = SuiteFile::parse(&text).and_then(|f| KingletSuite::new(f, None).map(|_| ())).unwrap_err();
        assert!(said.contains(word) && !said.contains('\n'), "{word}: {said}");
    }
    for (name, word) in [("gat", "no suite"), ("/no/such.toml", "cannot read"), ("end_to_end", "--model")] {
        let said = KingletSuite::find(name, None).unwrap_err();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn measures_are_read() {
    use end_to_end::{Measure, What};
    let read = |s: &str| s.parse::<Measure>();
    assert_eq!(read("tg32_d4096"), Ok(Measure { what: What::Generate(32), depth: 4096, batch: 512 }));
    assert_eq!(read("pp512_b64").map(|m| (m.what, m.batch)), Ok((What::Prompt(512), 64)));
    for wrong in ["", "tg", "tg0", "xx3", "tg32_", "tg32_x3", "tg32_d", "open3x"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
