//! `tern run`: continues a text.

use std::io::{IsTerminal as _, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::error::ErrorKind;
use serde::Serialize;
use tern_runtime::{Finish, GenerateOptions, Generated, Sampling, generate};

use crate::Ending;
use crate::args::{EngineArgs, JsonArg, usage_error};
use crate::chat::{Session, TemplateArgs};
use crate::files::read_text;
use crate::interrupt::{Watch, while_shown};
use crate::load::{Loaded, ModelArg};
use crate::output::{DIM, paint, plural, print, print_generated, print_json, remark};
use crate::sampling::SamplingArgs;

/// Continues a text.
///
/// The generated text goes to standard output as it is made, everything else to standard error. The same model, prompt,
/// options and seed always give the same text, whatever the kernels, the threads and the CPU.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern run demo -p 'ROMEO:'                          the most likely text (greedy)
  tern run demo -p 'ROMEO:' --temp 0.8 --seed 7      a varied one; another seed, another text
  tern run ./bitnet-b1.58-2B-4T -f question.txt -n 400 --stop 'User:'
  echo 'Once upon a time' | tern run ./model -n 50   prompt from standard input
  tern run demo -p 'KING:' --kernel addsub           the same text by other kernels
  tern run ./bitnet-b1.58-2B-4T --chat -p 'Who wrote Hamlet?' --system 'Be brief.'")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The text to continue; `-` reads it from standard input
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the text from a file (one line break at its end is dropped); `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Generate at most this many tokens
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// Stop before this text would be generated; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Go on when the model says that its text ends
    #[arg(long)]
    ignore_eos: bool,
    /// Most positions in use, prompt and generated text together [default: the model's context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ctx: Option<u32>,
    /// Take the text for a message: the model answers, by its chat template, until its turn ends. Without -p and -f this is `tern chat`
    #[arg(long, conflicts_with = "ctx")]
    chat: bool,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    json: JsonArg,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: String,
    threads: usize,
    prompt: &'a str,
    prompt_tokens: &'a [u32],
    sampling: &'a Sampling,
    #[serde(flatten)]
    generated: &'a Generated,
    prompt_tokens_per_second: f64,
    tokens_per_second: f64,
    load_seconds: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let sampling = args.sampling.checked("run");
    if args.chat {
        return args.chat(sampling);
    }
    if args.template.is_given() {
        let message = "--system and --template are for messages; add --chat";
        usage_error("run", ErrorKind::MissingRequiredArgument, message);
    }
    let prompt = args.prompt()?;
    let setup = args.engine.setup()?;
    let mut loaded = args.model.model.load(setup.for_sampling(&sampling))?;
    let ids = loaded.model.tokenizer()?.encode(&prompt, true)?;
    let options = GenerateOptions {
        max_tokens: args.limit(&loaded, ids.len())?,
        sampling,
        stop: args.stop.clone(),
        ignore_stop_ids: args.ignore_eos,
    };
    if args.json.json {
        let watch = Watch::new();
        let show = &mut |_: &str| Ok(());
        let generated = args.generate(&mut loaded, &ids, &options, &watch, show)?;
        print_json(&Report {
            model: args.model.model.to_string(),
            threads: loaded.model.threads(),
            prompt: &prompt,
            prompt_tokens: &ids,
            sampling: &options.sampling,
            prompt_tokens_per_second: generated.stats.prompt_rate(),
            tokens_per_second: generated.stats.generate_rate(),
            load_seconds: loaded.seconds,
            generated: &generated,
        })?;
        return Ok(ending(&generated));
    }
    stream(args, &mut loaded, &prompt, &ids, &options)
}

impl Args {
    /// `--chat`: one turn where a message is given, else a conversation.
    fn chat(&self, sampling: Sampling) -> anyhow::Result<Ending> {
        let is_given = self.prompt.is_some() || self.file.is_some();
        let message = is_given.then(|| self.prompt()).transpose()?;
        let setup = self.engine.setup()?;
        let options = GenerateOptions {
            max_tokens: self.max_tokens,
            sampling,
            stop: self.stop.clone(),
            ignore_stop_ids: self.ignore_eos,
        };
        let mut session =
            Session::begin(&self.model.model, setup, &self.template, options, self.json)?;
        match message {
            Some(message) => session.say(&message),
            None => session.talk(),
        }
    }

    /// The prompt: `-p`, `-f`, or what is piped in.
    fn prompt(&self) -> anyhow::Result<String> {
        let file = match (&self.prompt, &self.file) {
            (Some(prompt), _) if prompt != "-" => return Ok(prompt.clone()),
            (_, Some(file)) => file,
            (None, None) if stdin().is_terminal() => {
                let message = "no prompt: give one with -p TEXT or -f FILE, or pipe it in";
                usage_error("run", ErrorKind::MissingRequiredArgument, message)
            }
            _ => Path::new("-"),
        };
        let mut text = read_text(file)?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }

    /// Most tokens to generate after a prompt of `prompt` tokens.
    fn limit(&self, loaded: &Loaded, prompt: usize) -> anyhow::Result<usize> {
        let context = loaded.model.config().context;
        let Some(wanted) = self.ctx.map(|ctx| ctx as usize) else {
            return Ok(self.max_tokens);
        };
        if wanted > context {
            bail!("--ctx is {wanted}, but the model's context is {context}; ask for at most that");
        }
        if prompt > wanted {
            bail!(
                "the prompt has {prompt} tokens, but --ctx is {wanted}; shorten the prompt or raise --ctx"
            );
        }
        // One more than there is room for: the last token is generated, but need not be stored.
        Ok(self.max_tokens.min(wanted - prompt + 1))
    }

    /// [`continue_text`] within --ctx: if that was the limit and not --max-tokens, it says so.
    fn generate(
        &self,
        loaded: &mut Loaded,
        prompt: &[u32],
        options: &GenerateOptions,
        watch: &Watch,
        show: &mut dyn FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Generated> {
        let mut generated = continue_text(loaded, prompt, options, watch, show)?;
        if generated.finish == Finish::MaxTokens && options.max_tokens < self.max_tokens {
            generated.finish = Finish::ContextFull;
        }
        Ok(generated)
    }
}

fn ending(generated: &Generated) -> Ending {
    match generated.finish {
        Finish::Cancelled => Ending::Interrupted,
        _ => Ending::Done,
    }
}

/// Generates, passing text on as it is made. If it cannot be passed on, generation stops.
pub fn continue_text(
    loaded: &mut Loaded,
    prompt: &[u32],
    options: &GenerateOptions,
    watch: &Watch,
    show: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Generated> {
    let mut sequence = loaded.model.sequence();
    let engine = &mut loaded.engine;
    let generated = while_shown(watch, show, |on_text| {
        generate(
            engine,
            &mut sequence,
            prompt,
            options,
            watch.flag(),
            on_text,
        )
    })?;
    Ok(generated?)
}

/// Shows the text as it is made, and the numbers after it.
fn stream(
    args: &Args,
    loaded: &mut Loaded,
    prompt: &str,
    ids: &[u32],
    options: &GenerateOptions,
) -> anyhow::Result<Ending> {
    let watch = Watch::new();
    if stdout().is_terminal() && std::io::stderr().is_terminal() {
        // So that the text reads on from its beginning.
        eprint_prompt(prompt);
    }
    let generated = args.generate(loaded, ids, options, &watch, &mut print_generated)?;
    if !generated.text.ends_with('\n') {
        print('\n')?;
    }
    remark(statistics(&generated, loaded.seconds));
    Ok(ending(&generated))
}

fn eprint_prompt(prompt: &str) {
    use std::io::Write as _;
    if !crate::output::is_quiet() {
        let _ = write!(anstream::stderr().lock(), "{}", paint(DIM, prompt));
    }
}

/// One line: how much, how fast, why it ended.
pub fn statistics(generated: &Generated, load_seconds: f64) -> String {
    let stats = &generated.stats;
    let mut parts = vec![format!("loaded in {load_seconds:.2} s")];
    parts.push(format!(
        "prompt {} at {:.0}/s",
        plural(stats.prompt_tokens, "token"),
        stats.prompt_rate()
    ));
    parts.push(match stats.decode_steps {
        0 => plural(stats.generated_tokens, "token"),
        _ => format!(
            "{} at {:.1}/s",
            plural(stats.generated_tokens, "token"),
            stats.generate_rate()
        ),
    });
    parts.push(format!("ended: {}", generated.finish));
    paint(DIM, format_args!("[{}]", parts.join(" · ")))
}
