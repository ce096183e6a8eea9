//! `tern codegen`: the kernel generator, from the installed program.

mod explain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use tern_codegen::isa::Isa;
use tern_codegen::spec::Code;
use tern_codegen::{GemmSpec, KernelSet, KernelSpec, UnpackSpec, budget};
use tern_kernels::Cpu;
use tern_tune::{create_directory, write_atomically};

use crate::Ending;
use crate::args::{JsonArg, ProfileArg};
use crate::interrupt::Watch;
use crate::output::{plural, print, print_json, remark};
use crate::table::{Align, Table};

/// The kernel that is not generated.
const REFERENCE: &str = "gemv_reference_trits__scalar";

/// Lists, shows or writes the source of the generated kernels.
///
/// The generator turns kernel configs (configs/kernels/ISA.toml) into Rust. The configs that this program was built
/// with are part of it; --configs reads others. To build a program with other configs, set TERN_KERNEL_CONFIGS to their
/// directory when you build it.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  tern codegen list
  tern codegen show gemv_lut_t3__avx2_p1k32
  tern codegen explain gemv_lut_t3__avx2_p1k32
  tern codegen emit --isa avx2 --out generated
  tern codegen list --configs my-kernels        check configs of your own")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the kernels
    #[command(after_help = "Example:\n  tern codegen list --isa avx2")]
    List {
        /// Only the kernels of this ISA
        #[arg(long, value_name = "NAME", value_parser = isas(&[]))]
        isa: Option<String>,
        #[command(flatten)]
        configs: ConfigsArg,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Print the source of one kernel and of what prepares its activations
    #[command(after_help = "Example:\n  tern codegen show gemv_lut_t3__avx2_p1k32")]
    Show {
        /// The kernel's id, as `tern codegen list` prints it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        configs: ConfigsArg,
    },
    /// Explain one kernel: its operations, bounds and speed
    ///
    /// Prints what the kernel computes, the vector operations of a step by kind, why sums are widened when they are, and how
    /// many weights a cycle the pipes of some CPUs would allow at best. Where the profile of this CPU or a record of `tern compare`
    /// has the kernel, the speed that was measured stands beside that.
    #[command(after_help = "Example:\n  tern codegen explain gemv_lut_t3__avx2_p1k32")]
    Explain {
        /// The kernel's id, as `tern codegen list` prints it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        configs: ConfigsArg,
        #[command(flatten)]
        profile: ProfileArg,
        /// Look for records in this directory and two levels below it [default: bench-results, where there is one]
        #[arg(long, value_name = "DIR")]
        records: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Write the file of an ISA, or of all: the same text that a build compiles
    #[command(after_help = "Example:\n  tern codegen emit --isa all --out generated")]
    Emit {
        /// The ISA, or `all`
        #[arg(long, value_name = "NAME", value_parser = isas(&["all"]))]
        isa: String,
        /// The directory to write ISA.rs to; it is created if it is missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        configs: ConfigsArg,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigsArg {
    /// Read kernel configs (ISA.toml) from this directory instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    configs: Option<PathBuf>,
}

/// Longer configs are refused before they are read: all built-in ones together are a hundredth of this.
const CONFIG_MAX: u64 = 1 << 20;

/// Refuses configs that are too large, or devices without an end. That something cannot be read is said when it is read.
fn check_sizes(dir: &Path) -> anyhow::Result<()> {
    for path in fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        let is_config = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let Some(found) = is_config.then(|| fs::metadata(&path).ok()).flatten() else {
            continue;
        };
        let name = path.display();
        if !found.is_file() {
            bail!("{name} is no ordinary file; expected a kernel config");
        }
        if found.len() > CONFIG_MAX {
            bail!(
                "{name} is too large for a kernel config: {} bytes, expected at most {CONFIG_MAX}",
                found.len()
            );
        }
    }
    Ok(())
}

fn isas(more: &[&'static str]) -> PossibleValuesParser {
    PossibleValuesParser::new(
        Isa::ALL
            .map(Isa::name)
            .into_iter()
            .chain(more.iter().copied()),
    )
}

impl ConfigsArg {
    fn kernels(&self) -> anyhow::Result<KernelSet> {
        match &self.configs {
            Some(dir) => {
                check_sizes(dir)?;
                KernelSet::from_dir(dir).context("cannot generate kernels")
            }
            None => {
                let own = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
                Ok(KernelSet::from_texts(
                    tern_kernels::CONFIGS.iter().map(own),
                )?)
            }
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    match &args.action {
        Action::List { isa, configs, json } => {
            list(&configs.kernels()?, isa.as_deref(), json.json)?
        }
        Action::Show { id, .. } | Action::Explain { id, .. } if id == REFERENCE => {
            return Err(anyhow!(
                "{REFERENCE} is not generated: it is written by hand in kernels/src/reference.rs"
            ));
        }
        Action::Show { id, configs } => print(configs.kernels()?.show(id)?)?,
        Action::Explain {
            id,
            configs,
            profile,
            records,
            json,
        } => explain::run(
            &configs.kernels()?,
            id,
            profile,
            records.as_deref(),
            json.json,
        )?,
        Action::Emit { isa, out, configs } => return emit(&configs.kernels()?, isa, out),
    }
    Ok(Ending::Done)
}

/// A line of the list. What an operation does not have is left out.
#[derive(Default, Serialize)]
struct Listed {
    id: String,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    isa: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    packing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    panels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_per_weight: Option<f64>,
    runs_here: bool,
}

/// Stored bits a weight of a code.
fn bits(code: Code) -> f64 {
    code.bits_per_weight()
}

impl Listed {
    fn new(id: String, operation: &'static str, isa: Isa, cpu: &Cpu) -> Listed {
        let isa = isa.name();
        Listed {
            id,
            operation,
            isa,
            runs_here: tern_kernels::Isa::from_name(isa).is_some_and(|isa| cpu.has(isa)),
            ..Listed::default()
        }
    }

    fn gemv(spec: &KernelSpec, cpu: &Cpu) -> Listed {
        Listed {
            family: Some(spec.family.name()),
            packing: Some(spec.packing()),
            panels: Some(spec.panels),
            block: Some(spec.block),
            batch: Some(spec.batch),
            window: Some(spec.window),
            registers: Some(budget::registers(spec)),
            bits_per_weight: Some(bits(spec.code)),
            ..Listed::new(spec.id(), "gemv", spec.isa, cpu)
        }
    }

    /// An unpack kernel reads the packings of its code and lanes, whatever their panels and blocks.
    fn unpack(spec: &UnpackSpec, cpu: &Cpu) -> Listed {
        Listed {
            packing: Some(format!("{}_l{}", spec.code.name(), spec.lanes())),
            bits_per_weight: Some(bits(spec.code)),
            ..Listed::new(spec.id(), "unpack", spec.isa, cpu)
        }
    }

    fn gemm(spec: &GemmSpec, cpu: &Cpu) -> Listed {
        Listed {
            batch: Some(spec.tokens),
            window: spec.window,
            registers: Some(budget::gemm_registers(spec)),
            ..Listed::new(spec.id(), "gemm", spec.isa, cpu)
        }
    }
}

fn list(kernels: &KernelSet, isa: Option<&str>, json: bool) -> anyhow::Result<()> {
    let cpu = Cpu::detect();
    let gemv = kernels.specs().iter().map(|spec| Listed::gemv(spec, &cpu));
    let unpack = kernels.unpacks().iter();
    let unpack = unpack.map(|spec| Listed::unpack(spec, &cpu));
    let gemm = kernels.gemms().iter().map(|spec| Listed::gemm(spec, &cpu));
    let listed: Vec<Listed> = (gemv.chain(unpack).chain(gemm))
        .filter(|listed| isa.is_none_or(|isa| listed.isa == isa))
        .collect();
    if json {
        return print_json(&listed);
    }
    let count = |n: Option<usize>| n.map_or_else(String::new, |n| n.to_string());
    let mut table = Table::new(&[
        ("id", Align::Left),
        ("packing", Align::Left),
        ("bits", Align::Right),
        ("tokens", Align::Right),
        ("window", Align::Right),
        ("registers", Align::Right),
        ("runs here", Align::Left),
    ]);
    for kernel in &listed {
        table.row([
            kernel.id.clone(),
            kernel.packing.clone().unwrap_or_default(),
            kernel
                .bits_per_weight
                .map_or_else(String::new, |bits| format!("{bits:.3}")),
            count(kernel.batch),
            count(kernel.window),
            count(kernel.registers),
            if kernel.runs_here { "yes" } else { "no" }.to_owned(),
        ]);
    }
    print(&table)?;
    remark(format_args!(
        "{}, and {REFERENCE}, which is written by hand",
        plural(listed.len(), "kernel")
    ));
    Ok(())
}

fn emit(kernels: &KernelSet, isa: &str, out: &Path) -> anyhow::Result<Ending> {
    let chosen: Vec<Isa> = Isa::ALL
        .into_iter()
        .filter(|each| isa == "all" || each.name() == isa)
        .collect();
    // All texts before the first file: a mistake in the configs leaves the directory as it was.
    let texts = chosen
        .iter()
        .map(|&isa| Ok((isa, kernels.file(isa)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Ctrl-C waits until a file is whole.
    let watch = Watch::new();
    create_directory(out)?;
    for (isa, text) in texts {
        if watch.stopped() {
            return Ok(Ending::Interrupted);
        }
        let path = out.join(format!("{}.rs", isa.name()));
        write_atomically(&path, &text)?;
        let batched = kernels
            .unpacks()
            .iter()
            .filter(|spec| spec.isa == isa)
            .count()
            + kernels
                .gemms()
                .iter()
                .filter(|spec| spec.isa == isa)
                .count();
        let count = plural(kernels.of_isa(isa).count() + batched, "kernel");
        remark(format_args!(
            "wrote {}: {count}, {} lines",
            path.display(),
            text.lines().count()
        ));
    }
    Ok(Ending::Done)
}
