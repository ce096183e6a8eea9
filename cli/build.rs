//! Puts the tuned profiles of known CPUs from `configs/profiles` into the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/profiles");
    println!("cargo::rerun-if-changed={}", folder.display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("profiles.rs"), profiles(&folder)).expect("OUT_DIR is writable");
}

/// A Rust expression: the text of each `<cpu-key>.toml` in `folder`, with its key, sorted. The folder may be missing.
fn profiles(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    let mut text = String::from("&[\n");
    for path in paths {
        let key = path.file_stem().unwrap_or_default().to_string_lossy();
        let file = path.display().to_string();
        writeln!(text, "    ({key:?}, include_str!({file:?})),").expect("a string takes any text");
    }
    text.push(']');
    text
}
