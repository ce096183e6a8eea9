//! Profiles: what the tuner found on one CPU, as TOML that a person can read, compare and edit.
//!
//! The tuner writes them, the planner reads them. A profile is refused whole when it is malformed or was tuned on another CPU; an
//! entry is ignored, with one line that says so, when its kernel is gone or its generated text changed. So a profile can be
//! out of date but never wrong. (FFTW's wisdom is the model; it knows neither the CPU nor the code.)

mod entry;
mod host;
mod team_size;

use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cpu::Cpu;
use crate::registry::{gemms, group_kernels, kernels, unpacks};

pub use entry::{BatchEntry, Entry, Key, Rigor, RunnerUp, THREADS_MAX};
pub use host::HostInfo;

/// The format that this version reads and writes.
pub const FORMAT: u32 = 2;

/// Larger files are refused before they are parsed; a profile of a thousand shapes is a tenth of this.
const SIZE_MAX: u64 = 16 << 20;

/// More entries than this are no profile: a hundred models on fifty thread counts have fewer.
const ENTRIES_MAX: usize = 20_000;

/// The compiler that this program was built with, as `rustc --version` says it.
pub const RUSTC: &str = env!("TERN_KERNELS_RUSTC");

/// A tuned profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`FORMAT`] at the time of writing.
    pub format: u32,
    /// Version of tern that wrote it.
    pub engine: String,
    /// [`kernel_set`] of that version.
    pub kernels: String,
    /// `rustc --version` of its build.
    pub rustc: String,
    /// The least rigor of its entries.
    pub rigor: Rigor,
    /// When it was tuned last, UTC, as RFC 3339 writes it.
    pub date: String,
    /// The machine that it was tuned on.
    pub host: HostInfo,
    /// One entry for each shape and thread count: the product of one token.
    #[serde(default, rename = "gemv", skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    /// One entry for each shape, thread count and number of tokens from which on it holds.
    #[serde(default, rename = "batch", skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchEntry>,
}

/// A profile that was read, and what a reader should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The profile with the entries that hold.
    pub profile: Profile,
    /// One line for each entry that was left out.
    pub ignored: Vec<String>,
    /// One line for each thing that may have changed the times.
    pub warnings: Vec<String>,
}

/// Which profiles a CPU accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// Those of the same key.
    Key,
    /// Those of the same maker, family and model, whatever the stepping: what ships with the program.
    Microarchitecture,
}

/// A fingerprint of all kernels in this binary: 64 bits of FNV-1a over their fingerprints, in hex. Logs and profiles of one value timed
/// the same machine code, if the compiler was the same.
pub fn kernel_set() -> String {
    let kernels = kernels().chain(group_kernels()).map(|k| k.fingerprint);
    let all = kernels
        .chain(unpacks().map(|k| k.fingerprint))
        .chain(gemms().map(|k| k.fingerprint));
    let hash = all
        .flat_map(str::bytes)
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// Why a profile is not used at all.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It could not be read.
    #[error("cannot read the profile {path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is far too large for a profile.
    #[error(
        "{path} has more than {SIZE_MAX} bytes, too many for a profile; is this the right file?"
    )]
    TooLarge {
        /// Its path.
        path: PathBuf,
    },
    /// It is not TOML, or not a profile.
    #[error("not a tern profile: {0}")]
    Malformed(String),
    /// It is of another format.
    #[error(
        "profile format {found}, this version reads format {FORMAT}; run `tern tune` to write a new one"
    )]
    Format {
        /// The format found.
        found: u32,
    },
    /// It was tuned on another CPU.
    #[error("tuned on `{profile}`, but this CPU is `{here}`; run `tern tune` here")]
    OtherCpu {
        /// The profile's CPU key.
        profile: String,
        /// This CPU's key.
        here: String,
    },
}

impl Profile {
    /// A profile of this program, this machine and this moment, with these entries.
    pub fn new(cpu: &Cpu, date: &str, entries: Vec<Entry>) -> Profile {
        Profile {
            format: FORMAT,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            kernels: kernel_set(),
            rustc: RUSTC.to_owned(),
            rigor: Rigor::Estimate,
            date: date.to_owned(),
            host: HostInfo::of(cpu),
            entries,
            batches: Vec::new(),
        }
        .settled()
    }

    /// The profile with entries in order and the rigor of the least of them.
    #[must_use]
    pub fn settled(mut self) -> Profile {
        let key = |e: &Entry| (e.rows, e.cols, e.threads);
        self.entries.sort_by_key(key);
        self.batches.sort_by_key(BatchEntry::key);
        let rigors = self.entries.iter().map(|entry| entry.rigor);
        self.rigor = rigors.min().unwrap_or(Rigor::Estimate);
        self
    }

