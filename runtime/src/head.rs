//! The last step of a pass: logits of the final hidden states, by the head itself or a copy of it.

use std::ops::Range;

use smallvec::SmallVec;
use tern_kernels::codebook::PANEL;
use tern_kernels::team::{bounds, pieces};
use tern_kernels::{Buffer, CodeBits, Columns, Cpu, MemoryError, Pages, Split};

use crate::clock::Activity;
use crate::dense::DenseMatrix;
use crate::engine::HeadUse;
use crate::forward::Pass;
use crate::model::{HeadMode, Model};
use crate::ops::head::{ROWS, logits};
use crate::ops::planes::{Planes, Query};
use crate::ops::screen::{Candidate, Keep, Largest, Screen};

/// A copy of the head in few bits.
pub(crate) enum HeadCopy {
    /// Finds the largest logits; all of them come from the head itself.
    Screen(Screen),
    /// Takes the head's place.
    Quantized(Planes),
}

impl HeadCopy {
    /// The copy of `head` that `mode` asks for; `None` where there is none, or none that pays.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn new(
        mode: HeadMode,
        head: &DenseMatrix,
        cpu: &Cpu,
        pages: Pages,
    ) -> Result<Option<HeadCopy>, MemoryError> {
        let planes = planes_of(mode);
        if planes.is_empty() || !Planes::can_hold(head.cols()) {
            return Ok(None);
        }
        let takes_its_place = matches!(mode, HeadMode::Q8 | HeadMode::Q6);
        if !takes_its_place && !HeadCopy::pays(mode, head, cpu) {
            return Ok(None);
        }
        let planes = Planes::new(head, planes, cpu, pages)?;
        Ok(HeadCopy::of_planes(mode, planes))
    }

    /// Whether a screen of `mode` is faster than `head`.
    pub fn pays(mode: HeadMode, head: &DenseMatrix, cpu: &Cpu) -> bool {
        !planes_of(mode).is_empty() && Screen::pays(head.cols(), head.bytes() as u64, cpu)
    }

    /// What [`HeadCopy::new`] made, of the parts of its planes ([`Planes::parts`]), which may have been stored; `None` if there are not as
    /// many of them, or not as long, as `mode` needs for a head of `shape`, rows and columns.
    pub fn from_parts(
        mode: HeadMode,
        shape: (usize, usize),
        cpu: &Cpu,
        parts: Vec<Buffer>,
    ) -> Option<HeadCopy> {
        let planes = Planes::from_parts(shape, planes_of(mode), cpu, parts)?;
        HeadCopy::of_planes(mode, planes)
    }

    fn of_planes(mode: HeadMode, planes: Planes) -> Option<HeadCopy> {
        match mode {
            HeadMode::Exact => Some(HeadCopy::Screen(Screen::exact(planes))),
            HeadMode::Screened4 => Some(HeadCopy::Screen(Screen::statistical(planes))),
            HeadMode::Q8 | HeadMode::Q6 => Some(HeadCopy::Quantized(planes)),
            HeadMode::Full => None,
        }
    }

    /// The planes that it consists of.
    pub fn planes(&self) -> &Planes {
        match self {
            HeadCopy::Screen(screen) => screen.planes(),
            HeadCopy::Quantized(planes) => planes,
        }
    }

    /// Bytes of it that are read for every hidden state.
    pub fn bytes_read(&self) -> u64 {
        match self {
            HeadCopy::Screen(screen) => screen.bytes_read(),
            HeadCopy::Quantized(planes) => planes.bytes() as u64,
        }
    }
}

/// The bits of the planes of a mode's copy; none where there is no copy.
///
/// A proven bound needs four bits for all rows. A statistical window is so much narrower that two bits leave few rows, which two more look at.
fn planes_of(mode: HeadMode) -> &'static [CodeBits] {
    use CodeBits::{Four, Two};
    match mode {
        HeadMode::Full => &[],
        HeadMode::Screened4 => &[Two, Two],
        HeadMode::Exact | HeadMode::Q6 => &[Four, Two],
        HeadMode::Q8 => &[Four, Two, Two],
    }
}

