//! `tern logits`: a model's logits in a file, to compare with other programs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;
use tern_runtime::{Logits, Work};
use tern_tune::{NewFile, check_writable};

use crate::Ending;
use crate::args::{EngineArgs, JsonArg, Numbers};
use crate::interrupt::Watch;
use crate::load::{Loaded, ModelArg};
use crate::output::{bytes, plural, print_json, remark};
use crate::progress::Bar;

/// Writes a model's logits to a file, to compare with other programs.
///
/// The file is in safetensors format with one tensor, `logits`: f32 [tokens, vocabulary], row i being the prediction
/// after token i. The numbers do not depend on kernels, threads or CPU.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tern logits ./model --tokens 128000,15339,1917 --out logits.safetensors

and in Python:
  from safetensors.numpy import load_file
  print(load_file('logits.safetensors')['logits'].shape)")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS")]
    tokens: Numbers,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    json: JsonArg,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    /// The file that was written.
    out: &'a Path,
    rows: usize,
    vocabulary: usize,
    /// Time of the computation and of writing, without loading the model.
    seconds: f64,
}

/// Positions whose logits are in memory at a time.
const PASS: usize = 64;

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let Numbers(tokens) = &args.tokens;
    // Before the work, so that a wrong path costs no time.
    check_writable(&args.out)?;
    let setup = args.engine.setup()?.for_all_logits();
    let setup = setup.with_kv(args.engine.kv.or_f32());
    let mut loaded = args.model.model.load(setup)?;
    check(&loaded, tokens)?;
    let shape = [tokens.len(), loaded.model.config().vocab_size];
    // From here on Ctrl-C may not end the program at once: the unfinished file would stay.
    let watch = Watch::new();
    let start = Instant::now();
    let mut file = NewFile::create(&args.out)?;
    file.add(&header(shape))?;
    let bar = Bar::tokens("computing");
    let mut sequence = loaded.model.sequence();
    let mut done = 0;
    for tokens in tokens.chunks(PASS) {
        let work = Work {
            sequence: &mut sequence,
            tokens,
            logits: Logits::All,
        };
        let rows: Vec<u8> = loaded
            .engine
            .step(&mut [work])?
            .rows(0)
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        file.add(&rows)?;
        done += tokens.len();
        bar.set(done as u64, shape[0] as u64);
        if watch.stopped() {
            return Ok(Ending::Interrupted);
        }
    }
    file.finish()?;
    drop(bar);
    if args.json.json {
        print_json(&Report {
            out: &args.out,
            rows: shape[0],
            vocabulary: shape[1],
            seconds: start.elapsed().as_secs_f64(),
        })?;
    }
    let size = bytes(4 * (shape[0] * shape[1]) as u64);
    let rows = plural(shape[0], "row");
    remark(format_args!(
        "wrote {}: {rows} of {} logits ({size})",
        args.out.display(),
        shape[1]
    ));
    Ok(Ending::Done)
}

/// All tokens at once: the engine would find a bad one only when its chunk comes.
fn check(loaded: &Loaded, tokens: &[u32]) -> anyhow::Result<()> {
    let config = loaded.model.config();
    if let Some(id) = tokens.iter().find(|&&id| id as usize >= config.vocab_size) {
        let last = config.vocab_size - 1;
        bail!("token id {id} is out of range: the model's ids are 0 to {last}");
    }
    if tokens.len() > config.context {
        let (tokens, context) = (tokens.len(), config.context);
        bail!("{tokens} tokens do not fit the model's context of {context}; give fewer");
    }
    Ok(())
}

/// The head of a safetensors file with one tensor: the length of the JSON as u64, then the JSON, padded with spaces so
/// that the numbers are aligned.
fn header([rows, cols]: [usize; 2]) -> Vec<u8> {
    let end = 4 * rows * cols;
    let mut json = format!(
        r#"{{"logits":{{"dtype":"F32","shape":[{rows},{cols}],"data_offsets":[0,{end}]}}}}"#
    );
    while json.len() % 8 != 0 {
        json.push(' ');
    }
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    header
}
