//! A roofline: how fast a contender is by how many weights it finds in a byte, under what memory and the dot product allow.
//!
//! From memory nothing is faster than its bytes arrive: the rising line, weights a byte times streaming bandwidth. A
//! family that multiplies each weight is not faster than the dot product, in cache neither: the level line. Tables are
//! not bound by that line, and may cross it.

use super::scatter::{Curve, HEIGHT, Panel, Point, Row, Upright, curve, curve_sign};
use super::style::{Style, Styles};
use super::*;
use crate::bench::Residence;
use crate::compare::ComparisonRow;
use crate::progress::plural;

const DASH: i32 = 6;
/// Points of the largest shape are shown for one thread and for the most.
const PANELS: usize = 2;

/// The figure; `None` if nothing was measured.
pub(crate) fn roofline(study: &Study) -> Option<String> {
    let shape = study.largest()?;
    let styles = super::style_of(study);
    let mut threads = study.threads();
    if threads.len() > PANELS {
        threads = vec![threads[0], threads[threads.len() - 1]];
    }
    let rows: Vec<&ComparisonRow> = threads
        .iter()
        .flat_map(|&count| both(study, count))
        .collect();
    let density = |bits: f64| 8.0 / bits;
    let (low, high) = rows
        .iter()
        .map(|row| density(row.bits_per_weight))
        .fold((f64::INFINITY, 0f64), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    let x = (
        (2.0 * low).floor() / 2.0 - 0.5,
        (2.0 * high).ceil() / 2.0 + 0.5,
    );
    let panels: Vec<Panel> = threads
        .iter()
        .map(|&count| panel(study, &styles, count, x))
        .collect();
    let heights = panels.iter().flat_map(|panel| {
        let points = panel.points.iter().map(|point| point.y);
        points.chain(
            panel
                .curves
                .iter()
                .flat_map(|curve| curve.points.iter().map(|point| point.1)),
        )
    });
    let (least, most) = heights.fold((f64::INFINITY, 0f64), |(a, b), y| (a.min(y), b.max(y)));
    let row = Row {
        panels: &panels,
        x,
        y: Upright::Ratios(0.8 * least, 1.25 * most),
        x_title: "weights in a byte that is read",
        y_title: "10⁹ weights a second",
    };
    let names: Vec<String> = rows.iter().map(|row| row.contender()).collect();
    let entries = entries(&styles, &styles.sorted(names.iter().map(String::as_str)));
    let height = HEADER + HEIGHT + legend_height(&entries);
    let subtitle = format!(
        "{}; the largest shape, {shape}, and the part of it that fits the caches",
        study.cpu
    );
    Some(svg(WIDTH, height, |area| {
        header(
            area,
            "Roofline: what memory and the dot product allow",
            &subtitle,
        )?;
        row.draw(area, HEADER)?;
        legend(area, &entries, HEADER + HEIGHT)
    }))
}

/// The rows of the largest shape from memory and in cache.
fn both(study: &Study, threads: usize) -> impl Iterator<Item = &ComparisonRow> {
    let of = move |residence| study.largest_rows(threads, residence);
    [Residence::Memory, Residence::Cache]
        .into_iter()
        .flat_map(of)
}

fn panel(study: &Study, styles: &Styles, threads: usize, (from, to): (f64, f64)) -> Panel {
    let points = both(study, threads).map(|row| Point {
        x: 8.0 / row.bits_per_weight,
        y: row.weights_per_s / 1e9,
        style: styles.of(&row.contender()),
        filled: row.residence == Residence::Memory,
    });
    let (mut curves, mut ceilings) = (Vec::new(), Vec::new());
    if let Some(stream) = study.stream(threads) {
        curves.push(curve((from, to), |density| density * stream));
        ceilings.push(format!("memory {stream:.1} GB/s"));
    }
    if let Some(dot) = study.dot(threads) {
        let peak = dot.g_per_s.median;
        curves.push(Curve {
            points: vec![(from, peak), (to, peak)],
            dash: DASH,
        });
        ceilings.push(format!("dot product {peak:.0} G/s"));
    }
    Panel {
        title: plural(threads, "thread"),
        subtitle: ceilings.join(", "),
        points: points.collect(),
        curves,
    }
}

fn entries<'a>(styles: &'a Styles, names: &[String]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for name in names {
        let style = styles.of(name);
        entries.push(Entry {
            sign: Box::new(move |area, at| style.draw(area, at, true)),
            text: name.clone(),
        });
    }
    for (filled, text) in [(true, "filled: from memory"), (false, "hollow: in cache")] {
        entries.push(Entry {
            sign: Box::new(move |area, at| Style::NEUTRAL.draw(area, at, filled)),
            text: text.to_string(),
        });
    }
    entries.push(Entry {
        sign: Box::new(|area, at| curve_sign(area, at, 0)),
        text: "streaming bandwidth".to_string(),
    });
    entries.push(Entry {
        sign: Box::new(|area, at| curve_sign(area, at, DASH)),
        text: "dot product, one weight a byte".to_string(),
    });
    entries
}
