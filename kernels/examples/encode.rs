//! Rows of f32 from standard input, little-endian, become rows of a format on standard output.
//!
//! ```text
//! cargo run --release -p kinglet-kernels --example encode -- Q4_K 4096 <rows.f32 >rows.q4_k
//! ```
//! `bench/peers/quantize.py` compares the error of each format with llama.cpp's by it.

use kinglet_kernels::Format;
use kinglet_kernels::format::encode_row;
use std::error::Error;
use std::io::{Read, Write, stdin, stdout};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [format, cols] = &args[..] else { return Err("usage: encode FORMAT COLUMNS <f32 >blocks".into()) };
    let format = Format::ALL.iter().find(|f| f.name().eq_ignore_ascii_case(format));
    let format = *format.ok_or("no such format")?;
    let cols: usize = cols.parse()?;
    let mut bytes = Vec::new();
    stdin().lock().read_to_end(&mut bytes)?;
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let mut out = vec![0; format.row_bytes(cols).ok_or("a row is not a whole number of blocks")?];
    let mut stdout = stdout().lock();
    for row in values.chunks(cols.max(1)) {
        encode_row(format, row, &mut out)?;
        stdout.write_all(&out)?;
    }
    Ok(())
}
