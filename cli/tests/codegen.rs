//! `tern codegen`: the generator in the installed program.

mod common;

use std::fs;

use common::World;

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
    world.fails(
        &["codegen", "show", "gemv_reference_trits__scalar"],
        &["written by hand"],
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
