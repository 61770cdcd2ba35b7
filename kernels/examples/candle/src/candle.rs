//! The linear layer as candle has it.

use crate::{Linear, ModelFile};
use candle_core::quantized::QMatMul;
use candle_core::{Module, Result, Tensor};

/// candle's `QMatMul`, and a bias.
pub struct CandleLinear {
    product: QMatMul,
    bias: Option<Tensor>,
}

impl Linear for CandleLinear {
    type Context = ();

    fn load(_: &(), file: &ModelFile, name: &str) -> Result<CandleLinear> {
        let product = QMatMul::from_qtensor(file.qtensor(&format!("{name}.weight"))?)?;
        let bias = format!("{name}.bias");
        let bias = file.has(&bias).then(|| file.floats(&bias)).transpose()?;
        Ok(CandleLinear { product, bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.product.forward(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        self.product.embedding(ids)
    }
}
