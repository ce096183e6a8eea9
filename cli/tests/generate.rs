//! Commands that run a model.

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{World, demo_folder, ran};
use safetensors::{Dtype, SafeTensors};

#[test]
fn a_text_depends_on_the_seed_alone() {
    let world = World::new();
    for sampling in [&["--temp", "0"][..], &["--temp", "0.9", "--top-p", "0.95"]] {
        let text = |more: &[&str]| {
            let mut arguments = vec![
                "run", "demo", "-p", "ROMEO:", "-n", "8", "--seed", "1", "--json",
            ];
            arguments.extend(sampling);
            arguments.extend(more);
            let report = world.json(&arguments);
            assert_eq!(report["stats"]["generated_tokens"], 8);
            assert_eq!(report["finish"], "max_tokens");
            (
                report["tokens"].to_string(),
                report["text"].as_str().expect("text").to_owned(),
            )
        };
        let expected = text(&[]);
        for threads in ["1", "2", "3"] {
            for kernel in ["lut", "mad", "addsub", "reference"] {
                assert_eq!(
                    text(&["--threads", threads, "--kernel", kernel]),
                    expected,
                    "{threads} {kernel}"
                );
            }
        }
        assert_eq!(text(&["--max-isa", "scalar"]), expected);
    }
}

#[test]
fn another_seed_gives_another_text() {
    let world = World::new();
    let text = |seed| {
        world.ok(&[
            "run", "demo", "-p", "ROMEO:", "-n", "20", "--temp", "1", "--seed", seed,
        ])
    };
    assert_eq!(text("5"), text("5"));
    assert_ne!(text("5"), text("6"));
}

#[test]
fn a_prompt_comes_from_an_option_a_file_or_a_pipe() {
    let world = World::new();
    let expected = world.ok(&["run", "demo", "-p", "My lord", "-n", "10"]);
    assert!(expected.ends_with('\n'));
    std::fs::write(world.path("prompt.txt"), "My lord\n").unwrap();
    assert_eq!(
        world.ok(&["run", "demo", "-f", "prompt.txt", "-n", "10"]),
        expected
    );
    for arguments in [
        &["run", "demo", "-n", "10"][..],
        &["run", "demo", "-n", "10", "-p", "-"],
    ] {
        let mut command = world.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"My lord\n").unwrap();
        assert_eq!(ran(child.wait_with_output().unwrap()).out, expected);
    }
}

#[test]
fn the_bundled_model_is_the_folder_of_the_repository() {
    let world = World::new();
    let folder = demo_folder().display().to_string();
    let text = |model| world.ok(&["run", model, "-p", "KING", "-n", "12"]);
    assert_eq!(text("demo"), text(&folder));
    let summary = |model| {
        let mut summary = world.json(&["inspect", model, "--json"]);
        // Which end in their names.
        for key in ["model", "tokenizer"] {
            summary[key].take();
        }
        summary
    };
    assert_eq!(summary("demo"), summary(&folder));
}

#[test]
fn another_activation_is_taken_where_it_is_asked_for() {
    let world = World::new();
    let text =
        |more: &[&str]| world.ok(&[&["run", "demo", "-p", "KING", "-n", "12"], more].concat());
    assert_eq!(text(&[]), text(&["--ffn-act", "relu2"]));
    assert_ne!(text(&[]), text(&["--ffn-act", "silu"]));
    let shown = world.ok(&["inspect", "demo"]);
    assert!(
        shown.contains("relu2, by hidden_act in config.json"),
        "{shown}"
    );
    let shown = world.ok(&["inspect", "demo", "--ffn-act", "silu"]);
    assert!(
        shown.contains("silu, is the user's word; the file's is relu2"),
        "{shown}"
    );
    let wrong = world.run(&["run", "demo", "-p", "KING", "--ffn-act", "gelu"]);
    assert!(wrong.err.contains("relu2, silu"), "{}", wrong.err);
}

