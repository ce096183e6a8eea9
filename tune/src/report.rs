//! A comparison as text: a table for people, CSV for machines, one sentence for those in a hurry.
//!
//! The chart is in `chart.rs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serializer;
use tern_kernels::{Family, Shape};

use crate::bench::Residence;
use crate::compare::{Comparison, ComparisonRow};
use crate::environment::Environment;
use crate::progress::{plural, tile_text};
use crate::spread::Spread;
use crate::write::{WriteError, create_directory, write_atomically};

/// Serialises what prints itself as that text: shapes, families.
pub(crate) fn as_text<T: std::fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The rows of a comparison that belong together: one shape in one residence.
pub(crate) fn groups(rows: &[ComparisonRow]) -> impl Iterator<Item = &[ComparisonRow]> {
    rows.chunk_by(|a, b| (a.shape, a.residence) == (b.shape, b.residence))
}

impl Comparison {
    /// CPU, threads and pages, in one line.
    pub fn setting(&self) -> String {
        let pages = if self.huge_pages { "huge" } else { "small" };
        format!(
            "{}, {}, {pages} pages",
            self.cpu,
            plural(self.threads, "thread")
        )
    }

    /// A table for the terminal, at most 120 columns wide with the usual kernel ids.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.setting());
        if let Some(bandwidth) = &self.bandwidth {
            let _ = writeln!(text, "streaming bandwidth {bandwidth}");
        }
        let width = self
            .rows
            .iter()
            .map(|row| row.kernel.len())
            .max()
            .unwrap_or(6)
            .max(6);
        for group in groups(&self.rows) {
            let first = &group[0];
            let place = place(first.residence);
            let _ = write!(
                text,
                "\n{}, {place}\n{:<width$}  {:<13} {:>9} {:>7} {:>6} {:>6} {:>7} {:>5} {:>7} {:>7}\n",
                first.shape,
                "kernel",
                "tile",
                "us",
                "±",
                "Gw/s",
                "GB/s",
                "stream",
                "bits",
                "/addsub",
                "/mad"
            );
            for row in group {
                let ratio = |ratio: &Option<Spread>| match ratio {
                    Some(ratio) => format!("{:.2}x", ratio.median),
                    None => "-".to_string(),
                };
                let share = row
                    .bandwidth_share
                    .map(|share| format!("{:.0} %", 100.0 * share));
                let _ = writeln!(
                    text,
                    "{:<width$}  {:<13} {:>9.2} {:>7.2} {:>6.1} {:>6.1} {:>7} {:>5.2} {:>7} {:>7}",
                    row.kernel,
                    tile_text(&row.tile),
                    row.time_us.median,
                    row.time_us.mad,
                    row.weights_per_s / 1e9,
                    row.bytes_per_s / 1e9,
                    share.unwrap_or_else(|| "-".to_string()),
                    row.bits_per_weight,
                    ratio(&row.vs_addsub),
                    ratio(&row.vs_mad)
                );
            }
        }
        let _ = write!(text, "\n{}", self.verdict());
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    /// How the best `lut` stands against the best `addsub` and the best `mad`: a line for each residence.
    pub fn verdict(&self) -> String {
        let mut text = String::new();
        for residence in [Residence::Memory, Residence::Cache] {
            let best_lut = groups(&self.rows)
                .filter(|group| group[0].residence == residence)
                .filter_map(|group| group.iter().find(|row| row.family == Family::Lut));
            let best_lut: Vec<&ComparisonRow> = best_lut.collect();
            let mean = |ratio: fn(&ComparisonRow) -> Option<&Spread>| {
                geometric_mean(best_lut.iter().filter_map(|row| Some(ratio(row)?.median)))
            };
            let mut parts = Vec::new();
            if let Some(mean) = mean(|row| row.vs_addsub.as_ref()) {
                parts.push(format!("{mean:.2}x the speed of the best addsub"));
            }
            if let Some(mean) = mean(|row| row.vs_mad.as_ref()) {
                parts.push(format!("{mean:.2}x that of the best mad"));
            }
            if !parts.is_empty() {
                let shapes = match best_lut.len() {
                    1 => "1 shape".to_string(),
                    many => format!("{many} shapes"),
                };
                let ratios = best_lut
                    .iter()
                    .flat_map(|row| [&row.vs_addsub, &row.vs_mad])
                    .flatten();
                let widest = ratios.map(|ratio| ratio.mad).fold(0.0, f64::max);
                let (place, parts) = (place(residence), parts.join(" and "));
                let _ = writeln!(
                    text,
                    "{place}: the best lut has {parts} ({shapes}, ±{widest:.2} each)."
                );
            }
        }
        text
    }

