//! `kinglet chat` on a terminal: turns, commands, Ctrl-C, Ctrl-D, and a context that fills up.
#![cfg(unix)]

mod common;
mod support;

use common::{Meta, talker};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Folder, own_program};

/// The program on a pseudo-terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// What of the screen has been waited for.
    seen: usize,
}

impl Terminal {
    fn new(folder: &Folder, args: &[&str]) -> Terminal {
        let (mut master, mut slave) = (0, 0);
        let none = std::ptr::null_mut();
        // SAFETY: two valid places for descriptors; the rest may be null.
        assert_eq!(unsafe { libc::openpty(&mut master, &mut slave, none, none.cast(), none.cast()) }, 0);
        // SAFETY: fresh descriptors that nobody else owns.
        let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
        command.args(args).env("KINGLET_HOME", folder.join("home")).env("TERM", "xterm");
        command
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()));
        command.stderr(Stdio::from(slave));
        // SAFETY: only async-signal-safe calls: the child leads a session whose terminal is this one, so that Ctrl-C reaches it.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let keyboard = File::from(master);
        let (mut reader, screen) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(String::new())));
        let shared = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                shared.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Terminal { child, keyboard, screen, seen: 0 }
    }

    /// Waits until `text` comes after everything that was waited for before.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap().clone();
            if let Some(at) = screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "`{text}` never came:\n{}",
                &screen[self.seen..]
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Ctrl-D, and a good end.
    #[track_caller]
    fn end(mut self) {
        self.keys("\u{4}");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{}", self.screen.lock().unwrap());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        panic!("Ctrl-D did not end the chat:\n{}", self.screen.lock().unwrap());
    }
}

const PROMPT: &str = "> ";

#[test]
fn turns_commands_and_ctrl_c() {
    let folder = Folder::new("chat-terminal");
    let model =
        folder.write("m.gguf", &talker().set("llama.context_length", Some(Meta::U32(1 << 20))).bytes());
    let mut t = Terminal::new(&folder, &["chat", model.to_str().unwrap(), "--temp", "0", "--ctx", "1000000"]);
    t.expect("Ctrl-D");
    t.expect(PROMPT);
    // The answer to this goes round in circles: Ctrl-C stops it and not the program.
    t.keys("zebra\r");
    t.expect("zebra");
    std::thread::sleep(Duration::from_millis(300));
    t.keys("\u{3}");
    t.expect("stopped");
    t.expect(PROMPT);
    // On the line itself it forgets the line.
    t.keys("not this\u{3}");
    t.expect(PROMPT);
    t.keys("/reset\r");
    t.expect("forgotten");
    t.expect(PROMPT);
    t.end();
    assert!(std::fs::read_to_string(folder.join("home/chat_history.txt")).unwrap().contains("zebra"));
}

#[test]
fn a_full_context_drops_the_oldest_turns() {
    let folder = Folder::new("chat-full");
    let model = folder.write("m.gguf", &talker().bytes());
    let mut t =
        Terminal::new(&folder, &["chat", model.to_str().unwrap(), "--temp", "0", "--ctx", "200", "-n", "20"]);
    t.expect(PROMPT);
    for i in 0..6 {
        t.keys("some words of a question\r");
        t.expect("question");
        t.expect("first token after");
        t.expect(PROMPT);
        let dropped = t.screen.lock().unwrap().contains("turns are dropped");
        assert!(i > 0 || !dropped);
        if dropped {
            return t.end();
        }
    }
    panic!("nothing was dropped:\n{}", t.screen.lock().unwrap());
}

/// Ctrl-C is the chat's; a request to end is obeyed at the prompt and within an answer.
#[test]
fn a_request_to_end_is_obeyed() {
    use std::os::unix::process::ExitStatusExt;
    support::requests_to_end_are_obeyed();
    let folder = Folder::new("chat-kill");
    let model =
        folder.write("m.gguf", &talker().set("llama.context_length", Some(Meta::U32(1 << 20))).bytes());
    for (signal, keys) in [(libc::SIGTERM, ""), (libc::SIGTERM, "zebra\r"), (libc::SIGHUP, "zebra\r")] {
        let mut t =
            Terminal::new(&folder, &["chat", model.to_str().unwrap(), "--temp", "0", "--ctx", "1000000"]);
        t.expect(PROMPT);
        t.keys(keys);
        std::thread::sleep(Duration::from_millis(300));
        // SAFETY: a process of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(t.child.id() as i32, signal) }, 0);
        let start = Instant::now();
        let status = loop {
            match t.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > Duration::from_secs(30) => {
                    let _ = t.child.kill();
                    panic!("signal {signal} did not end the chat after `{keys}`");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert_eq!(status.signal(), Some(signal), "{status}");
    }
}

#[test]
fn a_script_can_talk_too() {
    let folder = Folder::new("chat-script");
    let model = folder.write("m.gguf", &talker().bytes());
    let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
    command
        .args(["chat", model.to_str().unwrap(), "--temp", "0", "-n", "5", "-q"])
        .env("KINGLET_HOME", folder.join("home"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\nagain\n").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stderr).as_ref()), (Some(0), ""));
    assert!(out.stdout.iter().filter(|b| **b == b'\n').count() >= 2);
}

/// What a script wrote is answered also where it ends in the middle, and what is no text is named as everywhere.
#[test]
fn the_end_of_a_script_is_read_too() {
    let folder = Folder::new("chat-script-end");
    let model = folder.write("m.gguf", &talker().bytes());
    let chat = |input: &[u8]| {
        let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
        command.args(["chat", model.to_str().unwrap(), "--temp", "0", "-n", "5", "-q"]);
        command.env("KINGLET_HOME", folder.join("home")).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code(), out.stdout, String::from_utf8(out.stderr).unwrap())
    };
    let (code, answer, said) = chat(b"hello\\");
    assert!(code == Some(0) && !answer.is_empty(), "{said}");
    assert_eq!(chat(b"hello\\\n").1, answer);
    let (code, _, said) = chat(b"hello\xff\n");
    assert_eq!((code, said.as_str()), (Some(3), "kinglet: standard input: a line is not UTF-8 text\n"));
}
