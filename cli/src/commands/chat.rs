//! `tern chat`: a conversation.

use tern_runtime::GenerateOptions;

use crate::Ending;
use crate::args::{EngineArgs, JsonArg};
use crate::chat::{Session, TemplateArgs};
use crate::load::ModelArg;
use crate::sampling::SamplingArgs;

/// Talks with a model.
///
/// Each line is a message; the answer comes as it is made and ends with the model's turn. Messages are put into the form that the model was
/// trained with by its chat template, from the model's files. What was computed for earlier turns is kept.
///
/// A line that begins with `/` is a command: `/reset` forgets the conversation, `/save FILE` writes it as JSON, `/help` lists
/// all, `/exit` ends. Ctrl-C stops an answer; between answers, like the end of the input, it ends the program. Where lines are piped in,
/// only answers go to standard output, and the first turn that fails ends the program.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern chat ./bitnet-b1.58-2B-4T
  tern chat ./bitnet-b1.58-2B-4T --system 'Answer in one sentence.' --temp 0.7 --top-p 0.95
  tern chat ./model --template chatml                a built-in template, for a model that has none
  printf 'Hello\\nAnd in French?\\n' | tern chat ./model --json")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    template: TemplateArgs,
    /// Let an answer have at most this many tokens [default: as many as the context has room for]
    #[arg(short = 'n', long, value_name = "N")]
    max_tokens: Option<usize>,
    /// End an answer before this text would be generated; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    #[command(flatten)]
    json: JsonArg,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let options = GenerateOptions {
        max_tokens: args.max_tokens.unwrap_or(usize::MAX),
        sampling: args.sampling.checked("chat"),
        stop: args.stop.clone(),
        ignore_stop_ids: false,
    };
    let setup = args.engine.setup()?;
    Session::begin(&args.model.model, setup, &args.template, options, args.json)?.talk()
}
