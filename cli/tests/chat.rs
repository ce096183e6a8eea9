//! Conversations: piped in line by line, as other programs and these tests do it.

mod common;

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use common::{Ran, World, ran};
use serde_json::Value;

/// Roles as the demo model's plays have them.
const TEMPLATE: &str = "\
{% for m in messages %}{{ m.role | upper }}:\n{{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}ASSISTANT:\n{% endif %}";

/// A world with the demo model in the folder `model`, which has a chat template.
fn world() -> World {
    let world = World::new();
    world.model("model");
    std::fs::write(world.path("model/chat_template.jinja"), TEMPLATE).unwrap();
    world
}

fn start(world: &World, arguments: &[&str]) -> Child {
    let mut command = world.command(arguments);
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs the program with these lines as its input.
fn talk(world: &World, arguments: &[&str], lines: &str) -> Ran {
    let mut child = start(world, arguments);
    // A program that ends early closes its input, which is not this test's concern.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    ran(child.wait_with_output().unwrap())
}

fn turns(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn lines_are_turns_and_only_answers_go_to_standard_output() {
    let world = world();
    let lines = "Who goes there?\n\nAnd now?\r\n";
    let talked = talk(&world, &["chat", "model", "-n", "8"], lines);
    assert_eq!(talked.code, Some(0), "{}", talked.err);
    assert!(talked.err.contains("in context") && talked.err.contains("ended: token limit"));
    let quiet = talk(&world, &["chat", "model", "-n", "8", "--quiet"], lines);
    assert_eq!((quiet.out, quiet.err.as_str()), (talked.out.clone(), ""));
    let turns = turns(&talk(
        &world,
        &["chat", "model", "-n", "8", "--json"],
        lines,
    ));
    assert_eq!(turns.len(), 2);
    let texts: Vec<&str> = turns
        .iter()
        .map(|turn| turn["text"].as_str().unwrap())
        .collect();
    assert_eq!(turns[1]["message"], "And now?");
    let ended = |text: &str| {
        if text.ends_with('\n') {
            text.to_owned()
        } else {
            format!("{text}\n")
        }
    };
    assert_eq!(talked.out, ended(texts[0]) + &ended(texts[1]));
    // The second turn has the first one in its cache.
    assert_eq!(turns[0]["cached_tokens"], 0);
    let context = turns[0]["context_tokens"].as_u64().unwrap();
    assert!(
        turns[1]["cached_tokens"].as_u64().unwrap() + 4 > context,
        "{turns:?}"
    );
}

#[test]
fn a_turn_of_run_is_the_first_turn_of_a_chat() {
    let world = world();
    let chat = turns(&talk(
        &world,
        &[
            "chat", "model", "-n", "8", "--json", "--system", "Speak.", "--temp", "0.9", "--seed",
            "3",
        ],
        "Hello\n",
    ));
    let run = world.json(&[
        "run", "model", "--chat", "-p", "Hello", "-n", "8", "--json", "--system", "Speak.",
        "--temp", "0.9", "--seed", "3",
    ]);
    assert_eq!(run["text"], chat[0]["text"]);
    assert_eq!(run["tokens"], chat[0]["tokens"]);
    let other = world.json(&["run", "model", "--chat", "-p", "Hello", "-n", "8", "--json"]);
    assert_ne!(
        run["stats"]["prompt_tokens"],
        other["stats"]["prompt_tokens"]
    );
    // Without a message it is a chat.
    let talked = talk(
        &world,
        &["run", "model", "--chat", "-n", "8", "--json"],
        "Hello\nMore\n",
    );
    let talked = turns(&talked);
    assert_eq!((talked.len(), &talked[0]["text"]), (2, &other["text"]));
    world
        .run(&["run", "model", "-p", "x", "--system", "y"])
        .assert_failed(2, &["add --chat"]);
}

#[test]
fn commands_reset_save_and_end() {
    let world = world();
    let lines = "Hello\n/save talk.json\n/reset\nHello\n/help\n/exit\nnever said\n";
    let ran = talk(
        &world,
        &["chat", "model", "-n", "6", "--json", "--system", "Be good."],
        lines,
    );
    let turns = turns(&ran);
    assert_eq!(turns.len(), 2);
    assert_eq!(
        turns[0]["text"], turns[1]["text"],
        "forgotten, so the same again"
    );
    assert!(ran.err.contains("3 messages written to talk.json") && ran.err.contains("/save FILE"));
    let saved = std::fs::read(world.path("talk.json")).unwrap();
    let saved: Value = serde_json::from_slice(&saved).unwrap();
    let expected = serde_json::json!([
        {"role": "system", "content": "Be good."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": turns[0]["text"]},
    ]);
    assert_eq!(saved["messages"], expected);
    let before = world.files();
    let again = talk(&world, &["chat", "model", "-n", "6"], "/save talk.json\n");
    again.assert_failed(1, &["talk.json exists already and is not overwritten"]);
    talk(&world, &["chat", "model"], "/save no/where.json\n")
        .assert_failed(1, &["the directory no does not exist"]);
    talk(&world, &["chat", "model"], "/save\n").assert_failed(1, &["name of a file"]);
    talk(&world, &["chat", "model"], "/dance\n").assert_failed(1, &["there is no `/dance`; /help"]);
    assert_eq!(world.files(), before);
}

#[test]
fn a_model_without_a_template_is_refused_with_what_to_do() {
    let world = World::new();
    world.fails(
        &["chat", "demo"],
        &[
            "no chat template",
            "--template",
            "bitnet, llama3, chatml, falcon3",
        ],
    );
    world.fails(
        &["chat", "demo", "--template", "nothing"],
        &["--template is no file, nor one of bitnet"],
    );
    std::fs::write(world.path("bad.jinja"), "{% for %}").unwrap();
    world.fails(
        &["chat", "demo", "--template", "bad.jinja"],
        &["bad.jinja", "in line 1, `{% for %}`"],
    );
    std::fs::write(
        world.path("strict.jinja"),
        "{{ raise_exception('no system messages') }}",
    )
    .unwrap();
    talk(
        &world,
        &["chat", "demo", "--template", "strict.jinja"],
        "Hi\n",
    )
    .assert_failed(1, &["refuses this conversation: no system messages"]);
    std::fs::write(world.path("good.jinja"), TEMPLATE).unwrap();
    for template in ["good.jinja", "chatml"] {
        let arguments = ["chat", "demo", "--template", template, "-n", "4", "--json"];
        assert_eq!(
            turns(&talk(&world, &arguments, "Hi\n")).len(),
            1,
            "{template}"
        );
    }
}

#[test]
fn a_full_context_is_told() {
    let world = world();
    // The demo model's context has 256 positions.
    let talked = talk(
        &world,
        &["chat", "model", "--temp", "1"],
        &"words and more words ".repeat(90),
    );
    talked.assert_failed(1, &["the model's context is 256", "/reset begins anew"]);
    let nearly = "words and more words ".repeat(30);
    let talked = talk(&world, &["chat", "model"], &nearly);
    assert_eq!(talked.code, Some(0));
    for part in ["ended: context full", "/reset begins anew"] {
        assert!(talked.err.contains(part), "{}", talked.err);
    }
}

/// Ctrl-C stops the answer; the next turn works, and the end of the input is a good end.
#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_answer_and_not_the_program() {
    let world = world();
    // One thread of the plainest kernel: an answer of 250 tokens takes seconds.
    let arguments = [
        "chat",
        "model",
        "--kernel",
        "reference",
        "--threads",
        "1",
        "--temp",
        "1.5",
    ];
    let mut child = start(&world, &arguments);
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    input.write_all(b"Speak for long\n").unwrap();
    let mut first = [0; 4];
    output.read_exact(&mut first).unwrap();
    let id = child.id().to_string();
    let interrupt = || {
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
    };
    interrupt();
    // The answer's last line break comes after it has stopped.
    input.write_all(b"/save after.json\n").unwrap();
    while !world.path("after.json").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(child.try_wait().unwrap().is_none(), "the program has ended");
    }
    input.write_all(b"And briefly?\n").unwrap();
    output.read_exact(&mut first).unwrap();
    interrupt();
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let saved = std::fs::read(world.path("after.json")).unwrap();
    let saved: Value = serde_json::from_slice(&saved).unwrap();
    assert_eq!(saved["messages"].as_array().unwrap().len(), 2, "{saved}");
}

/// Between answers it ends the program.
#[cfg(unix)]
#[test]
fn an_interrupt_between_answers_ends_the_program() {
    let world = world();
    let mut child = start(&world, &["chat", "model", "-n", "4"]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"Hello\n/save done.json\n").unwrap();
    while !world.path("done.json").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(child.try_wait().unwrap().is_none(), "the program has ended");
    }
    // It reads its next line now.
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(input);
}

