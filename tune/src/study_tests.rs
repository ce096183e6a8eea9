//! Studies with made-up numbers, their pages and files, and a tiny real one.

use std::path::Path;

use super::*;
use crate::bandwidth::{Bandwidth, RulerRounds};
use crate::environment::Environment;
use crate::spread::Spread;
use crate::write::WriteError;
use tern_kernels::{Tables, Tile};

/// Contenders: family, variant, code, a kernel of the registry or a made-up id, bits, speed from memory and in cache.
type Contender = (
    Family,
    &'static str,
    &'static str,
    &'static str,
    f64,
    [f64; 2],
);

/// As many as a report must be able to tell apart, and more.
pub(crate) const CONTENDERS: [Contender; 10] = [
    (
        Family::Lut,
        "",
        "t5",
        "gemv_lut_t5__avx512vbmi_p1k48",
        1.6,
        [164.0, 205.0],
    ),
    (
        Family::Mad,
        "shiftfree",
        "b2",
        "gemv_mad_b2__avx512vnni_shiftfree_p2k1024s",
        2.0,
        [141.0, 231.0],
    ),
    (
        Family::Mad,
        "classic",
        "b2",
        "gemv_mad_b2__avx512vnni_classic_p4k1024",
        2.0,
        [138.0, 180.0],
    ),
    (
        Family::Addsub,
        "",
        "planes",
        "gemv_addsub_planes__avx512bw_p2k64",
        2.0,
        [70.7, 88.0],
    ),
    (
        Family::Lut,
        "bit planes",
        "planes",
        "gemv_lut_planes__made_up_p1k8",
        2.0,
        [95.0, 120.0],
    ),
    (
        Family::Lut,
        "mirrored",
        "t4",
        "gemv_lut_t4__made_up_mirrored_p2k8",
        1.75,
        [101.0, 133.0],
    ),
    (
        Family::Mad,
        "decode table",
        "t5",
        "gemv_mad_t5__made_up_decode_p1k8",
        1.6,
        [127.0, 140.0],
    ),
    (
        Family::Mad,
        "decode shuffle",
        "t3",
        "gemv_mad_t3__made_up_decode_p1k8",
        1.667,
        [126.0, 139.0],
    ),
    (
        Family::Addsub,
        "blended",
        "planes",
        "gemv_addsub_planes__made_up_p1k8",
        2.0,
        [63.0, 80.0],
    ),
    (
        Family::Lut,
        "wide",
        "t2",
        "gemv_lut_t2__made_up_wide_p1k8",
        2.0,
        [88.0, 101.5],
    ),
];

fn spread(value: f64) -> Spread {
    Spread::of(vec![value * 0.98, value, value * 1.03]).unwrap()
}

fn row(contender: &Contender, shape: Shape, residence: Residence, gw: f64) -> ComparisonRow {
    let &(family, variant, _, kernel, bits_per_weight, _) = contender;
    let weights = shape.rows as f64 * shape.cols as f64;
    let bytes_per_s = gw * 1e9 * bits_per_weight / 8.0;
    let stream = (residence == Residence::Memory).then_some(36.4e9);
    ComparisonRow {
        shape,
        count: 60,
        residence,
        family,
        variant,
        kernel,
        tile: Tile {
            k_blocks: 1,
            chunk: 0,
            prefetch: 8192,
            tables: Tables::Shared,
        },
        bits_per_weight,
        time_us: spread(weights / gw / 1e3),
        build_us: Some(spread(4.0)),
        weights_per_s: gw * 1e9,
        bytes_per_s,
        stream_bytes_per_s: stream,
        bandwidth_share: stream.map(|stream| bytes_per_s / stream),
        vs_addsub: Some(spread(gw / 70.7)),
        vs_mad: Some(spread(gw / 141.0)),
    }
}

/// Rows of one thread count. Every third group lacks a contender.
fn rows(contenders: &[Contender], shapes: &[Shape], scale: f64) -> Vec<ComparisonRow> {
    let mut rows = Vec::new();
    for (at, residence) in [Residence::Memory, Residence::Cache]
        .into_iter()
        .enumerate()
    {
        for (group, &shape) in shapes.iter().enumerate() {
            let rows_here = if at == 0 {
                shape.rows
            } else {
                shape.rows.min(1536)
            };
            let shape = Shape {
                rows: rows_here,
                ..shape
            };
            let is_known = |row: &ComparisonRow| (row.shape, row.residence) == (shape, residence);
            if rows.iter().any(is_known) {
                continue;
            }
            let missing = (group % 3 == 1).then_some(group % contenders.len());
            let here = contenders
                .iter()
                .enumerate()
                .filter(|(i, _)| Some(*i) != missing);
            let speed = |c: &Contender| c.5[at] * scale * (1.0 - 0.07 * group as f64);
            let mut group: Vec<ComparisonRow> = here
                .map(|(_, c)| row(c, shape, residence, speed(c)))
                .collect();
            group.sort_by(|a, b| b.weights_per_s.total_cmp(&a.weights_per_s));
            rows.extend(group);
        }
    }
    rows
}

