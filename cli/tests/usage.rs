//! The command line itself: help that teaches, versions, wrong usage.

mod common;

use common::World;

const COMMANDS: [&str; 11] = [
    "demo",
    "run",
    "chat",
    "tune",
    "compare",
    "inspect",
    "perplexity",
    "logits",
    "cpu",
    "codegen",
    "completions",
];

#[test]
fn every_command_explains_itself_with_an_example() {
    let world = World::new();
    for command in COMMANDS {
        let help = world.ok(&[command, "--help"]);
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(
            help.contains(&format!("\n  tern {command}")),
            "{command}: {help}"
        );
    }
    for action in ["list", "show", "explain", "emit"] {
        let help = world.ok(&["codegen", action, "--help"]);
        assert!(
            help.contains(&format!("\n  tern codegen {action}")),
            "{help}"
        );
    }
    let help = world.ok(&["--help"]);
    assert!(
        COMMANDS.iter().all(|command| help.contains(command)),
        "{help}"
    );
    assert!(!help.contains("\n  prove"), "it is not for people: {help}");
}

#[test]
fn the_options_of_the_engine_are_everywhere_where_a_model_runs() {
    let world = World::new();
    for command in ["demo", "run", "chat", "inspect", "perplexity", "logits"] {
        let help = world.ok(&[command, "--help"]);
        for option in [
            "--threads",
            "--profile",
            "--kernel",
            "--max-isa",
            "--ffn-act",
            "--act-scales",
            "--weight-scales",
            "TERN_PROFILE",
            "TERN_MAX_ISA",
        ] {
            assert!(help.contains(option), "{command} has no {option}: {help}");
        }
    }
}

#[test]
fn known_models_are_listed_with_their_weights() {
    let world = World::new();
    for command in ["tune", "compare"] {
        let list = world.ok(&[command, "--shapes", "list"]);
        let line = list.lines().find(|line| line.starts_with("falcon3-7b "));
        let line = line.unwrap_or_else(|| panic!("no falcon3-7b in {list}"));
        assert!(line.contains(" 6.650 "), "{line}");
    }
    let json = world.json(&["tune", "--shapes", "list", "--json"]);
    let models = json.as_array().unwrap();
    let is_known = |name: &str| models.iter().any(|model| model["name"] == name);
    assert!(is_known("bitnet-2b4t") && is_known("ternary-bonsai-8b"));
    let weights: Vec<u64> = models
        .iter()
        .map(|model| model["weights"].as_u64().unwrap())
        .collect();
    assert!(weights.is_sorted(), "{weights:?}");
    assert!(world.files().is_empty());
}

#[test]
fn the_version_is_that_of_the_package() {
    let expected = format!("tern {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(World::new().ok(&["--version"]), expected);
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let world = World::new();
    let cases: &[(&[&str], &str)] = &[
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["run"], "<MODEL>"),
        (&["run", "demo", "--threads", "0"], "0 is not in 1..=1024"),
        (
            &["run", "demo", "-p", "x", "--kernel", "lutt"],
            "`lutt` is neither a kernel family",
        ),
        (
            &["run", "demo", "-p", "x", "--max-isa", "avx9"],
            "`avx9` is no instruction set",
        ),
        (
            &["run", "demo", "-p", "x", "--top-p", "1.5"],
            "top_p is 1.5; expected above 0",
        ),
        (
            &["run", "demo", "-p", "x", "--temp", "-1"],
            "temperature is -1",
        ),
        (
            &["run", "demo", "-p", "x", "--temp", "nan"],
            "temperature is NaN",
        ),
        (
            &["run", "demo", "-p", "x", "-f", "y"],
            "cannot be used with",
        ),
        (&["run", "demo", "-p", "x", "--stop", ""], "--stop"),
        (
            &["logits", "demo", "--tokens", "1,x", "--out", "y"],
            "`x` is no whole number",
        ),
        (
            &["tune", "--threads", "1,0"],
            "0 threads: expected 1 to 1024",
        ),
        (
            &["tune", "--budget", "never"],
            "expected a number of seconds",
        ),
        (&["tune", "--kernel", "lut"], "name another file with --out"),
        (
            &["codegen", "emit", "--isa", "mmx", "--out", "x"],
            "possible values: scalar",
        ),
        (&["codegen", "emit", "--isa", "avx2"], "--out <DIR>"),
        (&["prove", "avx9"], "`avx9` is no instruction set"),
        (&["prove"], "<ISA>"),
    ];
    for (arguments, part) in cases {
        let ran = world.run(arguments);
        ran.assert_failed(2, &[part]);
    }
    assert_eq!(world.run(&[]).code, Some(2));
    let capped = world
        .command(&["cpu", "--no-bandwidth"])
        .env("TERN_MAX_ISA", "mmx")
        .output()
        .unwrap();
    assert_eq!(capped.status.code(), Some(2));
    // A variable that is set to nothing is as good as unset.
    let mut command = world.command(&["inspect", "demo"]);
    let unset = command
        .env("TERN_MAX_ISA", "")
        .env("TERN_PROFILE", "")
        .output()
        .unwrap();
    assert_eq!(unset.status.code(), Some(0));
}

#[test]
fn colours_are_for_terminals() {
    let world = World::new();
    for arguments in [
        &["cpu", "--no-bandwidth"][..],
        &["inspect", "demo"],
        &["codegen", "list"],
    ] {
        let ran = world.run(arguments);
        assert!(
            !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{arguments:?}"
        );
    }
}
