//! Heat maps of the tile space: how fast each combination of panels, block and prefetch is.

use plotters::style::{RGBColor, WHITE};

use super::style::lightness;
use super::*;
use crate::progress::plural;
use crate::study::{TileCell, TileMap};

/// Where cells start: left of it are the forms.
const NAMES: i32 = 150;
const CELL_HEIGHT: i32 = 26;
const CELL_WIDTH_MAX: i32 = 52;
/// The heading and the two lines of numbers above the cells.
const MAP_HEADER: i32 = 82;
const MAP_GAP: i32 = 22;
const PANELS_GAP: i32 = 6;
const SCALE: i32 = 64;

/// The shares of the fastest tile's speed at the two ends of the colours.
const SHARES: (f64, f64) = (0.5, 1.0);
const PALE: RGBColor = RGBColor(236, 243, 250);
const DARK: RGBColor = RGBColor(8, 48, 107);

/// The colour of a share of the fastest tile's speed.
fn shade(share: f64) -> RGBColor {
    let t = ((share - SHARES.0) / (SHARES.1 - SHARES.0)).clamp(0.0, 1.0);
    let mix =
        |from: u8, to: u8| (f64::from(from) + t * (f64::from(to) - f64::from(from))).round() as u8;
    RGBColor(
        mix(PALE.0, DARK.0),
        mix(PALE.1, DARK.1),
        mix(PALE.2, DARK.2),
    )
}

/// The rows and columns of one map.
struct Grid<'a> {
    map: &'a TileMap,
    forms: Vec<&'a str>,
    panels: Vec<usize>,
    prefetches: Vec<usize>,
}

/// The figure; `None` if nothing was measured.
pub(crate) fn tiles(study: &Study) -> Option<String> {
    let maps = study.tiles.iter().filter(|map| !map.cells.is_empty());
    let grids: Vec<Grid<'_>> = maps.map(Grid::new).collect();
    let first = grids.first()?.map;
    let height = HEADER + grids.iter().map(Grid::height).sum::<i32>() + SCALE;
    let subtitle = format!(
        "{}; {} from memory, {}; numbers: 10⁹ weights a second",
        study.cpu,
        first.shape,
        plural(first.threads, "thread")
    );
    Some(svg(WIDTH, height, |area| {
        header(
            area,
            "Tiles of the best families: panels, block and prefetch",
            &subtitle,
        )?;
        let mut top = HEADER;
        for grid in &grids {
            grid.draw(area, top)?;
            top += grid.height();
        }
        draw_scale(area, top)
    }))
}

