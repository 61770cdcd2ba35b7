//! What a GGUF will hold: its keys, and of which rows of the checkpoint each of its tensors is made.

use super::checkpoint::{Checkpoint, Entry};
use super::config::Config;
use super::writer::Value;
use std::collections::HashSet;

/// How the rows of a piece are taken from their tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As they are.
    Plain,
    /// Heads of this many rows, whose two halves are interleaved: from rotary pairs half a head apart to neighbours.
    Interleaved { head_dim: usize },
    /// Each head's query, key and value become all queries, all keys, all values.
    FusedHeads { heads: usize, head_dim: usize },
    /// Columns become rows: a layer that multiplies from the other side.
    Transposed,
}

/// Consecutive rows of a tensor of the GGUF.
#[derive(Debug, Clone)]
struct Piece {
    entry: Entry,
    /// First row in the checkpoint's tensor.
    first: usize,
    rows: usize,
    order: Order,
}

#[derive(Debug, Clone)]
enum Source {
    Values(Vec<f32>),
    Pieces(Vec<Piece>),
}

/// A tensor of the GGUF.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub name: String,
    /// As in PyTorch, the contiguous dimension last.
    pub shape: Vec<usize>,
    source: Source,
    /// Added to each value.
    add: f32,
}

impl Tensor {
    pub(super) fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    pub(super) fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    pub(super) fn len(&self) -> usize {
        self.rows() * self.cols()
    }

    /// Row `row` of [`Tensor::rows`]. Vectors have one row, whose values are the rows of their pieces.
    pub(super) fn read_row(&self, checkpoint: &Checkpoint, row: usize, out: &mut [f32]) {
        match &self.source {
            Source::Values(values) => {
                out.iter_mut().zip(values.iter().skip(row * self.cols())).for_each(|(o, v)| *o = *v);
            }
            Source::Pieces(pieces) if self.shape.len() == 1 => {
                let mut left = &mut *out;
                for piece in pieces {
                    let (mine, rest) = left.split_at_mut(piece.rows.min(left.len()));
                    match piece.order {
                        Order::Plain | Order::Transposed => {
                            checkpoint.read(&piece.entry, piece.first, 1, mine);
                        }
                        _ => mine.iter_mut().enumerate().for_each(|(i, value)| {
                            let from = piece.first + piece.order.from(i);
                            checkpoint.read(&piece.entry, from, 1, std::slice::from_mut(value));
                        }),
                    }
                    left = rest;
                }
            }
            Source::Pieces(pieces) => {
                let mut row = row;
                for piece in pieces {
                    if row < piece.rows {
                        let width = piece.entry.shape.last().copied().unwrap_or(0);
                        match piece.order {
                            Order::Transposed => checkpoint.read(&piece.entry, piece.first + row, width, out),
                            order => {
                                let from = piece.first + order.from(row);
                                checkpoint.read(&piece.entry, from * width, 1, out);
                            }
                        }
                        break;
                    }
                    row -= piece.rows;
                }
            }
        }
        if self.add != 0.0 {
            out.iter_mut().for_each(|v| *v += self.add);
        }
    }
}

impl Order {
    /// The checkpoint's row that becomes row `row`.
    fn from(self, row: usize) -> usize {
        match self {
            Order::Plain | Order::Transposed => row,
            Order::Interleaved { head_dim } => {
                let (head, at) = (row / head_dim, row % head_dim);
                head * head_dim + at % 2 * (head_dim / 2) + at / 2
            }
            Order::FusedHeads { heads, head_dim } => {
                let (part, head, at) = (row / (heads * head_dim), row / head_dim % heads, row % head_dim);
                (head * 3 + part) * head_dim + at
            }
        }
    }

    /// The number of rows of a whole tensor must be a multiple of this.
    fn unit(self) -> usize {
        match self {
            Order::Plain | Order::Transposed => 1,
            Order::Interleaved { head_dim } => head_dim,
            Order::FusedHeads { heads, head_dim } => 3 * heads * head_dim,
        }
    }
}

/// A plan in the making. Methods that name a tensor of the checkpoint fail when it is missing or has another shape than it must.
#[derive(Debug)]
pub(super) struct Plan<'c> {
    pub config: &'c Config,
    checkpoint: &'c Checkpoint,
    architecture: &'static str,
    pub keys: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
    used: HashSet<String>,
    /// Added to the weights of norms.
    pub norm_offset: f32,
}