    /// One line for each row, times in microseconds, with a header.
    pub fn to_csv(&self) -> String {
        let mut text = String::from(
            "rows,cols,count,residence,threads,pages,family,variant,kernel,k_blocks,chunk,prefetch,bits_per_weight,\
             time_us,time_us_mad,build_us,time_with_build_us,weights_per_s,bytes_per_s,stream_bytes_per_s,\
             bandwidth_share,vs_addsub,vs_addsub_mad,vs_mad,vs_mad_mad,vs_addsub_with_build,vs_mad_with_build,samples,weights_per_cycle\n",
        );
        for group in groups(&self.rows) {
            let best = |family| {
                let rows = group.iter().filter(|row| row.family == family);
                rows.filter_map(ComparisonRow::time_with_build_us)
                    .min_by(f64::total_cmp)
            };
            let rivals = [best(Family::Addsub), best(Family::Mad)];
            for row in group {
                let _ = writeln!(text, "{}", self.csv_line(row, rivals));
            }
        }
        text
    }

    /// `rivals` are the best times of addsub and mad with the preparation of the activations.
    fn csv_line(&self, row: &ComparisonRow, rivals: [Option<f64>; 2]) -> String {
        let number = |value: Option<f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => String::new(),
        };
        let Shape { rows, cols } = row.shape;
        let ratio = |ratio: &Option<Spread>| {
            let (median, mad) = (
                ratio.as_ref().map(|r| r.median),
                ratio.as_ref().map(|r| r.mad),
            );
            format!("{},{}", number(median, 4), number(mad, 4))
        };
        let pages = if self.huge_pages { "huge" } else { "small" };
        let with_build = row.time_with_build_us();
        let versus = rivals.map(|rival| number(rival.zip(with_build).map(|(a, b)| a / b), 4));
        let fields = [
            format!(
                "{rows},{cols},{},{},{},{pages}",
                row.count, row.residence, self.threads
            ),
            format!("{},{},{}", row.family, row.variant, row.kernel),
            format!(
                "{},{},{}",
                row.tile.k_blocks, row.tile.chunk, row.tile.prefetch
            ),
            format!("{:.4}", row.bits_per_weight),
            format!("{:.3},{:.3}", row.time_us.median, row.time_us.mad),
            number(row.build_us.as_ref().map(|build| build.median), 3),
            number(with_build, 3),
            format!("{:.0},{:.0}", row.weights_per_s, row.bytes_per_s),
            number(row.stream_bytes_per_s, 0),
            number(row.bandwidth_share, 4),
            ratio(&row.vs_addsub),
            ratio(&row.vs_mad),
            versus.join(","),
            row.time_us.samples.len().to_string(),
            number(self.weights_per_cycle(row), 2),
        ];
        fields.join(",")
    }

    /// Weights that each core multiplies in a cycle of the clock, which is measured beside the bandwidth.
    fn weights_per_cycle(&self, row: &ComparisonRow) -> Option<f64> {
        let ghz = self.bandwidth.as_ref()?.ghz.median;
        Some(row.weights_per_s / self.threads as f64 / (1e9 * ghz))
    }

    /// Every sample: one line for each round of each row, and of the streaming bandwidth and the clock beside it. Rounds
    /// of the same shape were interleaved.
    pub fn samples_csv(&self) -> String {
        let mut text = String::from("rows,cols,residence,series,round,value,unit\n");
        let mut add = |(shape, residence), series: &str, samples: &[f64], unit: &str| {
            let Shape { rows, cols } = shape;
            for (round, value) in samples.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "{rows},{cols},{residence},{series},{round},{value:.3},{unit}"
                );
            }
        };
        for row in &self.rows {
            let place = (row.shape, row.residence);
            add(place, row.kernel, &row.time_us.samples, "us");
        }
        for rounds in &self.ruler {
            let place = (rounds.shape, Residence::Memory);
            for (streams, samples) in &rounds.by_streams {
                add(place, &format!("stream_{streams}"), samples, "GB/s");
            }
            add(place, "clock", &rounds.ghz, "GHz");
        }
        text
    }

    /// Writes `comparison.csv`, `samples.csv`, `comparison.svg`, `table.txt` and `environment.toml` into `directory`,
    /// which is created if it is missing, and returns their paths.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn write(
        &self,
        directory: &Path,
        environment: &Environment,
    ) -> Result<Vec<PathBuf>, WriteError> {
        create_directory(directory)?;
        let mut environment = environment.clone();
        environment.pages.huge_bytes = self.huge_bytes;
        let files = [
            ("comparison.csv", self.to_csv()),
            ("samples.csv", self.samples_csv()),
            ("comparison.svg", self.to_svg()),
            ("table.txt", self.table()),
            ("environment.toml", environment.to_toml()),
        ];
        let mut paths = Vec::new();
        for (name, text) in files {
            let path = directory.join(name);
            write_atomically(&path, &text)?;
            paths.push(path);
        }
        Ok(paths)
    }
}

/// Where the weights were, for people.
pub(crate) fn place(residence: Residence) -> &'static str {
    match residence {
        Residence::Memory => "weights in memory",
        Residence::Cache => "weights in cache",
    }
}

/// The geometric mean: a ratio and its inverse average to 1, as they should.
fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let logs: Vec<f64> = values.map(f64::ln).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
