//! `include/kinglet.h` is what cbindgen makes of the sources, and `symbols.txt` lists its functions. `KINGLET_WRITE_DOCS=1` writes both anew.

use std::path::Path;

fn check(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("KINGLET_WRITE_DOCS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "{name} is stale: run this test with KINGLET_WRITE_DOCS=1");
}

#[test]
fn the_header_and_the_list_of_symbols_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(dir.join("cbindgen.toml")).unwrap();
    // The root alone: cbindgen follows its modules, and would declare what it is given twice, twice.
    let builder = cbindgen::Builder::new().with_config(config).with_src(dir.join("src/lib.rs"));
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let header = String::from_utf8(made).unwrap();
    check("include/kinglet.h", &header);

    // Every function begins a word that is followed by a bracket, after its type.
    let code = header.lines().filter(|l| !l.trim_start().starts_with(['*', '/']));
    let words = code.flat_map(|l| l.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '(')));
    let mut symbols: Vec<&str> = words
        .filter_map(|word| word.split_once('('))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("kinglet_"))
        .collect();
    symbols.sort_unstable();
    let twice = symbols.windows(2).find(|pair| pair[0] == pair[1]);
    assert!(twice.is_none(), "{twice:?} is declared twice");

    // Functions that are exported and not declared, or the other way round, would be seen here.
    let sources = std::fs::read_dir(dir.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let exports = |path| std::fs::read_to_string(path).unwrap().matches("#[unsafe(no_mangle)]").count();
    let exported: usize = sources.map(exports).sum();
    assert_eq!(symbols.len(), exported, "{symbols:?}");
    check("symbols.txt", &(symbols.join("\n") + "\n"));
}
