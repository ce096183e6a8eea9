//! `tern synth` and `tern bench`: what they write and print, and what they refuse.

mod common;

use std::fs;

use common::World;
use serde_json::Value;

const TINY: &str = "\
model_type = \"bitnet\"
hidden_size = 64
intermediate_size = 96
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
vocab_size = 200
max_position_embeddings = 64
rope_theta = 10000.0
hidden_act = \"relu2\"
tie_word_embeddings = true
";

/// A world with a small random model in the folder `m`.
fn world() -> World {
    let world = World::new();
    fs::write(world.path("tiny.toml"), TINY).unwrap();
    world.ok(&["synth", "--shape", "tiny.toml", "--head-spread", "4", "m"]);
    world
}

#[test]
fn a_random_model_is_a_folder_that_says_so_and_the_same_seed_gives_the_same() {
    let world = world();
    let read = |path: &str| fs::read(world.path(path)).unwrap();
    let readme = String::from_utf8(read("m/README.md")).unwrap();
    assert!(readme.contains("random"), "{readme}");
    let names: Vec<_> = fs::read_dir(world.path("m"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let synth = |more: &[&str]| {
        let common = ["synth", "--shape", "tiny.toml", "--head-spread", "4"];
        world.ok(&[&common[..], more].concat());
    };
    synth(&["again"]);
    synth(&["--seed", "2", "other"]);
    assert_eq!(read("m/model.safetensors"), read("again/model.safetensors"));
    assert_ne!(read("m/model.safetensors"), read("other/model.safetensors"));
    let shown = world.ok(&["inspect", "m", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown["parameters"]["ternary"],
        2 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 64 * 96)
    );
}

#[test]
fn shapes_that_cannot_be_and_folders_that_are_there_are_refused() {
    let world = world();
    world.fails(
        &["synth", "--shape", "nobody", "x"],
        &["no shape is called nobody", "bitnet-2b4t", "TOML file"],
    );
    world.fails(
        &["synth", "--shape", "absent.toml", "x"],
        &["cannot read absent.toml"],
    );
    fs::write(
        world.path("odd.toml"),
        TINY.replace("num_key_value_heads = 2", "num_key_value_heads = 3"),
    )
    .unwrap();
    world.fails(
        &["synth", "--shape", "odd.toml", "x"],
        &["num_key_value_heads"],
    );
    fs::write(world.path("more.toml"), format!("{TINY}layers = 3\n")).unwrap();
    world.fails(
        &["synth", "--shape", "more.toml", "x"],
        &["more.toml", "layers"],
    );
    world.fails(
        &["synth", "--shape", "tiny.toml", "--head-spread", "99", "x"],
        &["head spread", "below 8.0"],
    );
    world.fails(
        &["synth", "--shape", "tiny.toml", "--head-spread", "4", "m"],
        &["exists already"],
    );
    assert!(!world.path("x").exists());
}

#[test]
fn every_format_has_the_same_tests_in_llama_benchs_words() {
    let world = world();
    let bench = |format: &str| {
        world.ok(&[
            "bench", "m", "-p", "9", "-n", "3", "-pg", "4,2", "-d", "0,5", "-t", "1,2", "-r", "2",
            "-o", format,
        ])
    };
    let json: Value = serde_json::from_str(&bench("json")).unwrap();
    let results = json.as_array().unwrap();
    let names: Vec<&str> = results
        .iter()
        .map(|r| r["test"].as_str().unwrap())
        .collect();
    let once = [
        "pp9",
        "tg3",
        "pp4+tg2",
        "pp9 @ d5",
        "tg3 @ d5",
        "pp4+tg2 @ d5",
    ];
    assert_eq!(names, [once, once].concat());
    for result in results {
        assert!(result["avg_ts"].as_f64().unwrap() > 0.0);
        assert_eq!(result["samples_ns"].as_array().unwrap().len(), 2);
        assert_eq!(result["stream_samples"].as_array().unwrap().len(), 2);
        let writes = result["test"].as_str().unwrap().starts_with("tg");
        assert_eq!(result["bytes_per_token"].is_u64(), writes);
        assert_eq!(result["bandwidth_share"].is_f64(), writes);
    }
    // The cache that a token reads grows with what stands before it.
    let bytes = |index: usize| results[index]["bytes_per_token"].as_u64().unwrap();
    assert!(bytes(4) > bytes(1));

    let csv = bench("csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + names.len());
    assert!(lines[0].contains("avg_ts") && lines[0].contains("bandwidth_share"));
    assert!(lines.iter().any(|line| line.contains("\"tg3 @ d5\"")));
    let jsonl = bench("jsonl");
    assert_eq!(jsonl.lines().count(), names.len());
    assert!(
        jsonl
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    let table = bench("md");
    assert_eq!(table.lines().count(), 2 + names.len());
    assert!(
        table
            .lines()
            .all(|line| line.starts_with('|') && line.ends_with('|'))
    );
    let widths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
}

#[test]
fn what_cannot_be_timed_is_refused() {
    let world = world();
    world.fails(
        &["bench", "m", "-p", "60", "-n", "0", "-d", "5"],
        &["needs 65 positions", "has 64"],
    );
    for bad in [
        &["bench", "m", "-p", "0", "-n", "0"][..],
        &["bench", "m", "-pg", "12"],
        &["bench", "m", "-t", "0"],
        &["bench", "m", "-r", "0"],
        &["bench", "m", "-o", "sql"],
    ] {
        let ran = world.run(bad);
        assert_eq!(ran.code, Some(2), "{bad:?}: {}", ran.err);
    }
    world.fails(&["bench", "absent"], &["absent"]);
}

/// Where a token's time goes: in the table for people, in JSON, and as a figure only where one is asked for.
#[test]
fn the_time_of_a_token_is_accounted_for() {
    let world = world();
    let common = ["bench", "m", "-p", "0", "-n", "8", "-r", "1", "-t", "1,2"];
    let shown = world.ok(&[&common[..], &["--profile-time"]].concat());
    for what in ["q_proj", "attention", "barrier: slowest", "accounted for"] {
        assert!(shown.contains(what), "{what}: {shown}");
    }
    let more = ["--profile-time", "-o", "json", "--svg", "time.svg"];
    let shown = world.ok(&[&common[..], &more].concat());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for (threads, result) in shown.as_array().unwrap().iter().enumerate() {
        let time = &result["token_time"];
        // Five regions in each of two layers and one for the head, or more where tables are built.
        assert!(time["regions_per_token"].as_f64().unwrap() >= 11.0);
        let rows = time["rows"].as_array().unwrap();
        let workers = rows[0]["worker_ms"].as_array().unwrap().len();
        assert_eq!(workers, threads + 1);
        let sum: f64 = rows.iter().map(|row| row["share"].as_f64().unwrap()).sum();
        assert!(sum > 0.5 && sum < 1.001, "{sum}");
    }
    let svg = fs::read_to_string(world.path("time.svg")).unwrap();
    assert!(svg.contains("tg8, 2 threads, worker 1"), "{svg}");
    // Without being asked for, nothing is recorded.
    let shown = world.ok(&[&common[..], &["-o", "json"]].concat());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown[0]["token_time"].is_null());
}
