//! What each ISA adds: the fastest kernel under each cap of `--max-isa`, from memory and in cache.

use super::style::Styles;
use super::*;
use crate::bench::Residence;
use crate::progress::plural;
use crate::report::place;

/// Where bars start: left of it are the ISAs.
const NAMES: i32 = 130;
/// Where the longest bar ends: right of it is room for its label.
const BARS_END: i32 = 520;
const BAR: i32 = 18;
const ROW: i32 = 27;
const PANEL_TITLE: i32 = 36;
const AXIS: i32 = 62;

/// The fastest kernel under one cap.
pub(crate) struct Cap<'a> {
    /// The last ISA that may be used.
    pub isa: &'static str,
    /// The fastest; its group is the ISA that it needs.
    pub best: &'a Standing,
}

/// The fastest kernel under each cap, in the order of the caps. Caps before the first ISA with a result are left out.
pub(crate) fn caps(study: &Study, residence: Residence) -> Vec<Cap<'_>> {
    let mut best: Option<&Standing> = None;
    let cap = |&isa: &&'static str| {
        let own = study
            .by_isa
            .iter()
            .find(|s| s.residence == residence && s.group == isa);
        if let Some(own) = own
            && best.is_none_or(|best| own.weights_per_s > best.weights_per_s)
        {
            best = Some(own);
        }
        best.map(|best| Cap { isa, best })
    };
    study.isas.iter().filter_map(cap).collect()
}

/// The figure; `None` if nothing was measured.
pub(crate) fn isa_caps(study: &Study) -> Option<String> {
    let first = study.by_isa.first()?;
    let (shape, threads) = (study.largest().unwrap_or(first.shape), first.threads);
    let styles = super::style_of(study);
    let panels: Vec<(Residence, Vec<Cap<'_>>)> = [Residence::Memory, Residence::Cache]
        .into_iter()
        .map(|residence| (residence, caps(study, residence)))
        .filter(|(_, caps)| !caps.is_empty())
        .collect();
    let panel_height = |caps: &[Cap<'_>]| PANEL_TITLE + caps.len() as i32 * ROW + AXIS;
    let height = HEADER
        + panels
            .iter()
            .map(|(_, caps)| panel_height(caps))
            .sum::<i32>();
    let subtitle = format!("{}; {shape}, {}", study.cpu, plural(threads, "thread"));
    Some(svg(WIDTH, height, |area| {
        header(
            area,
            "What each ISA adds: the fastest kernel up to it",
            &subtitle,
        )?;
        let mut top = HEADER;
        for (residence, caps) in &panels {
            draw_panel(area, &styles, *residence, caps, top)?;
            top += panel_height(caps);
        }
        Ok(())
    }))
}

fn draw_panel(
    area: &Area<'_>,
    styles: &Styles,
    residence: Residence,
    caps: &[Cap<'_>],
    top: i32,
) -> Drawn {
    text(
        area,
        place(residence),
        (MARGIN, top + PANEL_TITLE / 2),
        HEADING,
        Side::Left,
    )?;
    let most = caps
        .iter()
        .map(|cap| cap.best.weights_per_s / 1e9)
        .fold(0.0, f64::max);
    let axis = Axis::from_zero(most, (NAMES, BARS_END));
    let (first, bottom) = (
        top + PANEL_TITLE,
        top + PANEL_TITLE + caps.len() as i32 * ROW,
    );
    for tick in axis.ticks() {
        line(
            area,
            (axis.at(tick), first),
            (axis.at(tick), bottom),
            FAINT,
            1,
        )?;
    }
    axis.write_ticks(area, bottom + 12, 1)?;
    for (position, cap) in caps.iter().enumerate() {
        let middle = first + position as i32 * ROW + ROW / 2;
        text(area, cap.isa, (NAMES - 10, middle), LABEL, Side::Right)?;
        let end = axis.at(cap.best.weights_per_s / 1e9).max(NAMES + 1);
        let bar = [(NAMES, middle - BAR / 2), (end, middle + BAR / 2)];
        block(area, bar, styles.of(&cap.best.contender()).colour)?;
        let label = label(cap);
        let ground = [
            (end + 5, middle - 9),
            (end + 8 + LABEL.width(&label), middle + 9),
        ];
        block(area, ground, plotters::style::WHITE)?;
        text(area, &label, (end + 8, middle), LABEL, Side::Left)?;
    }
    text(
        area,
        "10⁹ weights a second; longer is faster",
        (NAMES, bottom + 36),
        TICK,
        Side::Left,
    )
}

/// `163.7, lut t5 p1k48`, or whose kernel it is where the cap's own ISA adds nothing.
fn label(cap: &Cap<'_>) -> String {
    let speed = cap.best.weights_per_s / 1e9;
    let digits = if speed < 10.0 { 2 } else { 1 };
    match cap.best.group == cap.isa {
        true => format!("{speed:.digits$}, {}", short(cap.best.kernel)),
        false => format!("{speed:.digits$}, as up to {}", cap.best.group),
    }
}

/// A kernel's id without what every id has and what the cap says: `lut t5 p1k48`.
pub(crate) fn short(id: &str) -> String {
    let (what, how) = id.split_once("__").unwrap_or((id, ""));
    let how = how.split_once('_').map_or("", |(_, how)| how);
    let what = what.strip_prefix("gemv_").unwrap_or(what);
    format!("{what} {how}")
        .replace('_', " ")
        .trim_end()
        .to_string()
}
