//! `tern profile`: shows, compares, joins, checks and removes.

mod common;

use std::fs;

use common::World;
use tern_kernels::{Cpu, Entry, Family, Kernel, Profile, Rigor, RunnerUp, Shape};

const DATE: &str = "2026-11-20T10:00:00Z";

const SHAPE: Shape = Shape {
    rows: 96,
    cols: 160,
};

/// The scalar kernel of a family, which every CPU runs.
fn kernel(family: Family) -> Kernel {
    let cpu = Cpu::detect().capped(tern_kernels::Isa::Scalar);
    let mut kernels = cpu.kernels().filter(|k| k.batch == 1);
    kernels
        .find(|k| k.family == family)
        .expect("a scalar kernel")
}

fn entry(family: Family, threads: usize, rigor: Rigor) -> Entry {
    Entry {
        rigor,
        date: DATE.to_owned(),
        median_us: 10.0,
        ..Entry::of(SHAPE, threads, &kernel(family))
    }
}

fn write(world: &World, name: &str, entries: Vec<Entry>) {
    let profile = Profile::new(&Cpu::detect(), DATE, entries);
    fs::write(world.path(name), profile.to_toml()).unwrap();
}

#[test]
fn profiles_are_joined_by_rigor_and_imported() {
    let world = World::new();
    let measured = entry(Family::Addsub, 1, Rigor::Measure);
    write(
        &world,
        "a.toml",
        vec![measured, entry(Family::Mad, 2, Rigor::Measure)],
    );
    write(
        &world,
        "b.toml",
        vec![entry(Family::Lut, 1, Rigor::Patient)],
    );
    for order in [["a.toml", "b.toml"], ["b.toml", "a.toml"]] {
        world.ok(&["profile", "merge", order[0], order[1], "--out", "c.toml"]);
        let shown = world.json(&["profile", "show", "c.toml", "--json"]);
        let kernels: Vec<&str> = shown["gemv"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["kernel"].as_str().unwrap())
            .collect();
        assert_eq!(kernels, [kernel(Family::Lut).id, kernel(Family::Mad).id]);
        assert_eq!(shown["rigor"], "measure");
    }
    let shown = world.ok(&["profile", "show", "c.toml"]);
    assert!(
        shown.contains("96x160") && shown.contains("patient"),
        "{shown}"
    );

    world.ok(&["profile", "import", "c.toml"]);
    world.ok(&["profile", "export", "d.toml"]);
    let text = |name: &str| fs::read_to_string(world.path(name)).unwrap();
    assert_eq!(text("c.toml"), text("d.toml"));
    assert_eq!(
        world.ok(&["profile", "export", "-"]).trim(),
        text("d.toml").trim()
    );
    world.ok(&["profile", "diff", "c.toml", "d.toml"]);
    let different = world.run(&["profile", "diff", "a.toml", "c.toml"]);
    assert_eq!(different.code, Some(1));
    assert!(
        different.out.contains(kernel(Family::Lut).id),
        "{}",
        different.out
    );
}

#[test]
fn what_is_forgotten_is_gone() {
    let world = World::new();
    let other = Entry {
        rows: 8,
        ..entry(Family::Mad, 1, Rigor::Measure)
    };
    write(
        &world,
        "p.toml",
        vec![entry(Family::Lut, 1, Rigor::Measure), other],
    );
    world.ok(&["profile", "forget", "96x160", "--profile", "p.toml"]);
    let shown = world.ok(&["profile", "show", "p.toml"]);
    assert!(
        !shown.contains("96x160") && shown.contains("8x160"),
        "{shown}"
    );
    let gone = ["profile", "forget", "96x160", "--profile", "p.toml"];
    world.fails(&gone, &["no entry", "tern profile show"]);
    world.ok(&["profile", "forget", "all", "--profile", "p.toml"]);
    let wrong = world.run(&["profile", "forget", "96by160"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
}

#[test]
fn verifying_tells_a_winner_that_holds_from_one_that_does_not() {
    let world = World::new();
    // Of plain Rust, so that it is the same everywhere: what is chosen without a profile, and masked additions.
    let cpu = Cpu::detect().capped(tern_kernels::Isa::Scalar);
    let planner = tern_kernels::Planner::new(cpu, None, None).unwrap();
    let (chosen, slow) = (planner.choose(SHAPE, 1).kernel, kernel(Family::Addsub));
    let entry = |winner: &Kernel, other: &Kernel| Entry {
        runner_up: Some(RunnerUp {
            kernel: other.id.to_owned(),
            margin: 0.5,
            prompt_us: None,
            tile: tern_kernels::plan::DEFAULT_TILE,
        }),
        ..Entry::of(SHAPE, 1, winner)
    };
    let (right, wrong) = (entry(&chosen, &slow), entry(&slow, &chosen));
    write(&world, "right.toml", vec![right]);
    write(&world, "wrong.toml", vec![wrong]);
    let capped = ["--max-isa", "scalar", "--budget", "2", "--json"];
    let verify = |name| world.run(&[&["profile", "verify", name], &capped[..]].concat());
    let (right, wrong) = (verify("right.toml"), verify("wrong.toml"));
    let codes = [right.code, wrong.code];
    assert!(
        codes == [Some(0), Some(1)] || codes == [Some(1), Some(0)],
        "{}\n{}",
        right.err,
        wrong.err
    );
    let held = if codes[0] == Some(0) { right } else { wrong };
    let report: serde_json::Value = serde_json::from_str(&held.out).unwrap();
    assert_eq!(report["holds"], true);
}

#[test]
fn one_bad_file_changes_nothing() {
    let world = World::new();
    write(
        &world,
        "a.toml",
        vec![entry(Family::Lut, 1, Rigor::Measure)],
    );
    let mut foreign = Profile::new(&Cpu::detect(), DATE, Vec::new());
    foreign.host.key = "zilog-80".to_owned();
    fs::write(world.path("z.toml"), foreign.to_toml()).unwrap();
    fs::write(world.path("bad.toml"), "format = 2\nrows = 1\n").unwrap();
    fs::write(world.path("out.toml"), "old").unwrap();
    for (bad, said) in [
        ("z.toml", "zilog-80"),
        ("bad.toml", "not a tern profile"),
        ("missing.toml", "missing.toml"),
    ] {
        let merge = ["profile", "merge", "a.toml", bad, "--out", "out.toml"];
        world.fails(&merge, &[said]);
        assert_eq!(fs::read_to_string(world.path("out.toml")).unwrap(), "old");
        world.fails(&["profile", "import", bad], &[said]);
    }
    let twice = fs::read_to_string(world.path("a.toml")).unwrap();
    let (_, row) = twice.split_once("[[gemv]]").unwrap();
    fs::write(world.path("twice.toml"), format!("{twice}\n[[gemv]]{row}")).unwrap();
    world.fails(
        &["profile", "show", "twice.toml"],
        &["two entries for 96x160 x1"],
    );
    world.fails(&["profile", "show"], &["tern tune"]);
}