#[test]
fn shells_complete_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = world.ok(&["completions", shell]);
        for word in ["chat", "perplexity", "system", "max-isa"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
        // What is hidden is not offered: a child of the program's own.
        let hidden = ["tern,prove)", "(prove)", "-a \"prove\"", "'prove'"];
        let offered = hidden.iter().find(|word| script.contains(**word));
        assert_eq!(offered, None, "{shell}");
    }
    world
        .run(&["completions", "cmd"])
        .assert_failed(2, &["bash, elvish, fish, powershell, zsh"]);
    // bash reads it.
    if let Ok(output) = Command::new("bash")
        .arg("-n")
        .arg("-c")
        .arg(world.ok(&["completions", "bash"]))
        .output()
    {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A template of another model: its control tokens are a row of letters to this one.
#[test]
fn control_tokens_that_the_model_does_not_have_are_warned_of() {
    let world = world();
    let warnings = |template: &[&str]| {
        let arguments = [&["chat", "model", "-n", "2", "--quiet"], template].concat();
        let talked = talk(&world, &arguments, "Hello\nMore\n/help\n");
        assert_eq!(talked.code, Some(0), "{}", talked.err);
        assert!(
            talked.err.contains("/reset"),
            "help is not a remark: {}",
            talked.err
        );
        let lines = talked
            .err
            .lines()
            .filter(|line| line.starts_with("warning:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let found = warnings(&["--template", "chatml"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("template chatml: <|im_start|>, <|im_end|> are no control tokens"));
    let found = warnings(&["--template", "llama3"]);
    let all = "<|start_header_id|>, <|end_header_id|>, <|eot_id|>";
    assert!(found.len() == 1 && found[0].contains(all), "{found:?}");
    // What a message or a template says between others is not the template's, and one without any is none.
    std::fs::write(world.path("plain.jinja"), TEMPLATE).unwrap();
    assert!(warnings(&["--template", "plain.jinja"]).is_empty());
    assert!(warnings(&[]).is_empty());
}
