//! Conversations: messages to a prompt, as the model's template has them, and answers.
//!
//! A [`ChatTemplate`] is a small program in Jinja that comes with the model, so from a stranger. It runs in a sandbox: it sees the messages and
//! nothing else, and what it may compute and write is limited. A [`Conversation`] keeps messages and the cache of the text so far.
//!
//! # Messages are not control
//!
//! A message may spell `<|eot_id|>`, and a template only concatenates. So before it is rendered, a message gets a *break*, a character that
//! Unicode keeps free for internal use, inside of everything in it that could begin a control token. In the rendered text breaks are
//! taken out and their places kept; a control token that would reach over one is text ([`Prompt`]). A message that spells none is given to the
//! template as it is, so what templates do with texts (trim them, look for a tag) works as ever.

mod builtin;
mod conversation;
mod date;
mod source;
mod template;

use serde::{Deserialize, Serialize};

use crate::tokenizer::special::Beginnings;

pub use builtin::BUILTIN_TEMPLATES;
pub use conversation::{Conversation, Reply};
pub(crate) use source::TemplateSource;
pub use template::{ChatTemplate, TemplateError};

/// Stands inside of what could begin a control token. One of 34 code points that are never a character.
const BREAK: char = '\u{fdd0}';

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`; a template may know others.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: &str, content: impl Into<String>) -> Message {
        Message {
            role: role.to_owned(),
            content: content.into(),
        }
    }
}

/// A conversation as a template wrote it, with the places that no control token may reach over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    text: String,
    breaks: Vec<usize>,
}

impl Prompt {
    /// Takes the breaks out of a rendered text.
    fn new(rendered: &str) -> Prompt {
        let mut text = String::with_capacity(rendered.len());
        let mut breaks = Vec::new();
        for (index, piece) in rendered.split(BREAK).enumerate() {
            if index > 0 && breaks.last() != Some(&text.len()) {
                breaks.push(text.len());
            }
            text.push_str(piece);
        }
        Prompt { text, breaks }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Byte offsets in the text, in ascending order.
    pub fn breaks(&self) -> &[usize] {
        &self.breaks
    }
}

/// A message with breaks in what could begin a control token.
fn broken(text: &str, beginnings: &Beginnings) -> String {
    let mut broken = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    while let Some(character) = chars.next() {
        match character {
            // Its place is needed; it is no character that means anything.
            BREAK => broken.push('\u{fffd}'),
            character => broken.push(character),
        }
        if beginnings.begins(character, chars.peek().copied()) {
            broken.push(BREAK);
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_are_taken_out_and_kept() {
        let prompt = Prompt::new("\u{fdd0}a<\u{fdd0}|b\u{fdd0}\u{fdd0}");
        assert_eq!((prompt.text(), prompt.breaks()), ("a<|b", &[0, 2, 4][..]));
        let prompt = Prompt::new("plain");
        assert_eq!((prompt.text(), prompt.breaks()), ("plain", &[][..]));
    }
}
