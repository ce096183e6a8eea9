//! `tern prove`: runs every kernel of an instruction set and compares it with the reference. Hidden, because it is the half of a proof
//! that may die: `tern tune` and `tern cpu --prove` start it as a child and look at how it ends (see `proof.rs`).

use std::str::FromStr as _;

use tern_kernels::{Cpu, Isa, prove};

use crate::Ending;
use crate::output::print;

/// Runs every kernel of an instruction set and compares it with the reference.
///
/// Prints how many kernels were compared. Where the CPU lacks an instruction that it announces, the system ends this
/// command in the middle. `tern cpu --prove` does this for every instruction set, each in a process of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tern prove scalar")]
pub struct Args {
    /// The instruction set, one that `tern cpu` shows
    #[arg(value_name = "ISA", value_parser = Isa::from_str)]
    isa: Isa,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    // Without the cap of TERN_MAX_ISA: what is asked for is proven.
    let compared = prove(&Cpu::detect(), args.isa)?;
    print(format_args!("{compared}\n"))?;
    Ok(Ending::Done)
}
