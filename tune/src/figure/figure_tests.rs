//! Every figure with made-up numbers: usual, many of everything, one of everything, nothing.

use super::*;
use crate::bench::Residence;
use crate::study::tests::{CONTENDERS, example, examples, nothing};

/// A text of an SVG: its box and what it says.
#[derive(Debug)]
struct Word {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    text: String,
}

fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let value = tag.split(&format!(" {name}=\"")).nth(1).unwrap_or_default();
    value.split('"').next().unwrap_or_default()
}

/// The texts of an SVG. One that is turned has its width as its height.
fn words(svg: &str) -> Vec<Word> {
    let word = |rest: &str| {
        let (tag, body) = rest.split_once('>').unwrap();
        let text = body.split_once("</text>").unwrap().0.trim().to_string();
        let number = |name| attribute(tag, name).parse::<f64>().unwrap();
        let (size, x, y) = (number("font-size"), number("x"), number("y"));
        // A sans-serif character is seldom wider than 0.6 of the size on average.
        let width = 0.6 * size * text.chars().count() as f64;
        if tag.contains("rotate") {
            let (top, bottom) = (y - width / 2.0, y + width / 2.0);
            return Word {
                left: x - size / 2.0,
                right: x + size / 2.0,
                top,
                bottom,
                text,
            };
        }
        let left = match attribute(tag, "text-anchor") {
            "end" => x - width,
            "middle" => x - width / 2.0,
            _ => x,
        };
        let (top, bottom) = (y - size / 2.0, y + size / 2.0);
        Word {
            left,
            right: left + width,
            top,
            bottom,
            text,
        }
    };
    svg.split("<text").skip(1).map(word).collect()
}

/// No text overlaps another or leaves the figure, and none is too small to read.
fn assert_legible(name: &str, svg: &str) {
    let (width, height): (f64, f64) = (
        attribute(svg, "width").parse().unwrap(),
        attribute(svg, "height").parse().unwrap(),
    );
    let words = words(svg);
    assert!(words.len() > 5, "{name}: {words:?}");
    for (index, word) in words.iter().enumerate() {
        let inside =
            word.left >= 0.0 && word.right <= width && word.top >= 0.0 && word.bottom <= height;
        assert!(
            inside,
            "{name}: `{}` leaves the figure: {word:?}",
            word.text
        );
        for other in &words[index + 1..] {
            let apart = word.right <= other.left
                || other.right <= word.left
                || word.bottom <= other.top
                || other.bottom <= word.top;
            assert!(
                apart,
                "{name}: `{}` and `{}` overlap",
                word.text, other.text
            );
        }
    }
    for size in svg.split(" font-size=\"").skip(1) {
        let size: f64 = size.split('"').next().unwrap().parse().unwrap();
        assert!(size >= 12.0, "{name}: letters of {size} pixels");
    }
}

/// The figures of a study.
fn figures(study: &Study) -> Vec<(&'static str, Option<String>)> {
    vec![
        (
            "speeds from memory",
            speeds::speeds(study, Residence::Memory),
        ),
        ("speeds in cache", speeds::speeds(study, Residence::Cache)),
        ("roofline", roofline::roofline(study)),
        ("bits", bits::bits(study)),
        ("ISA caps", caps::isa_caps(study)),
        ("tiles", tiles::tiles(study)),
    ]
}

#[test]
fn every_figure_is_legible_whatever_the_numbers() {
    for (name, study) in examples() {
        for (figure, svg) in figures(&study) {
            let svg = svg.unwrap_or_else(|| panic!("{name}: no {figure}"));
            assert_eq!(attribute(&svg, "width"), WIDTH.to_string());
            assert_legible(&format!("{name}, {figure}"), &svg);
            let unit = if figure == "tiles" {
                "KiB"
            } else {
                "10⁹ weights a second"
            };
            assert!(svg.contains(unit), "{name}: {figure} has no unit");
        }
    }
}

#[test]
fn nothing_makes_no_figure() {
    for (figure, svg) in figures(&nothing()) {
        assert_eq!(svg, None, "{figure}");
    }
}

#[test]
fn parts_that_are_missing_leave_the_rest_standing() {
    let mut study = example(&CONTENDERS[..4], &[(6912, 2560), (640, 2560)], &[1, 2]);
    // No bandwidth, no dot product, one family in the last comparison, no cache.
    study.comparisons[0].bandwidth = None;
    study
        .ceilings
        .iter_mut()
        .for_each(|ceiling| ceiling.dot = None);
    study.comparisons[1]
        .rows
        .retain(|row| row.variant.is_empty() && row.residence == Residence::Memory);
    study
        .codes
        .retain(|code| code.residence == Residence::Cache);
    study
        .by_isa
        .retain(|best| best.residence == Residence::Cache && best.group != "scalar");
    study.tiles[0].cells.truncate(1);
    study.tiles[1].cells.clear();
    for (figure, svg) in figures(&study) {
        assert_legible(figure, &svg.unwrap_or_else(|| panic!("no {figure}")));
    }
    let caps = caps::caps(&study, Residence::Cache);
    assert_eq!(caps[0].isa, "avx2", "caps without a result are left out");
}

#[test]
fn a_cap_keeps_the_best_of_the_caps_before_it() {
    let study = example(&CONTENDERS, &[(6912, 2560)], &[2]);
    let caps = caps::caps(&study, Residence::Memory);
    assert_eq!(caps.len(), study.isas.len());
    assert!(
        caps.windows(2)
            .all(|pair| pair[0].best.weights_per_s <= pair[1].best.weights_per_s)
    );
    assert_eq!(
        caps[1].best.group, "scalar",
        "the second ISA has no kernels of its own"
    );
    assert_eq!(caps::short("gemv_lut_t5__avx512vbmi_p1k48"), "lut t5 p1k48");
    assert_eq!(caps::short("odd"), "odd");
}

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
    let axis = Axis {
        values: (1.5, 2.1),
        pixels: (100, 160),
    };
    assert_eq!((axis.at(1.5), axis.at(1.8), axis.at(2.1)), (100, 130, 160));
    let labels: Vec<String> = axis
        .ticks()
        .into_iter()
        .map(|tick| axis.label(tick))
        .collect();
    assert_eq!(labels, ["1.5", "1.6", "1.7", "1.8", "1.9", "2.0", "2.1"]);
}
