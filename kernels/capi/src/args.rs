//! Arguments: raw pointers and sizes turned into slices, after everything that can be checked has been.

use crate::status::{Fail, Status};
use kinglet_kernels::{Format, QuantizedMut, Strided};
use std::mem::MaybeUninit;

/// The most regions of memory in one call.
const MOST: usize = 16;

/// The regions that a call reads and writes, of which none that is written may overlap another.
pub(crate) struct Args {
    regions: [Region; MOST],
    n: usize,
}

#[derive(Clone, Copy)]
struct Region {
    name: &'static str,
    start: usize,
    end: usize,
    written: bool,
}

impl Args {
    pub(crate) fn new() -> Args {
        Args { regions: [Region { name: "", start: 0, end: 0, written: false }; MOST], n: 0 }
    }

    /// Checks `n` values at `p` and remembers them. `Ok(false)` when there is nothing there.
    fn add<T>(&mut self, name: &'static str, p: *const T, n: usize, written: bool) -> Result<bool, Fail> {
        let bytes = n.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
        let end = bytes.and_then(|bytes| p.addr().checked_add(bytes));
        let Some(end) = end else {
            return Err(Fail::new(
                Status::TooLarge,
                format_args!("{name}: {n} values of {} bytes", size_of::<T>()),
            ));
        };
        if n == 0 {
            return Ok(false);
        }
        if p.is_null() {
            return Err(Fail::new(Status::NullPointer, format_args!("{name} is null, of {n} values")));
        }
        if !p.is_aligned() {
            let (align, at) = (align_of::<T>(), p.addr());
            return Err(Fail::new(
                Status::Misaligned,
                format_args!("{name} is at {at:#x}, not a multiple of {align}"),
            ));
        }
        let new = Region { name, start: p.addr(), end, written };
        let clash = |old: &&Region| (old.written || written) && old.start < new.end && new.start < old.end;
        if let Some(old) = self.regions[..self.n].iter().find(clash) {
            return Err(Fail::new(Status::Overlap, format_args!("{name} overlaps {}", old.name)));
        }
        let Some(place) = self.regions.get_mut(self.n) else {
            return Err(Fail::new(Status::Internal, format_args!("more than {MOST} arguments")));
        };
        *place = new;
        self.n += 1;
        Ok(true)
    }

    /// `n` values to read.
    ///
    /// # Safety
    /// If `p` is not null and `n` not 0, `n` values are there, and nobody writes them for `'a`.
    pub(crate) unsafe fn read<'a, T>(
        &mut self,
        name: &'static str,
        p: *const T,
        n: usize,
    ) -> Result<&'a [T], Fail> {
        if !self.add(name, p, n, false)? {
            return Ok(&[]);
        }
        // SAFETY: the caller's; not null, aligned, of a size that memory can have.
        Ok(unsafe { std::slice::from_raw_parts(p, n) })
    }

    /// As [`Args::read`], of which null says that there are none.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn optional<'a, T>(
        &mut self,
        name: &'static str,
        p: *const T,
        n: usize,
    ) -> Result<Option<&'a [T]>, Fail> {
        if p.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's.
        unsafe { self.read(name, p, n) }.map(Some)
    }

    /// `n` values to write.
    ///
    /// # Safety
    /// If `p` is not null and `n` not 0, `n` initialized or plain values are there, and nobody else uses them for `'a`.
    pub(crate) unsafe fn write<'a, T>(
        &mut self,
        name: &'static str,
        p: *mut T,
        n: usize,
    ) -> Result<&'a mut [T], Fail> {
        if !self.add(name, p.cast_const(), n, true)? {
            return Ok(&mut []);
        }
        // SAFETY: the caller's; not null, aligned, of a size that memory can have, and no other slice of this call overlaps it.
        Ok(unsafe { std::slice::from_raw_parts_mut(p, n) })
    }

    /// Rows `first .. first + rows` of the columns of a result, of which nothing else is ours. The whole of it down to there is checked, so
    /// that nothing wraps on the way, and it may not overlap what is read.
    ///
    /// # Safety
    /// If there are any, they may be written and nobody else uses them for the lifetime that the result is given.
    pub(crate) unsafe fn columns<'a>(
        &mut self,
        y: *mut f32,
        (first, rows): (usize, usize),
        n: usize,
        stride: usize,
    ) -> Result<kinglet_kernels::MatMut<'a>, Fail> {
        let empty = rows == 0 || n == 0;
        let extent = if empty {
            Some(0)
        } else {
            (n - 1).checked_mul(stride).and_then(|e| e.checked_add(first)).and_then(|e| e.checked_add(rows))
        };
        let Some(extent) = extent else {
            return Err(Fail::new(Status::TooLarge, format_args!("y: {n} columns, {stride} values apart")));
        };
        if n > 1 && rows > 0 && stride < rows {
            return Err(Fail::new(
                Status::Shape,
                format_args!("y: columns of {rows} values, {stride} apart"),
            ));
        }
        self.add("y", y.cast_const(), extent, true)?;
        let y = if empty { std::ptr::dangling_mut() } else { y.wrapping_add(first) };
        // SAFETY: the caller's; aligned, checked above.
        Ok(unsafe { kinglet_kernels::MatMut::from_raw_parts(y, rows, n, stride.max(rows)) }?)
    }

    /// Room for `n` rows of `k` quantized activations, `stride` values apart, of which nothing else is ours. The whole is checked as in
    /// [`Args::columns`].
    ///
    /// # Safety
    /// If there are any, they may be written and nobody else uses them for the lifetime that the result is given.
    pub(crate) unsafe fn quantized<'a>(
        &mut self,
        (q, d, sums): (*mut i8, *mut f32, *mut i16),
        n: usize,
        k: usize,
        stride: usize,
    ) -> Result<QuantizedMut<'a>, Fail> {
        if !k.is_multiple_of(32) || !stride.is_multiple_of(32) || n > 1 && stride < k {
            return Err(Fail::new(
                Status::Shape,
                format_args!("rows of {k} activations, {stride} apart: not multiples of 32, or not apart"),
            ));
        }
        let empty = n == 0 || k == 0;
        let extent = if empty { Some(0) } else { (n - 1).checked_mul(stride).and_then(|e| e.checked_add(k)) };
        let Some(extent) = extent else {
            return Err(Fail::new(Status::TooLarge, format_args!("q: {n} rows, {stride} values apart")));
        };
        self.add("q", q.cast_const(), extent, true)?;
        self.add("d", d.cast_const(), extent / 32, true)?;
        self.add("sums", sums.cast_const(), extent / 16, true)?;
        let (q, d, sums) = if empty {
            (std::ptr::dangling_mut(), std::ptr::dangling_mut(), std::ptr::dangling_mut())
        } else {
            (q, d, sums)
        };
        // SAFETY: the caller's; aligned, checked above.
        Ok(unsafe { QuantizedMut::from_raw_parts(q, d, sums, n, k, stride.max(k)) }?)
    }

    /// `n` rows of `width` values to read, which begin `stride` values apart.
    ///
    /// # Safety
    /// As [`Args::read`], from the first value of the first row to the last of the last.
    pub(crate) unsafe fn rows<'a>(
        &mut self,
        name: &'static str,
        p: *const f32,
        (n, width): (usize, usize),
        stride: usize,
    ) -> Result<Strided<'a>, Fail> {
        if n > 1 && stride < width {
            return Err(Fail::new(
                Status::Shape,
                format_args!("{name}: rows of {width} values, {stride} apart"),
            ));
        }
        let extent = match n.checked_sub(1) {
            Some(before) => before.checked_mul(stride).and_then(|e| e.checked_add(width)),
            None => Some(0),
        };
        let Some(extent) = extent else {
            return Err(Fail::new(Status::TooLarge, format_args!("{name}: {n} rows, {stride} values apart")));
        };
        // SAFETY: the caller's.
        Ok(Strided { values: unsafe { self.read(name, p, extent) }?, stride })
    }
}

