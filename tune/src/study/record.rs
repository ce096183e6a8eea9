//! A study as files: the page, its figures, all numbers as CSV, the circumstances.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tern_kernels::Shape;

use super::{Standing, Study, operations};
use crate::bench::Residence;
use crate::environment::Environment;
use crate::figure;
use crate::spread::Spread;
use crate::write::{WriteError, write_directory};

/// A figure's file name and what it shows, for the page.
pub(super) struct Figure {
    pub file: &'static str,
    pub alt: &'static str,
    pub svg: Option<String>,
}

impl Study {
    /// The figures, in the order of the page. Those that nothing was measured for have no SVG.
    pub(super) fn figures(&self) -> [Figure; 6] {
        let figure = |file, alt, svg| Figure { file, alt, svg };
        [
            figure(
                "speed-memory.svg",
                "bars: weights a second of each family from memory, by shape and threads",
                figure::speeds::speeds(self, Residence::Memory),
            ),
            figure(
                "speed-cache.svg",
                "bars: weights a second of each family in cache, by shape and threads",
                figure::speeds::speeds(self, Residence::Cache),
            ),
            figure(
                "roofline.svg",
                "roofline: weights a second by weights in a byte, under bandwidth and dot product",
                figure::roofline::roofline(self),
            ),
            figure(
                "bits.svg",
                "points: weights a second of each code by its bits a weight, from memory and in cache",
                figure::bits::bits(self),
            ),
            figure(
                "isa-caps.svg",
                "bars: the fastest kernel up to each ISA, from memory and in cache",
                figure::caps::isa_caps(self),
            ),
            figure(
                "tiles.svg",
                "heat maps: weights a second by panels, block and prefetch",
                figure::tiles::tiles(self),
            ),
        ]
    }

    /// Writes `README.md` with its figures, the CSV files and `environment.toml` to `directory`, which must be new, and
    /// returns their paths. All of them are there, or none.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn write(
        &self,
        directory: &Path,
        environment: &Environment,
    ) -> Result<Vec<PathBuf>, WriteError> {
        let mut environment = environment.clone();
        let huge = self
            .comparisons
            .iter()
            .map(|comparison| comparison.huge_bytes);
        environment.pages.huge_bytes = huge.max().flatten();
        let mut files = vec![("README.md".to_string(), self.page(&environment))];
        for Figure { file, svg, .. } in self.figures() {
            files.extend(svg.map(|svg| (file.to_string(), svg)));
        }
        files.push(("comparison.csv".to_string(), self.comparison_csv()));
        for comparison in &self.comparisons {
            let name = format!("samples-{}t.csv", comparison.threads);
            files.push((name, comparison.samples_csv()));
        }
        files.push(("standings.csv".to_string(), self.standings_csv()));
        files.push(("tiles.csv".to_string(), self.tiles_csv()));
        files.push(("ceilings.csv".to_string(), self.ceilings_csv()));
        files.push(("environment.toml".to_string(), environment.to_toml()));
        write_directory(directory, &files)
    }

    /// The lines of all comparisons under one header.
    fn comparison_csv(&self) -> String {
        let mut text = String::new();
        for (index, comparison) in self.comparisons.iter().enumerate() {
            let csv = comparison.to_csv();
            let lines = csv.split_inclusive('\n').skip(usize::from(index > 0));
            lines.for_each(|line| text.push_str(line));
        }
        text
    }

    /// The best kernel of each code and of each ISA.
    pub(super) fn standings_csv(&self) -> String {
        let mut text = String::from(
            "by,group,rows,cols,residence,threads,family,variant,kernel,k_blocks,chunk,prefetch,bits_per_weight,\
             operations_per_1000_weights,time_us,time_us_mad,weights_per_s,samples\n",
        );
        let by = |by: &'static str, standings: &'_ [Standing]| {
            standings.iter().fold(String::new(), |mut text, standing| {
                let _ = writeln!(text, "{by},{}", standing_line(standing));
                text
            })
        };
        text.push_str(&by("code", &self.codes));
        text.push_str(&by("isa", &self.by_isa));
        text
    }

    /// Every tile of the maps.
    pub(super) fn tiles_csv(&self) -> String {
        let mut text = String::from(
            "family,variant,isa,rows,cols,threads,kernel,form,panels,prefetch,time_us,time_us_mad,weights_per_s,samples\n",
        );
        for map in &self.tiles {
            let Shape { rows, cols } = map.shape;
            for cell in &map.cells {
                let _ = writeln!(
                    text,
                    "{},{},{},{rows},{cols},{},{},{},{},{},{},{:.0},{}",
                    map.family,
                    map.variant,
                    map.isa,
                    map.threads,
                    cell.kernel,
                    cell.form,
                    cell.panels,
                    cell.prefetch,
                    spread(&cell.time_us),
                    cell.weights_per_s,
                    cell.time_us.samples.len()
                );
            }
        }
        text
    }

    /// Streaming bandwidth, dot product and clock of each thread count.
    pub(super) fn ceilings_csv(&self) -> String {
        let mut text = String::from(
            "threads,stream_gb_per_s,stream_gb_per_s_mad,dot_isa,dot_g_per_s,dot_g_per_s_mad,ghz,ghz_mad\n",
        );
        for ceiling in &self.ceilings {
            let mut comparisons = self.comparisons.iter();
            let comparison = comparisons.find(|comparison| comparison.threads == ceiling.threads);
            let stream = comparison.and_then(|comparison| comparison.bandwidth.as_ref());
            let stream = stream.map_or(",".to_string(), |stream| spread(&stream.gb_per_s));
            let dot = match &ceiling.dot {
                Some(dot) => format!("{},{},{}", dot.isa, spread(&dot.g_per_s), spread(&dot.ghz)),
                None => ",,,,".to_string(),
            };
            let _ = writeln!(text, "{},{stream},{dot}", ceiling.threads);
        }
        text
    }
}

fn standing_line(standing: &Standing) -> String {
    let Shape { rows, cols } = standing.shape;
    let operations = operations(standing.kernel).map(|operations| format!("{operations:.2}"));
    let fields = [
        standing.group.clone(),
        format!("{rows},{cols},{},{}", standing.residence, standing.threads),
        format!(
            "{},{},{}",
            standing.family, standing.variant, standing.kernel
        ),
        format!(
            "{},{},{}",
            standing.tile.k_blocks, standing.tile.chunk, standing.tile.prefetch
        ),
        format!("{:.4}", standing.bits_per_weight),
        operations.unwrap_or_default(),
        spread(&standing.time_us),
        format!("{:.0}", standing.weights_per_s),
        standing.time_us.samples.len().to_string(),
    ];
    fields.join(",")
}

/// Median and MAD.
fn spread(spread: &Spread) -> String {
    format!("{:.3},{:.3}", spread.median, spread.mad)
}
