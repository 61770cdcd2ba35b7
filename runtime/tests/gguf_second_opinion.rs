//! Our reader beside `gguf-rs-lib`, which was written by others: the same keys, tensors and bytes from the same files.

use gguf_rs_lib::format::metadata::MetadataValue;
use gguf_rs_lib::reader::file_reader::open_gguf_file;
use kinglet::gguf::{Gguf, Value};
use std::path::Path;

#[test]
fn both_readers_see_the_same_files() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures");
    let mut files = 0;
    for case in std::fs::read_dir(fixtures).unwrap() {
        let path = case.unwrap().path().join("model.gguf");
        let ours = Gguf::open(&path).unwrap();
        let mut theirs = open_gguf_file(&path).unwrap();
        files += 1;

        let mut keys = 0;
        for (key, value) in ours.metadata() {
            keys += 1;
            let other = theirs.metadata().get(key).unwrap_or_else(|| panic!("{key} in {}", path.display()));
            match (value, other) {
                (Value::Uint(n), other) => assert_eq!(other.as_u64(), Some(n), "{key}"),
                (Value::Int(n), other) => assert_eq!(other.as_i64(), Some(n), "{key}"),
                (Value::Float(x), other) => assert_eq!(other.as_f64(), Some(x), "{key}"),
                (Value::Str(s), other) => assert_eq!(other.as_str(), Some(s), "{key}"),
                (Value::Bool(b), MetadataValue::Bool(c)) => assert_eq!(b, *c, "{key}"),
                (Value::Array(a), MetadataValue::Array(b)) => assert_eq!(a.len, b.len(), "{key}"),
                (value, other) => panic!("{key} is {value:?} here and {other:?} there"),
            }
        }
        assert_eq!(keys, theirs.metadata().len());

        assert_eq!(ours.tensors().len(), theirs.tensor_count());
        for t in ours.tensors() {
            let other = theirs.get_tensor_info(&t.name).unwrap();
            assert_eq!(
                (other.shape().dims(), other.tensor_type() as u32),
                (&t.shape[..], t.ggml_type),
                "{}",
                t.name
            );
            let data = theirs.load_tensor_data(&t.name).unwrap().unwrap();
            assert!(data.as_slice() == ours.data(t), "{} in {}", t.name, path.display());
        }
    }
    assert!(files > 5, "only {files} files were compared");
}
