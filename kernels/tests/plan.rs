//! The planner and its profiles: who chooses, what is refused, and that every reason is said.

use tern_kernels::{
    Cpu, Entry, Family, Force, Isa, Kernel, Loaded, PlanError, Planner, Profile, ProfileError,
    Rigor, RunnerUp, Shape, Source, Tables, Tile, plan::DEFAULT_TILE,
};

const DATE: &str = "2026-11-20T10:00:00Z";

const SHAPE: Shape = Shape {
    rows: 640,
    cols: 2560,
};

/// The slowest kernel that is not the reference: nobody would choose it by default.
fn unlikely(cpu: &Cpu) -> Kernel {
    cpu.kernels()
        .find(|k| k.isa == Isa::Scalar && k.family == Family::Addsub)
        .expect("scalar addsub")
}

fn entry(kernel: &Kernel, shape: Shape, threads: usize) -> Entry {
    Entry {
        rigor: Rigor::Patient,
        date: DATE.to_owned(),
        sharing: 1.5,
        tile: Tile {
            k_blocks: 2,
            chunk: 3,
            prefetch: 512,
            tables: Tables::Shared,
        },
        median_us: 1.5,
        mad_us: 0.25,
        warm_us: Some(1.25),
        noise: 0.01,
        runner_up: Some(RunnerUp {
            kernel: "another".to_owned(),
            margin: 0.25,
            prompt_us: None,
            tile: DEFAULT_TILE,
        }),
        ..Entry::of(shape, threads, kernel)
    }
}

fn profile(cpu: &Cpu, entries: Vec<Entry>) -> Profile {
    Profile::new(cpu, DATE, entries)
}

#[test]
fn a_profile_survives_its_own_text() {
    let cpu = Cpu::detect();
    let kernel = unlikely(&cpu);
    let written = profile(
        &cpu,
        vec![entry(&kernel, SHAPE, 1), entry(&kernel, SHAPE, 2)],
    );
    let read = Profile::from_toml(&written.to_toml(), &cpu).unwrap();
    assert_eq!(read.profile, written);
    assert_eq!((read.ignored, read.warnings), (Vec::new(), Vec::new()));
}

#[test]
fn kernels_for_several_tokens_are_chosen_only_by_name() {
    let cpu = Cpu::detect();
    let mut forces: Vec<Option<Force>> = vec![None];
    let families = Family::ALL.into_iter();
    let here = families.filter(|family| cpu.kernels().any(|k| k.family == *family));
    forces.extend(here.map(|family| Some(Force::Family(family))));
    for force in forces {
        let planner = Planner::new(cpu.clone(), None, force.clone()).unwrap();
        assert_eq!(planner.choose(SHAPE, 1).kernel.batch, 1, "{force:?}");
    }
    for kernel in cpu.kernels().filter(|k| k.batch > 1) {
        let by_name = Some(Force::Id(kernel.id.to_owned()));
        let planner = Planner::new(cpu.clone(), None, by_name).unwrap();
        assert_eq!(planner.choose(SHAPE, 1).kernel, kernel);
        // Its packing is also that of a kernel for one token, which finds it.
        let single = cpu
            .kernels()
            .find(|k| k.batch == 1 && (k.isa, k.packing) == (kernel.isa, kernel.packing))
            .expect("a kernel for the tokens that fill no batch");
        let wider = single.wider(kernel.packing);
        assert!(
            wider.iter().any(|k| k.batch == kernel.batch),
            "{}",
            kernel.id
        );
    }
}

