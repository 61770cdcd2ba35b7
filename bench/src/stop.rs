//! Ctrl-C: the first one asks to stop, and what is being measured is finished and kept.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C only asks; the second one ends the program at once.
pub fn listen() {
    // A second handler, or a system without signals, changes nothing: Ctrl-C ends the program as usual.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this measurement; again to stop at once");
    });
}

/// Whether somebody asked.
pub fn asked() -> bool {
    STOP.load(Ordering::SeqCst)
}
