//! Which instruction sets the CPU really has: each runs all its kernels once, in a child process, and is judged by how that ends.
//!
//! A child, because an instruction that the CPU announces and lacks ends the process that runs it.

use std::fmt;
use std::io;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tern_kernels::{Cpu, Isa};

use crate::interrupt;
use crate::output::{plural, warn};
use crate::progress::Measuring;

/// A child that takes longer hangs: it needs a second where nothing is emulated.
const LIMIT: Duration = Duration::from_secs(20);

/// How often a child is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// What is known of an instruction set that the CPU announces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Its name.
    pub isa: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Verdict {
    /// Every kernel returned what the reference returns.
    Proven {
        /// Kernels compared.
        kernels: usize,
    },
    /// The child died, hung or found a wrong number: not to be used.
    NotProven {
        /// How it ended.
        reason: String,
    },
    /// No child could be started, which says nothing about the CPU: its word is taken.
    Untested {
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Proven { kernels } => write!(f, "proven by {}", plural(*kernels, "kernel")),
            Verdict::NotProven { reason } => write!(f, "not proven: {reason}"),
            Verdict::Untested { reason } => write!(f, "not tested: {reason}"),
        }
    }
}

/// The instruction sets of a CPU, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proofs(Vec<Proof>);

impl Proofs {
    /// Proves every instruction set of `cpu` but plain Rust, one after another, and warns of each that is not proven. `None` if
    /// `cancel` was raised, or a child was told to end.
    pub fn of(cpu: &Cpu, cancel: &AtomicBool) -> Option<Proofs> {
        let mut progress = Measuring::new();
        let mut proofs = Vec::new();
        for isa in cpu.isas().into_iter().filter(|&isa| isa != Isa::Scalar) {
            progress.proving(isa);
            let verdict = match child(isa) {
                Ok(command) => judge(command, LIMIT, cancel)?,
                Err(error) => cannot_start(&error),
            };
            let isa = isa.name();
            proofs.push(Proof { isa, verdict });
        }
        drop(progress);
        let proofs = Proofs(proofs);
        proofs.warn(cpu);
        Some(proofs)
    }

    /// Each instruction set, in the order of the `--max-isa` list.
    pub fn all(&self) -> &[Proof] {
        &self.0
    }

    /// `cpu` without the instruction sets that are not proven.
    pub fn applied_to(&self, cpu: Cpu) -> Cpu {
        let failed = self.0.iter().filter(|proof| proof.is_refuted());
        failed
            .filter_map(|proof| Isa::from_name(proof.isa))
            .fold(cpu, Cpu::without)
    }

    fn warn(&self, cpu: &Cpu) {
        for Proof { isa, verdict } in &self.0 {
            match verdict {
                Verdict::Proven { .. } => {}
                Verdict::NotProven { reason } => warn(format_args!(
                    "this CPU announces {isa}, but it is not proven and left out: {reason}"
                )),
                Verdict::Untested { reason } => {
                    warn(format_args!("{isa} is used without a proof: {reason}"));
                }
            }
        }
        if let Some(cap) = self.cap(cpu) {
            warn(format_args!(
                "set TERN_MAX_ISA={cap} for the commands that run models: they do not prove anything"
            ));
        }
    }

    /// The last instruction set before the first that is not proven; `None` if there is none of those.
    fn cap(&self, cpu: &Cpu) -> Option<&'static str> {
        let first = self.0.iter().find(|proof| proof.is_refuted())?;
        let isas = cpu.isas().into_iter().map(Isa::name);
        isas.take_while(|&isa| isa != first.isa).last()
    }
}

/// A CPU without the instruction sets that are not proven.
pub struct Proven {
    /// Within the cap of --max-isa.
    pub cpu: Cpu,
    /// Without the cap. What the cap takes away is neither proven nor refuted, and stays.
    pub whole: Cpu,
    /// What came of each instruction set.
    pub proofs: Proofs,
}

impl Proven {
    /// Proves the instruction sets of `cpu`; `None` as by [`Proofs::of`].
    pub fn of(cpu: &Cpu, cancel: &AtomicBool) -> Option<Proven> {
        let proofs = Proofs::of(cpu, cancel)?;
        Some(Proven {
            cpu: proofs.applied_to(cpu.clone()),
            whole: proofs.applied_to(Cpu::detect()),
            proofs,
        })
    }
}

impl Proof {
    /// Whether the instruction set is not to be used.
    fn is_refuted(&self) -> bool {
        matches!(self.verdict, Verdict::NotProven { .. })
    }
}

/// This program, told to prove `isa`.
fn child(isa: Isa) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["prove", isa.name()]);
    // The command has no such option, and nothing is to change that unseen.
    command.env_remove("TERN_MAX_ISA");
    Ok(command)
}

/// Runs `command` to its end, at most `limit`, and judges by that. `None` if `cancel` was raised meanwhile, or the child was told to
/// end, as by Ctrl-C.
fn judge(mut command: Command, limit: Duration, cancel: &AtomicBool) -> Option<Verdict> {
    // What a child says fits a pipe. One that says more waits for a reader, and counts as hanging.
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Some(cannot_start(&error)),
    };
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if cancel.load(Ordering::SeqCst) => {
                end(&mut child);
                return None;
            }
            Ok(None) if start.elapsed() < limit => thread::sleep(PAUSE),
            Ok(None) => {
                end(&mut child);
                let reason = format!("no end after {} s", limit.as_secs_f64());
                return Some(Verdict::NotProven { reason });
            }
            Err(error) => {
                end(&mut child);
                return Some(cannot_start(&error));
            }
        }
    }
    match child.wait_with_output() {
        Ok(output) if was_interrupted(output.status) => None,
        Ok(output) => Some(verdict(&output)),
        Err(error) => Some(cannot_start(&error)),
    }
}

