//! Cutting a text into words before byte pairs are merged: no token crosses a cut.
//!
//! Which cuts a model was trained with is a regular expression. Files of Hugging Face carry it, GGUF files only name it
//! (`tokenizer.ggml.pre`), and the wrong one gives fluent but wrong tokens: so a name that is not known is refused.
//!
//! The published expressions end in `\s+(?!\S)|\s+`: of white space before a word the last character belongs to the word. A backtracking
//! engine needs memory for every space of a long run for that. Here the expression ends in `\s+`, in an engine that takes linear time
//! whatever the text, and the last character is given back afterwards, which is the same.

use std::sync::OnceLock;

use regex::{Match, Regex};

/// A known way to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// Llama 3, Falcon 3, Falcon-E: up to three digits together.
    Llama3,
    /// Qwen 2 and 3: each digit alone.
    Qwen2,
    /// Qwen 3.5: as Qwen 2, but marks belong to their letters.
    Qwen35,
    /// GPT-2 and its heirs.
    Gpt2,
    /// llama.cpp's fallback: punctuation first, then as GPT-2, then digits by three.
    Default,
}

/// What a name of `tokenizer.ggml.pre` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pre {
    pub split: Split,
    /// Whether a word that is a token is taken as it is, without merging.
    pub ignore_merges: bool,
    /// Whether texts begin with the begin-of-text token where the file does not say.
    pub add_bos: bool,
}

/// Names that are known, for messages.
pub(super) const KNOWN: &str = "llama-bpe, llama3, llama-v3, falcon3, falcon_e, falcon-h1, pixtral, lfm2, dbrx, smaug-bpe, qwen2, \
     deepseek-r1-qwen, stablelm2, qwen35, gpt-2, phi-2, mpt, olmo, jais, default";

impl Pre {
    /// The meaning of a name.
    pub fn named(name: &str) -> Option<Pre> {
        let (split, is_llama) = match name {
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon_e" | "falcon-h1"
            | "pixtral" | "lfm2" => (Split::Llama3, true),
            "dbrx" | "smaug-bpe" => (Split::Llama3, false),
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" => (Split::Qwen2, false),
            "qwen35" => (Split::Qwen35, false),
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" => (Split::Gpt2, false),
            "default" => (Split::Default, false),
            _ => return None,
        };
        Some(Pre {
            split,
            ignore_merges: is_llama,
            add_bos: is_llama,
        })
    }
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const NUMBER: &str = r"\p{N}+";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";

impl Split {
    /// The expression with the lookahead that tern does without; `None` where several are applied one after the other.
    pub fn huggingface(self) -> Option<String> {
        let pattern = match self {
            Split::Llama3 => LLAMA3,
            Split::Qwen2 => QWEN2,
            Split::Qwen35 => QWEN35,
            Split::Gpt2 => GPT2,
            Split::Default => return None,
        };
        let words = pattern.strip_suffix(r"|\s+")?;
        Some(format!(r"{words}|\s+(?!\S)|\s+"))
    }

    /// The name for `tokenizer.ggml.pre` of the way that cuts by this expression, whole, as Hugging Face's tokenizers spell it, and merges words
    /// that are tokens or does not.
    pub fn name(pattern: &str, ignore_merges: bool) -> Option<&'static str> {
        let names = ["llama-bpe", "dbrx", "qwen2", "qwen35", "gpt-2"];
        names.into_iter().find(|name| {
            Pre::named(name).is_some_and(|pre| {
                let own = pre.split.huggingface();
                own.as_deref() == Some(pattern) && pre.ignore_merges == ignore_merges
            })
        })
    }