fn comparison(contenders: &[Contender], shapes: &[Shape], threads: usize) -> Comparison {
    let scale = (threads as f64).sqrt() / 2.0;
    let bandwidth = Bandwidth {
        threads,
        bytes: 256 << 20,
        huge_pages: true,
        capped: false,
        streams: 4,
        gb_per_s: spread(36.4 * scale),
        by_streams: vec![(4, spread(36.4 * scale))],
        ghz: spread(3.7),
    };
    let ruler = shapes.iter().map(|&shape| RulerRounds {
        shape,
        by_streams: vec![(4, vec![36.0, 36.4, 37.0])],
        ghz: vec![3.7, 3.7, 3.6],
    });
    Comparison {
        cpu: "Example CPU 9000 @ 3.70GHz".to_string(),
        threads,
        huge_pages: true,
        huge_bytes: Some(1 << 30),
        bandwidth: Some(bandwidth),
        ruler: ruler.collect(),
        rows: rows(contenders, shapes, scale),
        skipped: Vec::new(),
        notes: vec!["a note".to_string()],
        cancelled: false,
        seconds: 12.5,
    }
}

fn standing(
    group: String,
    contender: &Contender,
    shape: Shape,
    at: usize,
    threads: usize,
) -> Standing {
    let &(family, variant, _, kernel, bits_per_weight, speeds) = contender;
    let residence = [Residence::Memory, Residence::Cache][at];
    let gw = speeds[at] * (threads as f64).sqrt() / 2.0;
    Standing {
        group,
        shape,
        threads,
        residence,
        family,
        variant,
        kernel,
        tile: Tile {
            k_blocks: 1,
            chunk: 0,
            prefetch: 8192,
            tables: Tables::Shared,
        },
        bits_per_weight,
        time_us: spread(100.0),
        weights_per_s: gw * 1e9,
    }
}

fn tile_map(contender: &Contender, panels: &[usize], forms: &[&str], shape: Shape) -> TileMap {
    let &(family, variant, _, kernel, _, [speed, _]) = contender;
    let mut cells = Vec::new();
    for (i, &panels) in panels.iter().enumerate() {
        for (j, form) in forms.iter().enumerate().filter(|(j, _)| (i + j) % 4 != 3) {
            for (k, prefetch) in [0, 4096, 8192, 12288].into_iter().enumerate() {
                let worse = 1.0 + 0.06 * (i + 2 * j) as f64 + 0.05 * k.abs_diff(2) as f64;
                let gw = speed / worse;
                cells.push(TileCell {
                    kernel,
                    form: form.to_string(),
                    panels,
                    prefetch,
                    time_us: spread(100.0),
                    weights_per_s: gw * 1e9,
                });
            }
        }
    }
    TileMap {
        family,
        variant,
        isa: "avx512vbmi",
        shape,
        threads: 2,
        cells,
    }
}

/// A study of some contenders on some shapes with some thread counts.
pub(crate) fn example(
    contenders: &[Contender],
    shapes: &[(usize, usize)],
    threads: &[usize],
) -> Study {
    let shapes: Vec<Shape> = shapes
        .iter()
        .map(|&(rows, cols)| Shape { rows, cols })
        .collect();
    let (largest, most) = (shapes[0], *threads.last().unwrap());
    let codes = [0, 1].into_iter().flat_map(|at| {
        contenders.iter().map(move |c| {
            let code = format!("{} {}", contender_name(c.0, c.1), c.2);
            standing(code, c, largest, at, most)
        })
    });
    let isas = [
        "scalar",
        "ssse3",
        "avx2",
        "avxvnni",
        "avx512bw",
        "avx512vnni",
        "avx512vbmi",
    ];
    let by_isa = [0, 1].into_iter().flat_map(|at| {
        // The slowest first; the second ISA has no kernels.
        let last = contenders.len() - 1;
        let measured = isas.iter().enumerate().filter(|(i, _)| *i != 1);
        measured.map(move |(i, isa)| {
            let mut standing = standing(
                isa.to_string(),
                &contenders[last - i.min(last)],
                largest,
                at,
                most,
            );
            if i == 0 {
                standing.weights_per_s /= 80.0;
            }
            standing
        })
    });
    let dot = |threads: usize| DotPeak {
        isa: "avx512vnni",
        g_per_s: spread(236.0 * threads as f64),
        ghz: spread(3.7),
    };
    Study {
        cpu: "Example CPU 9000 @ 3.70GHz".to_string(),
        isas: isas.to_vec(),
        comparisons: threads
            .iter()
            .map(|&n| comparison(contenders, &shapes, n))
            .collect(),
        ceilings: threads
            .iter()
            .map(|&threads| Ceiling {
                threads,
                dot: Some(dot(threads)),
            })
            .collect(),
        codes: codes.collect(),
        by_isa: by_isa.collect(),
        tiles: vec![
            tile_map(
                &contenders[0],
                &[1, 2, 3, 4, 5],
                &["t5 k48", "t5 k48s", "t5 k96", "t7 k12"],
                largest,
            ),
            tile_map(
                contenders.get(1).unwrap_or(&contenders[0]),
                &[2, 4],
                &["b2 k1024", "b2 k1024s"],
                largest,
            ),
        ],
        notes: vec!["another note".to_string()],
        cancelled: false,
        seconds: 600.0,
    }
}

