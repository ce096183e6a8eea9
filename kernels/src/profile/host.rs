//! The machine that a profile was tuned on: what must be the same, and what is worth a warning when it is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cpu::Cpu;

/// The CPU and memory that a profile was tuned on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostInfo {
    /// [`Cpu::key`]: a profile holds only for this key.
    pub key: String,
    /// The CPU's name, for people.
    pub cpu: String,
    /// Who made it.
    pub vendor: String,
    /// Display family on x86-64, MIDR architecture on ARM.
    pub family: u32,
    /// Display model on x86-64, MIDR part number on ARM.
    pub model: u32,
    /// Stepping on x86-64, variant and revision on ARM.
    pub stepping: u32,
    /// Names of the ISAs that its kernels were tuned from.
    pub isas: Vec<String>,
    /// Bytes of the first data cache of a core.
    pub l1d: usize,
    /// Bytes of the second cache of a core.
    pub l2: usize,
    /// Bytes of the last cache.
    pub l3: usize,
    /// Hardware threads that the tuner could use.
    pub cores: usize,
    /// Hardware threads of each class of cores, the fastest class first; one class where the system tells no difference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<usize>,
    /// Version of the CPU's microcode, where the system says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// Memory in MiB; 0 if unknown.
    #[serde(default)]
    pub memory_mib: usize,
}

/// A difference of memory that is no other machine: the system keeps some of it for itself.
const MEMORY_TOLERANCE: f64 = 0.1;

impl HostInfo {
    /// Describes `cpu` and the machine around it.
    pub fn of(cpu: &Cpu) -> Self {
        HostInfo {
            key: cpu.key(),
            cpu: cpu.brand.clone(),
            vendor: cpu.vendor.clone(),
            family: cpu.family,
            model: cpu.model,
            stepping: cpu.stepping,
            isas: cpu
                .isas()
                .into_iter()
                .map(|isa| isa.name().to_owned())
                .collect(),
            l1d: cpu.caches.l1d,
            l2: cpu.caches.l2,
            l3: cpu.caches.l3,
            cores: cpu.cores,
            classes: classes(Path::new("/sys/devices/system/cpu")),
            microcode: microcode(&read("/proc/cpuinfo")),
            memory_mib: memory_mib(&read("/proc/meminfo")),
        }
    }

    /// What differs on `here` so that times may have changed, one line each. The same kernels are right all the same.
    pub(super) fn differences(&self, here: &HostInfo) -> Vec<String> {
        let mut differences = Vec::new();
        if let (Some(then), Some(now)) = (&self.microcode, &here.microcode)
            && then != now
        {
            differences.push(format!("tuned with microcode {then}, this CPU has {now}"));
        }
        let (then, now) = (self.memory_mib as f64, here.memory_mib as f64);
        if then > 0.0 && now > 0.0 && (then / now - 1.0).abs() > MEMORY_TOLERANCE {
            differences.push(format!(
                "tuned on a machine with {then} MiB of memory, this one has {now}"
            ));
        }
        if (self.l2, self.l3) != (here.l2, here.l3) {
            differences.push(format!(
                "tuned with caches of {} and {} bytes, here they are {} and {}",
                self.l2, self.l3, here.l2, here.l3
            ));
        }
        differences
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn microcode(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("microcode"))?;
    let (_, version) = line.split_once(':')?;
    Some(version.trim().to_owned())
}

fn memory_mib(meminfo: &str) -> usize {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<usize>().ok())
        .map_or(0, |kib| kib / 1024)
}

/// How many hardware threads have each capacity (ARM) or highest frequency, the largest first. Empty where the system tells neither.
fn classes(cpus: &Path) -> Vec<usize> {
    let Ok(entries) = fs::read_dir(cpus) else {
        return Vec::new();
    };
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        if number.is_none_or(|number| number.parse::<u32>().is_err()) {
            continue;
        }
        let speed = ["cpu_capacity", "cpufreq/cpuinfo_max_freq"].map(|file| {
            let text = fs::read_to_string(entry.path().join(file)).ok()?;
            text.trim().parse::<u64>().ok()
        });
        if let Some(speed) = speed.into_iter().flatten().next() {
            *counts.entry(speed).or_default() += 1;
        }
    }
    counts.into_values().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_read_as_it_writes() {
        let cpuinfo = "processor\t: 0\nmicrocode\t: 0xa0011d1\n\nprocessor\t: 1\n";
        assert_eq!(microcode(cpuinfo).as_deref(), Some("0xa0011d1"));
        assert_eq!(microcode(""), None);
        assert_eq!(memory_mib("MemTotal:       24576000 kB\n"), 24_000);
        assert_eq!(memory_mib("MemTotal: lots\n"), 0);
        assert!(classes(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn other_memory_and_microcode_are_said() {
        let here = HostInfo {
            microcode: Some("2".to_owned()),
            memory_mib: 16_000,
            ..HostInfo::of(&Cpu::detect())
        };
        assert!(here.differences(&here).is_empty());
        let there = HostInfo {
            microcode: Some("1".to_owned()),
            memory_mib: 32_000,
            ..here.clone()
        };
        let lines = there.differences(&here);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("microcode 1") && lines[1].contains("32000 MiB"));
        let alike = HostInfo {
            memory_mib: 15_500,
            ..here.clone()
        };
        assert!(alike.differences(&here).is_empty());
    }
}
