//! A comparison with made-up numbers as table, CSV and chart.

use super::*;
use crate::bandwidth::Bandwidth;
use tern_kernels::{Tables, Tile};

fn row(
    shape: (usize, usize),
    residence: Residence,
    (family, variant, kernel): (Family, &'static str, &'static str),
    us: f64,
    bits: f64,
) -> ComparisonRow {
    let shape = Shape {
        rows: shape.0,
        cols: shape.1,
    };
    let weights = (shape.rows * shape.cols) as f64;
    let spread = |value: f64| Spread::of(vec![value * 0.99, value, value * 1.02]).unwrap();
    let in_memory = residence == Residence::Memory;
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
            prefetch: 16384,
            tables: Tables::Shared,
        },
        bits_per_weight: bits,
        time_us: spread(us),
        build_us: Some(spread(4.0)),
        weights_per_s: weights * 1e6 / us,
        bytes_per_s: weights * bits / 8.0 * 1e6 / us,
        stream_bytes_per_s: in_memory.then_some(28e9),
        bandwidth_share: in_memory.then_some(weights * bits / 8.0 * 1e6 / us / 28e9),
        vs_addsub: Some(spread(300.0 / us)),
        vs_mad: Some(spread(170.0 / us)),
    }
}

/// Two shapes, two residences, four contenders.
pub(crate) fn example() -> Comparison {
    let contenders = [
        (
            (Family::Lut, "", "gemv_lut_t5__avx512vbmi_p4k96"),
            140.0,
            1.6,
        ),
        (
            (
                Family::Mad,
                "shiftfree",
                "gemv_mad_b2_shiftfree__avx512vnni_p4k64",
            ),
            170.0,
            2.0,
        ),
        (
            (Family::Mad, "classic", "gemv_mad_b2__avx512vnni_p4k64"),
            210.0,
            2.0,
        ),
        (
            (Family::Addsub, "", "gemv_addsub_planes__avx512bw_p2k64"),
            300.0,
            2.0,
        ),
    ];
    let mut rows = Vec::new();
    for residence in [Residence::Memory, Residence::Cache] {
        for shape in [(6912, 2560), (640, 2560)] {
            for (kernel, us, bits) in contenders {
                let scale = (shape.0 * shape.1) as f64 / (6912.0 * 2560.0);
                let scale = if residence == Residence::Cache {
                    scale * 0.6
                } else {
                    scale
                };
                let mut row = row(shape, residence, kernel, us, bits);
                row.time_us =
                    Spread::of(row.time_us.samples.iter().map(|t| t * scale).collect()).unwrap();
                row.weights_per_s = (shape.0 * shape.1) as f64 * 1e6 / row.time_us.median;
                rows.push(row);
            }
        }
    }
    let spread = |value: f64| Spread::of(vec![value * 0.98, value, value * 1.01]).unwrap();
    let bandwidth = Bandwidth {
        threads: 2,
        bytes: 256 << 20,
        huge_pages: true,
        capped: false,
        streams: 4,
        gb_per_s: spread(28.0),
        by_streams: vec![(1, spread(25.0)), (2, spread(27.0)), (4, spread(28.0))],
        ghz: spread(3.7),
    };
    Comparison {
        cpu: "Example CPU 9000 @ 3.70GHz".to_string(),
        threads: 2,
        huge_pages: true,
        huge_bytes: Some(1 << 30),
        bandwidth: Some(bandwidth),
        ruler: vec![crate::bandwidth::RulerRounds {
            shape: Shape {
                rows: 6912,
                cols: 2560,
            },
            by_streams: vec![(1, vec![25.0, 25.5, 24.0]), (4, vec![28.0, 28.5, 27.0])],
            ghz: vec![3.7, 3.7, 3.6],
        }],
        rows,
        skipped: Vec::new(),
        notes: vec!["a note".to_string()],
        cancelled: false,
        seconds: 12.5,
    }
}

#[test]
fn the_table_has_every_row_and_fits_a_terminal() {
    let table = example().table();
    assert!(
        table.starts_with("Example CPU 9000 @ 3.70GHz, 2 threads, huge pages\n"),
        "{table}"
    );
    for row in &example().rows {
        assert!(table.contains(row.kernel), "{table}");
    }
    for line in table.lines() {
        assert!(
            line.chars().count() <= 132,
            "{} columns: {line}",
            line.chars().count()
        );
    }
    assert!(table.contains("1.21x"), "{table}");
    assert!(table.contains("note: a note"), "{table}");
}

