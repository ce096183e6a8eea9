//! Profiles: what the tuner found on one CPU, as TOML that a person can read, compare and edit.
//!
//! The tuner writes them, the planner reads them. A profile is refused whole when it is malformed or was tuned on another CPU; an
//! entry is ignored, with one line that says so, when its kernel is gone or its generated text changed. So a profile can be
//! out of date but never wrong. (FFTW's wisdom is the model; it knows neither the CPU nor the code.)

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cpu::Cpu;
use crate::gemv::Tile;
use crate::registry::kernels;

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Larger files are refused before they are parsed; a profile of a thousand shapes is a tenth of this.
const SIZE_MAX: u64 = 16 << 20;

/// The largest distance of a prefetch in bytes that an entry may ask for.
const PREFETCH_MAX: usize = 1 << 24;

/// A tuned profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`FORMAT`] at the time of writing.
    pub format: u32,
    /// Version of tern that wrote it.
    pub engine: String,
    /// Day of the tuning, `YYYY-MM-DD`.
    pub date: String,
    /// The CPU that it was tuned on.
    pub host: HostInfo,
    /// One entry for each shape and thread count.
    #[serde(default, rename = "gemv")]
    pub entries: Vec<Entry>,
}

/// The CPU that a profile was tuned on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostInfo {
    /// [`Cpu::key`]: a profile holds only for this key.
    pub key: String,
    /// The CPU's name, for people.
    pub cpu: String,
    /// Names of its ISAs.
    pub isas: Vec<String>,
    /// Bytes of the first data cache of a core.
    pub l1d: usize,
    /// Bytes of the second cache of a core.
    pub l2: usize,
    /// Bytes of the last cache.
    pub l3: usize,
}

impl HostInfo {
    /// Describes `cpu`.
    pub fn of(cpu: &Cpu) -> Self {
        HostInfo {
            key: cpu.key(),
            cpu: cpu.brand.clone(),
            isas: cpu
                .isas()
                .into_iter()
                .map(|isa| isa.name().to_owned())
                .collect(),
            l1d: cpu.caches.l1d,
            l2: cpu.caches.l2,
            l3: cpu.caches.l3,
        }
    }
}

/// The winner for one shape and thread count, with the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub cols: usize,
    /// Threads that it was tuned with.
    pub threads: usize,
    /// Id of the winning kernel.
    pub kernel: String,
    /// Its fingerprint when it was timed; empty or left out in an entry that was written by hand, which is then trusted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Matrices that share prepared activations, on average over the model's matrices of this shape: the product that was timed
    /// bears one part in so many of the time that preparing them takes.
    #[serde(default = "unshared", skip_serializing_if = "is_unshared")]
    pub sharing: f64,
    /// Its best tile.
    pub tile: Tile,
    /// Median time of one product with its part of preparing the activations, in microseconds.
    pub median_us: f64,
    /// Median absolute deviation of that, in microseconds.
    pub mad_us: f64,
    /// Id of the best other kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<String>,
    /// Its median time, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up_median_us: Option<f64>,
}

fn unshared() -> f64 {
    1.0
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_unshared(sharing: &f64) -> bool {
    *sharing == unshared()
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
    /// Parses a profile for `cpu`. Also returns one line for each entry that had to be ignored.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn from_toml(text: &str, cpu: &Cpu) -> Result<(Profile, Vec<String>), ProfileError> {
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
        let mut profile: Profile = toml::from_str(text).map_err(malformed)?;
        if profile.host.key != cpu.key() {
            return Err(ProfileError::OtherCpu {
                profile: profile.host.key,
                here: cpu.key(),
            });
        }
        let mut ignored = Vec::new();
        profile.entries.retain(|entry| match entry.check(cpu) {
            Ok(()) => true,
            Err(reason) => {
                ignored.push(format!("{}x{}: {reason}", entry.rows, entry.cols));
                false
            }
        });
        Ok((profile, ignored))
    }

    /// Reads the profile at `path` for `cpu`, as [`Profile::from_toml`].
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn load(path: &Path, cpu: &Cpu) -> Result<(Profile, Vec<String>), ProfileError> {
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
        Profile::from_toml(&text, cpu)
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
        let mut sorted = self.clone();
        sorted.entries.sort_by(|a, b| {
            (a.rows, a.cols, a.threads, &a.kernel).cmp(&(b.rows, b.cols, b.threads, &b.kernel))
        });
        let body =
            toml::to_string(&sorted).expect("numbers, strings and lists of strings are TOML");
        format!(
            "# Which kernel and tile are fastest for each matrix shape on this CPU. Written by `tern tune`; edit freely,\n\
             # and delete the fingerprint of an entry whose kernel you change.\n{body}"
        )
    }
}

impl Entry {
    /// Whether this binary, on this CPU, has exactly the kernel that was timed.
    fn check(&self, cpu: &Cpu) -> Result<(), String> {
        let id = &self.kernel;
        if self.rows == 0 || self.cols == 0 || self.threads == 0 {
            return Err("rows, cols and threads must be above 0".to_owned());
        }
        if self.tile.prefetch > PREFETCH_MAX {
            return Err(format!(
                "prefetch = {} is beyond any use (at most {PREFETCH_MAX})",
                self.tile.prefetch
            ));
        }
        if !(self.sharing >= 1.0 && self.sharing.is_finite()) {
            return Err(format!(
                "sharing = {} is not a number of matrices, at least 1",
                self.sharing
            ));
        }
        let Some(kernel) = kernels().find(|k| k.id == id) else {
            return Err(format!("kernel {id:?} is not in this version of tern"));
        };
        if !self.fingerprint.is_empty() && kernel.fingerprint != self.fingerprint {
            return Err(format!(
                "kernel {id} is not the one that was timed; tune again, or delete the entry's fingerprint if you chose it by hand"
            ));
        }
        if !cpu.has(kernel.isa) {
            return Err(format!(
                "kernel {id} needs {}, which is absent or capped",
                kernel.isa
            ));
        }
        Ok(())
    }
}
