//! `tern tune`: finds the fastest kernels for this CPU and saves them.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use clap::error::ErrorKind;
use serde::Serialize;
use tern_kernels::{Cpu, Entry, Force, HostInfo, Pages, Profile, ProfileError};
use tern_tune::{
    TuneOptions, Tuning, Verification, check_writable, default_profile_path, merge_profiles,
    tile_text, tune, verify, write_profile,
};

use crate::Ending;
use crate::args::{IsaArg, JsonArg, Numbers, PagesArg, thread_counts, usage_error};
use crate::interrupt::Watch;
use crate::load::ModelName;
use crate::output::{one_line, paint, plural, print, print_json, remark, warn};
use crate::plan::entries;
use crate::progress::Measuring;
use crate::table::{Align, Table};
use crate::worklist::{Seconds, ShapesArgs, Worklist, list_known, worklist};

/// What is tuned for unless the user says otherwise, besides the bundled model: the best-known ternary model.
const DEFAULT_SHAPES: &str = "bitnet-2b4t";

/// `--check` passes if this share of the entries is at most [`CHECK_SLACK`] slower than a new winner.
const CHECK_SHARE: f64 = 0.9;

/// See [`CHECK_SHARE`].
const CHECK_SLACK: f64 = 0.03;

/// Finds the fastest kernels for this CPU and saves them as a profile.
///
/// For each matrix shape and thread count, all kernels that this CPU runs and their tiles race on weights in memory. The
/// winners go to a profile (TOML, made to be read and edited), which every later command finds by itself. Entries for
/// other shapes that the profile holds already are kept. Interrupted by Ctrl-C, nothing is written.
///
/// Everything is measured anew, so --profile does not apply. With --kernel, a cap on the instruction sets or small pages
/// the result is not the best for this CPU, and --out must say where it goes.
///
/// Without --model and --shapes it tunes for the bundled demo model and for bitnet-2b4t.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern tune                                      two minutes, once for each CPU
  tern tune --model ./bitnet-b1.58-2B-4T         for the shapes of a model
  tern tune --shapes list                        the models whose shapes are known
  tern tune --shapes llama3-8b-1.58 --threads 1,4,8 --budget 240
  tern tune --check                              does the saved profile still hold?
  tern tune --out here.toml                      then: tern run … --profile here.toml")]
pub struct Args {
    #[command(flatten)]
    shapes: ShapesArgs,
    /// Thread counts to tune for, separated by commas [default: 1 and all usable cores]
    #[arg(long, value_name = "LIST", value_parser = thread_counts)]
    threads: Option<Numbers>,
    /// Time to take for everything together
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(120.0))]
    budget: Seconds,
    /// Where to save the profile [default: $XDG_CONFIG_HOME/tern/profiles/CPU.toml, or in ~/.config]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write nothing: tune the shapes of a saved profile [default: this CPU's] anew and time its winners against the new
    /// ones; fails if more than one in ten is over 3 % slower, or if the time did not suffice for all
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["out", "model", "shapes", "threads", "kernel"])]
    check: Option<Option<PathBuf>>,
    #[command(flatten)]
    pages: PagesArg,
    #[command(flatten)]
    json: JsonArg,
    /// Tune only the kernels of this family, or only the tiles of this kernel; needs --out
    #[arg(long, value_name = "FAMILY|ID", value_parser = Force::from_str)]
    kernel: Option<Force>,
    #[command(flatten)]
    isa: IsaArg,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    /// The profile's path, if it was written.
    out: Option<&'a Path>,
    models: &'a [String],
    tuning: &'a Tuning,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    if args.shapes.wants_list() {
        list_known(args.json.json)?;
        return Ok(Ending::Done);
    }
    let cpu = args.isa.cpu();
    match &args.check {
        Some(path) => check(args, &cpu, path.as_deref()),
        None => tune_and_save(args, &cpu),
    }
}

impl Args {
    fn options(&self, cpu: &Cpu) -> TuneOptions {
        let defaults = TuneOptions::new(cpu);
        let threads = self
            .threads
            .as_ref()
            .map(|list| list.0.iter().map(|&count| count as usize).collect());
        TuneOptions {
            threads: threads.unwrap_or(defaults.threads),
            budget: self.budget.duration(),
            pages: self.pages.pages(),
            force: self.kernel.clone(),
        }
    }

