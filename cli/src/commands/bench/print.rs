//! Results as a table, or for machines. Each is printed as soon as it is there.

use clap::ValueEnum;

use super::Measured;
use crate::output::{bytes, print, print_json};

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table that reads well on a terminal and in Markdown
    Md,
    /// A line with commas for each result, after one with names
    Csv,
    /// One list of results
    Json,
    /// A line of JSON for each result
    Jsonl,
}

/// Prints results one by one.
pub(crate) struct Printer {
    format: Format,
    results: Vec<Measured>,
    printed: usize,
}

/// The table's columns: name, and width at least.
const COLUMNS: [(&str, usize); 10] = [
    ("model", 20),
    ("size", 10),
    ("params", 8),
    ("threads", 7),
    ("test", 12),
    ("t/s", 22),
    ("GB/s", 6),
    ("of streaming", 12),
    ("core-s/token", 12),
    ("peak memory", 11),
];

impl Printer {
    pub fn new(format: Format) -> Printer {
        Printer {
            format,
            results: Vec::new(),
            printed: 0,
        }
    }

    /// Prints a result.
    pub fn add(&mut self, measured: Measured) -> anyhow::Result<()> {
        match self.format {
            Format::Md => {
                if self.printed == 0 {
                    let rule = |(_, width): &(&str, usize)| "-".repeat(*width);
                    print(format_args!(
                        "{}{}",
                        row(COLUMNS.iter().map(|(name, _)| (*name).to_owned())),
                        row(COLUMNS.iter().map(rule))
                    ))?;
                }
                print(row(cells(&measured).into_iter()))?;
            }
            Format::Csv => {
                let fields = fields(&measured)?;
                if self.printed == 0 {
                    let names = fields.iter().map(|(name, _)| name.as_str());
                    print(format_args!("{}\n", names.collect::<Vec<_>>().join(",")))?;
                }
                let values = fields.iter().map(|(_, value)| value.as_str());
                print(format_args!("{}\n", values.collect::<Vec<_>>().join(",")))?;
            }
            Format::Jsonl => print(format_args!("{}\n", serde_json::to_string(&measured)?))?,
            Format::Json => self.results.push(measured),
        }
        self.printed += 1;
        Ok(())
    }

    /// Prints what waits for the end.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        match self.format {
            Format::Json => print_json(&self.results),
            _ => Ok(()),
        }
    }
}

/// A line of the table; numbers to the right.
fn row(cells: impl Iterator<Item = String>) -> String {
    let cells = cells.zip(COLUMNS).enumerate();
    let cells = cells.map(|(index, (cell, (_, width)))| match index {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cells(measured: &Measured) -> [String; COLUMNS.len()] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let model = measured.model_filename.trim_end_matches('/');
    let name = model.rsplit('/').next().unwrap_or(model);
    [
        name.to_owned(),
        bytes(measured.model_size),
        format!("{:.2} B", measured.model_n_params as f64 / 1e9),
        measured.n_threads.to_string(),
        measured.test.clone(),
        format!("{:.2} ± {:.2}", measured.avg_ts, measured.stddev_ts),
        or_dash(measured.gb_per_s.map(|gb| format!("{gb:.1}"))),
        or_dash(
            measured
                .bandwidth_share
                .map(|share| format!("{:.0} %", 100.0 * share)),
        ),
        or_dash(
            measured
                .core_seconds_per_token
                .map(|seconds| format!("{seconds:.4}")),
        ),
        or_dash(measured.peak_bytes.map(bytes)),
    ]
}

/// Names and values of a result, lists in quotes, as a spreadsheet reads them.
fn fields(measured: &Measured) -> anyhow::Result<Vec<(String, String)>> {
    let serde_json::Value::Object(fields) = serde_json::to_value(measured)? else {
        anyhow::bail!("a result is no object");
    };
    let text = |value: serde_json::Value| match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::String(text) => quoted(&text),
        other => quoted(&other.to_string()),
    };
    Ok(fields
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect())
}

/// RFC 4180's quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
