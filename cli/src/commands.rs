//! One module for each command: its arguments, what it asks the libraries, how it prints the answer.

pub mod bench;
pub mod chat;
pub mod codegen;
pub mod compare;
pub mod completions;
pub mod convert;
pub mod cpu;
pub mod demo;
pub mod inspect;
pub mod logits;
pub mod pack;
pub mod perplexity;
pub mod profile;
pub mod prove;
pub mod run;
pub mod synth;
pub mod tune;

use crate::Ending;
use crate::args::Command;

/// Runs a command.
pub fn run(command: Command) -> anyhow::Result<Ending> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Cpu(args) => cpu::run(&args),
        Command::Codegen(args) => codegen::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Prove(args) => prove::run(&args),
    }
}
