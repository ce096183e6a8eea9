//! Whether the lists of GGUF metadata and a `tokenizer.json` are the same tokenizer.
//!
//! Both forms are read by what reads them otherwise, and compared on texts made of all tokens: what one of them cannot say is found here,
//! whatever the reason, and not by whoever gets wrong tokens.

use crate::error::{TokenizerError, shorten};
use crate::tokenizer::SPACE;
use crate::tokenizer::kind::{CONTROL, NORMAL, UNUSED, USER_DEFINED};
use crate::tokenizer::{END_OF_TURN, Tokenizer, Vocabulary};

/// Tokens in a row of a text.
const RUN: usize = 16;
/// Texts with what vocabularies often lack.
const TEXTS: [&str; 6] = [
    "",
    "Hello, World!  It's 12345 of 67 (don't DON'T we'll)\r\n\n\tx = f(y) * 2;   ",
    "naïve café Straße 東京タワー 한국어 🙂👩‍👩‍👧‍👦",
    "e\u{301} \u{0}\u{1}\u{7f} \u{3000}\u{a0}x \u{10fffd}",
    "▁a ▁▁ <0x0A>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbb    \n\n\n\n\n",
];

/// Lists with what they mean.
pub(super) struct Lists<'a> {
    pub vocabulary: &'a Vocabulary,
    /// tern's own tokenizer of them.
    pub own: Tokenizer,
    /// A type for each token.
    pub kinds: Vec<i32>,
    /// Each token as `tokenizer.json` has it: added ones as they stand in a text.
    pub spelled: Vec<String>,
    /// Whether they are SentencePiece's.
    pub is_pieces: bool,
}

impl<'a> Lists<'a> {
    /// # Errors
    ///
    /// Why there is no tokenizer of these lists.
    pub fn new(vocabulary: &'a Vocabulary) -> Result<Lists<'a>, String> {
        let own = Tokenizer::from_vocabulary(vocabulary.clone(), "the vocabulary");
        let own = own.map_err(|error| error.to_string())?;
        let is_pieces = vocabulary.model == "llama";
        let types = vocabulary.types.iter().copied();
        let kinds = types.chain(std::iter::repeat(NORMAL));
        let kinds = vocabulary.tokens.iter().zip(kinds);
        let kinds: Vec<i32> = kinds
            .map(|(token, kind)| match END_OF_TURN.contains(&&token[..]) {
                true => CONTROL,
                false => kind,
            })
            .collect();
        let spelled = vocabulary.tokens.iter().zip(&kinds).map(|(token, &kind)| {
            match is_pieces && is_added(kind) {
                true => token.replace(SPACE, " "),
                false => token.clone(),
            }
        });
        let spelled = spelled.collect();
        Ok(Lists {
            vocabulary,
            own,
            kinds,
            spelled,
            is_pieces,
        })
    }

    /// Ids and types of all tokens but padding.
    pub fn used(&self) -> impl Iterator<Item = (u32, i32)> {
        let kinds = (0..).zip(self.kinds.iter().copied());
        kinds.filter(|&(_, kind)| kind != UNUSED)
    }

    /// Whether texts begin with a space that is not theirs.
    pub fn has_prefix(&self) -> bool {
        self.is_pieces && self.vocabulary.add_space_prefix.unwrap_or(true)
    }

    /// Compares with the tokenizer of a `tokenizer.json`; returns notes on what differs in rare texts.
    ///
    /// # Errors
    ///
    /// The first token that has another id, or text that has others.
    pub fn compare(&self, other: &Tokenizer) -> Result<Vec<String>, String> {
        for (id, _) in self.used() {
            let token = &self.spelled[id as usize];
            if other.id(token) != Some(id) {
                return Err(format!(
                    "the token {} would not have the id {id}",
                    shorten(format!("{token:?}"))
                ));
            }
        }
        let pair = Pair([&self.own, other]);
        let has_prefix = self.has_prefix();
        let is_control = |&(_, kind): &(u32, i32)| kind == CONTROL;
        let is_user_defined = |&(_, kind): &(u32, i32)| kind == USER_DEFINED;
        let is_apart = |token: &(u32, i32)| has_prefix && is_user_defined(token);
        let ordinary = self.used().filter(|token| !is_apart(token));
        let ordinary: Vec<u32> = ordinary.map(|(id, _)| id).collect();
        pair.ordinary(&ordinary)?;
        pair.control_is_text(self.texts(is_control))?;
        let mut notes = Vec::new();
        if let Some(token) = self.texts(is_apart).next() {
            notes.push(format!(
                "tokenizer.json puts a space token behind user-defined tokens, such as {}, where llama.cpp puts none",
                shorten(format!("{token:?}"))
            ));
        }
        let beside =
            |token: &(u32, i32)| is_control(token) || (is_user_defined(token) && !has_prefix);
        if self.vocabulary.remove_extra_whitespaces == Some(true) {
            notes.push(
                "tokenizer.json removes extra spaces on both sides of a control token, where llama.cpp looks at the whole text".to_owned(),
            );
        } else if let Err(reason) = pair.added(self.texts(beside)) {
            notes.push(format!(
                "beside added tokens a tokenizer.json and llama.cpp's lists do not agree: {reason}"
            ));
        }
        if let Err(reason) = pair.around() {
            notes.push(format!(
                "tokenizer.json puts other tokens around texts than a begin-of-text token, which the lists cannot say: {reason}"
            ));
        }
        Ok(notes)
    }

    /// Some of the tokens as they stand in a text.
    fn texts(&self, wanted: impl Fn(&(u32, i32)) -> bool) -> impl Iterator<Item = &str> {
        let tokens = self.used().filter(wanted);
        let texts = tokens.map(|(id, _)| &self.spelled[id as usize][..]);
        texts.filter(|text| !text.is_empty())
    }
}

/// Whether tokens of a type are found in a text as they are spelled.
pub(super) fn is_added(kind: i32) -> bool {
    matches!(kind, CONTROL | USER_DEFINED)
}

/// The tokenizer of the lists, and the other.
struct Pair<'a>([&'a Tokenizer; 2]);

