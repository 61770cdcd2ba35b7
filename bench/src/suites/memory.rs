//! Memory that a model needs: of a process that has done nothing else.
//!
//! A worker has decoded before it is asked for memory, and the system remembers the peak of a whole life. So the worker starts
//! `kinglet-bench peak-memory`, which opens the model, decodes, and tells.

use super::end_to_end::{Case, prompt, tokens};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};

/// Tokens of the prompt, behind the depth, and of the text that follows.
const PROMPT: usize = 48;
const TEXT: usize = 16;

/// The largest memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// All that was resident at once: with the pages of the model's file that were used, and the program's. Linux maps pages around
    /// the one that is asked for, and where the loader puts the program decides which: it varies by some hundred kilobytes.
    pub resident: u64,
    /// Of that, what is not of files. The system keeps no peak of this part: it is the largest after the model was opened, after
    /// the prompt, and after each token.
    pub anonymous: u64,
}

/// Decodes in this process, and tells what that took.
///
/// # Errors
/// As decoding, or when the system does not tell.
pub fn of_this_process(case: &Case) -> Result<Peak, String> {
    let (depth, mut anonymous) = (case.measure.depth, 0);
    let mut look = || anonymous = anonymous.max(field("RssAnon:").unwrap_or(0));
    case.with(PROMPT + TEXT, |session, team, vocab| {
        look();
        let tokens = tokens(depth + PROMPT + TEXT, vocab);
        let (before, text) = tokens.split_at(depth + PROMPT);
        prompt(session, team, before)?;
        look();
        for token in text {
            prompt(session, team, &[*token])?;
            look();
        }
        Ok(())
    })?;
    let resident = field("VmHWM:").ok_or("this system does not tell the memory of a process")?;
    Ok(Peak { resident, anonymous })
}

/// As [`of_this_process`], of a new one.
///
/// # Errors
/// When this program is not `kinglet-bench`, or the new process fails.
pub fn of_a_fresh_process(case: &Case) -> Result<Peak, String> {
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let output = Command::new(&program)
        .args(["peak-memory", "--tier", case.tier.name(), "--kv", &case.kv])
        .args(["--threads", &case.threads.to_string(), "--depth", &case.measure.depth.to_string()])
        .args(["--batch", &case.measure.batch.to_string(), "--model"])
        .arg(&case.path)
        .stdin(Stdio::null())
        .output();
    let shown = program.display();
    let output = output.map_err(|e| format!("cannot start {shown}: {e}"))?;
    let told = serde_json::from_slice(&output.stdout);
    told.map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it is no kinglet-bench");
        format!("`{shown} peak-memory` told no memory ({}): {last}", output.status)
    })
}

/// Bytes of a field of `/proc/self/status`.
pub fn field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}