/// `a * b`, or which argument is too large.
pub(crate) fn times(name: &'static str, a: usize, b: usize) -> Result<usize, Fail> {
    a.checked_mul(b).ok_or_else(|| Fail::new(Status::TooLarge, format_args!("{name}: {a} x {b}")))
}

/// The format of a ggml type number.
pub(crate) fn format(number: u32) -> Result<Format, Fail> {
    let unknown = || Fail::new(Status::UnknownValue, format_args!("format {number}"));
    Format::from_ggml(number).ok_or_else(unknown)
}

/// Structs of the interface: plain, beginning with their own size in bytes.
///
/// # Safety
/// All bytes 0 are a value, the first field is `size: usize`, and there is no padding that must have a value.
pub(crate) unsafe trait Struct: Copy {
    /// Its name in the header.
    const NAME: &'static str;
    /// The sizes of earlier versions, which lack fields at the end.
    const EARLIER: &'static [usize] = &[];
}

/// Reads a struct of this, an earlier or a later version. Earlier ones are shorter, and what they lack is 0; later ones are longer, and what this
/// version does not know must be 0.
///
/// # Safety
/// If `p` is not null, at least a `usize` is there, and as many bytes as it says.
pub(crate) unsafe fn read_struct<T: Struct>(args: &mut Args, p: *const T) -> Result<T, Fail> {
    // SAFETY: the caller's: a size is there at least.
    let size = unsafe { Args::new().read(T::NAME, p.cast::<usize>(), 1) }?;
    let (size, own) = (size.first().copied().unwrap_or(0), size_of::<T>());
    let wrong = |what| Fail::new(Status::StructSize, format_args!("{}: size {size}, {what}", T::NAME));
    if size < own && !T::EARLIER.contains(&size) {
        return Err(wrong("too small; set it to sizeof"));
    }
    // Nobody has structs of pages: an uninitialized size is more likely.
    if size > own + 4096 {
        return Err(wrong("too large; set it to sizeof"));
    }
    // SAFETY: the caller's: `size` bytes are there.
    let bytes = unsafe { args.read(T::NAME, p.cast::<u8>(), size) }?;
    let (known, unknown) = bytes.split_at(own.min(size));
    if unknown.iter().any(|b| *b != 0) {
        return Err(wrong("with fields that this version of the library does not know"));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: no more than `own` bytes, and any bytes are a value of a plain struct, also those that are 0.
    Ok(unsafe {
        std::ptr::copy_nonoverlapping(known.as_ptr(), value.as_mut_ptr().cast(), known.len());
        value.assume_init()
    })
}

/// Fields that later versions may give a meaning.
pub(crate) fn reserved<T: Struct>(value: u32) -> Result<(), Fail> {
    if value != 0 {
        return Err(Fail::new(Status::StructSize, format_args!("{}: reserved is {value}", T::NAME)));
    }
    Ok(())
}
