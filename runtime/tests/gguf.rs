//! The GGUF reader on good files, bad files and thousands of mutated ones.

use kinglet::gguf::{Gguf, Value};

mod support;
use support::{Writer, small_model as good};

fn header(version: u32, tensors: u64, keys: u64) -> Writer {
    Writer::header(version, tensors, keys)
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
    assert!(error(b"GGUF\x03\0\0".to_vec()).contains("truncated"));
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
        error(w.finish(4096, 0))
    };
    assert!(tensor(&[64], 0, 7).contains("offset 7"));
    assert!(tensor(&[64], 0, 128).contains("overlap"));
    assert!(tensor(&[33], 2, 256).contains("whole number of Q4_0"));
    assert!(tensor(&[u64::MAX / 2, 2], 0, 256).contains("impossibly large"));
    assert!(tensor(&[0], 0, 256).contains("zero"));
    assert!(tensor(&[1, 1, 1, 1, 1], 0, 256).contains("5 dimensions"));
    assert!(tensor(&[1 << 40], 0, 256).contains("past the end"));
}

/// Every prefix of a good file is refused: none is read past its end, and none is taken for whole.
#[test]
fn every_truncation_is_an_error() {
    let good = good();
    for n in 0..good.len() {
        let what = error(good[..n].to_vec());
        assert!(!what.contains('\n') && what.len() < 400, "{n}: {what}");
    }
}

#[test]
fn the_alignment_is_checked_and_used() {
    let with = |kind: u32, bytes: &[u8], offset: u64| {
        let mut w = header(3, 2, 1);
        w.string("general.alignment").u32(kind).0.extend(bytes);
        w.tensor("a", &[16], 0, 0).tensor("b", &[16], 0, offset);
        w.finish(4096, 0)
    };
    for n in [0u32, 3, 48, 1 << 21, u32::MAX] {
        let what = error(with(4, &n.to_le_bytes(), 64));
        assert!(what.contains("`general.alignment`") && what.contains("power of two"), "{n}: {what}");
    }
    assert!(error(with(8, &0u64.to_le_bytes(), 64)).contains("`general.alignment`"));
    assert!(error(with(6, &32f32.to_le_bytes(), 64)).contains("`general.alignment`"));
    assert!(error(with(4, &128u32.to_le_bytes(), 64)).contains("offset 64 is not a multiple of 128"));
    let wide = Gguf::from_bytes(with(4, &128u32.to_le_bytes(), 128)).unwrap();
    assert!(wide.tensors().iter().all(|t| t.offset % 128 == 0 && wide.data(t).len() == 64));
    assert!(Gguf::from_bytes(with(4, &8u32.to_le_bytes(), 72)).is_ok());
}

#[test]
fn paths_that_are_no_model_are_named() {
    let folder = support::Folder::new("gguf-paths");
    let open = |path: &std::path::Path| Gguf::open(path).unwrap_err().to_string();
    let empty = folder.write("empty.gguf", b"");
    assert!(open(&empty).contains("empty.gguf: the file is empty"));
    assert!(open(&folder.join("")).contains("it is a folder"));
    assert!(open(&folder.join("absent.gguf")).contains("absent.gguf: cannot open"));
    let text = folder.write("page.gguf", b"<html>");
    assert!(open(&text).contains("page.gguf: not a GGUF file"));
    let pipe = std::path::Path::new("/dev/null");
    assert!(!pipe.exists() || open(pipe).contains("not a regular file"));
}

#[test]
fn an_unknown_tensor_type_is_kept_for_inspect() {
    let mut w = header(3, 1, 0);
    w.tensor("t", &[64], 777, 0);
    let g = Gguf::from_bytes(w.finish(64, 0)).unwrap();
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