    fn worklist(&self) -> anyhow::Result<Worklist> {
        if self.shapes.is_empty() {
            return worklist(&[ModelName::Demo], &[DEFAULT_SHAPES.to_owned()]);
        }
        self.shapes.worklist()
    }
}

/// Ends the program if what would be found is not the best for this CPU and would go to the CPU's own profile.
fn refuse_to_spoil(args: &Args) {
    if args.out.is_some() {
        return;
    }
    let taken_away = args.isa.taken_away();
    let reason = if args.kernel.is_some() {
        "--kernel would put slow kernels into this CPU's profile".to_owned()
    } else if let Some(isa) = taken_away {
        format!(
            "without {isa} (--max-isa or TERN_MAX_ISA) slow kernels would go into this CPU's profile"
        )
    } else if args.pages.pages() != Pages::Huge {
        "models are on huge pages; --pages small would put times into this CPU's profile that do not hold for them"
            .to_owned()
    } else {
        return;
    };
    let message = format!("{reason}; name another file with --out");
    usage_error("tune", ErrorKind::MissingRequiredArgument, message);
}

fn tune_and_save(args: &Args, cpu: &Cpu) -> anyhow::Result<Ending> {
    refuse_to_spoil(args);
    // Everything that can go wrong with the file goes wrong before the measuring, not after it.
    let worklist = args.worklist()?;
    let out = match &args.out {
        Some(path) => path.clone(),
        None => default_profile_path(cpu)?,
    };
    let old = old_profile(&out)?;
    let watch = Watch::new();
    check_writable(&out)?;
    let options = args.options(cpu);
    announce(&worklist, &options, args.budget);
    let mut progress = Measuring::new();
    let mut tuning = tune(
        cpu,
        &worklist.work,
        &options,
        &mut |step| progress.step(step),
        watch.flag(),
    )?;
    drop(progress);
    // The profile is of this CPU, whatever part of it was tuned.
    tuning.profile.host = HostInfo::of(&Cpu::detect());
    let cancelled = tuning.cancelled || watch.stopped();
    if !cancelled {
        let profile = match old {
            Some(old) => merge_profiles(old, tuning.profile.clone()),
            None => tuning.profile.clone(),
        };
        write_profile(&profile, &out)?;
    }
    let written = (!cancelled).then_some(out.as_path());
    match args.json.json {
        true => print_json(&Report {
            out: written,
            models: &worklist.names,
            tuning: &tuning,
        })?,
        false => print(winners(&tuning.profile.entries))?,
    }
    Ok(conclude(&tuning, written))
}

/// What is about to happen.
fn announce(worklist: &Worklist, options: &TuneOptions, budget: Seconds) {
    let counts: Vec<String> = options.threads.iter().map(ToString::to_string).collect();
    let last = match options.threads.last() {
        Some(1) => "thread",
        _ => "threads",
    };
    remark(format_args!(
        "tuning {} of {} with {} {last} for {budget} s",
        plural(worklist.work.len(), "shape"),
        worklist.names.join(" and "),
        counts.join(" and "),
    ));
}

/// What happened: notes, what was left out, where the profile was written (`None`: stopped, so nowhere).
fn conclude(tuning: &Tuning, written: Option<&Path>) -> Ending {
    tuning
        .notes
        .iter()
        .for_each(|note| remark(format_args!("note: {note}")));
    let Some(out) = written else {
        warn("stopped, nothing was written");
        return Ending::Interrupted;
    };
    if !tuning.skipped.is_empty() {
        let skipped: Vec<String> = tuning
            .skipped
            .iter()
            .map(|(shape, threads)| format!("{shape} x{threads}"))
            .collect();
        warn(format_args!(
            "no time for {}; give more with --budget",
            skipped.join(", ")
        ));
    }
    remark(format_args!(
        "saved {} to {} in {:.0} s",
        entries(tuning.profile.entries.len()),
        out.display(),
        tuning.seconds
    ));
    Ending::Done
}