fn cannot_start(error: &io::Error) -> Verdict {
    Verdict::Untested {
        reason: format!("cannot run this program in a process of its own: {error}"),
    }
}

/// Ends a child that is not waited for, and waits until it is gone. What it may have started holds nothing of ours.
fn end(child: &mut Child) {
    // It fails only where the child ended by itself just now.
    let _ = child.kill();
    let _ = child.wait();
}

/// What a child that ended says about its instruction set.
fn verdict(output: &Output) -> Verdict {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = anstream::adapter::strip_str(said.trim()).to_string();
    let line = said.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error:").unwrap_or(line).trim();
    let compared = String::from_utf8_lossy(&output.stdout);
    let reason = match (output.status.code(), compared.trim().parse()) {
        (Some(0), Ok(kernels)) => return Verdict::Proven { kernels },
        (Some(0), Err(_)) => "it ended without a result".to_owned(),
        // A wrong number, which the line tells.
        (Some(1), _) if !line.is_empty() => line.to_owned(),
        (Some(code), _) => format!("it ended with exit code {code} {line}")
            .trim_end()
            .to_owned(),
        (None, _) => format!("it was ended by {}", signal_name(output.status)),
    };
    Verdict::NotProven { reason }
}

/// Whether Ctrl-C, which goes to children too, ended it.
fn was_interrupted(status: ExitStatus) -> bool {
    status.code() == Some(i32::from(interrupt::EXIT_CODE)) || signal(status) == Some(2)
}

fn signal_name(status: ExitStatus) -> String {
    match signal(status) {
        Some(4) => "SIGILL: an illegal instruction".to_owned(),
        Some(signal) => format!("signal {signal}"),
        None => "the system".to_owned(),
    }
}

/// The signal that ended a process.
#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// Elsewhere there are exit codes only.
#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// The verdict on a child that runs `script`.
    fn on(script: &str) -> Option<Verdict> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let cancel = AtomicBool::new(false);
        judge(command, Duration::from_secs(20), &cancel)
    }

    fn reason(script: &str) -> String {
        match on(script) {
            Some(Verdict::NotProven { reason }) => reason,
            other => panic!("{script}: {other:?}"),
        }
    }

    #[test]
    fn a_child_is_judged_by_its_end() {
        assert_eq!(on("echo 7"), Some(Verdict::Proven { kernels: 7 }));
        assert!(reason("kill -ILL $$").contains("SIGILL"));
        assert!(reason("kill -SEGV $$").contains("signal 11"));
        let line = "gemv_x returned 3 in place of 4";
        assert_eq!(reason(&format!("echo error: {line} >&2; exit 1")), line);
        // As a terminal would see it.
        let coloured = format!("printf '\\033[31merror:\\033[0m {line}\\nmore\\n' >&2; exit 1");
        assert_eq!(reason(&coloured), line);
        assert!(reason("exit 101").contains("exit code 101"));
        // A result without a good end, and the other way round.
        assert!(reason("echo 7; exit 3").contains("exit code 3"));
        assert!(reason("true").contains("without a result"));
        // Ctrl-C is nobody's fault.
        assert_eq!(on("kill -INT $$"), None);
        assert_eq!(on("exit 130"), None);
    }

    #[test]
    fn a_child_that_hangs_is_ended() {
        let hanging = || {
            let mut command = Command::new("sleep");
            command.arg("600");
            command
        };
        let start = Instant::now();
        let limit = Duration::from_millis(200);
        let verdict = judge(hanging(), limit, &AtomicBool::new(false));
        let reason = "no end after 0.2 s".to_owned();
        assert_eq!(verdict, Some(Verdict::NotProven { reason }));
        // One that is still at work when the user has enough of it.
        let cancelled = AtomicBool::new(true);
        assert_eq!(judge(hanging(), Duration::from_secs(600), &cancelled), None);
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn no_child_is_no_evidence() {
        let nothing = Command::new("./there-is-no-such-program");
        let verdict = judge(nothing, LIMIT, &AtomicBool::new(false));
        assert!(matches!(verdict, Some(Verdict::Untested { .. })));
    }

    #[test]
    fn what_is_not_proven_is_taken_out() {
        let cpu = Cpu::detect();
        let verdicts = |refuted: Option<Isa>| {
            let verdict = |isa: Isa| {
                let reason = String::new();
                match (refuted == Some(isa), isa == Isa::Ssse3) {
                    (true, _) => Verdict::NotProven { reason },
                    (false, true) => Verdict::Untested { reason },
                    (false, false) => Verdict::Proven { kernels: 1 },
                }
            };
            let proof = |isa: Isa| Proof {
                isa: isa.name(),
                verdict: verdict(isa),
            };
            let isas = cpu.isas().into_iter().filter(|&isa| isa != Isa::Scalar);
            Proofs(isas.map(proof).collect())
        };
        let all = verdicts(None);
        assert_eq!(all.applied_to(cpu.clone()), cpu);
        assert_eq!(all.cap(&cpu), None);
        for pair in cpu.isas().windows(2) {
            let proofs = verdicts(Some(pair[1]));
            let left = proofs.applied_to(cpu.clone());
            assert_eq!(left, cpu.clone().without(pair[1]));
            assert!(!left.has(pair[1]) && left.has(pair[0]));
            assert_eq!(proofs.cap(&cpu), Some(pair[0].name()));
        }
    }
}
