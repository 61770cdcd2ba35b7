//! One layer: kinglet's product is candle's, as far as quantizing the activations allows, and bad input is an error.

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor};
use kinglet_candle::{Engine, KingletLinear, Pool, QUANTIZED, Weights};
use std::sync::Arc;

const FLOATS: [GgmlDType; 3] = [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16];

/// Values that look random, in -1 … 1.
fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor(shape: (usize, usize), seed: u32) -> Result<Tensor> {
    Tensor::from_vec(values(shape.0 * shape.1, seed), shape, &Device::Cpu)
}

fn weights(dtype: GgmlDType, shape: (usize, usize)) -> Result<(QTensor, Weights)> {
    let quantized = QTensor::quantize(&tensor(shape, 1)?, dtype)?;
    let bytes = quantized.data()?.into_owned();
    Ok((quantized, Arc::new(bytes)))
}

fn layer(
    engine: &Arc<Engine>,
    bytes: &Weights,
    dtype: GgmlDType,
    shape: (usize, usize),
    bias: Option<Vec<f32>>,
) -> Result<KingletLinear> {
    let len = (**bytes).as_ref().len();
    KingletLinear::new(engine.clone(), bytes.clone(), 0..len, dtype, shape, bias)
}

/// How far a product may be from that of the dequantized weights. Activations are rounded to a 127th of the largest of
/// `block` values, by half a step at most, so a result is off by the sum of the weights' sizes times that; sums of floats round besides.
fn bounds(w: &[f32], x: &[f32], cols: usize, block: usize, quantized: bool) -> Vec<f32> {
    let mut out = Vec::new();
    for x in x.chunks(cols) {
        for w in w.chunks(cols) {
            let pairs = w.chunks(block).zip(x.chunks(block));
            out.push(pairs.fold(0.0, |sum, (w, x)| {
                let most = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                let size: f32 = w.iter().map(|w| w.abs()).sum();
                sum + size * most * (if quantized { 1.0 / 254.0 } else { 0.0 } + 1e-5)
            }));
        }
    }
    out
}

