//! A conversation on the terminal, or with a program that pipes lines in: `tern chat` and `tern run --chat`.
//!
//! The line editor is the terminal's own. That keeps a chat usable in a pipe, a script and a screen reader; whoever wants a history
//! can have one with `rlwrap tern chat`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use serde_json::json;
use tern_runtime::chat::{BUILTIN_TEMPLATES, ChatTemplate, Conversation, Reply};
use tern_runtime::{ChatError, Finish, GenerateOptions, Model, Tokenizer};
use tern_tune::write_new;

use crate::Ending;
use crate::args::JsonArg;
use crate::files::read_text;
use crate::interrupt::{Watch, while_shown};
use crate::load::{Loaded, ModelName};
use crate::output::{
    BOLD, DIM, answer, is_quiet, paint, plural, print, print_generated, print_json, remark, warn,
};
use crate::plan::Setup;

/// Longest message that is read: far beyond any context.
const LINE_MAX: u64 = 64 << 20;

/// How messages become a prompt.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Chat options")]
pub struct TemplateArgs {
    /// A system message: what the model should know or do in the whole conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Use this chat template in place of the model's: a file in Jinja, or `bitnet`, `llama3`, `chatml` or `falcon3`
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<PathBuf>,
}

impl TemplateArgs {
    /// Whether any of them is given.
    pub fn is_given(&self) -> bool {
        self.system.is_some() || self.template.is_some()
    }

    fn template(&self, model: &Model) -> anyhow::Result<ChatTemplate> {
        let Some(chosen) = &self.template else {
            return Ok(model.chat_template()?);
        };
        if let Some(template) = chosen.to_str().and_then(ChatTemplate::builtin) {
            return Ok(model.adapt_template(template));
        }
        let text = read_text(chosen).with_context(|| {
            format!(
                "--template is no file, nor one of {}",
                BUILTIN_TEMPLATES.join(", ")
            )
        })?;
        let template = ChatTemplate::parse(&text, &chosen.display().to_string())?;
        Ok(model.adapt_template(template))
    }
}

/// A model and what was said.
pub struct Session {
    loaded: Loaded,
    conversation: Conversation,
    options: GenerateOptions,
    is_json: bool,
    model: String,
}

