//! The `amx_int8` tier against the reference, bit for bit: on a CPU with AMX natively, on one with AVX-512 only with the
//! instructions of AMX emulated (`support/amx_emulator.rs`), so that the kernels are proven before such a CPU is at hand.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "support/amx_emulator.rs"]
mod amx_emulator;
mod support;

use kinglet_kernels::list::{Op, Operand};
use kinglet_kernels::{Format, Kernels, MatMut, Matrix, Tier};
use kinglet_reference::quantize::quantize;
use support::matmul::{self, Columns};
use support::{Place, not_run};

/// Below, at and above the edges of 16 rows and columns, of panels of 32 rows, and of what is left to `vpdpbusd`.
const ROWS: &[usize] = &[1, 15, 16, 17, 31, 32, 33, 49];
const COLUMNS: &[usize] = &[1, 8, 11, 12, 13, 14, 15, 16, 17, 27, 28, 29, 30, 31, 32, 33, 47, 48, 49];

/// The tier, and whether it is emulated; `None` where neither is possible.
fn amx() -> Option<(Kernels, bool)> {
    if let Ok(kernels) = Kernels::with_tier(Tier::AmxInt8) {
        return Some((kernels, false));
    }
    if let Err(why) = Tier::Avx512Vnni.check() {
        not_run(Tier::AmxInt8, &why);
        return None;
    }
    amx_emulator::install();
    // SAFETY: the CPU has AVX-512; what it lacks beside it is emulated.
    let kernels = unsafe { Kernels::with_tier_unchecked(Tier::AmxInt8) };
    Some((kernels.unwrap(), true))
}

/// Runs `test`, which must execute products on tile registers.
fn on_amx(test: impl FnOnce(&[Kernels])) {
    let Some((kernels, emulated)) = amx() else { return };
    let before = amx_emulator::products();
    test(&[kernels]);
    if emulated {
        let products = amx_emulator::products() - before;
        assert!(products > 0, "no instruction of AMX was executed");
        assert!(amx_emulator::released(), "the tile registers were left configured");
        println!("amx_int8: {products} tile products emulated");
    }
}

#[test]
fn every_shape_around_the_tiles() {
    on_amx(|kernels| matmul::every_shape(kernels, ROWS, COLUMNS));
}

#[test]
fn misaligned_weights() {
    on_amx(|kernels| matmul::misaligned_weights(kernels, &[16]));
}

#[test]
fn extreme_codes_and_activations() {
    on_amx(matmul::extreme_codes_and_activations);
}

#[test]
fn special_scales() {
    on_amx(matmul::special_scales);
}

#[test]
fn more_columns_than_are_worked_on_at_once() {
    on_amx(|kernels| matmul::many_columns(kernels, &[512, 517, 531, 541]));
}

/// Tile registers are used for as many columns as the list of kernels says, with one product for each group (two with
/// sub-scales), 16 rows and block of columns.
#[test]
fn products_are_as_many_as_they_should_be() {
    let Some((kernels, emulated)) = amx() else { return };
    for (format, cols, per_tile, fewest) in [(Format::Q8_0, 96, 3, 14), (Format::Q6_K, 256, 16, 32)] {
        let data = vec![0; 33 * format.row_bytes(cols).unwrap()];
        let w = Matrix::new(format, &data, 33, cols).unwrap();
        for n in 1..=50 {
            let x = Columns::new(&vec![quantize(&vec![1.0; cols]); n], Place::AtEnd);
            let (mut y, mut scratch) = (vec![0.0; 33 * n], vec![0; kernels.matmul_scratch(&w)]);
            let before = amx_emulator::products();
            kernels.matmul(&w, &x.view(), &mut MatMut::new(&mut y, 33, n).unwrap(), &mut scratch).unwrap();
            let blocks = if n < fewest { 0 } else { n / 16 + usize::from(n % 16 >= fewest) };
            if emulated {
                let products = (amx_emulator::products() - before) as usize;
                assert_eq!(products, 3 * per_tile * blocks, "{format}, {n} columns");
            }
            let kernel = kernels.kernel_for(Op::Gemm, Operand::Weights(format), n).unwrap();
            assert_eq!(kernel.tier == Tier::AmxInt8, blocks > 0, "{kernel} for {n} columns");
        }
    }
}

/// Of the child process of the next test: the format, and the number of columns.
const CHILD: &str = "KINGLET_TEST_WITHOUT_TILES";

/// Does nothing by itself: multiplies on the tier without having asked Linux for tile registers.
#[test]
fn child_without_permission() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let (format, n) = text.split_once(' ').unwrap();
    let format = if format == "q8_0" { Format::Q8_0 } else { Format::Q6_K };
    let (data, n) = (vec![0; 33 * format.row_bytes(256).unwrap()], n.parse().unwrap());
    let w = Matrix::new(format, &data, 33, 256).unwrap();
    // SAFETY: the CPU has AVX-512; an instruction of AMX ends this process.
    let kernels = unsafe { Kernels::with_tier_unchecked(Tier::AmxInt8) }.unwrap();
    let x = Columns::new(&vec![quantize(&[1.0; 256]); n], Place::AtEnd);
    let (mut y, mut scratch) = (vec![0.0; 33 * n], vec![0; kernels.matmul_scratch(&w)]);
    kernels.matmul(&w, &x.view(), &mut MatMut::new(&mut y, 33, n).unwrap(), &mut scratch).unwrap();
    println!("no tile register was needed");
}

