//! Files written so that Linux keeps them in large pages.

use std::io::{self, Write};

/// A huge page of most CPUs.
const PIECE: usize = 2 << 20;

/// Writes to `W` in pieces of 2 MiB that begin at multiples of it, until the last. A file system with large folios (XFS, ext4 from Linux 6.16 on)
/// keeps each of them as one page, through which a model that has just been written is read faster than through small ones.
///
/// What has not been flushed is lost when it is dropped.
pub(crate) struct Pieces<W: Write> {
    out: W,
    piece: Vec<u8>,
    /// Bytes that make the piece whole.
    whole: usize,
}

impl<W: Write> Pieces<W> {
    /// To `out`, whose next byte is number `at` of the file.
    pub(crate) fn new(out: W, at: u64) -> Self {
        let whole = PIECE - (at % PIECE as u64) as usize;
        Pieces { out, piece: Vec::with_capacity(PIECE), whole }
    }

    /// Writes what is left of the last piece.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (now, _) = bytes.split_at(bytes.len().min(self.whole - self.piece.len()));
        self.piece.extend_from_slice(now);
        if self.piece.len() == self.whole {
            self.flush()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.piece)?;
        self.whole -= self.piece.len();
        if self.whole == 0 {
            self.whole = PIECE;
        }
        self.piece.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{PIECE, Pieces};
    use std::io::{self, Write};

    /// The pieces that arrive.
    #[derive(Default)]
    struct Seen(Vec<Vec<u8>>);

    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_begin_and_end_at_multiples_and_nothing_is_lost() {
        let bytes: Vec<u8> = (0..5 * PIECE + 77).map(|i| (i >> 5) as u8).collect();
        for at in [0, 1, PIECE - 3, PIECE, 3 * PIECE + 5] {
            for chunk in [1000, 8192, 65_536, PIECE - 1, PIECE, 3 * PIECE] {
                let mut out = Pieces::new(Seen::default(), at as u64);
                for chunk in bytes.chunks(chunk) {
                    out.write_all(chunk).unwrap();
                }
                let Seen(pieces) = out.finish().unwrap();
                let mut end = at;
                for (i, piece) in pieces.iter().enumerate() {
                    assert!(
                        i == 0 || end % PIECE == 0,
                        "from {at}, chunks of {chunk}: piece {i} begins at {end}"
                    );
                    end += piece.len();
                    assert!(end / PIECE <= (end - piece.len()) / PIECE + 1);
                }
                assert_eq!(pieces.concat(), bytes, "from {at}, chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_flush_in_between_moves_no_boundary() {
        let mut out = Pieces::new(Seen::default(), 0);
        out.write_all(&[1; 10]).unwrap();
        out.flush().unwrap();
        out.write_all(&vec![2; PIECE]).unwrap();
        let Seen(pieces) = out.finish().unwrap();
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [10, PIECE - 10, 10]);
    }
}
