//! From options to a planner: which profile is used, or why none is.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tern_kernels::{Cpu, Loaded, Planner, Profile, ProfileError};
use tern_runtime::{HeadMode, KvType, Logits, ReadOptions, Residence, Sampling};

use crate::args::{EngineArgs, ProfileChoice};
use crate::bundled;
use crate::output::{one_line, remark, warn};

/// What the kernels of a model are chosen with.
pub struct Setup {
    /// Chooses.
    pub planner: Planner,
    /// Threads to plan for.
    pub threads: usize,
    /// Who says so.
    pub threads_of: ThreadsOf,
    /// Which profile the planner has.
    pub profile: ProfileUse,
    /// How the best logit is found.
    pub head: HeadMode,
    /// Where a packed model's weights are.
    pub residence: Residence,
    /// How keys and values are kept.
    pub kv: KvType,
    /// What the user says of the model's files.
    pub reading: ReadOptions,
}

/// Who chose the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadsOf {
    /// The user, or the command that compares several.
    User,
    /// The profile, by its times.
    Profile,
    /// Nobody: all usable cores.
    Cores,
}

/// Which profile is used, or why none is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProfileUse {
    /// This one.
    Used {
        /// Its path.
        path: PathBuf,
        /// Entries in use.
        entries: usize,
        /// When it was tuned last.
        date: String,
        /// One line for each entry that is not used.
        ignored: Vec<String>,
        /// One line for each thing that may have changed the times.
        warnings: Vec<String>,
    },
    /// There is none for this CPU.
    Absent {
        /// Where it would be, if there is a place at all.
        path: Option<PathBuf>,
        /// When the profile was tuned that ships with the program for this microarchitecture, if there is one.
        shipped: Option<String>,
    },
    /// There is one, but it is not used.
    Refused {
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The user wants none.
    Off,
}

impl Setup {
    /// The same for work that wants all logits: a copy of the head that finds the largest would only take time and memory.
    pub fn for_all_logits(self) -> Setup {
        let head = match self.head {
            HeadMode::Exact | HeadMode::Screened4 | HeadMode::Full => HeadMode::Full,
            HeadMode::Q8 | HeadMode::Q6 => self.head,
        };
        Setup { head, ..self }
    }

    /// The same for a text that is sampled so: for all logits where its filters need them.
    pub fn for_sampling(self, sampling: &Sampling) -> Setup {
        match sampling.logits() {
            Logits::Last => self.for_all_logits(),
            _ => self,
        }
    }

    /// The same with another type of cache.
    pub fn with_kv(self, kv: KvType) -> Setup {
        Setup { kv, ..self }
    }
}

impl fmt::Display for ProfileUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| path.display().to_string();
        match self {
            ProfileUse::Used {
                path: file,
                entries,
                date,
                ..
            } => {
                let date = date.split('T').next().unwrap_or(date);
                write!(
                    f,
                    "profile: {} ({}, tuned {date})",
                    path(file),
                    self::entries(*entries)
                )
            }
            ProfileUse::Absent {
                path: place,
                shipped,
            } => {
                match shipped {
                    Some(date) => {
                        let date = date.split('T').next().unwrap_or(date);
                        write!(f, "profile: the one shipped for this CPU, tuned {date}; ")?;
                    }
                    None => f.write_str("profile: built-in defaults; ")?,
                }
                match place {
                    Some(file) => write!(f, "`tern tune` would save one at {}", path(file)),
                    None => f.write_str("neither XDG_CONFIG_HOME nor HOME is set"),
                }
            }
            ProfileUse::Refused { path: file, reason } => {
                write!(
                    f,
                    "profile {} is not used: {reason}; using what ships with tern, or else built-in defaults",
                    path(file)
                )
            }
            ProfileUse::Off => f.write_str("profile: none, as asked; built-in defaults"),
        }
    }
}

impl ProfileUse {
    /// Tells the user, in one line and one for each ignored entry.
    fn announce(&self) {
        match self {
            ProfileUse::Refused { .. } => warn(self),
            _ => remark(self),
        }
        if let ProfileUse::Used {
            ignored, warnings, ..
        } = self
        {
            let ignored = ignored.iter();
            ignored.for_each(|line| warn(format_args!("profile entry not used: {line}")));
            let warnings = warnings.iter();
            warnings
                .for_each(|line| remark(format_args!("the profile may be out of date: {line}")));
        }
    }
}

