//! From options to a planner: which profile is used, or why none is.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tern_kernels::{Cpu, Planner, Profile, ProfileError};

use crate::args::{EngineArgs, ProfileChoice};
use crate::bundled;
use crate::output::{one_line, remark, warn};

/// What the kernels of a model are chosen with.
pub struct Setup {
    /// Chooses.
    pub planner: Planner,
    /// Threads to plan for.
    pub threads: usize,
    /// Which profile the planner has.
    pub profile: ProfileUse,
}

/// Which profile is used, or why none is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProfileUse {
    /// This one.
    Used {
        /// Its path; `bundled` for one that is part of the program.
        path: PathBuf,
        /// Entries in use.
        entries: usize,
        /// Day of the tuning.
        date: String,
        /// One line for each entry that is not used.
        ignored: Vec<String>,
    },
    /// There is none for this CPU.
    Absent {
        /// Where it would be, if there is a place at all.
        path: Option<PathBuf>,
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
                write!(
                    f,
                    "profile: {} ({}, tuned {date})",
                    path(file),
                    self::entries(*entries)
                )
            }
            ProfileUse::Absent { path: Some(file) } => {
                let file = path(file);
                write!(
                    f,
                    "profile: built-in defaults; `tern tune` would save one at {file}"
                )
            }
            ProfileUse::Absent { path: None } => {
                f.write_str("profile: built-in defaults; neither XDG_CONFIG_HOME nor HOME is set")
            }
            ProfileUse::Refused { path: file, reason } => {
                write!(
                    f,
                    "profile {} is not used: {reason}; using built-in defaults",
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
        if let ProfileUse::Used { ignored, .. } = self {
            ignored
                .iter()
                .for_each(|line| warn(format_args!("profile entry not used: {line}")));
        }
    }
}

impl EngineArgs {
    /// Reads the profile, says which, and makes the planner.
    pub fn setup(&self) -> anyhow::Result<Setup> {
        let cpu = self.isa.cpu();
        let threads = self.threads.on(&cpu);
        let (profile, used) = find_profile(&self.profile.choice(), &cpu)?;
        used.announce();
        let planner = Planner::new(cpu, profile, self.kernel.force.clone())?;
        Ok(Setup {
            planner,
            threads,
            profile: used,
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
            let Some(path) = Profile::default_path(cpu) else {
                return Ok(
                    bundled_profile(cpu).unwrap_or((None, ProfileUse::Absent { path: None }))
                );
            };
            match Profile::load(&path, cpu) {
                Err(error) if is_not_found(&error) => {
                    let absent = || (None, ProfileUse::Absent { path: Some(path) });
                    Ok(bundled_profile(cpu).unwrap_or_else(absent))
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

fn judge(
    result: Result<(Profile, Vec<String>), ProfileError>,
    path: &Path,
) -> (Option<Profile>, ProfileUse) {
    let path = path.to_owned();
    match result {
        Ok((profile, ignored)) => {
            let used = ProfileUse::Used {
                path,
                entries: profile.entries.len(),
                date: profile.date.clone(),
                ignored,
            };
            (Some(profile), used)
        }
        Err(error) => {
            let reason = one_line(&error.to_string());
            (None, ProfileUse::Refused { path, reason })
        }
    }
}

/// The profile for `cpu` that is part of the program. Its entries for kernels that have changed are dropped silently:
/// the user can do nothing about them but tune.
fn bundled_profile(cpu: &Cpu) -> Option<(Option<Profile>, ProfileUse)> {
    let text = bundled::profile(&cpu.key())?;
    let (profile, _) = Profile::from_toml(text, cpu)
        .ok()
        .filter(|(profile, _)| !profile.entries.is_empty())?;
    Some(judge(Ok((profile, Vec::new())), Path::new("bundled")))
}

/// `1 entry`, `2 entries`.
pub fn entries(count: usize) -> String {
    match count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}