/// What `--json` prints for each turn.
#[derive(Serialize)]
struct Turn<'a> {
    model: &'a str,
    threads: usize,
    message: &'a str,
    #[serde(flatten)]
    reply: &'a Reply,
    prompt_tokens_per_second: f64,
    tokens_per_second: f64,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Message(&'a str),
    Help,
    Reset,
    Save(&'a str),
    Exit,
    Unknown(&'a str),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Line<'a> {
        let text = line.trim();
        if text.is_empty() {
            return Line::Nothing;
        }
        if !line.starts_with('/') {
            return Line::Message(line);
        }
        let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match (command, rest.trim()) {
            ("/help" | "/?", "") => Line::Help,
            ("/reset", "") => Line::Reset,
            ("/save", file) => Line::Save(file),
            ("/exit" | "/quit", "") => Line::Exit,
            _ => Line::Unknown(text),
        }
    }
}

const HELP: &str = "\
/reset       forget the conversation, but not the system message
/save FILE   write the conversation as JSON, to a file that does not exist yet
/exit        end; so do Ctrl-D and, between answers, Ctrl-C
A message that begins with / is written with a space before it.";

impl Session {
    /// Loads the model and takes its template, or the user's.
    pub fn begin(
        name: &ModelName,
        setup: Setup,
        template: &TemplateArgs,
        options: GenerateOptions,
        json: JsonArg,
    ) -> anyhow::Result<Session> {
        let loaded = name.load(setup.for_sampling(&options.sampling))?;
        let tokenizer = loaded.model.tokenizer()?;
        let chosen = template.template(&loaded.model)?;
        for note in chosen.notes() {
            warn(note);
        }
        if template.template.is_some() {
            warn_of_plain_text(&chosen, tokenizer);
        }
        let model = Arc::clone(&loaded.model);
        Ok(Session {
            conversation: Conversation::new(model, chosen, template.system.as_deref()),
            loaded,
            options,
            is_json: json.json,
            model: name.to_string(),
        })
    }

    /// One turn.
    pub fn say(&mut self, message: &str) -> anyhow::Result<Ending> {
        let watch = Watch::anew();
        let is_json = self.is_json;
        let mut show = |piece: &str| match is_json {
            true => Ok(()),
            false => print_generated(piece),
        };
        let (engine, options) = (&mut self.loaded.engine, &self.options);
        let reply = while_shown(&watch, &mut show, |on_text| {
            let conversation = &mut self.conversation;
            conversation.say(engine, message, options, watch.flag(), on_text)
        });
        drop(watch);
        let reply = reply??;
        self.report(message, &reply)?;
        Ok(match reply.generated.finish {
            Finish::Cancelled => Ending::Interrupted,
            _ => Ending::Done,
        })
    }

    /// What follows an answer.
    fn report(&self, message: &str, reply: &Reply) -> anyhow::Result<()> {
        let generated = &reply.generated;
        if self.is_json {
            return print_json(&Turn {
                model: &self.model,
                threads: self.loaded.model.threads(),
                message,
                reply,
                prompt_tokens_per_second: generated.stats.prompt_rate(),
                tokens_per_second: generated.stats.generate_rate(),
            });
        }
        if !generated.text.ends_with('\n') {
            print('\n')?;
        }
        let context = self.loaded.model.config().context;
        let mut parts = vec![format!(
            "{} at {:.1}/s",
            plural(generated.tokens.len(), "token"),
            generated.stats.generate_rate()
        )];
        parts.push(format!("{} of {context} in context", reply.context_tokens));
        if !matches!(generated.finish, Finish::StopId(_)) {
            parts.push(format!("ended: {}", generated.finish));
        }
        remark(paint(DIM, format_args!("[{}]", parts.join(" · "))));
        if generated.finish == Finish::ContextFull {
            remark("the model's context is full, so the answer ends here; /reset begins anew");
        }
        Ok(())
    }

    /// Reads lines until there are no more.
    pub fn talk(&mut self) -> anyhow::Result<Ending> {
        let is_terminal = io::stdin().is_terminal();
        if is_terminal {
            remark(paint(
                DIM,
                format_args!(
                    "{}; a line is a message, /help lists commands, /exit ends",
                    self.model
                ),
            ));
        }
        loop {
            if is_terminal && !is_quiet() {
                let _ = write!(anstream::stderr().lock(), "{} ", paint(BOLD, ">"));
            }
            let Some(line) = read_line()? else {
                if is_terminal {
                    remark("");
                }
                return Ok(Ending::Done);
            };
            match self.obey(Line::parse(&line)) {
                Ok(true) => (),
                Ok(false) => return Ok(Ending::Done),
                Err(error) if is_terminal && !crate::output::is_closed_pipe(&error) => {
                    crate::output::error(&error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what a line asks for; false if that is to end.
    fn obey(&mut self, line: Line<'_>) -> anyhow::Result<bool> {
        match line {
            Line::Nothing => (),
            Line::Message(message) => {
                self.say(message).map_err(with_advice)?;
            }
            Line::Help => answer(HELP),
            Line::Reset => {
                self.conversation.reset();
                remark("the conversation is forgotten");
            }
            Line::Save("") => bail!("/save needs the name of a file"),
            Line::Save(file) => self.save(Path::new(file))?,
            Line::Exit => return Ok(false),
            Line::Unknown(command) => bail!("there is no `{command}`; /help lists the commands"),
        }
        Ok(true)
    }

    fn save(&self, file: &Path) -> anyhow::Result<()> {
        let messages = self.conversation.messages();
        let saved = json!({ "model": self.model, "messages": messages });
        let text = serde_json::to_string_pretty(&saved)?;
        write_new(file, &format!("{text}\n"))?;
        remark(format_args!(
            "{} written to {}",
            plural(messages.len(), "message"),
            file.display()
        ));
        Ok(())
    }
}

/// A template of another model writes control tokens that this one knows as a row of letters, and waits for one that never comes. Only of a
/// template that the user chose: some models were trained with such words as text.
fn warn_of_plain_text(template: &ChatTemplate, tokenizer: &Tokenizer) {
    let plain = template.plain_control(tokenizer);
    if !plain.is_empty() {
        let (are, them) = match plain.len() {
            1 => ("is no control token", "it is"),
            _ => ("are no control tokens", "they are"),
        };
        warn(format_args!(
            "{}: {} {are} of this model: {them} plain text to it, and its answers may not end; choose another --template",
            template.file(),
            plain.join(", ")
        ));
    }
}

/// An error of a turn, with what a person can do about it in a chat.
fn with_advice(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<ChatError>() {
        Some(ChatError::TooLong { .. }) => anyhow!("{error} (/reset begins anew)"),
        _ => error,
    }
}

/// The next line of standard input, without its end.
fn read_line() -> anyhow::Result<Option<String>> {
    let mut bytes = Vec::new();
    let read = io::stdin()
        .lock()
        .take(LINE_MAX)
        .read_until(b'\n', &mut bytes);
    if read.context("cannot read standard input")? == 0 {
        return Ok(None);
    }
    if bytes.len() as u64 == LINE_MAX {
        bail!("the line has more than {LINE_MAX} bytes; expected a message");
    }
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| anyhow!("the line is not UTF-8 text"))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        assert_eq!(Line::parse("  "), Line::Nothing);
        assert_eq!(Line::parse("hi there"), Line::Message("hi there"));
        assert_eq!(Line::parse(" /help"), Line::Message(" /help"));
        assert_eq!(Line::parse("/help"), Line::Help);
        assert_eq!(
            Line::parse("/save  my chat.json "),
            Line::Save("my chat.json")
        );
        assert_eq!(Line::parse("/save"), Line::Save(""));
        assert_eq!(Line::parse("/quit"), Line::Exit);
        assert_eq!(Line::parse("/reset now"), Line::Unknown("/reset now"));
        assert_eq!(
            Line::parse("/usr/bin is a path"),
            Line::Unknown("/usr/bin is a path")
        );
    }
}
