//! What instructions of AMX cost, alone and beside each other, in cycles: why the kernels of `amx_int8` are as they are.
//!
//!     cargo run --release -p kinglet-bench --example amx_cycles
//!
//! Each line is a loop over one tile product of 16 rows x 16 columns x 32 weights, or parts of it: *load* is two `tileloadd`,
//! *multiply* `tilezero` and `tdpbssd`, *store* `tilestored`, *step* the f32 sum of 16 rows (`vcvtdq2ps`, `vmulps`,
//! `vfmadd231ps` each). All 0, in L1, independent of each other. Cycles are those of a chain of `imul` right after each burst,
//! so that they are of the frequency that the burst left. `bench/log/x86.md` keeps a run.

#[cfg(target_arch = "x86_64")]
mod amx {
    use kinglet_bench::stats::median;
    use std::arch::asm;
    use std::arch::x86_64::_rdtsc;

    #[repr(align(4096))]
    struct Page<T>(T);

    /// The buffers that the loops read and write.
    pub struct Buffers {
        x: Page<[i8; 16384]>,
        w: Page<[i8; 16384]>,
        sums: Page<[i32; 4096]>,
    }

    macro_rules! step {
        ($reg:literal, $part:literal, $lanes:literal) => {
            concat!(
                ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n",
                "vcvtdq2ps ",
                $reg,
                "17, [{sums} + 2048 + ",
                $part,
                " + 64*\\c]\n",
                "vmulps ",
                $reg,
                "18, ",
                $reg,
                "16, dword ptr [{w} + 8192 + 4*\\c]{{1to",
                $lanes,
                "}}\n",
                "vfmadd231ps ",
                $reg,
                "\\c, ",
                $reg,
                "18, ",
                $reg,
                "17\n",
                ".endr\n",
            )
        };
    }

    macro_rules! kernels {
        ($($name:ident $label:literal = [$($part:expr),*];)*) => {
            $(
                fn $name(b: &mut Buffers, n: usize) {
                    // SAFETY: AMX is permitted and configured; every address is within the buffers; all registers that are
                    // written are declared.
                    unsafe {
                        asm!(
                            "vpxord zmm17, zmm17, zmm17",
                            "vpxord zmm16, zmm16, zmm16",
                            ".irp c,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                            "vpxord zmm\\c, zmm\\c, zmm\\c",
                            ".endr",
                            "2:",
                            $($part,)*
                            "/* {x} {w} {sums} {xs} {c64} */",
                            "dec {n}",
                            "jnz 2b",
                            n = inout(reg) n => _,
                            x = in(reg) &raw mut b.x,
                            w = in(reg) &raw mut b.w,
                            sums = in(reg) &raw mut b.sums,
                            xs = in(reg) 896usize,
                            c64 = in(reg) 64usize,
                            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                            out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _,
                            out("zmm17") _, out("zmm18") _, out("tmm0") _, out("tmm4") _, out("tmm6") _,
                        );
                    }
                }
            )*
            const ALL: &[(&str, fn(&mut Buffers, usize))] = &[$(($label, $name)),*];
        };
    }

    kernels! {
        load "load" = ["tileloadd tmm4, [{x} + {xs}*1]", "tileloadd tmm6, [{w} + {c64}*1]"];
        multiply "multiply" = ["tilezero tmm0", "tdpbssd tmm0, tmm4, tmm6"];
        store "store" = ["tilestored [{sums} + {c64}*1], tmm0"];
        step "step" = [step!("zmm", "0", "16")];
        step_256 "step in 256 bits" = [step!("ymm", "0", "8"), step!("ymm", "32", "8")];
        multiply_store "multiply, store" =
            ["tilezero tmm0", "tdpbssd tmm0, tmm4, tmm6", "tilestored [{sums} + {c64}*1], tmm0"];
        multiply_step "multiply, step" = ["tilezero tmm0", "tdpbssd tmm0, tmm4, tmm6", step!("zmm", "0", "16")];
        multiply_step_256 "multiply, step in 256 bits" =
            ["tilezero tmm0", "tdpbssd tmm0, tmm4, tmm6", step!("ymm", "0", "8"), step!("ymm", "32", "8")];
        store_step "store, step" = ["tilestored [{sums} + {c64}*1], tmm0", step!("zmm", "0", "16")];
        all "load, multiply, store, step" = [
            "tileloadd tmm4, [{x} + {xs}*1]", "tileloadd tmm6, [{w} + {c64}*1]", "tilezero tmm0",
            "tdpbssd tmm0, tmm4, tmm6", "tilestored [{sums} + {c64}*1], tmm0", step!("zmm", "0", "16")
        ];
        all_256 "load, multiply, store, step in 256 bits" = [
            "tileloadd tmm4, [{x} + {xs}*1]", "tileloadd tmm6, [{w} + {c64}*1]", "tilezero tmm0",
            "tdpbssd tmm0, tmm4, tmm6", "tilestored [{sums} + {c64}*1], tmm0",
            step!("ymm", "0", "8"), step!("ymm", "32", "8")
        ];
    }

    fn ticks(f: impl FnOnce()) -> f64 {
        // SAFETY: part of every x86-64.
        let start = unsafe { _rdtsc() };
        f();
        // SAFETY: as above.
        (unsafe { _rdtsc() } - start) as f64
    }

    /// 3000 cycles.
    fn chain() {
        // SAFETY: changes only its own operands.
        unsafe {
            asm!("2:", ".rept 100", "imul {x}, {x}", ".endr", "dec {n}", "jnz 2b", n = inout(reg) 10usize => _, x = inout(reg) 1usize => _)
        }
    }

    pub fn run() {
        let mut config = Page([0u8; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            let (rows, bytes) =
                [(16, 64), (16, 32), (8, 64)][usize::from(tile >= 4) + usize::from(tile >= 6)];
            (config.0[48 + tile], config.0[16 + 2 * tile]) = (rows, bytes);
        }
        // SAFETY: the tier is usable and tile registers are permitted (both checked by the caller).
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config) };
        let mut buffers =
            Box::new(Buffers { x: Page([0; 16384]), w: Page([0; 16384]), sums: Page([0; 4096]) });
        println!("| per tile product | cycles |\n|---|---:|");
        for (label, f) in ALL {
            let cycles: Vec<f64> = (0..61)
                .map(|_| {
                    f(&mut buffers, 50_000);
                    let burst = ticks(|| f(&mut buffers, 5_000)) / 5_000.0;
                    burst / (ticks(chain) / 3_000.0)
                })
                .collect();
            println!("| {label} | {:.1} |", median(&cycles));
        }
        // SAFETY: as above.
        unsafe { asm!("tilerelease") };
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Also asks Linux for the permission.
    kinglet_kernels::Kernels::with_tier(kinglet_kernels::Tier::AmxInt8)?;
    #[cfg(target_arch = "x86_64")]
    amx::run();
    Ok(())
}
