//! What else goes on on the machine while it is measured.

use std::fs;

use serde::Serialize;

/// More than this part of the time taken by other guests of the machine is worth a warning.
const STEAL_MAX: f64 = 0.02;

/// What disturbed a measurement, as far as the system says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Noise {
    /// The part of the time in which this machine's CPUs were ready to run and another guest had them (`steal` in `/proc/stat`).
    pub steal: Option<f64>,
    /// Frequency governor of the first core.
    pub governor: Option<String>,
}

/// Looks at the system from its creation on.
pub(crate) struct NoiseWatch {
    begin: Option<Ticks>,
}

/// Times since the system started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    steal: u64,
    all: u64,
}

impl NoiseWatch {
    pub(crate) fn start() -> NoiseWatch {
        NoiseWatch { begin: ticks() }
    }

    /// What was seen so far.
    pub(crate) fn noise(&self) -> Noise {
        let steal = self.begin.zip(ticks()).and_then(|(begin, end)| {
            let all = end.all.checked_sub(begin.all).filter(|&all| all > 0)?;
            Some(end.steal.saturating_sub(begin.steal) as f64 / all as f64)
        });
        Noise {
            steal,
            governor: governor(),
        }
    }
}

impl Noise {
    /// What a reader of the result should know, a sentence each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(steal) = self.steal.filter(|&steal| steal > STEAL_MAX) {
            notes.push(format!(
                "other guests of this machine took {:.0} % of the CPU time: times are longer and less steady than they could be",
                100.0 * steal
            ));
        }
        if let Some(governor) = self.governor.as_ref().filter(|name| *name != "performance") {
            notes.push(format!(
                "the frequency governor is `{governor}`: with `performance` times are steadier"
            ));
        }
        notes
    }
}

/// Frequency governor of the first core, where the system has one.
pub(crate) fn governor() -> Option<String> {
    let text = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok()?;
    Some(text.trim().to_string())
}

fn ticks() -> Option<Ticks> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal; what guests of this machine took is in user already.
fn parse(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Option<Vec<u64>> = line
        .split_whitespace()
        .take(8)
        .map(|field| field.parse().ok())
        .collect();
    let fields = fields?;
    let steal = *fields.get(7)?;
    let all = fields.iter().try_fold(0u64, |sum, &t| sum.checked_add(t))?;
    Some(Ticks { steal, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_number() {
        let stat = "cpu  10 0 20 60 0 0 0 10 5 0\ncpu0 1 2 3\n";
        let ticks = parse(stat).unwrap();
        assert_eq!(
            ticks,
            Ticks {
                steal: 10,
                all: 100
            }
        );
        for bad in ["", "cpu 1 2 3", "cpu  a b c d e f g h", "intr 5"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn much_steal_and_a_saving_governor_are_said() {
        let quiet = Noise {
            steal: Some(0.001),
            governor: Some("performance".to_string()),
        };
        assert!(quiet.notes().is_empty());
        let loud = Noise {
            steal: Some(0.1),
            governor: Some("powersave".to_string()),
        };
        let notes = loud.notes();
        assert!(
            notes[0].contains("10 %") && notes[1].contains("powersave"),
            "{notes:?}"
        );
    }
}
