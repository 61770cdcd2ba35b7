//! What happens when another process shortens a model file that is mapped: reading past its new end raises SIGBUS.
//! Without this the program would die without a word; with it, it names the file and ends with the code of bad input.
//!
//! Every mapping enters its address range in a table of atomics, which the handler may read at any moment.

use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};

/// Mapped files that the handler can name; further ones are caught too, but without a name.
const SLOTS: usize = 256;

struct Slot {
    /// First address; 0 when free, [`RESERVED`] while it is filled in.
    start: AtomicUsize,
    /// Length in bytes.
    len: AtomicUsize,
    /// Path, a C string that is never freed.
    path: AtomicPtr<std::ffi::c_char>,
}

/// No mapping begins at address 1.
const RESERVED: usize = 1;

static TABLE: [Slot; SLOTS] = [const {
    Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), path: AtomicPtr::new(std::ptr::null_mut()) }
}; SLOTS];

/// Exit code of the handler.
static CODE: AtomicI32 = AtomicI32::new(3);

/// Keeps a mapping in the table.
#[derive(Debug)]
pub(crate) struct Registration(Option<usize>);

impl Registration {
    /// Enters a mapping. When the table is full, nothing is entered.
    pub(crate) fn new(bytes: &[u8], path: &Path) -> Registration {
        let free = TABLE.iter().position(|slot| {
            slot.start.compare_exchange(0, RESERVED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if let Some(slot) = free.and_then(|i| TABLE.get(i)) {
            // Leaked on purpose (a few bytes per opened file): the handler may be reading it in another thread at any
            // time. A path with a NUL cannot have been opened.
            let name = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
            slot.path.store(name.into_raw(), Ordering::Relaxed);
            slot.len.store(bytes.len(), Ordering::Relaxed);
            slot.start.store(bytes.as_ptr() as usize, Ordering::Release);
        }
        Registration(free)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(slot) = self.0.and_then(|i| TABLE.get(i)) {
            slot.start.store(0, Ordering::Release);
        }
    }
}

/// Installs the handler for this process, which then ends with exit code `code` when a mapped model file is shortened.
/// For programs; a library must leave signals to its host. Does nothing where there are no signals.
pub fn install_handler(code: u8) {
    CODE.store(i32::from(code), Ordering::Relaxed);
    #[cfg(unix)]
    install();
}

#[cfg(unix)]
fn install() {
    // SAFETY: `sigaction` is plain data for which all zeros is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both pointers are valid for the calls, and the handler has the signature that SA_SIGINFO asks for and calls
    // only async-signal-safe functions. A failure leaves the default action, which is where we started.
    unsafe {
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

#[cfg(unix)]
extern "C" fn on_sigbus(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t, which for SIGBUS carries the address.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &TABLE {
        let start = slot.start.load(Ordering::Acquire);
        // The last page of a mapping reaches past its length; an address there is no less the file's.
        let len = slot.len.load(Ordering::Relaxed);
        if start > RESERVED && address >= start && address - start < len {
            say(c"kinglet: ".as_ptr());
            say(slot.path.load(Ordering::Relaxed));
            say(c": the file became shorter while it was in use; fetch or copy it again, and do not write to it meanwhile\n".as_ptr());
            // SAFETY: `_exit` is async-signal-safe and does not return.
            unsafe { libc::_exit(CODE.load(Ordering::Relaxed)) };
        }
    }
    // Not a model file: take the default action when the instruction is tried again.
    // SAFETY: `signal` is async-signal-safe, and SIG_DFL a valid action.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

/// Writes a C string to stderr with async-signal-safe calls only.
#[cfg(unix)]
fn say(text: *const std::ffi::c_char) {
    if text.is_null() {
        return;
    }
    // SAFETY: `text` is a NUL-terminated string that is never freed; `strlen` and `write` are async-signal-safe. What
    // `write` returns does not matter: the process is about to end.
    unsafe { libc::write(libc::STDERR_FILENO, text.cast(), libc::strlen(text)) };
}
