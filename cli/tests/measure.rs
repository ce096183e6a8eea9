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
        let mut arguments = vec![
            "tune",
            "--threads",
            "1",
            "--budget",
            "0.5",
            "--force",
            "--json",
        ];
        arguments.extend(more);
        world.json(&arguments)
    };
    let report = tune(&["--shapes", "./tiny.toml"]);
    let proofs = report["proofs"].as_array().expect("proofs");
    let isas = tern_kernels::Cpu::detect().isas();
    assert_eq!(proofs.len(), isas.len() - 1, "all but plain Rust");
    let refuted = proofs.iter().find(|proof| proof["state"] != "proven");
    assert!(refuted.is_none(), "{refuted:?}");
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
    tune(&["--model", "demo", "--max-isa", "scalar", "--out", &path]);
    let text = fs::read_to_string(&path).unwrap();
    for isa in tern_kernels::Cpu::detect().isas() {
        assert!(text.contains(&format!("\"{isa}\"")), "no {isa} in {text}");
    }
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

/// What is not the best for this CPU does not go to the CPU's own profile unasked.
#[test]
fn a_capped_tuning_needs_a_file() {
    let world = World::new();
    let refused = |arguments: &[&str]| {
        let ran = world.run(&[&["tune", "--budget", "0.1"], arguments].concat());
        ran.assert_failed(2, &["name another file with --out"]);
        assert_eq!(world.files(), Vec::<std::path::PathBuf>::new());
    };
    refused(&["--pages", "small"]);
    refused(&["--kernel", "lut"]);
    if tern_kernels::Cpu::detect().isas().len() > 1 {
        refused(&["--max-isa", "scalar"]);
    }
}

/// A check that did not get through all entries does not say that the profile holds.
#[test]
fn a_check_without_time_fails() {
    let world = World::new();
    let shapes = format!("{SHAPES}[[matrix]]\nname = \"v\"\nrows = 64\ncols = 160\ncount = 1\n");
    fs::write(world.path("two.toml"), shapes).unwrap();
    let isa = ["--max-isa", "scalar"];
    let tuning = [
        "tune",
        "--shapes",
        "./two.toml",
        "--threads",
        "1",
        "--budget",
        "1",
        "--force",
    ];
    world.ok(&[&tuning[..], &isa, &["--out", "p.toml"]].concat());
    let check = ["tune", "--check", "p.toml", "--budget", "0.1"];
    let ran = world.run(&[&check[..], &isa].concat());
    let is_complete = ran.out.contains("2 of 2 entries checked");
    let holds = ran
        .err
        .contains("2 of 2 entries checked: the profile still holds");
    assert!(is_complete || !holds, "{}\n{}", ran.out, ran.err);
    assert!(ran.code == Some(1) || holds, "{}\n{}", ran.out, ran.err);
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
    let samples = fs::read_to_string(world.path("record/samples.csv")).unwrap();
    for series in ["stream_1", "stream_2", "stream_4", "clock"] {
        let lines = samples.lines().filter(|line| line.contains(series)).count();
        assert_eq!(lines, 3, "{series}");
    }
    let environment = fs::read_to_string(world.path("record/environment.toml")).unwrap();
    assert!(
        environment.contains("tern compare --shapes ./tiny.toml"),
        "{environment}"
    );
    assert!(environment.contains("rustc 1."), "{environment}");
}

#[test]
fn a_report_is_a_new_folder_with_a_page() {
    let world = World::new();
    fs::write(world.path("tiny.toml"), SHAPES).unwrap();
    let report = [
        "compare",
        "--report",
        "--shapes",
        "./tiny.toml",
        "--budget",
        "3",
        "--rounds",
        "2",
    ];
    let arguments = [&report[..], &["--threads", "2,1", "--out", "new/record"]].concat();
    let ran = world.run(&arguments);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains(", 1 thread,") && ran.out.contains(", 2 threads,"),
        "{}",
        ran.out
    );
    assert!(
        ran.err.contains("part 1 of 6: all families side by side"),
        "{}",
        ran.err
    );
    for name in [
        "README.md",
        "speed-memory.svg",
        "roofline.svg",
        "comparison.csv",
        "samples-1t.csv",
        "samples-2t.csv",
        "standings.csv",
        "tiles.csv",
        "ceilings.csv",
        "environment.toml",
    ] {
        assert!(world.path("new/record").join(name).is_file(), "{name}");
    }
    let page = fs::read_to_string(world.path("new/record/README.md")).unwrap();
    assert!(
        page.contains("`tern compare --report --shapes ./tiny.toml"),
        "{page}"
    );
    assert!(page.contains("| 96x160 |"), "{page}");
    let entries = fs::read_dir(world.path("new")).unwrap().count();
    assert_eq!(entries, 1, "nothing temporary stays");
    // A record is never overwritten.
    world.fails(
        &arguments,
        &["new/record exists already", "name another folder"],
    );
    // Outside a checkout it has no place of its own.
    let homeless = world.run(&report);
    homeless.assert_failed(2, &["no checkout of tern", "--out"]);
    let numbers =
        world.json(&[&report[..], &["--threads", "1", "--out", "json", "--json"]].concat());
    assert_eq!(numbers["comparisons"][0]["threads"], 1);
}

