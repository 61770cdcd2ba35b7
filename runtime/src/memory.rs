//! How much memory there is, and what to say when a model does not fit.
//!
//! Weights are pages of the model's file, which the system drops and reads again as it needs: a model whose weights do not stay
//! in memory runs at the speed of its disk. Keys, values and activations are memory that must be there.

use crate::machine::cgroup::Cgroups;

/// Bytes that a process takes at most beside weights, keys and values, and activations: tokenizer, logits, scratch, code.
pub const REST: u64 = 64 << 20;

/// Bytes of activations for each token of a batch and each value of the widest row, at most.
pub const ACTIVATION_BYTES: u64 = 16;

/// Bytes that this process may still take, if the system tells: the machine's, or what its control groups leave.
pub fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|t| mem_available(&t));
    machine.into_iter().chain(Cgroups::of_this_process().memory_left()).min()
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What running a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Weights that every token reads.
    pub weights: u64,
    /// Keys and values of a full context.
    pub kv: u64,
    /// Activations of a batch.
    pub activations: u64,
}

impl Needs {
    /// All together, with [`REST`].
    pub fn total(&self) -> u64 {
        [self.kv, self.activations, REST].iter().fold(self.weights, |a, b| a.saturating_add(*b))
    }
}

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The person's `--mem`.
    Budget(u64),
    /// What [`available`] says.
    Available(u64),
}

/// An error for a model that needs more than there is, with a context of `n_ctx` tokens. `others` are other ways to run it, as
/// options and needs, the one to be preferred first.
///
/// # Errors
/// When it does not fit: one line with the numbers and what to do.
pub fn check_fits(
    needs: Needs,
    limit: Option<Limit>,
    n_ctx: usize,
    others: impl IntoIterator<Item = (String, Needs)>,
) -> Result<(), String> {
    let (bytes, what) = match limit {
        None => return Ok(()),
        Some(Limit::Budget(bytes)) => (bytes, "--mem allows"),
        Some(Limit::Available(bytes)) => (bytes, "this machine has available"),
    };
    if needs.total() <= bytes {
        return Ok(());
    }
    let help = match others.into_iter().find(|(_, n)| n.total() <= bytes) {
        Some((options, needs)) => format!("{options} needs {}", size(needs.total())),
        None => "not even a smaller --ctx with --kv q8_0 fits: take a smaller model".to_owned(),
    };
    let anyway = match limit {
        Some(Limit::Available(_)) => "; --mem with a larger size tries all the same",
        _ => "",
    };
    Err(format!(
        "the model needs {} of memory, and {what} {}: weights {}, keys and values of {n_ctx} tokens {}, activations {}, \
         all else {}; {help}{anyway}",
        size(needs.total()),
        size(bytes),
        size(needs.weights),
        size(needs.kv),
        size(needs.activations),
        size(REST),
    ))
}

/// `512 MiB`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// The bytes of `2G`, `1.5GiB`, `512M`: binary units, one letter or in full.
///
/// # Errors
/// When it is no size, or has no unit and is too small to be one of memory.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(split);
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("`{unit}` is no unit of memory; write 2G or 512M")),
    };
    let number = digits.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    let bytes = number.ok_or("not a size; write 2G or 512M")? * (1u64 << shift) as f64;
    match bytes {
        b if b < f64::from(1 << 20) => Err("less than 1 MiB; write 2G or 512M".to_owned()),
        b if b < (1u64 << 62) as f64 => Ok(b as u64),
        _ => Err("more than there is anywhere".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_understood() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_numbers() {
        let needs = Needs { weights: 4 << 30, kv: 3 << 30, activations: 100 << 20 };
        let smaller = |kv| Needs { kv, ..needs };
        let others =
            || [("--kv q8_0".to_owned(), smaller(2 << 30)), ("--ctx 512".to_owned(), smaller(1 << 20))];
        let limit = Some(Limit::Available((4 << 30) + (512 << 20)));
        let said = check_fits(needs, limit, 32768, others()).unwrap_err();
        for word in [
            "7.2 GiB",
            "4.5 GiB",
            "weights 4.0 GiB",
            "32768 tokens 3.0 GiB",
            "activations 100 MiB",
            "--ctx 512",
            "--mem",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("--kv q8_0"), "{said}");
        let said = check_fits(needs, Some(Limit::Budget(7 << 30)), 32768, others()).unwrap_err();
        assert!(said.contains("--mem allows 7.0 GiB") && said.contains("--kv q8_0 needs 6.2 GiB"), "{said}");
        let said = check_fits(needs, Some(Limit::Budget(1 << 30)), 32768, others()).unwrap_err();
        assert!(said.contains("smaller model"), "{said}");
        assert_eq!(check_fits(needs, Some(Limit::Budget(needs.total())), 1, others()), Ok(()));
        assert_eq!(check_fits(needs, None, 1, others()), Ok(()));
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        assert_eq!(parse_size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_size("512mb"), Ok(512 << 20));
        assert_eq!(parse_size("1048576"), Ok(1 << 20));
        for wrong in ["", "4", "G", "-1G", "nanG", "1e300G", "2X", "2GG"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
