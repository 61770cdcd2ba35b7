//! Pages of 2 MiB for weights that have to be read from the disk.
//!
//! One core reads a file in pages of 2 MiB up to a fifth faster than in pages of 4 KiB. Linux reads into such pages where a mapping
//! asks for them and the file system has them (XFS, ext4 from Linux 6.16 on); there they stay for as long as the file is in the
//! page cache, and every process that maps it gains. What is in the cache already is left as it is.

use super::Mapping;
use memmap2::{Advice, UncheckedAdvice};
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Asks for huge pages for bytes `range` of a file. A system that refuses is slower, and nothing else.
pub(super) fn ask(mapping: &Mapping, range: Range<usize>) {
    if mapping.map.advise_range(Advice::HugePage, range.start, range.len()).is_err() {
        return;
    }
    // Small tensors in between have been read, each with some small pages around it, where no huge page can be now.
    if resident(mapping, range.clone()).is_some_and(|share| share < 0.25) {
        forget(mapping, range);
    }
}

/// The share of the pages of `range` that are in memory.
fn resident(mapping: &Mapping, range: Range<usize>) -> Option<f64> {
    // SAFETY: without preconditions.
    let page =
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|p| p.is_power_of_two())?;
    let start = range.start & !(page - 1);
    let bytes = mapping.map.get(start..range.end)?;
    // A byte for each page, and room for as many pages as there can be: QEMU's user mode fills in those of its host.
    let mut pages = vec![0u8; bytes.len().div_ceil(page.min(4096))];
    // SAFETY: the range is mapped and begins with a page, since the mapping does; there is a byte for each page of it.
    let result = unsafe { libc::mincore(bytes.as_ptr().cast_mut().cast(), bytes.len(), pages.as_mut_ptr()) };
    pages.truncate(bytes.len().div_ceil(page));
    let there = pages.iter().filter(|p| **p & 1 == 1).count();
    (result == 0 && !pages.is_empty()).then(|| there as f64 / pages.len() as f64)
}

/// Takes `range` out of the page cache, unless others use it.
fn forget(mapping: &Mapping, range: Range<usize>) {
    let Ok((start, len)) = libc::off_t::try_from(range.start).and_then(|s| Ok((s, range.len().try_into()?)))
    else {
        return;
    };
    // SAFETY: of a mapping of a file that is only ever read, which comes back from there with the same bytes.
    let _ =
        unsafe { mapping.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    // SAFETY: an open file; the call changes no contents.
    unsafe { libc::posix_fadvise(mapping.file.as_raw_fd(), start, len, libc::POSIX_FADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::{ask, forget, resident};
    use crate::gguf::{Bytes, map};

    #[test]
    fn forgotten_bytes_come_back() {
        let path = std::env::temp_dir().join(format!("kinglet-huge-pages-{}", std::process::id()));
        let bytes: Vec<u8> = (0..5 << 20).map(|i: u32| (i >> 9) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let Bytes::Map(mapping) = map(&path).unwrap() else { panic!("it is mapped") };
        assert!(mapping.map[..] == bytes[..]);
        assert_eq!(resident(&mapping, 100..bytes.len()), Some(1.0));
        assert_eq!(resident(&mapping, 0..bytes.len() + 1), None);
        forget(&mapping, 100..bytes.len());
        assert!(mapping.map[..] == bytes[..]);
        ask(&mapping, 8192..bytes.len());
        assert!(mapping.map[..] == bytes[..]);
        std::fs::remove_file(&path).unwrap();
    }
}
