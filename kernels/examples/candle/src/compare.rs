//! `--compare`: one model by candle's products and by kinglet's, taking turns.

use crate::{Args, Text, best, greedy};
use candle_core::Result;
use kinglet_candle::{CandleLinear, Engine, KingletLinear, Linear, Model, ModelFile};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Tokens that are read together while logits are compared: all of their logits are in memory.
const PIECE: usize = 64;

pub fn compare(
    args: &Args,
    file: &ModelFile,
    text: &Text,
    prompt: &[u32],
    engine: &Arc<Engine>,
) -> Result<ExitCode> {
    let start = Instant::now();
    let mut candle = Model::<CandleLinear>::load(&(), file)?;
    let candle_load = start.elapsed();
    let start = Instant::now();
    let mut kinglet = Model::<KingletLinear>::load(engine, file)?;
    let kinglet_load = start.elapsed();
    println!("candle {}, kinglet {}, {} threads", candle_version(), engine.kernels().tier(), args.threads);
    println!(
        "loaded in {candle_load:.0?} by candle, which copies the weights, and {kinglet_load:.0?} by kinglet"
    );

    let theirs = answer(&mut candle, args, text, prompt)?;
    let ours = answer(&mut kinglet, args, text, prompt)?;
    println!("\ncandle   {:?}\nkinglet  {:?}", text.decode(&theirs)?, text.decode(&ours)?);
    let same = theirs.iter().zip(&ours).take_while(|(a, b)| a == b).count();
    println!("the same for {same} of {} tokens", theirs.len().max(ours.len()));

    let ids: Vec<u32> = prompt.iter().chain(&theirs).copied().collect();
    let apart = distance(&mut candle, &mut kinglet, &ids)?;
    println!(
        "logits after {} tokens, candle's text for both: {:.4} of the largest apart at most, {:.4} on average (rms); same best token {} times",
        ids.len(),
        apart.most,
        apart.rms,
        apart.same
    );

    if args.repetitions > 0 {
        speed(args, &mut candle, &mut kinglet)?;
    }
    match args.within {
        Some(within) if apart.most > within || apart.most.is_nan() => {
            println!("the logits are further apart than {within}");
            Ok(ExitCode::FAILURE)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn candle_version() -> &'static str {
    let after = include_str!("../Cargo.lock").split("name = \"candle-core\"\nversion = \"").nth(1);
    after.and_then(|text| text.split('"').next()).unwrap_or("?")
}

fn answer<L: Linear>(model: &mut Model<L>, args: &Args, text: &Text, prompt: &[u32]) -> Result<Vec<u32>> {
    let mut out = Vec::new();
    greedy(model, prompt, args.n, text.eos, |id| {
        out.push(id);
        Ok(())
    })?;
    Ok(out)
}

/// How far apart two models' logits are, as shares of the largest logit of each token.
struct Distance {
    most: f32,
    rms: f32,
    /// Tokens after which both have the same most likely one.
    same: usize,
}

fn distance(
    candle: &mut Model<CandleLinear>,
    kinglet: &mut Model<KingletLinear>,
    ids: &[u32],
) -> Result<Distance> {
    let (mut most, mut squares, mut same) = (0.0f32, 0.0f64, 0);
    for (i, piece) in ids.chunks(PIECE).enumerate() {
        let theirs = candle.logits(piece, i * PIECE, true)?.to_vec2::<f32>()?;
        let ours = kinglet.logits(piece, i * PIECE, true)?.to_vec2::<f32>()?;
        for (theirs, ours) in theirs.iter().zip(&ours) {
            let largest = theirs.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (a, b) in theirs.iter().zip(ours) {
                let off = (a - b).abs() / largest;
                // A NaN stays.
                most = if off <= most { most } else { off };
                squares += f64::from(off * off) / theirs.len() as f64;
            }
            same += usize::from(best(theirs) == best(ours));
        }
    }
    Ok(Distance { most, rms: (squares / ids.len() as f64).sqrt() as f32, same })
}

/// A repetition: seconds, and those of them in products.
type Sample = (f64, f64);

fn timed<L: Linear>(model: &mut Model<L>, run: impl FnOnce(&mut Model<L>) -> Result<()>) -> Result<Sample> {
    model.take_products();
    let start = Instant::now();
    run(model)?;
    Ok((start.elapsed().as_secs_f64(), model.take_products().as_secs_f64()))
}

/// As llama-bench has it: `pp` tokens in one piece, then `tg` tokens one by one, each from an empty context.
fn sample<L: Linear>(args: &Args, model: &mut Model<L>) -> Result<[Sample; 2]> {
    let token = |i: usize| (i * 7919 % model.vocab()) as u32;
    let prompt: Vec<u32> = (0..args.pp).map(token).collect();
    let answer: Vec<u32> = (0..args.tg).map(token).collect();
    let pp = timed(model, |model| model.logits(&prompt, 0, false).map(|_| ()))?;
    let tg = timed(model, |model| {
        answer.iter().enumerate().try_for_each(|(i, id)| model.logits(&[*id], i, false).map(|_| ()))
    })?;
    Ok([pp, tg])
}

/// The middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

fn speed(args: &Args, candle: &mut Model<CandleLinear>, kinglet: &mut Model<KingletLinear>) -> Result<()> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for i in 0..args.repetitions {
        // Who is first changes, so that a machine that gets slower does so for both.
        if i % 2 == 0 {
            theirs.push(sample(args, candle)?);
            ours.push(sample(args, kinglet)?);
        } else {
            ours.push(sample(args, kinglet)?);
            theirs.push(sample(args, candle)?);
        }
    }
    println!(
        "\n{} repetitions in turns, medians; tokens per second, and milliseconds in matrix products",
        args.repetitions
    );
    println!(
        "\n| | candle | kinglet | ratio | products: candle | kinglet | ratio |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    for (test, (name, tokens)) in [("pp", args.pp), ("tg", args.tg)].into_iter().enumerate() {
        let middle = |samples: &[[Sample; 2]], pick: fn(Sample) -> f64| {
            median(samples.iter().map(|sample| pick(sample[test])))
        };
        let (a, b) = (middle(&theirs, |s| s.0), middle(&ours, |s| s.0));
        let (pa, pb) = (middle(&theirs, |s| s.1), middle(&ours, |s| s.1));
        let rate = |seconds: f64| tokens as f64 / seconds;
        println!(
            "| {name}{tokens} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {:.2} |",
            rate(a),
            rate(b),
            a / b,
            1e3 * pa,
            1e3 * pb,
            pa / pb
        );
    }
    Ok(())
}
