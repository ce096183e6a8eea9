//! The colour and the marker of each contender: the same in every figure, and told apart without colour too.
//!
//! They are assigned in the order of the registry, so a family that is added later needs nothing here. Neighbours in the
//! list of colours differ in lightness, for print and for the colour-blind, and there are fewer markers than colours,
//! so that two contenders of the same colour have different markers.

use plotters::prelude::*;
use tern_kernels::{Family, KernelDesc, kernels};

use super::{Area, Drawn};

/// Hues after Okabe and Ito, dark and light in turn.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 105, 170),
    RGBColor(240, 165, 20),
    RGBColor(35, 35, 60),
    RGBColor(205, 85, 20),
    RGBColor(140, 205, 240),
    RGBColor(105, 40, 120),
    RGBColor(40, 160, 120),
    RGBColor(120, 80, 45),
    RGBColor(225, 150, 195),
];

/// How many markers there are.
pub(crate) const MARKERS: usize = 8;

/// Unit outlines; `y` grows downwards.
const OUTLINES: [&[(f64, f64)]; MARKERS] = [
    &CIRCLE,
    &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    &[(0.0, -1.15), (1.1, 0.8), (-1.1, 0.8)],
    &[(0.0, -1.25), (1.0, 0.0), (0.0, 1.25), (-1.0, 0.0)],
    &PLUS,
    &[(0.0, 1.15), (1.1, -0.8), (-1.1, -0.8)],
    &CROSS,
    &[(-1.3, -0.5), (1.3, -0.5), (1.3, 0.5), (-1.3, 0.5)],
];

const CIRCLE: [(f64, f64); 12] = [
    (1.0, 0.0),
    (0.87, 0.5),
    (0.5, 0.87),
    (0.0, 1.0),
    (-0.5, 0.87),
    (-0.87, 0.5),
    (-1.0, 0.0),
    (-0.87, -0.5),
    (-0.5, -0.87),
    (0.0, -1.0),
    (0.5, -0.87),
    (0.87, -0.5),
];

const PLUS: [(f64, f64); 12] = [
    (-0.4, -1.2),
    (0.4, -1.2),
    (0.4, -0.4),
    (1.2, -0.4),
    (1.2, 0.4),
    (0.4, 0.4),
    (0.4, 1.2),
    (-0.4, 1.2),
    (-0.4, 0.4),
    (-1.2, 0.4),
    (-1.2, -0.4),
    (-0.4, -0.4),
];

const CROSS: [(f64, f64); 12] = [
    (0.0, -0.5),
    (0.6, -1.1),
    (1.1, -0.6),
    (0.5, 0.0),
    (1.1, 0.6),
    (0.6, 1.1),
    (0.0, 0.5),
    (-0.6, 1.1),
    (-1.1, 0.6),
    (-0.5, 0.0),
    (-1.1, -0.6),
    (-0.6, -1.1),
];

/// Half the size of a marker.
pub(crate) const MARKER: f64 = 6.5;

/// Colour and marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub colour: RGBColor,
    marker: usize,
}

impl Style {
    /// A grey circle, for legends.
    pub(crate) const NEUTRAL: Style = Style {
        colour: super::GREY,
        marker: 0,
    };

    /// Draws the marker around `at`, filled or hollow.
    pub(crate) fn draw(self, area: &Area<'_>, at: (i32, i32), filled: bool) -> Drawn {
        // Outlines are in whole pixels; so are the edges of what is drawn over them.
        let point = |&(x, y): &(f64, f64)| {
            let pixels = |v: f64| (v * MARKER).round() as i32;
            (at.0 + pixels(x), at.1 + pixels(y))
        };
        let mut outline: Vec<(i32, i32)> = OUTLINES[self.marker].iter().map(point).collect();
        let fill = if filled { self.colour } else { WHITE };
        area.draw(&Polygon::new(outline.clone(), fill.filled()))?;
        outline.push(outline[0]);
        let edge = if filled {
            super::INK.stroke_width(1)
        } else {
            self.colour.stroke_width(2)
        };
        area.draw(&PathElement::new(outline, edge))
    }
}

/// The styles of some names, in order.
#[derive(Clone, Debug)]
pub(crate) struct Styles(Vec<String>);

impl Styles {
    /// Styles of the contenders: the registry's, then whatever else is in `present`.
    pub(crate) fn of_contenders<'a>(present: impl Iterator<Item = &'a str>) -> Styles {
        Styles::new(
            |kernel| contender_name(kernel.family, kernel.variant),
            present,
        )
    }

    fn new<'a>(
        name: impl Fn(&KernelDesc) -> String,
        present: impl Iterator<Item = &'a str>,
    ) -> Styles {
        let mut names: Vec<String> = Vec::new();
        let registered = kernels().filter(|kernel| kernel.family != Family::Reference);
        for name in registered.map(name).chain(present.map(str::to_string)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Styles(names)
    }

    /// Where a name stands, for the order of bars and legends. Names that are unknown come last.
    pub(crate) fn order(&self, name: &str) -> usize {
        let known = self.0.iter().position(|known| known == name);
        known.unwrap_or(self.0.len())
    }

    /// The style of a name.
    pub(crate) fn of(&self, name: &str) -> Style {
        let index = self.order(name);
        Style {
            colour: COLOURS[index % COLOURS.len()],
            marker: index % MARKERS,
        }
    }

    /// The same colour with the marker number `index`: for the forms of one contender.
    pub(crate) fn form(&self, name: &str, index: usize) -> Style {
        Style {
            marker: index % MARKERS,
            ..self.of(name)
        }
    }

    /// `present` in the order of the styles, each once.
    pub(crate) fn sorted<'a>(&self, present: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut names: Vec<String> = present.map(str::to_string).collect();
        names.sort_by_key(|name| (self.order(name), name.clone()));
        names.dedup();
        names
    }
}

/// Family and variant: `mad shiftfree`.
pub(crate) fn contender_name(family: Family, variant: &str) -> String {
    if variant.is_empty() {
        family.to_string()
    } else {
        format!("{family} {variant}")
    }
}

/// How light a colour is, from 0 to 1, as the eye weighs its parts.
pub(crate) fn lightness(RGBColor(r, g, b): RGBColor) -> f64 {
    (0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b)) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_differ_in_lightness_and_no_two_styles_are_the_same() {
        for pair in COLOURS.windows(2) {
            let apart = (lightness(pair[0]) - lightness(pair[1])).abs();
            assert!(apart > 0.1, "{pair:?} differ by {apart:.2}");
        }
        let names: Vec<String> = (0..40).map(|i| format!("made up {i}")).collect();
        let styles = Styles::of_contenders(names.iter().map(String::as_str));
        let mut seen: Vec<Style> = Vec::new();
        for name in &names {
            let style = styles.of(name);
            assert!(!seen.contains(&style), "{name}: {style:?}");
            seen.push(style);
        }
    }

    #[test]
    fn the_registry_comes_first_and_each_name_once() {
        let styles = Styles::of_contenders(["zeta", "addsub"].into_iter());
        assert!(styles.order("addsub") < styles.order("zeta"));
        assert!(styles.order("zeta") < styles.order("unknown"));
        let sorted = styles.sorted(["zeta", "lut", "addsub", "lut"].into_iter());
        assert_eq!(sorted.len(), 3, "{sorted:?}");
        assert_eq!(sorted[2], "zeta");
    }
}
