//! What is timed: a prompt, a text, or both, after some tokens that are in the cache already.

use std::str::FromStr;

/// A test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// Tokens that are read at once.
    pub prompt: usize,
    /// Tokens that are written one by one.
    pub text: usize,
    /// Tokens before, which are not timed.
    pub depth: usize,
}

impl Test {
    /// Tokens that are timed.
    pub fn tokens(&self) -> usize {
        self.prompt + self.text
    }

    /// Its name in llama-bench's words.
    pub fn name(&self) -> String {
        let what = match (self.prompt, self.text) {
            (prompt, 0) => format!("pp{prompt}"),
            (0, text) => format!("tg{text}"),
            (prompt, text) => format!("pp{prompt}+tg{text}"),
        };
        match self.depth {
            0 => what,
            depth => format!("{what} @ d{depth}"),
        }
    }
}

/// `--pg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PromptAndText {
    pub prompt: usize,
    pub text: usize,
}

impl FromStr for PromptAndText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
        match parts.as_deref() {
            // Numbers that a context may have: sums of them do not overflow.
            Some(&[prompt, text]) if prompt.max(text) <= u32::MAX as usize => {
                Ok(PromptAndText { prompt, text })
            }
            _ => Err(format!(
                "`{text}` is not two numbers of tokens; expected for example 512,128"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_llama_bench() {
        let name = |prompt, text, depth| {
            Test {
                prompt,
                text,
                depth,
            }
            .name()
        };
        assert_eq!(name(512, 0, 0), "pp512");
        assert_eq!(name(0, 128, 0), "tg128");
        assert_eq!(name(512, 128, 0), "pp512+tg128");
        assert_eq!(name(0, 128, 1024), "tg128 @ d1024");
    }

    #[test]
    fn pairs_are_two_numbers() {
        assert_eq!(
            "512,128".parse(),
            Ok(PromptAndText {
                prompt: 512,
                text: 128
            })
        );
        for bad in ["512", "512,", "1,2,3", "a,b", "-1,2", ""] {
            let error = bad.parse::<PromptAndText>().unwrap_err();
            assert!(error.contains("512,128"), "{error}");
        }
    }
}
