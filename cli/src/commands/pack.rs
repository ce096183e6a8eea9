//! `tern pack`: writes a model as loading would leave it in memory.

use std::path::{Path, PathBuf};

use tern_runtime::{Model, PackFileError, packed};
use tern_tune::{NewFile, check_writable};

use crate::Ending;
use crate::args::{
    EngineArgs, HeadArg, IsaArg, KernelArg, KvArg, LoadArg, ProfileArg, ReadArgs, ThreadsArg,
};
use crate::interrupt::Watch;
use crate::load::{naming, refuse_bundled};
use crate::output::{bytes, remark, warn};
use crate::progress::Bar;

/// Packs a model for this CPU, so that it starts in a moment.
///
/// Loading a folder packs its ternary weights for the kernels that the profile names, and makes the copy of the head that bounds its
/// logits. That takes seconds for each billion weights; this does it once. The file has the configuration and the
/// tokenizer too and stands for the folder in every command. Where memory has no room for it the weights stay in the file (--load).
///
/// The file is a cache for one machine: keep the folder. Another profile or another CPU may want other packings; then a packed
/// model is converted while it is loaded, with the same results, and is to be packed again. A damaged one is refused. It states what --ffn-act,
/// --act-scales and --weight-scales say of the model.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern pack ./bitnet-b1.58-2B-4T -o 2b.tern && tern run 2b.tern -p \"Hello\"
  tern pack ./model -o model.tern --profile tuned.toml
  tern pack --check model.tern                          compares all of it with its checksums")]
pub struct Args {
    /// Model folder as published on Hugging Face, or a GGUF file; with --check a packed model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The file to write, by custom *.tern
    #[arg(short, long, value_name = "FILE", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Write over a file that exists
    #[arg(long = "force")]
    overwrite: bool,
    /// Write nothing: look whether a packed model is as it was written, and whether all its codes are ternary weights
    #[arg(long, conflicts_with_all = ["out", "overwrite"])]
    check: bool,
    #[command(flatten)]
    threads: ThreadsArg,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    kernel: KernelArg,
    #[command(flatten)]
    isa: IsaArg,
    #[command(flatten)]
    read: ReadArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    refuse_bundled(&args.model, "packed")?;
    match &args.out {
        Some(out) => pack(args, out),
        None => check(&args.model),
    }
}

fn pack(args: &Args, out: &Path) -> anyhow::Result<Ending> {
    if !args.overwrite && out.exists() {
        anyhow::bail!(
            "{}: exists already; --force writes over it, -o names another file",
            out.display()
        );
    }
    check_writable(out)?;
    let setup = EngineArgs {
        threads: args.threads.clone(),
        profile: args.profile.clone(),
        kernel: args.kernel.clone(),
        isa: args.isa.clone(),
        head: HeadArg::default(),
        load: LoadArg::default(),
        kv: KvArg::default(),
        read: args.read,
    }
    .setup()?;
    let reading = setup.reading;
    // The packed file says as a fact what is a guess here.
    for warning in Model::warnings_without_loading(&args.model, reading)? {
        warn(format_args!("{}: {warning}", args.model.display()));
    }
    let watch = Watch::new();
    let bar = Bar::bytes("packing");
    let mut file = NewFile::create(out)?;
    let mut progress = |done, total| {
        bar.set(done, total);
        !watch.stopped()
    };
    let packed = packed::pack(
        &args.model,
        reading,
        &setup.planner,
        setup.threads,
        &mut file,
        &mut progress,
    );
    let size = match packed {
        Err(PackFileError::Stopped) => {
            drop(bar);
            warn("stopped, nothing was written");
            return Ok(Ending::Interrupted);
        }
        packed => packed.map_err(|error| naming(error, "pack", &args.model))?,
    };
    file.finish()?;
    drop(bar);
    remark(format_args!("{} has {}", out.display(), bytes(size)));
    Ok(Ending::Done)
}

fn check(file: &Path) -> anyhow::Result<Ending> {
    let watch = Watch::new();
    let bar = Bar::bytes("checking");
    let is_complete = packed::check(file, &mut |done, total| {
        bar.set(done, total);
        !watch.stopped()
    })?;
    drop(bar);
    if !is_complete {
        warn("stopped before all was checked");
        return Ok(Ending::Interrupted);
    }
    remark(format_args!("{} is as it was written", file.display()));
    Ok(Ending::Done)
}
