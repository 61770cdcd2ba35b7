//! The GGUF reader on good files, bad files and thousands of mutated ones.

use kinglet::gguf::{Gguf, Value};

/// A small writer, so that tests can say exactly which byte is wrong.
struct Writer(Vec<u8>);
impl Writer {
    fn u32(&mut self, n: u32) -> &mut Self {
        self.0.extend(n.to_le_bytes());
        self
    }
    fn u64(&mut self, n: u64) -> &mut Self {
        self.0.extend(n.to_le_bytes());
        self
    }
    fn string(&mut self, s: &str) -> &mut Self {
        self.u64(s.len() as u64);
        self.0.extend(s.as_bytes());
        self
    }
    fn tensor(&mut self, name: &str, shape: &[u64], ggml_type: u32, offset: u64) -> &mut Self {
        self.string(name).u32(shape.len() as u32);
        for d in shape {
            self.u64(*d);
        }
        self.u32(ggml_type).u64(offset)
    }
    fn pad(&mut self, data: usize) -> Vec<u8> {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start, 0);
        self.0.resize(start + data, 7);
        self.0.clone()
    }
}

fn header(version: u32, tensors: u64, keys: u64) -> Writer {
    let mut w = Writer(b"GGUF".to_vec());
    w.u32(version).u64(tensors).u64(keys);
    w
}

/// Two tensors (64 x 2 F32 at 0, 64 x 2 Q4_0 at 512) and three keys.
fn good() -> Vec<u8> {
    let mut w = header(3, 2, 3);
    w.string("general.architecture").u32(8).string("llama");
    w.string("llama.block_count").u32(4).u32(2);
    w.string("tokenizer.ggml.tokens").u32(9).u32(8).u64(2).string("a").string("b");
    w.tensor("a.weight", &[64, 2], 0, 0).tensor("b.weight", &[64, 2], 2, 512);
    w.pad(512 + 72)
}

fn error(bytes: Vec<u8>) -> String {
    Gguf::from_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn a_good_file_opens() {
    let g = Gguf::from_bytes(good()).unwrap();
    assert_eq!(g.string("general.architecture").unwrap(), Some("llama"));
    assert_eq!(g.uint("llama.block_count").unwrap(), Some(2));
    assert_eq!(g.uint("absent").unwrap(), None);
    let tokens: Vec<&[u8]> = g.array("tokenizer.ggml.tokens").unwrap().unwrap().strings().collect();
    assert_eq!(tokens, [b"a", b"b"]);
    assert!(g.metadata().any(|(k, v)| k == "llama.block_count" && v == Value::Uint(2)));
    let b = g.tensor("b.weight").unwrap();
    assert_eq!((b.bytes, g.data(b).len(), g.data(b)[0]), (72, 36 * 2, 7));
    assert!(g.string("llama.block_count").unwrap_err().to_string().contains("llama.block_count"));
}

#[test]
fn bad_files_are_named() {
    assert!(error(b"PK\x03\x04".to_vec()).contains("not a GGUF"));
    assert!(error(vec![]).contains("not a GGUF"));
    assert!(error(header(1, 0, 0).0).contains("version 1"));
    assert!(error(header(3 << 24, 0, 0).0).contains("big-endian"));
    assert!(error(header(9, 0, 0).0).contains("version 9"));
    assert!(error(header(3, 0, u64::MAX).0).contains("announces"));
    assert!(error(header(3, 1 << 40, 0).0).contains("announces"));
    let mut long = header(3, 0, 1);
    long.string("k").u32(9).u32(8).u64(u64::MAX).u64(0);
    assert!(error(long.0).contains("key `k`"));
    let mut twice = header(3, 0, 2);
    twice.string("k").u32(4).u32(1).string("k").u32(4).u32(1).u64(0);
    assert!(error(twice.0).contains("`k`: it appears twice"));
    let mut file = good();
    file.truncate(file.len() - 1);
    assert!(error(file).contains("`b.weight` lies past the end"));
    let tensor = |shape: &[u64], ggml_type, offset| {
        let mut w = header(3, 2, 0);
        w.tensor("a", &[64], 0, 0).tensor("t", shape, ggml_type, offset);
        error(w.pad(4096))
    };
    assert!(tensor(&[64], 0, 7).contains("offset 7"));
    assert!(tensor(&[64], 0, 128).contains("overlap"));
    assert!(tensor(&[33], 2, 256).contains("whole number of Q4_0"));
    assert!(tensor(&[u64::MAX / 2, 2], 0, 256).contains("impossibly large"));
    assert!(tensor(&[0], 0, 256).contains("zero"));
    assert!(tensor(&[1, 1, 1, 1, 1], 0, 256).contains("5 dimensions"));
    assert!(tensor(&[1 << 40], 0, 256).contains("past the end"));
}

#[test]
fn an_unknown_tensor_type_is_kept_for_inspect() {
    let mut w = header(3, 1, 0);
    w.tensor("t", &[64], 777, 0);
    let g = Gguf::from_bytes(w.pad(64)).unwrap();
    assert_eq!((g.tensors()[0].format, g.tensors()[0].ggml_type), (None, 777));
}

#[test]
fn mutated_files_never_panic() {
    let good = good();
    let mut state = 42u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut opened = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + next() % 4 {
            let at = next() % bytes.len().min(320);
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, next() as u8][next() % 6];
        }
        let keep = if next().is_multiple_of(8) { next() % bytes.len() } else { bytes.len() };
        bytes.truncate(keep);
        if let Ok(g) = Gguf::from_bytes(bytes) {
            opened += 1;
            g.metadata().for_each(|(_, v)| {
                if let Value::Array(a) = v {
                    assert!(a.iter().count() <= a.len);
                }
            });
            assert!(g.tensors().iter().all(|t| g.data(t).len() == t.bytes));
        }
    }
    assert!(opened > 100, "mutations too harsh to prove anything: {opened} opened");
}
