//! Which core each thread of a team runs on.
//!
//! Left alone, the system may run two threads of a team on the two hardware threads of one core, or all of them beside one memory
//! controller, and a region lasts as long as its slowest worker. So where a machine has such things, each worker gets a physical core of its
//! own, and the cores are spread evenly over the parts of the machine that have a last cache or memory of their own ([`placement`]). Where
//! it has neither, the system knows better: it sees what else runs.
//!
//! Only the threads that a team starts are pinned. The caller's thread is the user's; the first core of the list is left free for it.
//! One team at a time is placed in a process: two teams on the same cores would be slower than none placed.
//!
//! `TERN_PIN=0` in the environment leaves all threads alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

/// Whether a team of this process is placed.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The machine at hand: it does not change while a process runs, and hundreds of files tell it.
static HERE: OnceLock<Option<Topology>> = OnceLock::new();

/// By what part of the highest speed a core may be slower and still be one of the fastest kind: the favourite core of a chip, which clocks a
/// few percent higher, is not one of another kind.
const SAME_KIND: f64 = 0.15;

/// Hardware threads with larger numbers are not looked at: more than any Linux is built for.
const CPU_MAX: usize = 1 << 14;

/// Where the workers of a team run.
pub(super) struct Places {
    /// A hardware thread for each worker, the caller's first; empty if the system is to choose.
    cpus: Vec<usize>,
}

impl Places {
    /// For a team of `threads`, the calling thread among them, whose mask holds for all.
    pub(super) fn choose(threads: usize) -> Places {
        let cpus = here(threads).unwrap_or_default();
        let is_mine = !cpus.is_empty() && !TAKEN.swap(true, Acquire);
        Places {
            cpus: if is_mine { cpus } else { Vec::new() },
        }
    }

    /// What moves the thread that calls it to the place of `worker`.
    pub(super) fn pin(&self, worker: usize) -> impl FnOnce() + Send + 'static {
        let cpu = self.cpus.get(worker).copied();
        move || {
            if let Some(cpu) = cpu {
                affinity::pin(cpu);
            }
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if !self.cpus.is_empty() {
            TAKEN.store(false, Release);
        }
    }
}

/// [`placement`] on this machine, unless the user wants none.
fn here(threads: usize) -> Option<Vec<usize>> {
    if threads < 2 || std::env::var_os("TERN_PIN").is_some_and(|value| value == "0") {
        return None;
    }
    let mask = affinity::mask()?;
    let topology = HERE.get_or_init(|| Topology::read(Path::new("/sys/devices")));
    placement(topology.as_ref()?, |cpu| mask.contains(&cpu), threads)
}

/// The cores of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Topology {
    cores: Vec<Core>,
}

/// A physical core.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Core {
    /// Its hardware threads, as the system numbers them, in order.
    cpus: Vec<usize>,
    /// The number of the part of the machine that it shares a last cache and memory with.
    domain: usize,
    /// How fast it is compared with the machine's other cores, in any unit; 0 where the system does not say.
    speed: u64,
}

impl Topology {
    /// The topology below `devices`, which is `/sys/devices` or looks like it; `None` where it tells too little.
    fn read(devices: &Path) -> Option<Topology> {
        let cpus = devices.join("system/cpu");
        let nodes = nodes(&devices.join("system/node"));
        let mut cores: BTreeMap<usize, (Core, (usize, usize))> = BTreeMap::new();
        for number in numbered(&cpus, "cpu") {
            let cpu = cpus.join(format!("cpu{number}"));
            // Those that are switched off have none.
            let Some(siblings) = list(&cpu.join("topology/thread_siblings_list")) else {
                continue;
            };
            let first = *siblings.first()?;
            let node = nodes.get(&number).copied().unwrap_or(0);
            let part = (node, last_cache(&cpu).unwrap_or(0));
            let core = || Core {
                cpus: Vec::new(),
                domain: 0,
                speed: speed(&cpu),
            };
            let (core, _) = cores.entry(first).or_insert_with(|| (core(), part));
            core.cpus.push(number);
        }
        let fastest = cores.values().map(|(core, _)| core.speed).max()?;
        let parts: BTreeSet<(usize, usize)> = cores.values().map(|(_, part)| *part).collect();
        let numbers: BTreeMap<_, usize> = parts.into_iter().zip(0..).collect();
        let numbered = cores.into_values().map(|(core, part)| Core {
            domain: numbers[&part],
            speed: match core.speed as f64 >= fastest as f64 * (1.0 - SAME_KIND) {
                true => fastest,
                false => core.speed,
            },
            ..core
        });
        let cores: Vec<Core> = numbered.collect();
        (!cores.is_empty()).then_some(Topology { cores })
    }
}