#[test]
fn the_verdict_is_a_geometric_mean_of_the_best_lut() {
    let verdict = example().verdict();
    let expected = "weights in memory: the best lut has 2.14x the speed of the best addsub and 1.21x \
                    that of the best mad (2 shapes, ±0.02 each).";
    assert_eq!(verdict.lines().next(), Some(expected));
    assert_eq!(verdict.lines().count(), 2);
    assert_eq!(geometric_mean([2.0, 0.5].into_iter()), Some(1.0));
    assert_eq!(geometric_mean(std::iter::empty()), None);
}

#[test]
fn every_line_of_the_csv_has_all_columns() {
    let csv = example().to_csv();
    let mut lines = csv.lines();
    let columns = lines.next().unwrap().split(',').count();
    assert_eq!(columns, 29);
    let mut rows = 0;
    for line in lines {
        assert_eq!(line.split(',').count(), columns, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 16);
    assert!(csv.contains(
        "\n6912,2560,60,memory,2,huge,lut,,gemv_lut_t5__avx512vbmi_p4k96,1,0,16384,1.6000,140.000,"
    ));
    assert_eq!(example().samples_csv().lines().count(), 1 + 16 * 3 + 9);
    assert!(
        example()
            .samples_csv()
            .contains("\n6912,2560,memory,stream_4,1,28.500,GB/s\n")
    );
    // 140 + 4 µs beside 170 + 4 µs; 17.7 million weights in 140 µs by two cores at 3.7 GHz.
    assert!(
        csv.contains(",4.000,144.000,") && csv.contains(",1.2083,3,17.08\n"),
        "{csv}"
    );
}

/// The x coordinates, text and anchor of each text element of an SVG.
fn texts(svg: &str) -> Vec<(f64, f64, f64, String)> {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!(" {name}=\"")).nth(1).unwrap_or_default();
        value.split('"').next().unwrap_or_default().to_string()
    };
    svg.split("<text")
        .skip(1)
        .map(|rest| {
            let (tag, body) = rest.split_once('>').unwrap();
            let text = body.split_once("</text>").unwrap().0.trim().to_string();
            let size: f64 = attribute(tag, "font-size").parse().unwrap();
            let (x, y): (f64, f64) = (
                attribute(tag, "x").parse().unwrap(),
                attribute(tag, "y").parse().unwrap(),
            );
            // A sans-serif character is seldom wider than 0.6 of the size on average.
            let width = 0.6 * size * text.chars().count() as f64;
            let left = match attribute(tag, "text-anchor").as_str() {
                "end" => x - width,
                "middle" => x - width / 2.0,
                _ => x,
            };
            (left, left + width, y, text)
        })
        .collect()
}

#[test]
fn no_texts_of_the_chart_overlap_or_leave_it() {
    let svg = example().to_svg();
    let texts = texts(&svg);
    assert!(texts.len() > 40, "{}", texts.len());
    for (index, (left, right, y, text)) in texts.iter().enumerate() {
        assert!(
            *left >= 0.0 && *right <= 1240.0,
            "{text}: {left} to {right}"
        );
        for (other_left, other_right, other_y, other) in &texts[index + 1..] {
            let apart = right <= other_left || other_right <= left || (y - other_y).abs() >= 15.0;
            assert!(apart, "`{text}` and `{other}` overlap");
        }
    }
}

#[test]
fn the_chart_says_what_it_shows() {
    let svg = example().to_svg();
    for part in [
        "Example CPU 9000",
        "2 threads",
        "huge pages",
        "6912x2560",
        "mad shiftfree",
        "1.21x mad",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    // For a look at it: `TERN_CHART_OUT=chart.svg cargo test -p tern-tune chart_says`.
    if let Some(path) = std::env::var_os("TERN_CHART_OUT") {
        std::fs::write(path, svg).unwrap();
    }
}

#[test]
fn a_record_is_five_files() {
    let directory = std::env::temp_dir().join(format!("tern-record-{}", std::process::id()));
    let cpu = tern_kernels::Cpu::detect();
    let pages = tern_kernels::Pages::Huge;
    let environment = Environment::new(&cpu, "rustc", "tern compare", 2, pages);
    let paths = example()
        .write(&directory.join("new"), &environment)
        .unwrap();
    assert_eq!(paths.len(), 5);
    for path in &paths {
        assert!(
            !std::fs::read_to_string(path).unwrap().is_empty(),
            "{path:?}"
        );
    }
    let environment = std::fs::read_to_string(directory.join("new/environment.toml")).unwrap();
    assert!(
        environment.contains("huge_bytes = 1073741824"),
        "{environment}"
    );
    std::fs::remove_dir_all(directory).unwrap();
}
