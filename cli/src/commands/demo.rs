//! `tern demo`: the whole path in half a minute, for someone who sees tern for the first time.

mod measure;
mod text;

use serde::Serialize;
use tern_kernels::{Cpu, Planner};
use tern_tune::{Comparison, Tuning};

use crate::Ending;
use crate::args::{EngineArgs, JsonArg};
use crate::interrupt::Watch;
use crate::output::{BOLD, paint, plural, print, print_json};
use crate::worklist::Seconds;

use text::Text;

/// Shows it all in half a minute: tunes, compares, generates text.
///
/// Writes nothing to disk. What `tern tune`, `tern compare` and `tern run` do thoroughly is done here briefly. The text
/// is generated with the kernels that were just found, unless --profile names others.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern demo
  tern demo --seconds 10 --threads 1
  tern demo --max-isa avx2            as on a CPU without AVX-512
  tern demo --json > demo.json")]
pub struct Args {
    /// Time to measure; the rest takes some seconds more
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(24.0))]
    seconds: Seconds,
    /// Seed of the generated text
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    json: JsonArg,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Everything that was found out; `--json` prints it.
#[derive(Serialize)]
struct Report {
    cpu: String,
    threads: usize,
    tuning: Tuning,
    comparison: Comparison,
    text: Text,
}

/// The demo under way.
struct Demo<'a> {
    args: &'a Args,
    cpu: Cpu,
    threads: usize,
    watch: Watch,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let cpu = args.engine.isa.cpu();
    let threads = args.engine.threads.on(&cpu);
    // A kernel that does not run here is found out before anything is measured.
    Planner::new(cpu.clone(), None, args.engine.kernel.force.clone())?;
    let watch = Watch::new();
    let demo = Demo {
        args,
        cpu,
        threads,
        watch,
    };
    let Some(report) = demo.run()? else {
        return Ok(Ending::Interrupted);
    };
    if args.json.json {
        print_json(&report)?;
    }
    Ok(Ending::Done)
}

impl Demo<'_> {
    /// All steps; `None` if the user stopped it.
    fn run(&self) -> anyhow::Result<Option<Report>> {
        self.say(self.greeting())?;
        let tuning = self.tune()?;
        if self.watch.stopped() {
            return Ok(None);
        }
        let comparison = self.compare()?;
        if self.watch.stopped() {
            return Ok(None);
        }
        let Some(text) = self.text(&tuning)? else {
            return Ok(None);
        };
        self.say(FAREWELL)?;
        Ok(Some(Report {
            cpu: self.cpu.brand.clone(),
            threads: self.threads,
            tuning,
            comparison,
            text,
        }))
    }

    /// Prints, unless the result is to be JSON.
    fn say(&self, text: impl std::fmt::Display) -> anyhow::Result<()> {
        match self.args.json.json {
            true => Ok(()),
            false => print(text),
        }
    }

    fn greeting(&self) -> String {
        let isas: Vec<&str> = self.cpu.isas().into_iter().map(|isa| isa.name()).collect();
        format!(
            "{} on {}: {}, {}\n\
             Every weight of a ternary model is -1, 0 or 1. For the product of such a matrix with a vector tern has\n\
             {} kernels that this CPU can run. All give the same numbers; which is fastest is measured, not guessed.\n\n",
            paint(BOLD, concat!("tern ", env!("CARGO_PKG_VERSION"))),
            self.cpu.brand,
            plural(self.threads, "thread"),
            isas.join(", "),
            self.cpu.kernels().count(),
        )
    }
}

const FAREWELL: &str = "
What next:
  tern tune                        save a thorough profile for this CPU, for all commands to use
  tern compare                     the whole comparison, also as CSV and chart
  tern run demo -p 'JULIET:' --temp 0.8 --seed 2
  tern run FOLDER -p 'Hello'       a ternary model from Hugging Face
";

/// The headline of a step.
fn heading(number: usize, text: &str) -> String {
    format!("{}\n", paint(BOLD, format_args!("{number}. {text}")))
}
