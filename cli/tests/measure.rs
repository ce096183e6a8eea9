//! Commands that measure: short runs on small matrices.

mod common;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{World, ran};

const SHAPES: &str = "name = \"tiny\"\nsource = \"a test\"\nlayers = 1\n\
                      [[matrix]]\nname = \"q\"\nrows = 96\ncols = 160\ncount = 1\n";

#[test]
fn a_tuning_is_saved_found_and_merged() {
    let world = World::new();
    fs::write(world.path("tiny.toml"), SHAPES).unwrap();
    let tune = |more: &[&str]| {
        let mut arguments = vec!["tune", "--threads", "1", "--budget", "0.5", "--json"];
        arguments.extend(more);
        world.json(&arguments)
    };
    let report = tune(&["--shapes", "./tiny.toml"]);
    let path = report["out"].as_str().expect("it was written").to_owned();
    assert!(
        path.starts_with(&world.path("config").display().to_string()),
        "{path}"
    );
    let winner = report["tuning"]["profile"]["gemv"][0]["kernel"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(fs::read_to_string(&path).unwrap().contains(&winner));

    // A second model joins the first one's entries.
    tune(&["--model", "demo", "--max-isa", "scalar"]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains(&winner) && text.contains("rows = 96"),
        "{text}"
    );
    let plan = world.json(&["inspect", "demo", "--threads", "1", "--json"]);
    assert_eq!(plan["profile"]["state"], "used");
    let saved: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("kernel = "))
        .collect();
    for matrix in plan["matrices"].as_array().unwrap() {
        if matrix["source"] == "profile" {
            let kernel = matrix["kernel"].as_str().unwrap();
            assert!(saved.iter().any(|line| line.contains(kernel)), "{kernel}");
        }
    }
    let temporary = world
        .files()
        .into_iter()
        .any(|file| file.to_string_lossy().ends_with(".tmp"));
    assert!(!temporary, "{:?}", world.files());
}

#[test]
fn a_comparison_writes_its_record() {
    let world = World::new();
    fs::write(world.path("tiny.toml"), SHAPES).unwrap();
    let arguments = [
        "compare",
        "--shapes",
        "./tiny.toml",
        "--threads",
        "1",
        "--budget",
        "1",
        "--rounds",
        "3",
        "--out",
        "record",
    ];
    let table = world.ok(&arguments);
    assert!(
        table.contains("96x160") && table.contains("addsub") && table.contains("lut"),
        "{table}"
    );
    for name in [
        "comparison.csv",
        "samples.csv",
        "comparison.svg",
        "table.txt",
        "environment.toml",
    ] {
        assert!(world.path("record").join(name).is_file(), "{name}");
    }
    let environment = fs::read_to_string(world.path("record/environment.toml")).unwrap();
    assert!(
        environment.contains("tern compare --shapes ./tiny.toml"),
        "{environment}"
    );
    assert!(environment.contains("rustc 1."), "{environment}");
}

#[test]
fn the_demo_goes_the_whole_path_and_writes_nothing() {
    let world = World::new();
    let report = world.json(&["demo", "--seconds", "1", "--threads", "2", "--json"]);
    assert!(
        !report["tuning"]["profile"]["gemv"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let families: Vec<&str> = report["comparison"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["family"].as_str().unwrap())
        .collect();
    assert!(
        families.contains(&"lut") && families.contains(&"addsub"),
        "{families:?}"
    );
    let text = &report["text"];
    assert_eq!(text["generated"]["tokens"].as_array().unwrap().len(), 200);
    for speed in text["speeds"].as_array().unwrap() {
        assert_eq!(speed["same_text"], true, "{speed}");
        assert!(
            speed["tokens_per_second"].as_f64().unwrap() > 0.0,
            "{speed}"
        );
    }
    assert_eq!(world.files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_cpu_describes_itself() {
    let world = World::new();
    let report = world.json(&["cpu", "--no-bandwidth", "--json"]);
    let cpu = tern_kernels::Cpu::detect();
    assert_eq!(report["key"], cpu.key());
    assert_eq!(report["isas"].as_array().unwrap().len(), cpu.isas().len());
    assert_eq!(report["profile"]["state"], "absent");
    let capped = world.json(&["cpu", "--no-bandwidth", "--json", "--max-isa", "scalar"]);
    assert_eq!(capped["isas"].to_string(), "[\"scalar\"]");
}

/// Ctrl-C in the middle of a tuning: it ends soon, says so, and writes nothing.
#[cfg(unix)]
#[test]
fn an_interrupted_tuning_writes_nothing() {
    let world = World::new();
    let mut command = world.command(&[
        "tune", "--model", "demo", "--budget", "600", "--out", "p.toml",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    if !sent.is_ok_and(|status| status.success()) {
        child.kill().unwrap();
        panic!("this test needs the `kill` command");
    }
    let start = Instant::now();
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert!(
        ran.err.contains("stopped, nothing was written"),
        "{}",
        ran.err
    );
    assert_eq!(world.files(), Vec::<std::path::PathBuf>::new());
}
