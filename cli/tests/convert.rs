//! `tern convert`, and commands that are given its files.

mod common;

use common::{World, demo_folder};

#[test]
fn a_model_goes_to_gguf_and_back() {
    let world = World::new();
    let source = demo_folder();
    let source = source.to_str().unwrap();
    let (file, back) = (world.path("demo.gguf"), world.path("back"));
    let (file, back) = (file.to_str().unwrap(), back.to_str().unwrap());
    let report = world.json(&["convert", source, "-o", file, "--to", "gguf:i2_s", "--json"]);
    assert_eq!(report["largest_scale_error"], 0.0);
    assert_eq!(report["matrices"][0][0], "I2_S");
    let text = |model: &str| world.ok(&["run", model, "-p", "ROMEO:", "-n", "12", "--temp", "0"]);
    assert_eq!(text(file), text(source));
    world.ok(&["convert", file, "-o", back, "--to", "hf"]);
    assert_eq!(text(back), text(source));
    let report = world.json(&["inspect", file, "--json"]);
    assert!(report["notes"].to_string().contains("written by tern"));
    // Another order of the same bytes is other weights, or none.
    let ran = world.run(&["run", file, "-p", "x", "-n", "1", "--i2s-layout", "arm"]);
    ran.assert_failed(2, &["128x32"]);
}

#[test]
fn nothing_is_written_over() {
    let world = World::new();
    let source = demo_folder();
    let source = source.to_str().unwrap();
    let file = world.path("there.gguf");
    std::fs::write(&file, "mine").unwrap();
    let path = file.to_str().unwrap();
    world.fails(
        &["convert", source, "-o", path, "--to", "gguf"],
        &["--force"],
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    world.fails(
        &["convert", source, "-o", source, "--to", "hf"],
        &["exists"],
    );
    let ran = world.run(&["convert", source, "-o", path, "--to", "ggml"]);
    ran.assert_failed(2, &["gguf:tq2_0"]);
    world.ok(&["convert", source, "-o", path, "--to", "gguf", "--force"]);
    assert!(std::fs::read(&file).unwrap().starts_with(b"GGUF"));
}

/// Guesses are warned of wherever a model runs, in a line each, and what the user says is none.
#[test]
fn what_a_file_does_not_say_is_warned_of() {
    let world = World::new();
    let fixtures =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/fixtures/gguf");
    let warnings = |file: &str, more: &[&str]| {
        let file = fixtures.join(file);
        let out = world.path("logits.safetensors");
        let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
        let arguments = ["logits", file, "--tokens", "1,2,3", "--out", out, "--quiet"];
        let ran = world.run(&[&arguments, more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.err
    };
    let found = warnings("bitnet-25.gguf", &[]);
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.contains("warning:") && found.contains("--ffn-act silu"));
    assert_eq!(warnings("bitnet-25.gguf", &["--ffn-act", "relu2"]), "");
    let found = warnings("qwen3.gguf", &[]);
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.contains("--act-scales groups"), "{found}");
    assert_eq!(warnings("qwen3.gguf", &["--act-scales", "token"]), "");
    // A packed model has the guess for a fact, so packing says it; the user may still have it otherwise.
    let (file, packed) = (fixtures.join("qwen3.gguf"), world.path("qwen3.tern"));
    let packed = packed.to_str().unwrap();
    let ran = world.run(&["pack", file.to_str().unwrap(), "-o", packed, "--quiet"]);
    assert!(ran.err.contains("--act-scales groups"), "{}", ran.err);
    assert_eq!(warnings(packed, &[]), "");
    assert_eq!(warnings(packed, &["--act-scales", "groups"]), "");
}

/// Commands that write another file of a model take the user's word as those that run it.
#[test]
fn what_the_user_says_is_written() {
    let world = World::new();
    let fixtures =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/fixtures/gguf");
    let source = fixtures.join("bitnet-25.gguf");
    let source = source.to_str().unwrap();
    let [file, packed, out] = ["new.gguf", "new.tern", "logits"].map(|name| world.path(name));
    let [file, packed, out] = [&file, &packed, &out].map(|path| path.to_str().unwrap());
    let quiet = |arguments: &[&str]| {
        let ran = world.run(&[arguments, &["--quiet"]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.err
    };
    let warnings = |model| quiet(&["logits", model, "--tokens", "1,2", "--out", out]);
    let convert = ["convert", source, "-o", file, "--to", "gguf", "--force"];
    assert!(quiet(&convert).contains("a guess"));
    assert!(warnings(file).contains("a guess"));
    let said = [
        "--ffn-act",
        "silu",
        "--act-scales",
        "token",
        "--weight-scales",
        "multiply",
    ];
    assert_eq!(quiet(&[&convert[..], &said].concat()), "");
    assert_eq!(warnings(file), "");
    assert_eq!(
        quiet(&[&["pack", source, "-o", packed][..], &said].concat()),
        ""
    );
    for model in [file, packed] {
        let report = world.json(&["inspect", model, "--json"]);
        assert_eq!(report["config"]["activation"], "silu", "{report}");
    }
}
