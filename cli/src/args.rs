//! The command line: the commands, and the options that several of them share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use tern_kernels::{Cpu, Force, Isa, Pages};
use tern_runtime::config::{Activation, ActivationScales, ScaleRule};
use tern_runtime::{HeadMode, I2sLayout, KvType, ReadOptions, Residence};

use crate::commands::{
    bench, chat, codegen, compare, completions, convert, cpu, demo, inspect, logits, pack,
    perplexity, profile, prove, run, synth, tune,
};

/// More threads than this are a slip of the finger.
pub const THREADS_MAX: u64 = tern_kernels::profile::THREADS_MAX as u64;

/// Runs ternary (1.58-bit) language models on CPUs, with kernels tuned for the CPU at hand.
///
/// The weights of a ternary model are -1, 0 and 1, so its matrix-vector products need no multiplication. Which way to do
/// without it is fastest (lookup tables, masked additions, or multiplying after all) depends on the CPU. tern contains
/// many variants of each, measures them, writes the winners to a profile and runs models with them. All variants give
/// exactly the same numbers.
#[derive(Debug, Parser)]
#[command(
    name = "tern",
    version,
    arg_required_else_help = true,
    max_term_width = 110
)]
#[command(after_help = "\
First steps:
  tern demo                                   see it work: half a minute, writes nothing
  tern tune                                   find the fastest kernels for this CPU, once
  tern run demo -p 'ROMEO:' --temp 0.8        continue a text with the bundled model
  tern run ./bitnet-b1.58-2B-4T -p 'Hello'    or with a model folder from Hugging Face
  tern chat ./bitnet-b1.58-2B-4T              or talk with it
  tern bench demo -p 128 -n 64                how fast that is