#[test]
fn an_entry_decides_for_its_shape_and_the_nearest_for_others() {
    let cpu = Cpu::detect();
    let kernel = unlikely(&cpu);
    let other = cpu
        .kernels()
        .find(|k| k.family == Family::Mad)
        .expect("a mad kernel");
    let far = Shape { rows: 64, cols: 64 };
    let entries = vec![entry(&kernel, SHAPE, 2), entry(&other, far, 2)];
    let planner = Planner::new(cpu.clone(), Some(profile(&cpu, entries)), None).unwrap();

    let choice = planner.choose(SHAPE, 2);
    assert_eq!(
        (choice.kernel.id, choice.source),
        (kernel.id, Source::Profile)
    );
    assert_eq!(
        choice.tile,
        Tile {
            k_blocks: 2,
            chunk: 3,
            prefetch: 512,
            tables: Tables::Shared,
        }
    );
    let choice = planner.choose(SHAPE, 1);
    assert_eq!(
        choice.source,
        Source::Nearest {
            shape: SHAPE,
            threads: 2
        }
    );
    let choice = planner.choose(Shape { rows: 70, cols: 60 }, 2);
    assert_eq!(
        choice.source,
        Source::Nearest {
            shape: far,
            threads: 2
        }
    );
    assert_eq!(choice.kernel.id, other.id);
}

#[test]
fn what_the_user_forces_comes_first() {
    let cpu = Cpu::detect();
    let kernel = unlikely(&cpu);
    let with = |force| {
        let profile = profile(&cpu, vec![entry(&kernel, SHAPE, 1)]);
        Planner::new(cpu.clone(), Some(profile), Some(force))
    };
    let choice = with(Force::Family(Family::Lut)).unwrap().choose(SHAPE, 1);
    assert_eq!(
        (choice.kernel.family, choice.source),
        (Family::Lut, Source::Forced)
    );
    for kernel in cpu.kernels() {
        let choice = with(Force::Id(kernel.id.to_owned()))
            .unwrap()
            .choose(SHAPE, 1);
        assert_eq!(
            (choice.kernel.id, choice.source),
            (kernel.id, Source::Forced)
        );
    }
    let error = with(Force::Id("gemv_lut_t9__avx2_p1k1".to_owned()))
        .err()
        .unwrap();
    assert!(matches!(error, PlanError::UnknownKernel(_)), "{error}");
}

#[test]
fn a_capped_cpu_plans_with_what_is_left() {
    let cpu = Cpu::detect().capped(Isa::Scalar);
    let choice = Planner::new(cpu.clone(), None, None)
        .unwrap()
        .choose(SHAPE, 1);
    assert_eq!(choice.kernel.isa, Isa::Scalar);
    if let Some(kernel) = Cpu::detect().kernels().find(|k| k.isa != Isa::Scalar) {
        let error = Planner::new(cpu, None, Some(Force::Id(kernel.id.to_owned())))
            .err()
            .unwrap();
        assert!(error.to_string().contains(kernel.isa.name()), "{error}");
    }
}

#[test]
fn foreign_and_malformed_profiles_are_refused_whole() {
    let cpu = Cpu::detect();
    let good = profile(&cpu, vec![entry(&unlikely(&cpu), SHAPE, 1)]);
    let mut foreign = good.clone();
    foreign.host.key = "zilog-80".to_owned();
    let error = Profile::from_toml(&foreign.to_toml(), &cpu).unwrap_err();
    assert!(matches!(error, ProfileError::OtherCpu { .. }));
    assert!(error.to_string().contains("zilog-80") && error.to_string().contains("tern tune"));
    let newer = good.to_toml().replace("format = 2", "format = 9");
    assert!(matches!(
        Profile::from_toml(&newer, &cpu),
        Err(ProfileError::Format { found: 9 })
    ));
    for bad in [
        "",
        "\0",
        "format",
        "format = 2",
        "format = -1",
        "[[gemv]]",
        &good.to_toml().replace("rows", "rosw"),
    ] {
        let error = Profile::from_toml(bad, &cpu).unwrap_err();
        assert!(
            matches!(error, ProfileError::Malformed(_)),
            "{bad:?}: {error}"
        );
    }
}

