//! What the system says of the program: processor time, memory, energy. Where it does not say, nothing is made up.

use std::fs;
use std::path::{Path, PathBuf};

/// Seconds that all threads of this program together have run.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let each = threads.flatten().map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        of_schedstat(&text)
    });
    each.sum()
}

/// The first number: nanoseconds on a core. (`/proc/self/stat` counts in hundredths of a second, too coarse for a short test.)
fn of_schedstat(text: &str) -> Option<f64> {
    let nanoseconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

/// Pages that the program has waited for a disk to give.
pub(crate) fn major_faults() -> Option<f64> {
    of_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The twelfth field; the second may have blanks and brackets in it.
fn of_stat(text: &str) -> Option<f64> {
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(9)?.parse().ok()
}

/// From now on [`peak_memory`] counts anew; whether the system allows that.
pub(crate) fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most memory that this program has had since [`reset_peak_memory`], in bytes.
pub(crate) fn peak_memory() -> Option<u64> {
    of_status(&fs::read_to_string("/proc/self/status").ok()?)
}

fn of_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Counters of the energy that the CPU's packages use (Linux's powercap). They are readable by root only on most systems.
pub(crate) struct Energy {
    packages: Vec<Package>,
}

struct Package {
    counter: PathBuf,
    /// Microjoules after which the counter begins again.
    range: f64,
}

impl Package {
    /// `None` if its counter cannot be read.
    fn in_folder(folder: &Path) -> Option<Package> {
        let range = number(&folder.join("max_energy_range_uj"))?;
        let counter = folder.join("energy_uj");
        number(&counter).map(|_| Package { counter, range })
    }
}

impl Energy {
    /// The counters of this machine.
    pub fn of_system() -> Energy {
        Energy::under(Path::new("/sys/class/powercap"))
    }

    /// Those in the folder `root`.
    fn under(root: &Path) -> Energy {
        let zones = fs::read_dir(root).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = zones.map(|zone| zone.path()).collect();
        folders.sort();
        let mut found: Vec<(String, Option<Package>)> = Vec::new();
        for folder in folders {
            let name = fs::read_to_string(folder.join("name")).unwrap_or_default();
            let name = name.trim().to_owned();
            // Parts of a package have counters of their own, which are in the package's already; and some packages are there twice.
            let is_new = found.iter().all(|(known, _)| *known != name);
            if name.starts_with("package") && is_new {
                found.push((name, Package::in_folder(&folder)));
            }
        }
        // Some packages without the others would be a wrong sum.
        let packages = found.into_iter().map(|(_, package)| package);
        Energy {
            packages: packages.collect::<Option<Vec<_>>>().unwrap_or_default(),
        }
    }

    /// The counters now; nothing where there are none or they cannot be read.
    pub fn joules(&self) -> Option<Vec<f64>> {
        let all = self.packages.iter().map(|package| number(&package.counter));
        all.collect::<Option<Vec<f64>>>()
            .filter(|all| !all.is_empty())
    }

    /// Joules since the counters were `before`.
    pub fn since(&self, before: Option<Vec<f64>>) -> Option<f64> {
        let (before, after) = (before?, self.joules()?);
        let packages = self.packages.iter().zip(before.iter().zip(&after));
        let used = packages.map(|(package, (before, after))| match after < before {
            true => after + package.range - before,
            false => after - before,
        });
        Some(used.sum::<f64>() / 1e6)
    }
}

fn number(path: &Path) -> Option<f64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_read_from_the_systems_words() {
        assert_eq!(of_schedstat("1500000000 20 3\n"), Some(1.5));
        assert_eq!(of_schedstat(""), None);
        let stat = "7 (a) b) R 1 2 3 4 5 6 77 8 42 10 11";
        assert_eq!(of_stat(stat), Some(42.0));
        assert_eq!(of_stat("7 (tern) R 1"), None);
        let status = "Name:\ttern\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\n";
        assert_eq!(of_status(status), Some(123 * 1024));
        assert_eq!(of_status("VmHWM: many"), None);
    }

    #[test]
    fn energy_is_that_of_whole_packages_and_counters_that_begin_again_count_on() {
        let root = tempfile::tempdir().unwrap();
        let zone = |folder: &str, name: &str, uj: u64| {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("name"), format!("{name}\n")).unwrap();
            fs::write(folder.join("max_energy_range_uj"), "10000000\n").unwrap();
            fs::write(folder.join("energy_uj"), format!("{uj}\n")).unwrap();
        };
        zone("intel-rapl:0", "package-0", 9_000_000);
        zone("intel-rapl:0:0", "core", 5);
        zone("intel-rapl:1", "package-1", 1_000_000);
        zone("intel-rapl-mmio:0", "package-0", 9_000_000);
        let energy = Energy::under(root.path());
        let before = energy.joules();
        assert_eq!(before.as_ref().map(Vec::len), Some(2));
        zone("intel-rapl:0", "package-0", 500_000);
        zone("intel-rapl:1", "package-1", 3_000_000);
        zone("intel-rapl-mmio:0", "package-0", 500_000);
        assert_eq!(energy.since(before), Some(3.5));
        let none = Energy::under(&root.path().join("absent"));
        assert_eq!(none.since(none.joules()), None);
    }
}
