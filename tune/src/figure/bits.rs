//! Bits against speed: the best kernel of each way to store weights, from memory and in cache.
//!
//! From memory speed follows the bits where memory is the limit; in cache it follows the instructions.

use super::scatter::{HEIGHT, Panel, Point, Row, Upright, curve, curve_sign};
use super::style::{MARKERS, Style, Styles};
use super::*;
use crate::bench::Residence;
use crate::progress::plural;
use crate::report::place;

/// The figure; `None` if nothing was measured.
pub(crate) fn bits(study: &Study) -> Option<String> {
    let first = study.codes.first()?;
    let (shape, threads) = (study.largest().unwrap_or(first.shape), first.threads);
    let styles = Forms::new(study);
    let all = || study.codes.iter().map(|standing| standing.bits_per_weight);
    let (low, high) = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    let x = (low - 0.1, high + 0.1);
    let stream = study.stream(threads);
    let panels: Vec<Panel> = [Residence::Memory, Residence::Cache]
        .into_iter()
        .filter_map(|residence| panel(study, &styles, residence, stream, x))
        .collect();
    let heights = panels
        .iter()
        .flat_map(|panel| panel.points.iter().map(|point| point.y));
    let row = Row {
        panels: &panels,
        x,
        y: Upright::FromZero(1.15 * heights.fold(0.0, f64::max)),
        x_title: "bits that are read for each weight",
        y_title: "10⁹ weights a second",
    };
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (group, style) in &styles.0 {
        let style = *style;
        let sign = Box::new(move |area: &Area<'_>, at| style.draw(area, at, true));
        entries.push(Entry {
            sign,
            text: group.clone(),
        });
    }
    if stream.is_some() {
        let sign = Box::new(|area: &Area<'_>, at| curve_sign(area, at, 0));
        entries.push(Entry {
            sign,
            text: "streaming bandwidth".to_string(),
        });
    }
    let height = HEADER + HEIGHT + legend_height(&entries);
    let subtitle = format!("{}; {shape}, {}", study.cpu, plural(threads, "thread"));
    Some(svg(WIDTH, height, |area| {
        header(
            area,
            "Bits a weight against speed: the best kernel of each code",
            &subtitle,
        )?;
        row.draw(area, HEADER)?;
        legend(area, &entries, HEADER + HEIGHT)
    }))
}

fn panel(
    study: &Study,
    styles: &Forms,
    residence: Residence,
    stream: Option<f64>,
    x: (f64, f64),
) -> Option<Panel> {
    let here = study
        .codes
        .iter()
        .filter(|standing| standing.residence == residence);
    let points: Vec<Point> = here
        .filter_map(|standing| {
            let (_, style) = styles
                .0
                .iter()
                .find(|(group, _)| *group == standing.group)?;
            Some(Point {
                x: standing.bits_per_weight,
                y: standing.weights_per_s / 1e9,
                style: *style,
                filled: true,
            })
        })
        .collect();
    let (mut curves, mut subtitle) = (Vec::new(), "what the instructions cost".to_string());
    if let (Residence::Memory, Some(stream)) = (residence, stream) {
        curves.push(curve(x, |bits| 8.0 * stream / bits));
        subtitle = format!("the curve: {stream:.1} GB/s");
    }
    let title = place(residence).to_string();
    (!points.is_empty()).then_some(Panel {
        title,
        subtitle,
        points,
        curves,
    })
}

/// A style for each group: the colour of its contender, and a marker that no other group of that colour has.
struct Forms(Vec<(String, Style)>);

impl Forms {
    fn new(study: &Study) -> Forms {
        let styles: Styles = super::style_of(study);
        let mut groups: Vec<(usize, String, String)> = Vec::new();
        for standing in &study.codes {
            let contender = standing.contender();
            let group = (styles.order(&contender), standing.group.clone(), contender);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups.sort();
        let mut forms: Vec<(String, Style)> = Vec::new();
        for (_, group, contender) in groups {
            let is_new = |style: &Style| forms.iter().all(|(_, other)| other != style);
            let first = forms.len();
            let mut markers = (first..first + MARKERS).map(|index| styles.form(&contender, index));
            let style = markers
                .find(is_new)
                .unwrap_or_else(|| styles.of(&contender));
            forms.push((group, style));
        }
        Forms(forms)
    }
}