/// A common size, a large one and a small one.
pub(crate) fn examples() -> Vec<(&'static str, Study)> {
    let model = [(6912, 2560), (2560, 6912), (2560, 2560), (640, 2560)];
    let many: Vec<(usize, usize)> = (0..9)
        .map(|i| (14336 >> (i % 3), 4096 << (i / 3)))
        .collect();
    vec![
        ("usual", example(&CONTENDERS[..4], &model, &[1, 2])),
        ("large", example(&CONTENDERS, &many, &[1, 2, 4, 8, 16])),
        ("small", example(&CONTENDERS[..1], &model[..1], &[1])),
    ]
}

/// A study of which nothing but the frame was measured.
pub(crate) fn nothing() -> Study {
    let mut study = example(&CONTENDERS[..1], &[(64, 64)], &[1]);
    (study.comparisons, study.ceilings) = (Vec::new(), Vec::new());
    (study.codes, study.by_isa, study.tiles) = (Vec::new(), Vec::new(), Vec::new());
    study
}

fn environment() -> Environment {
    Environment::new(
        &Cpu::detect(),
        "rustc 1",
        "tern compare --report",
        2,
        Pages::Huge,
    )
}

#[test]
fn the_page_has_every_table_and_figure() {
    // For a look at it: `TERN_STUDY_OUT=folder cargo test -p tern-tune every_table`.
    if let Some(folder) = std::env::var_os("TERN_STUDY_OUT") {
        for (name, study) in examples() {
            study
                .write(&Path::new(&folder).join(name), &environment())
                .unwrap();
        }
    }
    for (name, study) in examples() {
        let page = study.page(&environment());
        for part in [
            "# Example CPU 9000",
            "| command | `tern compare --report` |",
            "## Families against each other",
            "![",
            "](speed-memory.svg)",
            "](speed-cache.svg)",
            "](roofline.svg)",
            "](bits.svg)",
            "](isa-caps.svg)",
            "](tiles.svg)",
            "| avx512vbmi |",
            "**116.0**",
            "* 1 thread: a note",
            "* another note",
        ] {
            let alone = name != "usual" && part.starts_with("**");
            assert!(alone || page.contains(part), "{name}: no {part} in\n{page}");
        }
        // Every row of a table has the columns of its head.
        for table in page.split("\n\n").filter(|block| block.starts_with('|')) {
            let columns = |line: &str| line.replace("\\|", "").matches('|').count();
            let first = columns(table.lines().next().unwrap());
            assert!(
                table.lines().all(|line| columns(line) == first),
                "{name}:\n{table}"
            );
        }
    }
}

#[test]
fn a_page_says_when_its_parts_disagree() {
    let (_, mut study) = examples().into_iter().next().unwrap();
    let said = |study: &Study| study.page(&environment()).contains("was not still");
    let (threads, row) = study.rows().next().unwrap();
    let mut other = study.codes[0].clone();
    (other.threads, other.shape, other.residence) = (threads, row.shape, row.residence);
    (other.kernel, other.weights_per_s) = (row.kernel, row.weights_per_s * 1.05);
    study.codes = vec![other];
    study.by_isa.clear();
    assert!(!said(&study));
    study.codes[0].weights_per_s *= 1.1;
    assert!(said(&study));
}

#[test]
fn a_page_without_numbers_is_only_short() {
    let page = nothing().page(&environment());
    assert!(!page.contains("!["), "{page}");
    assert!(page.contains("## Files"), "{page}");
}