`tern help COMMAND` explains a command, with examples.")]
pub struct Cli {
    /// Print no progress and no remarks, only results, warnings and errors
    #[arg(short, long, global = true, display_order = 900)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order of a first visit. Their arguments' documentation is what `--help` prints.
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Chat(chat::Args),
    Tune(tune::Args),
    Profile(profile::Args),
    Compare(compare::Args),
    Bench(bench::Args),
    Inspect(inspect::Args),
    Perplexity(perplexity::Args),
    Logits(logits::Args),
    Synth(synth::Args),
    Pack(pack::Args),
    Convert(convert::Args),
    Cpu(cpu::Args),
    Codegen(codegen::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Prove(prove::Args),
}

/// The arguments with llama-bench's `-pg`, which would be read as `-p g`, as `--pg`.
pub fn as_clap_reads_them(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_bench = false;
    args.enumerate().map(move |(index, arg)| {
        is_bench |= index > 0 && arg == "bench";
        match is_bench && arg == "-pg" {
            true => "--pg".into(),
            false => arg,
        }
    })
}

/// Options of everything that runs a model.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine options")]
pub struct EngineArgs {
    #[command(flatten)]
    pub threads: ThreadsArg,
    #[command(flatten)]
    pub profile: ProfileArg,
    #[command(flatten)]
    pub kernel: KernelArg,
    #[command(flatten)]
    pub isa: IsaArg,
    #[command(flatten)]
    pub head: HeadArg,
    #[command(flatten)]
    pub load: LoadArg,
    #[command(flatten)]
    pub kv: KvArg,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// `--i2s-layout`.
#[derive(Clone, Copy, Debug, Default, Args)]
struct I2sLayoutArg {
    /// How the weights of type I2_S lie in a GGUF file, which the file does not tell: `128x32` as in all published ones; `64x16` by
    /// bitnet.cpp's quantizer on ARM; `rows4` or `sequential` by other builds of it [default: 128x32]
    #[arg(long = "i2s-layout", value_name = "LAYOUT")]
    i2s_layout: Option<I2sLayout>,
}

impl I2sLayoutArg {
    /// The library's word for it.
    fn layout(self) -> I2sLayout {
        self.i2s_layout.unwrap_or_default()
    }
}

/// `--load`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LoadArg {
    /// Where the weights of a packed model (`tern pack`) are: in `memory`; or in its `file`, which is mapped, so that it need not fit memory;
    /// `auto` for the file where memory has no room. Folders are always packed to memory
    #[arg(long, value_name = "WHERE", value_enum, default_value_t = Load::Auto)]
    load: Load,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Load {
    #[default]
    Auto,
    Memory,
    File,
}

impl LoadArg {
    /// The library's word for it.
    pub fn residence(self) -> Residence {
        match self.load {
            Load::Auto => Residence::Auto,
            Load::Memory => Residence::Memory,
            Load::File => Residence::File,
        }
    }
}

/// `--ffn-act`.
#[derive(Clone, Copy, Debug, Default, Args)]
struct FfnActArg {
    /// The feed-forward activation, where the model's files name a wrong one or none (`tern inspect` says what was taken, and why)
    #[arg(long = "ffn-act", value_name = "NAME", value_enum)]
    ffn_act: Option<FfnAct>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FfnAct {
    Relu2,
    Silu,
}

impl FfnActArg {
    /// The library's word for it.
    fn activation(self) -> Option<Activation> {
        self.ffn_act.map(|act| match act {
            FfnAct::Relu2 => Activation::Relu2,
            FfnAct::Silu => Activation::Silu,
        })
    }
}

/// `--act-scales` and `--weight-scales`.
#[derive(Clone, Copy, Debug, Default, Args)]
struct ScalesArgs {
    /// How activations become int8: with one scale for a `token`, as models with int8 activations are trained, or one for each of its `groups`
    /// of 128, close to the floats that others are trained with. GGUF files do not say which (`tern inspect` shows what was taken)
    #[arg(long = "act-scales", value_name = "FOR", value_enum)]
    activations: Option<ActScales>,
    /// What the weights' scales do: some programs write the inverse of those of BitNet b1.58 2B4T into GGUF files, which then must `divide`
    #[arg(long = "weight-scales", value_name = "RULE", value_enum)]
    weights: Option<WeightScales>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ActScales {
    Token,
    Groups,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WeightScales {
    Multiply,
    Divide,
}

impl ScalesArgs {
    /// The library's word for those of activations.
    fn activations(self) -> Option<ActivationScales> {
        self.activations.map(|scales| match scales {
            ActScales::Token => ActivationScales::Token,
            ActScales::Groups => ActivationScales::Groups,
        })
    }

    /// The library's word for what those of weights do.
    fn weights(self) -> Option<ScaleRule> {
        self.weights.map(|scales| match scales {
            WeightScales::Multiply => ScaleRule::Multiply,
            WeightScales::Divide => ScaleRule::Divide,
        })
    }
}

/// How the model's files are read, where they are silent or wrong.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ReadArgs {
    #[command(flatten)]
    ffn_act: FfnActArg,
    #[command(flatten)]
    scales: ScalesArgs,
    #[command(flatten)]
    i2s_layout: I2sLayoutArg,
}

impl ReadArgs {
    /// The library's word for it.
    pub fn reading(self) -> ReadOptions {
        ReadOptions {
            activation: self.ffn_act.activation(),
            activation_scales: self.scales.activations(),
            weight_scales: self.scales.weights(),
            i2s_layout: self.i2s_layout.layout(),
        }
    }
}

/// `--kv`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct KvArg {
    /// How the keys and values of a text are kept: `f32` as computed; `f16` rounded to 11 bits, half the memory and half of what a
    /// token reads after a long text; `i8` in 8 bits with a factor for each head and position, a quarter, less exact
    /// [default: f16; f32 for `logits` and `perplexity`]
    #[arg(long = "kv", value_name = "TYPE", value_enum)]
    kv: Option<Kv>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kv {
    F32,
    F16,
    I8,
}

impl KvArg {
    /// The library's word for the user's choice, or for what `run` and `bench` use.
    pub fn or_f16(self) -> KvType {
        self.kv.map_or(KvType::F16, Kv::library)
    }

