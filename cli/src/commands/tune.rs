//! `tern tune`: finds the fastest kernels for this CPU and saves them.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use clap::error::ErrorKind;
use serde::Serialize;
use tern_kernels::profile::FORMAT;
use tern_kernels::{
    Cpu, Entry, Force, HostInfo, Loaded, Pages, Planner, Profile, ProfileError, Rigor,
};
use tern_tune::profiles::replaced;
use tern_tune::replay::Strategy;
use tern_tune::{
    Log, Past, Total, TuneOptions, Tuning, Turn, Verification, check_writable, default_budget,
    default_profile_path, tile_text, totals, tune_further, verify, write_profile,
};

use crate::Ending;
use crate::args::{IsaArg, JsonArg, Numbers, PagesArg, thread_counts, usage_error};
use crate::interrupt::Watch;
use crate::load::ModelName;
use crate::output::{bytes, one_line, paint, plural, print, print_json, remark, warn};
use crate::plan::entries;
use crate::progress::Measuring;
use crate::proof::{Proof, Proven};
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
/// winners go to a profile (TOML, made to be read and edited), which every later command finds by itself. Entries that the
/// profile holds already are kept, and what it has with the same rigor or a higher one is not tuned again. Interrupted in
/// whatever way, the profile is as it was, and the same command goes on from the log.
///
/// A winner that the noise of the machine hides (its comparison with the others is not known to 3 %) is not stored.
///
/// What the CPU announces is not taken on trust: before anything is measured, each instruction set runs all its kernels
/// in a process of its own, and one that dies, hangs or returns a wrong number is left out, with a warning.
///
/// Everything is measured anew, so --profile does not apply. With --kernel, a cap on the instruction sets or small pages
/// the result is not the best for this CPU, and --out must say where it goes.
///
/// Without --model and --shapes it tunes for the bundled demo model and for bitnet-2b4t.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern tune                                      two minutes, once for each CPU
  tern tune --rigor measure                      half a minute
  tern tune --model ./bitnet-b1.58-2B-4T         for the shapes of a model
  tern tune --shapes list                        the models whose shapes are known
  tern tune --shapes llama3-8b-1.58 --threads 1,4,8 --budget 240
  tern tune --replay log.jsonl                   which search finds how much, from a log
  tern tune --check                              does the saved profile still hold?
  tern tune --out here.toml                      then: tern run … --profile here.toml")]
pub struct Args {
    #[command(flatten)]
    shapes: ShapesArgs,
    /// Thread counts to tune for, separated by commas [default: 1 and all usable cores; with more rigor than `measure` also the powers
    /// of two between]
    #[arg(long, value_name = "LIST", value_parser = thread_counts)]
    threads: Option<Numbers>,
    /// How thoroughly to search: `estimate` times nothing and only shows what is chosen without a profile, `measure` times
    /// kernels with a few tiles each, `patient` also the tiles of the best ones, `exhaustive` everything
    #[arg(long, value_name = "RIGOR", default_value_t = Rigor::Patient)]
    rigor: Rigor,
    /// Time to take for everything together [default: by rigor 27, 120 or 900]
    #[arg(long, value_name = "SECONDS")]
    budget: Option<Seconds>,
    /// Tune again what the profile has already with this rigor or a higher one
    #[arg(long)]
    again: bool,
    /// Store winners too that the machine's noise hides, marked as noisy
    #[arg(long)]
    force: bool,
    /// Where every trial is written down, so that an interrupted tuning can go on; `none` for nowhere [default: the profile's
    /// name with .jsonl in place of .toml]
    #[arg(long, value_name = "FILE|none")]
    log: Option<PathBuf>,
    /// Where to save the profile [default: $XDG_CONFIG_HOME/tern/profiles/CPU.toml, or in ~/.config]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write nothing: tune the shapes of a saved profile [default: this CPU's] anew and time its winners against the new
    /// ones; fails if more than one in ten is over 3 % slower, or if the time did not suffice for all
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["out", "model", "shapes", "threads", "kernel", "rigor", "again", "force", "log"])]
    check: Option<Option<PathBuf>>,
    /// Time nothing: replay the most rigorous tuning of a log with the strategies of --strategy, each within --budget of the
    /// log's time, and say how close their picks come to the best
    #[arg(long, value_name = "LOG", conflicts_with_all = ["out", "model", "shapes", "threads", "kernel", "rigor", "again", "force", "log", "check"])]
    replay: Option<PathBuf>,
    /// Strategies to replay, separated by commas: estimate, measure, patient, exhaustive, halving, random [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "replay", value_parser = Strategy::from_str)]
    strategy: Vec<Strategy>,
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
    /// What came of the instruction sets' proofs.
    proofs: &'a [Proof],
    /// What the winners make of all these models together, for each thread count that is complete.
    totals: &'a [Total],
    tuning: &'a Tuning,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    if args.shapes.wants_list() {
        list_known(args.json.json)?;
        return Ok(Ending::Done);
    }
    let cpu = args.isa.cpu();
    if let Some(log) = &args.replay {
        return replay(args, &cpu, log);
    }
    match &args.check {
        Some(path) => check(args, &cpu, path.as_deref()),
        None if args.rigor == Rigor::Estimate => estimate(args, &cpu),
        None => tune_and_save(args, &cpu),
    }
}

