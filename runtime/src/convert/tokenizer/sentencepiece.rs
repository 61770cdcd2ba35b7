//! `tokenizer.model`: SentencePiece's `ModelProto`, a protocol buffer. Only what GGUF has a place for is read.

use super::{Token, Vocabulary, kind};

/// `TrainerSpec.model_type` of byte-pair encoding.
const BPE: u64 = 2;

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
    Fixed64,
}

/// The fields of a message, with their numbers.
fn fields(mut data: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>), String>> {
    std::iter::from_fn(move || {
        (!data.is_empty()).then(|| match field(&mut data) {
            Some(field) => Ok(field),
            None => {
                data = &[];
                Err("it is not a SentencePiece model, or it is damaged".to_owned())
            }
        })
    })
}

fn varint(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(data: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = data.split_at_checked(n)?;
    *data = rest;
    Some(taken)
}

fn field<'a>(data: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(data)?;
    let value = match tag & 7 {
        0 => Field::Number(varint(data)?),
        1 => {
            take(data, 8)?;
            Field::Fixed64
        }
        2 => {
            let n = usize::try_from(varint(data)?).ok()?;
            Field::Bytes(take(data, n)?)
        }
        5 => Field::Fixed32(take(data, 4)?.try_into().ok()?),
        _ => return None,
    };
    Some((tag >> 3, value))
}

/// Reads a model.
pub(super) fn read(data: &[u8]) -> Result<Vocabulary, String> {
    // The trainer's defaults, which are left out where they hold.
    let (mut unknown, mut bos, mut eos, mut padding) = (0i32, 1i32, 2i32, -1i32);
    let (mut model_type, mut space_prefix) = (1, true);
    let mut tokens = Vec::new();
    for part in fields(data) {
        match part? {
            (1, Field::Bytes(piece)) => tokens.push(Some(token(piece)?)),
            (2, Field::Bytes(trainer)) => {
                for setting in fields(trainer) {
                    match setting? {
                        (3, Field::Number(n)) => model_type = n,
                        // Negative numbers have 64 bits; these are of 32.
                        (40, Field::Number(n)) => unknown = n as i32,
                        (41, Field::Number(n)) => bos = n as i32,
                        (42, Field::Number(n)) => eos = n as i32,
                        (43, Field::Number(n)) => padding = n as i32,
                        _ => {}
                    }
                }
            }
            (3, Field::Bytes(normalizer)) => {
                for setting in fields(normalizer) {
                    if let (3, Field::Number(n)) = setting? {
                        space_prefix = n != 0;
                    }
                }
            }
            _ => {}
        }
    }
    if tokens.is_empty() {
        return Err("it has no tokens; it is not a SentencePiece model".to_owned());
    }
    if model_type != BPE {
        return Err(
            "it is not byte-pair encoding (`model_type`), which is the one that is supported".to_owned()
        );
    }
    let named = [("unknown", unknown), ("bos", bos), ("eos", eos), ("padding", padding)];
    let ids = named.into_iter().filter_map(|(n, id)| Some((n, u32::try_from(id).ok()?))).collect();
    let (pre, space_prefix) = ("default".to_owned(), Some(space_prefix));
    Ok(Vocabulary { tokens, merges: None, pre, space_prefix, ids, adds: (None, None) })
}

fn token(piece: &[u8]) -> Result<Token, String> {
    let mut token = Token { text: Vec::new(), score: 0.0, kind: kind::NORMAL };
    for part in fields(piece) {
        match part? {
            (1, Field::Bytes(text)) => token.text = text.to_vec(),
            (2, Field::Fixed32(score)) => token.score = f32::from_le_bytes(score),
            (3, Field::Number(n @ 1..=6)) => token.kind = n as i32,
            (3, Field::Number(n)) => return Err(format!("a token is of the unknown kind {n}")),
            _ => {}
        }
    }
    if token.score.is_finite() { Ok(token) } else { Err("a token's score is not a number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn damaged_models_are_errors() {
        for bad in
            [&b""[..], b"\x0a", b"\x0a\x05ab", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"{\"a\":1}"]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        // One token "a" with a score and a kind; byte-pair encoding without a space before the text.
        let good = b"\x0a\x0a\x0a\x01a\x15\x00\x00\x80\xbf\x18\x04\x12\x02\x18\x02\x1a\x02\x18\x00";
        let v = read(good).unwrap();
        let token = v.tokens[0].as_ref().unwrap();
        assert_eq!((&token.text[..], token.score, token.kind), (&b"a"[..], -1.0, 4));
        assert_eq!(v.space_prefix, Some(false));
    }
}