#[test]
fn entries_that_do_not_hold_are_ignored_one_by_one() {
    let cpu = Cpu::detect();
    let kernel = unlikely(&cpu);
    let good = entry(&kernel, SHAPE, 1);
    let bad = [
        (
            Entry {
                kernel: "gemv_lut_t9__avx2_p1k1".to_owned(),
                ..good.clone()
            },
            "not in this version",
        ),
        (
            Entry {
                fingerprint: "0123456789abcdef".to_owned(),
                ..good.clone()
            },
            "delete the entry's fingerprint",
        ),
        (
            Entry {
                rows: 0,
                ..good.clone()
            },
            "above 0",
        ),
        (
            Entry {
                tile: Tile {
                    prefetch: usize::MAX >> 1,
                    ..good.tile
                },
                ..good.clone()
            },
            "prefetch",
        ),
        (
            Entry {
                sharing: 0.5,
                ..good.clone()
            },
            "sharing = 0.5",
        ),
    ];
    for (bad, reason) in bad {
        let elsewhere = Entry {
            threads: 3,
            ..good.clone()
        };
        let text = profile(&cpu, vec![bad, elsewhere]).to_toml();
        let Loaded {
            profile, ignored, ..
        } = Profile::from_toml(&text, &cpu).unwrap();
        assert_eq!((profile.entries.len(), ignored.len()), (1, 1));
        assert!(ignored[0].contains(reason), "{}", ignored[0]);
    }
    // An entry written by hand has no fingerprint.
    let by_hand = Entry {
        fingerprint: String::new(),
        ..good
    };
    let text = profile(&cpu, vec![by_hand]).to_toml();
    assert!(!text.contains("fingerprint = "));
    assert_eq!(
        Profile::from_toml(&text, &cpu)
            .unwrap()
            .profile
            .entries
            .len(),
        1
    );
}

#[test]
fn a_device_is_not_read_for_ever() {
    let zero = std::path::Path::new("/dev/zero");
    if zero.exists() {
        let error = Profile::load(zero, &Cpu::detect()).unwrap_err();
        assert!(matches!(error, ProfileError::TooLarge { .. }), "{error}");
    }
}

/// As many entries as a profile may have, all for one matrix, must not make loading a model slow: each is a plan of its own.
#[test]
fn no_profile_makes_more_steps_of_tokens_than_a_tuner_writes() {
    let cpu = Cpu::detect();
    let kernel = unlikely(&cpu);
    let batch = |tokens: usize| tern_kernels::BatchEntry {
        rows: SHAPE.rows,
        cols: SHAPE.cols,
        threads: 2,
        tokens,
        packing: kernel.packing.to_string(),
        kernel: tern_kernels::BatchEntry::GEMV.to_owned(),
        fingerprint: String::new(),
        rigor: Rigor::Measure,
        date: String::new(),
        median_us: 1.0,
        mad_us: 0.0,
    };
    let mut full = profile(&cpu, vec![entry(&kernel, SHAPE, 2)]);
    full.batches = (2..19_000).map(batch).collect();
    let read = Profile::from_toml(&full.to_toml(), &cpu).unwrap();
    assert_eq!(read.profile.batches.len(), full.batches.len());
    let planner = Planner::new(cpu.clone(), Some(read.profile), None).unwrap();
    let steps = planner.batches(SHAPE, 2, kernel.packing);
    assert!((1..=16).contains(&steps.len()), "{}", steps.len());
    assert!(
        steps
            .iter()
            .all(|(_, choice)| choice.source == Source::Profile)
    );
    // What a tuner writes is obeyed step by step.
    let mut few = profile(&cpu, vec![entry(&kernel, SHAPE, 2)]);
    few.batches = [2, 5, 17, 65].map(batch).to_vec();
    let planner = Planner::new(cpu, Some(few), None).unwrap();
    let steps = planner.batches(SHAPE, 2, kernel.packing);
    for tokens in [2, 5, 17, 65] {
        assert!(steps.iter().any(|(from, _)| *from == tokens), "{tokens}");
    }
}
