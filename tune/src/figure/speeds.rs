//! Families against each other: bars for each shape, a column for each thread count.
//!
//! The bars are horizontal and their names stand on the left, so labels cannot run into each other and no legend is
//! needed. Contenders keep their place and colour in every group; one that was not measured leaves its place empty.

use tern_kernels::Shape;

use super::style::Styles;
use super::*;
use crate::bench::Residence;
use crate::compare::ComparisonRow;
use crate::progress::plural;
use crate::report::place;
use crate::study::Study;

/// Where the columns start: left of it are the contenders' names.
const NAMES: i32 = 186;
/// Thread counts beside each other; more go below.
const COLUMNS: usize = 3;
const COLUMN_GAP: i32 = 14;
/// Room for a bar's label.
const NUMBER: i32 = 56;
const BAR: i32 = 16;
const ROW: i32 = 23;
const PANEL_TITLE: i32 = 34;
const GROUP_TITLE: i32 = 30;
const GROUP_GAP: i32 = 8;
const AXIS: i32 = 62;

/// What a panel shows: some thread counts, and all shapes and contenders.
struct Panel<'a> {
    study: &'a Study,
    residence: Residence,
    threads: &'a [usize],
    shapes: &'a [(Shape, usize)],
    names: &'a [String],
    styles: &'a Styles,
    most: f64,
}

/// The figure for one residence; `None` if nothing was measured there.
pub(crate) fn speeds(study: &Study, residence: Residence) -> Option<String> {
    let rows = || study.rows().filter(|(_, row)| row.residence == residence);
    let styles = super::style_of(study);
    let mut shapes: Vec<(Shape, usize)> = Vec::new();
    let mut threads: Vec<usize> = Vec::new();
    let mut present: Vec<String> = Vec::new();
    for (count, row) in rows() {
        let is_same = |(shape, _): &(Shape, usize)| same_group(*shape, row.shape, residence);
        if !shapes.iter().any(is_same) {
            shapes.push((row.shape, row.count));
        }
        if !threads.contains(&count) {
            threads.push(count);
        }
        present.push(row.contender());
    }
    let names = styles.sorted(present.iter().map(String::as_str));
    let most = rows()
        .map(|(_, row)| row.weights_per_s / 1e9)
        .fold(0.0, f64::max);
    let panels: Vec<Panel<'_>> = threads
        .chunks(COLUMNS)
        .map(|threads| Panel {
            study,
            residence,
            threads,
            shapes: &shapes,
            names: &names,
            styles: &styles,
            most,
        })
        .collect();
    let height = HEADER + panels.iter().map(Panel::height).sum::<i32>();
    let title = format!("Ternary matrix-vector products, {}", place(residence));
    let subtitle = match residence {
        Residence::Memory => format!("{}; whiskers: median absolute deviation", study.cpu),
        Residence::Cache => format!(
            "{}; as many rows as fit half of the second-level caches",
            study.cpu
        ),
    };
    (!shapes.is_empty()).then(|| {
        svg(WIDTH, height, |area| {
            header(area, &title, &subtitle)?;
            let mut top = HEADER;
            for panel in &panels {
                panel.draw(area, top)?;
                top += panel.height();
            }
            Ok(())
        })
    })
}

/// Whether two shapes share a group: how many rows of a shape fit the caches depends on the threads.
fn same_group(a: Shape, b: Shape, residence: Residence) -> bool {
    a.cols == b.cols && (residence == Residence::Cache || a.rows == b.rows)
}

