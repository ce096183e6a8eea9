//! Writes the kernels of the target's ISAs into `OUT_DIR`. All logic is in `tern-codegen`.

use std::path::PathBuf;

fn main() {
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target");
    // Absent where there are none.
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!(
        "cargo::rerun-if-env-changed={}",
        tern_codegen::CONFIGS_VARIABLE
    );
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
