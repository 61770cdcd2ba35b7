//! What functions return, and the text behind it.

use kinglet_kernels::{Error, Message};
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a function returns. 0 is success. Where it is anything else no result has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer is null where something is to be read or written.
    NullPointer = 1,
    /// A pointer is not aligned for its type.
    Misaligned = 2,
    /// A result overlaps another argument.
    Overlap = 3,
    /// A size is larger than memory can be, or wraps.
    TooLarge = 4,
    /// Sizes do not fit together.
    Shape = 5,
    /// A number that names nothing: a format, an activation, a cache type, a kind of rotation.
    UnknownValue = 6,
    /// A tier's or operation's name that does not exist.
    UnknownName = 7,
    /// A tier that this machine cannot run or the program does not allow.
    UnusableTier = 8,
    /// Too little workspace.
    Workspace = 9,
    /// The thread flushes denormals to zero or rounds other than to nearest.
    FloatEnvironment = 10,
    /// A struct's size is not that of any version of it, or it has a field set that this library does not know.
    StructSize = 11,
    /// A handle that is none.
    BadHandle = 12,
    /// Past the end of a list.
    End = 13,
    /// A bug in kinglet; please report it.
    Internal = 14,
    /// A value that cannot be encoded: NaN, infinite, or more than the format holds.
    Value = 15,
}

impl Status {
    const ALL: [Status; 16] = [
        Status::Ok,
        Status::NullPointer,
        Status::Misaligned,
        Status::Overlap,
        Status::TooLarge,
        Status::Shape,
        Status::UnknownValue,
        Status::UnknownName,
        Status::UnusableTier,
        Status::Workspace,
        Status::FloatEnvironment,
        Status::StructSize,
        Status::BadHandle,
        Status::End,
        Status::Internal,
        Status::Value,
    ];

    const fn text(self) -> &'static CStr {
        match self {
            Status::Ok => c"ok",
            Status::NullPointer => c"a pointer is null",
            Status::Misaligned => c"a pointer is not aligned for its type",
            Status::Overlap => c"a result overlaps another argument",
            Status::TooLarge => c"a size is larger than memory can be",
            Status::Shape => c"sizes do not fit together",
            Status::UnknownValue => c"a number that names nothing",
            Status::UnknownName => c"a name that names nothing",
            Status::UnusableTier => c"the tier cannot run here",
            Status::Workspace => c"too little workspace",
            Status::FloatEnvironment => c"the thread's floating-point settings change results",
            Status::StructSize => c"a struct of an unknown size or with unknown fields",
            Status::BadHandle => c"not a handle of this library",
            Status::End => c"past the end of the list",
            Status::Internal => c"a bug in kinglet",
            Status::Value => c"a value that cannot be encoded",
        }
    }
}

/// Why a call is refused.
pub(crate) struct Fail {
    status: Status,
    what: Message,
}

impl Fail {
    pub(crate) fn new(status: Status, what: std::fmt::Arguments<'_>) -> Fail {
        Fail { status, what: Message::from(what) }
    }
}

impl From<Error> for Fail {
    fn from(e: Error) -> Fail {
        let status = match e {
            Error::UnknownTier { .. } => Status::UnknownName,
            Error::UnusableTier { .. } => Status::UnusableTier,
            Error::FloatEnvironment { .. } => Status::FloatEnvironment,
            Error::Shape { .. } => Status::Shape,
            _ => Status::Internal,
        };
        Fail::new(status, format_args!("{e}"))
    }
}

/// Room for one line and its end.
const LINE: usize = 192;

thread_local! {
    static LAST: Cell<[u8; LINE]> = const { Cell::new([0; LINE]) };
}

/// A line being written into a fixed buffer; what does not fit is left out.
pub(crate) struct Line<'a> {
    pub to: &'a mut [u8],
    pub len: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        // One byte stays for the end.
        let room = self.to.len().saturating_sub(self.len + 1);
        let s = &s.as_bytes()[..s.floor_char_boundary(room)];
        self.to[self.len..self.len + s.len()].copy_from_slice(s);
        self.len += s.len();
        Ok(())
    }
}

/// Runs `f`, without unwinding into the caller, and keeps the text of what went wrong.
pub(crate) fn call(f: impl FnOnce() -> Result<(), Fail>) -> Status {
    let fail = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(fail)) => fail,
        Err(_) => Fail::new(Status::Internal, format_args!("a panic inside kinglet; please report it")),
    };
    // A thread that is ending has no such storage any more; then the status has to do.
    let _ = LAST.try_with(|last| {
        let mut text = [0; LINE];
        let _ = Line { to: &mut text, len: 0 }.write_str(fail.what.as_str());
        last.set(text);
    });
    fail.status
}

/// The text for a status, in English, without a full stop. Never null; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_strerror(status: i32) -> *const c_char {
    let known = Status::ALL.iter().find(|s| **s as i32 == status);
    known.map_or(c"an unknown status", |s| s.text()).as_ptr()
}

/// What was wrong with the last call of this thread that failed, with the argument's name and the numbers; empty when none has. Never
/// null; valid until the thread's next call that fails, or its end.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_last_error() -> *const c_char {
    LAST.try_with(|last| last.as_ptr().cast_const().cast()).unwrap_or(c"".as_ptr())
}

/// The version of the library's binary interface: `KINGLET_ABI_VERSION` of the header it was built with.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_abi_version() -> u32 {
    crate::ABI_VERSION
}

/// The version of the numerical contract: libraries that return the same number return the same bits.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_contract_version() -> u32 {
    kinglet_kernels::CONTRACT_VERSION
}

/// The library's version, such as `0.1.0`. Never null; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
