//! Bad input of every kind: one clear message, exit code 1, no panic, nothing half-written.

mod common;

use std::fs;
use std::path::Path;

use common::World;

/// Changes a file of a copy of the bundled model.
fn broken(world: &World, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = world.model("model").join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Every command that reads a model refuses it with a message of these parts.
fn refused(world: &World, parts: &[&str]) {
    world.fails(&["run", "model", "-p", "x", "-n", "1"], parts);
    world.fails(
        &[
            "logits",
            "model",
            "--tokens",
            "1",
            "--out",
            "out.safetensors",
        ],
        parts,
    );
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    assert!(text.contains(from), "the test needs `{from}`");
    *bytes = text.replace(from, to).into_bytes();
}

/// Replaces text of the same length in the header of a safetensors file.
fn patch(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    bytes[at.expect("the test needs this text")..][..to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn damaged_weights() {
    type Change = fn(&mut Vec<u8>);
    let cases: &[(&str, Change, &[&str])] = &[
        (
            "truncated",
            |bytes| bytes.truncate(bytes.len() - 100),
            &["truncated", "download"],
        ),
        ("empty", Vec::clear, &["empty"]),
        (
            "another format",
            |bytes| bytes[..8].copy_from_slice(b"GGUF\x03\0\0\0"),
            &["GGUF file", "name the file itself"],
        ),
        (
            "oversized header",
            |bytes| bytes[..8].copy_from_slice(&(1u64 << 40).to_le_bytes()),
            &["header"],
        ),
        (
            "header of garbage",
            |bytes| bytes[8..64].fill(b'x'),
            &["header"],
        ),
        (
            "missing tensor",
            |bytes| patch(bytes, "model.norm.weight", "model.morn.weight"),
            &["model.norm.weight", "missing"],
        ),
        (
            "wrong dtype",
            |bytes| patch(bytes, "\"U8\"", "\"I8\""),
            &["dtype I8"],
        ),
    ];
    for (name, change, parts) in cases {
        eprintln!("{name}");
        let world = World::new();
        broken(&world, "model.safetensors", change);
        let mut parts = parts.to_vec();
        parts.push("model");
        refused(&world, &parts);
    }
}

#[test]
fn wrong_configurations() {
    let cases = [
        (
            "\"hidden_size\": 256",
            "\"hidden_size\": 0",
            "\"hidden_size\" is 0",
        ),
        (
            "\"hidden_size\": 256",
            "\"hidden_size\": 1e30",
            "hidden_size",
        ),
        (
            "\"hidden_size\": 256",
            "\"other\": 256",
            "\"hidden_size\" is missing",
        ),
        (
            "\"intermediate_size\"",
            "\"intermediate\"",
            "\"intermediate_size\" is missing",
        ),
        (
            "\"num_hidden_layers\": ",
            "\"num_hidden_layers\": 99",
            "model.layers.6.self_attn.q_proj.weight",
        ),
        (
            "\"num_hidden_layers\": ",
            "\"num_hidden_layers\": -",
            "num_hidden_layers",
        ),
        ("\"bitnet\"", "\"gpt2\"", "\"gpt2\""),
        ("\"bitnet\"", "\"\\u001b[31mred\"", "[31mred"),
        ("{", "{{", "not a JSON object"),
    ];
    for (from, to, part) in cases {
        eprintln!("{from} -> {to}");
        let world = World::new();
        broken(&world, "config.json", |bytes| replace(bytes, from, to));
        world.fails(&["run", "model", "-p", "x"], &[part]);
    }
    let world = World::new();
    broken(&world, "config.json", |bytes| {
        replace(bytes, "\"intermediate_size\": ", "\"intermediate_size\": 4")
    });
    refused(
        &world,
        &["model.safetensors", "has shape", "configuration calls for"],
    );
}

#[test]
fn tokenizers_that_do_not_fit() {
    let world = World::new();
    broken(&world, "tokenizer.json", |bytes| bytes.truncate(1000));
    world.fails(
        &["run", "model", "-p", "x"],
        &["tokenizer.json", "not a usable tokenizer.json"],
    );
    let world = World::new();
    broken(&world, "tokenizer.json", |bytes| {
        replace(bytes, ": 1023", ": 5000")
    });
    world.fails(&["run", "model", "-p", "x"], &["has id 5000", "1024 rows"]);
    let world = World::new();
    fs::remove_file(world.model("model").join("tokenizer.json")).unwrap();
    world.fails(&["run", "model", "-p", "x"], &["no tokenizer.json"]);
}

#[test]
fn tokens_and_prompts_out_of_range() {
    let world = World::new();
    let logits = |tokens: &str, parts: &[&str]| {
        world.fails(
            &[
                "logits",
                "demo",
                "--tokens",
                tokens,
                "--out",
                "x.safetensors",
            ],
            parts,
        );
    };
    logits("1,1024", &["token id 1024 is out of range", "0 to 1023"]);
    logits("4294967295", &["token id 4294967295"]);
    logits(&["7"; 300].join(","), &["300 tokens", "context of 256"]);
    let long = "to be or not to be ".repeat(200);
    world.fails(
        &["run", "demo", "-p", &long],
        &["the prompt has", "context is 256", "shorten"],
    );
    world.fails(
        &["run", "demo", "-p", "to be or not", "--ctx", "2"],
        &["--ctx is 2", "shorten the prompt"],
    );
    world.fails(
        &["run", "demo", "-p", "x", "--ctx", "1000"],
        &["context is 256"],
    );
    world.fails(&["run", "demo", "-p", ""], &["the prompt is empty"]);
    fs::write(world.path("short.txt"), "").unwrap();
    world.fails(
        &["perplexity", "demo", "--file", "short.txt"],
        &["short.txt", "at least 2"],
    );
    fs::write(world.path("page.txt"), "Some words of a page.").unwrap();
    world.fails(
        &["perplexity", "demo", "--file", "page.txt", "--ctx", "999"],
        &["999", "2 to 256"],
    );
}

#[test]
fn texts_that_cannot_be_read() {
    let world = World::new();
    fs::write(world.path("latin1.txt"), b"caf\xe9").unwrap();
    for (file, part) in [
        ("latin1.txt", "latin1.txt is not UTF-8 text (byte 3"),
        ("no.txt", "cannot read no.txt"),
        ("config", "config is a folder"),
    ] {
        world.fails(&["run", "demo", "-f", file], &[part]);
        world.fails(&["perplexity", "demo", "--file", file], &[part]);
    }
}

#[test]
fn models_that_are_not_there() {
    let world = World::new();
    world.fails(
        &["run", "no-model", "-p", "x"],
        &[
            "no-model: no such file or folder",
            "Hugging Face model folder",
        ],
    );
    let gguf = "nope.gguf: no such file or folder; expected";
    world.fails(&["run", "nope.gguf", "-p", "x"], &[gguf, "a GGUF file"]);
    world.fails(&["inspect", "no-model"], &["no-model: no such"]);
    let convert = ["convert", "no-model", "-o", "x.gguf", "--to", "gguf"];
    let message = "error: cannot convert the model: no-model: no such";
    world.fails(&convert, &[message]);
    world.fails(
        &["tune", "--model", "no-model", "--out", "x.toml"],
        &["no-model: no such"],
    );
    // A folder that is there lacks its files.
    world.fails(&["inspect", "config"], &["config/config.json", "folder"]);
    world.fails(
        &["tune", "--shapes", "no-model", "--out", "x.toml"],
        &["no shapes named `no-model`", "bitnet-2b4t"],
    );
    world.fails(&["compare", "--shapes", "./no.toml"], &["./no.toml"]);
}

#[test]
fn the_bundled_model_has_no_files() {
    let world = World::new();
    for (command, doing) in [
        (&["pack", "demo", "-o", "x.tern"][..], "cannot be packed"),
        (
            &["convert", "demo", "-o", "x.gguf", "--to", "gguf"],
            "cannot be converted",
        ),
    ] {
        world.fails(command, &["demo: the bundled model", doing, "demo/model"]);
    }
}

#[test]
fn packed_models_that_are_none() {
    let world = World::new();
    world.model("model");
    world.ok(&["pack", "model", "-o", "model.tern"]);
    let bytes = fs::read(world.path("model.tern")).unwrap();
    for len in [1000, bytes.len() / 2, bytes.len() - 1] {
        fs::write(world.path("short.tern"), &bytes[..len]).unwrap();
        let parts = &["short.tern", "truncated", "pack the model again"];
        world.fails(&["pack", "--check", "short.tern"], parts);
        world.fails(&["run", "short.tern", "-p", "x"], parts);
    }
    let expected = "expected a packed model, as `tern pack` writes it";
    fs::write(world.path("model.gguf"), b"GGUF\x03\0\0\0").unwrap();
    let check = |model: &str, part: &str| {
        world.fails(&["pack", "--check", model], &[model, part, expected]);
    };
    check("model.gguf", "is a GGUF file");
    check("model", "a folder");
    check("no.tern", "no such file");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    fs::write(world.path("pointer.gguf"), pointer).unwrap();
    let parts = &["pointer.gguf: a Git LFS pointer", "git lfs pull"];
    world.fails(&["run", "pointer.gguf", "-p", "x"], parts);
}

#[test]
fn kernels_that_do_not_run_here() {
    let world = World::new();
    let kernels = ["gemv_lut_t3__avx2_p1k32"];
    for id in kernels
        .iter()
        .filter(|id| tern_kernels::kernels().any(|kernel| kernel.id == **id))
    {
        world.fails(
            &[
                "run",
                "demo",
                "-p",
                "x",
                "--kernel",
                id,
                "--max-isa",
                "scalar",
            ],
            &[id, "--max-isa"],
        );
    }
}

#[test]
fn places_that_cannot_be_written() {
    let world = World::new();
    fs::write(world.path("file"), "in the way").unwrap();
    let places = [
        ("no/such/folder/x", "does not exist"),
        ("file/x", "cannot write file/x"),
        ("config", "config"),
        ("/proc/x", "cannot write /proc/x"),
    ];
    for (place, part) in places {
        eprintln!("{place}");
        world.fails(
            &["logits", "demo", "--tokens", "1", "--out", place],
            &[part, "cannot write"],
        );
        world.fails(
            &[
                "tune", "--model", "demo", "--budget", "0.1", "--force", "--out", place,
            ],
            &[part],
        );
    }
    for place in ["file", "file/x", "/proc/x"] {
        eprintln!("{place}");
        world.fails(
            &["codegen", "emit", "--isa", "scalar", "--out", place],
            &["cannot write", place],
        );
        world.fails(
            &["compare", "--budget", "0.1", "--out", place],
            &["cannot write", place],
        );
    }
    assert_eq!(fs::read(world.path("file")).unwrap(), b"in the way");
}

#[test]
fn what_is_no_profile_is_not_overwritten() {
    let world = World::new();
    fs::write(world.path("notes.toml"), "title = \"mine\"\n").unwrap();
    world.fails(
        &[
            "tune",
            "--model",
            "demo",
            "--budget",
            "0.1",
            "--out",
            "notes.toml",
        ],
        &["will not overwrite notes.toml", "--out"],
    );
    assert_eq!(
        fs::read(world.path("notes.toml")).unwrap(),
        b"title = \"mine\"\n"
    );
}

#[test]
fn a_full_disk() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: this system has no /dev/full");
        return;
    }
    let world = World::new();
    world.fails(
        &["logits", "demo", "--tokens", "1,2", "--out", "/dev/full"],
        &["/dev/full", "no space left"],
    );
    world.fails(
        &[
            "tune",
            "--force",
            "--model",
            "demo",
            "--max-isa",
            "scalar",
            "--budget",
            "0.1",
            "--out",
            "/dev/full",
        ],
        &["cannot write /dev/full", "no space left"],
    );
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    for arguments in [
        &["codegen", "list"][..],
        &["inspect", "demo"],
        &["run", "demo", "-p", "ROMEO:"],
    ] {
        let mut command = world.command(arguments);
        let ran = common::ran(command.stdout(full.try_clone().unwrap()).output().unwrap());
        ran.assert_failed(1, &["cannot write to standard output", "No space left"]);
    }
}

#[test]
fn configs_of_kernels() {
    let world = World::new();
    let list = |parts: &[&str]| world.fails(&["codegen", "list", "--configs", "mine"], parts);
    list(&["mine", "No such file"]);
    fs::create_dir(world.path("mine")).unwrap();
    list(&["no kernel configs found"]);
    let config = |text: &str| fs::write(world.path("mine/avx2.toml"), text).unwrap();
    config("[[gemv]]\nfamily = \"lut\"\ncode = \"t3\"\npanels = [64]\nblock = [32]\n");
    list(&["avx2.toml", "row 1", "registers"]);
    config("[[gemv]]\nfamily = \"lut\"\ncode = \"t3\"\npanels = [1]\nblock = [32]\nwindow = 3\n");
    list(&["avx2.toml", "row 1", "not divided by the window"]);
    config("gemv = 3\n");
    list(&["avx2.toml"]);
    config(&"#".repeat((1 << 20) + 1));
    list(&["avx2.toml is too large"]);
    fs::create_dir(world.path("mine/scalar.toml")).unwrap();
    config("");
    list(&["scalar.toml is no ordinary file"]);
    fs::remove_dir(world.path("mine/scalar.toml")).unwrap();
    config("[[gemv]]\nfamily = \"lut\"\ncode = \"t3\"\npanels = [1]\nblock = [32]\n");
    assert!(
        world
            .ok(&["codegen", "list", "--configs", "mine"])
            .contains("gemv_lut_t3__avx2_p1k32")
    );
    for action in ["show", "explain"] {
        world.fails(
            &["codegen", action, "gemv_nothing"],
            &["gemv_nothing", "tern codegen list"],
        );
    }
}
