//! What can go wrong when a kernel is asked for or called.

use std::fmt::{self, Write};

/// Why a kernel could not be chosen or would not run. Kernels never panic; they return one of these.
///
/// A plain value without allocation, so that a refusal costs no more than a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A tier name that does not exist.
    UnknownTier {
        /// The name that was given.
        name: Message,
        /// Whether it stands in `KINGLET_TIER`.
        forced: bool,
    },
    /// A tier that exists but that this machine cannot run, or the program may not use.
    UnusableTier {
        /// The tier asked for.
        tier: crate::Tier,
        /// What is missing, for instance `the CPU has no AVX2`.
        why: Message,
        /// Whether it is the one that `KINGLET_TIER` names.
        forced: bool,
    },
    /// Sizes that do not fit together.
    Shape {
        /// What was compared with what, with the numbers.
        what: Message,
    },
    /// The host runs with floating-point settings under which no kernel can keep its contract: another rounding mode than to
    /// nearest, or denormals flushed to zero.
    FloatEnvironment {
        /// The register, what it holds, and what to change.
        what: Message,
    },
}

impl Error {
    /// The same error, of a tier that `KINGLET_TIER` names: whoever reads it has to look there.
    pub(crate) fn of_environment(mut self) -> Error {
        if let Error::UnknownTier { forced, .. } | Error::UnusableTier { forced, .. } = &mut self {
            *forced = true;
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Error::UnknownTier { forced: true, .. } | Error::UnusableTier { forced: true, .. } = self {
            f.write_str("KINGLET_TIER: ")?;
        }
        match self {
            Error::UnknownTier { name, .. } => write!(f, "unknown tier `{name}`"),
            Error::UnusableTier { tier, why, .. } => write!(f, "tier `{tier}` cannot run here: {why}"),
            Error::Shape { what } => write!(f, "shapes do not fit: {what}"),
            Error::FloatEnvironment { what } => write!(f, "floating-point settings: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// A short text that lives in the error itself. What does not fit is cut off, with `…` in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message {
    len: u8,
    text: [u8; Message::MOST],
}

impl Message {
    /// Bytes that fit.
    const MOST: usize = 122;
    const CUT: &str = "…";

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever written.
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }

    /// Appends what is known to fit.
    fn push(&mut self, s: &str) {
        let at = usize::from(self.len);
        if let Some(to) = self.text.get_mut(at..at + s.len()) {
            to.copy_from_slice(s.as_bytes());
            self.len += s.len() as u8;
        }
    }
}

impl Write for Message {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // Once cut, nothing follows.
        if self.as_str().ends_with(Message::CUT) {
            return Ok(());
        }
        let at = usize::from(self.len);
        if s.len() <= Message::MOST - at {
            self.push(s);
        } else {
            let end = Message::MOST - Message::CUT.len();
            if at > end {
                self.len = self.as_str().floor_char_boundary(end) as u8;
            } else {
                self.push(&s[..s.floor_char_boundary(end - at)]);
            }
            self.push(Message::CUT);
        }
        Ok(())
    }
}

impl From<fmt::Arguments<'_>> for Message {
    fn from(text: fmt::Arguments<'_>) -> Message {
        let mut message = Message { len: 0, text: [0; Message::MOST] };
        // Writing to a message does not fail; a `Display` that does leaves what it wrote.
        let _ = message.write_fmt(text);
        message
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::from(format_args!("{text}"))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// `format!` into a [`Message`].
macro_rules! message {
    ($($arg:tt)*) => { $crate::error::Message::from(format_args!($($arg)*)) };
}
pub(crate) use message;

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::Message;

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        for n in 100..140 {
            for end in ["", "é", "éé", "xyz"] {
                let long = format!("{}{end}", "a".repeat(n));
                let message = Message::from(long.as_str());
                if long.len() <= Message::MOST {
                    assert_eq!(message.as_str(), long);
                } else {
                    let kept = message.as_str().strip_suffix('…').unwrap();
                    assert!(long.starts_with(kept) && kept.len() > Message::MOST - 8, "{kept}");
                }
            }
        }
        let parts = Message::from(format_args!("{}{}{}", "b".repeat(121), "cc", "dd"));
        assert!(parts.as_str().starts_with("bbb") && !parts.as_str().contains('d'));
    }
}
