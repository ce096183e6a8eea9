//! Tokens that are found in a text as they are spelled, before anything else looks at it.
//!
//! Two kinds: *control* tokens (begin of text, end of turn) steer the model and must never come out of what a user types; *user-defined*
//! ones are ordinary words that were added to the vocabulary later.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

/// Most tokens of this kind in one vocabulary. The largest published ones have about 7000.
const MAX_TOKENS: usize = 1 << 16;
/// Most bytes of all of them together.
const MAX_BYTES: usize = 1 << 20;

/// Finds special tokens.
pub(super) struct SpecialTokens {
    /// Both kinds; the index of a pattern is that of its token.
    both: AhoCorasick,
    user_defined: AhoCorasick,
    tokens: Vec<(String, u32)>,
    user_ids: Vec<u32>,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// What is between special tokens.
    Text(&'t str),
    /// One of them.
    Token(u32),
}

impl SpecialTokens {
    /// Of the control tokens and the user-defined ones. Empty spellings are left out.
    ///
    /// # Errors
    ///
    /// Why so many are refused.
    pub fn new(
        control: Vec<(String, u32)>,
        user_defined: Vec<(String, u32)>,
    ) -> Result<SpecialTokens, String> {
        let spelled = |tokens: Vec<(String, u32)>| {
            let tokens = tokens.into_iter().filter(|(text, _)| !text.is_empty());
            tokens.collect::<Vec<_>>()
        };
        let (control, user_defined) = (spelled(control), spelled(user_defined));
        let count = control.len() + user_defined.len();
        let texts = control.iter().chain(&user_defined).map(|(text, _)| text);
        let bytes: usize = texts.map(String::len).sum();
        if count > MAX_TOKENS || bytes > MAX_BYTES {
            return Err(format!(
                "it has {count} control and user-defined tokens of {bytes} bytes together; at most {MAX_TOKENS} of {MAX_BYTES} bytes are \
                 accepted, which is far more than any real one has"
            ));
        }
        let user_texts = user_defined.iter().map(|(text, _)| text.as_bytes());
        let user_automaton = automaton(user_texts)?;
        let user_ids = user_defined.iter().map(|&(_, id)| id).collect();
        let mut tokens = control;
        tokens.extend(user_defined);
        let both = automaton(tokens.iter().map(|(text, _)| text.as_bytes()))?;
        Ok(SpecialTokens {
            both,
            user_defined: user_automaton,
            tokens,
            user_ids,
        })
    }

    /// The user-defined tokens in a text from left to right, each with its place. Of several at one place the longest counts.
    pub fn user_defined<'t>(
        &'t self,
        text: &'t str,
    ) -> impl Iterator<Item = (std::ops::Range<usize>, u32)> + 't {
        let found = self.user_defined.find_iter(text);
        found.map(|found| (found.range(), self.user_ids[found.pattern().as_usize()]))
    }

    /// Cuts `text` at its special tokens: with `control`, at both kinds, else at the user-defined ones only. A token that reaches over one of
    /// `breaks`, byte offsets in ascending order, is not one. Of several at one place the longest counts.
    pub fn split<'t>(
        &self,
        text: &'t str,
        control: bool,
        breaks: &[usize],
        part: &mut dyn FnMut(Part<'t>),
    ) {
        let (automaton, user_ids) = match control {
            true => (&self.both, None),
            false => (&self.user_defined, Some(&self.user_ids)),
        };
        let (mut begin, mut from) = (0, 0);
        while let Some(found) = automaton.find(Input::new(text).span(from..text.len())) {
            let next_break = breaks.partition_point(|&at| at <= found.start());
            if breaks.get(next_break).is_some_and(|&at| at < found.end()) {
                let first = text[found.start()..].chars().next();
                from = found.start() + first.map_or(1, char::len_utf8);
                continue;
            }
            if found.start() > begin {
                part(Part::Text(&text[begin..found.start()]));
            }
            let index = found.pattern().as_usize();
            part(Part::Token(
                user_ids.map_or_else(|| self.tokens[index].1, |ids| ids[index]),
            ));
            (begin, from) = (found.end(), found.end());
        }
        if begin < text.len() {
            part(Part::Text(&text[begin..]));
        }
    }
}

fn automaton<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Result<AhoCorasick, String> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(texts)
        .map_err(|error| error.to_string())
}

/// Where control tokens could begin in a text: what the user's own text must be broken at.
pub(crate) struct Beginnings(Vec<(char, Option<char>)>);

impl Beginnings {
    /// Of these tokens.
    pub fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Beginnings {
        let begin = |token: &'a str| {
            let mut chars = token.chars();
            chars.next().map(|first| (first, chars.next()))
        };
        let mut all: Vec<_> = tokens.filter_map(begin).collect();
        all.sort_unstable();
        all.dedup();
        Beginnings(all)
    }

    /// Whether a token could begin with `first`, if `next` or the end of the text follows. A `first` that is followed by another one counts,
    /// for a template might cut what is between.
    pub fn begins(&self, first: char, next: Option<char>) -> bool {
        let mut of_first = self.0.iter().filter(|&&(begin, _)| begin == first);
        let Some(next) = next else {
            return of_first.next().is_some();
        };
        let is_first = self.0.iter().any(|&(begin, _)| begin == next);
        of_first.any(|&(_, second)| second.is_none_or(|second| second == next) || is_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> SpecialTokens {
        let token = |text: &str, id| (text.to_owned(), id);
        SpecialTokens::new(
            vec![token("<|a|>", 1), token("<|a|><|b|>", 2), token("", 3)],
            vec![token("<think>", 4)],
        )
        .unwrap()
    }

    fn split<'t>(text: &'t str, control: bool, breaks: &[usize]) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        tokens().split(text, control, breaks, &mut |part| parts.push(part));
        parts
    }

    use Part::{Text, Token};

    #[test]
    fn the_leftmost_longest_counts() {
        assert_eq!(
            split("x<|a|><|b|><|a|>y<think>", true, &[]),
            [Text("x"), Token(2), Token(1), Text("y"), Token(4)]
        );
        assert_eq!(split("", true, &[]), []);
    }

    #[test]
    fn without_control_they_are_text() {
        assert_eq!(split("<|a|><think>", false, &[]), [Text("<|a|>"), Token(4)]);
    }

    #[test]
    fn none_reaches_over_a_break() {
        assert_eq!(split("<|a|><|a|>", true, &[1]), [Text("<|a|>"), Token(1)]);
        assert_eq!(split("<|a|>", true, &[0, 5]), [Token(1)]);
        assert_eq!(
            split("<|a|><|b|>", true, &[6]),
            [Text("<|a|><|b|>")],
            "the longest is broken, and what is left of it is not tried: it stays text"
        );
    }

    #[test]
    fn a_hostile_number_is_refused() {
        let many = (0..70_000).map(|id| (format!("<{id}>"), id)).collect();
        assert!(SpecialTokens::new(many, vec![]).is_err_and(|reason| reason.contains("70000")));
    }

    #[test]
    fn beginnings_are_known_by_two_characters() {
        let begin = Beginnings::new(["<|a|>", "</s>", "[PAD]"].into_iter());
        assert!(begin.begins('<', Some('|')) && begin.begins('<', Some('/')));
        assert!(
            begin.begins('<', None) && begin.begins('<', Some('<')) && begin.begins('[', Some('P'))
        );
        assert!(!begin.begins('<', Some('t')) && !begin.begins('|', Some('<')));
    }
}
