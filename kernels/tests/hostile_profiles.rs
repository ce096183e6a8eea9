//! Profiles from people who mean harm, or whose disk does: refused with a reason or harmless, and never a wrong number.

mod common;

use common::Rng;
use tern_kernels::{
    BatchKernel, Cpu, Entry, Gemv, HostInfo, Operand, PackedMatrix, Pages, Planner, Profile,
    ProfileError, Rigor, RunnerUp, Shape, reference,
};

const SHAPE: Shape = Shape {
    rows: 37,
    cols: 530,
};

/// A profile as `tern tune` writes it, with a kernel of each family.
fn good(cpu: &Cpu) -> Profile {
    let mut entries = Vec::new();
    for (index, kernel) in cpu
        .kernels()
        .filter(|k| k.batch == 1)
        .enumerate()
        .step_by(5)
    {
        entries.push(Entry {
            rigor: Rigor::Patient,
            date: "2026-11-20T10:00:00Z".to_owned(),
            median_us: 10.0,
            mad_us: 0.5,
            runner_up: Some(RunnerUp {
                kernel: kernel.id.to_owned(),
                margin: 0.1,
                prompt_us: None,
                tile: tern_kernels::plan::DEFAULT_TILE,
            }),
            ..Entry::of(SHAPE, index + 1, &kernel)
        });
    }
    let mut profile = Profile::new(cpu, "2026-11-20T10:00:00Z", entries);
    let gemm = cpu
        .gemms()
        .next()
        .expect("plain Rust multiplies everywhere");
    profile.batches = (2..5)
        .map(|tokens| tern_kernels::BatchEntry {
            rows: SHAPE.rows,
            cols: SHAPE.cols,
            threads: 1,
            tokens,
            packing: "b2_l4_p2_k1024".to_owned(),
            kernel: gemm.id.to_owned(),
            fingerprint: gemm.fingerprint.to_owned(),
            rigor: Rigor::Measure,
            date: String::new(),
            median_us: 1.0,
            mad_us: 0.0,
        })
        .collect();
    profile
}

/// Whatever a profile that was accepted chooses, the sums are the reference's.
fn is_harmless(cpu: &Cpu, profile: Profile) {
    let planner = Planner::new(cpu.clone(), Some(profile), None).unwrap();
    let trit = |row: usize, col: usize| ((row * 7 + col * 11) % 3) as i8 - 1;
    let q: Vec<i8> = (0..SHAPE.cols).map(|col| (col * 37) as i8).collect();
    let mut expected = vec![0; SHAPE.rows];
    reference::gemv(SHAPE.rows, SHAPE.cols, trit, &q, &mut expected);
    for threads in [1, 3] {
        let choice = planner.choose(SHAPE, threads);
        let kernel = choice.kernel;
        let fill = |row: usize, trits: &mut [i8]| {
            for (col, t) in trits.iter_mut().enumerate() {
                *t = trit(row, col);
            }
        };
        let matrix =
            PackedMatrix::pack(kernel.packing, SHAPE.rows, SHAPE.cols, Pages::Small, &fill)
                .unwrap();
        let batch = planner.choose_batch(SHAPE, threads, kernel.packing, 3);
        if let BatchKernel::Gemm(gemm) = batch.kernel {
            assert!(cpu.has(gemm.kernel.isa));
        }
        let gemv = Gemv::new(matrix, choice, threads).unwrap();
        let mut operand = Operand::new(kernel, SHAPE.cols).unwrap();
        operand.build(&q);
        let mut out = vec![0; SHAPE.rows];
        gemv.run(&[&operand], &mut out);
        assert_eq!(out, expected, "{}", kernel.id);
    }
}

