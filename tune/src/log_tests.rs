//! Logs of real tunings on small matrices: interrupted, damaged, foreign.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tern_kernels::{Cpu, Family, Force, Pages, Shape};

use super::*;
use crate::progress::Progress;
use crate::random::Random;
use crate::shapes::Work;
use crate::tune::{Past, TuneOptions, Tuning, tune_further};

/// A folder of its own for each test.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn cpu() -> Cpu {
    let mut cpu = Cpu::detect();
    cpu.caches.l3 = 1 << 18;
    cpu
}

const WORK: [Work; 2] = [
    Work::alone(
        Shape {
            rows: 200,
            cols: 330,
        },
        3,
    ),
    Work::alone(
        Shape {
            rows: 64,
            cols: 128,
        },
        1,
    ),
];

fn options() -> TuneOptions {
    TuneOptions {
        threads: vec![1],
        rigor: Rigor::Measure,
        budget: Duration::from_millis(800),
        pages: Pages::Small,
        force: Some(Force::Family(Family::Mad)),
        store_noisy: true,
    }
}

/// Tunes with the log at `path`; stopped when job `stop_at` begins. Also returns the jobs whose races were run.
fn tune_with(path: &Path, stop_at: usize) -> (Tuning, Vec<usize>) {
    let (cpu, mut log) = (cpu(), Log::open(path).unwrap());
    let cancel = AtomicBool::new(false);
    let (mut job, mut raced) = (0, Vec::new());
    let mut progress = |step: &Progress| match step {
        Progress::Job { index, .. } => {
            job = *index;
            cancel.store(*index >= stop_at, Ordering::Relaxed);
        }
        Progress::Stage { .. } if !raced.contains(&job) => raced.push(job),
        _ => {}
    };
    let past = Past {
        profile: None,
        log: Some(&mut log),
    };
    let tuning = tune_further(&cpu, &WORK, &options(), past, &mut progress, &cancel).unwrap();
    if !tuning.cancelled {
        log.finish();
    }
    (tuning, raced)
}

#[test]
fn an_interrupted_tuning_goes_on_where_it_was() {
    let folder = folder();
    let path = folder.path().join("log.jsonl");
    let (stopped, raced) = tune_with(&path, 2);
    assert!(stopped.cancelled && stopped.resumed_after == 0.0);
    assert_eq!(raced, [1, 2]);
    let (resumed, raced) = tune_with(&path, usize::MAX);
    assert!(resumed.resumed_after > 0.0 && !resumed.cancelled);
    assert!(
        !raced.contains(&1),
        "the first race was run again: {raced:?}"
    );
    assert_eq!(resumed.profile.entries.len() + resumed.skipped.len(), 2);
    // What has come to its end is not gone on with.
    let (anew, raced) = tune_with(&path, usize::MAX);
    assert!(anew.resumed_after == 0.0 && raced.contains(&1), "{raced:?}");
    let runs = runs(&path).unwrap();
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|run| run.has_ended));
}

#[test]
fn every_trial_is_a_line_that_stands_by_itself() {
    let folder = folder();
    let path = folder.path().join("log.jsonl");
    let (tuning, _) = tune_with(&path, usize::MAX);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for job in &tuning.jobs {
        for trial in job.trials.iter().filter(|trial| trial.spread.is_some()) {
            let of = |residence: &str| {
                lines.iter().any(|line| {
                    let record = &line["record"]["trial"];
                    record["kernel"] == trial.kernel
                        && record["host"] == cpu().key()
                        && record["rows"] == job.shape.rows
                        && record["threads"] == job.threads
                        && record["weights"] == residence
                        && !record["samples_us"].as_array().unwrap().is_empty()
                })
            };
            assert!(of("memory") && of("cache"), "{}", trial.kernel);
        }
    }
}

#[test]
fn a_log_that_was_cut_anywhere_is_still_a_log() {
    let folder = folder();
    let path = folder.path().join("log.jsonl");
    tune_with(&path, 2);
    let whole = fs::read(&path).unwrap();
    let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
    for length in [10, first, first + 10, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let (tuning, _) = tune_with(&path, usize::MAX);
        let entries = tuning.profile.entries.len();
        assert!(entries > 0, "cut after {length} bytes");
        assert_eq!(
            entries + tuning.skipped.len(),
            2,
            "cut after {length} bytes"
        );
        let text = fs::read(&path).unwrap();
        assert_eq!(text[..length], whole[..length], "a log is only appended to");
    }
}

#[test]
fn two_tunings_do_not_write_to_one_log() {
    let folder = folder();
    let path = folder.path().join("log.jsonl");
    let first = Log::open(&path).unwrap();
    let error = Log::open(&path).unwrap_err();
    assert!(matches!(error, LogError::Busy { .. }), "{error}");
    drop(first);
    Log::open(&path).unwrap();
}

#[test]
fn what_is_no_log_is_left_alone() {
    let folder = folder();
    let path = folder.path().join("notes.txt");
    for text in [&b"dear diary\n"[..], b"{}\n", b"\xff\xfe\n", b"[1]\n"] {
        fs::write(&path, text).unwrap();
        let error = Log::open(&path).unwrap_err();
        assert!(matches!(error, LogError::NotALog { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }
}

#[test]
fn damaged_logs_never_panic() {
    let folder = folder();
    let path = folder.path().join("log.jsonl");
    tune_with(&path, 2);
    let whole = fs::read(&path).unwrap();
    let task = runs(&path).unwrap().pop().unwrap().begin.task;
    let orders: Vec<Order> = WORK.map(|work| Order { work, threads: 1 }).to_vec();
    let mut numbers = Random::new(7);
    let mut random = |below: usize| numbers.below(below);
    let mut resumed = 0;
    for _ in 0..300 {
        let mut damaged = whole.clone();
        for _ in 0..1 + random(4) {
            let at = random(damaged.len());
            damaged[at] = b"0123456789-.,:{}[]\"e\n"[random(21)];
        }
        fs::write(&path, &damaged).unwrap();
        let Ok(mut log) = Log::open(&path) else {
            continue;
        };
        if let Ok(Some(mut unfinished)) = log.begin(&task) {
            for &order in &orders {
                resumed += usize::from(unfinished.take(&cpu(), order, Rigor::Measure).is_some());
            }
        }
    }
    assert!(resumed > 50, "only {resumed} races survived the damage");
}
