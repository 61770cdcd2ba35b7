//! The arguments of a call, made of random numbers, and what can be wrong with one of them.

use kinglet_c::*;
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;

/// Sizes that nothing can have.
pub const HUGE: [usize; 6] =
    [usize::MAX, usize::MAX / 2 + 1, usize::MAX / 3, 1 << 62, (1 << 62) + 1, 1 << 63];

pub struct Rng {
    pub state: u64,
    /// How many sizes have been asked for, and which of them is to be another one.
    pub sizes: usize,
    pub huge: Option<(usize, usize)>,
}

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed, sizes: 0, huge: None }
    }
    /// What makes the same numbers again.
    pub fn describe(&self) -> String {
        format!("state {:#x}, size {:?}", self.state, self.huge)
    }
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// Mostly small; sometimes 0, and sometimes so large that nothing can be of that size.
    pub fn size(&mut self, most: usize) -> usize {
        let size = match self.below(40) {
            0 => 0,
            1 => HUGE[self.below(HUGE.len())],
            _ => 1 + self.below(most),
        };
        self.sizes += 1;
        self.huge.filter(|(at, _)| *at + 1 == self.sizes).map_or(size, |(_, size)| size)
    }
    pub fn float(&mut self) -> f32 {
        match self.below(50) {
            0 => f32::from_bits(self.next() as u32),
            1 => [f32::NAN, f32::INFINITY, -0.0, 1e-41, f32::MAX][self.below(5)],
            _ => (self.next() >> 40) as f32 / (1u32 << 22) as f32 - 2.0,
        }
    }
}

/// Memory of exactly the size that a call is told.
pub struct Memory {
    pub p: *mut u8,
    layout: Layout,
    /// Whether a call is told that anything is there.
    pub claimed: bool,
    /// Whether nothing has to be there: the workspace of a tier that needs none.
    pub unneeded: bool,
    /// Whether the call may write it.
    pub writable: bool,
}

/// More than this is not allocated. A call that claims more gets a null pointer, or is refused for its size.
const MOST: usize = 1 << 22;

impl Memory {
    fn new(bytes: usize) -> Memory {
        let layout = Layout::from_size_align(bytes.clamp(1, MOST), 16).unwrap();
        // SAFETY: not of size 0.
        let p = unsafe { alloc(layout) };
        assert!(!p.is_null());
        Memory { p, layout, claimed: bytes > 0, unneeded: false, writable: false }
    }
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes are ours; every caller writes before it reads, below.
        unsafe { std::slice::from_raw_parts_mut(self.p, self.layout.size()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated above with this layout.
        unsafe { dealloc(self.p, self.layout) }
    }
}

/// The one argument that a call is to get wrong. Counted in the order in which a call makes them; a size
/// is [`Rng::huge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Nothing,
    Null(usize),
    Misaligned(usize),
    /// The first pointer is the second.
    Overlap(usize, usize),
    /// An enum value or a format is another.
    Number(usize, u32),
}

/// The arguments of one call.
pub struct Call {
    pub rng: Rng,
    pub memory: Vec<Memory>,
    /// Index into `memory` of what the call writes, and a copy of it from before.
    pub written: Vec<(usize, Vec<u8>)>,
    /// How often an argument is spoilt: one in so many.
    pub spoil: usize,
    pub wrong: Wrong,
    /// How many enum values and formats there have been.
    pub numbers: usize,
}

/// Bytes of `n` values, or `None` when nothing can be of that size.
fn bytes_of(n: Option<usize>, each: usize) -> Option<usize> {
    n?.checked_mul(each).filter(|bytes| *bytes <= isize::MAX as usize)
}

impl Call {
    /// Spoils a pointer, in a way that has to be refused when there is anything to read or write.
    fn spoil<T>(&mut self, p: *mut T) -> *mut T {
        match self.rng.below(self.spoil * 2) {
            0 => std::ptr::null_mut(),
            1 if align_of::<T>() > 1 => p.wrapping_byte_add(1),
            _ => p,
        }
    }

