//! Writes the kernels of the target's ISAs into `OUT_DIR` (all logic is in `tern-codegen`), and notes the compiler's version, which
//! profiles and records of measurements name.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target");
    // Absent where there are none.
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!(
        "cargo::rerun-if-env-changed={}",
        tern_codegen::CONFIGS_VARIABLE
    );
    println!("cargo::rustc-env=TERN_KERNELS_RUSTC={}", rustc_version());
    // `tests/compiled` asks it: no `cfg` tells, since the profile of `cargo test` turns debug assertions off for this crate.
    let profile = std::env::var("PROFILE").expect("cargo sets the profile");
    println!("cargo::rustc-env=TERN_BUILD_PROFILE={profile}");
    let configs = tern_codegen::config_dir();
    println!("cargo::rerun-if-changed={}", configs.display());
    let target = tern_codegen::Target {
        arch: &arch,
        features: &features,
    };
    if let Err(error) = tern_codegen::write(&configs, &target, &out) {
        // One readable line for each reason: cargo prints what goes to stderr when a build script fails.
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// What `rustc --version` says.
fn rustc_version() -> String {
    println!("cargo::rerun-if-env-changed=RUSTC");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().ok();
    let version = output.and_then(|output| String::from_utf8(output.stdout).ok());
    version.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
