//! A GGUF file, mapped: candle reads its header, and its tensors are ranges of the mapping.

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor, bail};
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A mapped GGUF file.
pub struct ModelFile {
    map: Arc<memmap2::Mmap>,
    /// What candle read of it.
    pub content: Content,
}

/// Where a matrix lies in the file.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its bytes.
    pub range: Range<usize>,
    /// candle's name of the format.
    pub dtype: GgmlDType,
    /// Outputs and inputs.
    pub shape: (usize, usize),
}

impl ModelFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or candle does not take it for a GGUF file.
    pub fn open(path: &Path) -> Result<ModelFile> {
        let named = |e: candle_core::Error| e.context(format!("{}", path.display()));
        let file = std::fs::File::open(path).map_err(|e| named(e.into()))?;
        // SAFETY: the bytes are only read, as plain numbers of which every value is allowed. Whoever shortens the file while it
        // is in use gets a signal; that is the price of every mapping.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| named(e.into()))?;
        let content = Content::read(&mut Cursor::new(&map[..])).map_err(named)?;
        Ok(ModelFile { map: Arc::new(map), content })
    }

    /// The mapping, to be kept as long as a view of it.
    pub fn map(&self) -> Arc<memmap2::Mmap> {
        self.map.clone()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// Where the matrix `name` lies.
    ///
    /// # Errors
    /// When there is none, it has not two dimensions, or the file ends before it does.
    pub fn place(&self, name: &str) -> Result<Place> {
        let Some(info) = self.content.tensor_infos.get(name) else { bail!("the file has no tensor {name}") };
        let (dtype, block) = (info.ggml_dtype, info.ggml_dtype.block_size());
        let [rows, cols] = *info.shape.dims() else { bail!("{name} is no matrix: {:?}", info.shape) };
        if !cols.is_multiple_of(block) {
            bail!("{name}: {cols} columns are not a whole number of {dtype:?} blocks");
        }
        let bytes = (cols / block).checked_mul(dtype.type_size()).and_then(|row| row.checked_mul(rows));
        let start = self.content.tensor_data_offset.checked_add(info.offset).and_then(|s| s.try_into().ok());
        let range =
            bytes.zip(start).and_then(|(n, start): (usize, usize)| Some(start..start.checked_add(n)?));
        match range.filter(|range| range.end <= self.map.len()) {
            Some(range) => Ok(Place { range, dtype, shape: (rows, cols) }),
            None => bail!("the file ends before {name} does; fetch it again"),
        }
    }

    /// The tensor `name` as candle has it: a copy.
    ///
    /// # Errors
    /// As candle's.
    pub fn qtensor(&self, name: &str) -> Result<QTensor> {
        self.content.tensor(&mut Cursor::new(&self.map[..]), name, &Device::Cpu)
    }

    /// The tensor `name` as f32, a copy: for norms and biases.
    ///
    /// # Errors
    /// As candle's.
    pub fn floats(&self, name: &str) -> Result<Tensor> {
        self.qtensor(name)?.dequantize(&Device::Cpu)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    /// An unsigned number that must be there.
    ///
    /// # Errors
    /// When it is not, or is something else.
    pub fn number(&self, key: &str) -> Result<usize> {
        match self.get(key) {
            Some(value) => Ok(value.to_u32()? as usize),
            None => bail!("the file has no key {key}"),
        }
    }
}