#[test]
fn several_thread_counts_need_a_report() {
    let world = World::new();
    let ran = world.run(&["compare", "--threads", "1,2"]);
    ran.assert_failed(2, &["--report"]);
    let ran = world.run(&["compare", "--threads", "0"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
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
    // This program may have a profile of this CPU built in.
    let profile = &report["profile"];
    assert!(
        profile["state"] == "absent" || profile["path"] == "bundled",
        "{profile}"
    );
    let capped = world.json(&["cpu", "--no-bandwidth", "--json", "--max-isa", "scalar"]);
    assert_eq!(capped["isas"].to_string(), "[\"scalar\"]");
}

/// What this CPU announces it has: the child processes run, compare and say so. Without the flag nothing is proven.
#[test]
fn the_cpu_proves_its_instruction_sets() {
    let world = World::new();
    let isas: Vec<&str> = tern_kernels::Cpu::detect()
        .isas()
        .into_iter()
        .map(tern_kernels::Isa::name)
        .collect();
    let prove = ["cpu", "--no-bandwidth", "--prove"];
    let report = world.json(&[&prove[..], &["--json"]].concat());
    let proofs = report["proofs"].as_array().expect("proofs");
    let proven: Vec<&str> = proofs
        .iter()
        .map(|proof| proof["isa"].as_str().unwrap())
        .collect();
    assert_eq!(proven, isas[1..], "all but plain Rust");
    for proof in proofs {
        assert_eq!(proof["state"], "proven", "{proof}");
        assert!(proof["kernels"].as_u64().unwrap() > 0, "{proof}");
    }
    let text = world.ok(&prove);
    for isa in &isas[1..] {
        assert!(text.contains(&format!("{isa}: proven by ")), "{text}");
    }
    let capped = world.json(&[&prove[..], &["--json", "--max-isa", "scalar"]].concat());
    assert_eq!(capped["proofs"].to_string(), "[]");
    let unasked = world.json(&["cpu", "--no-bandwidth", "--json"]);
    assert!(unasked.get("proofs").is_none(), "{unasked}");
}

/// The half of a proof that runs in a child says how many kernels it compared, whatever TERN_MAX_ISA leaves.
#[test]
fn an_instruction_set_that_is_absent_is_not_proven() {
    let world = World::new();
    let cpu = tern_kernels::Cpu::detect();
    for &isa in tern_kernels::Isa::HERE {
        let mut command = world.command(&["prove", isa.name()]);
        let ran = ran(command.env("TERN_MAX_ISA", "scalar").output().unwrap());
        match cpu.has(isa) {
            true => {
                assert_eq!(ran.code, Some(0), "{}", ran.err);
                assert!(ran.out.trim().parse::<usize>().unwrap() > 0, "{}", ran.out);
            }
            false => {
                ran.assert_failed(1, &[isa.name(), "does not announce"]);
                assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
            }
        }
    }
}

/// Ctrl-C, or the system's wish, in the middle of a tuning or a report: it ends soon, says so, and writes nothing but the log.
#[cfg(unix)]
#[test]
fn an_interrupted_measurement_writes_nothing() {
    let tune = ["tune", "--model", "demo"];
    let report = ["compare", "--report", "--model", "demo"];
    let log = "stopped, the profile was not written; the same command goes on from p.jsonl";
    let nothing = "stopped, nothing was written";
    for (signal, command, said, left) in [
        ("-INT", &tune[..], log, &["p.jsonl"][..]),
        ("-TERM", &tune[..], log, &["p.jsonl"]),
        ("-INT", &report[..], nothing, &[]),
    ] {
        let world = World::new();
        let mut command =
            world.command(&[command, &["--budget", "600", "--out", "p.toml"]].concat());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let sent = std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        if !sent.is_ok_and(|status| status.success()) {
            child.kill().unwrap();
            panic!("this test needs the `kill` command");
        }
        let start = Instant::now();
        let ran = ran(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(130), "{signal}: {}", ran.err);
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{signal}: {:?}",
            start.elapsed()
        );
        assert!(ran.err.contains(said), "{signal}: {}", ran.err);
        let left: Vec<_> = left.iter().map(|name| world.path(name)).collect();
        assert_eq!(world.files(), left);
    }
}

/// Killed without a word, a tuning leaves the old profile as it was, and the same command goes on from the log.
#[cfg(unix)]
#[test]
fn a_killed_tuning_leaves_the_old_profile_and_goes_on() {
    let world = World::new();
    fs::write(world.path("tiny.toml"), SHAPES).unwrap();
    let tune = |more: &[&'static str]| {
        let common = [
            "tune",
            "--shapes",
            "./tiny.toml",
            "--out",
            "p.toml",
            "--force",
        ];
        [
            &common[..],
            &["--rigor", "measure", "--threads", "1,2"],
            more,
        ]
        .concat()
    };
    world.ok(&tune(&["--budget", "2"]));
    let old = fs::read_to_string(world.path("p.toml")).unwrap();
    let again = tune(&["--again", "--budget", "8"]);
    let mut child = world
        .command(&again)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(3500));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read_to_string(world.path("p.toml")).unwrap(), old);
    let resumed = world.run(&again);
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(
        resumed
            .err
            .contains("went on with a tuning that was interrupted after"),
        "{}",
        resumed.err
    );
    let new = fs::read_to_string(world.path("p.toml")).unwrap();
    assert_ne!(new, old);
    world.ok(&["profile", "show", "p.toml"]);
}