    /// `n` values of random bytes.
    pub fn raw<T>(&mut self, n: Option<usize>) -> *mut T {
        let bytes = bytes_of(n, size_of::<T>());
        let mut memory = Memory::new(bytes.unwrap_or(1));
        for byte in memory.bytes() {
            *byte = self.rng.next() as u8;
        }
        let p: *mut T = if bytes.is_some_and(|b| b > MOST) { std::ptr::null_mut() } else { memory.p.cast() };
        let at = self.memory.len();
        self.memory.push(memory);
        let spoilt = self.spoil(p);
        let p: *mut T = match self.wrong {
            Wrong::Null(i) if i == at => std::ptr::null_mut(),
            Wrong::Misaligned(i) if i == at && align_of::<T>() > 1 => p.wrapping_byte_add(1),
            Wrong::Overlap(i, j) if i == at => self.memory[j].p.cast(),
            _ => spoilt,
        };
        // Null stands for an argument that is left out where there may be none.
        if let Some(memory) = self.memory.last_mut().filter(|_| p.is_null()) {
            memory.claimed = false;
        }
        p
    }

    /// `n` floats.
    pub fn floats(&mut self, n: Option<usize>) -> *mut f32 {
        let p = self.raw::<f32>(n);
        let (memory, rng) = (self.memory.last_mut().unwrap(), &mut self.rng);
        for four in memory.bytes().chunks_exact_mut(4) {
            four.copy_from_slice(&rng.float().to_ne_bytes());
        }
        p
    }

    /// Room for `n` values that the call writes; sometimes that of another argument.
    pub fn out<T>(&mut self, n: Option<usize>) -> *mut T {
        let exact = bytes_of(n, size_of::<T>()).unwrap_or(1).clamp(1, MOST);
        // Bytes have no alignment to spoil, and an address moved by one would be too short for them.
        let p: *mut T = if align_of::<T>() > 1 && exact.is_multiple_of(4) {
            self.floats(bytes_of(n, size_of::<T>()).map(|bytes| bytes / 4)).cast()
        } else {
            self.raw(n)
        };
        let at = self.memory.len() - 1;
        self.memory[at].writable = true;
        let before = self.memory[at].bytes().to_vec();
        self.written.push((at, before));
        if at > 1 && self.rng.one_in(self.spoil * 2) && n.is_some_and(|n| n > 0) {
            // Overlap is refused where something is said to be; elsewhere the address would be too short for the result.
            let other = self.rng.below(at);
            if self.memory[other].claimed {
                return self.memory[other].p.cast();
            }
        }
        p
    }

    /// Reads and writes: its content matters.
    pub fn in_out(&mut self, n: Option<usize>) -> *mut f32 {
        self.out(n)
    }

    fn given(&mut self) -> Option<u32> {
        self.numbers += 1;
        match self.wrong {
            Wrong::Number(i, value) if i + 1 == self.numbers => Some(value),
            _ => None,
        }
    }

    pub fn number(&mut self, most: u32) -> u32 {
        let number = if self.rng.one_in(self.spoil) {
            self.rng.next() as u32
        } else {
            self.rng.below(most as usize) as u32
        };
        self.given().unwrap_or(number)
    }

    pub fn struct_size(&mut self, size: usize) -> usize {
        if !self.rng.one_in(self.spoil) {
            return size;
        }
        // A larger one would claim bytes that are not there, except where that is refused.
        [0, 1, size - 1, size / 2, usize::MAX, size + 4097][self.rng.below(6)]
    }

    pub fn format(&mut self) -> u32 {
        const FORMATS: [u32; 25] =
            [0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 29, 30, 34, 35, 39];
        let format = if self.rng.one_in(self.spoil) {
            self.rng.next() as u32 % 64
        } else {
            FORMATS[self.rng.below(25)]
        };
        self.given().unwrap_or(format)
    }

