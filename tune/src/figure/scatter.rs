//! Points in panels: what the roofline and the chart of bits have in common.

use plotters::element::DashedPathElement;

use super::style::Style;
use super::*;

const PANEL_TITLE: i32 = 52;
const PLOT_HEIGHT: i32 = 300;
const AXIS: i32 = 66;
/// Room for the numbers of the vertical axis.
const NUMBERS: i32 = 58;
const PANEL_GAP: i32 = 22;
/// Markers closer than this would cover each other.
const APART: i32 = 12;
/// How many places are tried for a point, its own first.
const STEPS_ASIDE: i32 = 13;

/// Pixels that a row of panels is high.
pub(crate) const HEIGHT: i32 = PANEL_TITLE + PLOT_HEIGHT + AXIS;

/// A point with its marker.
pub(crate) struct Point {
    pub x: f64,
    pub y: f64,
    pub style: Style,
    pub filled: bool,
}

/// A curve that nothing goes beyond: its points from left to right, and the length of its dashes (0: none).
pub(crate) struct Curve {
    pub points: Vec<(f64, f64)>,
    pub dash: i32,
}

/// Pieces that a bent curve is drawn in.
const PIECES: usize = 16;

/// The curve of a function between two ends.
pub(crate) fn curve((from, to): (f64, f64), value: impl Fn(f64) -> f64) -> Curve {
    let at = |piece| from + (to - from) * piece as f64 / PIECES as f64;
    let points = (0..=PIECES)
        .map(|piece| (at(piece), value(at(piece))))
        .collect();
    Curve { points, dash: 0 }
}

/// One panel.
pub(crate) struct Panel {
    pub title: String,
    pub subtitle: String,
    pub points: Vec<Point>,
    pub curves: Vec<Curve>,
}

/// The vertical axis: from zero to a value, or between two values in equal ratios, for numbers of different magnitude.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upright {
    FromZero(f64),
    Ratios(f64, f64),
}

impl Upright {
    /// The axis in pixels. Values in equal ratios are placed by their logarithms.
    fn axis(self, pixels: (i32, i32)) -> Axis {
        match self {
            Upright::FromZero(most) => Axis::from_zero(most, pixels),
            Upright::Ratios(low, high) => Axis {
                values: (low.log10(), high.log10()),
                pixels,
            },
        }
    }

    /// Where a value stands on the axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Upright::FromZero(_) => value,
            Upright::Ratios(..) => value.log10(),
        }
    }

    fn most(self) -> f64 {
        match self {
            Upright::FromZero(most) | Upright::Ratios(_, most) => most,
        }
    }

    /// Round values with their labels.
    fn ticks(self, axis: &Axis) -> Vec<(f64, String)> {
        let Upright::Ratios(low, high) = self else {
            return axis
                .ticks()
                .into_iter()
                .map(|tick| (tick, axis.label(tick)))
                .collect();
        };
        let powers = low.log10().floor() as i32..=high.log10().floor() as i32;
        let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
        ticks
            .filter(|tick| (low..=high).contains(tick))
            .map(|tick| {
                (
                    tick,
                    if tick < 1.0 {
                        format!("{tick:.1}")
                    } else {
                        format!("{tick:.0}")
                    },
                )
            })
            .collect()
    }
}

/// Panels beside each other, with the same axes.
pub(crate) struct Row<'a> {
    pub panels: &'a [Panel],
    /// The ends of the horizontal axis.
    pub x: (f64, f64),
    pub y: Upright,
    pub x_title: &'a str,
    pub y_title: &'a str,
}