type Result<T> = std::result::Result<T, String>;

impl<'c> Plan<'c> {
    pub(super) fn new(config: &'c Config, checkpoint: &'c Checkpoint, architecture: &'static str) -> Self {
        let (keys, tensors, used) = (Vec::new(), Vec::new(), HashSet::new());
        Plan { config, checkpoint, architecture, keys, tensors, used, norm_offset: 0.0 }
    }

    pub(super) fn into_parts(self) -> (Vec<(String, Value)>, Vec<Tensor>) {
        (self.keys, self.tensors)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.checkpoint.get(name).is_some()
    }

    /// What stands before `name` in the checkpoint's names.
    pub(super) fn prefix_of(&self, name: &str) -> Result<String> {
        let prefix =
            |n: &str| n.strip_suffix(name).filter(|p| p.is_empty() || p.ends_with('.')).map(str::to_owned);
        // `need` names what is missing.
        match self.checkpoint.names().find_map(prefix) {
            Some(prefix) => Ok(prefix),
            None => self.checkpoint.need(name).map(|_| String::new()),
        }
    }

    /// The shape of a tensor that must be there.
    pub(super) fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.checkpoint.need(name)?.shape)
    }

    // Keys.

    /// A key under its whole name.
    pub(super) fn key(&mut self, name: &str, value: Value) {
        self.keys.push((name.to_owned(), value));
    }

    /// A text under its whole name.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.key(name, Value::Text(value.to_owned()));
    }

    /// A key of the architecture.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.keys.push((format!("{}.{name}", self.architecture), value));
    }

    pub(super) fn number(&mut self, name: &str, value: usize) -> Result<()> {
        let value = u32::try_from(value).map_err(|_| format!("key `{name}` would be {value}, too large"))?;
        self.set(name, Value::U32(value));
        Ok(())
    }

    pub(super) fn float(&mut self, name: &str, value: f64) {
        self.set(name, Value::F32(value as f32));
    }

    // Tensors.

    /// A tensor of computed values.
    pub(super) fn values(&mut self, name: &str, values: Vec<f32>) {
        let (shape, source) = (vec![values.len()], Source::Values(values));
        self.tensors.push(Tensor { name: name.to_owned(), shape, source, add: 0.0 });
    }

    /// The tensor `from` as it is.
    pub(super) fn copy(&mut self, name: &str, from: &str) -> Result<()> {
        self.reorder(name, from, Order::Plain)
    }

    /// The tensor `from` in another order of rows.
    pub(super) fn reorder(&mut self, name: &str, from: &str, order: Order) -> Result<()> {
        let rows = self.rows_of(from, order)?;
        self.pieces(name, &[(from, 0, rows, order)])
    }

    /// Rows `first .. first + rows` of the tensor `from`.
    pub(super) fn part(&mut self, name: &str, from: &str, first: usize, rows: usize) -> Result<()> {
        self.pieces(name, &[(from, first, rows, Order::Plain)])
    }

    /// `NAME.weight`, and `NAME.bias` if the checkpoint has one.
    pub(super) fn linear(&mut self, name: &str, from: &str, order: Order) -> Result<()> {
        self.reorder(&format!("{name}.weight"), &format!("{from}.weight"), order)?;
        let bias = format!("{from}.bias");
        if self.has(&bias) { self.reorder(&format!("{name}.bias"), &bias, order) } else { Ok(()) }
    }

    /// [`Plan::linear`] of a norm.
    pub(super) fn norm(&mut self, name: &str, from: &str) -> Result<()> {
        self.linear(name, from, Order::Plain)?;
        let (weight, offset) = (format!("{name}.weight"), self.norm_offset);
        self.tensors.iter_mut().filter(|t| t.name == weight).for_each(|t| t.add = offset);
        Ok(())
    }

    /// The output matrix, unless it is the embedding.
    pub(super) fn output(&mut self, from: &str, tied: bool) -> Result<()> {
        if tied {
            // Some checkpoints hold the embedding a second time.
            self.used.insert(from.to_owned());
            return Ok(());
        }
        let bias = format!("{}.bias", from.trim_end_matches(".weight"));
        if self.has(&bias) {
            self.copy("output.bias", &bias)?;
        }
        self.copy("output.weight", from)
    }

    /// Vectors of several tensors as the rows of one matrix.
    pub(super) fn stack(&mut self, name: &str, from: &[String]) -> Result<()> {
        let cols = self.shape(from.first().map_or("", String::as_str))?.to_vec();
        let mut values = Vec::new();
        for tensor in from {
            let entry = self.checkpoint.need(tensor)?;
            if entry.shape != cols || cols.len() != 1 {
                return Err(format!("tensor `{tensor}` has the shape {:?}, not {cols:?}", entry.shape));
            }
            let mut row = vec![0.0; cols.iter().product()];
            self.checkpoint.read(entry, 0, 1, &mut row);
            values.extend(row);
            self.used.insert(tensor.clone());
        }
        let shape = [vec![from.len()], cols].concat();
        self.tensors.push(Tensor { name: name.to_owned(), shape, source: Source::Values(values), add: 0.0 });
        Ok(())
    }

    /// Rows of a tensor once they are in `order`.
    fn rows_of(&self, from: &str, order: Order) -> Result<usize> {
        let shape = self.shape(from)?;
        let at = if order == Order::Transposed { shape.len().saturating_sub(1) } else { 0 };
        Ok(shape.get(at).copied().unwrap_or(0))
    }

    fn pieces(&mut self, name: &str, parts: &[(&str, usize, usize, Order)]) -> Result<()> {
        let mut shape: Option<Vec<usize>> = None;
        let mut pieces = Vec::with_capacity(parts.len());
        for &(from, first, rows, order) in parts {
            let entry = self.checkpoint.need(from)?.clone();
            let fail = |what: String| Err(format!("tensor `{from}` has the shape {:?}, {what}", entry.shape));
            let mut rest = entry.shape.clone();
            if !(1..=2).contains(&rest.len()) || rest.contains(&0) {
                return fail("not that of a matrix or a vector".to_owned());
            }
            if order == Order::Transposed {
                rest.reverse();
            }
            let all = rest.remove(0);
            if first.checked_add(rows).is_none_or(|end| end > all) || rows == 0 {
                return fail(format!("where rows {first} to {} are needed", first.saturating_add(rows)));
            }
            let unit = order.unit();
            let exact = !matches!(order, Order::FusedHeads { .. }) || all == unit;
            if unit == 0 || !all.is_multiple_of(unit) || !exact {
                return fail(format!("which does not fit heads: {all} rows are not a multiple of {unit}"));
            }
            match &mut shape {
                None => shape = Some([vec![rows], rest].concat()),
                Some(s) if s.get(1..) == Some(&rest) => s[0] += rows,
                Some(s) => return fail(format!("which does not go with {s:?}")),
            }
            self.used.insert(from.to_owned());
            pieces.push(Piece { entry, first, rows, order });
        }
        let (name, shape) = (name.to_owned(), shape.unwrap_or_default());
        self.tensors.push(Tensor { name, shape, source: Source::Pieces(pieces), add: 0.0 });
        Ok(())
    }

    /// Tensors that end so may be left out.
    pub(super) fn ignore(&mut self, ends: &[&str]) {
        let names = self.checkpoint.names().filter(|n| ends.iter().any(|e| n.ends_with(e)));
        self.used.extend(names.map(str::to_owned));
    }

    /// # Errors
    /// When the checkpoint has a tensor that the family knows nothing of: without it the model would be another one.
    pub(super) fn check_all_used(&mut self) -> Result<()> {
        self.ignore(&["rotary_emb.inv_freq"]);
        match self.checkpoint.names().find(|n| !self.used.contains(*n)) {
            None => Ok(()),
            Some(name) => Err(format!(
                "tensor `{name}` has no place in the `{}` architecture; the checkpoint is not what its config.json says, or a variant that is not supported",
                self.architecture
            )),
        }
    }

    /// Rows of the embedding.
    pub(super) fn vocab_size(&self) -> Result<usize> {
        let embedding = self.tensors.iter().find(|t| t.name == "token_embd.weight");
        embedding.map(Tensor::rows).ok_or_else(|| "the embedding is missing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn orders_of_rows() {
        let of = |order: Order, n: usize| (0..n).map(|r| order.from(r)).collect::<Vec<_>>();
        assert_eq!(of(Order::Interleaved { head_dim: 4 }, 8), [0, 2, 1, 3, 4, 6, 5, 7]);
        // Two heads of one row: q0 k0 v0 q1 k1 v1.
        assert_eq!(of(Order::FusedHeads { heads: 2, head_dim: 1 }, 6), [0, 3, 1, 4, 2, 5]);
    }
}