    /// The same where results are compared with other programs.
    pub fn or_f32(self) -> KvType {
        self.kv.map_or(KvType::F32, Kv::library)
    }
}

impl Kv {
    fn library(self) -> KvType {
        match self {
            Kv::F32 => KvType::F32,
            Kv::F16 => KvType::F16,
            Kv::I8 => KvType::I8,
        }
    }
}

/// `--head`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct HeadArg {
    /// How logits are made of the final hidden state
    #[arg(long, value_name = "HEAD", value_enum, default_value_t = Head::Exact)]
    head: Head,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Head {
    /// The head's own, of those rows only that proven bounds from a 4-bit copy do not exclude: the same tokens as with `bf16`, for a
    /// quarter of the bytes. For greedy texts, --top-k, and --min-p without --top-p; else as `bf16`
    #[default]
    Exact,
    /// The head's own, all of them, without a copy
    Bf16,
    /// As `exact`, but within six standard deviations instead of proven bounds, from a 4-bit copy of which mostly 2 bits are read: half
    /// the bytes again, and a token may differ. (Of a million random pairs of a row and a hidden state none was missed)
    Screened4,
    /// Approximate, from a copy in 8 bits that takes the head's place: logits are off by some 0.02 of their size
    Q8,
    /// Approximate, from a copy in 6 bits that takes the head's place: logits are off by some 0.04 of their size
    Q6,
}

impl HeadArg {
    /// The library's word for it.
    pub fn mode(self) -> HeadMode {
        match self.head {
            Head::Exact => HeadMode::Exact,
            Head::Bf16 => HeadMode::Full,
            Head::Screened4 => HeadMode::Screened4,
            Head::Q8 => HeadMode::Q8,
            Head::Q6 => HeadMode::Q6,
        }
    }
}

/// `--threads`.
#[derive(Clone, Debug, Args)]
pub struct ThreadsArg {
    /// Threads that share the work [default: all usable cores; or fewer, to run a model, where this CPU's profile found fewer faster]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=THREADS_MAX))]
    threads: Option<u64>,
}

impl ThreadsArg {
    /// The number of threads on `cpu`.
    pub fn on(&self, cpu: &Cpu) -> usize {
        self.given().unwrap_or(cpu.cores.max(1))
    }

    /// The number that the user chose.
    pub fn given(&self) -> Option<usize> {
        self.threads.map(|threads| threads as usize)
    }

    /// This number of threads.
    pub fn exactly(threads: usize) -> ThreadsArg {
        ThreadsArg {
            threads: Some(threads as u64),
        }
    }
}

/// `--profile`.
#[derive(Clone, Debug, Args)]
pub struct ProfileArg {
    /// Take kernels from this profile, or from `none` [default: this CPU's profile, as `tern tune` saved it]
    #[arg(long, value_name = "FILE|none", env = "TERN_PROFILE", value_parser = ProfileChoice::from_str)]
    profile: Option<ProfileChoice>,
}

impl ProfileArg {
    /// The user's choice.
    pub fn choice(&self) -> ProfileChoice {
        self.profile.clone().unwrap_or(ProfileChoice::Find)
    }
}

/// Which profile to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileChoice {
    /// The one of this CPU, if there is one.
    Find,
    /// None: built-in defaults.
    None,
    /// This file, which must exist.
    File(PathBuf),
}

impl FromStr for ProfileChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            // `TERN_PROFILE= tern …` is how a shell unsets a variable for one command.
            "" => ProfileChoice::Find,
            "none" => ProfileChoice::None,
            path => ProfileChoice::File(path.into()),
        })
    }
}

/// `--kernel`.
#[derive(Clone, Debug, Args)]
pub struct KernelArg {
    /// Use this kernel family (lut, bitserial, decode, mad, addsub, reference) or this kernel for every matrix, whatever the profile says
    #[arg(long = "kernel", value_name = "FAMILY|ID", value_parser = Force::from_str)]
    pub force: Option<Force>,
}