impl Pair<'_> {
    /// Texts made of these tokens, one by one and in runs, and some others. None of the tokens is a control token.
    fn ordinary(&self, tokens: &[u32]) -> Result<(), String> {
        for length in [1, RUN] {
            for run in tokens.chunks(length) {
                self.compare(&self.text(run)?)?;
            }
        }
        // The same tokens with others beside them.
        for stride in [7, 31] {
            let strided =
                (0..stride).flat_map(|first| tokens.iter().skip(first).step_by(stride).copied());
            for run in strided.collect::<Vec<u32>>().chunks(RUN) {
                self.compare(&self.text(run)?)?;
            }
        }
        TEXTS.iter().try_for_each(|text| self.compare(text))
    }

    /// Texts with these added tokens in them, by their spelling.
    fn added<'t>(&self, mut tokens: impl Iterator<Item = &'t str>) -> Result<(), String> {
        tokens
            .try_for_each(|token| self.compare(&format!("x {token}a b{token} c d{token}{token}e")))
    }

    /// That what a user writes does not become one of these control tokens.
    fn control_is_text<'t>(&self, mut tokens: impl Iterator<Item = &'t str>) -> Result<(), String> {
        tokens.try_for_each(|token| same(token, self.0.map(|one| one.encode_plain(token))))
    }

    /// What is put around a text.
    fn around(&self) -> Result<(), String> {
        same("a b", self.0.map(|one| one.encode("a b", true)))
    }

    fn text(&self, tokens: &[u32]) -> Result<String, String> {
        let text = self.0[0].decode(tokens, true);
        text.map_err(|error| error.to_string())
    }

    fn compare(&self, text: &str) -> Result<(), String> {
        same(text, self.0.map(|one| one.encode(text, false)))
    }
}

fn same(text: &str, ids: [Result<Vec<u32>, TokenizerError>; 2]) -> Result<(), String> {
    let read = |ids: Result<_, TokenizerError>| ids.map_err(|error| error.to_string());
    let [of_lists, other] = ids;
    let (of_lists, other) = (read(of_lists)?, read(other)?);
    match of_lists == other {
        true => Ok(()),
        false => Err(format!(
            "the text {} has the tokens {} by the lists and {} by tokenizer.json",
            shorten(format!("{text:?}")),
            shorten(format!("{of_lists:?}")),
            shorten(format!("{other:?}"))
        )),
    }
}
