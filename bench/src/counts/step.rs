//! Counting by single steps: the kernel of the operating system stops the program after each of its instructions. It needs
//! no emulator, so it counts every tier that the machine has; a step takes a few microseconds.

use std::path::Path;

/// Runs `program`, whose regions begin and end with a breakpoint; returns what it printed and the steps of each region.
///
/// # Errors
/// In words: the program's own, or that this system does not let processes be traced.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(super) fn count(_: &Path, _: &[&str]) -> Result<(String, Vec<u64>), String> {
    Err("stepping works on x86-64 Linux only".to_owned())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) use linux::count;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux {
    use super::Path;
    use std::io::{Error, Read};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::ptr::null_mut;

    fn os(what: &str) -> String {
        format!("{what}: {}", Error::last_os_error())
    }

    /// A ptrace request without an address.
    fn ptrace(request: libc::c_uint, pid: i32, data: i32) -> Result<(), String> {
        // SAFETY: none of the requests made here reads or writes memory of this process.
        let done = unsafe { libc::ptrace(request, pid, null_mut::<libc::c_void>(), data as usize) };
        if done == -1 { Err(os("ptrace")) } else { Ok(()) }
    }

    /// Whether the trap that `pid` is stopped at is a breakpoint instruction rather than a step.
    fn at_breakpoint(pid: i32) -> Result<bool, String> {
        const SI_KERNEL: i32 = 0x80;
        // SAFETY: zeroes are a valid siginfo_t, and it is large enough for what the request writes.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` outlives the call.
        let done =
            unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, pid, null_mut::<libc::c_void>(), &raw mut info) };
        if done == -1 { Err(os("ptrace")) } else { Ok(info.si_code == SI_KERNEL) }
    }

    fn wait(pid: i32) -> Result<(i32, i32), String> {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let who = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if who == -1 { Err(os("waitpid")) } else { Ok((who, status)) }
    }

    /// This thread, and the processes it starts, on one core until it is dropped.
    struct Pinned(Option<libc::cpu_set_t>);

    impl Pinned {
        fn to_this_core() -> Pinned {
            // SAFETY: zeroes are a valid, empty set; the calls read and write sets of the size they are told.
            unsafe {
                let (mut all, mut one): (libc::cpu_set_t, libc::cpu_set_t) =
                    (std::mem::zeroed(), std::mem::zeroed());
                let size = size_of::<libc::cpu_set_t>();
                let here = libc::sched_getcpu();
                if here < 0 || libc::sched_getaffinity(0, size, &raw mut all) != 0 {
                    return Pinned(None);
                }
                libc::CPU_SET(here as usize, &mut one);
                Pinned((libc::sched_setaffinity(0, size, &raw const one) == 0).then_some(all))
            }
        }
    }

    impl Drop for Pinned {
        fn drop(&mut self) {
            if let Some(all) = self.0 {
                // SAFETY: `all` is what the system said before.
                unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const all) };
            }
        }
    }

    pub(in super::super) fn count(program: &Path, args: &[&str]) -> Result<(String, Vec<u64>), String> {
        let mut command = Command::new(program);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only one system call is made, which allocates nothing.
        unsafe {
            command.pre_exec(|| {
                match libc::ptrace(libc::PTRACE_TRACEME, 0, null_mut::<libc::c_void>(), 0usize) {
                    -1 => Err(Error::last_os_error()),
                    _ => Ok(()),
                }
            });
        }
        // Handing over between two cores takes several times as long as on one.
        let _pinned = Pinned::to_this_core();
        let shown = program.display();
        let mut child = command.spawn().map_err(|e| format!("cannot trace {shown}: {e}"))?;
        let traced = follow(child.id() as i32);
        if traced.is_err() {
            // It may still be stopped, or gone already.
            let _ = child.kill();
        }
        let read = |from: Option<&mut dyn Read>| {
            let mut bytes = Vec::new();
            from.map_or(Ok(0), |f| f.read_to_end(&mut bytes))
                .map_err(|e| format!("cannot read from {shown}: {e}"))?;
            Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let printed = read(child.stdout.as_mut().map(|s| s as &mut dyn Read))?;
        let said = read(child.stderr.as_mut().map(|s| s as &mut dyn Read))?;
        match traced? {
            (0, counts) => Ok((printed, counts)),
            (code, _) => {
                Err(format!("{shown} ended with {code}: {}", said.lines().next().unwrap_or("no message")))
            }
        }
    }

    /// Follows the program `first` and its threads to the end: its exit code (or minus its signal) and the steps of each region.
    fn follow(first: i32) -> Result<(i32, Vec<u64>), String> {
        let mut counts = Vec::new();
        // The stop after exec.
        wait(first)?;
        ptrace(libc::PTRACE_SETOPTIONS, first, libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL)?;
        ptrace(libc::PTRACE_CONT, first, 0)?;
        loop {
            let (pid, status) = wait(-1)?;
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if pid == first {
                    let code = if libc::WIFEXITED(status) {
                        libc::WEXITSTATUS(status)
                    } else {
                        -libc::WTERMSIG(status)
                    };
                    return Ok((code, counts));
                }
                continue;
            }
            match libc::WSTOPSIG(status) {
                libc::SIGTRAP if status >> 16 == 0 && at_breakpoint(pid)? => {
                    counts.push(region(pid)?);
                    ptrace(libc::PTRACE_CONT, pid, 0)?;
                }
                // A new thread, and the stop with which it begins.
                libc::SIGTRAP | libc::SIGSTOP => ptrace(libc::PTRACE_CONT, pid, 0)?,
                signal => ptrace(libc::PTRACE_CONT, pid, signal)?,
            }
        }
    }

    /// Steps thread `pid` to its next breakpoint.
    fn region(pid: i32) -> Result<u64, String> {
        let mut steps = 0;
        loop {
            ptrace(libc::PTRACE_SINGLESTEP, pid, 0)?;
            let (_, status) = wait(pid)?;
            if !libc::WIFSTOPPED(status) {
                return Err("the counting program ended within a kernel".to_owned());
            }
            match libc::WSTOPSIG(status) {
                libc::SIGTRAP if at_breakpoint(pid)? => return Ok(steps),
                libc::SIGTRAP => steps += 1,
                signal => return Err(format!("a kernel stopped at signal {signal}")),
            }
        }
    }
}
