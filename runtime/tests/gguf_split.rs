//! Models in several files.

mod support;
use kinglet::gguf::Gguf;
use kinglet::gguf::split;
use support::{Folder, Writer};

/// File `number` (from 0) of `count`, with the tensors named, 64 bytes each, filled with the number.
fn shard(number: u32, count: u32, total: u32, tensors: &[&str]) -> Vec<u8> {
    let first = u64::from(number == 0);
    let mut w = Writer::header(3, tensors.len() as u64, 3 + first);
    if number == 0 {
        w.string("general.architecture").u32(8).string("llama");
    }
    w.key("split.no", number).key("split.count", count).key("split.tensors.count", total);
    for (i, name) in tensors.iter().enumerate() {
        w.tensor(name, &[16], 0, 64 * i as u64);
    }
    w.finish(64 * tensors.len(), number as u8 + 1)
}

fn name(number: u32) -> String {
    format!("m-{number:05}-of-00003.gguf")
}

fn write_good(folder: &Folder) {
    folder.write(&name(1), &shard(0, 3, 4, &["a", "b"]));
    folder.write(&name(2), &shard(1, 3, 4, &["c"]));
    folder.write(&name(3), &shard(2, 3, 4, &["d"]));
}

fn error(folder: &Folder, number: u32) -> String {
    Gguf::open(&folder.join(&name(number))).unwrap_err().to_string()
}

#[test]
fn the_first_file_brings_the_others() {
    let folder = Folder::new("split-good");
    write_good(&folder);
    let g = Gguf::open(&folder.join(&name(1))).unwrap();
    assert_eq!((g.n_files(), g.tensors().len()), (3, 4));
    for (name, shard) in [("a", 0), ("b", 0), ("c", 1), ("d", 2)] {
        let t = g.tensor(name).unwrap();
        assert_eq!((t.shard, g.data(t)), (shard, [shard as u8 + 1; 64].as_slice()), "{name}");
    }
    assert_eq!(g.string("general.architecture").unwrap(), Some("llama"));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = Folder::new("split-bad");
    write_good(&folder);
    let later = error(&folder, 2);
    assert!(
        later.contains("file 2 of 3") && later.contains("open the first, m-00001-of-00003.gguf"),
        "{later}"
    );

    std::fs::remove_file(folder.join(&name(3))).unwrap();
    let missing = error(&folder, 1);
    assert!(missing.contains("file 3 of 3 is missing") && missing.contains(&name(3)), "{missing}");

    folder.write(&name(3), &shard(2, 4, 4, &["d"]));
    assert!(error(&folder, 1).contains("does not belong to"));
    folder.write(&name(3), &shard(1, 3, 4, &["d"]));
    assert!(error(&folder, 1).contains("does not belong to"));
    folder.write(&name(3), &shard(2, 3, 4, &["a"]));
    assert!(error(&folder, 1).contains("tensor `a` is in an earlier file"));
    folder.write(&name(3), &shard(2, 3, 4, &["d", "e"]));
    let counted = error(&folder, 1);
    assert!(counted.contains("`split.tensors.count` is 4") && counted.contains("5 tensors"), "{counted}");
    folder.write(&name(3), &shard(2, 3, 4, &["d"])[..100]);
    assert!(error(&folder, 1).contains(&name(3)));

    folder.write(&name(1), &shard(0, 2, 4, &["a", "b"]));
    assert!(error(&folder, 1).contains("`split.count` is 2"));
    folder.write(&name(1), &shard(7, 3, 4, &["a", "b"]));
    assert!(error(&folder, 1).contains("`split.no` is 7"));
    folder.write(&name(1), &shard(1, 3, 4, &["a", "b"]));
    assert!(error(&folder, 1).contains("`split.no` is 1"));
    let renamed = folder.write("renamed.gguf", &shard(0, 3, 4, &["a", "b"]));
    assert!(Gguf::open(&renamed).unwrap_err().to_string().contains("not named like the first"));
    let huge = folder.write("renamed.gguf", &shard(0, u32::MAX, 4, &["a"]));
    assert!(Gguf::open(&huge).is_err());
    assert!(Gguf::from_bytes(shard(0, 3, 4, &["a"])).unwrap_err().to_string().contains("one of 3 files"));
}

#[test]
fn a_count_of_one_is_a_model_in_one_file() {
    let folder = Folder::new("split-one");
    let path = folder.write("one.gguf", &shard(0, 1, 1, &["a"]));
    assert_eq!(Gguf::open(&path).unwrap().n_files(), 1);
}

#[test]
fn names_are_parsed() {
    let s = split::parse("dir/a-b-00002-of-00010.gguf").unwrap();
    assert_eq!((s.stem.as_str(), s.number, s.count), ("dir/a-b", 2, 10));
    assert_eq!(s.name_of(10), "dir/a-b-00010-of-00010.gguf");
    for no in
        ["a.gguf", "a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-1-of-2.gguf", "a-00001-of-0000é.gguf"]
    {
        assert_eq!(split::parse(no), None, "{no}");
    }
}
