//! What limits each contender: its traits, the ceilings, and a paragraph for each that never wins.

use std::fmt::Write as _;

use super::page::number;
use super::{Study, operations};
use crate::bench::Residence;
use crate::compare::ComparisonRow;
use crate::figure::style_of;
use crate::progress::{plural, tile_text};
use crate::report::groups;

/// A kernel that takes this share of the streaming bandwidth, or more, is limited by memory.
const MEMORY_BOUND: f64 = 0.85;

/// A kernel that has less than this share of the speed of the fastest in cache is limited by its instructions.
const INSTRUCTION_BOUND: f64 = 0.9;

impl Study {
    /// What is known of each contender on the largest shape with the most threads.
    pub(super) fn traits(&self) -> String {
        let Some((threads, shape)) = self.threads().last().copied().zip(self.largest()) else {
            return String::new();
        };
        let mut text = format!(
            "On the largest shape, {shape}, with {}. Operations are vector operations for 1000 weights, as wide \
             as the kernel's ISA has them, loads excluded; \
             *first* counts the shapes and thread counts where no other is faster.\n\n\
             | family | best kernel and tile from memory | bits | operations | memory, 10⁹/s | of bandwidth | cache, 10⁹/s | first |\n\
             |---|---|---:|---:|---:|---:|---:|---:|\n",
            plural(threads, "thread")
        );
        for name in self.names() {
            let memory = self.largest_row(&name, Residence::Memory);
            let cache = self.largest_row(&name, Residence::Cache);
            let gw =
                |row: Option<&ComparisonRow>| number(row.map(|row| row.weights_per_s / 1e9), 1);
            let kernel = memory.map_or("–".to_string(), |row| {
                format!("`{}` {}", row.kernel, tile_text(&row.tile))
            });
            let share = memory.and_then(|row| row.bandwidth_share);
            let share = share.map_or("–".to_string(), |share| format!("{:.0} %", 100.0 * share));
            let bits = number(memory.map(|row| row.bits_per_weight), 2);
            let operations = number(memory.and_then(|row| operations(row.kernel)), 1);
            let first = self.wins(&name, Residence::Memory) + self.wins(&name, Residence::Cache);
            let (memory, cache) = (gw(memory), gw(cache));
            let _ = writeln!(
                text,
                "| {name} | {kernel} | {bits} | {operations} | {memory} | {share} | {cache} | {first} |"
            );
        }
        text
    }

    /// The ceilings of each thread count, and what they mean.
    pub(super) fn ceilings_text(&self) -> String {
        let mut text = String::new();
        for threads in self.threads() {
            let mut parts = Vec::new();
            if let Some(stream) = self.stream(threads) {
                parts.push(format!("memory streams {stream:.1} GB/s"));
            }
            if let Some(dot) = self.dot(threads) {
                let (peak, ghz) = (dot.g_per_s.median, dot.ghz.median);
                parts.push(format!(
                    "the dot product of {} multiplies {peak:.0}·10⁹ bytes a second at {ghz:.2} GHz",
                    dot.isa
                ));
            }
            if !parts.is_empty() {
                let _ = writeln!(
                    text,
                    "* With {} {}.",
                    plural(threads, "thread"),
                    parts.join(", and ")
                );
            }
        }
        let meaning = "The level line of the figure is the dot product at one weight a byte: no family that multiplies each \
                       weight can cross it. Tables can, because one lookup stands for several weights.";
        if text.is_empty() {
            text
        } else {
            format!("{text}\n{meaning}\n")
        }
    }

    /// A paragraph for every contender that is nowhere the fastest.
    pub(super) fn explanations(&self) -> String {
        let mut text = String::new();
        for name in self.names() {
            if self.wins(&name, Residence::Memory) + self.wins(&name, Residence::Cache) == 0 {
                let _ = writeln!(text, "\n{}", self.explanation(&name));
            }
        }
        text
    }

    /// Why a contender loses, from its numbers on the largest shape with the most threads.
    pub(super) fn explanation(&self, name: &str) -> String {
        let mut text = format!("**{name}** is nowhere the fastest.");
        let Some(own) = self.largest_row(name, Residence::Memory) else {
            text.push_str(" It was not measured on the largest shape.");
            return text;
        };
        let threads = self.threads().last().copied().unwrap_or(1);
        let (shape, team) = (own.shape, plural(threads, "thread"));
        let _ = write!(text, " On {shape} with {team} it {}", costs(own));
        let fastest = self.largest_rows(threads, Residence::Memory);
        if let Some(best) = fastest.first().filter(|best| best.contender() != name) {
            let times = best.weights_per_s / own.weights_per_s;
            let (rival, costs) = (best.contender(), costs(best));
            let _ = write!(
                text,
                "; {rival}, the fastest there by {times:.2} times, {costs}"
            );
        }
        text.push('.');
        let share = own.bandwidth_share;
        let cached = self.largest_rows(threads, Residence::Cache);
        let in_cache = self.largest_row(name, Residence::Cache).zip(cached.first());
        let in_cache = in_cache.map(|(own, best)| own.weights_per_s / best.weights_per_s);
        let taken =
            share.map(|share| format!("takes {:.0} % of the streaming bandwidth", 100.0 * share));
        let reached = in_cache.map(|ratio| {
            format!(
                "reaches {:.0} % of the speed of the fastest in cache",
                100.0 * ratio
            )
        });
        let facts: Vec<String> = taken.into_iter().chain(reached).collect();
        if !facts.is_empty() {
            let _ = write!(
                text,
                " It {}: {}.",
                facts.join(" and "),
                limit(share, in_cache)
            );
        }
        text
    }

    /// The contenders of the comparisons, in the registry's order.
    fn names(&self) -> Vec<String> {
        let present: Vec<String> = self.rows().map(|(_, row)| row.contender()).collect();
        style_of(self).sorted(present.iter().map(String::as_str))
    }

    /// On how many shapes and thread counts a contender is the fastest.
    fn wins(&self, name: &str, residence: Residence) -> usize {
        let groups = self
            .comparisons
            .iter()
            .flat_map(|comparison| groups(&comparison.rows));
        let wins = |group: &&[ComparisonRow]| {
            group[0].residence == residence && group[0].contender() == name
        };
        groups.filter(wins).count()
    }

    /// A contender's row of the largest shape with the most threads.
    fn largest_row(&self, name: &str, residence: Residence) -> Option<&ComparisonRow> {
        let threads = *self.threads().last()?;
        let mut rows = self.largest_rows(threads, residence).into_iter();
        rows.find(|row| row.contender() == name)
    }
}

/// What a kernel reads and does for its weights.
fn costs(row: &ComparisonRow) -> String {
    let bits = format!("reads {:.2} bits a weight", row.bits_per_weight);
    match operations(row.kernel) {
        Some(operations) => {
            format!("{bits} and spends {operations:.1} vector operations on 1000 weights")
        }
        None => bits,
    }
}

/// What limits a contender, by its share of the bandwidth and of the best speed in cache.
fn limit(share: Option<f64>, in_cache: Option<f64>) -> &'static str {
    match (share, in_cache) {
        (Some(share), _) if share >= MEMORY_BOUND => {
            "memory is the limit, and only fewer bits a weight would make it faster"
        }
        (_, Some(ratio)) if ratio < INSTRUCTION_BOUND => {
            "its instructions are the limit, not memory"
        }
        (Some(_), Some(_)) => {
            "neither memory nor its instructions alone are the limit, so its loads wait too long for what they asked for"
        }
        _ => "too little was measured to say what the limit is",
    }
}
