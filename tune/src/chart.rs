//! A comparison as a chart: horizontal bars, a group for each shape, the numbers beside the bars.
//!
//! The bars are horizontal because their labels are long: they cannot run into each other whatever the numbers are,
//! and the chart grows downwards with the number of shapes. All coordinates are pixels.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use tern_kernels::Family;

use crate::bench::Residence;
use crate::compare::{Comparison, ComparisonRow};
use crate::report::{groups, place};

const WIDTH: i32 = 1240;
const MARGIN: i32 = 32;
/// Where bars start: left of it are the contenders' names.
const BARS_LEFT: i32 = 200;
/// Where the longest bar ends: right of it is room for its label.
const BARS_RIGHT: i32 = 730;
const BAR_HEIGHT: i32 = 24;
const ROW_HEIGHT: i32 = 34;
const GROUP_TITLE_HEIGHT: i32 = 44;
const GROUP_GAP: i32 = 12;
const HEADER_HEIGHT: i32 = 140;
/// Ticks and the axis title below each panel.
const AXIS_HEIGHT: i32 = 88;
const PANEL_TITLE_HEIGHT: i32 = 40;

const INK: RGBColor = RGBColor(33, 37, 41);
const FAINT: RGBColor = RGBColor(222, 226, 230);
const GREY: RGBColor = RGBColor(95, 102, 110);

/// Size and colour of a text. Sizes are in points of `plotters`, 1.24 to the pixel.
#[derive(Clone, Copy)]
struct Pen(i32, RGBColor);

const TITLE: Pen = Pen(29, INK);
const SUBTITLE: Pen = Pen(20, GREY);
const HEADING: Pen = Pen(24, INK);
const SHAPE: Pen = Pen(20, INK);
const NAME: Pen = Pen(19, INK);
const LABEL: Pen = Pen(18, INK);
const TICK: Pen = Pen(18, GREY);

