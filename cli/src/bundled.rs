//! What is part of the program: the demo model (`demo/README.md` says how it was trained) and profiles of known CPUs.

use tern_runtime::ModelBytes;

/// What the user calls the demo model.
pub const NAME: &str = "demo";

/// Its files.
pub const MODEL: ModelBytes<'static> = ModelBytes {
    config: include_bytes!("../../demo/model/config.json"),
    weights: include_bytes!("../../demo/model/model.safetensors"),
    tokenizer: Some(include_bytes!("../../demo/model/tokenizer.json")),
    generation_config: Some(include_bytes!("../../demo/model/generation_config.json")),
};

/// Tuned profiles of known CPUs, by the CPU's key.
const PROFILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// The texts of the profiles of known CPUs.
pub fn profiles() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_of_the_cpu_that_its_file_names() {
        for (key, text) in PROFILES {
            assert!(
                text.contains(&format!("key = \"{key}\"")),
                "configs/profiles/{key}.toml"
            );
        }
    }
}