/// Bytes of the copy of `mode` for a head of `bytes` bytes, and how many of them are read for every hidden state; 0 where there is none.
pub(crate) fn copy_bytes(
    mode: HeadMode,
    (rows, cols): (usize, usize),
    bytes: u64,
    cpu: &Cpu,
) -> (u64, u64) {
    match planes_of(mode) {
        planes @ [first, ..] if Screen::pays(cols, bytes, cpu) => (
            Planes::bytes_for(rows, cols, planes),
            Planes::bytes_for(rows, cols, &[*first]),
        ),
        _ => (0, 0),
    }
}

/// Bounds are not tried for more of the largest logits than one row in so many.
const TOP_SHARE: usize = 32;

/// What a screened head keeps between hidden states.
#[derive(Default)]
pub(crate) struct HeadSpace {
    /// How the rows are split: the same for every hidden state.
    split: Option<(usize, Split)>,
    /// The same where all of the head, or of what takes its place, is read.
    whole: Option<(usize, Split)>,
    /// Each worker's.
    parts: Vec<Part>,
    candidates: Vec<Candidate>,
    scores: Vec<f32>,
}

/// What a worker found.
#[derive(Default)]
struct Part {
    best: Largest,
    /// Rows that the first plane did not exclude, and then the second.
    left: Vec<u32>,
    used: HeadUse,
}

/// Logits of the normalised rows `hidden`, the head's rows split over the team.
pub(crate) fn run(
    pass: &mut Pass<'_, '_>,
    model: &Model,
    space: &mut HeadSpace,
    hidden: &[f32],
    out: &mut [f32],
) {
    let (rows, cols) = (model.config.vocab_size, model.config.hidden_size);
    if hidden.is_empty() {
        return;
    }
    let positions = (hidden.len() / cols) as u64;
    let keeps = pass.rows.iter().filter(|row| row.logits);
    let keeps: SmallVec<[Option<Keep>; 8]> = keeps.map(|row| row.keep).collect();
    match &model.weights.head_copy {
        Some(HeadCopy::Screen(screen)) if keeps.iter().all(Option::is_some) => {
            let each = hidden.chunks_exact(cols).zip(out.chunks_exact_mut(rows));
            for ((hidden, out), keep) in each.zip(keeps.into_iter().flatten()) {
                let used = screened(pass, model, screen, space, hidden, keep, out);
                let used = used.unwrap_or_else(|| full(pass, model, space, hidden, out));
                *pass.head_use += used;
            }
        }
        Some(HeadCopy::Quantized(planes)) => {
            let queries: Vec<_> = hidden.chunks_exact(cols).map(Query::new).collect();
            let row_bytes = planes.bytes() / rows;
            over_rows(pass, space, (rows, row_bytes), out, |range, out| {
                planes.logits(range, &queries, out);
            });
            *pass.head_use += HeadUse {
                quantized: positions,
                bytes: planes.bytes() as u64,
                ..HeadUse::default()
            };
        }
        _ => {
            let used = full(pass, model, space, hidden, out);
            *pass.head_use += used;
        }
    }
}

/// Rows of a head that stay together: few enough that those of four bits are a small piece of work.
const UNIT: usize = 64;
const _: () = assert!(UNIT.is_multiple_of(ROWS) && UNIT.is_multiple_of(PANEL));

/// The rows of a head over the pieces of a team's work, of which each worker has so many; each row costs reading `row_bytes`.
fn split(rows: usize, row_bytes: usize, threads: usize) -> (usize, Split) {
    let pieces = pieces(rows / threads * row_bytes, threads);
    let bounds = bounds(threads, pieces, rows.div_ceil(UNIT), |unit| {
        (unit * UNIT).min(rows)
    });
    let rows: Vec<usize> = bounds.iter().map(|unit| (unit * UNIT).min(rows)).collect();
    (pieces, Split::at(rows))
}

