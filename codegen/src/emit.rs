//! Tokens to readable Rust text: formatting, comments, file headers, fingerprints.

use proc_macro2::TokenStream;

use crate::spec::Error;

/// Formats tokens as a Rust file; `what` names them if they do not parse.
///
/// # Errors
///
/// The tokens are not Rust items: a mistake in a skeleton.
pub fn format(what: &str, tokens: TokenStream) -> Result<String, Error> {
    let error = |e: syn::Error| Error::Emit {
        what: what.to_owned(),
        reason: e.to_string(),
    };
    let file: syn::File = syn::parse2(tokens).map_err(error)?;
    Ok(comments(&prettyplease::unparse(&file)))
}

/// Turns the marker `comment!("text");` into the line `// text`: `quote` has no comments, and the printer would drop them.
fn comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let inner = line.trim_start();
        let indent = &line[..line.len() - inner.len()];
        let words = match inner {
            // The printer breaks long markers over three lines.
            "comment!(" => {
                let words = lines.next().map(str::trim);
                lines.next();
                words
            }
            _ => inner
                .strip_prefix("comment!(")
                .and_then(|rest| rest.strip_suffix(");")),
        };
        match words {
            Some(words) => {
                for words in wrap(words.trim_matches('"'), 100 - indent.len() - 3) {
                    out.push_str(&format!("{indent}// {words}\n"));
                }
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// Breaks a sentence into lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("starts with one line");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// 64 bits of FNV-1a over the parts, as 16 hex digits. It tells versions of a kernel apart; it is no protection against malice.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_markers_become_comments() {
        let text = comments("fn f() {\n    comment!(\"Why.\");\n}\n");
        assert_eq!(text, "fn f() {\n    // Why.\n}\n");
        let text = comments("    comment!(\n        \"Long.\"\n    );\n}\n");
        assert_eq!(text, "    // Long.\n}\n");
    }

    #[test]
    fn fingerprints_depend_on_every_part() {
        assert_ne!(fingerprint(&["a", "bc"]), fingerprint(&["ab", "c"]));
        assert_eq!(fingerprint(&[]), "cbf29ce484222325");
    }
}
