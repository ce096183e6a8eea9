//! What the system says of the program: processor time, memory, energy. Where it does not say, nothing is made up.

use std::fs;
use std::path::{Path, PathBuf};

/// Ticks a second of the times in `/proc`: Linux shows them to programs in this unit on all architectures that tern runs on.
const TICKS: f64 = 100.0;

/// Seconds that all threads of this program together have run.
pub(crate) fn cpu_seconds() -> Option<f64> {
    of_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn of_stat(text: &str) -> Option<f64> {
    // The program's name stands in brackets and may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// The most memory that this program has had, in bytes.
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

impl Energy {
    /// The counters of this machine.
    pub fn of_system() -> Energy {
        Energy::under(Path::new("/sys/class/powercap"))
    }

    /// Those in the folder `root`.
    fn under(root: &Path) -> Energy {
        let zones = fs::read_dir(root).into_iter().flatten().flatten();
        let package = |folder: PathBuf| {
            let name = fs::read_to_string(folder.join("name")).ok()?;
            // Parts of a package have counters of their own, which are in the package's already.
            let is_package = name.trim().starts_with("package");
            let range = number(&folder.join("max_energy_range_uj"))?;
            let counter = folder.join("energy_uj");
            (is_package && number(&counter).is_some()).then_some(Package { counter, range })
        };
        Energy {
            packages: zones.filter_map(|zone| package(zone.path())).collect(),
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
        let stat = "42 (a ) b) R 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 2 0 5 6 7";
        assert_eq!(of_stat(stat), Some(3.0));
        assert_eq!(of_stat("42 (x) R"), None);
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
        let energy = Energy::under(root.path());
        let before = energy.joules();
        assert_eq!(before.as_ref().map(Vec::len), Some(2));
        zone("intel-rapl:0", "package-0", 500_000);
        zone("intel-rapl:1", "package-1", 3_000_000);
        assert_eq!(energy.since(before), Some(3.5));
        let none = Energy::under(&root.path().join("absent"));
        assert_eq!(none.since(none.joules()), None);
    }
}
