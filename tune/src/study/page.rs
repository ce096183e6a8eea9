//! The page of a study: Markdown with tables, figures, and a sentence for every family that never wins.

use std::fmt::Write as _;

use super::record::Figure;
use super::{Standing, Study, TileCell, operations};
use crate::bench::Residence;
use crate::compare::ComparisonRow;
use crate::environment::Environment;
use crate::figure::caps::{caps, short};
use crate::figure::style_of;
use crate::progress::{plural, tile_text};
use crate::report::place;

/// How much two parts of a page may differ on the same kernel and shape before that is said.
const STILL: f64 = 1.1;

impl Study {
    /// The page.
    pub(super) fn page(&self, environment: &Environment) -> String {
        let mut text = self.opening(environment);
        let [memory, cache, roofline, bits, caps, tiles] = self.figures();
        text.push_str("\n## Families against each other\n\n");
        text.push_str(&self.verdicts());
        text.push_str(&image(&memory));
        text.push_str(&self.speed_tables(Residence::Memory));
        text.push_str(&image(&cache));
        text.push_str(&self.speed_tables(Residence::Cache));
        text.push_str("\n## What limits them\n\n");
        text.push_str(&self.traits());
        text.push_str(&image(&roofline));
        text.push_str(&self.ceilings_text());
        text.push_str(&self.explanations());
        text.push_str("\n## Bits a weight\n\n");
        text.push_str(&image(&bits));
        text.push_str(&self.codes_table());
        text.push_str("\n## What each ISA adds\n\n");
        text.push_str(&image(&caps));
        text.push_str(&self.caps_table());
        text.push_str("\n## Tiles\n\n");
        text.push_str(&image(&tiles));
        text.push_str(&self.tiles_text());
        text.push_str(&self.closing());
        // Parts begin and end with empty lines of their own, whichever of them are there.
        text.replace("\n\n\n", "\n\n")
    }

    fn opening(&self, environment: &Environment) -> String {
        let date = environment.date.get(..10).unwrap_or(&environment.date);
        let threads: Vec<String> = self.threads().iter().map(usize::to_string).collect();
        let row = |name: &str, value: &str| format!("| {name} | {} |\n", cell(value));
        let mut text = format!("# {}: families of ternary kernels, {date}\n\n", self.cpu);
        text.push_str("| | |\n|---|---|\n");
        text.push_str(&row("command", &format!("`{}`", environment.command)));
        text.push_str(&row(
            "built",
            &format!("{}, {}", environment.engine, environment.rustc),
        ));
        text.push_str(&row("system", &environment.system));
        text.push_str(&row("ISAs", &self.isas.join(", ")));
        text.push_str(&row("threads", &threads.join(", ")));
        text.push_str(&row("pages", environment.pages.asked));
        text.push_str(&row("time taken", &format!("{:.0} s", self.seconds)));
        text
    }

    /// The sentences of the comparisons.
    fn verdicts(&self) -> String {
        let mut text = String::new();
        for comparison in &self.comparisons {
            for line in comparison.verdict().lines() {
                let _ = writeln!(text, "* {}, {line}", plural(comparison.threads, "thread"));
            }
        }
        text
    }

    /// A table for each thread count: shapes down, contenders across, 10^9 weights a second.
    fn speed_tables(&self, residence: Residence) -> String {
        let mut text = String::new();
        let styles = style_of(self);
        for threads in self.threads() {
            let of = |row: &ComparisonRow| row.residence == residence;
            let rows: Vec<&ComparisonRow> = self
                .rows()
                .filter(|(n, row)| *n == threads && of(row))
                .map(|(_, row)| row)
                .collect();
            if rows.is_empty() {
                continue;
            }
            let present: Vec<String> = rows.iter().map(|row| row.contender()).collect();
            let names = styles.sorted(present.iter().map(String::as_str));
            let heading = format!(
                "10⁹ weights a second, {}, {}",
                place(residence),
                plural(threads, "thread")
            );
            let _ = writeln!(text, "\n| {heading} | {} |", names.join(" | "));
            let _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
            for group in rows.chunk_by(|a, b| a.shape == b.shape) {
                let cells: Vec<String> = names.iter().map(|name| speed(group, name)).collect();
                let _ = writeln!(text, "| {} | {} |", group[0].shape, cells.join(" | "));
            }
        }
        text
    }

    /// What to know where a kernel has one speed among the families and another among the codes or ISAs: those parts are timed minutes
    /// apart, and numbers of different parts may not be compared then.
    fn drift(&self) -> Option<String> {
        let standings = self.codes.iter().chain(&self.by_isa);
        let pairs = standings.flat_map(|standing| {
            let same = move |(threads, row): &(usize, &ComparisonRow)| {
                (*threads, row.shape, row.residence, row.kernel)
                    == (
                        standing.threads,
                        standing.shape,
                        standing.residence,
                        standing.kernel,
                    )
            };
            let of_kernel = self.rows().filter(same);
            of_kernel.map(move |(_, row)| {
                let ratio = row.weights_per_s / standing.weights_per_s;
                (ratio.max(1.0 / ratio), row.kernel, row.residence)
            })
        });
        let (ratio, kernel, residence) = pairs.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (ratio > STILL).then(|| {
            format!(
                "the machine was not still: `{kernel}`, {}, is {ratio:.2} times as fast in one part of this page as in another. Compare \
                 numbers within a table only; its rows were timed in the same rounds",
                place(residence)
            )
        })
    }

