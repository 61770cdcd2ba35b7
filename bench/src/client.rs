//! The other side of the protocol: starts a worker, asks it, and gives up when it does not answer.

use crate::protocol::{Burst, Done, Hello, List, PROTOCOL, Reply, Sum};
use crate::record::FailureKind;
use crate::suite::Entry;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How to start a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Why a worker gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerError {
    /// What happened.
    pub kind: FailureKind,
    /// In words.
    pub detail: String,
    /// Whether the worker is still there and can be asked for something else.
    pub alive: bool,
}

impl WorkerError {
    fn crashed(detail: String) -> WorkerError {
        WorkerError { kind: FailureKind::Crashed, detail, alive: false }
    }
}

impl std::fmt::Display for WorkerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

/// A running worker. Killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<std::io::Result<String>>,
    timeout: Duration,
}

impl Worker {
    /// Starts a worker on CPU `pin`, and lets it introduce itself. Every answer may take `timeout`.
    ///
    /// # Errors
    /// When it cannot be started or speaks another protocol.
    pub fn start(
        launch: &Launch,
        pin: Option<usize>,
        timeout: Duration,
    ) -> Result<(Worker, Hello), WorkerError> {
        let name = launch.program.display();
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // Ctrl-C is for us: the worker finishes what it is at.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let started = crate::pin::on(pin, || command.spawn());
        let mut child = started.map_err(|e| WorkerError::crashed(format!("cannot start {name}: {e}")))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (send, lines) = channel();
        if let Some(output) = output {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    let ended = line.is_err();
                    if send.send(line).is_err() || ended {
                        break;
                    }
                }
            });
        }
        let mut worker = Worker { child, input, lines, timeout };
        let hello: Hello = worker.ask("hello").map_err(|e| WorkerError {
            detail: format!("{name} is no worker of kinglet-bench: {}", e.detail),
            alive: false,
            ..e
        })?;
        if hello.protocol != PROTOCOL {
            let (theirs, detail) = (hello.protocol, "use programs of about the same age");
            return Err(WorkerError::crashed(format!(
                "{name} speaks protocol {theirs}, not {PROTOCOL}: {detail}"
            )));
        }
        Ok((worker, hello))
    }

    /// The benchmarks it has.
    ///
    /// # Errors
    /// As every request: when it has ended, does not answer in time, or says that it cannot.
    pub fn list(&mut self) -> Result<Vec<Entry>, WorkerError> {
        Ok(self.ask::<List>("list")?.benchmarks)
    }

    /// Makes a benchmark ready.
    ///
    /// # Errors
    /// As [`Worker::list`].
    pub fn prepare(&mut self, name: &str) -> Result<(), WorkerError> {
        self.ask::<Done>(&format!("prepare {name}")).map(|_| ())
    }

    /// Runs `chunks` times `iterations` iterations.
    ///
    /// # Errors
    /// As [`Worker::list`].
    pub fn run(&mut self, chunks: u64, iterations: u64) -> Result<Burst, WorkerError> {
        let burst: Burst = self.ask(&format!("run {chunks} {iterations}"))?;
        if burst.samples.len() as u64 != chunks || burst.samples.iter().any(|s| !s.is_finite() || *s < 0.0) {
            let said = format!("asked for {chunks} samples, the worker answered {:?}", burst.samples);
            return Err(WorkerError { kind: FailureKind::Crashed, detail: said, alive: true });
        }
        Ok(burst)
    }

    /// The checksum of the answer.
    ///
    /// # Errors
    /// As [`Worker::list`].
    pub fn checksum(&mut self) -> Result<String, WorkerError> {
        Ok(self.ask::<Sum>("checksum")?.checksum)
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &str) -> Result<T, WorkerError> {
        let sent = match &mut self.input {
            Some(input) => input.write_all(format!("{request}\n").as_bytes()).and_then(|()| input.flush()),
            None => Ok(()),
        };
        let line = match self.lines.recv_timeout(self.timeout) {
            Ok(Ok(line)) => line,
            Err(RecvTimeoutError::Timeout) => {
                let seconds = self.timeout.as_secs();
                self.end();
                let detail = format!("no answer to `{request}` within {seconds} s (a longer --timeout?)");
                return Err(WorkerError { kind: FailureKind::TimedOut, detail, alive: false });
            }
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                let how = self.end();
                let sent = sent.err().map(|e| format!(" ({e})")).unwrap_or_default();
                return Err(WorkerError::crashed(format!("the worker ended{how} at `{request}`{sent}")));
            }
        };
        match serde_json::from_str::<Reply<T>>(&line) {
            Ok(Reply::Ok(reply)) => Ok(reply),
            Ok(Reply::Error { error }) => {
                Err(WorkerError { kind: FailureKind::Crashed, detail: error, alive: true })
            }
            Err(_) => {
                self.end();
                let start: String = line.chars().take(80).collect();
                Err(WorkerError::crashed(format!("the worker answered `{start}` to `{request}`")))
            }
        }
    }

    /// Kills the process and what it has started, which would hold our standard error open.
    fn kill(&mut self) {
        #[cfg(unix)]
        if let Ok(group) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: only sends a signal, to the group that the worker leads; it has not been waited for, so that its number
            // cannot be another process's.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        let _ = self.child.kill();
    }

    /// Ends the process, and says how it ended when it had already.
    fn end(&mut self) -> String {
        self.input = None;
        // A process that closed its output is about to be gone; the signal that killed it is worth waiting a moment for.
        for _ in 0..50 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return format!(" ({status})");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.kill();
        let _ = self.child.wait();
        String::new()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(b"quit\n").and_then(|()| input.flush());
        }
        self.end();
    }
}
