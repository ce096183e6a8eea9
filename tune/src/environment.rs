//! What a record of measurements must say about where it was made, so that it can be judged and repeated.

use serde::Serialize;
use tern_kernels::{Cpu, Pages};

use crate::host;
use crate::noise;

/// The circumstances of a measurement. Written as `environment.toml` beside its numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Environment {
    /// When it was made, UTC.
    pub date: String,
    /// The command that repeats it.
    pub command: String,
    /// Version of tern.
    pub engine: String,
    /// `rustc --version` of the build.
    pub rustc: String,
    /// Threads.
    pub threads: usize,
    /// Name and release of the operating system.
    pub system: String,
    /// The CPU.
    pub cpu: CpuInfo,
    /// The pages of the packed weights.
    pub pages: PageInfo,
}

/// The CPU of an [`Environment`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CpuInfo {
    /// Its name.
    pub name: String,
    /// Its key, as in profiles.
    pub key: String,
    /// Cores that the process could use.
    pub cores: usize,
    /// ISAs, within `--max-isa`.
    pub isas: Vec<String>,
    /// Bytes of the first data cache of a core; 0 if unknown.
    pub l1d: usize,
    /// Bytes of the second cache of a core; 0 if unknown.
    pub l2: usize,
    /// Bytes of the last cache; 0 if unknown.
    pub l3: usize,
    /// Frequency governor of the first core, where the system has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
}

/// The pages of an [`Environment`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PageInfo {
    /// `huge` or `small`.
    pub asked: &'static str,
    /// Bytes that lay on huge pages during the measurement, where the system says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_bytes: Option<usize>,
    /// The system's setting for transparent huge pages, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent_huge_pages: Option<String>,
}

impl Environment {
    /// Describes this moment. `rustc` is the compiler's version, `command` what the user typed.
    pub fn new(cpu: &Cpu, rustc: &str, command: &str, threads: usize, pages: Pages) -> Environment {
        let read = |path: &str| Some(std::fs::read_to_string(path).ok()?.trim().to_string());
        let release = read("/proc/sys/kernel/osrelease").map(|release| format!(" {release}"));
        Environment {
            date: host::now_utc(),
            command: command.to_string(),
            engine: format!("tern {}", env!("CARGO_PKG_VERSION")),
            rustc: rustc.to_string(),
            threads,
            system: format!("{}{}", std::env::consts::OS, release.unwrap_or_default()),
            cpu: CpuInfo {
                name: cpu.brand.clone(),
                key: cpu.key(),
                cores: cpu.cores,
                isas: cpu
                    .isas()
                    .into_iter()
                    .map(|isa| isa.name().to_string())
                    .collect(),
                l1d: cpu.caches.l1d,
                l2: cpu.caches.l2,
                l3: cpu.caches.l3,
                governor: noise::governor(),
            },
            pages: PageInfo {
                asked: if pages == Pages::Huge {
                    "huge"
                } else {
                    "small"
                },
                huge_bytes: None,
                transparent_huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled")
                    .as_deref()
                    .and_then(chosen)
                    .map(str::to_string),
            },
        }
    }

    /// As text, one key a line.
    pub fn to_toml(&self) -> String {
        // Strings, numbers and lists of strings: that always serialises.
        toml::to_string(self).unwrap_or_else(|error| format!("# not serialisable: {error}\n"))
    }
}

/// The word in brackets of a list such as `always [madvise] never`.
fn chosen(list: &str) -> Option<&str> {
    list.split_once('[')?
        .1
        .split_once(']')
        .map(|(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_word_is_the_one_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn an_environment_is_readable_toml() {
        let command = "tern compare --shapes \"my model\"";
        let environment = Environment::new(&Cpu::detect(), "rustc 1.95.0", command, 2, Pages::Huge);
        let text = environment.to_toml();
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["command"].as_str(), Some(command));
        assert_eq!(table["pages"]["asked"].as_str(), Some("huge"));
        assert_eq!(table["threads"].as_integer(), Some(2));
        assert!(table["cpu"]["isas"].as_array().is_some());
    }
}