/// The hardware thread for each of `threads` workers, the caller's first, when only those that are `allowed` may be used.
///
/// Each is on a core of its own: the fastest cores that are left, of those one in the domain with the fewest workers so far, of those the
/// first. `None` where there is nothing to gain, as no two of the hardware threads share a core and all share one domain, or where there
/// are fewer cores than workers: then the system had better move them about.
fn placement(
    topology: &Topology,
    allowed: impl Fn(usize) -> bool,
    threads: usize,
) -> Option<Vec<usize>> {
    // Of each core: its first hardware thread that may be used.
    let mut left: Vec<(usize, &Core)> = Vec::new();
    let mut has_siblings = false;
    for core in &topology.cores {
        let mut cpus = core.cpus.iter().copied().filter(|&cpu| allowed(cpu));
        left.extend(cpus.next().map(|cpu| (cpu, core)));
        has_siblings |= cpus.next().is_some();
    }
    let domains: BTreeSet<usize> = left.iter().map(|(_, core)| core.domain).collect();
    let gains = has_siblings || domains.len() > 1;
    if threads < 2 || threads > left.len() || !gains {
        return None;
    }
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let mut places = Vec::new();
    for _ in 0..threads {
        let order = |(cpu, core): &(usize, &Core)| {
            let workers = taken.get(&core.domain).copied().unwrap_or(0);
            (Reverse(core.speed), workers, core.domain, *cpu)
        };
        let (index, &(cpu, core)) = left.iter().enumerate().min_by_key(|(_, at)| order(at))?;
        *taken.entry(core.domain).or_default() += 1;
        places.push(cpu);
        left.swap_remove(index);
    }
    Some(places)
}

/// The node of each hardware thread.
fn nodes(folder: &Path) -> BTreeMap<usize, usize> {
    let of_node = |node| {
        let cpus = list(&folder.join(format!("node{node}/cpulist"))).unwrap_or_default();
        cpus.into_iter().map(move |cpu| (cpu, node))
    };
    numbered(folder, "node")
        .into_iter()
        .flat_map(of_node)
        .collect()
}

/// The first of the hardware threads that share the last cache of `cpu`, if that is a third or later one: the second is a core's own, or that
/// of a few small cores, which are not worth keeping apart.
fn last_cache(cpu: &Path) -> Option<usize> {
    let cache = cpu.join("cache");
    let levels = numbered(&cache, "index").into_iter().filter_map(|index| {
        let index = cache.join(format!("index{index}"));
        Some((number(&index.join("level"))?, index))
    });
    let (_, last) = levels.filter(|(level, _)| *level >= 3).max()?;
    list(&last.join("shared_cpu_list"))?.first().copied()
}

/// How fast a core is: its capacity, which ARM systems tell, or else its highest frequency.
fn speed(cpu: &Path) -> u64 {
    let told = ["cpu_capacity", "cpufreq/cpuinfo_max_freq"].map(|file| number(&cpu.join(file)));
    told.into_iter().flatten().next().unwrap_or(0)
}

/// The numbers of the entries of `folder` that are called `prefix` and a number, in order.
fn numbered(folder: &Path, prefix: &str) -> Vec<usize> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix(prefix)?.parse().ok();
    let numbers = entries.filter_map(|entry| number(entry.file_name().to_str()?));
    let mut numbers: Vec<usize> = numbers.filter(|&n| n < CPU_MAX).collect();
    numbers.sort_unstable();
    numbers
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A list as the kernel writes it, such as `0-3,8`, in order; `None` if it is none, or empty.
fn list(path: &Path) -> Option<Vec<usize>> {
    let text = fs::read_to_string(path).ok()?;
    let mut numbers = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CPU_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers.into_iter().collect())
}

#[cfg(all(target_os = "linux", not(miri)))]
mod affinity {
    use std::collections::BTreeSet;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The hardware threads that the calling thread may run on; `None` where there are more than a set of fixed size holds.
    pub(super) fn mask() -> Option<BTreeSet<usize>> {
        let mask = sched_getaffinity(None).ok()?;
        Some(
            (0..CpuSet::MAX_CPU)
                .filter(|&cpu| mask.is_set(cpu))
                .collect(),
        )
    }

    /// Keeps the calling thread on `cpu`, one of the [`mask`]. Where the system refuses, it stays as it is, only slower.
    pub(super) fn pin(cpu: usize) {
        let mut only = CpuSet::new();
        only.set(cpu);
        let _ = sched_setaffinity(None, &only);
    }
}

/// Where the system has no call for it (macOS), or one thread runs at a time (WebAssembly, an interpreter).
#[cfg(not(all(target_os = "linux", not(miri))))]
mod affinity {
    use std::collections::BTreeSet;

    /// Unknown.
    pub(super) fn mask() -> Option<BTreeSet<usize>> {
        None
    }

    /// Does nothing.
    pub(super) fn pin(_cpu: usize) {}
}

#[cfg(test)]
mod tests;
