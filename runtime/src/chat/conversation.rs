//! A conversation with a model: messages, and the cache of the text that they became.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::{ChatTemplate, Message};
use crate::engine::Engine;
use crate::error::ChatError;
use crate::generate::{Finish, GenerateOptions, Generated, generate};
use crate::model::Model;
use crate::sequence::Sequence;

/// Messages so far, and the keys and values of the text that they became.
///
/// Each turn writes the whole conversation by the template and encodes it. What it has in common with the turn before, usually all but the
/// newest message, is in the cache already and not computed again.
pub struct Conversation {
    model: Arc<Model>,
    template: ChatTemplate,
    messages: Vec<Message>,
    /// How many messages a reset leaves: the system's.
    fixed: usize,
    sequence: Sequence,
    /// The tokens of the sequence.
    tokens: Vec<u32>,
}

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub struct Reply {
    /// Text, end and times. The prompt's tokens are those that were not in the cache.
    #[serde(flatten)]
    pub generated: Generated,
    /// Tokens of the conversation that were in the cache.
    pub cached_tokens: usize,
    /// Tokens in the cache now.
    pub context_tokens: usize,
}

impl Conversation {
    /// Begins one, with a system message or without.
    pub fn new(model: Arc<Model>, template: ChatTemplate, system: Option<&str>) -> Conversation {
        let messages: Vec<Message> = system
            .map(|system| Message::new("system", system))
            .into_iter()
            .collect();
        Conversation {
            sequence: model.sequence(),
            model,
            template,
            fixed: messages.len(),
            messages,
            tokens: Vec::new(),
        }
    }

    /// All messages, the system's first.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Forgets all but the system message. What it has in common with what comes stays in the cache.
    pub fn reset(&mut self) {
        self.messages.truncate(self.fixed);
    }

    /// Says something and generates the answer, which ends with the turn, or as `options` say. Both become part of the conversation; if there
    /// is no answer (an error, or cancelled before its first word) neither does.
    ///
    /// # Errors
    ///
    /// [`ChatError`]: the template fails, or the conversation has become too long for the model.
    pub fn say(
        &mut self,
        engine: &mut Engine,
        text: &str,
        options: &GenerateOptions,
        cancel: &AtomicBool,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<Reply, ChatError> {
        self.messages.push(Message::new("user", text));
        let reply = self.answer(engine, options, cancel, on_text);
        match &reply {
            Ok(reply) if !was_cancelled_early(reply) => {
                let answer = reply.generated.text.clone();
                self.messages.push(Message::new("assistant", answer));
            }
            _ => {
                self.messages.pop();
            }
        }
        reply
    }

    fn answer(
        &mut self,
        engine: &mut Engine,
        options: &GenerateOptions,
        cancel: &AtomicBool,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<Reply, ChatError> {
        let ids = self.encode()?;
        let context = self.model.config().context;
        if ids.len() >= context {
            return Err(ChatError::TooLong {
                tokens: ids.len(),
                context,
            });
        }
        // The last token is always computed: its logits are not kept.
        let same = self.tokens.iter().zip(&ids).take_while(|(a, b)| a == b);
        let cached = same.count().min(ids.len() - 1);
        self.sequence.truncate(cached);
        self.tokens.truncate(cached);
        let result = generate(
            engine,
            &mut self.sequence,
            &ids[cached..],
            options,
            cancel,
            on_text,
        );
        let generated = match result {
            Ok(generated) => generated,
            Err(error) => {
                // How far it came is not known.
                self.sequence.truncate(0);
                self.tokens.clear();
                return Err(error.into());
            }
        };
        self.tokens.extend(&ids[cached..]);
        self.tokens.extend(&generated.tokens);
        self.tokens.truncate(self.sequence.len());
        Ok(Reply {
            generated,
            cached_tokens: cached,
            context_tokens: self.tokens.len(),
        })
    }

    /// The whole conversation as ids, up to where the answer begins.
    fn encode(&self) -> Result<Vec<u32>, ChatError> {
        let tokenizer = self.model.tokenizer()?;
        let prompt = self.template.render(tokenizer, &self.messages, true)?;
        let ids = tokenizer.encode_prompt(&prompt)?;
        match ids.is_empty() {
            true => Err(ChatError::Empty),
            false => Ok(ids),
        }
    }
}

fn was_cancelled_early(reply: &Reply) -> bool {
    reply.generated.finish == Finish::Cancelled && reply.generated.text.is_empty()
}
