//! A comparison as a chart: horizontal bars, a group for each shape, the numbers beside the bars.
//!
//! The bars are horizontal because their labels are long: they cannot run into each other whatever the numbers are,
//! and the chart grows downwards with the number of shapes. All coordinates are pixels.

use plotters::style::WHITE;
use tern_kernels::Family;

use crate::bench::Residence;
use crate::compare::{Comparison, ComparisonRow};
use crate::figure::style::Styles;
use crate::figure::{Area, Axis, Drawn, FAINT, GREY, INK, Pen, Side, block, line, svg, text};
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

const TITLE: Pen = Pen(29, INK);
const SUBTITLE: Pen = Pen(20, GREY);
const HEADING: Pen = Pen(24, INK);
const SHAPE: Pen = Pen(20, INK);
const NAME: Pen = Pen(19, INK);
const LABEL: Pen = Pen(18, INK);
const TICK: Pen = Pen(18, GREY);

impl Comparison {
    /// The chart as SVG text.
    pub fn to_svg(&self) -> String {
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
        let contenders: Vec<String> = self.rows.iter().map(ComparisonRow::contender).collect();
        let styles = Styles::of_contenders(contenders.iter().map(String::as_str));
        svg(WIDTH, height + MARGIN / 2, |area| {
            draw(area, self, &styles, &panels)
        })
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
    styles: &Styles,
    panels: &[(Residence, Vec<&[ComparisonRow]>)],
) -> Drawn {
    let title = "Ternary matrix-vector products: lookup tables against multiply-add and add/sub";
    text(area, title, (MARGIN, 38), TITLE, Side::Left)?;
    text(
        area,
        &comparison.setting(),
        (MARGIN, 76),
        SUBTITLE,
        Side::Left,
    )?;
    if let Some(bandwidth) = &comparison.bandwidth {
        let line = format!("streaming bandwidth {bandwidth}");
        text(area, &line, (MARGIN, 104), SUBTITLE, Side::Left)?;
    }
    let mut top = HEADER_HEIGHT;
    for (residence, groups) in panels {
        draw_panel(area, styles, *residence, groups, top)?;
        top += panel_height(groups);
    }
    Ok(())
}

/// One panel: its title, the groups of bars, the axis.
fn draw_panel(
    area: &Area<'_>,
    styles: &Styles,
    residence: Residence,
    groups: &[&[ComparisonRow]],
    top: i32,
) -> Drawn {
    let heading = match residence {
        Residence::Memory => place(residence).to_string(),
        Residence::Cache => format!("{} (fewer rows, so that they fit)", place(residence)),
    };
    let middle = top + PANEL_TITLE_HEIGHT / 2;
    text(area, &heading, (MARGIN, middle), HEADING, Side::Left)?;
    let rows = groups.iter().flat_map(|group| group.iter());
    let most = rows.map(|row| row.weights_per_s / 1e9).fold(0.0, f64::max);
    let axis = Axis::from_zero(most, (BARS_LEFT, BARS_RIGHT));
    let mut y = top + PANEL_TITLE_HEIGHT;
    for group in groups {
        let first = &group[0];
        let title = match first.count {
            0 | 1 => first.shape.to_string(),
            count => format!("{}, {count} times a token", first.shape),
        };
        let middle = y + GROUP_TITLE_HEIGHT / 2 + 4;
        text(area, &title, (MARGIN, middle), SHAPE, Side::Left)?;
        y += GROUP_TITLE_HEIGHT;
        let bottom = y + group.len() as i32 * ROW_HEIGHT;
        for x in axis.ticks().into_iter().map(|tick| axis.at(tick)) {
            line(area, (x, y), (x, bottom), FAINT, 1)?;
        }
        for row in *group {
            draw_bar(area, styles, row, y, &axis)?;
            y += ROW_HEIGHT;
        }
        y += GROUP_GAP;
    }
    axis.write_ticks(area, y + 8, 1)?;
    let caption = "10⁹ weights a second; longer is faster; whiskers: median absolute deviation";
    text(area, caption, (BARS_LEFT, y + 38), TICK, Side::Left)
}

/// One bar with its name on the left and its numbers on the right.
fn draw_bar(area: &Area<'_>, styles: &Styles, row: &ComparisonRow, y: i32, axis: &Axis) -> Drawn {
    let middle = y + ROW_HEIGHT / 2;
    let gigaweights = row.weights_per_s / 1e9;
    let (top, bottom) = (middle - BAR_HEIGHT / 2, middle + BAR_HEIGHT / 2);
    text(
        area,
        &row.contender(),
        (BARS_LEFT - 12, middle),
        NAME,
        Side::Right,
    )?;
    let end = axis.at(gigaweights).max(BARS_LEFT + 1);
    block(
        area,
        [(BARS_LEFT, top), (end, bottom)],
        styles.of(&row.contender()).colour,
    )?;
    // Time scatters by its MAD; speed is its inverse, so the share is the same for small scatter.
    let scatter = gigaweights * row.time_us.relative_mad().min(1.0);
    let from = axis.at(gigaweights - scatter);
    let to = axis.at(gigaweights + scatter).min(BARS_RIGHT + 20);
    line(area, (from, middle), (to, middle), INK, 1)?;
    // The label's own background keeps the grid out of it.
    let (label, x) = (label(row), to.max(end) + 10);
    let width = (f64::from(LABEL.0) / 1.24 * 0.52 * label.chars().count() as f64) as i32;
    let background = [(x - 3, top), (x + width, bottom)];
    block(area, background, WHITE)?;
    text(area, &label, (x, middle), LABEL, Side::Left)
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
