//! The files of an original checkpoint, `OWNER/REPO[@REVISION]`: configuration, tokenizer and safetensors, fetched one after the
//! other as `hf:` files are, into one folder of the cache.

use super::cache::{self, Lock};
use super::hf::HfName;
use super::progress::Progress;
use super::{Hub, HubError, Result, http};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
/// Files of a tokenizer; no model has all of them.
const TOKENIZER: &[&str] = &[
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "added_tokens.json",
    "chat_template.jinja",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// No index is longer, in bytes.
const MAX_INDEX: u64 = 64 << 20;
/// Lists what belongs to a checkpoint once it is complete, so that nothing needs to be asked again.
const COMPLETE: &str = ".checkpoint.json";

/// What of a repository is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Everything that makes a model.
    All,
    /// The tokenizer alone.
    Tokenizer,
}

/// Whether `name` is written as a repository: `OWNER/REPO[@REVISION]`, with `hf:` before it or without.
pub fn is_repository(name: &str) -> bool {
    let name = name.strip_prefix("hf:").unwrap_or(name);
    !name.starts_with(['.', '/', '~'])
        && name.split('/').count() == 2
        && HfName::of_repository(name, CONFIG).is_ok()
}

impl Hub {
    /// The folder of a checkpoint, `OWNER/REPO[@REVISION]` with or without `hf:` before it, fetched when it is not in the cache.
    ///
    /// # Errors
    /// The name is no repository's, it has no safetensors, or its files cannot be fetched or stored.
    pub fn checkpoint(&self, name: &str, parts: Parts, progress: &dyn Progress) -> Result<PathBuf> {
        let name = name.strip_prefix("hf:").unwrap_or(name);
        let config = self.hf_path(&HfName::of_repository(name, CONFIG)?);
        let folder = config.parent().unwrap_or(&self.home).to_owned();
        if complete(&folder, parts) {
            return Ok(folder);
        }
        let _lock = Lock::wait(&self.home, &format!("hf:{name}"), progress)?;
        let mut have = BTreeSet::new();
        let fetch = |file: &str| -> Result<std::result::Result<(), HubError>> {
            let file = HfName::of_repository(name, file)?;
            http::fetch_if_there(self, &file, &self.hf_path(&file), progress)
        };
        if parts == Parts::All {
            fetch(CONFIG)??;
            have.insert(CONFIG.to_owned());
        }
        for file in TOKENIZER {
            if fetch(file)?.is_ok() {
                have.insert((*file).to_owned());
            }
        }
        if parts == Parts::Tokenizer {
            if !have.contains("tokenizer.json") && !have.contains("tokenizer.model") {
                return Err(HubError::fetch(format!(
                    "hf:{name}: it has no tokenizer.json and no tokenizer.model"
                )));
            }
        } else if fetch(WEIGHTS)?.is_ok() {
            have.insert(WEIGHTS.to_owned());
        } else if fetch(INDEX)?.is_ok() {
            have.insert(INDEX.to_owned());
            let index = folder.join(INDEX);
            let shards = match shards(&index) {
                Ok(shards) => shards,
                Err(e) => {
                    // Asked for anew the next time.
                    cache::remove(&index)?;
                    return Err(e);
                }
            };
            for shard in shards {
                fetch(&shard)??;
                have.insert(shard);
            }
        } else {
            return Err(HubError::fetch(format!(
                "hf:{name}: it has no {WEIGHTS} and no {INDEX}; weights in another form are not read: load the model with \
                 transformers and save it with `save_pretrained`, then give that folder"
            )));
        }
        let list = folder.join(COMPLETE);
        let text = json!({ "files": have, "all": parts == Parts::All }).to_string();
        fs::write(&list, text).map_err(|e| HubError::io("write", &list, &e))?;
        Ok(folder)
    }
}

impl Hub {
    /// Removes a checkpoint's files from the cache, also of an interrupted fetch; GGUF files of the same repository stay.
    pub(super) fn remove_checkpoint(&self, name: &str) -> Result<()> {
        let bare = name.strip_prefix("hf:").unwrap_or(name);
        let config = self.hf_path(&HfName::of_repository(bare, CONFIG)?);
        let folder = config.parent().unwrap_or(&self.home);
        let absent = || HubError::name(format!("hf:{bare} is not in the cache; there is nothing to remove"));
        let entries = fs::read_dir(folder).map_err(|_| absent())?;
        let _lock = Lock::now(&self.home, &format!("hf:{bare}"))?;
        let mut removed = false;
        for path in entries.flatten().map(|e| e.path()).filter(|p| p.is_file()) {
            let gguf = path.file_name().is_some_and(|n| n.to_string_lossy().contains(".gguf"));
            if !gguf {
                removed |= cache::remove(&path)?;
            }
        }
        super::prune(&config, &self.home.join("hf"));
        if removed { Ok(()) } else { Err(absent()) }
    }
}

/// Whether the folder has all that its list names, and that is what is wanted.
fn complete(folder: &Path, parts: Parts) -> bool {
    let Ok(text) = fs::read(folder.join(COMPLETE)) else { return false };
    let list: Value = serde_json::from_slice(&text).unwrap_or_default();
    let enough = parts == Parts::Tokenizer || list.get("all").and_then(Value::as_bool) == Some(true);
    let files = list.get("files").and_then(Value::as_array);
    let there = |f: &Value| f.as_str().is_some_and(|f| cache::size(&folder.join(f)).is_some());
    enough && files.is_some_and(|files| files.iter().all(there))
}

/// The shards that an index names, each once.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let fail = |what: &str| HubError::fetch(format!("{}: {what}", index.display()));
    if cache::size(index).is_none_or(|size| size > MAX_INDEX) {
        return Err(fail("the index is too long"));
    }
    let text = fs::read(index).map_err(|e| HubError::io("read", index, &e))?;
    let json: Value = serde_json::from_slice(&text).map_err(|_| fail("the index is not JSON"))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| fail("the index has no `weight_map`"))?;
    let name = |file: &Value| {
        let file = file.as_str()?;
        // Nothing but weights, and nothing in other folders.
        (file.ends_with(".safetensors") && !file.contains(['/', '\\'])).then(|| file.to_owned())
    };
    map.values()
        .map(name)
        .collect::<Option<_>>()
        .ok_or_else(|| fail("the index names something else than safetensors"))
}