/// The profile whose entries are to be kept. A file that is no profile of this CPU is not ours to replace.
fn old_profile(out: &Path) -> anyhow::Result<Option<Profile>> {
    if !out.is_file() {
        return Ok(None);
    }
    // Without the cap of --max-isa: entries beyond it are not stale.
    match Profile::load(out, &Cpu::detect()) {
        Ok((profile, ignored)) => {
            ignored
                .iter()
                .for_each(|line| remark(format_args!("dropping an old entry: {line}")));
            Ok(Some(profile))
        }
        Err(error @ ProfileError::Format { .. }) => {
            remark(format_args!("replacing {}: {error}", out.display()));
            Ok(None)
        }
        Err(error) => bail!(
            "will not overwrite {}: {}; delete it or choose another file with --out",
            out.display(),
            one_line(&error.to_string())
        ),
    }
}

/// The table of winners, largest matrix first.
fn winners(found: &[Entry]) -> String {
    let mut table = Table::new(&[
        ("rows x cols", Align::Left),
        ("threads", Align::Right),
        ("fastest kernel", Align::Left),
        ("tile", Align::Left),
        ("us", Align::Right),
        ("±", Align::Right),
        ("best other kernel", Align::Left),
        ("takes", Align::Right),
    ]);
    let mut found: Vec<&Entry> = found.iter().collect();
    found.sort_by_key(|entry| {
        (
            std::cmp::Reverse(entry.rows * entry.cols),
            entry.rows,
            entry.threads,
        )
    });
    for entry in found {
        let ratio = entry
            .runner_up_median_us
            .map(|us| format!("{:.2}x", us / entry.median_us));
        table.row([
            format!("{}x{}", entry.rows, entry.cols),
            entry.threads.to_string(),
            entry.kernel.clone(),
            tile_text(&entry.tile),
            format!("{:.2}", entry.median_us),
            format!("{:.2}", entry.mad_us),
            entry.runner_up.clone().unwrap_or_default(),
            ratio.unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn check(args: &Args, cpu: &Cpu, path: Option<&Path>) -> anyhow::Result<Ending> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => Profile::default_path(cpu)
            .context("neither XDG_CONFIG_HOME nor HOME is set; name a profile")?,
    };
    let loaded =
        Profile::load(&path, cpu).with_context(|| format!("cannot check {}", path.display()));
    let (profile, ignored) = loaded.context("`tern tune` makes a profile")?;
    ignored
        .iter()
        .for_each(|line| warn(format_args!("profile entry not used: {line}")));
    if profile.entries.is_empty() {
        bail!(
            "{} has no entry that this program can use; run `tern tune`",
            path.display()
        );
    }
    remark(format_args!(
        "checking {} of {} for {} s",
        entries(profile.entries.len()),
        path.display(),
        args.budget
    ));
    // Entries that only the cap keeps from being judged.
    let capped = match Profile::load(&path, &Cpu::detect()) {
        Ok((all, _)) => all.entries.len().saturating_sub(profile.entries.len()),
        Err(_) => 0,
    };
    let watch = Watch::new();
    let mut progress = Measuring::new();
    let options = args.options(cpu);
    let found = verify(
        cpu,
        &profile,
        &options,
        &mut |step| progress.step(step),
        watch.flag(),
    )?;
    drop(progress);
    match args.json.json {
        true => print_json(&found)?,
        false => print(found.table())?,
    }
    judge(&found, capped, &path, watch.stopped())
}

/// The last word on a check. `capped` entries run here but were left out by --max-isa.
fn judge(
    found: &Verification,
    capped: usize,
    path: &Path,
    stopped: bool,
) -> anyhow::Result<Ending> {
    if stopped || found.tuning.cancelled {
        return Ok(Ending::Interrupted);
    }
    if found.within(CHECK_SLACK) < CHECK_SHARE {
        bail!(
            "{} no longer names the fastest kernels; run `tern tune` again when the machine is idle",
            path.display()
        );
    }
    let (judged, wanted) = (found.entries.len(), found.wanted + capped);
    if capped > 0 || !found.is_complete() {
        bail!(
            "{judged} of {} checked, so it is not known whether {} still holds; give more time with --budget, and no cap with \
             --max-isa",
            entries(wanted),
            path.display()
        );
    }
    let text = format!(
        "{judged} of {} checked: the profile still holds",
        entries(wanted)
    );
    remark(paint(crate::output::GOOD, text));
    Ok(Ending::Done)
}
