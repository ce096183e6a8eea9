//! What all figures share: sizes, pens, texts, axes, and the page that a figure is drawn on.
//!
//! Figures are as wide as a README shows them, so that nothing is scaled and letters stay legible. All coordinates are
//! pixels. Each figure is in a file of its own: [`speeds`], [`roofline`], [`bits`], [`caps`], [`tiles`], [`stacked`].

pub(crate) mod bits;
pub(crate) mod caps;
pub(crate) mod roofline;
pub(crate) mod scatter;
pub(crate) mod speeds;
pub(crate) mod stacked;
pub(crate) mod style;
pub(crate) mod tiles;

use plotters::prelude::*;
use plotters::style::text_anchor::{Pos, VPos};

pub(crate) use plotters::style::text_anchor::HPos as Side;

use crate::study::{Standing, Study};
use style::Styles;

/// Width of every figure of a study.
pub(crate) const WIDTH: i32 = 900;
/// Space to the left and to the right.
pub(crate) const MARGIN: i32 = 20;
/// Height of title and subtitle.
pub(crate) const HEADER: i32 = 72;

pub(crate) const INK: RGBColor = RGBColor(33, 37, 41);
pub(crate) const FAINT: RGBColor = RGBColor(222, 226, 230);
pub(crate) const GREY: RGBColor = RGBColor(95, 102, 110);

/// Points of `plotters` to the pixel.
const POINTS: f64 = 1.24;

/// Size and colour of a text. Sizes are in points of `plotters`, 1.24 to the pixel.
#[derive(Clone, Copy)]
pub(crate) struct Pen(pub i32, pub RGBColor);

pub(crate) const TITLE: Pen = Pen(22, INK);
pub(crate) const SUBTITLE: Pen = Pen(17, GREY);
pub(crate) const HEADING: Pen = Pen(18, INK);
pub(crate) const LABEL: Pen = Pen(16, INK);
pub(crate) const TICK: Pen = Pen(16, GREY);

impl Pen {
    /// About how wide a text becomes, rather too wide than too narrow.
    pub(crate) fn width(self, text: &str) -> i32 {
        (0.6 * f64::from(self.0) / POINTS * text.chars().count() as f64).ceil() as i32
    }
}

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
pub(crate) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A figure as SVG text.
pub(crate) fn svg(width: i32, height: i32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let size = (width as u32, height as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        // Writing to a string cannot fail, and there is no font file to look for.
        let drawn = area
            .fill(&WHITE)
            .and_then(|()| draw(&area))
            .and_then(|()| area.present());
        debug_assert!(drawn.is_ok(), "{drawn:?}");
    }
    svg
}

/// Title and subtitle at the top of a figure.
pub(crate) fn header(area: &Area<'_>, title: &str, subtitle: &str) -> Drawn {
    text(area, title, (MARGIN, 24), TITLE, Side::Left)?;
    text(area, subtitle, (MARGIN, 50), SUBTITLE, Side::Left)
}

/// A text whose middle is at the height of `at`.
pub(crate) fn text(area: &Area<'_>, text: &str, at: (i32, i32), pen: Pen, side: Side) -> Drawn {
    let Pen(size, colour) = pen;
    let style = ("sans-serif", size).into_text_style(area).color(&colour);
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_string(), at, style))
}

/// A straight line.
pub(crate) fn line(
    area: &Area<'_>,
    from: (i32, i32),
    to: (i32, i32),
    colour: RGBColor,
    width: u32,
) -> Drawn {
    area.draw(&PathElement::new(
        vec![from, to],
        colour.stroke_width(width),
    ))
}

/// A filled rectangle.
pub(crate) fn block(area: &Area<'_>, corners: [(i32, i32); 2], colour: RGBColor) -> Drawn {
    area.draw(&Rectangle::new(corners, colour.filled()))
}

/// A linear axis: the values and the pixels of its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub values: (f64, f64),
    pub pixels: (i32, i32),
}

impl Axis {
    /// From 0 to a little more than `most`.
    pub(crate) fn from_zero(most: f64, pixels: (i32, i32)) -> Axis {
        let most = if most.is_finite() && most > 0.0 {
            most
        } else {
            1.0
        };
        let values = (0.0, most);
        Axis { values, pixels }
    }

    /// The pixel of a value.
    pub(crate) fn at(&self, value: f64) -> i32 {
        let (low, high) = self.values;
        let (from, to) = self.pixels;
        from + ((value - low) / (high - low) * f64::from(to - from)).round() as i32
    }

    /// Round values within the axis.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.values;
        let step = tick_step(high - low);
        let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
        (first..=last).map(|tick| tick as f64 * step).collect()
    }

    /// A tick's value in as few digits as its neighbours need.
    pub(crate) fn label(&self, tick: f64) -> String {
        let step = tick_step(self.values.1 - self.values.0);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        format!("{tick:.digits$}")
    }

    /// Writes the value of every `every`th tick of a horizontal axis, centred at height `y`.
    pub(crate) fn write_ticks(&self, area: &Area<'_>, y: i32, every: usize) -> Drawn {
        for tick in self.ticks().into_iter().step_by(every) {
            let at = (self.at(tick), y);
            text(area, &self.label(tick), at, TICK, Side::Center)?;
        }
        Ok(())
    }
}

/// A round distance between ticks that gives 4 to 10 of them up to `most`.
pub(crate) fn tick_step(most: f64) -> f64 {
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

/// What draws a sign around a point.
pub(crate) type Sign<'a> = Box<dyn Fn(&Area<'_>, (i32, i32)) -> Drawn + 'a>;

/// An entry of a legend: its sign, and what it says.
pub(crate) struct Entry<'a> {
    pub sign: Sign<'a>,
    pub text: String,
}

/// Height of a line of a legend.
const LEGEND_LINE: i32 = 26;
/// Room for an entry's sign, and between entries.
const SIGN: i32 = 24;

/// Where each entry of a legend stands, as offsets: entries flow like words and never run out of the figure.
fn flow(entries: &[Entry<'_>]) -> Vec<(i32, i32)> {
    let (mut x, mut y) = (MARGIN, LEGEND_LINE / 2);
    let place = |entry: &Entry<'_>| {
        let width = SIGN + LABEL.width(&entry.text) + SIGN / 2;
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + LEGEND_LINE);
        }
        let place = (x, y);
        x += width;
        place
    };
    entries.iter().map(place).collect()
}

/// Pixels that a legend is high.
pub(crate) fn legend_height(entries: &[Entry<'_>]) -> i32 {
    flow(entries)
        .last()
        .map_or(0, |(_, y)| y + LEGEND_LINE / 2 + 8)
}

/// A legend below everything else, where it covers nothing.
pub(crate) fn legend(area: &Area<'_>, entries: &[Entry<'_>], top: i32) -> Drawn {
    for (entry, (x, y)) in entries.iter().zip(flow(entries)) {
        (entry.sign)(area, (x + 9, top + y))?;
        text(area, &entry.text, (x + SIGN, top + y), LABEL, Side::Left)?;
    }
    Ok(())
}

/// The styles of everything that a study names.
pub(crate) fn style_of(study: &Study) -> Styles {
    let rows = study.rows().map(|(_, row)| row.contender());
    let standings = study.codes.iter().chain(&study.by_isa);
    let names: Vec<String> = rows.chain(standings.map(Standing::contender)).collect();
    Styles::of_contenders(names.iter().map(String::as_str))
}

#[cfg(test)]
#[path = "figure/figure_tests.rs"]
pub(crate) mod tests;