#[test]
fn damaged_profiles_are_refused_or_harmless() {
    let cpu = Cpu::detect();
    let text = good(&cpu).to_toml();
    let mut random = Rng(3);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..4000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = b"0123456789-.=\"[]{}_xe\n#"[random.below(22)],
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at.max(1)),
                _ => {
                    // A piece of the file in another place: numbers and ids change places.
                    let from = random.below(bytes.len());
                    let piece = bytes[from..(from + 20).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        match Profile::from_toml(&text, &cpu) {
            Ok(loaded) => {
                accepted += 1;
                let _ = Profile::shipped(&text, &cpu);
                assert!(Profile::of_any_cpu(&loaded.profile.to_toml()).is_ok());
                if accepted % 8 == 0 {
                    is_harmless(&cpu, loaded.profile);
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(
        refused > 500 && accepted > 200,
        "{refused} refused, {accepted} accepted: the damage is not what it should be"
    );
}

#[test]
fn numbers_beyond_reason_are_refused_by_entry() {
    let cpu = Cpu::detect();
    let text = good(&cpu).to_toml();
    for (from, to) in [
        ("rows = 37", "rows = 0"),
        ("prefetch = 8192", "prefetch = 2147483647"),
        ("median_us = 10.0", "median_us = nan"),
        ("median_us = 10.0", "median_us = -1.0"),
        ("median_us = 10.0", "median_us = inf"),
        ("tokens = 3", "tokens = 0"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        let loaded = Profile::from_toml(&text.replacen(from, to, 1), &cpu).unwrap();
        assert_eq!(loaded.ignored.len(), 1, "{to}: {:?}", loaded.ignored);
        is_harmless(&cpu, loaded.profile);
    }
    // (The numbers fit a `usize` of 32 bits, beyond which the whole file is refused.) Tiles beyond the matrix are those of the whole matrix.
    let huge = "2147483647";
    let wide = text
        .replace("k_blocks = 1", &format!("k_blocks = {huge}"))
        .replace("chunk = 0", &format!("chunk = {huge}"));
    is_harmless(&cpu, Profile::from_toml(&wide, &cpu).unwrap().profile);
    let wrong = text.replacen("rows = 37", "rows = \"37\"", 1);
    let error = Profile::from_toml(&wrong, &cpu).unwrap_err();
    assert!(matches!(error, ProfileError::Malformed(_)), "{error}");
}

#[test]
fn a_million_entries_are_too_many() {
    let cpu = Cpu::detect();
    let header = Profile::new(&cpu, "2026-11-20T10:00:00Z", Vec::new()).to_toml();
    let entry = |rows: usize| format!("[[gemv]]\nrows={rows}\ncols=9\nthreads=1\nkernel=\"k\"\n");
    let many: String = (1..=30_000).map(entry).collect();
    let error = Profile::from_toml(&format!("{header}\n{many}"), &cpu).unwrap_err();
    assert!(error.to_string().contains("30000 entries"), "{error}");
}

/// Where there are files: WebAssembly has no folder for temporary ones.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn a_file_with_a_million_entries_is_not_even_parsed() {
    let cpu = Cpu::detect();
    let header = Profile::new(&cpu, "2026-11-20T10:00:00Z", Vec::new()).to_toml();
    let entry = |rows: usize| format!("[[gemv]]\nrows={rows}\ncols=9\nthreads=1\nkernel=\"k\"\n");
    let path = std::env::temp_dir().join(format!("tern-million-{}.toml", std::process::id()));
    let million: String = (1..=1_000_000).map(entry).collect();
    std::fs::write(&path, format!("{header}\n{million}")).unwrap();
    let error = Profile::load(&path, &cpu).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(error, ProfileError::TooLarge { .. }), "{error}");
}

#[test]
fn the_profile_of_another_cpu_is_refused_and_a_shipped_one_of_another_stepping_is_not() {
    let cpu = Cpu::detect();
    let mut other = good(&cpu);
    other.host.stepping += 1;
    other.host.key = "another-stepping".to_owned();
    let text = other.to_toml();
    let refused = Profile::from_toml(&text, &cpu);
    assert!(matches!(refused, Err(ProfileError::OtherCpu { .. })));
    assert!(Profile::shipped(&text, &cpu).is_ok());
    other.host.model += 1;
    let refused = Profile::shipped(&other.to_toml(), &cpu);
    assert!(matches!(refused, Err(ProfileError::OtherCpu { .. })));
    assert_ne!(HostInfo::of(&cpu).key, "another-stepping");
}
