//! `tern profile`: shows, compares, joins and checks what `tern tune` saved.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::Serialize;
use tern_kernels::{Cpu, Profile, ProfileError, Shape};
use tern_tune::profiles::{Difference, Side, differences, merge};
use tern_tune::{
    Recheck, Rechecked, Rival, Turn, check_writable, default_profile_path, recheck, tile_text,
    write_atomically, write_profile,
};

use crate::Ending;
use crate::args::{IsaArg, JsonArg, PagesArg};
use crate::interrupt::Watch;
use crate::output::{GOOD, one_line, paint, print, print_json, remark, warn};
use crate::plan::entries;
use crate::progress::Measuring;
use crate::proof::Proven;
use crate::table::{Align, Table};
use crate::worklist::Seconds;

/// Shows, compares, joins and checks profiles.
///
/// A profile says which kernel and tile are fastest for each matrix shape on one CPU. It is a TOML file that `tern tune`
/// writes and every command that runs a model finds by itself. Where no file is named, this CPU's own profile is meant.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern profile show
  tern profile diff old.toml new.toml
  tern profile merge node1.toml node2.toml --out fleet.toml
  tern profile import fleet.toml                 use it on this machine
  tern profile verify                            winners against runners-up, a minute
  tern profile forget 640x2560
  tern profile export here.toml")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows a profile of any CPU
    Show {
        /// The profile [default: this CPU's]
        file: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Shows where two profiles choose differently; exit code 1 if they do
    Diff {
        /// The first profile
        first: PathBuf,
        /// The second profile [default: this CPU's]
        second: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Joins profiles of one CPU: of two entries for the same shape the one of higher rigor stays, then the newer, then the faster
    Merge {
        /// The profiles
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where the result goes
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Times winners again, against their runners-up, what is chosen without a profile and what warm weights would choose, and says
    /// whether the profile still holds; exit code 1 if it does not
    Verify {
        /// The profile [default: this CPU's]
        file: Option<PathBuf>,
        /// Time to take for everything together
        #[arg(long, value_name = "SECONDS", default_value_t = Seconds(60.0))]
        budget: Seconds,
        #[command(flatten)]
        pages: PagesArg,
        #[command(flatten)]
        json: JsonArg,
        #[command(flatten)]
        isa: IsaArg,
    },
    /// Removes entries, so that they are tuned anew or chosen otherwise
    Forget {
        /// Shapes such as 640x2560, or `all`
        #[arg(required = true, value_name = "ROWSxCOLS|all")]
        shapes: Vec<Forgotten>,
        /// The profile [default: this CPU's]
        #[arg(long, value_name = "FILE")]
        profile: Option<PathBuf>,
    },
    /// Copies this CPU's profile to a file
    Export {
        /// Where to; `-` for standard output
        out: PathBuf,
    },
    /// Joins a profile of this CPU's kind into this CPU's own, by the rules of `merge`
    Import {
        /// The profile
        file: PathBuf,
    },
}

/// What `forget` removes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Forgotten {
    All,
    Shape(Shape),
}

impl std::str::FromStr for Forgotten {
    type Err = String;

    fn from_str(text: &str) -> Result<Forgotten, String> {
        if text == "all" {
            return Ok(Forgotten::All);
        }
        let shape = text.split_once('x').and_then(|(rows, cols)| {
            let (rows, cols) = (rows.parse().ok()?, cols.parse().ok()?);
            Some(Forgotten::Shape(Shape { rows, cols }))
        });
        shape
            .ok_or_else(|| format!("`{text}` is no shape; expected one such as 640x2560, or `all`"))
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    match &args.action {
        Action::Show { file, json } => show(file.as_deref(), json.json),
        Action::Diff {
            first,
            second,
            json,
        } => diff(first, second.as_deref(), json.json),
        Action::Merge { files, out } => merge_files(files, out),
        Action::Verify {
            file,
            budget,
            pages,
            json,
            isa,
        } => verify(file.as_deref(), *budget, pages, json.json, &isa.cpu()),
        Action::Forget { shapes, profile } => forget(shapes, profile.as_deref()),
        Action::Export { out } => export(out),
        Action::Import { file } => import(file),
    }
}

/// The file that is meant: the one named, or this CPU's.
fn place(file: Option<&Path>) -> anyhow::Result<PathBuf> {
    match file {
        Some(file) => Ok(file.to_owned()),
        None => Profile::default_path(&Cpu::detect())
            .context("neither XDG_CONFIG_HOME nor HOME is an absolute path; name a profile"),
    }
}

/// A profile of any CPU.
fn read(path: &Path) -> anyhow::Result<Profile> {
    let read = Profile::read(path).and_then(|text| Profile::of_any_cpu(&text));
    match read {
        Ok(profile) => Ok(profile),
        Err(error @ ProfileError::Read { .. }) => {
            Err(error).context("`tern tune` makes this CPU's profile")
        }
        Err(error) => bail!(
            "cannot use {}: {}",
            path.display(),
            one_line(&error.to_string())
        ),
    }
}

fn show(file: Option<&Path>, json: bool) -> anyhow::Result<Ending> {
    let path = place(file)?;
    let profile = read(&path)?;
    if json {
        print_json(&profile)?;
        return Ok(Ending::Done);
    }
    let host = &profile.host;
    print(format_args!(
        "{}\n{}, {}, {} cores, {}\ntern {}, {}, kernels {}, tuned {}\n",
        path.display(),
        host.cpu,
        host.key,
        host.cores,
        host.isas.join(" "),
        profile.engine,
        profile.rustc,
        profile.kernels,
        profile.date,
    ))?;
    print(table(&profile))?;
    if let Ok(loaded) = Profile::load(&path, &Cpu::detect()) {
        let ignored = loaded.ignored.iter();
        ignored.for_each(|line| warn(format_args!("profile entry not used: {line}")));
        let warnings = loaded.warnings.iter();
        warnings.for_each(|line| remark(format_args!("the profile may be out of date: {line}")));
    } else if host.key != Cpu::detect().key() {
        remark(format_args!(
            "of another CPU: this one is {}",
            Cpu::detect().key()
        ));
    }
    Ok(Ending::Done)
}

/// One row for each entry.
fn table(profile: &Profile) -> String {
    let mut table = Table::new(&[
        ("rows x cols", Align::Left),
        ("threads", Align::Right),
        ("tokens", Align::Right),
        ("fastest kernel", Align::Left),
        ("tile", Align::Left),
        ("us", Align::Right),
        ("±", Align::Right),
        ("runner-up", Align::Left),
        ("takes", Align::Right),
        ("rigor", Align::Left),
        ("tuned", Align::Left),
    ]);
    let day = |date: &str| date.split('T').next().unwrap_or_default().to_owned();
    let time = |us: f64| match us > 0.0 {
        true => format!("{us:.2}"),
        false => String::new(),
    };
    for entry in &profile.entries {
        let (other, takes) = match &entry.runner_up {
            Some(other) => (other.kernel.clone(), format!("{:.2}x", 1.0 + other.margin)),
            None => Default::default(),
        };
        let noisy = if entry.noisy { ", noisy" } else { "" };
        table.row([
            entry.shape().to_string(),
            entry.threads.to_string(),
            "1".to_owned(),
            entry.kernel.clone(),
            tile_text(&entry.tile),
            time(entry.median_us),
            time(entry.mad_us),
            other,
            takes,
            format!("{}{noisy}", entry.rigor),
            day(&entry.date),
        ]);
    }
    for entry in &profile.batches {
        table.row([
            format!("{}x{}", entry.rows, entry.cols),
            entry.threads.to_string(),
            format!("from {}", entry.tokens),
            entry.kernel.clone(),
            entry.packing.clone(),
            time(entry.median_us),
            time(entry.mad_us),
            String::new(),
            String::new(),
            entry.rigor.to_string(),
            day(&entry.date),
        ]);
    }
    table.to_string()
}

fn diff(first: &Path, second: Option<&Path>, json: bool) -> anyhow::Result<Ending> {
    let second = place(second)?;
    let found = differences(&read(first)?, &read(&second)?);
    match json {
        true => print_json(&found)?,
        false => print(differences_text(&found))?,
    }
    if found.is_empty() {
        remark("both choose the same");
        return Ok(Ending::Done);
    }
    bail!(
        "{} and {} choose differently for {}",
        first.display(),
        second.display(),
        entries(found.len())
    );
}

fn differences_text(found: &[Difference]) -> String {
    let side = |sign: char, side: &Option<Side>| match side {
        Some(Side { choice, median_us }) if *median_us > 0.0 => {
            format!("{sign} {choice}, {median_us:.2} us\n")
        }
        Some(Side { choice, .. }) => format!("{sign} {choice}\n"),
        None => String::new(),
    };
    let texts = found.iter().map(|difference| {
        format!(
            "{}\n{}{}",
            difference.name,
            side('-', &difference.first),
            side('+', &difference.second)
        )
    });
    texts.collect()
}

fn merge_files(files: &[PathBuf], out: &Path) -> anyhow::Result<Ending> {
    check_writable(out)?;
    // The result may be one of the files.
    let _turn = Turn::of(out);
    // All are read before anything is joined: one bad file changes nothing.
    let read: anyhow::Result<Vec<Profile>> = files.iter().map(|path| read(path)).collect();
    let mut profiles = read?.into_iter().zip(files);
    let (mut merged, _) = profiles.next().context("name profiles to merge")?;
    for (profile, path) in profiles {
        merged =
            merge(merged, profile).with_context(|| format!("cannot merge {}", path.display()))?;
    }
    write_profile(&merged, out)?;
    remark(format_args!(
        "merged {} into {}",
        entries(merged.entries.len() + merged.batches.len()),
        out.display()
    ));
    Ok(Ending::Done)
}

/// What `verify --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    profile: &'a Path,
    holds: bool,
    #[serde(flatten)]
    found: &'a Recheck,
}

fn verify(
    file: Option<&Path>,
    budget: Seconds,
    pages: &PagesArg,
    json: bool,
    cpu: &Cpu,
) -> anyhow::Result<Ending> {
    let path = place(file)?;
    let watch = Watch::new();
    let Some(Proven { cpu, .. }) = Proven::of(cpu, watch.flag()) else {
        return Ok(Ending::Interrupted);
    };
    let loaded =
        Profile::load(&path, &cpu).with_context(|| format!("cannot verify {}", path.display()))?;
    let ignored = loaded.ignored.iter();
    ignored.for_each(|line| warn(format_args!("profile entry not used: {line}")));
    let mut progress = Measuring::within(budget.duration());
    let found = recheck(
        &cpu,
        &loaded.profile,
        pages.pages(),
        budget.duration(),
        &mut |step| progress.step(step),
        watch.flag(),
    )?;
    drop(progress);
    let report = Report {
        profile: &path,
        holds: found.holds(),
        found: &found,
    };
    match json {
        true => print_json(&report)?,
        false => print(verified(&found))?,
    }
    if watch.stopped() {
        return Ok(Ending::Interrupted);
    }
    let wrong = found.entries.iter().filter(|entry| !entry.holds).count();
    if wrong > 0 {
        bail!(
            "{} of {} no longer hold: another kernel is faster by more than 3 % and the noise; run `tern tune --again`",
            wrong,
            entries(found.entries.len())
        );
    }
    if !found.holds() {
        bail!(
            "it is not known whether {} still holds, for want of time or because of noise: {}; give more time with --budget",
            path.display(),
            match found.unjudged.is_empty() {
                true => "it has no entry".to_owned(),
                false => found.unjudged.join(", "),
            }
        );
    }
    let text = format!(
        "{} judged: the profile still holds",
        entries(found.entries.len())
    );
    remark(paint(GOOD, text));
    Ok(Ending::Done)
}

fn verified(found: &Recheck) -> String {
    let mut table = Table::new(&[
        ("rows x cols x threads", Align::Left),
        ("winner", Align::Left),
        ("runner-up then", Align::Right),
        ("now", Align::Right),
        ("estimate", Align::Right),
        ("warm choice", Align::Right),
        ("", Align::Left),
    ]);
    let times = |rival: &Option<Rival>, winner: &str| match rival {
        None => String::new(),
        Some(rival) if rival.now == 0.0 && rival.kernel == winner => "the same".to_owned(),
        Some(rival) => format!("{:.3}x ±{:.3}", 1.0 + rival.now, rival.noise),
    };
    for entry in &found.entries {
        let then = entry.runner_up.as_ref().and_then(|rival| rival.then);
        table.row([
            entry.name.clone(),
            entry.winner.clone(),
            then.map_or_else(String::new, |then| format!("{:.3}x", 1.0 + then)),
            times(&entry.runner_up, &entry.winner),
            times(&entry.estimate, &entry.winner),
            times(&entry.warm, &entry.winner),
            if entry.holds {
                "holds"
            } else {
                "does not hold"
            }
            .to_owned(),
        ]);
    }
    let other = |entry: &&Rechecked| {
        let mut warm = entry.warm.iter();
        warm.any(|rival| rival.kernel != entry.winner)
    };
    format!(
        "{table}times are over the winner's, in the same rounds; with warm weights another kernel would have been chosen for {} of {}\n",
        found.entries.iter().filter(other).count(),
        found.entries.len()
    )
}

fn forget(shapes: &[Forgotten], file: Option<&Path>) -> anyhow::Result<Ending> {
    let path = place(file)?;
    let _turn = Turn::of(&path);
    let mut profile = read(&path)?;
    let before = profile.entries.len() + profile.batches.len();
    let is_named = |rows, cols| {
        let shape = Forgotten::Shape(Shape { rows, cols });
        shapes.contains(&Forgotten::All) || shapes.contains(&shape)
    };
    profile.entries.retain(|e| !is_named(e.rows, e.cols));
    profile.batches.retain(|e| !is_named(e.rows, e.cols));
    let gone = before - profile.entries.len() - profile.batches.len();
    if gone == 0 {
        bail!(
            "{} has no entry for that; `tern profile show` lists them",
            path.display()
        );
    }
    write_profile(&profile, &path)?;
    remark(format_args!(
        "removed {} from {}",
        entries(gone),
        path.display()
    ));
    Ok(Ending::Done)
}

fn export(out: &Path) -> anyhow::Result<Ending> {
    let path = place(None)?;
    // As it stands there, with what the user wrote into it.
    read(&path)?;
    let text = Profile::read(&path)?;
    match out == Path::new("-") {
        true => print(text)?,
        false => write_atomically(out, &text)?,
    }
    Ok(Ending::Done)
}

fn import(file: &Path) -> anyhow::Result<Ending> {
    let cpu = Cpu::detect();
    let new =
        Profile::load(file, &cpu).with_context(|| format!("cannot import {}", file.display()))?;
    let ignored = new.ignored.iter();
    ignored.for_each(|line| warn(format_args!("not imported: {line}")));
    if new.profile.entries.is_empty() && new.profile.batches.is_empty() {
        bail!("{} has no entry that this program can use", file.display());
    }
    let own = default_profile_path(&cpu)?;
    let _turn = Turn::of(&own);
    let merged = match own.is_file() {
        true => merge(read(&own)?, new.profile)?,
        false => new.profile,
    };
    write_profile(&merged, &own)?;
    remark(format_args!(
        "{} has {} now, of rigor {} or higher",
        own.display(),
        entries(merged.entries.len() + merged.batches.len()),
        merged.rigor,
    ));
    Ok(Ending::Done)
}
