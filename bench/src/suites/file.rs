//! Suites as data: TOML files that list what is measured, and the right answers.

use kinglet_kernels::{Format, Tier};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Files of suites that come with the program.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("gate", include_str!("../../suites/gate.toml")),
    ("kernels", include_str!("../../suites/kernels.toml")),
    ("operations", include_str!("../../suites/operations.toml")),
    ("end_to_end", include_str!("../../suites/end_to_end.toml")),
];
const MODELS: &str = include_str!("../../suites/models.toml");
const CHECKSUMS: &str = include_str!("../../suites/checksums.toml");

/// One suite.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteFile {
    /// Version of this file format: 1.
    pub schema: u32,
    /// Its name.
    pub name: String,
    /// Products.
    #[serde(default)]
    pub kernels: Vec<Grid>,
    /// All else.
    #[serde(default)]
    pub operations: Vec<Grid>,
    /// Whole models.
    #[serde(default)]
    pub end_to_end: Vec<Whole>,
    /// Right answers by name without the tier: all tiers give the same bits. Those of kinglet's own suites are in
    /// `suites/checksums.toml`.
    #[serde(default)]
    pub checksums: BTreeMap<String, String>,
}

/// Every combination of the lists.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// A model of `suites/models.toml`.
    pub model: String,
    /// Tensors or operations.
    pub parts: Vec<String>,
    /// Weight formats, or types of what an operation reads; `all` are all quantized formats.
    #[serde(alias = "types")]
    pub formats: Vec<String>,
    /// `gemv`, `gemm64`, `decode1024`.
    pub ops: Vec<String>,
    /// Tiers; `all` are those of this architecture.
    pub tiers: Vec<String>,
}

/// Every combination of the lists.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    /// `open`, `tg32_d4096`.
    pub measures: Vec<String>,
    /// Types of the KV cache.
    pub kv: Vec<String>,
    /// Numbers of threads; `all` are all allowed cores.
    pub threads: Vec<String>,
}

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSize {
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the feed-forward network.
    pub ffn_dim: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
}

impl ModelSize {
    /// The model with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(name: &str) -> Result<ModelSize, String> {
        let models: BTreeMap<String, ModelSize> =
            toml::from_str(MODELS).map_err(|e| format!("suites/models.toml: {}", one_line(&e)))?;
        let known = || models.keys().cloned().collect::<Vec<_>>().join(", ");
        models
            .get(name)
            .copied()
            .ok_or_else(|| format!("no model `{name}` in suites/models.toml; there are {}", known()))
    }

    /// Rows and columns of a tensor.
    ///
    /// # Errors
    /// When no tensor has this name.
    pub fn tensor(&self, part: &str) -> Result<(usize, usize), String> {
        let (q, kv) = (self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
        Ok(match part {
            "attn_q" => (q, self.dim),
            "attn_k" | "attn_v" => (kv, self.dim),
            "attn_output" => (self.dim, q),
            "ffn_gate" | "ffn_up" => (self.ffn_dim, self.dim),
            "ffn_down" => (self.dim, self.ffn_dim),
            "output" => (self.vocab_size, self.dim),
            other => {
                return Err(format!(
                    "no tensor `{other}`; there are attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down, output"
                ));
            }
        })
    }
}

impl SuiteFile {
    /// A suite by name, or of a file when `name` is a path.
    ///
    /// # Errors
    /// In one line that names the suite or the place in the file.
    pub fn find(name: &str) -> Result<SuiteFile, String> {
        if let Some((_, text)) = BUILT_IN.iter().find(|s| s.0 == name) {
            return SuiteFile::parse(text).map_err(|e| format!("suites/{name}.toml: {e}"));
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|e| e != "toml") {
            let known: Vec<&str> = BUILT_IN.iter().map(|s| s.0).collect();
            return Err(format!(
                "no suite `{name}`; there are {}, or a path of a .toml file",
                known.join(", ")
            ));
        }
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {name}: {e}"))?;
        SuiteFile::parse(&text).map_err(|e| format!("{name}: {e}"))
    }

    /// The suite of a file's text, with the built-in checksums below its own.
    ///
    /// # Errors
    /// In one line.
    pub fn parse(text: &str) -> Result<SuiteFile, String> {
        let mut suite: SuiteFile = toml::from_str(text).map_err(|e| one_line(&e))?;
        if suite.schema != 1 {
            return Err(format!(
                "schema {} of suites is not known to this kinglet-bench, which reads 1",
                suite.schema
            ));
        }
        if suite.name.is_empty() || suite.name.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(format!(
                "`{}` is no name: it names files and may not have blanks or slashes",
                suite.name
            ));
        }
        let built_in: BTreeMap<String, String> =
            toml::from_str(CHECKSUMS).map_err(|e| format!("suites/checksums.toml: {}", one_line(&e)))?;
        for (name, sum) in built_in {
            suite.checksums.entry(name).or_insert(sum);
        }
        Ok(suite)
    }
}

fn one_line(e: &toml::de::Error) -> String {
    let at = e.span().map(|s| format!(" at byte {}", s.start)).unwrap_or_default();
    format!("{}{at}", e.message().replace('\n', " "))
}

/// The formats that names stand for.
///
/// # Errors
/// Names the one that does not exist.
pub fn formats(names: &[String]) -> Result<Vec<Format>, String> {
    let mut formats = Vec::new();
    for name in names {
        if name == "all" {
            formats.extend(Format::ALL.iter().copied().filter(|f| !f.is_float()));
            continue;
        }
        let known = Format::ALL.iter().find(|f| f.name().eq_ignore_ascii_case(name));
        formats.push(*known.ok_or_else(|| format!("no format `{name}`"))?);
    }
    Ok(formats)
}

/// The tiers that names stand for: `all` are those of this architecture. Tiers of another architecture are left out.
///
/// # Errors
/// Names the one that does not exist.
pub fn tiers(names: &[String]) -> Result<Vec<Tier>, String> {
    let mut tiers = Vec::new();
    for name in names {
        if name == "all" {
            tiers.extend(Tier::ALL);
        } else {
            tiers.push(name.parse::<Tier>().map_err(|e| e.to_string())?);
        }
    }
    tiers.retain(|t| of_this_architecture(*t));
    Ok(tiers)
}

fn of_this_architecture(tier: Tier) -> bool {
    match tier {
        Tier::Scalar => true,
        Tier::Avx2 | Tier::AvxVnni | Tier::Avx512Vnni => cfg!(target_arch = "x86_64"),
        Tier::Neon | Tier::DotProd | Tier::I8mm => cfg!(target_arch = "aarch64"),
        // A tier that is newer than this file: whether it runs is for its own check.
        _ => true,
    }
}