/// What a profile has already is not tuned again, unless that is wanted or more rigor is.
#[test]
fn a_profile_serves_equal_and_lower_rigor() {
    let world = World::new();
    fs::write(world.path("tiny.toml"), SHAPES).unwrap();
    let tune = |more: &[&'static str]| {
        let common = [
            "tune",
            "--shapes",
            "./tiny.toml",
            "--out",
            "p.toml",
            "--force",
        ];
        let ran = world.run(&[&common[..], &["--threads", "1", "--budget", "4"], more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        // What a busy machine hides does not serve; here that is not the question.
        let text = fs::read_to_string(world.path("p.toml")).unwrap();
        fs::write(world.path("p.toml"), text.replace("noisy = true\n", "")).unwrap();
        ran.err
    };
    assert!(tune(&["--rigor", "measure"]).contains("saved"));
    let first = fs::read_to_string(world.path("p.toml")).unwrap();
    assert!(first.contains("rigor = \"measure\""), "{first}");
    let served = tune(&["--rigor", "measure"]);
    assert!(served.contains("--again tunes them anew") && served.contains("nothing new"));
    assert_eq!(fs::read_to_string(world.path("p.toml")).unwrap(), first);
    assert!(tune(&["--rigor", "measure", "--again"]).contains("saved"));
    assert!(tune(&["--rigor", "patient"]).contains("saved"));
    assert!(tune(&["--rigor", "measure"]).contains("nothing new"));
    let text = fs::read_to_string(world.path("p.toml")).unwrap();
    // Several tokens at once may have had no time.
    let for_one_token = text.split("[[batch]]").next().unwrap();
    assert!(!for_one_token.contains("rigor = \"measure\""), "{text}");
    // The estimate times nothing and writes nothing.
    let shown = world.ok(&["tune", "--rigor", "estimate", "--shapes", "./tiny.toml"]);
    assert!(shown.contains("gemv_"), "{shown}");
}

/// A comparison that fails after its checks leaves no directory behind, not even an empty one.
#[test]
fn a_failed_comparison_leaves_no_directory() {
    let world = World::new();
    let shapes = SHAPES.replace("rows = 96", "rows = 0");
    fs::write(world.path("bad.toml"), shapes).unwrap();
    world.fails(
        &["compare", "--shapes", "./bad.toml", "--out", "new/record"],
        &["rows of `q` is 0"],
    );
    // The record comes after the table: a table that cannot be printed is the end.
    fs::write(world.path("tiny.toml"), SHAPES).unwrap();
    let mut command = world.command(&[
        "compare",
        "--shapes",
        "./tiny.toml",
        "--threads",
        "1",
        "--budget",
        "0.1",
        "--rounds",
        "1",
        "--out",
        "new/record",
        "--json",
    ]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return };
    let ran = ran(command.stdout(full).output().unwrap());
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(!world.path("new").exists());
}
