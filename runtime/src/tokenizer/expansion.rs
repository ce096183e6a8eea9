//! How much longer a `tokenizer.json` can make a text.
//!
//! A normalizer or decoder may replace each "a" by a thousand of them, and the next one again: a few
//! lines of JSON that fill any memory as soon as a text is read. So the steps are weighed before the
//! file is used. The bound is on the safe side; real tokenizers, which mark spaces, need less than 16.

use serde::Deserialize;
use serde_json::Value;

use crate::error::shorten;

/// Largest growth accepted, in bytes for each byte.
const LIMIT: u64 = 64;

/// Refuses a `tokenizer.json` whose normalizer or decoder can make a text much longer.
pub(crate) fn check(json: &[u8]) -> Result<(), String> {
    /// Only what is weighed; the vocabulary is large and not kept.
    #[derive(Deserialize)]
    struct Steps {
        normalizer: Option<Value>,
        decoder: Option<Value>,
    }
    let steps: Steps = serde_json::from_slice(json).map_err(shorten)?;
    for (key, step) in [("normalizer", steps.normalizer), ("decoder", steps.decoder)] {
        let growth = step.as_ref().map_or(1, growth);
        if growth > LIMIT {
            return Err(format!(
                "its {key} can make a text more than {LIMIT} times longer, which no real tokenizer \
                 does"
            ));
        }
    }
    Ok(())
}

/// The product of what all steps in a value can do. Steps are known by their keys: some versions of
/// the format leave out their types.
fn growth(value: &Value) -> u64 {
    match value {
        Value::Array(values) => product(values),
        Value::Object(map) => {
            let length = |key: &str| map.get(key).and_then(Value::as_str).map_or(0, str::len);
            let replaced = match (map.get("pattern"), length("content") as u64) {
                (Some(pattern), content) => replacement(pattern, content),
                (None, _) => 1,
            };
            let added = length("prepend").max(length("append")).max(1) as u64;
            product(map.values())
                .saturating_mul(replaced)
                .saturating_mul(added)
        }
        _ => 1,
    }
}

fn product<'a>(values: impl IntoIterator<Item = &'a Value>) -> u64 {
    values.into_iter().map(growth).fold(1, u64::saturating_mul)
}

/// The growth when every match of a pattern becomes `content` bytes.
fn replacement(pattern: &Value, content: u64) -> u64 {
    if let Some(text) = pattern.get("Regex").and_then(Value::as_str) {
        return if may_match_nothing(text) {
            // Inserted before every byte, which stays.
            content.saturating_add(1)
        } else {
            content.max(1)
        };
    }
    let text = pattern.get("String").unwrap_or(pattern).as_str();
    match text.map_or(0, str::len) as u64 {
        0 => content.saturating_add(1),
        length => content.div_ceil(length).max(1),
    }
}

/// Whether a regular expression has anything that can match without consuming.
fn may_match_nothing(regex: &str) -> bool {
    regex.is_empty()
        || ["*", "?", "|", "^", "$", "{0", "{,", "()"]
            .iter()
            .chain(&["\\b", "\\B", "\\A", "\\z", "\\Z", "\\G", "\\K"])
            .any(|sign| regex.contains(sign))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(steps: &Value) -> bool {
        let json = json!({ "normalizer": null, "decoder": steps, "model": {} });
        check(json.to_string().as_bytes()).is_err()
    }

    fn replace(pattern: &str, content: &str) -> Value {
        json!({ "type": "Replace", "pattern": { "String": pattern }, "content": content })
    }

    #[test]
    fn real_steps_pass() {
        let prepend = json!({ "type": "Prepend", "prepend": "▁" });
        let spaces = json!({ "pattern": { "Regex": " {2,}" }, "content": "▁" });
        let steps = json!([prepend, replace(" ", "▁"), spaces, replace("▁", " ")]);
        assert!(!refused(
            &json!({ "type": "Sequence", "normalizers": steps })
        ));
        assert!(!refused(&Value::Null));
    }

    #[test]
    fn growth_without_bound_is_refused() {
        assert!(refused(&replace("a", &"a".repeat(65))));
        assert!(!refused(&replace("aa", &"a".repeat(128))));
        assert!(refused(&json!([
            replace("a", "aaaaaaaaa"),
            replace("a", "aaaaaaaaa")
        ])));
        let doubling = json!({ "pattern": { "Regex": "x*" }, "content": "y" });
        assert!(refused(&json!({ "decoders": vec![doubling; 7] })));
        assert!(refused(&json!(vec![replace("", "y"); 64])));
        assert!(refused(&json!(vec![json!({ "prepend": "aaa" }); 1000])));
        assert!(check(b"{\"normalizer\": 9true}").is_err());
    }
}