    /// Parses a profile for `cpu`.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn from_toml(text: &str, cpu: &Cpu) -> Result<Loaded, ProfileError> {
        Profile::parse(text, cpu, Match::Key)
    }

    /// Parses a profile that ships with the program: one of the microarchitecture of `cpu` will do, since steppings differ in errata and
    /// not in speed.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn shipped(text: &str, cpu: &Cpu) -> Result<Loaded, ProfileError> {
        Profile::parse(text, cpu, Match::Microarchitecture)
    }

    /// Parses a profile of any CPU, to show, compare or merge it: no entry is left out.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Format`] and [`ProfileError::Malformed`].
    pub fn of_any_cpu(text: &str) -> Result<Profile, ProfileError> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let malformed =
            |e: toml::de::Error| ProfileError::Malformed(e.to_string().trim().to_owned());
        // The format first: a newer one may hold keys that this version does not know.
        let header: Header = toml::from_str(text).map_err(malformed)?;
        if header.format != FORMAT {
            return Err(ProfileError::Format {
                found: header.format,
            });
        }
        let profile: Profile = toml::from_str(text).map_err(malformed)?;
        profile.check_keys()?;
        Ok(profile)
    }

    fn parse(text: &str, cpu: &Cpu, accepted: Match) -> Result<Loaded, ProfileError> {
        let mut profile = Profile::of_any_cpu(text)?;
        let here = HostInfo::of(cpu);
        let fits = match accepted {
            Match::Key => profile.host.key == here.key,
            Match::Microarchitecture => {
                let of = |host: &HostInfo| (host.vendor.clone(), host.family, host.model);
                of(&profile.host) == of(&here)
            }
        };
        if !fits {
            return Err(ProfileError::OtherCpu {
                profile: profile.host.key,
                here: here.key,
            });
        }
        let mut ignored = Vec::new();
        profile
            .entries
            .retain(|entry| keep(entry.check(cpu), &entry.name(), &mut ignored));
        profile
            .batches
            .retain(|entry| keep(entry.check(cpu), &entry.name(), &mut ignored));
        let mut warnings = match accepted {
            Match::Key => profile.host.differences(&here),
            Match::Microarchitecture => Vec::new(),
        };
        if profile.rustc != RUSTC {
            warnings.push(format!(
                "tuned with a build of {}, this one is of {RUSTC}",
                profile.rustc
            ));
        }
        Ok(Loaded {
            profile,
            ignored,
            warnings,
        })
    }

    /// Whether no two entries are for the same thing: which of them holds, nobody could say.
    fn check_keys(&self) -> Result<(), ProfileError> {
        let count = self.entries.len().saturating_add(self.batches.len());
        if count > ENTRIES_MAX {
            return Err(ProfileError::Malformed(format!(
                "{count} entries, more than the {ENTRIES_MAX} of any profile"
            )));
        }
        let mut seen = HashSet::new();
        let entries = self.entries.iter().map(|e| (e.key(), e.name()));
        for (key, name) in entries.chain(self.batches.iter().map(|e| (e.key(), e.name()))) {
            if !seen.insert(key) {
                return Err(ProfileError::Malformed(format!(
                    "two entries for {name}; delete one"
                )));
            }
        }
        Ok(())
    }

    /// Reads the profile at `path` for `cpu`, as [`Profile::from_toml`].
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn load(path: &Path, cpu: &Cpu) -> Result<Loaded, ProfileError> {
        Profile::from_toml(&Profile::read(path)?, cpu)
    }

    /// The text of the file at `path`.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Read`] and [`ProfileError::TooLarge`].
    pub fn read(path: &Path) -> Result<String, ProfileError> {
        let read = |source| ProfileError::Read {
            path: path.to_owned(),
            source,
        };
        // Counted while reading: a device or a pipe has no size to ask for.
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(read)?;
        file.take(SIZE_MAX + 1)
            .read_to_string(&mut text)
            .map_err(read)?;
        if text.len() as u64 > SIZE_MAX {
            return Err(ProfileError::TooLarge {
                path: path.to_owned(),
            });
        }
        Ok(text)
    }

    /// Where the profile of `cpu` lives unless the user says otherwise:
    /// `$XDG_CONFIG_HOME/tern/profiles/<key>.toml`, with `~/.config` where the variable is not set.
    pub fn default_path(cpu: &Cpu) -> Option<PathBuf> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let config =
            absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
        Some(
            config
                .join("tern")
                .join("profiles")
                .join(format!("{}.toml", cpu.key())),
        )
    }

    /// The profile as text: entries sorted, one key a line, so that two profiles can be compared with `diff`.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(&self.clone().settled())
            .expect("numbers, strings and lists of strings are TOML");
        format!(
            "# Which kernel and tile are fastest for each matrix shape on this CPU. Written by `tern tune`; edit freely,\n\
             # and delete the fingerprint of an entry whose kernel you change.\n{body}"
        )
    }
}

/// Whether an entry holds; if not, its line goes to `ignored`.
fn keep(checked: Result<(), String>, name: &str, ignored: &mut Vec<String>) -> bool {
    match checked {
        Ok(()) => true,
        Err(reason) => {
            ignored.push(format!("{name}: {reason}"));
            false
        }
    }
}
