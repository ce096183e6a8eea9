//! `tern codegen`: the kernel generator, from the installed program.

mod explain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use tern_codegen::isa::Isa;
use tern_codegen::{KernelSet, KernelSpec, budget};
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
    /// many weights a cycle the pipes of some CPUs would allow at best. Where the profile of this CPU has the kernel, the speed
    /// that was measured stands beside that.
    #[command(after_help = "Example:\n  tern codegen explain gemv_lut_t3__avx2_p1k32")]
    Explain {
        /// The kernel's id, as `tern codegen list` prints it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        configs: ConfigsArg,
        #[command(flatten)]
        profile: ProfileArg,
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
            json,
        } => explain::run(&configs.kernels()?, id, profile, json.json)?,
        Action::Emit { isa, out, configs } => return emit(&configs.kernels()?, isa, out),
    }
    Ok(Ending::Done)
}

/// A line of the list.
#[derive(Serialize)]
struct Listed {
    id: String,
    family: &'static str,
    isa: &'static str,
    packing: String,
    panels: usize,
    block: usize,
    window: usize,
    registers: usize,
    bits_per_weight: f64,
    runs_here: bool,
}

impl Listed {
    fn new(spec: &KernelSpec, cpu: &Cpu) -> Listed {
        let isa = spec.isa.name();
        Listed {
            id: spec.id(),
            family: spec.family.name(),
            isa,
            packing: spec.packing(),
            panels: spec.panels,
            block: spec.block,
            window: spec.window,
            registers: budget::registers(spec),
            bits_per_weight: 8.0 * spec.code.step_bytes() as f64 / spec.code.step_cols() as f64,
            runs_here: tern_kernels::Isa::from_name(isa).is_some_and(|isa| cpu.has(isa)),
        }
    }
}

fn list(kernels: &KernelSet, isa: Option<&str>, json: bool) -> anyhow::Result<()> {
    let cpu = Cpu::detect();
    let specs = kernels
        .specs()
        .iter()
        .filter(|spec| isa.is_none_or(|isa| spec.isa.name() == isa));
    let listed: Vec<Listed> = specs.map(|spec| Listed::new(spec, &cpu)).collect();
    if json {
        return print_json(&listed);
    }
    let mut table = Table::new(&[
        ("id", Align::Left),
        ("packing", Align::Left),
        ("bits", Align::Right),
        ("window", Align::Right),
        ("registers", Align::Right),
        ("runs here", Align::Left),
    ]);
    for kernel in &listed {
        table.row([
            kernel.id.clone(),
            kernel.packing.clone(),
            format!("{:.3}", kernel.bits_per_weight),
            kernel.window.to_string(),
            kernel.registers.to_string(),
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
        let count = plural(kernels.of_isa(isa).count(), "kernel");
        remark(format_args!(
            "wrote {}: {count}, {} lines",
            path.display(),
            text.lines().count()
        ));
    }
    Ok(Ending::Done)
}
