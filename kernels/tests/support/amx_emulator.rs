//! AMX on a CPU that does not have it: a handler of SIGILL that executes the instruction and lets the program go on.
//!
//! Everything else, AVX-512 included, runs natively, so a kernel runs as it is compiled: its assembler, its addresses, its use of
//! registers. Every thread has its own tile registers, as on the hardware. What the manual leaves undefined or answers with
//! an exception ends the process with a message, as does an access to memory that is not there.
//!
//! Source: Intel SDM, volume 2, the pages of each instruction and 2.5.1 (VEX prefix); volume 1, chapter 18 (palette 1). All of
//! them are `VEX.128.pp.0F38.W0`, so begin with `C4`, `RXB 00010`, `W vvvv L pp` and an opcode:
//!
//! | opcode, pp | ModRM | instruction |
//! |---|---|---|
//! | 49 none | mod != 11, reg 000 | LDTILECFG m512 |
//! | 49 66 | mod != 11, reg 000 | STTILECFG m512 |
//! | 49 none | C0 | TILERELEASE |
//! | 49 F2 | 11 rrr 000 | TILEZERO tmm |
//! | 4B F2 | mod != 11, rm 100 | TILELOADD tmm, sibmem |
//! | 4B 66 | mod != 11, rm 100 | TILELOADDT1 tmm, sibmem |
//! | 4B F3 | mod != 11, rm 100 | TILESTORED sibmem, tmm |
//! | 5E F2, F3, 66, none | 11 rrr bbb | TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD: reg += rm * vvvv |

use std::cell::UnsafeCell;
use std::fmt::Write;

/// The tile registers of palette 1, and how TILECFG describes them.
struct Tiles {
    /// As LDTILECFG read it; all 0 while there is none.
    config: [u8; 64],
    data: [[[u8; 64]; 16]; 8],
    /// How many products have been executed.
    products: u64,
}

impl Tiles {
    const RELEASED: Tiles = Tiles { config: [0; 64], data: [[[0; 64]; 16]; 8], products: 0 };

    fn rows(&self, tile: usize) -> usize {
        self.config[48 + tile].into()
    }
    /// Bytes per row.
    fn row_bytes(&self, tile: usize) -> usize {
        u16::from_le_bytes([self.config[16 + 2 * tile], self.config[17 + 2 * tile]]).into()
    }
}

thread_local! {
    static TILES: UnsafeCell<Tiles> = const { UnsafeCell::new(Tiles::RELEASED) };
}

/// Whether this thread's tile registers are released, as a call must leave them.
pub fn released() -> bool {
    // SAFETY: this thread's, and no handler is running on it.
    TILES.with(|tiles| unsafe { &*tiles.get() }.config == [0; 64])
}

/// How many products (tdp instructions) this thread has executed.
pub fn products() -> u64 {
    // SAFETY: as above.
    TILES.with(|tiles| unsafe { &*tiles.get() }.products)
}

/// Handles SIGILL for the whole process.
pub fn install() {
    // SAFETY: a plain structure of C; the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0);
    }
}

/// Ends the process. No allocation: the handler may have interrupted anything.
fn fail(what: std::fmt::Arguments<'_>) -> ! {
    struct Line([u8; 200], usize);
    impl Write for Line {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            let n = s.len().min(self.0.len() - self.1);
            self.0[self.1..self.1 + n].copy_from_slice(&s.as_bytes()[..n]);
            self.1 += n;
            Ok(())
        }
    }
    let mut line = Line([0; 200], 0);
    let _ = writeln!(line, "\nAMX emulator: {what}");
    // SAFETY: the bytes of `line`; both may be called in a signal handler.
    unsafe {
        libc::write(2, line.0.as_ptr().cast(), line.1);
        libc::abort()
    }
}

extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: what the kernel passes to a SA_SIGINFO handler. At rip is an instruction that the CPU has just fetched, and another
    // one after each that is executed; of none more bytes are read than it has.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let start = registers[libc::REG_RIP as usize];
        // Those that follow at once are executed too: a signal takes far longer than an instruction.
        while let Some(instruction) =
            Instruction::decode(registers[libc::REG_RIP as usize] as *const u8, registers)
        {
            TILES.with(|tiles| instruction.execute(&mut *tiles.get()));
            registers[libc::REG_RIP as usize] += instruction.len as i64;
        }
        if registers[libc::REG_RIP as usize] == start {
            let code = start as *const u8;
            fail(format_args!("an illegal instruction that is not AMX: {:02x} {:02x}", *code, *code.add(1)));
        }
    }
}

type Registers = [libc::greg_t; 23];

