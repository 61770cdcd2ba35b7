//! Files that are whole or not there.

use std::io::Write;
use std::path::Path;

/// Writes `text` to `path`: into a file beside it first, which then takes its name. Folders are made.
///
/// # Errors
/// In one line that names the file.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    let told = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = std::fs::File::create(&temporary)
        .and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        told(e)
    })
}
