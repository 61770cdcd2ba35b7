//! Programs that answer requests, one a line: ours, llama.cpp's and candle's. `bench/peers/candle/src/main.rs` lists them.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running peer; it ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// The last line that it wrote to standard error.
    said: Arc<Mutex<String>>,
    timeout: Duration,
    /// What it said it is, after `ready `.
    pub ready: String,
}

impl Worker {
    /// Starts a peer and waits until its model is loaded.
    ///
    /// # Errors
    /// In words, when it does not start or does not get ready.
    pub fn start(command: &mut Command, timeout: Duration) -> Result<Worker, String> {
        let shown = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("cannot start {shown}: {e}"))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let lines = output.into_iter().flat_map(|o| BufReader::new(o).lines());
            // Ends with the peer, or with who listens.
            lines.map_while(Result::ok).take_while(|l| send.send(l.clone()).is_ok()).for_each(drop);
        });
        let said = Arc::new(Mutex::new(String::new()));
        let last = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in
                errors.into_iter().flat_map(|e| BufReader::new(e.take(1 << 24)).lines()).map_while(Result::ok)
            {
                let note = line.starts_with("note: run with `RUST_BACKTRACE");
                if let (false, false, Ok(mut last)) = (line.trim().is_empty(), note, last.lock()) {
                    *last = line;
                }
            }
        });
        let mut worker = Worker { child, input, lines, said, timeout, ready: String::new() };
        let first = worker.line()?;
        let ready = first.strip_prefix("ready ").ok_or_else(|| format!("{shown} began with `{first}`"))?;
        worker.ready = ready.to_owned();
        Ok(worker)
    }

    fn line(&mut self) -> Result<String, String> {
        match self.lines.recv_timeout(self.timeout) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                // It computes still, and nobody waits for it any more.
                let _ = self.child.kill();
                Err(format!("no answer within {} s", self.timeout.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().map_or(String::new(), |s| s.to_string());
                // What it wrote last is read by another thread, a moment later perhaps.
                std::thread::sleep(Duration::from_millis(50));
                let said = self.said.lock().map(|s| s.clone()).unwrap_or_default();
                Err(format!("it ended ({status}): {said}"))
            }
        }
    }

    /// Sends a request and returns the answer.
    ///
    /// # Errors
    /// What the peer says it cannot do, or that it ended or hangs.
    pub fn ask(&mut self, request: &str) -> Result<String, String> {
        let sent = self.input.as_mut().map(|i| writeln!(i, "{request}").and_then(|()| i.flush()));
        let answer = match sent {
            // Why it cannot be written to is what it said last.
            Some(_) => self.line()?,
            None => return Err("it has no input".to_owned()),
        };
        match answer.strip_prefix("error: ") {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer),
        }
    }

    /// Asks for a number.
    ///
    /// # Errors
    /// As [`Worker::ask`], and when the answer is no positive number.
    pub fn number(&mut self, request: &str) -> Result<f64, String> {
        let answer = self.ask(request)?;
        let number = answer.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
        number.ok_or_else(|| format!("`{request}` was answered with `{answer}`"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, seconds: u64) -> Result<Worker, String> {
        Worker::start(Command::new("sh").args(["-c", script]), Duration::from_secs(seconds))
    }

    #[test]
    fn answers_errors_and_ends_are_told_apart() {
        let script = "echo ready x 1; read a; echo 2.5; read a; echo error: cannot; read a; echo what; read a; echo broken >&2; exit 3";
        let mut w = shell(script, 60).unwrap();
        assert_eq!(w.ready, "x 1");
        assert_eq!(w.number("pp 1 0"), Ok(2.5));
        assert_eq!(w.number("pp 1 0"), Err("cannot".to_owned()));
        assert!(w.number("pp 1 0").unwrap_err().contains("`what`"));
        let e = w.ask("pp 1 0").unwrap_err();
        assert!(e.contains("exit status: 3") && e.contains("broken"), "{e}");
    }

    #[test]
    fn a_peer_that_does_not_get_ready_is_an_error() {
        assert!(shell("echo hello; sleep 5", 60).unwrap_err().contains("`hello`"));
        assert!(shell("echo no such model >&2; exit 1", 60).unwrap_err().contains("no such model"));
        assert!(shell("sleep 30", 1).unwrap_err().contains("within 1 s"));
        assert!(Worker::start(&mut Command::new("/no/such/program"), Duration::from_secs(1)).is_err());
    }
}
