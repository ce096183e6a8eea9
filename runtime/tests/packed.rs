//! Packed models are their folders to the bit, wherever their weights are, and no damaged file is taken for one.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tern_kernels::{Cpu, Force, Planner};
use tern_runtime::{
    Engine, LoadOptions, Logits, Model, PackFileError, ReadOptions, Residence, Work, inspect, pack,
    packed,
};

const TOKENS: [u32; 7] = [1, 5, 2, 8, 3, 13, 4];

fn planner(kernel: Option<&str>) -> Planner {
    let force = kernel.map(|kernel| kernel.parse::<Force>().unwrap());
    Planner::new(Cpu::detect(), None, force).unwrap()
}

/// Packs a fixture with the kernels that are wanted.
fn packed_in(folder: &Path, fixture: &str, kernel: Option<&str>) -> PathBuf {
    let path = folder.join("model.tern");
    let mut file = fs::File::create(&path).unwrap();
    let source = common::folder(fixture);
    let size = pack(
        &source,
        ReadOptions::default(),
        &planner(kernel),
        2,
        &mut file,
        &mut |_, _| true,
    )
    .unwrap();
    assert_eq!(size, fs::metadata(&path).unwrap().len());
    path
}

fn load(path: &Path, kernel: Option<&str>, residence: Residence) -> Result<Model, String> {
    let options = LoadOptions {
        threads: 2,
        residence,
        ..LoadOptions::new(planner(kernel))
    };
    Model::load(path, &options).map_err(|error| error.to_string())
}

fn logits(model: Model) -> Vec<u32> {
    let mut engine = Engine::new(Arc::new(model)).unwrap();
    let mut sequence = engine.model().sequence();
    let output = engine.step(&mut [Work {
        sequence: &mut sequence,
        tokens: &TOKENS,
        logits: Logits::All,
    }]);
    output
        .unwrap()
        .rows(0)
        .iter()
        .map(|x| x.to_bits())
        .collect()
}

#[test]
fn logits_are_those_of_the_folder_from_memory_and_from_the_file() {
    for fixture in common::FIXTURES {
        let temporary = tempfile::tempdir().unwrap();
        let expected = logits(load(&common::folder(fixture), None, Residence::Auto).unwrap());
        let path = packed_in(temporary.path(), fixture, None);
        for residence in [Residence::Auto, Residence::Memory, Residence::File] {
            let model = load(&path, None, residence).unwrap();
            assert_eq!(model.converted(), 0, "{fixture}");
            assert_eq!(logits(model), expected, "{fixture}, {residence:?}");
        }
        assert!(packed::check(&path, &mut |_, _| true).unwrap());
        let options = LoadOptions {
            threads: 2,
            ..LoadOptions::new(planner(None))
        };
        let summary = inspect(&path, &options).unwrap();
        let found = summary.packed.unwrap();
        assert_eq!(found.matrices, found.fitting);
        assert_eq!(found.matrices, 7 * summary.config.layers);
    }
}

#[test]
fn other_packings_are_converted_or_read_by_kernels_of_theirs() {
    let temporary = tempfile::tempdir().unwrap();
    let fixture = common::FIXTURES[0];
    let expected = logits(load(&common::folder(fixture), None, Residence::Auto).unwrap());
    for (of_file, of_plan) in [("addsub", "lut"), ("reference", "mad"), ("mad", "addsub")] {
        let path = packed_in(temporary.path(), fixture, Some(of_file));
        for residence in [Residence::Memory, Residence::File] {
            let model = load(&path, Some(of_plan), residence).unwrap();
            assert!(model.converted() > 0, "{of_file} for {of_plan}");
            assert_eq!(logits(model), expected, "{of_file} for {of_plan}");
        }
    }
    // No kernel is asked for: a mapped model keeps its packing.
    let path = packed_in(temporary.path(), fixture, Some("addsub"));
    let model = load(&path, None, Residence::File).unwrap();
    assert_eq!(model.converted(), 0);
    assert_eq!(logits(model), expected);
}

#[test]
fn a_packed_model_is_not_packed_again_and_stops_when_it_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let fixture = common::FIXTURES[0];
    let path = packed_in(temporary.path(), fixture, None);
    let mut out = Vec::new();
    let again = pack(
        &path,
        ReadOptions::default(),
        &planner(None),
        1,
        &mut out,
        &mut |_, _| true,
    )
    .unwrap_err();
    assert!(again.to_string().contains("packed already"), "{again}");
    let stopped = pack(
        &common::folder(fixture),
        ReadOptions::default(),
        &planner(None),
        1,
        &mut out,
        &mut |_, _| false,
    );
    assert!(matches!(stopped, Err(PackFileError::Stopped)));
}

/// Every byte that differs is found where the weights are copied to memory, or lies in padding; nothing panics.
#[test]
fn damage_is_found_and_never_a_panic() {
    let temporary = tempfile::tempdir().unwrap();
    let fixture = common::FIXTURES[0];
    let path = packed_in(temporary.path(), fixture, None);
    let sound = fs::read(&path).unwrap();
    let expected = logits(load(&path, None, Residence::Memory).unwrap());
    let damaged = temporary.path().join("damaged.tern");
    let outcome = |bytes: &[u8], residence| {
        fs::write(&damaged, bytes).unwrap();
        load(&damaged, None, residence)
    };
    let header = 8 + u64::from_le_bytes(sound[..8].try_into().unwrap()) as usize;
    let steps = sound.len() / 300;
    let places = (0..64).chain((64..sound.len()).step_by(steps.max(1)));
    for place in places {
        let mut bytes = sound.clone();
        bytes[place] ^= 1 << (place % 8);
        if let Ok(model) = outcome(&bytes, Residence::Memory) {
            assert!(place >= header, "byte {place} of the header");
            assert_eq!(logits(model), expected, "byte {place}");
        }
        // Weights that stay in the file are not compared, but they do no harm.
        let _ = outcome(&bytes, Residence::File).map(logits);
    }
    for len in (0..header).step_by(97).chain([header, sound.len() - 1]) {
        for residence in [Residence::Memory, Residence::File] {
            let error = outcome(&sound[..len], residence).err();
            assert!(error.is_some_and(|error| error.contains("damaged.tern")));
        }
    }
}

#[test]
fn other_files_are_refused_with_what_they_are() {
    let temporary = tempfile::tempdir().unwrap();
    let fixture = common::FIXTURES[0];
    let path = packed_in(temporary.path(), fixture, None);
    let sound = fs::read(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = sound.windows(from.len()).position(|w| w == from.as_bytes());
        let (at, mut bytes) = (at.unwrap(), sound.clone());
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        fs::write(&path, bytes).unwrap();
        load(&path, None, Residence::Memory).err().unwrap()
    };
    let error = with("\"version\":\"1\"", "\"version\":\"7\"");
    assert!(
        error.contains("format 7") && error.contains("tern pack"),
        "{error}"
    );
    let error = with("tern-packed", "tern-pocked");
    assert!(error.contains("not a packed model"), "{error}");
    let error = with("tern.checksums", "tern.chucksums");
    assert!(error.contains("damaged"), "{error}");
    let weights = common::folder(fixture).join("model.safetensors");
    let error = load(&weights, None, Residence::Auto).err().unwrap();
    assert!(error.contains("name the model's folder"), "{error}");
}
