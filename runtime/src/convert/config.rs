//! `config.json` and the other JSON files of a checkpoint, with errors that name the file and the key.

use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// No JSON file of a checkpoint is longer, in bytes.
const MAX_JSON: u64 = 512 << 20;
/// A size beyond this is a mistake, not a model; products of any two fit in 64 bits.
const MAX_SIZE: u64 = 1 << 28;

/// A file of at most `max` bytes.
pub(super) fn read_bytes(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let fail = |what: String| format!("{}: {what}", path.display());
    // Looked at before it is opened: opening a pipe would wait for someone to write to it.
    if !path.metadata().map_err(|e| fail(e.to_string()))?.is_file() {
        return Err(fail("it is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > max {
        return Err(fail(format!("longer than {} MiB", max >> 20)));
    }
    Ok(bytes)
}

/// A JSON object.
pub(super) fn read_json(path: &Path) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(&read_bytes(path, MAX_JSON)?)
        .map_err(|e| format!("{}: not JSON: {e}", path.display()))?;
    if value.is_object() { Ok(value) } else { Err(format!("{}: not a JSON object", path.display())) }
}

/// A JSON object, if the file is there.
pub(super) fn read_json_if_there(path: &Path) -> Result<Option<Value>, String> {
    path.exists().then(|| read_json(path)).transpose()
}

/// `config.json`. Families call the same thing by different names, so getters take several; `null` counts as absent.
#[derive(Debug, Clone)]
pub(super) struct Config {
    file: String,
    root: Value,
}

/// How positions are rotated.
#[derive(Debug)]
pub(super) struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// `default`, `linear`, `llama3`, `yarn`, `longrope`…
    pub kind: String,
    /// Parameters of the kind.
    pub parameters: Config,
}

impl Config {
    pub(super) fn open(path: &Path) -> Result<Config, String> {
        if path.parent().is_some_and(|dir| !dir.is_dir()) {
            let dir = path.parent().unwrap_or(path).display();
            return Err(format!("{dir}: no such folder; give the folder of a Hugging Face checkpoint"));
        }
        Ok(Config { file: path.display().to_string(), root: read_json(path)? })
    }

    /// An object that has been read already.
    pub(super) fn of(path: &Path, root: Value) -> Config {
        Config { file: path.display().to_string(), root }
    }

    pub(super) fn fail<T>(&self, what: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("{}: {what}", self.file))
    }

    fn map(&self) -> Option<&Map<String, Value>> {
        self.root.as_object()
    }

    /// The first of `names` that is there.
    pub(super) fn get<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &Value)> {
        let map = self.map()?;
        names.iter().find_map(|n| Some((*n, map.get(*n).filter(|v| !v.is_null())?)))
    }

    fn typed<T>(
        &self,
        names: &[&str],
        want: &str,
        f: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.get(names) {
            None => Ok(None),
            Some((name, value)) => match f(value) {
                Some(x) => Ok(Some(x)),
                None => self.fail(format_args!("key `{name}` is not {want}")),
            },
        }
    }

    pub(super) fn need<T>(&self, names: &[&str], value: Option<T>) -> Result<T, String> {
        match value {
            Some(value) => Ok(value),
            None => self.fail(format_args!("key `{}` is missing", names.first().unwrap_or(&""))),
        }
    }

    pub(super) fn opt_size(&self, names: &[&str]) -> Result<Option<usize>, String> {
        self.typed(names, "a size from 1 to 2^28", size)
    }

    pub(super) fn size(&self, names: &[&str]) -> Result<usize, String> {
        self.need(names, self.opt_size(names)?)
    }

    /// A number that may be 0, which is also what stands for none.
    pub(super) fn opt_count(&self, names: &[&str]) -> Result<u64, String> {
        Ok(self.typed(names, "a number from 0", Value::as_u64)?.unwrap_or(0))
    }

    pub(super) fn opt_sizes(&self, names: &[&str]) -> Result<Option<Vec<usize>>, String> {
        self.typed(names, "an array of sizes from 1 to 2^28", |v| v.as_array()?.iter().map(size).collect())
    }

    pub(super) fn opt_floats(&self, names: &[&str]) -> Result<Option<Vec<f32>>, String> {
        self.typed(names, "an array of numbers", |v| {
            v.as_array()?.iter().map(|x| x.as_f64().map(|x| x as f32)).collect()
        })
    }

    pub(super) fn opt_float(&self, names: &[&str]) -> Result<Option<f64>, String> {
        self.typed(names, "a number", Value::as_f64)
    }

    pub(super) fn float(&self, names: &[&str]) -> Result<f64, String> {
        self.need(names, self.opt_float(names)?)
    }

    pub(super) fn opt_bool(&self, names: &[&str]) -> Result<Option<bool>, String> {
        self.typed(names, "true or false", Value::as_bool)
    }

    pub(super) fn opt_text(&self, names: &[&str]) -> Result<Option<&str>, String> {
        match self.get(names) {
            None => Ok(None),
            Some((_, Value::String(s))) => Ok(Some(s)),
            Some((name, _)) => self.fail(format_args!("key `{name}` is not a string")),
        }
    }

    pub(super) fn opt_texts(&self, names: &[&str]) -> Result<Option<Vec<String>>, String> {
        self.typed(names, "an array of strings", |v| {
            v.as_array()?.iter().map(|x| x.as_str().map(str::to_owned)).collect()
        })
    }

    /// An object within.
    pub(super) fn inner(&self, names: &[&str]) -> Result<Option<Config>, String> {
        let inner = self.typed(names, "an object", |v| v.is_object().then(|| v.clone()))?;
        Ok(inner.map(|root| Config { file: self.file.clone(), root }))
    }

    /// This with what it lacks taken from `other`.
    pub(super) fn or(mut self, other: &Config) -> Config {
        if let (Some(mine), Some(theirs)) = (self.root.as_object_mut(), other.map()) {
            for (key, value) in theirs {
                mine.entry(key).or_insert_with(|| value.clone());
            }
        }
        self
    }

    /// The rotary embedding: `rope_parameters` of transformers 5 (which has one for each type of layer where they differ), or
    /// `rope_theta` and `rope_scaling` of before.
    pub(super) fn rope(&self, layer_type: &str, theta_names: &[&str], default: f64) -> Result<Rope, String> {
        let parameters = match self.inner(&["rope_parameters"])? {
            Some(all) => match all.inner(&[layer_type])? {
                Some(one) => Some(one),
                None => Some(all),
            },
            None => self.inner(&["rope_scaling"])?,
        };
        let empty = || Config { file: self.file.clone(), root: Value::Object(Map::new()) };
        let parameters = parameters.unwrap_or_else(empty);
        let theta = match parameters.opt_float(&["rope_theta"])? {
            Some(theta) => theta,
            None => self.opt_float(theta_names)?.unwrap_or(default),
        };
        let kind = parameters.opt_text(&["rope_type", "type"])?.unwrap_or("default").to_owned();
        Ok(Rope { theta, kind, parameters })
    }

    /// Which part of each head is rotated.
    pub(super) fn rotary_part(&self, names: &[&str]) -> Result<Option<f64>, String> {
        let inner = self.inner(&["rope_parameters"])?;
        let part = inner.map(|p| p.opt_float(&["partial_rotary_factor"])).transpose()?.flatten();
        match part {
            Some(part) => Ok(Some(part)),
            None => self.opt_float(names),
        }
    }
}

fn size(v: &Value) -> Option<usize> {
    v.as_u64().filter(|n| (1..=MAX_SIZE).contains(n)).map(|n| n as usize)
}