impl Panel<'_> {
    fn group_height(&self) -> i32 {
        GROUP_TITLE + self.names.len() as i32 * ROW + GROUP_GAP
    }

    fn height(&self) -> i32 {
        PANEL_TITLE + self.shapes.len() as i32 * self.group_height() + AXIS
    }

    /// The axis of column `index`.
    fn axis(&self, index: usize) -> Axis {
        let columns = self.threads.len() as i32;
        let width = (WIDTH - MARGIN - NAMES - (columns - 1) * COLUMN_GAP) / columns;
        let left = NAMES + index as i32 * (width + COLUMN_GAP);
        Axis::from_zero(self.most, (left, left + width - NUMBER))
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Drawn {
        for (index, &threads) in self.threads.iter().enumerate() {
            let left = self.axis(index).at(0.0);
            let heading = plural(threads, "thread");
            text(
                area,
                &heading,
                (left, top + PANEL_TITLE / 2),
                HEADING,
                Side::Left,
            )?;
        }
        let mut y = top + PANEL_TITLE;
        for (shape, count) in self.shapes {
            self.draw_group(area, (*shape, *count), y)?;
            y += self.group_height();
        }
        for index in 0..self.threads.len() {
            let axis = self.axis(index);
            // A narrow column has room for every second number only.
            let every = if self.threads.len() > 1 { 2 } else { 1 };
            axis.write_ticks(area, y + 8, every)?;
        }
        let unit = "10⁹ weights a second; longer is faster";
        text(area, unit, (NAMES, y + 34), TICK, Side::Left)
    }

    fn draw_group(&self, area: &Area<'_>, (shape, count): (Shape, usize), top: i32) -> Drawn {
        let title = match (self.residence, count) {
            (Residence::Cache, _) => format!("{} columns", shape.cols),
            (Residence::Memory, 0 | 1) => shape.to_string(),
            (Residence::Memory, count) => format!("{shape}, {count} times a token"),
        };
        text(
            area,
            &title,
            (MARGIN, top + GROUP_TITLE / 2 + 3),
            LABEL,
            Side::Left,
        )?;
        let first = top + GROUP_TITLE;
        let bottom = first + self.names.len() as i32 * ROW;
        for (position, name) in self.names.iter().enumerate() {
            let middle = first + position as i32 * ROW + ROW / 2;
            text(area, name, (NAMES - 10, middle), LABEL, Side::Right)?;
        }
        for (index, &threads) in self.threads.iter().enumerate() {
            let axis = self.axis(index);
            for x in axis.ticks().into_iter().map(|tick| axis.at(tick)) {
                line(area, (x, first), (x, bottom), FAINT, 1)?;
            }
            for (position, name) in self.names.iter().enumerate() {
                let middle = first + position as i32 * ROW + ROW / 2;
                match self.row(threads, shape, name) {
                    Some(row) => self.draw_bar(area, row, &axis, middle)?,
                    None => text(area, "–", (axis.at(0.0) + 4, middle), TICK, Side::Left)?,
                }
            }
        }
        Ok(())
    }

    /// A contender's row of a group; in cache, where several shapes may be in one, that with the most rows.
    fn row(&self, threads: usize, shape: Shape, name: &str) -> Option<&ComparisonRow> {
        let here = self.study.rows().filter(|(count, row)| {
            (*count, row.residence) == (threads, self.residence)
                && same_group(shape, row.shape, self.residence)
                && row.contender() == name
        });
        here.map(|(_, row)| row).max_by_key(|row| row.shape.rows)
    }

    fn draw_bar(&self, area: &Area<'_>, row: &ComparisonRow, axis: &Axis, middle: i32) -> Drawn {
        let speed = row.weights_per_s / 1e9;
        let (left, end) = (axis.at(0.0), axis.at(speed).max(axis.at(0.0) + 1));
        let bar = [(left, middle - BAR / 2), (end, middle + BAR / 2)];
        block(area, bar, self.styles.of(&row.contender()).colour)?;
        // Time scatters by its MAD; speed is its inverse, so the share is the same for small scatter.
        let scatter = speed * row.time_us.relative_mad().min(1.0);
        let from = axis.at(speed - scatter);
        let to = axis.at(speed + scatter).min(axis.pixels.1 + 8);
        line(area, (from, middle), (to.max(from), middle), INK, 1)?;
        number(area, speed, (to.max(end) + 5, middle))
    }
}

/// A speed beside its bar, on a ground of its own that keeps the grid out of it.
pub(crate) fn number(area: &Area<'_>, speed: f64, (x, middle): (i32, i32)) -> Drawn {
    let label = format!("{speed:.1}");
    let ground = [(x - 1, middle - 8), (x + LABEL.width(&label), middle + 8)];
    block(area, ground, plotters::style::WHITE)?;
    text(area, &label, (x, middle), LABEL, Side::Left)
}
