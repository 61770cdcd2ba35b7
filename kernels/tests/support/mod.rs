//! What the tests of kernels share: randomness, the tiers to run, memory between guard pages.

#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod emulated;
pub mod matmul;

pub use emulated::emulated;
use kinglet_kernels::{Error, Kernels, Tier};

/// splitmix64: enough randomness for tests, the same on every machine.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Roughly normal, with an outlier now and then.
    pub fn float(&mut self) -> f32 {
        let sum: i64 = (0..4).map(|_| (self.next() >> 40) as i64 - (1 << 23)).sum();
        let x = sum as f32 / (1 << 23) as f32;
        if self.next().is_multiple_of(97) { x * 30.0 } else { x }
    }
}

/// Equal bits, or two NaNs.
pub fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Every tier; prints those that cannot run, and fails when `KINGLET_REQUIRE_TIERS` lists one of them.
pub fn tiers() -> Vec<Kernels> {
    let mut out = Vec::new();
    for tier in Tier::ALL {
        match Kernels::with_tier(*tier) {
            Ok(k) => out.push(k),
            Err(why) => not_run(*tier, &why),
        }
    }
    out
}

/// Prints that `tier` cannot run, and fails when `KINGLET_REQUIRE_TIERS` lists it.
pub fn not_run(tier: Tier, why: &Error) {
    let required = std::env::var("KINGLET_REQUIRE_TIERS").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == tier.name()), "required tier: {why}");
    println!("{tier}: NOT RUN: {why}");
}

/// At which end of its pages data lies.
#[derive(Clone, Copy)]
pub enum Place {
    AtStart,
    AtEnd,
}

/// A copy of some bytes with an inaccessible page on either side. What is left of the pages between holds [`POISON`].
pub struct Guarded {
    map: *mut libc::c_void,
    mapped: usize,
    data: *mut u8,
    len: usize,
}

/// Around guarded bytes.
const POISON: u8 = 0xa5;

impl Guarded {
    pub fn new(bytes: &[u8], place: Place) -> Guarded {
        // SAFETY: a fresh anonymous mapping of `mapped` bytes, of which the inner pages are made writable; `bytes` fits
        // into them at either end.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let inner = bytes.len().next_multiple_of(page).max(page);
            let mapped = inner + 2 * page;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(std::ptr::null_mut(), mapped, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            let start = map.cast::<u8>().add(page);
            assert_eq!(libc::mprotect(start.cast(), inner, libc::PROT_READ | libc::PROT_WRITE), 0);
            let data = match place {
                Place::AtStart => start,
                Place::AtEnd => start.add(inner - bytes.len()),
            };
            std::ptr::write_bytes(start, POISON, inner);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
            Guarded { map, mapped, data, len: bytes.len() }
        }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes lie there for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }

    /// The bytes as plain numbers; both ends of the pages are aligned for them.
    pub fn cast<T: bytemuck::Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes())
    }

    /// The bytes as plain numbers to write.
    pub fn cast_mut<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        // SAFETY: `len` bytes lie there for as long as `self` lives, and `self` is borrowed mutably.
        bytemuck::cast_slice_mut(unsafe { std::slice::from_raw_parts_mut(self.data, self.len) })
    }

    /// Whether nothing was written beside the bytes.
    pub fn surroundings_are_intact(&self) -> bool {
        // SAFETY: everything between the guard pages is mapped and was written in `new`.
        let all = unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            std::slice::from_raw_parts(self.map.cast::<u8>().add(page), self.mapped - 2 * page)
        };
        let start = self.data as usize - all.as_ptr() as usize;
        all[..start].iter().chain(&all[start + self.len..]).all(|b| *b == POISON)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        assert_eq!(unsafe { libc::munmap(self.map, self.mapped) }, 0);
    }
}
