//! `tern compare`: lookup tables against add/sub and multiply-add on this CPU.

mod report;

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use tern_kernels::Cpu;
use tern_tune::{CompareOptions, Environment, check_writable, compare, create_directory};

use crate::Ending;
use crate::args::{IsaArg, JsonArg, Numbers, PagesArg, thread_counts, usage_error};
use crate::interrupt::Watch;
use crate::output::{plural, print, print_json, remark, warn};
use crate::progress::Measuring;
use crate::worklist::{Seconds, ShapesArgs, Worklist, list_known, worklist};

/// Seconds for a comparison, and for a report, unless the user says otherwise.
const BUDGET: Seconds = Seconds(60.0);
const REPORT_BUDGET: Seconds = Seconds(600.0);

/// What is compared on unless the user says otherwise: the best-known ternary model.
const DEFAULT_SHAPES: &str = "bitnet-2b4t";

/// Compares lookup tables with add/sub and multiply-add on this CPU.
///
/// For each matrix shape every family is tuned first, by itself, so that each is at its best; then the winners are timed
/// in one interleaved run together with the streaming bandwidth of the memory. All families are measured, and anew, because
/// a ratio holds only between kernels that were timed in the same rounds: so there is no --kernel here, and --profile does
/// not apply. (`tern tune --kernel FAMILY --out FILE` measures one family.) With --out the
/// numbers are written as CSV, with all samples, an SVG chart, and the circumstances of the run, for a record that can be
/// repeated.
///
/// With --report it explains what it finds: it compares with one thread and with all (or with those of --threads), from
/// memory and in cache, measures the ceilings that memory and the dot product set, the best kernel of each way to store
/// weights and of each ISA, and a map of the tiles; and writes a page with figures and all numbers to a new folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern compare                                         BitNet 2B4T, all cores
  tern compare --shapes llama3-8b-1.58 --threads 1
  tern compare --threads 1 --cache --out bench-results/here
  tern compare --threads 1 --pages small               what huge pages are worth
  tern compare --report                                in a checkout: a page in bench-results/CPU/DATE-COMMIT
  tern compare --report --threads 1,4,8 --out here     anywhere, with other thread counts")]
pub struct Args {
    #[command(flatten)]
    shapes: ShapesArgs,
    /// Write comparison.csv, samples.csv, comparison.svg, table.txt and environment.toml to this directory, which is
    /// created if it is missing; with --report, where the report goes, which must be new [default with --report:
    /// bench-results/CPU/DATE-COMMIT of the checkout of tern that this is run in]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write a report: README.md with tables and figures, CSV files, environment.toml
    #[arg(long)]
    report: bool,
    /// Time to take for everything together [default: 60, with --report 600]
    #[arg(long, value_name = "SECONDS")]
    budget: Option<Seconds>,
    /// Also compare with the weights in the second-level cache (fewer rows, so that they fit); --report always does
    #[arg(long)]
    cache: bool,
    /// Rounds of the final run
    #[arg(long, value_name = "N", default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    #[command(flatten)]
    pages: PagesArg,
    #[command(flatten)]
    json: JsonArg,
    /// Threads that share the work [default: all usable cores]; with --report a list [default: 1 and all usable cores]
    #[arg(long, value_name = "N", value_parser = thread_counts)]
    threads: Option<Numbers>,
    #[command(flatten)]
    isa: IsaArg,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    if args.shapes.wants_list() {
        list_known(args.json.json)?;
        return Ok(Ending::Done);
    }
    let cpu = args.isa.cpu();
    let worklist = match args.shapes.is_empty() {
        true => worklist(&[], &[DEFAULT_SHAPES.to_owned()])?,
        false => args.shapes.worklist()?,
    };
    match args.report {
        true => report::run(args, &cpu, &worklist),
        false => run_once(args, &cpu, &worklist),
    }
}

/// Compares with one number of threads.
fn run_once(args: &Args, cpu: &Cpu, worklist: &Worklist) -> anyhow::Result<Ending> {
    let threads = match args.threads.as_ref().map(|list| list.0.as_slice()) {
        None => cpu.cores.max(1),
        Some(&[threads]) => threads as usize,
        Some(_) => {
            let message = "several thread counts make a report: add --report, or name one";
            usage_error("compare", ErrorKind::ArgumentConflict, message)
        }
    };
    let budget = args.budget.unwrap_or(BUDGET);
    let watch = Watch::new();
    if let Some(directory) = &args.out {
        // Before the minute, not after it.
        check_directory(directory)?;
    }
    let options = CompareOptions {
        threads,
        pages: args.pages.pages(),
        budget: budget.duration(),
        cache: args.cache,
        rounds: args.rounds as usize,
    };
    remark(format_args!(
        "comparing on {} of {} with {} for {} s",
        plural(worklist.work.len(), "shape"),
        worklist.names.join(", "),
        plural(threads, "thread"),
        budget
    ));
    let mut progress = Measuring::new();
    let found = compare(
        cpu,
        &worklist.work,
        &options,
        &mut |step| progress.step(step),
        watch.flag(),
    )?;
    drop(progress);
    match args.json.json {
        true => print_json(&found)?,
        false => print(found.table())?,
    }
    if found.cancelled || watch.stopped() {
        if args.out.is_some() {
            warn("stopped, nothing was written");
        }
        return Ok(Ending::Interrupted);
    }
    if let Some(directory) = &args.out {
        let environment = Environment::new(
            cpu,
            tern_kernels::profile::RUSTC,
            &command_line(),
            threads,
            options.pages,
        );
        let written = found.write(directory, &environment)?;
        written
            .iter()
            .for_each(|path| remark(format_args!("wrote {}", path.display())));
    }
    Ok(Ending::Done)
}

/// Whether a record can be written to `directory`, which may have to be created. What this creates it removes again: if
/// the comparison fails, no empty directory stays.
fn check_directory(directory: &Path) -> Result<(), tern_tune::WriteError> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    let checked = create_directory(directory)
        .and_then(|()| check_writable(&directory.join("comparison.csv")));
    for path in missing {
        // One that could not be created, or that someone else filled meanwhile, cannot be removed, and need not be.
        let _ = std::fs::remove_dir(path);
    }
    checked
}

/// The command that repeats this run, quoted for a shell. The program's own path is left out.
fn command_line() -> String {
    let arguments = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("tern".to_owned())
        .chain(arguments.map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(argument: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument,
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_a_shell_needs_it() {
        assert_eq!(
            quoted("--shapes=bitnet-2b4t".to_owned()),
            "--shapes=bitnet-2b4t"
        );
        assert_eq!(quoted("my model".to_owned()), "'my model'");
        assert_eq!(quoted("it's".to_owned()), r"'it'\''s'");
        assert_eq!(quoted(String::new()), "''");
    }
}