    /// A matrix of `rows` rows of random bytes, sometimes strided, sometimes with a next one.
    pub fn matrix(&mut self, format: u32, rows: usize, cols: usize) -> Matrix {
        let mut w = self.lone_matrix(format, rows, cols);
        if w.size == size_of::<Matrix>() && self.rng.one_in(4) {
            let (format, rows) = (self.format(), self.rng.size(20));
            let (cols, at) = (self.cols(format), self.memory.len());
            let next = self.lone_matrix(format, rows, cols);
            w.next = self.raw::<Matrix>(Some(1));
            let own = self.memory.len() - 1;
            // SAFETY: of just this size, and aligned.
            unsafe { self.memory[own].p.cast::<Matrix>().write(next) };
            // Of what is left out a call is told nothing.
            self.memory[at].claimed &= !w.next.is_null();
        }
        w
    }

    /// Without a next one, and sometimes as programs have it that know of none.
    fn lone_matrix(&mut self, format: u32, rows: usize, cols: usize) -> Matrix {
        let mut row = 0;
        // SAFETY: `row` can be written.
        let known = unsafe { kinglet_row_size(format, cols, &mut row) } == Status::Ok;
        let row = if known { row } else { 8 };
        let stride = if self.rng.one_in(4) { row.saturating_add(self.rng.below(70)) } else { 0 };
        let each = if stride == 0 { row } else { stride };
        let mut size = rows.checked_sub(1).map_or(Some(0), |r| r.checked_mul(each)?.checked_add(row));
        if self.rng.one_in(self.spoil) {
            size = size.map(|s| s.saturating_sub(1));
        }
        let data = self.raw::<u8>(size).cast_const().cast();
        let data_size = size.unwrap_or(usize::MAX);
        let stride = if self.rng.one_in(self.spoil * 2) { self.rng.size(200) } else { stride };
        let reserved = u32::from(self.rng.one_in(self.spoil * 3));
        let size = match self.struct_size(size_of::<Matrix>()) {
            whole if whole == size_of::<Matrix>() && self.rng.one_in(8) => std::mem::offset_of!(Matrix, next),
            size => size,
        };
        Matrix { size, data, data_size, rows, cols, stride, format, reserved, next: std::ptr::null() }
    }

    /// Quantized activations, of random codes within what `kinglet_quantize` writes.
    pub fn activations(&mut self, n: usize, k: usize) -> Activations {
        let values = n.checked_mul(k);
        let q = self.raw::<i8>(values);
        let codes = self.memory.last_mut().unwrap();
        codes.bytes().iter_mut().filter(|b| **b == 128).for_each(|b| *b = 0);
        let mut sums: Vec<i16> = Vec::new();
        for half in codes.bytes().chunks_exact(16) {
            sums.push(half.iter().map(|b| i16::from(*b as i8)).sum());
        }
        let d = self.floats(values.map(|v| v / 32));
        let s = self.raw::<i16>(values.map(|v| v / 16));
        let room = self.memory.last_mut().unwrap();
        for (two, sum) in room.bytes().chunks_exact_mut(2).zip(sums) {
            two.copy_from_slice(&sum.to_ne_bytes());
        }
        Activations { size: self.struct_size(size_of::<Activations>()), q, d, sums: s, n, k }
    }

    pub fn cols(&mut self, format: u32) -> usize {
        let block = if self.rng.one_in(self.spoil) {
            self.rng.size(300)
        } else if format >= 10 {
            256
        } else {
            32
        };
        block.checked_mul(1 + self.rng.below(3)).unwrap_or(block)
    }

    pub fn workspace(&mut self, need: usize) -> (*mut c_void, usize) {
        let size =
            if self.rng.one_in(self.spoil) { need.saturating_sub(1 + self.rng.below(64)) } else { need };
        let shift = self.rng.below(4);
        // Anywhere, also at odd addresses.
        let p = self.raw::<u8>(Some(size + shift));
        if let Some(memory) = self.memory.last_mut() {
            (memory.claimed, memory.writable) = (size > 0 && !p.is_null(), true);
            memory.unneeded = size == 0;
        }
        (if p.is_null() { p } else { p.wrapping_add(shift) }.cast(), size)
    }
}
