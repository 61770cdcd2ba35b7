//! Input files of bounded size, and output files that are never seen half-written.

use super::CliError;
use crate::pieces::Pieces;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The longest text that a verb reads, in bytes.
const MAX_TEXT: u64 = 1 << 30;

/// The text in `path`.
pub(super) fn read_text(path: &Path) -> Result<String, CliError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|e| CliError::input(format!("{name}: {e}")))?;
    text_of(file, &name)
}

/// The text on standard input.
pub(super) fn read_stdin() -> Result<String, CliError> {
    text_of(io::stdin().lock(), "standard input")
}

fn text_of(from: impl Read, name: &str) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    from.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|e| CliError::input(format!("{name}: {e}")))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(CliError::input(format!("{name}: longer than {} MiB", MAX_TEXT >> 20)));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        CliError::input(format!("{name}: not UTF-8 text (byte {at} is the first that is wrong)"))
    })
}

/// A file that appears under its name only when it is complete.
pub(super) struct NewFile {
    path: PathBuf,
    /// Where it is until then; `None` for a pipe or a device, which is written to as it is.
    part: Option<PathBuf>,
    file: Pieces<File>,
    /// Dropped last, when nothing is left of the part.
    #[cfg(unix)]
    #[allow(dead_code, reason = "held while there is a part")]
    interruption: Option<interruption::Cleaner>,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<NewFile, CliError> {
        let failed = |e: io::Error| CliError::failure(format!("cannot write {}: {e}", path.display()));
        // Found here, and not when what took an hour is to get its name.
        if path.as_os_str().as_encoded_bytes().last().is_some_and(|b| std::path::is_separator(char::from(*b)))
        {
            let what =
                format!("cannot write {}: this names a folder; add the name of a file", path.display());
            return Err(CliError::failure(what));
        }
        let special = path.metadata().is_ok_and(|m| !m.is_file());
        let part = (!special).then(|| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.part", std::process::id()));
            path.with_file_name(name)
        });
        #[cfg(unix)]
        let interruption = part.as_deref().map(interruption::Cleaner::new);
        let file = match &part {
            Some(part) => File::create(part),
            None => File::options().write(true).open(path),
        };
        Ok(NewFile {
            path: path.to_owned(),
            file: Pieces::new(file.map_err(failed)?, 0),
            part,
            #[cfg(unix)]
            interruption,
        })
    }

    /// Looks at what has been written before it gets its name; not at a pipe's or a device's.
    pub(super) fn check(
        &mut self,
        check: impl FnOnce(&Path) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let failed = |e: io::Error| CliError::failure(format!("cannot write {}: {e}", self.path.display()));
        self.file.flush().map_err(failed)?;
        self.part.as_deref().map_or(Ok(()), check)
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let done = self.file.flush().and_then(|()| match &self.part {
            Some(part) => std::fs::rename(part, &self.path),
            None => Ok(()),
        });
        done.map_err(|e| CliError::failure(format!("cannot write {}: {e}", self.path.display())))?;
        self.part = None;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // It was not finished, so what there is of it is of no use; failing to remove it is not worth a second error.
            let _ = std::fs::remove_file(part);
        }
    }
}

/// A program that is ended while it writes takes what it has written with it: gigabytes that nobody would look for.
#[cfg(unix)]
mod interruption {
    use std::ffi::{CString, c_char, c_int};
    use std::path::Path;
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// The part that is being written, a C string that is never freed; null when there is none.
    static PART: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

    /// Sees to it that the part is removed, until it is dropped. A second one at the same time takes the place of the first.
    pub(super) struct Cleaner;

    impl Cleaner {
        pub(super) fn new(part: &Path) -> Cleaner {
            // Leaked on purpose (a few bytes for each file): the handler may be reading it at any time. A path with a NUL
            // cannot be created.
            let name = CString::new(part.as_os_str().as_encoded_bytes()).unwrap_or_default();
            PART.store(name.into_raw(), Ordering::Release);
            [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().for_each(catch);
            Cleaner
        }
    }

    impl Drop for Cleaner {
        fn drop(&mut self) {
            PART.store(std::ptr::null_mut(), Ordering::Release);
        }
    }

    /// Catches a signal that would end the program; one that is ignored (`nohup`) stays so.
    fn catch(signal: c_int) {
        // SAFETY: `sigaction` is plain data for which all zeros is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: without a new action the call only writes the present one, to a valid place.
        let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
        if known && action.sa_sigaction == libc::SIG_DFL {
            let handler: extern "C" fn(c_int) = on_signal;
            // SAFETY: a handler of the right signature, which calls only async-signal-safe functions.
            unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        }
    }

    extern "C" fn on_signal(signal: c_int) {
        let part = PART.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if !part.is_null() {
            // SAFETY: a NUL-terminated string that is never freed; `unlink` is async-signal-safe. It may fail: a file that
            // is complete has its own name by now.
            unsafe { libc::unlink(part) };
        }
        // The end that the sender wants, and the status that tells of it.
        // SAFETY: both are async-signal-safe, and SIG_DFL is a valid action.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}
