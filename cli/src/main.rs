//! The `tern` command: arguments in, library calls, text or JSON out.
//!
//! Everything that can be known lives in the libraries; this crate only parses, asks and prints. Results go to standard
//! output, all else (progress, notes, warnings, errors) to standard error, so that output can be piped. Exit codes: 0 for
//! success, 1 for failure, 2 for a wrong command line, 130 when Ctrl-C ended the work.

#![forbid(unsafe_code)]

mod args;
mod bundled;
mod chat;
mod commands;
mod files;
mod interrupt;
mod load;
mod output;
mod plan;
mod progress;
mod proof;
mod sampling;
mod table;
mod worklist;

use std::process::ExitCode;

use clap::Parser;

/// How a command ended, when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The work is done.
    Done,
    /// The user stopped it; what it says is about the part that was done.
    Interrupted,
}

fn main() -> ExitCode {
    keep_contained_panics_silent();
    let cli = args::Cli::parse_from(args::as_clap_reads_them(std::env::args_os()));
    output::set_quiet(cli.quiet);
    let result = interrupt::install().and_then(|()| commands::run(cli.command));
    match result {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        // Whoever read our output has seen enough: `tern codegen list | head -1` is no failure.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Keeps the report of a panic off the terminal where the runtime turns the panic into an error, which is printed anyway.
fn keep_contained_panics_silent() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !tern_runtime::tokenizer_panic_is_contained() {
            report(panic);
        }
    }));
}