/// The general registers in the order of their numbers in an instruction.
const GENERAL: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

struct Instruction {
    len: usize,
    opcode: u8,
    /// 0 none, 1 66, 2 F3, 3 F2
    pp: u8,
    /// ModRM's mod is 11.
    direct: bool,
    reg: usize,
    rm: usize,
    vvvv: usize,
    /// The address, and with a SIB byte the row stride: its index register, scaled; 0 if it has none.
    address: usize,
    stride: usize,
    sib: bool,
}

impl Instruction {
    /// `None` if it is not AMX.
    ///
    /// # Safety
    /// An instruction is at `code`, `registers` are those before it.
    unsafe fn decode(code: *const u8, registers: &Registers) -> Option<Instruction> {
        // SAFETY: every byte that is read belongs to the instruction: those before it say that it is there.
        unsafe {
            let byte = |i: usize| *code.add(i);
            // Map 2 (0F38), W0, L0 (128).
            if byte(0) != 0xc4
                || byte(1) & 0x1f != 2
                || byte(2) & 0x84 != 0
                || !matches!(byte(3), 0x49 | 0x4b | 0x5e)
            {
                return None;
            }
            let (p1, p2, opcode, modrm) = (byte(1), byte(2), byte(3), byte(4));
            // R, X, B and vvvv are stored inverted.
            let (r, x, b) = (!p1 >> 7 & 1, !p1 >> 6 & 1, !p1 >> 5 & 1);
            let vvvv = usize::from(!p2 >> 3 & 15);
            let direct = modrm >> 6 == 3;
            let sib = !direct && modrm & 7 == 4;
            let mut i = Instruction {
                len: 5,
                opcode,
                pp: p2 & 3,
                direct,
                reg: usize::from(modrm >> 3 & 7 | r << 3),
                rm: usize::from(modrm & 7 | b << 3),
                vvvv,
                address: 0,
                stride: 0,
                sib,
            };
            let register = |n: usize| registers[GENERAL[n] as usize] as usize;
            if !direct {
                let mut base = i.rm;
                if sib {
                    let sib = byte(5);
                    i.len += 1;
                    base = usize::from(sib & 7 | b << 3);
                    let index = usize::from(sib >> 3 & 7 | x << 3);
                    if index != 4 {
                        i.stride = register(index) << (sib >> 6);
                    }
                }
                if modrm >> 6 == 0 && base & 7 == 5 {
                    fail(format_args!("an address without a base register is not emulated"));
                }
                let displacement = match modrm >> 6 {
                    0 => 0,
                    1 => code.add(i.len).cast::<i8>().read() as isize,
                    _ => code.add(i.len).cast::<i32>().read_unaligned() as isize,
                };
                i.len += [0, 1, 4][usize::from(modrm >> 6)];
                i.address = register(base).wrapping_add_signed(displacement);
            }
            Some(i)
        }
    }

    /// # Safety
    /// What the instruction accesses may be accessed: the program would have done so itself.
    unsafe fn execute(&self, tiles: &mut Tiles) {
        // Only the products have a third register; elsewhere vvvv must be 1111b.
        if self.opcode != 0x5e && self.vvvv != 0 {
            fail(format_args!("opcode {:02x} with vvvv {}", self.opcode, self.vvvv));
        }
        // SAFETY: the caller's.
        unsafe {
            match (self.opcode, self.pp, self.direct) {
                (0x49, 0, false) if self.reg == 0 => self.ldtilecfg(tiles),
                (0x49, 1, false) if self.reg == 0 => {
                    std::ptr::copy_nonoverlapping(tiles.config.as_ptr(), self.address as *mut u8, 64);
                }
                (0x49, 0, true) if self.reg == 0 && self.rm == 0 => {
                    *tiles = Tiles { products: tiles.products, ..Tiles::RELEASED };
                }
                (0x49, 3, true) if self.rm == 0 => {
                    let tile = configured(tiles, self.reg);
                    tiles.data[tile] = [[0; 64]; 16];
                }
                (0x4b, 1 | 3, false) => self.tileload(tiles),
                (0x4b, 2, false) => self.tilestore(tiles),
                (0x5e, pp, true) => self.product(tiles, pp),
                _ => fail(format_args!(
                    "opcode {:02x} pp {} with reg {} and rm {} is not an instruction",
                    self.opcode, self.pp, self.reg, self.rm
                )),
            }
        }
    }

