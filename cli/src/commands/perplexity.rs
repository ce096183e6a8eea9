//! `tern perplexity`: how well a model predicts a text.

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use tern_runtime::{Perplexity, perplexity};

use crate::Ending;
use crate::args::{EngineArgs, JsonArg};
use crate::files::read_text;
use crate::load::ModelArg;
use crate::output::{BOLD, paint, plural, print, print_json};
use crate::progress::Bar;

/// Longest window unless the user asks for another: attention grows with its square.
const CONTEXT_MAX: usize = 2048;

/// Measures how well a model predicts a text.
///
/// The text's tokens (without special tokens) are cut into windows that do not overlap; in each, every token but the
/// first is predicted from those before it. Perplexity is e to the mean negative log-likelihood of all predicted tokens:
/// 1 for a model that knows the text, the size of the vocabulary for one that only guesses. Compare numbers only for the
/// same text, tokenizer and --ctx.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern perplexity demo --file demo/page.txt
  tern perplexity ./bitnet-b1.58-2B-4T --file wiki.test.raw --ctx 512 --json")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The text, UTF-8; `-` is standard input
    #[arg(short, long, value_name = "TEXT")]
    file: PathBuf,
    /// Tokens in a window [default: the model's context, at most 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    ctx: Option<u32>,
    #[command(flatten)]
    json: JsonArg,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    model: String,
    file: String,
    threads: usize,
    #[serde(flatten)]
    result: &'a Perplexity,
    nats_per_token: f64,
    bits_per_byte: f64,
    tokens_per_second: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let text = read_text(&args.file)?;
    let setup = args.engine.setup()?.for_all_logits();
    let setup = setup.with_kv(args.engine.kv.or_f32());
    let mut loaded = args.model.model.load(setup)?;
    let tokens = loaded.model.tokenizer()?.encode(&text, false)?;
    let limit = loaded.model.config().context.min(CONTEXT_MAX);
    let context = args.ctx.map_or(limit, |ctx| ctx as usize);
    let bar = Bar::tokens("scoring");
    let mut progress = |done: usize, total: usize| bar.set(done as u64, total as u64);
    let file = args.file.display().to_string();
    let result = perplexity(&mut loaded.engine, &tokens, context, &mut progress);
    let result = result.with_context(|| format!("cannot score {file}"))?;
    drop(bar);
    let nats = result.nll / result.scored as f64;
    let report = Report {
        model: args.model.model.to_string(),
        file,
        threads: loaded.model.threads(),
        nats_per_token: nats,
        bits_per_byte: result.nll / std::f64::consts::LN_2 / text.len() as f64,
        tokens_per_second: result.tokens as f64 / result.seconds,
        result: &result,
    };
    if args.json.json {
        print_json(&report)?;
        return Ok(Ending::Done);
    }
    print(format_args!(
        "{} {:.4}\n{} scored in {} of {context}: {nats:.4} nats a token, {:.4} bits a byte of text; \
         {:.1} s, {:.0} tokens a second\n",
        paint(BOLD, "perplexity"),
        result.perplexity,
        plural(result.scored, "token"),
        plural(result.windows, "window"),
        report.bits_per_byte,
        result.seconds,
        report.tokens_per_second,
    ))?;
    Ok(Ending::Done)
}
