//! The cache on disk.
//!
//! ```text
//! HOME/models/NAME.gguf                 finished models of the catalogue (`:` becomes `-`)
//! HOME/hf/OWNER/REPO/REVISION/FILE      finished files of a hub
//! …/FILE.part, …/FILE.part.json         a file that is arriving, and what it was when it began
//! HOME/partial/NAME/                    wheels of an interrupted pull
//! HOME/locks/…                          one file per model, locked while it is fetched or removed
//! ```
//!
//! A file under its final name is always whole: it is renamed there after it was checked and flushed.

use super::HubError;
use super::progress::Progress;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, HubError>;

/// The cache's folder: `KINGLET_HOME`, else `$XDG_CACHE_HOME/kinglet`, else `~/.cache/kinglet`.
///
/// # Errors
/// When none of the variables says where.
pub fn home() -> Result<PathBuf> {
    // An empty variable counts as unset, and the XDG specification says to ignore a relative path.
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(home) = variable("KINGLET_HOME") {
        return std::path::absolute(&home).map_err(|e| HubError::io("use", &home, &e));
    }
    if let Some(cache) = variable("XDG_CACHE_HOME").filter(|p| p.is_absolute()) {
        return Ok(cache.join("kinglet"));
    }
    let home = std::env::home_dir().filter(|p| p.is_absolute());
    let none = || HubError::cache("no home folder to keep models in; set KINGLET_HOME to a folder");
    home.map(|h| h.join(".cache").join("kinglet")).ok_or_else(none)
}

pub(super) fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| HubError::io("create", dir, &e))
}

/// `path` with `suffix` after its file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Held while a model is fetched or removed, so that two processes never write the same file.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a program that another thread is starting may hold a copy for a moment.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn lock_file(home: &Path, key: &str) -> Result<(PathBuf, File)> {
    let dir = home.join("locks");
    create_dir(&dir)?;
    let path = dir.join(format!("{}.lock", key.replace(['/', ':'], "-")));
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let file = file.map_err(|e| HubError::io("write", &path, &e))?;
    Ok((path, file))
}

impl Lock {
    /// Waits for another process that fetches the same model.
    pub(super) fn wait(home: &Path, key: &str, progress: &dyn Progress) -> Result<Lock> {
        let (path, file) = lock_file(home, key)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!("another kinglet is fetching {key}; waiting for it"));
                file.lock().map_err(|e| HubError::io("lock", &path, &e))?;
            }
            Err(TryLockError::Error(e)) => return Err(HubError::io("lock", &path, &e)),
        }
        Ok(Lock(file))
    }

    /// Fails when another process fetches the same model.
    pub(super) fn now(home: &Path, key: &str) -> Result<Lock> {
        let (path, file) = lock_file(home, key)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {
                Err(HubError::cache(format!("{key} is being fetched by another kinglet; stop it first")))
            }
            Err(TryLockError::Error(e)) => Err(HubError::io("lock", &path, &e)),
        }
    }
}

/// Flushes a checked `part` and gives it its final name.
pub(super) fn publish(file: &File, part: &Path, path: &Path) -> Result<()> {
    file.sync_all().map_err(|e| HubError::io("write", part, &e))?;
    fs::rename(part, path).map_err(|e| HubError::io("rename", part, &e))?;
    // The rename itself survives a power cut only once the folder is flushed; where folders cannot be opened or
    // flushed (some network disks), the name may be lost but never points to half a file.
    if let Some(dir) = path.parent().and_then(|d| File::open(d).ok()) {
        let _ = dir.sync_all();
    }
    Ok(())
}

pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file, lower-case hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let fail = |e: io::Error| HubError::io("read", path, &e);
    let mut file = File::open(path).map_err(fail)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(fail)?;
        if n == 0 {
            return Ok(hex(hasher));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
}

/// Removes a file or folder that may not be there; whether it was.
pub(super) fn remove(path: &Path) -> Result<bool> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(HubError::io("remove", path, &e)),
    }
}

/// Size of a file, or `None` when there is none.
pub(super) fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|m| m.len())
}
