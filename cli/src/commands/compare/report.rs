//! `tern compare --report`: the comparison as a page, with what explains it.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::error::ErrorKind;
use tern_kernels::Cpu;
use tern_tune::{Environment, Study, StudyOptions, check_new_directory, now_utc, study};

use super::{Args, REPORT_BUDGET, check_directory, command_line};
use crate::Ending;
use crate::args::usage_error;
use crate::interrupt::Watch;
use crate::output::{plural, print, print_json, remark, warn};
use crate::progress::Measuring;
use crate::worklist::Worklist;

/// Measures everything and writes the report.
pub fn run(args: &Args, cpu: &Cpu, worklist: &Worklist) -> anyhow::Result<Ending> {
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => record_folder().unwrap_or_else(|| {
            let message = "this is no checkout of tern, so --report has no place of its own; name a new folder with --out";
            usage_error("compare", ErrorKind::MissingRequiredArgument, message)
        }),
    };
    let watch = Watch::new();
    // Before the minutes, not after them.
    check_new_directory(&folder)?;
    check_directory(&folder)?;
    let budget = args.budget.unwrap_or(REPORT_BUDGET);
    let defaults = StudyOptions::new(cpu);
    let threads = args.threads.as_ref();
    let options = StudyOptions {
        threads: threads.map_or(defaults.threads, |list| {
            list.0.iter().map(|&count| count as usize).collect()
        }),
        pages: args.pages.pages(),
        budget: budget.duration(),
        rounds: args.rounds as usize,
    };
    let counts: Vec<String> = options.threads.iter().map(ToString::to_string).collect();
    remark(format_args!(
        "studying {} of {} with {} threads for {budget} s",
        plural(worklist.work.len(), "shape"),
        worklist.names.join(", "),
        counts.join(", "),
    ));
    let mut progress = Measuring::new();
    let mut step = |step: &_| progress.step(step);
    let found = study(cpu, &worklist.work, &options, &mut step, watch.flag())?;
    drop(progress);
    match args.json.json {
        true => print_json(&found)?,
        false => print(tables(&found))?,
    }
    if found.cancelled || watch.stopped() {
        warn("stopped, nothing was written");
        return Ok(Ending::Interrupted);
    }
    let most = options.threads.iter().copied().max().unwrap_or(1);
    let rustc = tern_kernels::profile::RUSTC;
    let environment = Environment::new(cpu, rustc, &command_line(), most, options.pages);
    let written = found.write(&folder, &environment)?;
    written
        .iter()
        .for_each(|path| remark(format_args!("wrote {}", path.display())));
    Ok(Ending::Done)
}

/// The tables of the comparisons, and what the reader should know.
fn tables(study: &Study) -> String {
    let tables = study
        .comparisons
        .iter()
        .map(|comparison| comparison.table());
    let notes = study.notes.iter().map(|note| format!("note: {note}\n"));
    tables.chain(notes).collect::<Vec<_>>().join("\n")
}

/// `bench-results/<cpu>/<date>-<commit>` of the checkout that the working directory lies in, if it does. Changes that are not
/// committed show in the name: such a record cannot be repeated from its commit.
fn record_folder() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().find(|folder| is_checkout(folder))?;
    let commit = git(root, &["rev-parse", "--short=7", "HEAD"])?;
    let changes = git(root, &["status", "--porcelain", "--untracked-files=no"])?;
    let changed = if changes.is_empty() { "" } else { "-changed" };
    let date = now_utc();
    let name = format!("{}-{commit}{changed}", date.get(..10)?);
    // From the root itself the path reads better, and the paths that are printed are shorter.
    let results = match root == here {
        true => PathBuf::from("bench-results"),
        false => root.join("bench-results"),
    };
    Some(results.join(Cpu::detect().key()).join(name))
}

fn is_checkout(folder: &Path) -> bool {
    folder.join("bench-results/README.md").is_file() && folder.join("configs/kernels").is_dir()
}

/// What `git` says; `None` if it is not there or fails.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