impl Args {
    fn options(&self, cpu: &Cpu) -> TuneOptions {
        let defaults = TuneOptions::of_rigor(cpu, self.rigor);
        let threads = self
            .threads
            .as_ref()
            .map(|list| list.0.iter().map(|&count| count as usize).collect());
        TuneOptions {
            threads: threads.unwrap_or(defaults.threads),
            budget: self.budget.map_or(defaults.budget, Seconds::duration),
            pages: self.pages.pages(),
            force: self.kernel.clone(),
            store_noisy: self.force,
            ..defaults
        }
    }

    /// Where the log goes; nowhere for a profile that is no ordinary file.
    fn log_path(&self, out: &Path) -> Option<PathBuf> {
        match &self.log {
            Some(path) if path.as_os_str() == "none" => None,
            Some(path) => Some(path.clone()),
            None => {
                let is_ordinary = out.is_file() || !out.exists();
                // A name without .toml keeps all of it, so that two profiles never share a log.
                let is_toml = out.extension().is_some_and(|extension| extension == "toml");
                let mut whole = out.as_os_str().to_owned();
                whole.push(".jsonl");
                let path = match is_toml {
                    true => out.with_extension("jsonl"),
                    false => PathBuf::from(whole),
                };
                is_ordinary.then_some(path)
            }
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
    let watch = Watch::new();
    let Some(Proven { cpu, whole, proofs }) = Proven::of(cpu, watch.flag()) else {
        return Ok(stopped());
    };
    let old = old_profile(&out)?;
    check_writable(&out)?;
    let options = args.options(&cpu);
    let mut log = args
        .log_path(&out)
        .map(|path| Log::open(&path))
        .transpose()?;
    announce(&worklist, &options);
    let mut progress = Measuring::within(options.budget);
    let mut tuning = tune_further(
        &cpu,
        &worklist.work,
        &options,
        Past {
            profile: old.as_ref().filter(|_| !args.again),
            log: log.as_mut(),
        },
        &mut |step| progress.step(step),
        watch.flag(),
    )?;
    drop(progress);
    // The profile is of this CPU, whatever part of it was tuned.
    tuning.profile.host = HostInfo::of(&whole);
    let cancelled = tuning.cancelled || watch.stopped();
    let has_news = !cancelled && !tuning.profile.entries.is_empty();
    if has_news {
        // Read again: something else may have been saved there since.
        let _turn = Turn::of(&out);
        let profile = match old_profile(&out)? {
            Some(old) => {
                let mut new = tuning.profile.clone();
                if !args.again {
                    leave_out_inferior(&mut new, &old);
                }
                replaced(old, new)?
            }
            None => tuning.profile.clone(),
        };
        write_profile(&profile, &out)?;
    }
    if let Some(log) = log.as_mut().filter(|_| !cancelled) {
        log.finish();
    }
    let written = has_news.then_some(out.as_path());
    let totals = totals(&cpu, &worklist.work, &tuning.profile);
    match args.json.json {
        true => print_json(&Report {
            out: written,
            models: &worklist.names,
            proofs: proofs.all(),
            totals: &totals,
            tuning: &tuning,
        })?,
        false => print(format_args!(
            "{}{}",
            winners(&tuning.profile.entries),
            totals_text(&totals)
        ))?,
    }
    Ok(conclude(&tuning, cancelled, &out, log.as_ref()))
}

/// Leaves out of `new` what somebody else has saved with more rigor while this tuning ran.
fn leave_out_inferior(new: &mut Profile, old: &Profile) {
    let is_inferior = |entry: &Entry| {
        let mut known = old
            .entries
            .iter()
            .filter(|known| known.key() == entry.key());
        known.any(|known| !known.noisy && known.rigor > entry.rigor)
    };
    new.entries.retain(|entry| !is_inferior(entry));
    let entries = &new.entries;
    new.batches.retain(|batch| {
        let mut of = entries.iter();
        of.any(|e| (e.rows, e.cols, e.threads) == (batch.rows, batch.cols, batch.threads))
    });
}

/// Compares strategies on a log.
fn replay(args: &Args, cpu: &Cpu, log: &Path) -> anyhow::Result<Ending> {
    let strategies = match args.strategy.is_empty() {
        true => Strategy::ALL.to_vec(),
        false => args.strategy.clone(),
    };
    let budget = |strategy| match (args.budget, strategy) {
        (Some(budget), _) => budget.duration(),
        (None, Strategy::Measure) => default_budget(Rigor::Measure),
        (None, Strategy::Exhaustive) => default_budget(Rigor::Exhaustive),
        (None, _) => default_budget(Rigor::Patient),
    };
    let found = tern_tune::replay::replay(log, cpu, &strategies, budget)?;
    if args.json.json {
        print_json(&found)?;
        return Ok(Ending::Done);
    }
    let mut table = Table::new(&[
        ("strategy", Align::Left),
        ("a token takes, by threads", Align::Left),
        ("worst pick", Align::Right),
        ("samples", Align::Right),
        ("seconds", Align::Right),
    ]);
    for replayed in found {
        let tokens = replayed.token.iter();
        let tokens = tokens.map(|(threads, ratio)| format!("x{threads} {ratio:.3}x"));
        table.row([
            replayed.strategy.name().to_owned(),
            tokens.collect::<Vec<_>>().join("  "),
            format!("{:.3}x", replayed.worst),
            replayed.samples.to_string(),
            format!("{:.1}", replayed.seconds),
        ]);
    }
    print(table)?;
    remark(
        "times are ratios to the best candidates of the log; seconds are the log's, without packing",
    );
    Ok(Ending::Done)
}

/// Shows what is chosen without timing anything.
fn estimate(args: &Args, cpu: &Cpu) -> anyhow::Result<Ending> {
    let planner = Planner::new(cpu.clone(), None, args.kernel.clone())?;
    let threads = args.options(cpu).threads;
    let mut entries = Vec::new();
    for work in args.worklist()?.work {
        for &threads in &threads {
            let choice = planner.choose(work.shape, threads);
            entries.push(Entry {
                rigor: Rigor::Estimate,
                tile: choice.tile,
                ..Entry::of(work.shape, threads, &choice.kernel)
            });
        }
    }
    match args.json.json {
        true => print_json(&entries)?,
        false => print(winners(&entries))?,
    }
    remark(
        "nothing was timed or written: this is what is chosen where neither your profile nor one that ships with tern has an entry",
    );
    Ok(Ending::Done)
}

/// A line for each number of threads.
fn totals_text(totals: &[Total]) -> String {
    let line = |total: &Total| {
        let prompt = total.prompt_us.map_or_else(String::new, |us| {
            format!(", for one of a long prompt {:.2} ms", us / 1000.0)
        });
        format!(
            "with {}: all products for a token {:.2} ms{prompt}; weights {}\n",
            plural(total.threads, "thread"),
            total.token_us / 1000.0,
            bytes(total.bytes as u64),
        )
    };
    totals.iter().map(line).collect()
}

/// What is about to happen.
fn announce(worklist: &Worklist, options: &TuneOptions) {
    let counts: Vec<String> = options.threads.iter().map(ToString::to_string).collect();
    let last = match options.threads.last() {
        Some(1) => "thread",
        _ => "threads",
    };
    remark(format_args!(
        "tuning {} of {} with {} {last} for {} s ({})",
        plural(worklist.work.len(), "shape"),
        worklist.names.join(" and "),
        counts.join(" and "),
        options.budget.as_secs_f64(),
        options.rigor,
    ));
}

/// What happened: notes, what was left out, where the profile was written.
fn conclude(tuning: &Tuning, cancelled: bool, out: &Path, log: Option<&Log>) -> Ending {
    if tuning.resumed_after > 0.0 {
        remark(format_args!(
            "went on with a tuning that was interrupted after {:.0} s",
            tuning.resumed_after
        ));
    }
    tuning
        .notes
        .iter()
        .for_each(|note| remark(format_args!("note: {note}")));
    if cancelled {
        let further = log.map_or_else(String::new, |log| {
            format!("; the same command goes on from {}", log.path().display())
        });
        warn(format_args!(
            "stopped, the profile was not written{further}"
        ));
        return Ending::Interrupted;
    }
    let list = |these: &[(String, usize)]| {
        let names = these
            .iter()
            .map(|(shape, threads)| format!("{shape} x{threads}"));
        names.collect::<Vec<_>>().join(", ")
    };
    if !tuning.skipped.is_empty() {
        warn(format_args!(
            "no time for {}; give more with --budget",
            list(&tuning.skipped)
        ));
    }
    for entry in &tuning.unstored {
        warn(format_args!(
            "{} is not stored: {}; measure when the machine is quieter or longer (--budget), or store it all the same with --force",
            entry.name(),
            unknown_to(entry.noise),
        ));
    }
    if !tuning.served.is_empty() {
        remark(format_args!(
            "{} has {} already; --again tunes them anew",
            out.display(),
            list(&tuning.served)
        ));
    }
    let entries = entries(tuning.profile.entries.len());
    let (out, seconds) = (out.display(), tuning.seconds);
    match tuning.profile.entries.is_empty() {
        true => remark(format_args!("nothing new for {out} in {seconds:.0} s")),
        false => remark(format_args!("saved {entries} to {out} in {seconds:.0} s")),
    }
    Ending::Done
}

/// Why a winner is not stored.
fn unknown_to(noise: f64) -> String {
    match noise > 0.0 {
        true => format!(
            "which kernel is fastest is known to {:.1} % only",
            100.0 * noise
        ),
        false => "there was no time to compare the best kernels".to_owned(),
    }
}

/// What Ctrl-C leaves behind before anything was measured.
fn stopped() -> Ending {
    warn("stopped, nothing was written");
    Ending::Interrupted
}

/// The profile whose entries are to be kept. A file that is no profile of this CPU, or of a newer tern, is not ours to replace.
fn old_profile(out: &Path) -> anyhow::Result<Option<Profile>> {
    if !out.is_file() {
        return Ok(None);
    }
    // With all that the CPU announces: an instruction set that is capped, or was not proven this time, makes no entry stale.
    match Profile::load(out, &Cpu::detect()) {
        Ok(loaded) => {
            let ignored = loaded.ignored.iter();
            ignored.for_each(|line| remark(format_args!("dropping an old entry: {line}")));
            Ok(Some(loaded.profile))
        }
        Err(error @ ProfileError::Format { found }) if found < FORMAT => {
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
        let (other, ratio) = match &entry.runner_up {
            Some(other) => (other.kernel.clone(), format!("{:.2}x", 1.0 + other.margin)),
            None => Default::default(),
        };
        table.row([
            format!("{}x{}", entry.rows, entry.cols),
            entry.threads.to_string(),
            entry.kernel.clone(),
            tile_text(&entry.tile),
            format!("{:.2}", entry.median_us),
            format!("{:.2}", entry.mad_us),
            other,
            ratio,
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
    let watch = Watch::new();
    let Some(Proven { cpu, whole, .. }) = Proven::of(cpu, watch.flag()) else {
        return Ok(Ending::Interrupted);
    };
    let loaded =
        Profile::load(&path, &cpu).with_context(|| format!("cannot check {}", path.display()));
    let Loaded {
        profile, ignored, ..
    } = loaded.context("`tern tune` makes a profile")?;
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
        args.options(&cpu).budget.as_secs_f64()
    ));
    // Entries that only the cap keeps from being judged.
    let capped = match Profile::load(&path, &whole) {
        Ok(all) => all
            .profile
            .entries
            .len()
            .saturating_sub(profile.entries.len()),
        Err(_) => 0,
    };
    let mut progress = Measuring::new();
    let options = args.options(&cpu);
    let found = verify(
        &cpu,
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
