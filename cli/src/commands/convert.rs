//! `tern convert`: a model from one kind of file to another.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use tern_runtime::convert::{ConvertError, Converted, TernaryType, to_folder, to_gguf};
use tern_tune::{NewDirectory, NewFile, check_writable};

use crate::Ending;
use crate::args::{JsonArg, ReadArgs};
use crate::interrupt::Watch;
use crate::load::{naming, refuse_bundled};
use crate::output::{bytes, print_json, remark, warn};
use crate::progress::Bar;

/// Converts a model between Hugging Face folders and GGUF files.
///
/// Ternary weights stay what they are, to the bit: `gguf` takes for each matrix a type that holds it (I2_S, IQ2_BN, TQ2_0, or floats that are
/// ternary), and `gguf:i2_s` one scale for a matrix as f32. `gguf:tq1_0` and `gguf:tq2_0` have scales in f16: the nearest is stored and the largest
/// difference is reported, as where scales that divide become their inverse. llama.cpp reads the last two, bitnet.cpp and ik_llama.cpp I2_S,
/// ik_llama.cpp IQ2_BN, tern all. `hf` writes a folder: packed trits for models with int8
/// activations, floats for others. Embeddings and heads are copied as they are. The input is mapped and written front to back: a large
/// model needs no more memory than a small one.
///
/// What the input does not say is a guess that a GGUF file leaves open and a folder states; --ffn-act, --act-scales and --weight-scales say it, and
/// what is written states that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern convert ./bitnet-b1.58-2B-4T -o 2b.gguf --to gguf:i2_s
  tern convert ./Llama3-8B-1.58 -o llama3.gguf --to gguf:tq2_0
  tern convert ggml-model-i2_s.gguf -o ./2b --to hf --ffn-act relu2
  tern convert iq2_bn.gguf -o i2_s.gguf --to gguf:i2_s --json")]
pub struct Args {
    /// Model folder as published on Hugging Face, or a GGUF file (of a split model the first)
    #[arg(value_name = "IN")]
    model: PathBuf,
    /// The file, or with `--to hf` the folder, to write
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// What to write: gguf, gguf:i2_s, gguf:tq1_0, gguf:tq2_0 or hf
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// Write over a file that exists; folders are never written over
    #[arg(long = "force")]
    overwrite: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Gguf(TernaryType),
    Folder,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text.to_ascii_lowercase().as_str() {
            "gguf" => Ok(Format::Gguf(TernaryType::Exact)),
            "gguf:i2_s" => Ok(Format::Gguf(TernaryType::I2s)),
            "gguf:tq1_0" => Ok(Format::Gguf(TernaryType::Tq1_0)),
            "gguf:tq2_0" => Ok(Format::Gguf(TernaryType::Tq2_0)),
            "hf" => Ok(Format::Folder),
            _ => Err("expected gguf, gguf:i2_s, gguf:tq1_0, gguf:tq2_0 or hf".to_owned()),
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a Path,
    out: &'a Path,
    #[serde(flatten)]
    converted: &'a Converted,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    refuse_bundled(&args.model, "converted")?;
    let watch = Watch::new();
    let bar = Bar::bytes("converting");
    let mut progress = |done, total| {
        bar.set(done, total);
        !watch.stopped()
    };
    let converted = match args.to {
        Format::Gguf(kind) => file(args, kind, &mut progress),
        Format::Folder => folder(args, &mut progress),
    }?;
    drop(bar);
    let Some(converted) = converted else {
        warn("stopped, nothing was written");
        return Ok(Ending::Interrupted);
    };
    for note in &converted.notes {
        warn(note);
    }
    let kinds: Vec<String> = converted
        .matrices
        .iter()
        .map(|(kind, count)| format!("{count} as {kind}"))
        .collect();
    let scales = match converted.largest_scale_error {
        0.0 => "all exact".to_owned(),
        error => format!("scales differ by {error:.1e} of themselves at most"),
    };
    remark(format_args!(
        "{} has {}; ternary matrices: {}, {scales}",
        args.out.display(),
        bytes(converted.bytes),
        kinds.join(", ")
    ));
    if args.json.json {
        print_json(&Report {
            model: &args.model,
            out: &args.out,
            converted: &converted,
        })?;
    }
    Ok(Ending::Done)
}

/// `None` where the user stopped it.
fn outcome(
    model: &Path,
    converted: Result<Converted, ConvertError>,
) -> anyhow::Result<Option<Converted>> {
    match converted {
        Err(ConvertError::Stopped) => Ok(None),
        converted => converted
            .map(Some)
            .map_err(|error| naming(error, "convert", model)),
    }
}

fn file(
    args: &Args,
    kind: TernaryType,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> anyhow::Result<Option<Converted>> {
    let Args { model, out, .. } = args;
    if !args.overwrite && out.exists() {
        anyhow::bail!(
            "{}: exists already; --force writes over it, -o names another file",
            out.display()
        );
    }
    check_writable(out)?;
    let mut file = NewFile::create(out)?;
    let converted = to_gguf(model, args.read.reading(), kind, &mut file, progress);
    let converted = outcome(model, converted)?;
    if converted.is_some() {
        file.finish()?;
    }
    Ok(converted)
}

fn folder(
    args: &Args,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> anyhow::Result<Option<Converted>> {
    let folder = NewDirectory::create(&args.out)?;
    let reading = args.read.reading();
    let converted = to_folder(&args.model, reading, &folder.file(""), progress);
    let converted = outcome(&args.model, converted)?;
    if converted.is_some() {
        folder.finish()?;
    }
    Ok(converted)
}