/// Colours that also differ in brightness, for print and for the colour-blind (after Okabe and Ito).
fn colour(row: &ComparisonRow) -> RGBColor {
    match (row.family, row.variant) {
        (Family::Lut, _) => RGBColor(0, 114, 178),
        (Family::Bitserial, _) => RGBColor(0, 158, 115),
        (Family::Mad, "classic") => RGBColor(240, 200, 120),
        (Family::Mad, _) => RGBColor(230, 159, 0),
        (Family::Addsub, _) => RGBColor(170, 178, 186),
        (Family::Reference, _) => RGBColor(120, 120, 120),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl Comparison {
    /// The chart as SVG text.
    pub fn to_svg(&self) -> String {
        let mut svg = String::new();
        let panels: Vec<(Residence, Vec<&[ComparisonRow]>)> = [Residence::Memory, Residence::Cache]
            .into_iter()
            .map(|residence| {
                let of_residence =
                    groups(&self.rows).filter(|group| group[0].residence == residence);
                (residence, of_residence.collect::<Vec<_>>())
            })
            .filter(|(_, groups)| !groups.is_empty())
            .collect();
        let height = HEADER_HEIGHT + panels.iter().map(|(_, g)| panel_height(g)).sum::<i32>();
        {
            let size = (WIDTH as u32, (height + MARGIN / 2) as u32);
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            // Writing to a string cannot fail, and there is no font file to look for.
            let drawn = draw(&area, self, &panels);
            debug_assert!(drawn.is_ok(), "{drawn:?}");
        }
        svg
    }
}

fn panel_height(groups: &[&[ComparisonRow]]) -> i32 {
    let bars: i32 = groups
        .iter()
        .map(|group| GROUP_TITLE_HEIGHT + group.len() as i32 * ROW_HEIGHT + GROUP_GAP)
        .sum();
    PANEL_TITLE_HEIGHT + bars + AXIS_HEIGHT
}

fn draw(
    area: &Area<'_>,
    comparison: &Comparison,
    panels: &[(Residence, Vec<&[ComparisonRow]>)],
) -> Drawn {
    area.fill(&WHITE)?;
    let title = "Ternary matrix-vector products: lookup tables against multiply-add and add/sub";
    text(area, title, (MARGIN, 38), TITLE, HPos::Left)?;
    text(
        area,
        &comparison.setting(),
        (MARGIN, 76),
        SUBTITLE,
        HPos::Left,
    )?;
    if let Some(bandwidth) = &comparison.bandwidth {
        let line = format!("streaming bandwidth {bandwidth}");
        text(area, &line, (MARGIN, 104), SUBTITLE, HPos::Left)?;
    }
    let mut top = HEADER_HEIGHT;
    for (residence, groups) in panels {
        draw_panel(area, *residence, groups, top)?;
        top += panel_height(groups);
    }
    area.present()
}

/// The horizontal axis of a panel: from 0 to the fastest contender.
struct Axis {
    most: f64,
    step: f64,
}

impl Axis {
    fn of(groups: &[&[ComparisonRow]]) -> Axis {
        let rows = groups.iter().flat_map(|group| group.iter());
        let most = rows.map(|row| row.weights_per_s / 1e9).fold(0.0, f64::max);
        Axis {
            most,
            step: tick_step(most),
        }
    }

    /// The pixel of a value.
    fn at(&self, value: f64) -> i32 {
        let pixels = f64::from(BARS_RIGHT - BARS_LEFT) / self.most.max(f64::MIN_POSITIVE);
        BARS_LEFT + (value * pixels).round() as i32
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = (self.most / self.step).floor() as i32;
        (0..=count).map(|tick| f64::from(tick) * self.step)
    }
}

/// One panel: its title, the groups of bars, the axis.
fn draw_panel(
    area: &Area<'_>,
    residence: Residence,
    groups: &[&[ComparisonRow]],
    top: i32,
) -> Drawn {
    let heading = match residence {
        Residence::Memory => place(residence).to_string(),
        Residence::Cache => format!("{} (fewer rows, so that they fit)", place(residence)),
    };
    let middle = top + PANEL_TITLE_HEIGHT / 2;
    text(area, &heading, (MARGIN, middle), HEADING, HPos::Left)?;
    let axis = Axis::of(groups);
    let mut y = top + PANEL_TITLE_HEIGHT;
    for group in groups {
        let first = &group[0];
        let title = match first.count {
            0 | 1 => first.shape.to_string(),
            count => format!("{}, {count} times a token", first.shape),
        };
        let middle = y + GROUP_TITLE_HEIGHT / 2 + 4;
        text(area, &title, (MARGIN, middle), SHAPE, HPos::Left)?;
        y += GROUP_TITLE_HEIGHT;
        let bottom = y + group.len() as i32 * ROW_HEIGHT;
        for x in axis.ticks().map(|tick| axis.at(tick)) {
            area.draw(&PathElement::new(
                vec![(x, y), (x, bottom)],
                FAINT.stroke_width(1),
            ))?;
        }
        for row in *group {
            draw_bar(area, row, y, &axis)?;
            y += ROW_HEIGHT;
        }
        y += GROUP_GAP;
    }
    for tick in axis.ticks() {
        let label = if axis.step < 1.0 {
            format!("{tick:.1}")
        } else {
            format!("{tick:.0}")
        };
        text(area, &label, (axis.at(tick), y + 8), TICK, HPos::Center)?;
    }
    let caption = "10⁹ weights a second; longer is faster; whiskers: median absolute deviation";
    text(area, caption, (BARS_LEFT, y + 38), TICK, HPos::Left)
}

/// One bar with its name on the left and its numbers on the right.
fn draw_bar(area: &Area<'_>, row: &ComparisonRow, y: i32, axis: &Axis) -> Drawn {
    let middle = y + ROW_HEIGHT / 2;
    let gigaweights = row.weights_per_s / 1e9;
    let (top, bottom) = (middle - BAR_HEIGHT / 2, middle + BAR_HEIGHT / 2);
    text(
        area,
        &row.contender(),
        (BARS_LEFT - 12, middle),
        NAME,
        HPos::Right,
    )?;
    let end = axis.at(gigaweights).max(BARS_LEFT + 1);
    area.draw(&Rectangle::new(
        [(BARS_LEFT, top), (end, bottom)],
        colour(row).filled(),
    ))?;
    // Time scatters by its MAD; speed is its inverse, so the share is the same for small scatter.
    let scatter = gigaweights * row.time_us.relative_mad().min(1.0);
    let from = axis.at(gigaweights - scatter);
    let to = axis.at(gigaweights + scatter).min(BARS_RIGHT + 20);
    area.draw(&PathElement::new(
        vec![(from, middle), (to, middle)],
        INK.stroke_width(1),
    ))?;
    // The label's own background keeps the grid out of it.
    let (label, x) = (label(row), to.max(end) + 10);
    let width = (f64::from(LABEL.0) / 1.24 * 0.52 * label.chars().count() as f64) as i32;
    let background = [(x - 3, top), (x + width, bottom)];
    area.draw(&Rectangle::new(background, WHITE.filled()))?;
    text(area, &label, (x, middle), LABEL, HPos::Left)
}

/// What stands beside a bar: `116.2   1.31x addsub   1.12x mad   93 % of bandwidth`.
fn label(row: &ComparisonRow) -> String {
    let mut parts = vec![format!("{:.1}", row.weights_per_s / 1e9)];
    if let Some(ratio) = row
        .vs_addsub
        .as_ref()
        .filter(|_| row.family != Family::Addsub)
    {
        parts.push(format!("{:.2}x addsub", ratio.median));
    }
    if let Some(ratio) = row
        .vs_mad
        .as_ref()
        .filter(|ratio| ratio.mad > 0.0 || ratio.median != 1.0)
    {
        parts.push(format!("{:.2}x mad", ratio.median));
    }
    if let Some(share) = row.bandwidth_share {
        parts.push(format!("{:.0} % of bandwidth", 100.0 * share));
    }
    parts.join(" · ")
}

/// A round distance between ticks that gives 4 to 10 of them up to `most`.
fn tick_step(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf((most / 4.0).log10().floor());
    [5.0, 2.0, 1.0]
        .into_iter()
        .map(|s| s * power)
        .find(|s| most / s >= 4.0)
        .unwrap_or(power)
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), pen: Pen, side: HPos) -> Drawn {
    let Pen(size, colour) = pen;
    let style = ("sans-serif", size).into_text_style(area).color(&colour);
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_string(), at, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_neither_crowded_nor_sparse() {
        for (most, expected) in [
            (197.0, 20.0),
            (100.0, 20.0),
            (39.0, 5.0),
            (1.0, 0.2),
            (8.0, 2.0),
        ] {
            assert_eq!(tick_step(most), expected, "{most}");
            assert!((4.0..=10.0).contains(&(most / expected)));
        }
        assert_eq!(tick_step(0.0), 1.0);
    }
}
