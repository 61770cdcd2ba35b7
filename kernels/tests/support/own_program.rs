//! Programs that tests start: the one that is tested, or the test's own again, with another environment.

use std::path::Path;
use std::process::Command;

/// A command that runs one of our own programs, in the emulator when the tests run in one.
pub fn own_program(path: &Path) -> Command {
    let runner = std::env::var("KINGLET_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(emulator) = words.next() else { return Command::new(path) };
    let mut command = Command::new(emulator);
    command.args(words).arg(path);
    command
}