impl EngineArgs {
    /// Reads the profile, says which, and makes the planner.
    pub fn setup(&self) -> anyhow::Result<Setup> {
        self.setup_telling(ProfileUse::announce)
    }

    /// The same where it was said before which profile is used.
    pub fn setup_again(&self) -> anyhow::Result<Setup> {
        self.setup_telling(|_| ())
    }

    fn setup_telling(&self, tell: impl FnOnce(&ProfileUse)) -> anyhow::Result<Setup> {
        let cpu = self.isa.cpu();
        let all = self.threads.on(&cpu);
        let (profile, used) = find_profile(&self.profile.choice(), &cpu)?;
        tell(&used);
        let shipped = match self.profile.choice() {
            ProfileChoice::None => None,
            _ => bundled_profile(&cpu),
        };
        let planner = Planner::new(cpu, profile, self.kernel.force.clone())?.with_shipped(shipped);
        let (threads, threads_of) = match (self.threads.given(), planner.team_size()) {
            (Some(given), _) => (given, ThreadsOf::User),
            (None, Some(fastest)) => (fastest, ThreadsOf::Profile),
            (None, None) => (all, ThreadsOf::Cores),
        };
        Ok(Setup {
            planner,
            threads,
            threads_of,
            profile: used,
            head: self.head.mode(),
            residence: self.load.residence(),
            kv: self.kv.or_f16(),
            reading: self.read.reading(),
        })
    }
}

/// The profile to use on `cpu`.
///
/// Only a file that the user named and that cannot be read is an error. A profile that does not fit is refused, never
/// half used, and the work goes on.
pub fn find_profile(
    choice: &ProfileChoice,
    cpu: &Cpu,
) -> anyhow::Result<(Option<Profile>, ProfileUse)> {
    match choice {
        ProfileChoice::None => Ok((None, ProfileUse::Off)),
        ProfileChoice::File(path) => match Profile::load(path, cpu) {
            // The parser's complaint about bytes that are no text arrives as a reading error, too.
            Err(error @ ProfileError::Read { .. }) if !is_not_text(&error) => Err(error)
                .context("name an existing profile with --profile or TERN_PROFILE, or `none`"),
            result => Ok(judge(result, path)),
        },
        ProfileChoice::Find => {
            let shipped = bundled_profile(cpu).map(|profile| profile.date);
            let Some(path) = Profile::default_path(cpu) else {
                let path = None;
                return Ok((None, ProfileUse::Absent { path, shipped }));
            };
            match Profile::load(&path, cpu) {
                Err(error) if is_not_found(&error) => {
                    let path = Some(path);
                    Ok((None, ProfileUse::Absent { path, shipped }))
                }
                result => Ok(judge(result, &path)),
            }
        }
    }
}

fn is_not_found(error: &ProfileError) -> bool {
    matches!(error, ProfileError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

fn is_not_text(error: &ProfileError) -> bool {
    matches!(error, ProfileError::Read { source, .. } if source.kind() == std::io::ErrorKind::InvalidData)
}

fn judge(result: Result<Loaded, ProfileError>, path: &Path) -> (Option<Profile>, ProfileUse) {
    let path = path.to_owned();
    match result {
        Ok(loaded) => {
            let used = ProfileUse::Used {
                path,
                entries: loaded.profile.entries.len(),
                date: loaded.profile.date.clone(),
                ignored: loaded.ignored,
                warnings: loaded.warnings,
            };
            (Some(loaded.profile), used)
        }
        Err(error) => {
            let reason = one_line(&error.to_string());
            (None, ProfileUse::Refused { path, reason })
        }
    }
}

/// The profile that ships with the program for the microarchitecture of `cpu`. Its entries for kernels that have changed are dropped
/// silently: the user can do nothing about them but tune.
fn bundled_profile(cpu: &Cpu) -> Option<Profile> {
    // One of this very CPU comes before those of other steppings.
    let profiles = bundled::profiles().filter_map(|text| Profile::shipped(text, cpu).ok());
    let profiles = profiles.map(|loaded| loaded.profile);
    profiles
        .filter(|profile| !profile.entries.is_empty())
        .min_by_key(|profile| profile.host.key != cpu.key())
}

/// `1 entry`, `2 entries`.
pub fn entries(count: usize) -> String {
    match count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}
