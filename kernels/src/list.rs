//! The list of kernels: every operation, format and tier, whose code runs, its register tile and the layouts it reads.
//!
//! It is the same in every build, also for tiers of other architectures, so documentation and tests can be driven by it. A
//! test compares it with the tables that calls go through: nothing is listed and missing, or there and not listed.

use crate::float::table::float_kernels;
use crate::table::Table;
use crate::{Format, Kernels, KvType, Tier};
use std::fmt;

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// [`Kernels::matmul`] or [`Kernels::matmul_float`] with few columns: bound by memory.
    Gemv,
    /// The same with many columns: bound by arithmetic.
    Gemm,
    /// [`Kernels::quantize`]
    Quantize,
    /// [`Kernels::dequantize_row`]
    DequantizeRow,
    /// [`Kernels::rms_norm`]
    RmsNorm,
    /// [`Kernels::layer_norm`]
    LayerNorm,
    /// [`Kernels::rope_interleaved`]
    RopeInterleaved,
    /// [`Kernels::rope_half_split`]
    RopeHalfSplit,
    /// [`Kernels::activate`]
    Activate,
    /// [`Kernels::activate_mul`]
    ActivateMul,
    /// [`Kernels::exp`]
    Exp,
    /// [`Kernels::tanh`]
    Tanh,
    /// [`Kernels::erf`]
    Erf,
    /// [`Kernels::add`]
    Add,
    /// [`Kernels::add_scaled`]
    AddScaled,
    /// [`Kernels::scale`]
    Scale,
    /// [`Kernels::softcap`]
    Softcap,
    /// [`Kernels::softmax`]
    Softmax,
    /// [`Kernels::store_kv`]
    StoreKv,
    /// [`Kernels::attention_page`]
    AttentionPage,
    /// [`Kernels::attention_fold`]
    AttentionFold,
    /// [`Kernels::attention_finish`]
    AttentionFinish,
}

impl Op {
    /// Every operation.
    #[rustfmt::skip]
    pub const ALL: &'static [Op] = &[
        Op::Gemv, Op::Gemm, Op::Quantize, Op::DequantizeRow, Op::RmsNorm, Op::LayerNorm, Op::RopeInterleaved,
        Op::RopeHalfSplit, Op::Activate, Op::ActivateMul, Op::Exp, Op::Tanh, Op::Erf, Op::Add, Op::AddScaled, Op::Scale,
        Op::Softcap, Op::Softmax, Op::StoreKv, Op::AttentionPage, Op::AttentionFold, Op::AttentionFinish,
    ];

    /// The name used in names of kernels, logs and benches.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Gemv => "gemv",
            Op::Gemm => "gemm",
            Op::Quantize => "quantize",
            Op::DequantizeRow => "dequantize_row",
            Op::RmsNorm => "rms_norm",
            Op::LayerNorm => "layer_norm",
            Op::RopeInterleaved => "rope_interleaved",
            Op::RopeHalfSplit => "rope_half_split",
            Op::Activate => "activate",
            Op::ActivateMul => "activate_mul",
            Op::Exp => "exp",
            Op::Tanh => "tanh",
            Op::Erf => "erf",
            Op::Add => "add",
            Op::AddScaled => "add_scaled",
            Op::Scale => "scale",
            Op::Softcap => "softcap",
            Op::Softmax => "softmax",
            Op::StoreKv => "store_kv",
            Op::AttentionPage => "attention_page",
            Op::AttentionFold => "attention_fold",
            Op::AttentionFinish => "attention_finish",
        }
    }

    /// The operation of this name.
    pub fn from_name(name: &str) -> Option<Op> {
        Op::ALL.iter().copied().find(|op| op.name() == name)
    }

    /// What the operation has a kernel for each of.
    const fn operands(self) -> &'static [Operand] {
        const FORMATS: [Operand; Format::ALL.len()] = {
            let mut all = [Operand::Floats; Format::ALL.len()];
            let mut i = 0;
            while i < all.len() {
                all[i] = Operand::Weights(Format::ALL[i]);
                i += 1;
            }
            all
        };
        const CACHES: [Operand; 3] =
            [Operand::Cache(KvType::F32), Operand::Cache(KvType::F16), Operand::Cache(KvType::Q8_0)];
        match self {
            Op::Gemv | Op::Gemm | Op::DequantizeRow => &FORMATS,
            Op::StoreKv | Op::AttentionPage => &CACHES,
            _ => &[Operand::Floats],
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a kernel reads beside rows of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// Nothing.
    Floats,
    /// Weights of a format, as GGUF blocks in place.
    Weights(Format),
    /// A page of a KV cache.
    Cache(KvType),
}

/// A register tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows of weights, or query rows.
    pub rows: usize,
    /// Columns of activations, or keys. For a GEMV, the most that it takes.
    pub columns: usize,
}

pub(crate) const fn tile(rows: usize, columns: usize) -> Option<Tile> {
    Some(Tile { rows, columns })
}