/// `--max-isa`.
#[derive(Clone, Debug, Args)]
pub struct IsaArg {
    /// Use no instruction set beyond this one, in the order scalar, ssse3, avx2, avxvnni, avx512bw, avx512vnni,
    /// avx512vbmi (on ARM: scalar, neon, dotprod, i8mm; in WebAssembly: scalar, simd128, relaxed); `tern cpu --prove` tells
    /// which of them this CPU really has
    #[arg(long, value_name = "ISA", env = "TERN_MAX_ISA", value_parser = Cap::from_str)]
    max_isa: Option<Cap>,
}

/// The last ISA that may be used, or any.
#[derive(Clone, Copy, Debug)]
struct Cap(Option<Isa>);

impl FromStr for Cap {
    type Err = tern_kernels::cpu::ParseIsaError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            // As for a profile: an empty variable is an unset one.
            "" => Ok(Cap(None)),
            name => name.parse().map(|isa| Cap(Some(isa))),
        }
    }
}

impl IsaArg {
    /// The name of the first ISA that this CPU has and the cap takes away.
    pub fn taken_away(&self) -> Option<&'static str> {
        let allowed = self.cpu().isas();
        let mut all = Cpu::detect().isas().into_iter();
        all.find(|isa| !allowed.contains(isa)).map(Isa::name)
    }

    /// This CPU, within the cap.
    pub fn cpu(&self) -> Cpu {
        let cpu = Cpu::detect();
        match self.max_isa {
            Some(Cap(Some(max))) => cpu.capped(max),
            _ => cpu,
        }
    }
}

/// `--pages`.
#[derive(Clone, Copy, Debug, Args)]
pub struct PagesArg {
    /// Memory pages of the weights: 2 MiB, where the system gives them, or the ordinary ones, usually 4 KiB
    #[arg(long, value_enum, value_name = "SIZE", default_value_t = PageSize::Huge)]
    pages: PageSize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PageSize {
    Huge,
    Small,
}

impl PagesArg {
    /// The pages, as the libraries name them.
    pub fn pages(self) -> Pages {
        match self.pages {
            PageSize::Huge => Pages::Huge,
            PageSize::Small => Pages::Small,
        }
    }
}

/// Ends the program as clap does for a wrong command line, for what clap cannot see: exit code 2.
pub fn usage_error(command: &str, kind: ErrorKind, message: impl std::fmt::Display) -> ! {
    let mut cli = Cli::command();
    cli.build();
    let command = cli
        .find_subcommand_mut(command)
        .expect("commands know their names");
    command.error(kind, message).exit()
}

/// `--json`.
#[derive(Clone, Copy, Debug, Args)]
pub struct JsonArg {
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// A list of numbers separated by commas: thread counts, token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(pub Vec<u32>);

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let bad = |_| {
                format!(
                    "`{part}` is no whole number from 0 to {}; expected a list such as 1,2,3",
                    u32::MAX
                )
            };
            part.trim().parse().map_err(bad)
        };
        text.split(',')
            .map(number)
            .collect::<Result<_, _>>()
            .map(Numbers)
    }
}

/// Parses a list of thread counts.
pub fn thread_counts(text: &str) -> Result<Numbers, String> {
    let counts: Numbers = text.parse()?;
    match counts
        .0
        .iter()
        .find(|&&count| !(1..=THREADS_MAX).contains(&u64::from(count)))
    {
        Some(bad) => Err(format!("{bad} threads: expected 1 to {THREADS_MAX}")),
        None => Ok(counts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let example = format!("tern {}", command.get_name());
            assert!(
                help.contains("Example") && help.contains(&example),
                "{}: {help}",
                command.get_name()
            );
        }
    }

    #[test]
    fn lists_of_numbers() {
        assert_eq!("1,2, 3".parse(), Ok(Numbers(vec![1, 2, 3])));
        for bad in ["", "1,,2", "1;2", "-1", "4294967296"] {
            assert!(bad.parse::<Numbers>().is_err(), "{bad}");
        }
    }
}
