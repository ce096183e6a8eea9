//! Reading texts. Files are written by `tern_tune::write`, whole or not at all.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};

/// Longest text that is read; far beyond any context.
const TEXT_MAX: u64 = 1 << 30;

/// Reads a text file, or standard input if `path` is `-`.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return read_all(io::stdin().lock(), "standard input");
    }
    let name = path.display().to_string();
    if path.is_dir() {
        bail!("{name} is a folder; expected a text file");
    }
    let file = fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
    read_all(file, &name)
}

fn read_all(source: impl io::Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(TEXT_MAX + 1).read_to_end(&mut bytes);
    if read.with_context(|| format!("cannot read {name}"))? as u64 > TEXT_MAX {
        bail!("{name} has more than {TEXT_MAX} bytes; expected a text");
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow!("{name} is not UTF-8 text (byte {at} is the first that is not); convert it, for example with iconv")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let error = read_all(&b"abc\xff"[..], "x").unwrap_err().to_string();
        assert!(error.contains("byte 3"), "{error}");
    }
}