/// One kernel. Its [`fmt::Display`] is its name, such as `q4_k.gemv.avx2`, `rms_norm.neon` or `kv_f16.attention_page.avx512_vnni`:
/// the same in logs, benches, reports and test failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    /// The operation.
    pub op: Op,
    /// What it reads.
    pub operand: Operand,
    /// The tier whose code it is: that of the [`Kernels`], or one that it takes the kernel from.
    pub tier: Tier,
    /// Its register tile, if it has one.
    pub tile: Option<Tile>,
}

impl Kernel {
    /// The identity of the layout, beside GGUF's own blocks and rows of f32, in which the kernel expects or leaves data. It
    /// changes when the layout does.
    ///
    /// - `a8x32.1`: activations as in [`crate::QuantizedRows`].
    /// - `kv_f32.1`, `kv_f16.1`, `kv_q8_0.1`: pages of [`crate::KvLayout`].
    /// - `partial.1`: [`crate::Partial`].
    pub fn layout(&self) -> &'static str {
        match (self.op, self.operand) {
            (Op::Gemv | Op::Gemm, Operand::Weights(f)) if !f.is_float() => "a8x32.1",
            (Op::Quantize, _) => "a8x32.1",
            (_, Operand::Cache(KvType::F32)) => "kv_f32.1",
            (_, Operand::Cache(KvType::F16)) => "kv_f16.1",
            (_, Operand::Cache(KvType::Q8_0)) => "kv_q8_0.1",
            (Op::AttentionFold | Op::AttentionFinish, _) => "partial.1",
            _ => "f32",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operand {
            Operand::Weights(format) => {
                format.name().chars().try_for_each(|c| write!(f, "{}", c.to_ascii_lowercase()))?;
                f.write_str(".")?;
            }
            Operand::Cache(KvType::F32) => f.write_str("kv_f32.")?,
            Operand::Cache(KvType::F16) => f.write_str("kv_f16.")?,
            Operand::Cache(KvType::Q8_0) => f.write_str("kv_q8_0.")?,
            Operand::Floats => {}
        }
        write!(f, "{}.{}", self.op, self.tier)
    }
}

/// Whose code the tier runs for `op` on `operand`.
const fn owner(tier: Tier, op: Op, operand: Operand) -> Tier {
    match (op, operand) {
        // Portable: weights are dequantized off the hot path, for embeddings.
        (Op::DequantizeRow, _) => Tier::Scalar,
        // Tile registers are for many columns.
        (Op::Gemv, Operand::Weights(format)) if !format.is_float() && matches!(tier, Tier::AmxInt8) => {
            Tier::Avx512Vnni
        }
        (Op::Gemv | Op::Gemm, Operand::Weights(format)) if !format.is_float() => tier,
        (Op::Quantize, _) => match tier {
            Tier::AvxVnni | Tier::Avx512Vnni | Tier::AmxInt8 => Tier::Avx2,
            Tier::DotProd | Tier::I8mm => Tier::Neon,
            own => own,
        },
        _ => match tier {
            Tier::AvxVnni => Tier::Avx2,
            Tier::AmxInt8 => Tier::Avx512Vnni,
            Tier::DotProd | Tier::I8mm => Tier::Neon,
            own => own,
        },
    }
}

/// The tile of the kernel that is `tier`'s own.
const fn tile_of(tier: Tier, op: Op, operand: Operand) -> Option<Tile> {
    let float = matches!(operand, Operand::Weights(f) if f.is_float());
    match (op, tier) {
        (Op::Gemv, _) if float => tile(4, 1),
        (Op::Gemm, _) if float => tile(2, 3),
        (Op::Gemv, Tier::Scalar) => tile(1, 1),
        (Op::Gemm, Tier::Scalar) => tile(1, 32),
        (Op::Gemv, Tier::Avx2 | Tier::AvxVnni) => tile(8, 8),
        (Op::Gemm, Tier::Avx2 | Tier::AvxVnni) => tile(16, 4),
        (Op::Gemv, Tier::Avx512Vnni | Tier::AmxInt8) => tile(16, 8),
        (Op::Gemm, Tier::Avx512Vnni) => tile(32, 6),
        (Op::Gemm, Tier::AmxInt8) => tile(16, 16),
        (Op::Gemv, Tier::Neon | Tier::DotProd | Tier::I8mm) => tile(4, 2),
        (Op::Gemm, Tier::Neon) => tile(4, 8),
        (Op::Gemm, Tier::DotProd | Tier::I8mm) => tile(8, 4),
        (Op::AttentionPage, _) => match tier {
            Tier::Scalar => tile(1, 16),
            Tier::Avx2 | Tier::AvxVnni => tile(6, 16),
            Tier::Avx512Vnni | Tier::AmxInt8 => tile(12, 16),
            Tier::Neon | Tier::DotProd | Tier::I8mm => tile(4, 16),
        },
        _ => None,
    }
}

