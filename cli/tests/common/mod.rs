//! Runs the built program in a world of its own: no profile, no settings from the environment.

#![allow(
    dead_code,
    reason = "each test program uses some of these helpers, none uses all"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory for a test's files, with an empty configuration directory in it.
pub struct World {
    pub folder: TempDir,
}

/// What a run of the program left behind.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl World {
    pub fn new() -> World {
        let folder = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(folder.path().join("config")).expect("writable");
        World { folder }
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, to be run in the test's directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tern"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env_remove("TERN_PROFILE")
            .env_remove("TERN_MAX_ISA")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self
            .command(arguments)
            .output()
            .expect("the program starts"))
    }

    /// Runs the program, which must succeed, and returns its output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
        ran.out
    }

    /// Runs the program, which must succeed, and parses its output.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(arguments)).expect("JSON")
    }

    /// Runs the program, which must fail with one clear message that holds all of `parts`, and leave no file behind.
    pub fn fails(&self, arguments: &[&str], parts: &[&str]) {
        let before = self.files();
        let ran = self.run(arguments);
        ran.assert_failed(1, parts);
        assert_eq!(self.files(), before, "{arguments:?} left something behind");
    }

    /// Every file in the test's directory.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files.sort();
        files
    }

    /// A copy of the bundled model's files in the folder `name`.
    pub fn model(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir(&folder).expect("writable");
        for entry in std::fs::read_dir(demo_folder()).expect("the demo model is in the repository")
        {
            let from = entry.expect("readable").path();
            std::fs::copy(&from, folder.join(from.file_name().expect("a file"))).expect("writable");
        }
        folder
    }
}

/// The bundled model's files.
pub fn demo_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Ran {
    /// It failed with `code` and one message that holds all of `parts`, without a panic or a backtrace.
    pub fn assert_failed(&self, code: i32, parts: &[&str]) {
        let Ran { out, err, .. } = self;
        assert_eq!(self.code, Some(code), "{out}\n{err}");
        assert!(out.is_empty(), "a failed command prints no result: {out}");
        assert_eq!(err.matches("error:").count(), 1, "{err}");
        for part in parts {
            assert!(err.contains(part), "no `{part}` in: {err}");
        }
        for part in ["panicked", "RUST_BACKTRACE", "stack backtrace", "\u{1b}["] {
            assert!(!err.contains(part), "`{part}` in: {err}");
        }
    }
}
