//! Tuning for real, on matrices so small that it takes no time.

use super::*;
use crate::measure::Candidate;
use crate::runoff::{RunoffOptions, paired_runoff};
use crate::search::Decision;
use tern_kernels::{Family, Loaded, Shape, Source};

/// This CPU with caches so small that a test needs few copies.
fn small_cpu() -> Cpu {
    let mut cpu = Cpu::detect();
    cpu.caches.l3 = 1 << 18;
    cpu
}

fn options(threads: &[usize], budget_ms: u64) -> TuneOptions {
    TuneOptions {
        threads: threads.to_vec(),
        budget: Duration::from_millis(budget_ms),
        pages: Pages::Small,
        store_noisy: true,
        ..TuneOptions::new(&Cpu::detect())
    }
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

fn run(cpu: &Cpu, options: &TuneOptions) -> (Tuning, Vec<Progress>) {
    let mut steps = Vec::new();
    let mut progress = |step: &Progress| steps.push(step.clone());
    let tuning = tune(cpu, &WORK, options, &mut progress, &AtomicBool::new(false)).unwrap();
    (tuning, steps)
}

#[test]
fn the_planner_uses_exactly_what_was_tuned_and_a_hand_edit_changes_it() {
    let cpu = small_cpu();
    let (tuning, _) = run(&cpu, &options(&[2, 1, 2], 5_000));
    assert_eq!(
        tuning.profile.entries.len(),
        4,
        "skipped: {:?}",
        tuning.skipped
    );

    let text = tuning.profile.to_toml();
    let Loaded {
        profile, ignored, ..
    } = Profile::from_toml(&text, &cpu).unwrap();
    assert_eq!(ignored, Vec::<String>::new());
    let planner = Planner::new(cpu.clone(), Some(profile), None).unwrap();
    for entry in &tuning.profile.entries {
        let choice = planner.choose(
            Shape {
                rows: entry.rows,
                cols: entry.cols,
            },
            entry.threads,
        );
        assert_eq!(choice.source, Source::Profile);
        assert_eq!(
            (choice.kernel.id, choice.tile),
            (entry.kernel.as_str(), entry.tile)
        );
    }

    let mut edited = tuning.profile.clone();
    let other = cpu
        .kernels()
        .filter(|kernel| kernel.family != Family::Reference);
    let other = other
        .filter(|kernel| kernel.id != edited.entries[0].kernel)
        .last()
        .unwrap();
    edited.entries[0].kernel = other.id.to_string();
    edited.entries[0].fingerprint = other.fingerprint.to_string();
    let Loaded { profile, .. } = Profile::from_toml(&edited.to_toml(), &cpu).unwrap();
    let planner = Planner::new(cpu, Some(profile), None).unwrap();
    let entry = &edited.entries[0];
    let choice = planner.choose(
        Shape {
            rows: entry.rows,
            cols: entry.cols,
        },
        entry.threads,
    );
    assert_eq!(choice.kernel.id, other.id);
}

#[test]
fn a_job_has_a_row_for_every_candidate_and_its_evidence() {
    let cpu = small_cpu();
    let (tuning, steps) = run(&cpu, &options(&[1], 5_000));
    for (job, entry) in tuning.jobs.iter().zip(&tuning.profile.entries) {
        assert_eq!(job.trials[0].outcome, Outcome::Won);
        assert_eq!(job.trials[0].kernel, entry.kernel);
        assert!(job.trials[0].build.is_some());
        assert!(entry.median_us > 0.0);
        if let Some(other) = &entry.runner_up {
            assert_ne!(other.kernel, entry.kernel);
        }
    }
    // Those that were screened out have a row too. Kernels for several tokens follow from the packing that wins.
    let kernels = cpu
        .kernels()
        .filter(|kernel| kernel.family != Family::Reference && kernel.batch == 1);
    for kernel in kernels {
        assert!(
            tuning.jobs[0]
                .trials
                .iter()
                .any(|trial| trial.kernel == kernel.id),
            "{}",
            kernel.id
        );
    }
    assert!(matches!(
        steps[0],
        Progress::Job {
            index: 1,
            total: 2,
            ..
        }
    ));
    let last = steps.last().unwrap();
    assert!(matches!(last, Progress::Done { .. }), "{last}");
    assert!(last.to_string().starts_with("64x128 x1: gemv_"), "{last}");
}

#[test]
fn a_forced_family_is_tuned_alone() {
    let cpu = small_cpu();
    let force = Some(Force::Family(Family::Addsub));
    let (tuning, _) = run(
        &cpu,
        &TuneOptions {
            force,
            ..options(&[1], 500)
        },
    );
    assert!(
        tuning.jobs[0]
            .trials
            .iter()
            .all(|trial| trial.family == Family::Addsub)
    );
    let force = Some(Force::Family(Family::Reference));
    let (tuning, _) = run(
        &cpu,
        &TuneOptions {
            force,
            ..options(&[1], 500)
        },
    );
    assert_eq!(tuning.jobs[0].decision, Decision::OnlyOne);
    assert_eq!(tuning.jobs[0].trials.len(), 1);
}

#[test]
fn a_tiny_budget_still_tunes_the_most_expensive_shape() {
    let (tuning, _) = run(&small_cpu(), &options(&[1], 0));
    assert_eq!(tuning.profile.entries.len(), 1);
    assert_eq!(tuning.jobs[0].shape, WORK[0].shape);
    assert_eq!(tuning.skipped, [("64x128".to_string(), 1)]);
    assert!(tuning.seconds < 2.0, "{}", tuning.seconds);
}

#[test]
fn a_cancelled_tuning_skips_the_rest() {
    let cancel = AtomicBool::new(true);
    let tuning = tune(
        &small_cpu(),
        &WORK,
        &options(&[1], 1000),
        &mut |_| {},
        &cancel,
    )
    .unwrap();
    assert!(tuning.cancelled);
    assert_eq!(tuning.skipped.len(), 2);
}

#[test]
fn senseless_requests_are_refused() {
    let cpu = small_cpu();
    let refuse = |work: &[Work], threads: &[usize]| {
        let never = AtomicBool::new(false);
        tune(&cpu, work, &options(threads, 10), &mut |_| {}, &never)
            .unwrap_err()
            .to_string()
    };
    assert!(refuse(&[], &[1]).contains("no matrix shapes"));
    assert!(refuse(&WORK, &[]).contains("no matrix shapes"));
    assert!(refuse(&WORK, &[0]).contains("0 threads"));
    assert!(refuse(&WORK, &[5000]).contains("5000 threads: expected 1 to 1024"));
}

#[test]
fn time_is_shared_by_the_cube_root_of_the_cost() {
    let order = |rows: usize, count: usize| Order {
        work: Work::alone(Shape { rows, cols: 100 }, count),
        threads: 1,
    };
    let left = Duration::from_secs(12);
    let orders = [order(100, 8), order(100, 1)];
    assert_eq!(share(left, &orders), Duration::from_secs(8));
    assert_eq!(share(left, &orders[1..]), left);
}

#[test]
fn a_runoff_between_two_kernels_is_paired() {
    let cpu = small_cpu();
    let tile = tern_kernels::plan::DEFAULT_TILE;
    let mut kernels = cpu.kernels();
    let reference = Candidate {
        kernel: kernels.next().unwrap(),
        tile,
    };
    let other = Candidate {
        kernel: kernels.next().unwrap(),
        tile,
    };
    let options = RunoffOptions {
        budget: Duration::from_millis(20),
        pages: Pages::Small,
        ..RunoffOptions::default()
    };
    let shape = Shape {
        rows: 300,
        cols: 400,
    };
    let runoff = paired_runoff(&cpu, shape, 2, [reference, other], &options).unwrap();
    assert_eq!(runoff.a.samples.len(), runoff.b.samples.len());
    assert_eq!(
        runoff.ratio.samples[0],
        runoff.b.samples[0] / runoff.a.samples[0]
    );
}

#[test]
fn a_profile_is_verified_entry_by_entry() {
    let cpu = small_cpu();
    let (tuning, _) = run(&cpu, &options(&[1], 5_000));
    let never = AtomicBool::new(false);
    let options = options(&[], 5_000);
    let verification = crate::verify(&cpu, &tuning.profile, &options, &mut |_| {}, &never).unwrap();
    assert_eq!(verification.entries.len(), 2);
    for entry in &verification.entries {
        assert!(entry.ratio > 0.0);
        assert_eq!(entry.same, entry.saved == entry.renewed);
    }
    assert!(
        verification.table().contains("within 3 %"),
        "{}",
        verification.table()
    );
    assert!(
        crate::verify(
            &cpu,
            &Profile {
                entries: Vec::new(),
                ..tuning.profile
            },
            &options,
            &mut |_| {},
            &never
        )
        .is_err()
    );
}
