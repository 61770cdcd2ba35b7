//! `--formats`: one layer of each format by candle's product and by kinglet's, taking turns. A model's figure depends on
//! whether candle has hand-written code for the formats in its file; this table says for which.

use crate::Args;
use crate::compare::median;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Module, Result, Tensor};
use kinglet_candle::{Engine, KingletLinear, QUANTIZED, Weights};
use std::sync::Arc;
use std::time::Instant;

/// Outputs and inputs: whole super-blocks, which candle's fast kernels for K formats ask for.
const SHAPE: (usize, usize) = (2048, 2048);
const COLUMNS: [usize; 2] = [1, 128];

/// Microseconds of one call, of which so many are made that the clock does not matter.
fn microseconds(call: &dyn Fn() -> Result<Tensor>) -> Result<f64> {
    let (start, mut calls) = (Instant::now(), 0);
    while calls == 0 || start.elapsed().as_millis() < 10 {
        call()?;
        calls += 1;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(calls))
}

pub fn formats(args: &Args, engine: &Arc<Engine>) -> Result<()> {
    let (rows, cols) = SHAPE;
    println!(
        "{rows} x {cols} weights, {} threads, {} repetitions in turns, medians; microseconds of a product\n",
        args.threads, args.repetitions
    );
    println!("| | 1 column: candle | kinglet | ratio | 128 columns: candle | kinglet | ratio |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let values = Tensor::rand(-1.0f32, 1.0, SHAPE, &Device::Cpu)?;
    for dtype in QUANTIZED {
        let quantized = QTensor::quantize(&values, dtype)?;
        let bytes: Weights = Arc::new(quantized.data()?.into_owned());
        let len = (*bytes).as_ref().len();
        let kinglet = KingletLinear::new(engine.clone(), bytes, 0..len, dtype, SHAPE, None)?;
        let candle = QMatMul::from_qtensor(quantized)?;
        print!("| {dtype:?} |");
        for columns in COLUMNS {
            let x = Tensor::rand(-1.0f32, 1.0, (columns, cols), &Device::Cpu)?;
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            // What is made at the first use is not counted.
            candle.forward(&x)?;
            x.apply_op1_no_bwd(&kinglet)?;
            for _ in 0..args.repetitions.max(1) {
                theirs.push(microseconds(&|| candle.forward(&x))?);
                ours.push(microseconds(&|| x.apply_op1_no_bwd(&kinglet))?);
            }
            let (theirs, ours) = (median(theirs.into_iter()), median(ours.into_iter()));
            print!(" {theirs:.0} | {ours:.0} | {:.2} |", theirs / ours);
        }
        println!();
    }
    Ok(())
}