/// Calls `f` for pieces of a head's rows, with their logits of each position.
fn over_rows(
    pass: &mut Pass<'_, '_>,
    space: &mut HeadSpace,
    (rows, row_bytes): (usize, usize),
    out: &mut [f32],
    f: impl Fn(Range<usize>, &mut [&mut [f32]]) + Sync,
) {
    let is_one = out.len() == rows;
    let threads = pass.session.threads();
    let whole = &mut space.whole;
    let (pieces, split) = &*whole.get_or_insert_with(|| split(rows, row_bytes, threads));
    let mut matrices = [Columns::new(out, split)];
    pass.pieces(
        &mut vec![(); threads],
        *pieces,
        &mut matrices,
        |worker, ()| {
            let range = split.range(worker.place);
            match is_one {
                true => f(range, &mut [worker.strips.row(0, 0)]),
                false => {
                    let mut out: Vec<_> = worker.strips.rows(0).collect();
                    f(range, &mut out);
                }
            }
            worker.clock.lap(Activity::Head);
        },
    );
}

/// The logits of all rows of the head, for any number of positions.
fn full(
    pass: &mut Pass<'_, '_>,
    model: &Model,
    space: &mut HeadSpace,
    hidden: &[f32],
    out: &mut [f32],
) -> HeadUse {
    let head = model.weights.head();
    let row_bytes = head.bytes() / head.rows();
    over_rows(pass, space, (head.rows(), row_bytes), out, |range, out| {
        logits(head, range, hidden, out);
    });
    HeadUse {
        full: (hidden.len() / head.cols()) as u64,
        bytes: head.bytes() as u64,
        ..HeadUse::default()
    }
}

/// The wanted logits of one position and those that might have been among them, the others negative infinity; `None` if bounds do not help.
fn screened(
    pass: &mut Pass<'_, '_>,
    model: &Model,
    screen: &Screen,
    space: &mut HeadSpace,
    hidden: &[f32],
    keep: Keep,
    out: &mut [f32],
) -> Option<HeadUse> {
    let head = model.weights.head();
    let first = keep.first();
    if first > 1 && first > head.rows() / TOP_SHARE {
        return None;
    }
    let query = Query::coarse(hidden)?;
    pass.clock.lap(Activity::Screen);
    let HeadSpace {
        split: known,
        parts,
        candidates,
        scores,
        ..
    } = space;
    let threads = pass.session.threads();
    parts.resize_with(threads, Part::default);
    for part in &mut *parts {
        part.best.begin(first);
        part.used = HeadUse::default();
    }
    let row_bytes = screen.planes().row_bytes(0);
    let (pieces, split) = &*known.get_or_insert_with(|| split(head.rows(), row_bytes, threads));
    let mut matrices = [Columns::new(out, split)];
    pass.pieces(parts, *pieces, &mut matrices, |worker, part| {
        let range = split.range(worker.place);
        screen.estimate(range, &query, &mut part.best, worker.strips.row(0, 0));
        worker.clock.lap(Activity::Screen);
    });
    // The same rows whoever found them.
    candidates.clear();
    candidates.extend(parts.iter().flat_map(|part| part.best.found()));
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    candidates.truncate(first);
    scores.clear();
    for candidate in &*candidates {
        let (row, mut score) = (candidate.row, [0.0]);
        logits(head, row..row + 1, hidden, &mut [&mut score]);
        scores.extend(score);
    }
    let floor = keep.floor(scores)?;
    pass.pieces(parts, *pieces, &mut matrices, |worker, part| {
        let range = split.range(worker.place);
        let out = worker.strips.row(0, 0);
        let vectors = (hidden, &query);
        part.used += screen.score(head, range, vectors, floor, &mut part.left, out);
        worker.clock.lap(Activity::Head);
    });
    let mut used = HeadUse {
        screened: 1,
        bytes: screen.bytes_read(),
        ..HeadUse::default()
    };
    parts.iter().for_each(|part| used += part.used);
    Some(used)
}
