//! Profiles from the user's side: found by themselves, obeyed, refused with the reason.

mod common;

use std::fs;

use common::World;
use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::{Cpu, Entry, Family, Kernel, Profile, Tile};

/// The kernels that `inspect` says each matrix will use, with where they come from.
fn planned(world: &World, more: &[&str]) -> Vec<(String, String, u64)> {
    let mut arguments = vec!["inspect", "demo", "--threads", "1", "--json"];
    arguments.extend(more);
    let report = world.json(&arguments);
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let matrices = report["matrices"].as_array().expect("a list");
    matrices
        .iter()
        .map(|matrix| {
            let prefetch = matrix["tile_prefetch"].as_u64().expect("a number");
            (text(&matrix["kernel"]), text(&matrix["source"]), prefetch)
        })
        .collect()
}

/// A profile that gives `kernel` to every matrix of the bundled model.
fn profile(kernel: Kernel, prefetch: usize) -> Profile {
    let config = fs::read(common::demo_folder().join("config.json")).unwrap();
    let matrices = tern_runtime::Model::matrices_from_bytes(&config).unwrap();
    let mut shapes: Vec<_> = matrices.iter().map(|matrix| matrix.shape).collect();
    shapes.sort();
    shapes.dedup();
    let entry = |shape| Entry {
        tile: Tile {
            prefetch,
            ..DEFAULT_TILE
        },
        median_us: 1.0,
        mad_us: 0.1,
        ..Entry::of(shape, 1, &kernel)
    };
    Profile::new(
        &Cpu::detect(),
        "2026-11-20T00:00:00Z",
        shapes.into_iter().map(entry).collect(),
    )
}

/// A kernel of each family that every CPU runs.
fn scalar(family: Family) -> Kernel {
    let cpu = Cpu::detect().capped(tern_kernels::Isa::Scalar);
    cpu.kernels()
        .find(|kernel| kernel.family == family)
        .expect("plain Rust runs everywhere")
}

#[test]
fn the_saved_kernels_are_used_and_edits_are_obeyed() {
    let world = World::new();
    let (mad, addsub) = (scalar(Family::Mad), scalar(Family::Addsub));
    let mut saved = profile(mad, 1024);
    let path = world.path("p.toml");
    fs::write(&path, saved.to_toml()).unwrap();
    let expected = |kernel: &str| (kernel.to_owned(), "profile".to_owned(), 1024);
    let plan = planned(&world, &["--profile", "p.toml"]);
    assert!(plan.iter().all(|row| *row == expected(mad.id)), "{plan:?}");

    // By hand: another kernel for one shape.
    saved.entries[0].kernel = addsub.id.to_owned();
    saved.entries[0].fingerprint = addsub.fingerprint.to_owned();
    fs::write(&path, saved.to_toml()).unwrap();
    let plan = planned(&world, &["--profile", "p.toml"]);
    let edited = plan
        .iter()
        .filter(|row| **row == expected(addsub.id))
        .count();
    assert!((1..plan.len()).contains(&edited), "{plan:?}");

    // The text is the same all the same.
    let text = |profile| {
        world.ok(&[
            "run",
            "demo",
            "-p",
            "ROMEO:",
            "-n",
            "10",
            "--profile",
            profile,
        ])
    };
    assert_eq!(text("p.toml"), text("none"));
}

/// Where the profile's times say that one thread is faster than all, one is the default; the user's word comes first.
#[test]
fn the_profile_chooses_the_number_of_threads() {
    let cores = Cpu::detect().cores;
    if cores == 1 {
        return;
    }
    let world = World::new();
    let mut saved = profile(scalar(Family::Mad), 1024);
    let with_all = saved.entries.clone().into_iter().map(|entry| Entry {
        threads: cores,
        median_us: 2.0,
        ..entry
    });
    saved.entries.extend(with_all.collect::<Vec<_>>());
    fs::write(world.path("p.toml"), saved.to_toml()).unwrap();
    let plan = |more: &[&str]| {
        let inspect = ["inspect", "demo", "--profile", "p.toml"];
        let text = world.ok(&[&inspect, more].concat());
        let report = world.json(&[&inspect, more, &["--json"]].concat());
        let line = text.lines().find(|line| line.starts_with("planned for"));
        let of = report["threads_of"].as_str().map(str::to_owned);
        (line.map(str::to_owned), report["threads"].as_u64(), of)
    };
    let said = |line: &str, threads: usize, of: &str| {
        let threads = Some(threads as u64);
        (Some(line.to_owned()), threads, Some(of.to_owned()))
    };
    assert_eq!(
        plan(&[]),
        said("planned for 1 thread (of the profile)", 1, "profile")
    );
    assert_eq!(
        plan(&["--threads", "2"]),
        said("planned for 2 threads", 2, "user")
    );
    let all = format!("planned for {cores} threads");
    // One count only tells nothing.
    saved.entries.retain(|entry| entry.threads == 1);
    fs::write(world.path("p.toml"), saved.to_toml()).unwrap();
    assert_eq!(plan(&[]), said(&all, cores, "cores"));
}

