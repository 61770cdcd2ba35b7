//! What a fetched file must be, so that a log-in page or a pointer is not kept in its place.

use super::hf::HfName;

/// Bytes that tell what a file is.
pub(super) const HEAD: usize = 9;

/// What a file must be, by its name.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Gguf,
    Safetensors,
    Json,
    /// Nothing is known of it.
    Other,
}

impl Content {
    pub(super) fn of(name: &HfName) -> Content {
        match name.extension() {
            "gguf" => Content::Gguf,
            "safetensors" => Content::Safetensors,
            "json" => Content::Json,
            _ => Content::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Content::Gguf => "GGUF file",
            Content::Safetensors => "safetensors file",
            Content::Json => "JSON file",
            Content::Other => "file of a model",
        }
    }

    /// The shortest there is.
    pub(super) fn least(self) -> usize {
        match self {
            Content::Gguf => 4,
            Content::Safetensors => HEAD,
            Content::Json | Content::Other => 1,
        }
    }

    /// Whether a file may begin with these bytes, of which there are up to [`HEAD`].
    pub(super) fn may_begin(self, head: &[u8]) -> bool {
        match self {
            Content::Gguf => head.iter().zip(b"GGUF").all(|(a, b)| a == b),
            // Eight bytes of a length below 4 GiB, then a JSON object.
            Content::Safetensors => {
                head.iter().skip(4).take(4).all(|b| *b == 0) && head.get(8).is_none_or(|b| *b == b'{')
            }
            Content::Json => head.trim_ascii_start().first().is_none_or(|b| *b == b'{'),
            // What stands for a large file that was not fetched.
            Content::Other => !head.starts_with(b"version h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    #[test]
    fn beginnings() {
        for (content, good, bad) in [
            (Content::Gguf, &b"GGUF\x03\0\0\0"[..], &b"<!DO"[..]),
            (Content::Safetensors, b"\x10\x27\0\0\0\0\0\0{", b"version h"),
            (Content::Safetensors, b"\x10\x27\0\0\0\0\0\0{", b"\x10\x27\0\0\0\0\0\0["),
            (Content::Json, b" \n{\"a\":1", b"<html>"),
            (Content::Other, b"<|im_star", b"version h"),
        ] {
            assert!(content.may_begin(good) && !content.may_begin(bad));
            // What has not arrived yet may still be right.
            assert!((0..good.len()).all(|n| content.may_begin(&good[..n])));
        }
    }
}
