//! `tern cpu`: this CPU as tern sees it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use tern_kernels::{Cpu, Family, Isa};
use tern_tune::{Bandwidth, bandwidth};

use crate::Ending;
use crate::args::{IsaArg, JsonArg, PagesArg, ProfileArg, ThreadsArg};
use crate::output::{BOLD, bytes, paint, print, print_json, remark};
use crate::plan::{ProfileUse, find_profile};
use crate::proof::{Proof, Proofs};

/// Interleaved rounds of the bandwidth measurement.
const ROUNDS: usize = 31;

/// Describes this CPU: identity, instruction sets, caches, streaming bandwidth, profile.
///
/// The streaming bandwidth is what a kernel that reads its weights from memory can reach at best: the median over rounds
/// of reads with the widest loads from a buffer of eight times the last-level cache. The measurement takes a few seconds
/// and up to two gigabytes of memory; --no-bandwidth leaves it out.
///
/// The instruction sets are those that the CPU announces, which is not always true: hypervisors and emulators err. With
/// --prove each runs all its kernels in a process of its own, and their results are compared with the reference.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern cpu
  tern cpu --no-bandwidth --json
  tern cpu --no-bandwidth --prove        does it do what it announces?
  tern cpu --threads 1 --pages small     bandwidth of one thread on 4 KiB pages")]
pub struct Args {
    /// Do not measure the memory bandwidth
    #[arg(long)]
    no_bandwidth: bool,
    /// Prove each instruction set: run its kernels in a process of its own and compare their results
    #[arg(long)]
    prove: bool,
    #[command(flatten)]
    pages: PagesArg,
    #[command(flatten)]
    json: JsonArg,
    #[command(flatten)]
    threads: ThreadsArg,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    isa: IsaArg,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    key: String,
    name: String,
    vendor: String,
    family: u32,
    model: u32,
    stepping: u32,
    cores: usize,
    /// Those that the CPU announces.
    isas: Vec<&'static str>,
    /// What came of their proofs, with `--prove`.
    #[serde(skip_serializing_if = "Option::is_none")]
    proofs: Option<Vec<Proof>>,
    /// Bytes; 0 if unknown.
    l1d: usize,
    l2: usize,
    l3: usize,
    /// Kernels that run here, by family.
    kernels: BTreeMap<&'static str, usize>,
    profile: ProfileUse,
    bandwidth: Vec<Bandwidth>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let cpu = args.isa.cpu();
    let (_, profile) = find_profile(&args.profile.choice(), &cpu)?;
    let proofs = match args.prove {
        // Nobody raises the flag: Ctrl-C ends this command at once, and a child with it.
        true => match Proofs::of(&cpu, &AtomicBool::new(false)) {
            Some(proofs) => Some(proofs),
            None => return Ok(Ending::Interrupted),
        },
        false => None,
    };
    let mut measured = Vec::new();
    if !args.no_bandwidth {
        remark("measuring the memory bandwidth …");
        // It reads with the widest loads, so with proven ones if that is known.
        let cpu = match &proofs {
            Some(proofs) => proofs.applied_to(cpu.clone()),
            None => cpu.clone(),
        };
        let threads = args.threads.on(&cpu);
        // One thread alone tells what one kernel can reach, all together what a model can.
        let counts = if threads > 1 && args.threads.given().is_none() {
            vec![1, threads]
        } else {
            vec![threads]
        };
        for threads in counts {
            measured.push(bandwidth(&cpu, threads, args.pages.pages(), ROUNDS)?);
        }
    }
    let report = report(&cpu, profile, proofs, measured);
    if args.json.json {
        print_json(&report)?;
    } else {
        print(text(&cpu, &report))?;
    }
    Ok(Ending::Done)
}

fn report(
    cpu: &Cpu,
    profile: ProfileUse,
    proofs: Option<Proofs>,
    bandwidth: Vec<Bandwidth>,
) -> Report {
    let kernels = Family::ALL.map(|family| {
        (
            family.name(),
            cpu.kernels().filter(|k| k.family == family).count(),
        )
    });
    Report {
        key: cpu.key(),
        name: cpu.brand.clone(),
        vendor: cpu.vendor.clone(),
        family: cpu.family,
        model: cpu.model,
        stepping: cpu.stepping,
        cores: cpu.cores,
        isas: cpu.isas().into_iter().map(Isa::name).collect(),
        proofs: proofs.map(|proofs| proofs.all().to_vec()),
        l1d: cpu.caches.l1d,
        l2: cpu.caches.l2,
        l3: cpu.caches.l3,
        kernels: kernels.into_iter().collect(),
        profile,
        bandwidth,
    }
}

fn text(cpu: &Cpu, report: &Report) -> String {
    let absent: Vec<&str> = Isa::HERE
        .iter()
        .filter(|&&isa| !cpu.has(isa))
        .map(|isa| isa.name())
        .collect();
    let absent = match absent.is_empty() {
        true => String::new(),
        false => format!(" (without {})", absent.join(", ")),
    };
    let size = |size: usize| {
        if size == 0 {
            "unknown".to_owned()
        } else {
            bytes(size as u64)
        }
    };
    let kernels: Vec<String> = report
        .kernels
        .iter()
        .map(|(family, count)| format!("{count} {family}"))
        .collect();
    let mut lines = vec![
        ("cpu", report.name.clone()),
        ("key", report.key.clone()),
        ("cores", format!("{} usable", report.cores)),
        (
            "instructions",
            format!("{}{absent}", report.isas.join(", ")),
        ),
        (
            "caches",
            format!(
                "L1d {}, L2 {} a core, L3 {}",
                size(report.l1d),
                size(report.l2),
                size(report.l3)
            ),
        ),
        ("kernels", kernels.join(", ")),
        (
            "profile",
            report
                .profile
                .to_string()
                .trim_start_matches("profile")
                .trim_start_matches([':', ' '])
                .to_owned(),
        ),
    ];
    for Proof { isa, verdict } in report.proofs.iter().flatten() {
        lines.push(("proof", format!("{isa}: {verdict}")));
    }
    for bandwidth in &report.bandwidth {
        lines.push(("bandwidth", bandwidth.to_string()));
    }
    let notes = report
        .bandwidth
        .iter()
        .filter_map(Bandwidth::note)
        .map(|note| ("note", note));
    lines.extend(notes);
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{} {value}", paint(BOLD, format_args!("{name:<13}")));
        text
    })
}