    /// The expressions, applied one after the other: each cuts the pieces of those before.
    fn patterns(self) -> &'static [Pattern] {
        static ALL: OnceLock<[Vec<Pattern>; 5]> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            let words = |expression| vec![Pattern::new(expression, true)];
            let plain = |expression| Pattern::new(expression, false);
            [
                words(LLAMA3),
                words(QWEN2),
                words(QWEN35),
                words(GPT2),
                vec![
                    plain(PUNCTUATION),
                    Pattern::new(GPT2, true),
                    plain(NUMBER),
                    plain(THREE_DIGITS),
                ],
            ]
        });
        &all[self as usize]
    }

    /// Whether a match that ends in a line break is of a rule of its own, and keeps its last character.
    fn keeps_line_breaks(self) -> bool {
        matches!(self, Split::Llama3 | Split::Qwen2 | Split::Qwen35)
    }

    /// Calls `word` with each piece of `text`, in order; together they are the text.
    pub fn split<'t>(self, text: &'t str, word: &mut dyn FnMut(&'t str)) {
        self.split_by(self.patterns(), text, word);
    }

    fn split_by<'t>(self, patterns: &[Pattern], text: &'t str, word: &mut dyn FnMut(&'t str)) {
        let Some((pattern, rest)) = patterns.split_first() else {
            word(text);
            return;
        };
        let mut at = 0;
        while at < text.len() {
            let Some(found) = pattern.regex.find_at(text, at) else {
                break;
            };
            let end = match pattern.gives_back {
                true => self.end_of_word(text, &found),
                false => found.end(),
            };
            if found.start() > at {
                self.split_by(rest, &text[at..found.start()], word);
            }
            self.split_by(rest, &text[found.start()..end], word);
            at = end;
        }
        if at < text.len() {
            self.split_by(rest, &text[at..], word);
        }
    }

    /// Where a match ends once white space has given its last character back to the word behind it.
    fn end_of_word(self, text: &str, found: &Match<'_>) -> usize {
        let end = found.end();
        let is_space = found.as_str().chars().all(char::is_whitespace);
        let last = found.as_str().chars().next_back();
        let is_last_of_text = end == text.len();
        match last {
            Some(last) if is_space && !is_last_of_text => {
                let is_line = self.keeps_line_breaks() && matches!(last, '\r' | '\n');
                let shorter = end - last.len_utf8();
                if is_line || shorter == found.start() {
                    end
                } else {
                    shorter
                }
            }
            _ => end,
        }
    }
}

struct Pattern {
    regex: Regex,
    /// Whether its last rule is `\s+` in place of `\s+(?!\S)|\s+`.
    gives_back: bool,
}

impl Pattern {
    fn new(expression: &str, gives_back: bool) -> Pattern {
        Pattern {
            regex: Regex::new(expression)
                .expect("the expressions above are sound, which a test shows"),
            gives_back,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(split: Split, text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        split.split(text, &mut |word| words.push(word));
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn llama3_takes_three_digits_and_a_character_before_a_word() {
        assert_eq!(
            words(Split::Llama3, "It'S 12345 (ok)\r\n\n  x"),
            [
                "It", "'S", " ", "123", "45", " (", "ok", ")\r\n\n", " ", " x"
            ]
        );
        assert_eq!(
            words(Split::Llama3, "a   \n  b  "),
            ["a", "   \n", " ", " b", "  "]
        );
        assert_eq!(words(Split::Llama3, " 1  2"), [" ", "1", " ", " ", "2"]);
    }

    #[test]
    fn qwen_takes_single_digits_and_its_heir_marks_with_letters() {
        assert_eq!(words(Split::Qwen2, "x42!"), ["x", "4", "2", "!"]);
        assert_eq!(words(Split::Qwen2, "e\u{301}a"), ["e", "\u{301}a"]);
        assert_eq!(words(Split::Qwen35, "e\u{301}a"), ["e\u{301}a"]);
    }

    #[test]
    fn gpt2_gives_back_line_breaks_too() {
        assert_eq!(
            words(Split::Gpt2, "He's 12345\n\n x\n\ny"),
            ["He", "'s", " 12345", "\n\n", " x", "\n", "\n", "y"]
        );
    }

    #[test]
    fn the_fallback_cuts_punctuation_first_and_digits_by_three() {
        assert_eq!(
            words(Split::Default, "f(n): 12345 =>"),
            ["f", "(", "n", "):", " ", "123", "45", " ", "=>"]
        );
    }

    #[test]
    fn an_expression_has_a_name_only_as_a_whole() {
        let pattern = |split: Split| split.huggingface().unwrap();
        for (split, ignore_merges, name) in [
            (Split::Llama3, true, Some("llama-bpe")),
            (Split::Llama3, false, Some("dbrx")),
            (Split::Qwen2, false, Some("qwen2")),
            (Split::Qwen2, true, None),
            (Split::Qwen35, false, Some("qwen35")),
            (Split::Gpt2, false, Some("gpt-2")),
        ] {
            assert_eq!(Split::name(&pattern(split), ignore_merges), name);
        }
        assert_eq!(Split::name(r"\p{N}{1,3}", false), None);
        let longer = format!("{}|x", pattern(Split::Llama3));
        assert_eq!(Split::name(&longer, true), None);
    }

    #[test]
    fn every_known_name_has_a_meaning_and_others_have_none() {
        assert!(KNOWN.split(", ").all(|name| Pre::named(name).is_some()));
        assert_eq!(Pre::named("gpt-4o"), None);
        assert!(Pre::named("falcon_e").is_some_and(|pre| pre.ignore_merges && pre.add_bos));
        assert!(Pre::named("qwen2").is_some_and(|pre| !pre.ignore_merges && !pre.add_bos));
    }

    /// A backtracking engine would need memory for each space.
    #[test]
    fn long_runs_are_cut_in_linear_time() {
        let text = format!("{}x", " ".repeat(3_000_000));
        assert_eq!(words(Split::Llama3, &text).len(), 2);
    }
}
