//! A template and the sandbox that it runs in.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};
use serde::Serialize as _;

use super::prepare::{HELD, held, prepare};
use super::{Message, Prompt, broken, builtin, date};
use crate::error::shorten;
use crate::tokenizer::Tokenizer;

/// Longest template. The longest published ones have 20 KB.
const MAX_TEMPLATE: usize = 1 << 20;
/// Longest conversation, in bytes of all messages: far beyond any context.
const MAX_MESSAGES: usize = 64 << 20;
/// What a template may do, apart from what long messages need: instructions, or 64 times as many bytes written.
const FUEL: u64 = 1 << 20;
/// More of it for each byte of messages, which a template may pass through some filters.
const FUEL_A_BYTE: u64 = 1;
/// Longest JSON that `tojson` writes.
const MAX_JSON: usize = 16 << 20;
/// The stack that a template is compiled and runs on. A megabyte of `1 + 1 + 1` is an expression of some hundred thousand levels, which
/// are compiled and taken apart one in another. What is not used is not taken from the system.
const STACK: usize = 256 << 20;
/// Most words that are named as no control tokens.
const MAX_NAMED: usize = 8;
/// The longest word that looks like a control token, in bytes.
const MAX_CONTROL: usize = 64;
/// What errors and the environment call the template.
const NAME: &str = "chat template";

/// Why a template could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The model has none.
    #[error(
        "{model}: the model has no chat template, so it was probably not trained to chat; if it was, name a template with --template: a file \
         in Jinja, or one of {}", super::BUILTIN_TEMPLATES.join(", ")
    )]
    Absent {
        /// The model's name.
        model: String,
    },
    /// The template is wrong, or does something that is not supported.
    #[error("{file}: the chat template failed{place}: {reason}; name another one with --template")]
    Failed {
        /// The file that it comes from.
        file: String,
        /// Line and what stands there.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// The template refuses this conversation.
    #[error("{file}: the model's chat template refuses this conversation: {reason}")]
    Refused {
        /// The file that it comes from.
        file: String,
        /// The template's own words.
        reason: String,
    },
    /// The messages are longer than any model could read.
    #[error("the messages have {bytes} bytes; at most {MAX_MESSAGES} are accepted")]
    TooLong {
        /// Their bytes.
        bytes: usize,
    },
    /// The file with the template cannot be understood.
    #[error("{file}: {reason}")]
    Source {
        /// The file.
        file: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
}

/// The parts of a text that are spelled as control tokens are by custom: `<|`, no space, `|>`.
fn control_like(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("<|").filter_map(|(start, _)| {
        let rest = &text[start..];
        let end = 2 + rest[2..].find("|>")? + 2;
        let inner = &rest[2..end - 2];
        let is_word = !inner.is_empty()
            && inner.len() <= MAX_CONTROL
            && !inner.contains(|c: char| c.is_whitespace() || c.is_control() || c == '<');
        is_word.then_some(&rest[..end])
    })
}

/// A line of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(Option<(usize, String)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((line, text)) => write!(f, " in line {line}, `{text}`"),
            None => Ok(()),
        }
    }
}

/// A model's template, ready to render.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    file: String,
    /// The tokens that a template calls `bos_token` and `eos_token`, where a file names them.
    tokens: [Option<String>; 2],
    notes: Vec<String>,
}

impl ChatTemplate {
    /// Compiles a template. `file` is the name used in messages.
    ///
    /// A template that is known to be wrong is replaced by the right one, with a note.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Failed`] with the line.
    pub fn parse(source: &str, file: &str) -> Result<ChatTemplate, TemplateError> {
        let Some((name, right)) = builtin::corrected(source) else {
            return ChatTemplate::compile(source, file);
        };
        let mut template = ChatTemplate::compile(right, file)?;
        template.notes.push(format!(
            "{file}: the chat template in it is known to be wrong (its answers do not end); the built-in `{name}` is used"
        ));
        Ok(template)
    }

    /// The built-in template `name`, one of [`BUILTIN_TEMPLATES`](super::BUILTIN_TEMPLATES).
    pub fn builtin(name: &str) -> Option<ChatTemplate> {
        let source = builtin::named(name)?;
        ChatTemplate::compile(source, &format!("built-in template {name}")).ok()
    }

    fn compile(source: &str, file: &str) -> Result<ChatTemplate, TemplateError> {
        let failed = |reason: String| TemplateError::Failed {
            file: file.to_owned(),
            place: Place::default(),
            reason,
        };
        if source.len() > MAX_TEMPLATE {
            return Err(failed(format!(
                "it has {} bytes; at most {MAX_TEMPLATE} are accepted",
                source.len()
            )));
        }
        let mut template = ChatTemplate {
            environment: environment(),
            source: source.to_owned(),
            file: file.to_owned(),
            tokens: [None, None],
            notes: Vec::new(),
        };
        let environment = &mut template.environment;
        let compiled = with_stack(|| {
            let prepared = prepare(source, environment.syntax().clone())?;
            environment.add_template_owned(NAME, prepared)
        });
        let result = compiled.map_err(failed)?;
        match result {
            Ok(()) => Ok(template),
            Err(error) => Err(template.error(&error)),
        }
    }

    /// Names the tokens that the template calls `bos_token` and `eos_token`. Without, they are the tokenizer's, where it names them.
    #[must_use]
    pub fn with_tokens(mut self, bos: Option<&str>, eos: Option<&str>) -> ChatTemplate {
        self.tokens = [bos, eos].map(|token| token.map(str::to_owned));
        self
    }

