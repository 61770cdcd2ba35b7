//! Processes on one CPU: A and B take turns on the same one, so that neither has the better core.

/// Calls `f` with this thread on CPU `cpu`, so that a process that `f` starts inherits it; afterwards everything is as before.
/// Where pinning is not possible `f` runs all the same.
pub fn on<R>(cpu: Option<usize>, f: impl FnOnce() -> R) -> R {
    let Some(cpu) = cpu else { return f() };
    let before = system::get();
    system::set_one(cpu);
    let result = f();
    if let Some(before) = before {
        system::set(&before);
    }
    result
}

/// The CPUs that this process may run on, ascending; empty when the system does not tell.
pub fn allowed() -> Vec<usize> {
    system::list()
}

#[cfg(target_os = "linux")]
mod system {
    pub fn get() -> Option<libc::cpu_set_t> {
        // SAFETY: an all-zero set is valid, and the call writes at most its size.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0).then_some(set)
        }
    }

    pub fn set(set: &libc::cpu_set_t) {
        // SAFETY: the set is valid for its size; failure changes nothing.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    }

    pub fn set_one(cpu: usize) {
        if cpu >= libc::CPU_SETSIZE as usize {
            return;
        }
        // SAFETY: an all-zero set is valid, and `cpu` lies within it.
        let one = unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut one);
            one
        };
        set(&one);
    }

    pub fn list() -> Vec<usize> {
        let Some(set) = get() else { return Vec::new() };
        // SAFETY: every index is below the size of the set.
        (0..libc::CPU_SETSIZE as usize).filter(|c| unsafe { libc::CPU_ISSET(*c, &set) }).collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub fn get() -> Option<()> {
        None
    }
    pub fn set((): &()) {}
    pub fn set_one(_: usize) {}
    pub fn list() -> Vec<usize> {
        Vec::new()
    }
}