#[test]
fn the_product_is_that_of_the_dequantized_weights_and_candles() -> Result<()> {
    let shape = (100, 512);
    let bias = values(shape.0, 3);
    for dtype in FLOATS.into_iter().chain(QUANTIZED) {
        let (quantized, bytes) = weights(dtype, shape)?;
        let w = quantized.dequantize(&Device::Cpu)?;
        let is_quantized = !matches!(dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16);
        let candle = QMatMul::from_qtensor(quantized)?;
        for columns in [1, 2, 5, 33] {
            let x = tensor((columns, shape.1), 2)?;
            let b = Tensor::new(&bias[..], &Device::Cpu)?;
            let exact = x.matmul(&w.t()?)?.broadcast_add(&b)?.flatten_all()?.to_vec1::<f32>()?;
            let theirs = candle.forward(&x)?.broadcast_add(&b)?.flatten_all()?.to_vec1::<f32>()?;
            let (wv, xv) = (w.flatten_all()?.to_vec1::<f32>()?, x.flatten_all()?.to_vec1::<f32>()?);
            let ours_within = bounds(&wv, &xv, shape.1, 32, is_quantized);
            // candle quantizes activations by 32 or 256, and rounds their scales to f16 in some formats.
            let theirs_within = bounds(&wv, &xv, shape.1, 256, is_quantized);
            let mut bits: Option<Vec<u32>> = None;
            for (pool, threads) in [(Pool::Rayon, 1), (Pool::Rayon, 3), (Pool::Candle, 2)] {
                let engine = Engine::new(pool, threads)?;
                let ours = layer(&engine, &bytes, dtype, shape, Some(bias.clone()))?;
                let y = x.apply_op1_no_bwd(&ours)?;
                assert_eq!(y.dims(), [columns, shape.0]);
                let y = y.flatten_all()?.to_vec1::<f32>()?;
                for i in 0..y.len() {
                    let (off, most) = ((y[i] - exact[i]).abs(), ours_within[i]);
                    assert!(
                        off <= most,
                        "{dtype:?} x {columns}: value {i} is off by {off}, more than {most}"
                    );
                    let (off, most) = ((y[i] - theirs[i]).abs(), most + 1.2 * theirs_within[i]);
                    assert!(
                        off <= most,
                        "{dtype:?} x {columns}: value {i} is {off} from candle's, over {most}"
                    );
                }
                let now: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
                assert_eq!(*bits.get_or_insert(now.clone()), now, "{dtype:?}, {threads} threads of {pool:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn other_dimensions_and_a_part_of_a_tensor() -> Result<()> {
    let (shape, dtype) = ((64, 256), GgmlDType::Q4K);
    let (_, bytes) = weights(dtype, shape)?;
    let engine = Engine::new(Pool::Rayon, 2)?;
    let ours = layer(&engine, &bytes, dtype, shape, None)?;
    let x = tensor((6, 256), 5)?;
    let flat = x.apply_op1_no_bwd(&ours)?;
    let deep = x.reshape((1, 3, 2, 256))?.apply_op1_no_bwd(&ours)?;
    assert_eq!(deep.dims(), [1, 3, 2, 64]);
    assert_eq!(deep.reshape((6, 64))?.to_vec2::<f32>()?, flat.to_vec2::<f32>()?);
    // Columns 4 and 5: a layout that begins elsewhere.
    let part = x.narrow(0, 4, 2)?.apply_op1_no_bwd(&ours)?.to_vec2::<f32>()?;
    assert_eq!(part, flat.narrow(0, 4, 2)?.to_vec2::<f32>()?);
    assert_eq!(x.narrow(0, 0, 0)?.apply_op1_no_bwd(&ours)?.dims(), [0, 64]);
    Ok(())
}

#[test]
fn bad_input_is_an_error_that_names_it() -> Result<()> {
    let (shape, dtype) = ((64, 256), GgmlDType::Q4_0);
    let (_, bytes) = weights(dtype, shape)?;
    let engine = Engine::new(Pool::Rayon, 1)?;
    let refused = |what: Result<KingletLinear>, text: &str| {
        let error = what.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(text), "`{error}` does not say `{text}`");
    };
    refused(layer(&engine, &bytes, GgmlDType::Q8_1, shape, None), "Q8_1");
    refused(layer(&engine, &bytes, GgmlDType::Q8K, shape, None), "Q8K");
    refused(layer(&engine, &bytes, GgmlDType::Q4_1, shape, None), "Q4_1");
    refused(layer(&engine, &bytes, dtype, (65, 256), None), "65 x 256");
    refused(layer(&engine, &bytes, dtype, (64, 250), None), "250");
    refused(layer(&engine, &bytes, dtype, (64, 0), None), "0");
    refused(layer(&engine, &bytes, dtype, shape, Some(vec![0.0; 63])), "a bias of 63");
    let outside = KingletLinear::new(engine.clone(), bytes.clone(), 10..1 << 40, dtype, shape, None);
    refused(outside, "weights at");

    let ours = layer(&engine, &bytes, dtype, shape, None)?;
    let refused = |x: Tensor, text: &str| {
        let error = x.apply_op1_no_bwd(&ours).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(text), "`{error}` does not say `{text}`");
    };
    refused(tensor((2, 128), 1)?, "256 inputs");
    refused(Tensor::new(1.0f32, &Device::Cpu)?, "256 inputs");
    refused(tensor((256, 4), 1)?.t()?, "contiguous");
    refused(tensor((2, 256), 1)?.to_dtype(DType::F16)?, "to_dtype");
    Ok(())
}

#[test]
fn an_error_of_one_part_is_returned() {
    for pool in [Pool::Rayon, Pool::Candle] {
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let count = |i: usize| {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if i == 7 { Err(i) } else { Ok(()) }
        };
        assert_eq!(pool.for_each((0..20).collect(), count), Err(7), "{pool:?}");
        seen.store(0, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(pool.for_each((8..28).collect(), count), Ok(()), "{pool:?}");
        assert_eq!(seen.into_inner(), 20, "{pool:?}");
    }
}
