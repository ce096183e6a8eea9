//! `tern codegen`: the generator in the installed program.

mod common;

use std::fs;

use common::World;
use tern_kernels::{Cpu, Entry, Profile, Shape};

#[test]
fn every_kernel_of_the_program_is_listed_and_can_be_shown() {
    let world = World::new();
    let listed = world.json(&["codegen", "list", "--json"]);
    let ids: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    assert!(!ids.is_empty());
    for kernel in tern_kernels::kernels().filter(|kernel| kernel.fingerprint != "reference") {
        assert!(ids.contains(&kernel.id), "{} is not listed", kernel.id);
    }
    let batched = (tern_kernels::unpacks().map(|kernel| kernel.id))
        .chain(tern_kernels::gemms().map(|kernel| kernel.id));
    for id in batched {
        assert!(ids.contains(&id), "{id} is not listed");
    }
    for id in [ids[0], ids[ids.len() - 1]] {
        let text = world.ok(&["codegen", "show", id]);
        assert!(text.contains(&format!("pub unsafe fn {id}(")), "{text}");
    }
    let one = world.json(&["codegen", "list", "--isa", "scalar", "--json"]);
    assert!(
        one.as_array()
            .unwrap()
            .iter()
            .all(|row| row["isa"] == "scalar" && row["runs_here"] == true)
    );
    for action in ["show", "explain"] {
        world.fails(
            &["codegen", action, "gemv_reference_trits__scalar"],
            &["written by hand"],
        );
    }
}

#[test]
fn explanations_count_operations_and_show_what_the_profile_measured() {
    let world = World::new();
    let id = "gemv_lut_t3__avx2_p1k32";
    let text = world.ok(&["codegen", "explain", id]);
    for part in [
        id,
        "lookup of three trits",
        "vpshufb",
        "127 / 120 = 1",
        "by matrix or row",
        "at best",
        "AMD Zen 4",
    ] {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    let json = world.json(&["codegen", "explain", id, "--json"]);
    assert_eq!(json["id"], id);
    assert_eq!(json["weights_per_step"], 32 * 24);
    assert_eq!(json["scales"], serde_json::json!(["matrix", "row"]));
    let lookups = &json["operations"][0];
    assert_eq!(
        (&lookups["operation"], &lookups["per_step"]),
        (&"lookup".into(), &16.into())
    );
    assert_eq!(json["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(json["measured"].as_array().unwrap().len(), 0);

    // Batched products have their own steps.
    let text = world.ok(&["codegen", "explain", "gemm_i8__avx2_r2n6"]);
    for part in [
        "2 x 8 rows x 6 tokens x 4 columns = 384 products",
        "32768 / 512 = 64",
        "16 of 16 at once",
        "vpmaddubsw",
        "products a cycle on AMD Zen 4",
    ] {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    let text = world.ok(&["codegen", "explain", "unpack_d5__avx512vbmi"]);
    for part in [
        "20 columns of 16 rows = 320 weights",
        "vpermi2b or vpermt2b",
    ] {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    let json = world.json(&["codegen", "explain", "gemm_i8__i8mm_r3n8", "--json"]);
    assert_eq!(
        (&json["operation"], &json["registers"]),
        (&"gemm".into(), &31.into())
    );

    // Plain Rust has nothing to count, but this CPU can have timed it.
    let cpu = Cpu::detect();
    let scalar = "gemv_mad_b2__scalar_p1k512";
    let shape = Shape {
        rows: 1000,
        cols: 3000,
    };
    let entry = Entry {
        median_us: 1500.0,
        mad_us: 1.0,
        ..Entry::by_hand(shape, 2, scalar)
    };
    let profile = Profile::new(&cpu, "2026-11-21T00:00:00Z", vec![entry]);
    fs::write(world.path("p.toml"), profile.to_toml()).unwrap();
    let text = world.ok(&["codegen", "explain", scalar, "--profile", "p.toml"]);
    assert!(
        text.contains("2.0 Gw/s: 1000x3000 in 1500.0 us with 2 threads"),
        "{text}"
    );
    let record = "bench-results/cpu/2026-11-21-abc";
    fs::create_dir_all(world.path(record)).unwrap();
    let line = format!("6912,2560,memory,1,{scalar},8847.36,2e9,1.25");
    let table = format!(
        "rows,cols,residence,threads,kernel,time_us,weights_per_s,weights_per_cycle\n{line}\n"
    );
    fs::write(world.path(record).join("comparison.csv"), table).unwrap();
    let text = world.ok(&["codegen", "explain", scalar]);
    assert!(
        text.contains(record)
            && text.contains("2.0 Gw/s (1.2 weights a cycle and core): 6912x2560 from memory in 8847.4 us with 1 thread"),
        "{text}"
    );
    let json = world.json(&["codegen", "explain", scalar, "--records", record, "--json"]);
    assert_eq!(json["recorded"][0]["rows"], 6912);
    world.fails(
        &["codegen", "explain", scalar, "--records", "nowhere"],
        &["cannot read nowhere"],
    );
    // Records that nobody asked for are left out when they are none.
    fs::write(
        world.path(record).join("comparison.csv"),
        "no,record\n1,2\n",
    )
    .unwrap();
    world.ok(&["codegen", "explain", scalar]);
    world.fails(
        &["codegen", "explain", scalar, "--records", record],
        &["comparison.csv is no table of a record"],
    );
    world.fails(
        &["codegen", "explain", scalar, "--profile", "no.toml"],
        &["cannot read the profile no.toml"],
    );
}

#[test]
fn emitting_is_deterministic() {
    let world = World::new();
    world.ok(&["codegen", "emit", "--isa", "all", "--out", "one"]);
    world.ok(&["codegen", "emit", "--isa", "all", "--out", "two/deep"]);
    let mut names = Vec::new();
    for entry in fs::read_dir(world.path("one")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let read = |folder: &str| fs::read(world.path(folder).join(&name)).unwrap();
        assert_eq!(read("one"), read("two/deep"), "{name}");
        names.push(name);
    }
    names.sort();
    let mut expected = tern_codegen::isa::Isa::ALL.map(|isa| format!("{}.rs", isa.name()));
    expected.sort();
    assert_eq!(names, expected);
    world.ok(&["codegen", "emit", "--isa", "avx2", "--out", "three"]);
    assert_eq!(
        fs::read(world.path("three/avx2.rs")).unwrap(),
        fs::read(world.path("one/avx2.rs")).unwrap()
    );
}
