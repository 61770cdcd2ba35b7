//! kinglet's own suites: files that list benchmarks ([`mod@file`]), and the code behind each layer.

pub mod end_to_end;
pub mod file;
pub mod kernels;
pub mod layer;
pub mod memory;
pub mod operations;

use crate::record::{Layer, Spec, Unit, Work};
use crate::suite::{Entry, Run, Suite};
use file::{ModelSize, SuiteFile};
use kinglet_kernels::{Format, Tier};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A suite of kinglet.
#[derive(Debug)]
pub struct KingletSuite {
    file: SuiteFile,
    benchmarks: Vec<(Entry, Recipe)>,
}

/// How a benchmark is made.
#[derive(Debug, Clone)]
enum Recipe {
    Product { tier: Tier, format: Format, shape: (usize, usize), op: kernels::Op },
    Operation { tier: Tier, size: ModelSize, part: String, kind: String, op: operations::Op },
    Whole(end_to_end::Case),
}

impl KingletSuite {
    /// The benchmarks of a file; `model` is what the layer of whole models runs.
    ///
    /// # Errors
    /// In one line that names the entry which makes no sense, or says that a model is needed.
    pub fn new(file: SuiteFile, model: Option<PathBuf>) -> Result<KingletSuite, String> {
        let mut suite = KingletSuite { benchmarks: Vec::new(), file };
        let (kernels, operations) = (suite.file.kernels.clone(), suite.file.operations.clone());
        for grid in &kernels {
            suite.add_kernels(grid)?;
        }
        for grid in &operations {
            suite.add_operations(grid)?;
        }
        if !suite.file.end_to_end.is_empty() {
            let model = model
                .ok_or_else(|| format!("suite `{}` needs a model: add --model FILE", suite.file.name))?;
            for whole in suite.file.end_to_end.clone() {
                suite.add_whole(&whole, &model)?;
            }
        }
        let mut seen = BTreeSet::new();
        if let Some((twice, _)) = suite.benchmarks.iter().find(|b| !seen.insert(b.0.spec.name.clone())) {
            return Err(format!("{} is listed twice", twice.spec.name));
        }
        Ok(suite)
    }

    /// A suite by name or path.
    ///
    /// # Errors
    /// As [`SuiteFile::find`] and [`KingletSuite::new`].
    pub fn find(name: &str, model: Option<PathBuf>) -> Result<KingletSuite, String> {
        KingletSuite::new(SuiteFile::find(name)?, model)
    }

    fn push(
        &mut self,
        name: String,
        layer: Layer,
        unit: Unit,
        work: Work,
        skip: Option<String>,
        recipe: Recipe,
    ) {
        let expected = name.rsplit_once('.').and_then(|n| self.file.checksums.get(n.0).cloned());
        let spec = Spec { name, layer, unit, work, expected };
        self.benchmarks.push((Entry { spec, skip }, recipe));
    }

    fn add_kernels(&mut self, grid: &file::Grid) -> Result<(), String> {
        let size = ModelSize::find(&grid.model)?;
        let ops: Vec<kernels::Op> = grid.ops.iter().map(|o| o.parse()).collect::<Result<_, _>>()?;
        for part in &grid.parts {
            let shape @ (rows, cols) = size.tensor(part)?;
            for format in file::formats(&grid.formats)? {
                let kind = format.name().to_lowercase();
                let row = format.row_bytes(cols).ok_or_else(|| {
                    format!("{}.{part}: {cols} columns are no whole blocks of {kind}", grid.model)
                })?;
                for (op, name) in ops.iter().zip(&grid.ops) {
                    for tier in file::tiers(&grid.tiers)? {
                        let work = Work {
                            bytes: (rows * row) as u64,
                            multiply_adds: (rows * cols * op.n) as u64,
                            tokens: op.n as u64,
                        };
                        let name = format!("{}.{part}.{kind}.{name}.{tier}", grid.model);
                        let recipe = Recipe::Product { tier, format, shape, op: *op };
                        let skip = tier.check().err().map(|e| e.to_string());
                        self.push(name, Layer::Kernel, Unit::Ns, work, skip, recipe);
                    }
                }
            }
        }
        Ok(())
    }

    fn add_operations(&mut self, grid: &file::Grid) -> Result<(), String> {
        let size = ModelSize::find(&grid.model)?;
        for part in &grid.parts {
            if !operations::PARTS.contains(&part.as_str()) {
                return Err(format!("no operation `{part}`; there are {}", operations::PARTS.join(", ")));
            }
            for kind in &grid.formats {
                for name in &grid.ops {
                    let op: operations::Op = name.parse()?;
                    for tier in file::tiers(&grid.tiers)? {
                        let work = operations::work(size, part, kind, op);
                        let name = format!("{}.{part}.{kind}.{name}.{tier}", grid.model);
                        let (part, kind) = (part.clone(), kind.clone());
                        let recipe = Recipe::Operation { tier, size, part, kind, op };
                        let skip = tier.check().err().map(|e| e.to_string());
                        self.push(name, Layer::Operation, Unit::Ns, work, skip, recipe);
                    }
                }
            }
        }
        Ok(())
    }

    fn add_whole(&mut self, whole: &file::Whole, model: &std::path::Path) -> Result<(), String> {
        let tier = Tier::choose().map_err(|e| e.to_string())?;
        let stem = model.file_stem().map(|s| s.to_string_lossy().to_lowercase()).unwrap_or_default();
        let stem: String = stem.chars().map(|c| if c.is_whitespace() { '-' } else { c }).collect();
        let all = kinglet::machine::Cpus::detect().threads_batch();
        for name in &whole.measures {
            let measure: end_to_end::Measure = name.parse()?;
            for kv in &whole.kv {
                operations::kv_type(kv)?;
                for t in &whole.threads {
                    let threads = match t.as_str() {
                        "all" => all,
                        t => t.parse().ok().filter(|t| (1..=1024).contains(t)).ok_or_else(|| {
                            format!("`{t}` is no number of threads; write \"all\" or a number up to 1024")
                        })?,
                    };
                    let name = format!("{stem}.{name}.{kv}.t{threads}.{tier}");
                    if self.benchmarks.iter().any(|b| b.0.spec.name == name) {
                        // One core: `all` and 1 are the same.
                        continue;
                    }
                    let (path, kv) = (model.to_owned(), kv.clone());
                    let recipe = Recipe::Whole(end_to_end::Case { path, tier, kv, threads, measure });
                    self.push(
                        name,
                        Layer::EndToEnd,
                        measure.unit(),
                        measure.work(),
                        measure.missing(),
                        recipe,
                    );
                }
            }
        }
        Ok(())
    }
}

impl Suite for KingletSuite {
    fn name(&self) -> &str {
        &self.file.name
    }

    fn list(&self) -> Vec<Entry> {
        self.benchmarks.iter().map(|b| b.0.clone()).collect()
    }

    fn prepare(&mut self, name: &str) -> Result<Box<dyn Run>, String> {
        let found = self.benchmarks.iter().find(|b| b.0.spec.name == name);
        let (entry, recipe) =
            found.ok_or_else(|| format!("suite `{}` has no benchmark `{name}`", self.file.name))?;
        if let Some(why) = &entry.skip {
            return Err(why.clone());
        }
        Ok(match recipe.clone() {
            Recipe::Product { tier, format, shape, op } => {
                Box::new(kernels::Product::new(tier, format, shape, op)?)
            }
            Recipe::Operation { tier, size, part, kind, op } => {
                operations::prepare(tier, size, &part, &kind, op)?
            }
            Recipe::Whole(case) => Box::new(end_to_end::Whole::new(case)?),
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