/// The kernels that `tier` runs, in a fixed order: one for each operation and operand.
///
/// ```
/// use kinglet_kernels::{Tier, list};
/// let names: Vec<String> = list::of(Tier::Avx2).map(|kernel| kernel.to_string()).collect();
/// assert!(names.contains(&"q4_k.gemv.avx2".to_owned()));
/// ```
pub fn of(tier: Tier) -> impl Iterator<Item = Kernel> {
    Op::ALL
        .iter()
        .flat_map(|op| op.operands().iter().map(move |operand| (*op, *operand)))
        .map(move |(op, operand)| kernel(tier, op, operand))
}

/// The tier whose list has what `tier` runs for so many columns: tile registers are not used for a few.
#[cfg(target_arch = "x86_64")]
fn for_columns(tier: Tier, op: Op, operand: Operand, columns: usize) -> Tier {
    match (tier, op, operand) {
        (Tier::AmxInt8, Op::Gemm, Operand::Weights(format))
            if columns < crate::x86_64::amx::fewest_columns(format) =>
        {
            Tier::Avx512Vnni
        }
        _ => tier,
    }
}
#[cfg(not(target_arch = "x86_64"))]
fn for_columns(tier: Tier, _: Op, _: Operand, _: usize) -> Tier {
    tier
}

fn kernel(tier: Tier, op: Op, operand: Operand) -> Kernel {
    let tier = owner(tier, op, operand);
    Kernel { op, operand, tier, tile: tile_of(tier, op, operand) }
}

impl Kernels {
    /// Which kernel runs for `op` on `operand`; `None` when the operation has no such operand. Of [`Op::Gemv`] and [`Op::Gemm`] the
    /// one that runs for `columns` columns is returned, whichever was asked for.
    ///
    /// ```
    /// use kinglet_kernels::{Format, Kernels, Tier};
    /// use kinglet_kernels::list::{Op, Operand};
    /// let k = Kernels::with_tier(Tier::Scalar)?;
    /// let kernel = k.kernel_for(Op::Gemm, Operand::Weights(Format::Q4_K), 1);
    /// assert_eq!(kernel.map(|k| k.to_string()).as_deref(), Some("q4_k.gemv.scalar"));
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    pub fn kernel_for(&self, op: Op, operand: Operand, columns: usize) -> Option<Kernel> {
        let op = match op {
            Op::Gemv | Op::Gemm => {
                let most = kernel(self.tier(), Op::Gemv, operand).tile.map_or(1, |t| t.columns);
                if columns <= most { Op::Gemv } else { Op::Gemm }
            }
            op => op,
        };
        op.operands()
            .contains(&operand)
            .then(|| kernel(for_columns(self.tier(), op, operand, columns), op, operand))
    }

    /// All kernels of this tier: [`of`].
    pub fn kernels(&self) -> impl Iterator<Item = Kernel> {
        of(self.tier())
    }
}

macro_rules! names {
    (() $($(#[$doc:meta])* $name:ident: $module:ident($($arg:ident: $ty:ty),*);)*) => {
        /// The fields of the table of float kernels.
        #[cfg(test)]
        const FLOAT_KERNELS: &[&str] = &[$(stringify!($name)),*];
    };
}
float_kernels!(names!());

/// Calls `wrong` for each kernel of this architecture that is not in the tables as it is listed, or is said to be a tier's own and
/// is an earlier one's; the number of GEMV and GEMM kernels that tiers have themselves. For `tests/list.rs`: unit tests of this crate do
/// without the tables, because all kernels would be compiled once more for them.
#[doc(hidden)]
pub fn compare_with_tables(mut wrong: impl FnMut(Kernel)) -> usize {
    let mut own = 0;
    let tables = || Tier::ALL.iter().filter_map(|t| Some((*t, Table::of(*t)?)));
    for (tier, table) in tables() {
        for listed in of(tier) {
            let owner = Table::of(listed.tier);
            let of_owner = |same: fn(&Table, &Table) -> bool| {
                let mut earlier = tables().take_while(|(other, _)| *other < listed.tier);
                owner.is_some_and(|o| same(o, table)) && earlier.all(|(_, e)| !same(e, table))
            };
            let right = match (listed.op, listed.operand) {
                (op @ (Op::Gemv | Op::Gemm), Operand::Weights(format)) if !format.is_float() => {
                    let have = (table.matmul)(format);
                    let tile = have.and_then(|have| if op == Op::Gemv { have.gemv } else { have.gemm });
                    own += usize::from(tile.is_some());
                    (listed.tier == tier) == tile.is_some() && tile.is_none_or(|_| listed.tile == tile)
                }
                // No table has it: there is one for all.
                (Op::DequantizeRow, _) => listed.tier == Tier::Scalar,
                (Op::Quantize, _) => of_owner(|a, b| core::ptr::fn_addr_eq(a.quantize, b.quantize)),
                _ => of_owner(|a, b| a.float.equals(b.float)),
            };
            if !right {
                wrong(listed);
            }
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_float_table_is_an_operation() {
        for field in FLOAT_KERNELS.iter().filter(|field| **field != "matmul") {
            assert!(Op::from_name(field).is_some(), "{field} has no Op");
        }
        // Gemv, gemm, quantize and dequantize_row are not fields of their own.
        assert_eq!(Op::ALL.len() - 4, FLOAT_KERNELS.len() - 1);
    }
}