    /// What a person should know about the choice of the template.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The file that it comes from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Writes a conversation as the template has it, and with `answer` what comes before the next answer.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] with the line of the template, or the template's own words.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        answer: bool,
    ) -> Result<Prompt, TemplateError> {
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        if bytes > MAX_MESSAGES {
            return Err(TemplateError::TooLong { bytes });
        }
        let beginnings = tokenizer.beginnings();
        let value = |message: &Message| {
            let role = broken(&message.role, &beginnings);
            let content = broken(&message.content, &beginnings);
            Value::from_pairs([("role", role), ("content", content)])
        };
        let messages: Vec<Value> = messages.iter().map(value).collect();
        let [bos, eos] = tokenizer.ends_of_text();
        let [own_bos, own_eos] = self.tokens.clone();
        let context = minijinja::context! {
            messages => messages,
            add_generation_prompt => answer,
            bos_token => own_bos.or(bos).unwrap_or_default(),
            eos_token => own_eos.or(eos).unwrap_or_default(),
            tools => (),
            documents => (),
        };
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_A_BYTE * bytes as u64));
        let copies = AtomicUsize::new(0);
        environment.add_filter(HELD, move |value: &Value| held(value, &copies));
        // Errors may hold values: they too are taken apart where there is room.
        let rendered = with_stack(|| {
            let template = environment.get_template(NAME);
            let rendered = template.and_then(|template| template.render(context));
            rendered.map_err(|error| self.error(&error))
        });
        let rendered = rendered.map_err(|reason| TemplateError::Failed {
            file: self.file.clone(),
            place: Place::default(),
            reason,
        })?;
        Ok(Prompt::new(&rendered?))
    }

    /// What the template writes that looks like a control token (`<|…|>`) and is none of this tokenizer, each once, in the order of a short
    /// conversation; nothing where the template refuses that.
    pub fn plain_control(&self, tokenizer: &Tokenizer) -> Vec<String> {
        let messages = [
            Message::new("user", "1"),
            Message::new("assistant", "2"),
            Message::new("user", "3"),
        ];
        let Ok(prompt) = self.render(tokenizer, &messages, true) else {
            return Vec::new();
        };
        let mut plain: Vec<String> = Vec::new();
        for token in control_like(prompt.text()) {
            let is_known = plain.len() == MAX_NAMED || plain.iter().any(|plain| plain == token);
            if !is_known && !tokenizer.is_control(token) {
                plain.push(token.to_owned());
            }
        }
        plain
    }

    /// An error of the engine with the line that it is about.
    fn error(&self, error: &Error) -> TemplateError {
        let mut causes =
            std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| {
                error.source()
            });
        if let Some(raised) = causes.find_map(|cause| cause.downcast_ref::<Raised>()) {
            return TemplateError::Refused {
                file: self.file.clone(),
                reason: shorten(&raised.0),
            };
        }
        let line = error.line().and_then(|line| {
            let text = self.source.lines().nth(line.checked_sub(1)?)?;
            Some((line, shorten(text.trim())))
        });
        let reason = match (error.kind(), error.detail()) {
            (ErrorKind::OutOfFuel, _) => {
                "it computes more than any real template does, and was stopped".to_owned()
            }
            (kind, Some(detail)) => format!("{kind} ({})", shorten(detail)),
            (kind, None) => kind.to_string(),
        };
        TemplateError::Failed {
            file: self.file.clone(),
            place: Place(line),
            reason,
        }
    }
}

/// The words of a template that refuses.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// What transformers gives its templates: blocks that leave no empty lines, Python's methods, and three functions.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(method);
    // Like the method of this name, minijinja 3.1.0 cuts texts in the middle of characters beyond ASCII, and panics. No model's template uses it.
    environment.remove_filter("format");
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            let error = Error::new(ErrorKind::InvalidOperation, message.clone());
            Err(error.with_source(Raised(message)))
        },
    );
    environment.add_function("strftime_now", |format: String| date::now(&format));
    environment.add_filter("tojson", to_json);
    environment
}

/// Python's methods, but for `str.format`: see [`environment`].
fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if name == "format" {
        let detail = "str.format is not supported: join texts with ~";
        return Err(Error::new(ErrorKind::UnknownMethod, detail));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}

/// JSON as Python writes it, and not made safe for HTML as Jinja's own filter does.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Python's other options change nothing that templates use them for.
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let mut out = Limited(Vec::new());
    let failed = |error| Error::new(ErrorKind::BadSerialization, "tojson").with_source(error);
    match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            value.serialize(&mut serializer).map_err(failed)?;
        }
        None => {
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, Python);
            value.serialize(&mut serializer).map_err(failed)?;
        }
    }
    let text = String::from_utf8(out.0);
    text.map_err(|_| Error::new(ErrorKind::BadSerialization, "tojson"))
}

/// A space behind commas and colons.
struct Python;

impl serde_json::ser::Formatter for Python {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// Takes no more than [`MAX_JSON`] bytes: lists that share their parts are short in memory and endless in JSON.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_JSON {
            return Err(io::Error::other("longer than any real template needs"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `f` where deep values have room.
///
/// # Errors
///
/// There is no thread to be had, or `f` panicked.
fn with_stack<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK);
        let thread = builder
            .spawn_scoped(scope, f)
            .map_err(|error| format!("cannot start a thread for it ({error})"))?;
        thread
            .join()
            .map_err(|_| "the template engine failed".to_owned())
    })
}
