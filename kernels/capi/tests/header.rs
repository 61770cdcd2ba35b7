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
    let sources = ["lib", "attention", "handle", "list", "matmul", "rows", "status"];
    let builder = sources.iter().fold(cbindgen::Builder::new().with_config(config), |builder, source| {
        builder.with_src(dir.join(format!("src/{source}.rs")))
    });
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let header = String::from_utf8(made).unwrap();
    check("include/kinglet.h", &header);

    // Every function begins a word that is followed by a bracket, after its type.
    let declared = header.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '('));
    let mut symbols: Vec<&str> =
        declared.filter_map(|word| word.split_once('(')).map(|(name, _)| name).collect();
    let comments = |name: &&str| {
        header.lines().any(|l| !l.trim_start().starts_with(['*', '/']) && l.contains(&format!("{name}(")))
    };
    symbols.retain(|name| name.starts_with("kinglet_"));
    symbols.retain(comments);
    symbols.sort_unstable();
    symbols.dedup();
    // Functions that are exported and not declared, or the other way round, would be seen here.
    let exported: usize = sources
        .iter()
        .map(|s| {
            std::fs::read_to_string(dir.join(format!("src/{s}.rs")))
                .unwrap()
                .matches("#[unsafe(no_mangle)]")
                .count()
        })
        .sum();
    assert_eq!(symbols.len(), exported, "{symbols:?}");
    check("symbols.txt", &(symbols.join("\n") + "\n"));
}
