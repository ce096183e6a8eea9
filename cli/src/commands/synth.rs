//! `tern synth`: writes a model with random weights.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tern_runtime::synth::{HEAD_SPREAD, Synth, SynthError, SynthShape};
use tern_tune::{NewDirectory, NewFile, write_atomically};

use crate::Ending;
use crate::files::read_text;
use crate::interrupt::Watch;
use crate::output::{bytes, remark, warn};
use crate::progress::Bar;

/// Writes a model with random weights, to measure speed and memory.
///
/// What a token costs depends on a model's shape and not on its weights, so a shape can be timed before anybody trained it. The
/// model is a Hugging Face folder without a tokenizer, for `tern bench` and `tern inspect`; its text is nonsense, and its
/// README.md and config.json say so. The same seed gives the same bytes. It is written front to back with a few megabytes
/// of memory, and appears when it is complete.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern synth --shape bitnet-2b4t ./random-2b        then: tern bench ./random-2b
  tern synth --shape mine.toml --seed 2 ./mine      keys: configs/synth/README.md
  tern synth --shape 100b ./random-100b             27 GB on the disk")]
pub struct Args {
    /// A folder that does not exist yet
    #[arg(value_name = "FOLDER")]
    out: PathBuf,
    /// The shape: bitnet-2b4t, bitnet-3b, llama3-8b-1.58, falcon3-10b, 70b, 100b, or a TOML file (a name that ends in .toml or has a
    /// slash in it)
    #[arg(long, value_name = "NAME|FILE.toml")]
    shape: String,
    /// Seed of the random weights
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Standard deviations by which the best logit stands out; trained models have about 8
    #[arg(long, value_name = "X", default_value_t = HEAD_SPREAD)]
    head_spread: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let synth = Synth::new(shape(&args.shape)?, args.seed, args.head_spread)
        .with_context(|| format!("cannot make a model of the shape {}", args.shape))?;
    let folder = NewDirectory::create(&args.out)?;
    let watch = Watch::new();
    let bar = Bar::bytes("writing");
    let mut weights = NewFile::create(&folder.file("model.safetensors"))?;
    let mut size = 0;
    let mut progress = |done, total| {
        bar.set(done, total);
        size = total;
        !watch.stopped()
    };
    match synth.write(&mut weights, &mut progress) {
        Err(SynthError::Io(error)) if error.kind() == ErrorKind::Interrupted => {
            drop(bar);
            warn("stopped, nothing was written");
            return Ok(Ending::Interrupted);
        }
        written => written?,
    }
    weights.finish()?;
    write_atomically(&folder.file("config.json"), &synth.config())?;
    write_atomically(&folder.file("README.md"), &synth.readme())?;
    folder.finish()?;
    drop(bar);
    remark(format_args!(
        "{} has {:.2} billion random ternary weights, {}",
        args.out.display(),
        synth.ternary_weights() as f64 / 1e9,
        bytes(size)
    ));
    Ok(Ending::Done)
}

/// The shape that the user names.
fn shape(name: &str) -> anyhow::Result<SynthShape> {
    if let Some(shape) = SynthShape::of_name(name) {
        return Ok(shape);
    }
    let is_file = name.contains(['/', '\\']) || name.ends_with(".toml");
    if is_file {
        return Ok(SynthShape::parse(&read_text(Path::new(name))?, name)?);
    }
    let known: Vec<&str> = SynthShape::known().collect();
    anyhow::bail!(
        "no shape is called {name}; expected {} or the path of a TOML file (a name that ends in .toml or has a slash in it)",
        known.join(", ")
    )
}
