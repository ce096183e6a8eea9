//! Where time goes, as stacked bars: one for each worker, a colour for each activity, and below a list of the activities with their
//! times. For whoever has such times: this crate takes none of a model itself.

use plotters::prelude::*;

use super::*;

/// A stack of times.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Title and subtitle.
    pub title: String,
    /// What is below the title.
    pub subtitle: String,
    /// For each bar its name, above which all parts are stacked.
    pub bars: Vec<String>,
    /// What the parts are, in the order of stacking.
    pub parts: Vec<StackPart>,
}

/// One part of every bar.
#[derive(Clone, Debug)]
pub struct StackPart {
    /// What it is.
    pub name: String,
    /// Milliseconds in each bar.
    pub ms: Vec<f64>,
    /// Drawn in grey: nothing is done.
    pub is_idle: bool,
}

/// Where bars start: left of it are their names.
const BARS_LEFT: i32 = 200;
const BAR: i32 = 34;
const ROW: i32 = 46;
const AXIS: i32 = 66;
/// A line of the list.
const LINE: i32 = 25;
const SWATCH: i32 = 14;
const LIST_NAME: i32 = MARGIN + 26;
/// Bars that have a column in the list, where the first column ends, and how wide one is.
const LIST_BARS: usize = 4;
const LIST_FIRST: i32 = 330;
const LIST_COLUMN: i32 = 183;

/// Hues after Okabe and Ito and darker and lighter ones of them: neighbours differ in lightness.
const COLOURS: [RGBColor; 14] = [
    RGBColor(0, 105, 170),
    RGBColor(240, 165, 20),
    RGBColor(105, 40, 120),
    RGBColor(140, 205, 240),
    RGBColor(205, 85, 20),
    RGBColor(40, 160, 120),
    RGBColor(225, 150, 195),
    RGBColor(35, 35, 60),
    RGBColor(170, 210, 120),
    RGBColor(120, 80, 45),
    RGBColor(250, 215, 110),
    RGBColor(0, 70, 80),
    RGBColor(200, 120, 220),
    RGBColor(90, 140, 210),
];
/// For what is idle.
const IDLE: [RGBColor; 3] = [
    RGBColor(206, 212, 218),
    RGBColor(150, 157, 165),
    RGBColor(228, 231, 235),
];

impl Stack {
    /// The figure as SVG text.
    pub fn to_svg(&self) -> String {
        let bars = self.bars.len() as i32 * ROW;
        let list = (self.parts.len() as i32 + 1) * LINE;
        let height = HEADER + bars + AXIS + list + MARGIN;
        svg(WIDTH, height, |area| {
            header(area, &self.title, &self.subtitle)?;
            self.draw_bars(area, HEADER)?;
            self.draw_list(area, HEADER + bars + AXIS)
        })
    }

    /// The colour of each part: greys for what is idle.
    fn colours(&self) -> Vec<RGBColor> {
        let (mut busy, mut idle) = (COLOURS.iter().cycle(), IDLE.iter().cycle());
        let next = |part: &StackPart| match part.is_idle {
            true => idle.next(),
            false => busy.next(),
        };
        let colours = self.parts.iter().map(next);
        colours.map(|colour| *colour.unwrap_or(&GREY)).collect()
    }

    fn draw_bars(&self, area: &Area<'_>, top: i32) -> Drawn {
        let lengths = (0..self.bars.len()).map(|bar| self.length(bar));
        let most = lengths.fold(0.0, f64::max);
        let axis = Axis::from_zero(most, (BARS_LEFT, WIDTH - 2 * MARGIN));
        let bottom = top + self.bars.len() as i32 * ROW;
        for tick in axis.ticks() {
            let x = axis.at(tick);
            line(area, (x, top), (x, bottom), FAINT, 1)?;
        }
        axis.write_ticks(area, bottom + 12, 1)?;
        let caption = "milliseconds of a token";
        text(area, caption, (BARS_LEFT, bottom + 36), TICK, Side::Left)?;
        for (bar, name) in self.bars.iter().enumerate() {
            let middle = top + bar as i32 * ROW + ROW / 2;
            text(area, name, (BARS_LEFT - 10, middle), LABEL, Side::Right)?;
            let mut from = 0.0;
            for (part, colour) in self.parts.iter().zip(self.colours()) {
                let (left, right) = (axis.at(from), axis.at(from + part.ms[bar]));
                from += part.ms[bar];
                if right > left {
                    let corners = [(left, middle - BAR / 2), (right, middle + BAR / 2)];
                    block(area, corners, colour)?;
                }
            }
        }
        Ok(())
    }

    /// The parts with their times in each bar, and what share of the bar that is. Where there are many bars, the first ones'.
    fn draw_list(&self, area: &Area<'_>, top: i32) -> Drawn {
        let columns = self.bars.len().min(LIST_BARS);
        let right = |column: usize| LIST_FIRST + LIST_COLUMN * column as i32;
        let middle = top + LINE / 2;
        for (column, name) in self.bars.iter().take(columns).enumerate() {
            text(area, name, (right(column), middle), TICK, Side::Right)?;
        }
        for (index, (part, colour)) in self.parts.iter().zip(self.colours()).enumerate() {
            let middle = middle + (index as i32 + 1) * LINE;
            let swatch = [
                (MARGIN, middle - SWATCH / 2),
                (MARGIN + SWATCH, middle + SWATCH / 2),
            ];
            block(area, swatch, colour)?;
            text(area, &part.name, (LIST_NAME, middle), LABEL, Side::Left)?;
            for (column, ms) in part.ms.iter().take(columns).enumerate() {
                let share = 100.0 * ms / self.length(column).max(f64::MIN_POSITIVE);
                let cell = format!("{ms:.3} ms, {share:.1} %");
                text(area, &cell, (right(column), middle), LABEL, Side::Right)?;
            }
        }
        Ok(())
    }

    /// Milliseconds of a bar.
    fn length(&self, bar: usize) -> f64 {
        self.parts.iter().map(|part| part.ms[bar]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(bars: usize, parts: usize) -> Stack {
        let part = |index: usize| StackPart {
            name: format!("part {index}"),
            ms: (0..bars).map(|bar| (index + bar) as f64 * 0.25).collect(),
            is_idle: index + 2 >= parts,
        };
        Stack {
            title: "Time".to_owned(),
            subtitle: "of a test".to_owned(),
            bars: (0..bars).map(|bar| format!("worker {bar}")).collect(),
            parts: (0..parts).map(part).collect(),
        }
    }

    #[test]
    fn every_part_and_bar_is_named() {
        for (bars, parts) in [(1, 1), (2, 22), (64, 22)] {
            let svg = stack(bars, parts).to_svg();
            for name in (0..parts).map(|part| format!("part {part}")) {
                assert!(svg.contains(&name), "{name}");
            }
            for name in (0..bars).map(|bar| format!("worker {bar}")) {
                assert!(svg.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn nothing_to_draw_is_drawn() {
        assert!(stack(0, 0).to_svg().contains("Time"));
        assert!(stack(1, 0).to_svg().contains("Time"));
    }
}