    /// The best kernel of each code.
    fn codes_table(&self) -> String {
        let mut text = String::from(
            "\n| code | kernel and tile from memory | bits | operations | memory, 10⁹/s | cache, 10⁹/s |\n\
             |---|---|---:|---:|---:|---:|\n",
        );
        let mut groups: Vec<&str> = self.codes.iter().map(|code| code.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let of = |residence| {
                let mut codes = self.codes.iter();
                codes.find(|code| code.group == group && code.residence == residence)
            };
            let (memory, cache) = (of(Residence::Memory), of(Residence::Cache));
            let gw = |code: Option<&Standing>| number(code.map(|code| code.weights_per_s / 1e9), 1);
            let kernel = memory.map_or("–".to_string(), |code| {
                format!("`{}` {}", code.kernel, tile_text(&code.tile))
            });
            let bits = number(memory.or(cache).map(|code| code.bits_per_weight), 2);
            let operations = number(memory.and_then(|code| operations(code.kernel)), 1);
            let (memory, cache) = (gw(memory), gw(cache));
            let _ = writeln!(
                text,
                "| {group} | {kernel} | {bits} | {operations} | {memory} | {cache} |"
            );
        }
        if self.codes.is_empty() {
            String::new()
        } else {
            text
        }
    }

    /// The fastest kernel under each cap.
    fn caps_table(&self) -> String {
        let mut text = String::new();
        for residence in [Residence::Memory, Residence::Cache] {
            let caps = caps(self, residence);
            if caps.is_empty() {
                continue;
            }
            let _ = writeln!(
                text,
                "\n| up to, {} | fastest kernel | 10⁹ weights a second | gain |",
                place(residence)
            );
            text.push_str("|---|---|---:|---:|\n");
            let mut before: Option<f64> = None;
            for cap in caps {
                let (isa, kernel, speed) = (cap.isa, cap.best.kernel, cap.best.weights_per_s / 1e9);
                let gain = before.map_or("–".to_string(), |before| {
                    format!("{:.2}x", speed / before)
                });
                let _ = writeln!(text, "| {isa} | `{kernel}` | {speed:.1} | {gain} |");
                before = Some(speed);
            }
        }
        text
    }

    /// How much a tile can miss.
    fn tiles_text(&self) -> String {
        let mut text = String::new();
        for map in &self.tiles {
            let Some((best, worst)) = map.extremes() else {
                continue;
            };
            let _ = writeln!(
                text,
                "\n* {} on {}: {} is the fastest of {}, {:.2} times as fast as the slowest, {}.",
                map.contender(),
                map.isa,
                tile(best),
                plural(map.cells.len(), "tile"),
                best.weights_per_s / worst.weights_per_s,
                tile(worst)
            );
        }
        text
    }

    /// Notes, and which file holds what.
    fn closing(&self) -> String {
        let mut text = String::new();
        let comparisons = self.comparisons.iter().flat_map(|comparison| {
            let threads = plural(comparison.threads, "thread");
            comparison
                .notes
                .iter()
                .map(move |note| format!("{threads}: {note}"))
        });
        let notes: Vec<String> = comparisons
            .chain(self.notes.iter().cloned())
            .chain(self.drift())
            .collect();
        if !notes.is_empty() {
            text.push_str("\n## Notes\n\n");
            notes
                .iter()
                .for_each(|note| text.push_str(&format!("* {note}\n")));
        }
        text.push_str(
            "\n## Files\n\n\
             `environment.toml`: where and how this was made. `comparison.csv`: the families side by side; `samples-<threads>t.csv`: \
             every sample behind it. `standings.csv`: the best kernel of each code and ISA. `tiles.csv`: the heat maps. \
             `ceilings.csv`: bandwidth, dot product and clock.\n",
        );
        text
    }
}

/// A picture, if there is one.
fn image(figure: &Figure) -> String {
    match figure.svg {
        Some(_) => format!("\n![{}]({})\n\n", figure.alt, figure.file),
        None => String::new(),
    }
}

/// A number, or a dash.
pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) => format!("{value:.digits$}"),
        None => "–".to_string(),
    }
}

/// A contender's speed in a group of rows, bold if it is the fastest.
fn speed(group: &[&ComparisonRow], name: &str) -> String {
    match group.iter().position(|row| row.contender() == name) {
        Some(0) => format!("**{:.1}**", group[0].weights_per_s / 1e9),
        Some(index) => format!("{:.1}", group[index].weights_per_s / 1e9),
        None => "–".to_string(),
    }
}

/// A tile's kernel and prefetch.
fn tile(cell: &TileCell) -> String {
    format!(
        "{} with a prefetch of {} KiB",
        short(cell.kernel),
        cell.prefetch / 1024
    )
}

/// Text that a table's cell can hold.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