/// The text as a person edits it: another kernel, its fingerprint deleted.
#[test]
fn a_profile_edited_by_hand_is_obeyed() {
    let world = World::new();
    let (mad, addsub) = (scalar(Family::Mad), scalar(Family::Addsub));
    let text = profile(mad, 1024).to_toml();
    let changed = text.replace(
        &format!("kernel = \"{}\"", mad.id),
        &format!("kernel = \"{}\"", addsub.id),
    );
    let is_other = |line: &&str| !line.starts_with("fingerprint");
    let by_hand: Vec<&str> = changed.lines().filter(is_other).collect();
    assert!(by_hand.len() < changed.lines().count());
    fs::write(world.path("p.toml"), by_hand.join("\n")).unwrap();
    let plan = planned(&world, &["--profile", "p.toml"]);
    let expected = (addsub.id.to_owned(), "profile".to_owned(), 1024);
    assert!(plan.iter().all(|row| *row == expected), "{plan:?}");

    // With the fingerprint of another kernel it cannot be told what was meant.
    fs::write(world.path("p.toml"), changed).unwrap();
    let ran = world.run(&["inspect", "demo", "--profile", "p.toml", "--json"]);
    assert!(
        ran.err.contains("is not the one that was timed") && ran.err.contains("fingerprint"),
        "{}",
        ran.err
    );
    assert!(!ran.out.contains(addsub.id) || !ran.out.contains("\"source\":\"profile\""));
}

#[test]
fn the_profile_of_this_cpu_is_found_and_named() {
    let world = World::new();
    let cpu = Cpu::detect();
    let folder = world.path("config/tern/profiles");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{}.toml", cpu.key()));
    fs::write(&path, profile(scalar(Family::Mad), 0).to_toml()).unwrap();
    let ran = world.run(&["inspect", "demo", "--threads", "1"]);
    assert!(
        ran.err.contains(&format!("profile: {}", path.display())),
        "{}",
        ran.err
    );
    assert!(ran.out.contains("gemv_mad_b2__scalar"), "{}", ran.out);
    assert!(
        planned(&world, &["--profile", "none"])
            .iter()
            .all(|row| row.1 == "estimate")
    );
    let output = world
        .command(&["inspect", "demo", "--json"])
        .env("TERN_PROFILE", "none")
        .output()
        .unwrap();
    assert!(common::ran(output).out.contains(r#""state":"off""#));
    let forced = planned(&world, &["--kernel", "addsub"]);
    assert!(
        forced
            .iter()
            .all(|row| row.0.contains("addsub") && row.1 == "forced"),
        "{forced:?}"
    );
}

#[test]
fn a_profile_that_does_not_fit_is_refused_in_one_line_and_the_work_goes_on() {
    let world = World::new();
    let expected = world.ok(&["run", "demo", "-p", "ROMEO:", "-n", "4"]);
    let good = profile(scalar(Family::Mad), 0).to_toml();
    let key = Cpu::detect().key();
    let cases = [
        ("not = = toml".to_owned(), "TOML parse error at line 1"),
        (String::new(), "format"),
        (
            good.replace(&key, "othermaker-1-2-3"),
            "tuned on `othermaker-1-2-3`",
        ),
        (
            good.replace("format = 2", "format = 99"),
            "profile format 99",
        ),
        (good.replace("rows", "rwos"), "rwos"),
    ];
    for (text, reason) in cases {
        fs::write(world.path("p.toml"), text).unwrap();
        let ran = world.run(&[
            "run",
            "demo",
            "-p",
            "ROMEO:",
            "-n",
            "4",
            "--profile",
            "p.toml",
            "--quiet",
        ]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), expected.as_str()));
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        for part in [
            "warning: profile p.toml is not used",
            reason,
            "or else built-in defaults",
        ] {
            assert!(ran.err.contains(part), "no `{part}` in: {}", ran.err);
        }
    }
    fs::write(world.path("p.toml"), b"\xff\xfe").unwrap();
    assert_eq!(
        world.ok(&[
            "run",
            "demo",
            "-p",
            "ROMEO:",
            "-n",
            "4",
            "--profile",
            "p.toml"
        ]),
        expected
    );
}

#[test]
fn entries_of_other_kernels_are_ignored_one_line_each() {
    let world = World::new();
    let mut saved = profile(scalar(Family::Mad), 0);
    assert!(saved.entries.len() >= 3);
    saved.entries[0].kernel = "gemv_of_the_future".to_owned();
    saved.entries[1].fingerprint = "0123456789abcdef".to_owned();
    fs::write(world.path("p.toml"), saved.to_toml()).unwrap();
    let ran = world.run(&["inspect", "demo", "--profile", "p.toml", "--quiet"]);
    assert_eq!(
        (ran.code, ran.err.lines().count()),
        (Some(0), 2),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("\"gemv_of_the_future\" is not in this version"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("is not the one that was timed"),
        "{}",
        ran.err
    );
}

#[test]
fn a_profile_that_the_user_named_must_exist() {
    let world = World::new();
    let parts = ["cannot read the profile no.toml", "--profile"];
    world.fails(&["run", "demo", "-p", "x", "--profile", "no.toml"], &parts);
    world.fails(
        &["inspect", "demo", "--profile", "config"],
        &["cannot read the profile config"],
    );
    let output = world
        .command(&["inspect", "demo"])
        .env("TERN_PROFILE", "no.toml")
        .output()
        .unwrap();
    common::ran(output).assert_failed(1, &parts);
}