impl<'a> Grid<'a> {
    fn new(map: &'a TileMap) -> Grid<'a> {
        let mut forms: Vec<&str> = Vec::new();
        for cell in &map.cells {
            if !forms.contains(&cell.form.as_str()) {
                forms.push(&cell.form);
            }
        }
        let numbers = |of: fn(&TileCell) -> usize| {
            let mut numbers: Vec<usize> = map.cells.iter().map(of).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let panels = numbers(|cell| cell.panels);
        let prefetches = numbers(|cell| cell.prefetch);
        Grid {
            map,
            forms,
            panels,
            prefetches,
        }
    }

    fn height(&self) -> i32 {
        MAP_HEADER + self.forms.len() as i32 * CELL_HEIGHT + MAP_GAP
    }

    fn cell_width(&self) -> i32 {
        let columns = (self.panels.len() * self.prefetches.len()) as i32;
        let room = WIDTH - MARGIN - NAMES - self.panels.len() as i32 * PANELS_GAP;
        (room / columns).min(CELL_WIDTH_MAX)
    }

    /// The left edge of a column.
    fn x(&self, panels: usize, prefetch: usize) -> i32 {
        let columns = (panels * self.prefetches.len() + prefetch) as i32;
        NAMES + columns * self.cell_width() + panels as i32 * PANELS_GAP
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Drawn {
        let heading = format!("{} on {}", self.map.contender(), self.map.isa);
        text(area, &heading, (MARGIN, top + 14), HEADING, Side::Left)?;
        text(area, "panels", (NAMES - 10, top + 42), TICK, Side::Right)?;
        text(
            area,
            "prefetch, KiB",
            (NAMES - 10, top + 66),
            TICK,
            Side::Right,
        )?;
        let width = self.cell_width();
        for (i, panels) in self.panels.iter().enumerate() {
            let middle = (self.x(i, 0) + self.x(i, self.prefetches.len())) / 2;
            text(
                area,
                &panels.to_string(),
                (middle, top + 42),
                LABEL,
                Side::Center,
            )?;
            for (j, prefetch) in self.prefetches.iter().enumerate() {
                let kib = (prefetch / 1024).to_string();
                text(
                    area,
                    &kib,
                    (self.x(i, j) + width / 2, top + 66),
                    TICK,
                    Side::Center,
                )?;
            }
        }
        let fastest = self
            .map
            .extremes()
            .map_or(0.0, |(best, _)| best.weights_per_s);
        for (row, form) in self.forms.iter().enumerate() {
            let y = top + MAP_HEADER + row as i32 * CELL_HEIGHT;
            text(
                area,
                form,
                (NAMES - 10, y + CELL_HEIGHT / 2),
                LABEL,
                Side::Right,
            )?;
            for (i, panels) in self.panels.iter().enumerate() {
                for (j, prefetch) in self.prefetches.iter().enumerate() {
                    let at = (*form, *panels, *prefetch);
                    self.draw_cell(area, at, (self.x(i, j), y), fastest)?;
                }
            }
        }
        Ok(())
    }

    /// Draws one cell, or a dot where there is no such kernel or it was not measured.
    fn draw_cell(
        &self,
        area: &Area<'_>,
        (form, panels, prefetch): (&str, usize, usize),
        (x, y): (i32, i32),
        fastest: f64,
    ) -> Drawn {
        let (width, middle) = (self.cell_width(), y + CELL_HEIGHT / 2);
        let mut cells = self.map.cells.iter();
        let found = cells.find(|cell| {
            (cell.form.as_str(), cell.panels, cell.prefetch) == (form, panels, prefetch)
        });
        let Some(cell) = found else {
            return text(area, "·", (x + width / 2, middle), TICK, Side::Center);
        };
        let colour = shade(cell.weights_per_s / fastest);
        block(area, [(x, y), (x + width - 1, y + CELL_HEIGHT - 1)], colour)?;
        let ink = if lightness(colour) < 0.55 { WHITE } else { INK };
        let speed = cell.weights_per_s / 1e9;
        let label = if speed < 9.95 {
            format!("{speed:.1}")
        } else {
            format!("{speed:.0}")
        };
        let pen = Pen(LABEL.0, ink);
        if pen.width(&label) > width - 2 {
            return Ok(());
        }
        text(area, &label, (x + width / 2, middle), pen, Side::Center)
    }
}

/// The meaning of the colours.
fn draw_scale(area: &Area<'_>, top: i32) -> Drawn {
    const STEPS: i32 = 6;
    const WIDTH: i32 = 52;
    let (name, y) = ("share of the fastest tile", top + 8);
    let left = MARGIN + TICK.width(name) + 10;
    text(area, name, (MARGIN, y + 9), TICK, Side::Left)?;
    for step in 0..STEPS {
        let share = SHARES.0 + (SHARES.1 - SHARES.0) * f64::from(step) / f64::from(STEPS - 1);
        let x = left + step * WIDTH;
        block(area, [(x, y), (x + WIDTH, y + 18)], shade(share))?;
        let percent = format!("{:.0} %", 100.0 * share);
        text(area, &percent, (x + WIDTH / 2, y + 32), TICK, Side::Center)?;
    }
    let x = left + STEPS * WIDTH + 16;
    text(
        area,
        "· no such kernel, or not measured",
        (x, y + 9),
        TICK,
        Side::Left,
    )
}