#[test]
fn only_the_text_goes_to_standard_output() {
    let world = World::new();
    let ran = world.run(&["run", "demo", "-p", "ROMEO:", "-n", "5"]);
    assert!(
        ran.err.contains("5 tokens at") && ran.err.contains("ended: token limit"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("profile: "), "{}", ran.err);
    let quiet = world.run(&["run", "demo", "-p", "ROMEO:", "-n", "5", "--quiet"]);
    assert_eq!((quiet.out, quiet.err.as_str()), (ran.out, ""));
}

#[test]
fn stop_strings_end_the_text() {
    let world = World::new();
    let whole = world.ok(&["run", "demo", "-p", "ROMEO:", "-n", "30"]);
    let (before, _) = whole.split_once(',').expect("Shakespeare has commas");
    let stopped = world.json(&[
        "run", "demo", "-p", "ROMEO:", "-n", "30", "--stop", ",", "--json",
    ]);
    assert_eq!(stopped["text"], before);
    assert_eq!(stopped["finish"]["stop_string"], ",");
}

#[test]
fn a_context_can_be_smaller_than_the_models() {
    let world = World::new();
    let report = world.json(&[
        "run",
        "demo",
        "-p",
        "ROMEO:",
        "--ctx",
        "10",
        "--ignore-eos",
        "--json",
    ]);
    let count = |key: &str| report["stats"][key].as_u64().unwrap();
    assert_eq!(count("prompt_tokens") + count("generated_tokens"), 11);
    assert!(
        report["finish"].to_string().contains("context_full"),
        "{}",
        report["finish"]
    );
}

#[test]
fn logits_are_a_safetensors_file() {
    let world = World::new();
    // More tokens than the engine takes at once.
    let tokens: Vec<String> = (0..100).map(|id| (id * 7 % 1000).to_string()).collect();
    let logits = |tokens: &str, more: &[&str]| {
        let out = world.path("logits.safetensors");
        let mut arguments = vec![
            "logits",
            "demo",
            "--tokens",
            tokens,
            "--out",
            "logits.safetensors",
        ];
        arguments.extend(more);
        assert_eq!(world.ok(&arguments), "");
        std::fs::read(out).unwrap()
    };
    let bytes = logits(&tokens.join(","), &[]);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names(), ["logits"]);
    let tensor = file.tensor("logits").unwrap();
    assert_eq!(
        (tensor.dtype(), tensor.shape()),
        (Dtype::F32, &[100, 1024][..])
    );
    let finite = tensor
        .data()
        .chunks_exact(4)
        .all(|x| f32::from_le_bytes(x.try_into().unwrap()).is_finite());
    assert!(finite);
    assert_eq!(
        logits(&tokens.join(","), &["--threads", "3", "--kernel", "addsub"]),
        bytes
    );
    // A row depends on the tokens up to it alone.
    let start = logits(&tokens[..2].join(","), &[]);
    let start = SafeTensors::deserialize(&start).unwrap();
    assert_eq!(
        start.tensor("logits").unwrap().data(),
        &tensor.data()[..2 * 4 * 1024]
    );
}

#[test]
fn perplexity_is_that_of_pytorch() {
    let world = World::new();
    let demo = demo_folder().join("..");
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(demo.join("expected.json")).unwrap()).unwrap();
    let page = demo.join("page.txt").display().to_string();
    let found = world.json(&["perplexity", "demo", "--file", &page, "--json"]);
    let (found_value, expected_value) = (
        found["perplexity"].as_f64().unwrap(),
        expected["page"]["perplexity"].as_f64().unwrap(),
    );
    assert!(
        (found_value / expected_value - 1.0).abs() < 0.005,
        "{found_value}, PyTorch {expected_value}"
    );
    assert_eq!(found["scored"], expected["page"]["scored_tokens"]);
    let shorter = world.json(&[
        "perplexity",
        "demo",
        "--file",
        &page,
        "--ctx",
        "32",
        "--json",
    ]);
    assert!(
        shorter["perplexity"].as_f64().unwrap() > found_value,
        "less context predicts worse"
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = World::new();
    for arguments in [
        &["codegen", "list"][..],
        &["run", "demo", "-p", "ROMEO:", "-n", "200", "--ignore-eos"],
    ] {
        let mut command = world.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ran = ran(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(
            !ran.err.contains("error") && !ran.err.contains("panicked"),
            "{}",
            ran.err
        );
    }
}
