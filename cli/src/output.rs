//! What goes to the terminal: results to standard output, remarks to standard error.
//!
//! Colours pass through `anstream`, which drops them where the stream is no terminal or `NO_COLOR` is set. Writing to
//! standard output can fail (a full disk, a closed pipe) and is checked; writing remarks is not worth an error.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
pub use tern_tune::plural;

/// Headings.
pub const BOLD: Style = Style::new().bold();
/// What is less important than the rest of its line.
pub const DIM: Style = Style::new().dimmed();
/// Winners.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Warnings.
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Errors.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

static QUIET: AtomicBool = AtomicBool::new(false);

/// Silences remarks and progress from now on, but not warnings and errors.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether remarks and progress are unwanted.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// `text` in `style`.
pub fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Standard output could not be written.
#[derive(Debug)]
struct StdoutError(io::Error);

impl Display for StdoutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for StdoutError {}

/// Whether `error` only says that nobody reads our output any more.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let stdout = error.downcast_ref::<StdoutError>();
    stdout.is_some_and(|StdoutError(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints to standard output, at once and to the last byte. Adds no line break.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    let written = write!(out, "{text}").and_then(|()| out.flush());
    Ok(written.map_err(StdoutError)?)
}

/// Prints text that a model made. On a terminal, control characters other than line breaks and tabs are shown as
/// U+FFFD: a hostile model could move the cursor or change the colours with them.
pub fn print_generated(text: &str) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() {
        return print(text);
    }
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let clean = |c| if harmless(c) { c } else { '\u{fffd}' };
    print(text.chars().map(clean).collect::<String>())
}

/// Prints a value as JSON: indented on a terminal, in one line for a program that reads it.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = match io::stdout().is_terminal() {
        true => serde_json::to_string_pretty(value)?,
        false => serde_json::to_string(value)?,
    };
    print(format_args!("{text}\n"))
}

/// A line on standard error that a person may like to know.
pub fn remark(text: impl Display) {
    if !is_quiet() {
        answer(text);
    }
}

/// An answer to what a person asked for, on standard error and whatever is silenced: standard output has the model's words alone.
pub fn answer(text: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A line on standard error about something that is not as it should be, although the work goes on.
pub fn warn(text: impl Display) {
    let _ = writeln!(
        anstream::stderr().lock(),
        "{} {text}",
        paint(WARN, "warning:")
    );
}

/// The last line of a failed command.
pub fn error(error: &anyhow::Error) {
    let text = message(error);
    let _ = writeln!(anstream::stderr().lock(), "{} {text}", paint(BAD, "error:"));
}

/// An error with its causes, each said once: many messages quote their cause already.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// A message of the TOML parser in one line: without the picture of the place, which line and column say too.
pub fn one_line(message: &str) -> String {
    let is_picture = |line: &str| {
        line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ')
            .starts_with('|')
    };
    let lines: Vec<&str> = message
        .lines()
        .filter(|line| !line.trim().is_empty() && !is_picture(line))
        .map(str::trim)
        .collect();
    lines.join(": ")
}

/// A number of bytes for people: `512 B`, `48.0 KiB`, `1.50 GiB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A count for people: `640`, `1.20 M`, `2.08 G`.
pub fn count(count: u64) -> String {
    scaled(count as f64, 1000.0, &["", "k", "M", "G", "T"])
        .trim_end()
        .to_owned()
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = match (unit, value) {
        (0, _) => 0,
        (_, v) if v < 10.0 => 2,
        (_, v) if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!(bytes(48 << 10), "48.0 KiB");
        assert_eq!(bytes(260 << 20), "260 MiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
        assert_eq!(count(640), "640");
        assert_eq!(count(2_084_000_000), "2.08 G");
    }

    #[test]
    fn causes_are_said_once() {
        let inner = io::Error::other("disk on fire");
        let error = anyhow::Error::new(inner).context("cannot read x: disk on fire");
        assert_eq!(message(&error), "cannot read x: disk on fire");
        assert_eq!(
            message(&error.context("no model")),
            "no model: cannot read x: disk on fire"
        );
    }

    #[test]
    fn toml_errors_become_one_line() {
        let error = "TOML parse error at line 1, column 5\n  |\n1 | not toml\n  |     ^\nkey with no value, expected `=`\n";
        assert_eq!(
            one_line(error),
            "TOML parse error at line 1, column 5: key with no value, expected `=`"
        );
        assert_eq!(one_line("plain"), "plain");
    }
}
