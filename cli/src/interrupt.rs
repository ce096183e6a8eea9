//! Ctrl-C, and what the system sends when it wants the program to end (SIGTERM, SIGHUP), which counts as Ctrl-C.
//!
//! Work that can stop in the middle (generation, tuning, comparing) borrows a flag for as long as it runs; the first
//! Ctrl-C raises it and the command ends by itself, with what it has. Everything else is ended at once: files are
//! written whole or not at all, so nothing half-written stays. A second Ctrl-C always ends at once. In a chat each answer watches anew, so
//! that Ctrl-C stops it, and ends the program between answers.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// The exit code of a command that Ctrl-C ended: 128 + SIGINT, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// Raised by Ctrl-C while someone looks at it.
static CANCEL: AtomicBool = AtomicBool::new(false);

/// Whether someone looks at [`CANCEL`].
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Takes Ctrl-C over from the system.
pub fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        let watched = WATCHED.load(Ordering::SeqCst);
        if watched && !CANCEL.swap(true, Ordering::SeqCst) {
            return;
        }
        // A progress bar may stand in the line; the shell's prompt should not follow it.
        eprintln!();
        std::process::exit(i32::from(EXIT_CODE));
    })
    .context("cannot watch for Ctrl-C")
}

/// While it lives, Ctrl-C raises a flag instead of ending the program.
pub struct Watch(());

impl Watch {
    /// Begins to watch.
    pub fn new() -> Watch {
        WATCHED.store(true, Ordering::SeqCst);
        Watch(())
    }

    /// Begins to watch for the next piece of work, after one that Ctrl-C may have ended.
    pub fn anew() -> Watch {
        CANCEL.store(false, Ordering::SeqCst);
        Watch::new()
    }

    /// The flag, for the libraries.
    pub fn flag(&self) -> &'static AtomicBool {
        &CANCEL
    }

    /// Whether Ctrl-C was pressed, or [`Watch::stop`] called.
    pub fn stopped(&self) -> bool {
        CANCEL.load(Ordering::SeqCst)
    }

    /// Raises the flag from inside, as when nobody reads the output any more.
    pub fn stop(&self) {
        CANCEL.store(true, Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.store(false, Ordering::SeqCst);
    }
}

/// Calls `work` with a way to pass text on as it is made. If it cannot be passed on (`show` fails), work is told to stop, and nothing more is shown.
///
/// # Errors
///
/// The first of `show`.
pub fn while_shown<T>(
    watch: &Watch,
    show: &mut dyn FnMut(&str) -> anyhow::Result<()>,
    work: impl FnOnce(&mut dyn FnMut(&str)) -> T,
) -> anyhow::Result<T> {
    let mut failure = None;
    let done = work(&mut |piece| {
        if failure.is_none()
            && let Err(error) = show(piece)
        {
            failure = Some(error);
            watch.stop();
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(done),
    }
}