/// Products run on tile registers exactly where the list of kernels says so: they are impossible to a process that has not asked
/// for the permission, on hardware with AMX as on hardware without.
#[test]
fn tile_registers_are_used_where_the_list_says_so() {
    use std::os::unix::process::ExitStatusExt;
    let Some((kernels, _)) = amx() else { return };
    for (name, format) in [("q8_0", Format::Q8_0), ("q6_k", Format::Q6_K)] {
        for n in [1, 8, 13, 14, 16, 31, 32, 33] {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child_without_permission", "--nocapture"])
                .env(CHILD, format!("{name} {n}"))
                .output()
                .unwrap();
            let without = String::from_utf8_lossy(&child.stdout).contains("no tile register was needed");
            let tiles =
                kernels.kernel_for(Op::Gemm, Operand::Weights(format), n).unwrap().tier == Tier::AmxInt8;
            assert_eq!(child.status.signal() == Some(libc::SIGILL), tiles, "{name}, {n} columns");
            assert_eq!(without, !tiles, "{name}, {n} columns");
        }
    }
}

/// The emulator, or the CPU, multiplies as the manual says, whatever is signed, and reads back its configuration.
#[test]
fn instructions_do_what_the_manual_says() {
    let Some((_, emulated)) = amx() else { return };
    const M: usize = 5;
    const K: usize = 12;
    const N: usize = 7;
    let mut rng = support::Rng(5);
    let a: [[u8; K]; M] = std::array::from_fn(|_| std::array::from_fn(|_| rng.next() as u8));
    let b: [[u8; 4 * N]; K / 4] = std::array::from_fn(|_| std::array::from_fn(|_| rng.next() as u8));
    let start: [[i32; N]; M] = std::array::from_fn(|_| std::array::from_fn(|_| rng.next() as i32));
    let mut config = [0u8; 64];
    config[0] = 1;
    for (tile, rows, bytes) in [(3, M, 4 * N), (5, M, K), (7, K / 4, 4 * N)] {
        config[48 + tile] = rows as u8;
        config[16 + 2 * tile] = bytes as u8;
    }
    macro_rules! run {
        ($instruction:literal, $a:ty, $b:ty) => {{
            let (mut c, mut read_back) = (start, [0u8; 64]);
            // SAFETY: the operands have the sizes that the configuration says.
            unsafe {
                std::arch::asm!(
                    "ldtilecfg [{config}]",
                    "tileloadd tmm3, [{c} + {n}*4]",
                    "tileloaddt1 tmm5, [{a} + {k}*1]",
                    "tileloadd tmm7, [{b} + {n}*4]",
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "tilestored [{c} + {n}*4], tmm3",
                    "sttilecfg [{read_back}]",
                    "tilerelease",
                    config = in(reg) &config,
                    read_back = in(reg) &mut read_back,
                    a = in(reg) &a,
                    b = in(reg) &b,
                    c = in(reg) &mut c,
                    k = in(reg) K,
                    n = in(reg) N,
                    out("tmm3") _, out("tmm5") _, out("tmm7") _,
                    options(nostack),
                );
            }
            assert_eq!(read_back, config);
            for (m, (c, start)) in c.iter().zip(start).enumerate() {
                for (n, (c, start)) in c.iter().zip(start).enumerate() {
                    let term = |k: usize| i32::from(a[m][k] as $a) * i32::from(b[k / 4][4 * n + k % 4] as $b);
                    let want = (0..K).fold(start, |sum, k| sum.wrapping_add(term(k)));
                    assert_eq!(*c, want, "{}", $instruction);
                }
            }
        }};
    }
    let before = amx_emulator::products();
    run!("tdpbssd", i8, i8);
    run!("tdpbsud", i8, u8);
    run!("tdpbusd", u8, i8);
    run!("tdpbuud", u8, u8);
    assert_eq!(amx_emulator::products() - before, if emulated { 4 } else { 0 });
}

/// What the manual answers with an exception must not pass for a result.
#[test]
fn what_the_manual_forbids_ends_the_process() {
    const CASE: &str = "KINGLET_TEST_FORBIDDEN";
    let Some((_, emulated)) = amx() else { return };
    let mut config = [0u8; 64];
    config[0] = 1;
    if let Ok(case) = std::env::var(CASE) {
        // SAFETY: the process ends within it.
        unsafe {
            match case.as_str() {
                "before LDTILECFG" => std::arch::asm!("tilezero tmm0", out("tmm0") _),
                "palette 2" => {
                    config[0] = 2;
                    std::arch::asm!("ldtilecfg [{}]", in(reg) &config);
                }
                "not configured" => std::arch::asm!("ldtilecfg [{}]", "tilezero tmm2", in(reg) &config),
                "do not fit" => {
                    for tile in 0..3 {
                        config[48 + tile] = 4;
                        config[16 + 2 * tile] = 8;
                    }
                    std::arch::asm!("ldtilecfg [{}]", "tdpbssd tmm0, tmm1, tmm2", in(reg) &config);
                }
                "not AMX" => std::arch::asm!("ud2"),
                other => panic!("no case {other}"),
            }
        }
        return;
    }
    // A CPU answers with a signal of its own, without our words.
    for case in ["before LDTILECFG", "palette 2", "not configured", "do not fit", "not AMX"]
        .iter()
        .filter(|_| emulated)
    {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "what_the_manual_forbids_ends_the_process", "--nocapture"]).env(CASE, case);
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("AMX emulator: ") && said.contains(case),
            "{case}: {said}"
        );
    }
}