impl Row<'_> {
    pub(crate) fn draw(&self, area: &Area<'_>, top: i32) -> Drawn {
        let count = self.panels.len().max(1) as i32;
        let width = (WIDTH - 2 * MARGIN - (count - 1) * PANEL_GAP) / count;
        for (index, panel) in self.panels.iter().enumerate() {
            let left = MARGIN + index as i32 * (width + PANEL_GAP);
            self.draw_panel(area, panel, (left, top), width)?;
        }
        Ok(())
    }

    fn draw_panel(
        &self,
        area: &Area<'_>,
        panel: &Panel,
        (left, top): (i32, i32),
        width: i32,
    ) -> Drawn {
        let (from, to) = (left + NUMBERS, left + width - 10);
        let (high, low) = (top + PANEL_TITLE, top + PANEL_TITLE + PLOT_HEIGHT);
        text(area, &panel.title, (from, top + 12), HEADING, Side::Left)?;
        text(area, &panel.subtitle, (from, top + 34), TICK, Side::Left)?;
        let x = Axis {
            values: self.x,
            pixels: (from, to),
        };
        let y = self.y.axis((low, high));
        self.draw_axes(area, &x, &y)?;
        let below = ((from + to) / 2, low + 40);
        text(area, self.x_title, below, TICK, Side::Center)?;
        self.draw_y_title(area, (left + 8, (high + low) / 2))?;
        for curve in &panel.curves {
            self.draw_curve(area, curve, &x, &y)?;
        }
        self.draw_points(area, &panel.points, &x, &y)
    }

    /// The grid with its numbers, and the two axes over it.
    fn draw_axes(&self, area: &Area<'_>, x: &Axis, y: &Axis) -> Drawn {
        let ((left, right), (low, high)) = (x.pixels, y.pixels);
        for tick in x.ticks() {
            let at = x.at(tick);
            line(area, (at, high), (at, low), FAINT, 1)?;
            text(area, &x.label(tick), (at, low + 14), TICK, Side::Center)?;
        }
        for (tick, label) in self.y.ticks(y) {
            let at = y.at(self.y.place(tick));
            line(area, (left, at), (right, at), FAINT, 1)?;
            text(area, &label, (left - 8, at), TICK, Side::Right)?;
        }
        line(area, (left, high), (left, low), GREY, 1)?;
        line(area, (left, low), (right, low), GREY, 1)
    }

    fn draw_y_title(&self, area: &Area<'_>, at: (i32, i32)) -> Drawn {
        let style = ("sans-serif", TICK.0).into_text_style(area).color(&TICK.1);
        let style = style
            .pos(Pos::new(Side::Center, VPos::Center))
            .transform(FontTransform::Rotate270);
        area.draw(&Text::new(self.y_title.to_string(), at, style))
    }

    /// Draws what of a curve lies below the upper end of the axis.
    fn draw_curve(&self, area: &Area<'_>, curve: &Curve, x: &Axis, y: &Axis) -> Drawn {
        let points = curve
            .points
            .iter()
            .filter(|(_, value)| *value <= self.y.most());
        let pixels = points.map(|&(at, value)| (x.at(at), y.at(self.y.place(value))));
        stroke(area, pixels.collect(), curve.dash)
    }

    /// Draws points; those that would cover each other are moved to the sides.
    fn draw_points(&self, area: &Area<'_>, points: &[Point], x: &Axis, y: &Axis) -> Drawn {
        let mut taken: Vec<(i32, i32)> = Vec::new();
        let (left, right) = (x.pixels.0 + APART, x.pixels.1 - APART);
        for point in points {
            let (wanted, middle) = (x.at(point.x), y.at(self.y.place(point.y)));
            let is_free = |at: &i32| {
                let covers =
                    |(x, y): &(i32, i32)| (x - at).abs() < APART && (y - middle).abs() < APART;
                (left..=right).contains(at) && !taken.iter().any(covers)
            };
            // 0, -1, 1, -2, 2, …
            let sides =
                (0..STEPS_ASIDE).map(|i: i32| (i / 2 + i % 2) * if i % 2 == 0 { 1 } else { -1 });
            let at = sides
                .map(|side| wanted + side * (APART + 1))
                .find(is_free)
                .unwrap_or(wanted);
            taken.push((at, middle));
            point.style.draw(area, (at, middle), point.filled)?;
        }
        Ok(())
    }
}

/// A line through points, in dashes of `dash` pixels unless that is zero.
fn stroke(area: &Area<'_>, pixels: Vec<(i32, i32)>, dash: i32) -> Drawn {
    let stroke = INK.stroke_width(2);
    match dash {
        0 => area.draw(&PathElement::new(pixels, stroke)),
        dash => area.draw(&DashedPathElement::new(pixels, dash, dash / 2 + 2, stroke)),
    }
}

/// A piece of a curve for a legend.
pub(crate) fn curve_sign(area: &Area<'_>, (x, y): (i32, i32), dash: i32) -> Drawn {
    stroke(area, vec![(x - 9, y), (x + 9, y)], dash)
}