#[test]
fn whoever_never_wins_is_explained() {
    let study = example(&CONTENDERS, &[(6912, 2560)], &[4]);
    let page = study.page(&environment());
    for (name, limit) in [
        ("mad classic", "memory is the limit"),
        ("addsub", "its instructions are the limit"),
    ] {
        let text = study.explanation(name);
        assert!(text.starts_with(&format!(
            "**{name}** is nowhere the fastest. On 6912x2560 with 4 threads"
        )));
        assert!(text.contains("reads 2.00 bits a weight"), "{text}");
        assert!(text.contains("; lut, the fastest there by "), "{text}");
        assert!(text.contains(limit), "{text}");
        assert!(page.contains(&text), "{text}");
    }
    // The winners from memory and in cache.
    for name in ["lut", "mad shiftfree"] {
        assert!(!page.contains(&format!("**{name}** is nowhere")), "{name}");
    }
}

#[test]
fn csv_lines_have_all_columns() {
    let study = example(&CONTENDERS, &[(6912, 2560), (640, 2560)], &[1, 2, 4]);
    let columns = |line: &str| line.split(',').count();
    for (csv, lines) in [
        (study.standings_csv(), 2 * (10 + 6)),
        (study.ceilings_csv(), 3),
        (
            study.tiles_csv(),
            study.tiles.iter().map(|map| map.cells.len()).sum(),
        ),
    ] {
        let head = csv.lines().next().unwrap();
        assert!(
            csv.lines().all(|line| columns(line) == columns(head)),
            "{csv}"
        );
        assert_eq!(csv.lines().count(), 1 + lines, "{csv}");
    }
    let mut study = study;
    study.ceilings[0].dot = None;
    study.comparisons.clear();
    let csv = study.ceilings_csv();
    assert!(csv.lines().all(|line| columns(line) == 8), "{csv}");
}

#[test]
fn a_tiny_study_is_complete_and_is_not_overwritten() {
    let mut cpu = Cpu::detect().capped(tern_kernels::Isa::Scalar);
    cpu.caches.l3 = 1 << 20;
    let work = [Work::alone(
        Shape {
            rows: 48,
            cols: 100,
        },
        1,
    )];
    let options = StudyOptions {
        threads: vec![2, 1, 2],
        pages: Pages::Small,
        budget: Duration::from_secs(30),
        rounds: 2,
    };
    let mut parts = Vec::new();
    let mut notice = |step: &Progress| {
        if let Progress::Part { index, total, .. } = step {
            parts.push((*index, *total));
        }
    };
    let study = study(&cpu, &work, &options, &mut notice, &AtomicBool::new(false)).unwrap();
    assert_eq!(parts, (1..=6).map(|index| (index, 6)).collect::<Vec<_>>());
    assert_eq!(study.threads(), [1, 2]);
    assert!(
        study.ceilings.iter().all(|ceiling| ceiling.dot.is_none()),
        "plain code has none"
    );
    assert!(
        study.codes.iter().any(|code| code.group == "lut t5"),
        "{:?}",
        study.codes
    );
    assert!(study.by_isa.iter().all(|best| best.group == "scalar"));
    assert_eq!((study.by_isa.len(), study.tiles.len()), (2, 2));
    let (best, worst) = study.tiles[0].extremes().unwrap();
    assert!(best.weights_per_s >= worst.weights_per_s);

    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("cpu/record");
    let files = study.write(&record, &environment()).unwrap();
    for file in [
        "README.md",
        "roofline.svg",
        "samples-2t.csv",
        "environment.toml",
    ] {
        assert!(files.contains(&record.join(file)), "{file}");
    }
    assert_eq!(std::fs::read_dir(&record).unwrap().count(), files.len());
    let again = study.write(&record, &environment()).unwrap_err();
    assert!(matches!(again, WriteError::Exists(_)), "{again}");
    assert_eq!(
        std::fs::read_dir(record.parent().unwrap()).unwrap().count(),
        1,
        "nothing else stays"
    );
}

#[test]
fn a_stopped_study_says_so() {
    let cpu = Cpu::detect().capped(tern_kernels::Isa::Scalar);
    let work = [Work::alone(
        Shape {
            rows: 48,
            cols: 100,
        },
        1,
    )];
    let stopped = AtomicBool::new(true);
    let study = study(&cpu, &work, &StudyOptions::new(&cpu), &mut |_| {}, &stopped).unwrap();
    assert!(study.cancelled && study.comparisons.is_empty());
    assert!(
        study.notes.iter().any(|note| note.contains("the tiles")),
        "{:?}",
        study.notes
    );
}
