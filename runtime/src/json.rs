//! Checked access to loose JSON objects: every wrong value becomes a message with its key.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{ConfigError, shorten};

/// A JSON object and where it stands, for messages.
pub(crate) struct Object {
    file: String,
    /// `"quantization_config."` or empty.
    prefix: String,
    map: Map<String, Value>,
}

impl Object {
    /// Parses a file that must hold one JSON object. Of repeated keys the last one counts.
    pub fn parse(json: &[u8], file: &str) -> Result<Object, ConfigError> {
        let error = |reason: String| ConfigError::Json {
            file: file.to_owned(),
            reason,
        };
        match serde_json::from_slice(json) {
            Ok(Value::Object(map)) => Ok(Object {
                file: file.to_owned(),
                prefix: String::new(),
                map,
            }),
            Ok(other) => Err(error(format!("found {}", shorten(other)))),
            Err(source) => Err(error(shorten(source))),
        }
    }

    /// The value of a key; JSON `null` counts as absent, as in Python.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Keys and values that are not `null`.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        let entries = self.map.iter().map(|(key, value)| (key.as_str(), value));
        entries.filter(|(_, value)| !value.is_null())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// A required integer in a range.
    pub fn size(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let Some(value) = self.get(key) else {
            return Err(self.missing(key, &integers(&range)));
        };
        match value.as_u64().and_then(|value| usize::try_from(value).ok()) {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(self.wrong_value(key, integers(&range))),
        }
    }

    /// An integer in a range, with a default.
    pub fn size_or(
        &self,
        key: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, ConfigError> {
        if self.get(key).is_none() {
            Ok(default)
        } else {
            self.size(key, range)
        }
    }

    /// A number in a range, rounded to `f32`, with a default. Integers count as numbers.
    pub fn float_or(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        default: f32,
    ) -> Result<f32, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match value.as_f64() {
            Some(value) if range.contains(&value) => Ok(value as f32),
            _ => {
                let expected = format!("a number from {:?} to {:?}", range.start(), range.end());
                Err(self.wrong_value(key, expected))
            }
        }
    }

    /// A boolean that is false where absent.
    pub fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong_value(key, "true or false".to_owned())),
        }
    }

    /// An optional string.
    pub fn text(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_value(key, "a string".to_owned())),
        }
    }

    /// An optional object inside this one.
    pub fn object(&self, key: &str) -> Result<Option<Object>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Object {
                file: self.file.clone(),
                prefix: format!("{}{key}.", self.prefix),
                map: map.clone(),
            })),
            Some(_) => Err(self.wrong_value(key, "an object".to_owned())),
        }
    }

    /// Token ids: absent, one integer or a list of integers.
    pub fn ids(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(id).collect(),
            Some(value) => id(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.wrong_value(key, "a token id or a list of token ids".to_owned()))
    }

    /// "Key is missing".
    pub fn missing(&self, key: &str, expected: &str) -> ConfigError {
        ConfigError::Missing {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
            expected: expected.to_owned(),
        }
    }

    /// "Key has this value", quoting the file.
    pub fn wrong_value(&self, key: &str, expected: String) -> ConfigError {
        let found = self
            .map
            .get(key)
            .map_or_else(|| "absent".to_owned(), shorten);
        self.wrong(key, &found, expected)
    }

    /// "Key has this value", in the caller's words.
    pub fn wrong(&self, key: &str, found: &str, expected: String) -> ConfigError {
        ConfigError::Value {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
            found: found.to_owned(),
            expected,
        }
    }

    /// "This is not supported".
    pub fn unsupported(&self, what: &str, reason: &str) -> ConfigError {
        ConfigError::Unsupported {
            file: self.file.clone(),
            what: format!("{}{what}", self.prefix),
            reason: reason.to_owned(),
        }
    }
}

fn integers(range: &RangeInclusive<usize>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}
