//! A model file that another process shortens while it is mapped. The process that reads it dies, so this test runs
//! itself a second time as that process.

mod support;
use kinglet::gguf::{Gguf, truncation};
use support::{Folder, Writer, own_program};

const VARIABLE: &str = "KINGLET_TEST_TRUNCATED_MODEL";

/// A tensor of 4 MiB, so that its end lies many pages of any size beyond the start.
fn model() -> Vec<u8> {
    let mut w = Writer::header(3, 1, 0);
    w.tensor("big", &[1 << 20], 0, 0);
    w.finish(4 << 20, 1)
}

#[test]
fn a_file_that_shrinks_is_named_and_not_a_bare_sigbus() {
    if let Ok(path) = std::env::var(VARIABLE) {
        return shrink_and_read(&path);
    }
    let folder = Folder::new("truncated");
    let path = folder.write("shrinking.gguf", &model());
    let name = "a_file_that_shrinks_is_named_and_not_a_bare_sigbus";
    let child = own_program(&std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VARIABLE, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(3), "{said}");
    assert!(said.contains("shrinking.gguf: the file became shorter while it was in use"), "{said}");
    assert!(!said.contains("not shortened"), "{said}");
}

/// In the child: a thread other than the main one reads, as the decoder's threads do.
fn shrink_and_read(path: &str) {
    truncation::install_handler(3);
    let other = Gguf::open(std::path::Path::new(path)).unwrap();
    drop(other);
    let model = Gguf::open(std::path::Path::new(path)).unwrap();
    let data = model.data(&model.tensors()[0]);
    assert_eq!(data.last(), Some(&1));
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
    let sum: u64 = data.iter().map(|b| u64::from(*b)).sum();
    eprintln!("not shortened: {sum}");
    std::process::exit(0);
}