    /// Checks what #GP checks.
    unsafe fn ldtilecfg(&self, tiles: &mut Tiles) {
        // SAFETY: the caller's 64 bytes.
        let config = unsafe { (self.address as *const [u8; 64]).read() };
        let reserved = |range: std::ops::Range<usize>| {
            if config[range.clone()].iter().any(|byte| *byte != 0) {
                fail(format_args!("LDTILECFG: reserved bytes {}..{} are not 0", range.start, range.end));
            }
        };
        if config[0] != 1 {
            fail(format_args!("LDTILECFG: palette {} (only 1 is emulated)", config[0]));
        }
        if config[1] != 0 {
            fail(format_args!("LDTILECFG: start_row {} (only 0 is emulated)", config[1]));
        }
        reserved(2..16);
        reserved(32..48);
        reserved(56..64);
        *tiles = Tiles { config, products: tiles.products, ..Tiles::RELEASED };
        for tile in 0..8 {
            let (rows, bytes) = (tiles.rows(tile), tiles.row_bytes(tile));
            if rows > 16 || bytes > 64 || (rows == 0) != (bytes == 0) {
                fail(format_args!("LDTILECFG: tmm{tile} has {rows} rows of {bytes} bytes"));
            }
        }
    }

    unsafe fn tileload(&self, tiles: &mut Tiles) {
        let tile = self.memory_operand(tiles);
        let (rows, bytes) = (tiles.rows(tile), tiles.row_bytes(tile));
        // Rows and bytes beyond are zeroed.
        tiles.data[tile] = [[0; 64]; 16];
        for (row, to) in tiles.data[tile].iter_mut().enumerate().take(rows) {
            let from = self.address.wrapping_add(row.wrapping_mul(self.stride)) as *const u8;
            // SAFETY: the caller's.
            unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), bytes) };
        }
    }

    unsafe fn tilestore(&self, tiles: &Tiles) {
        let tile = self.memory_operand(tiles);
        let bytes = tiles.row_bytes(tile);
        for (row, from) in tiles.data[tile].iter().enumerate().take(tiles.rows(tile)) {
            let to = self.address.wrapping_add(row.wrapping_mul(self.stride)) as *mut u8;
            // SAFETY: the caller's.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, bytes) };
        }
    }

    /// The tile register of a load or store, whose address must have a SIB byte.
    fn memory_operand(&self, tiles: &Tiles) -> usize {
        if !self.sib {
            fail(format_args!("opcode 4b without a SIB byte"));
        }
        configured(tiles, self.reg)
    }

    /// `C[m][n] += Σ_k Σ_i A[m][4k + i] * B[k][4n + i]`, wrapping; checks what #UD checks.
    fn product(&self, tiles: &mut Tiles, pp: u8) {
        let [c, a, b] = [self.reg, self.rm, self.vvvv].map(|tile| configured(tiles, tile));
        if c == a || a == b || c == b {
            fail(format_args!("tdp tmm{c}, tmm{a}, tmm{b}: the same register twice"));
        }
        let shape = |tile| (tiles.rows(tile), tiles.row_bytes(tile));
        let ((m, n), (a_rows, k), (b_rows, b_bytes)) = (shape(c), shape(a), shape(b));
        if m != a_rows || n != b_bytes || k != 4 * b_rows || n % 4 != 0 || k % 4 != 0 {
            fail(format_args!("tdp: C {m} x {n} bytes, A {a_rows} x {k}, B {b_rows} x {b_bytes} do not fit"));
        }
        let (a_signed, b_signed) = match pp {
            3 => (true, true),
            2 => (true, false),
            1 => (false, true),
            _ => (false, false),
        };
        let extend = |byte: u8, signed: bool| if signed { i32::from(byte as i8) } else { i32::from(byte) };
        let (left, right) = (tiles.data[a], tiles.data[b]);
        for (to, left) in tiles.data[c].iter_mut().zip(&left).take(m) {
            for (j, to) in to.chunks_exact_mut(4).enumerate().take(n / 4) {
                let mut sum = i32::from_le_bytes([to[0], to[1], to[2], to[3]]);
                for i in 0..k {
                    let (x, y) = (left[i], right[i / 4][4 * j + i % 4]);
                    sum = sum.wrapping_add(extend(x, a_signed) * extend(y, b_signed));
                }
                to.copy_from_slice(&sum.to_le_bytes());
            }
            to[n..].fill(0);
        }
        tiles.data[c][m..].fill([0; 64]);
        tiles.products += 1;
    }
}

/// `tile`, which must exist and be configured.
fn configured(tiles: &Tiles, tile: usize) -> usize {
    if tiles.config[0] == 0 {
        fail(format_args!("tile registers are used before LDTILECFG or after TILERELEASE"));
    }
    if tile > 7 || tiles.rows(tile) == 0 {
        fail(format_args!("tmm{tile} is not configured"));
    }
    tile
}
