//! `docs/kernels.md` is what the list of kernels says. `KINGLET_WRITE_DOCS=1` writes it anew.

use kinglet_kernels::list::{self, Kernel, Op, Operand};
use kinglet_kernels::{Format, Tier};
use std::fmt::Write;
use std::path::Path;

fn page() -> String {
    let mut out = String::from(
        "# Kernels\n\n\
         Generated from `kinglet_kernels::list` by `KINGLET_WRITE_DOCS=1 cargo test --release -p kinglet-kernels --test list_page`; the same as\n\
         `kinglet cpu --kernels --json`. A test compares the list with the tables that calls go through.\n\n\
         A kernel's name is `OPERAND.OP.TIER`, such as `q4_k.gemv.avx2`, `rms_norm.neon` or `kv_f16.attention_page.avx512_vnni`.\n\n\
         ## Products of quantized weights\n\n\
         `gemv` takes up to so many columns at once, `gemm` all from there on; a tile is rows x columns of the result in registers. All formats of\n\
         a tier share its tiles. Activations have layout `a8x32.1`.\n\n\
         | tier | CPU features | gemv | gemm | own kernels for |\n|---|---|---|---|---|\n",
    );
    let quantized: Vec<&Format> = Format::ALL.iter().filter(|f| !f.is_float()).collect();
    for tier in Tier::ALL {
        let own = |op| list::of(*tier).filter(move |k| k.op == op && is_quantized(k) && k.tier == *tier);
        let tile = |op| {
            let mut tiles: Vec<String> =
                own(op).filter_map(|k| k.tile).map(|t| format!("{} x {}", t.rows, t.columns)).collect();
            tiles.dedup();
            tiles.join(", ")
        };
        let formats: Vec<String> = own(Op::Gemv).map(|k| operand(&k)).collect();
        let formats = if formats.len() == quantized.len() { "all".to_owned() } else { formats.join(", ") };
        let requires = tier.requires().join(", ");
        writeln!(out, "| `{tier}` | {requires} | {} | {} | {formats} |", tile(Op::Gemv), tile(Op::Gemm))
            .unwrap();
    }
    let names: Vec<String> = quantized.iter().map(|f| f.to_string()).collect();
    writeln!(out, "\nThe {} quantized formats: {}.\n", names.len(), names.join(", ")).unwrap();
    out += "## Everything else\n\nWhose code each tier runs.\n\n| operation | layout |";
    Tier::ALL.iter().for_each(|t| write!(out, " {t} |").unwrap());
    out += "\n|---|---|";
    out += &"---|".repeat(Tier::ALL.len());
    out += "\n";
    let columns: Vec<Vec<Kernel>> =
        Tier::ALL.iter().map(|t| list::of(*t).filter(|k| !is_quantized(k)).collect()).collect();
    for (i, kernel) in columns[0].iter().enumerate() {
        let prefix = if operand(kernel).is_empty() { String::new() } else { operand(kernel) + "." };
        write!(out, "| {prefix}{} | `{}` |", kernel.op, kernel.layout()).unwrap();
        for column in &columns {
            let tile = column[i].tile.map_or(String::new(), |t| format!(" ({} x {})", t.rows, t.columns));
            write!(out, " {}{tile} |", column[i].tier).unwrap();
        }
        out += "\n";
    }
    out += "\n`dequantize_row` of every format is portable code on every tier.\n\n\
            ## Layouts\n\n\
            | id | what |\n|---|---|\n\
            | `a8x32.1` | quantized activations: `q: [n][k]` i8, `d: [n][k / 32]` f32, `sums: [n][k / 16]` i16 (contract section 1) |\n\
            | `kv_f32.1`, `kv_f16.1`, `kv_q8_0.1` | a page of 512 keys and values of a KV cache (`float/kv.rs`) |\n\
            | `partial.1` | unfinished attention: maxima, sums, outputs padded to 16 |\n\
            | `f32` | rows of f32 |\n\n\
            Weights are GGUF's own blocks in place and need no identity of ours.\n";
    out
}

fn is_quantized(k: &Kernel) -> bool {
    match k.operand {
        Operand::Weights(format) => !format.is_float() || k.op == Op::DequantizeRow,
        _ => false,
    }
}

fn operand(k: &Kernel) -> String {
    let name = k.to_string();
    name.split_once(&format!("{}.", k.op))
        .map_or(String::new(), |(operand, _)| operand.trim_end_matches('.').to_owned())
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kernels.md");
    let page = page();
    if std::env::var_os("KINGLET_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "kernels/docs/kernels.md is stale: run this test with KINGLET_WRITE_DOCS=1\n{page}"
    );
}
