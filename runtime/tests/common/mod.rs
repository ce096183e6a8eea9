//! The fixture models and what Hugging Face transformers computes for them.
//!
//! Each folder under `fixtures/` is a small model with random weights, and `expected.*`: logits and
//! greedy tokens of three prompts from transformers 5.23 with f32 arithmetic (eager), and for the
//! prompt `p7` the residual stream after each layer and the int8 input of each linear layer.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use tern_kernels::{Cpu, Force, Pages, Planner, Profile};
use tern_runtime::{Engine, KvType, LoadOptions, Logits, Model, ModelBytes, Work};

/// Every fixture model.
pub const FIXTURES: [&str; 7] = [
    "bitnet-odd-packed",
    "bitnet-tiny-bf16",
    "bitnet-tiny-packed",
    "llama-autobit-online-rmsnorm",
    "llama-bitnet-odd",
    "llama-bitnet-rmsnorm-tiny",
    "llama-bitnet-tiny",
];

pub fn folder(fixture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(fixture)
}

/// How to run a model: the kernel to force, the profile, the threads, the type of the cache.
#[derive(Default)]
pub struct Setup {
    pub force: Option<Force>,
    pub profile: Option<Profile>,
    pub threads: usize,
    pub kv: KvType,
    pub activation: Option<tern_runtime::config::Activation>,
    pub activation_scales: Option<tern_runtime::config::ActivationScales>,
    pub weight_scales: Option<tern_runtime::config::ScaleRule>,
}

impl Setup {
    pub fn options(self) -> LoadOptions<'static> {
        let planner = Planner::new(Cpu::detect(), self.profile, self.force).unwrap();
        let threads = self.threads.max(1);
        LoadOptions {
            planner,
            threads,
            pages: Pages::Small,
            head: tern_runtime::HeadMode::Exact,
            residence: tern_runtime::Residence::Auto,
            kv: self.kv,
            reading: tern_runtime::ReadOptions {
                activation: self.activation,
                activation_scales: self.activation_scales,
                weight_scales: self.weight_scales,
                ..tern_runtime::ReadOptions::default()
            },
            progress: None,
        }
    }

    pub fn engine(self, fixture: &str) -> Engine {
        let model = Model::load(&folder(fixture), &self.options()).unwrap();
        Engine::new(Arc::new(model)).unwrap()
    }
}

pub fn engine(fixture: &str) -> Engine {
    Setup::default().engine(fixture)
}

/// One prompt and what follows from it.
pub struct Prompt {
    pub name: String,
    pub tokens: Vec<u32>,
    pub greedy: Vec<u32>,
}

pub fn prompts(fixture: &str) -> Vec<Prompt> {
    let json = fs::read(folder(fixture).join("expected.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let ids = |value: &serde_json::Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap() as u32)
            .collect()
    };
    let prompts = json["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prompt| Prompt {
            name: prompt["name"].as_str().unwrap().to_owned(),
            tokens: ids(&prompt["input_ids"]),
            greedy: ids(&prompt["greedy_tokens"]),
        });
    prompts.collect()
}

/// `expected.safetensors`.
pub struct Expected(Vec<u8>);

impl Expected {
    pub fn read(fixture: &str) -> Expected {
        Expected(fs::read(folder(fixture).join("expected.safetensors")).unwrap())
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32);
        tensor
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<i8> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I8);
        tensor
            .data()
            .iter()
            .map(|byte| byte.cast_signed())
            .collect()
    }
}

/// Logits of every position of a prompt given in pieces of `piece` tokens.
pub fn logits_in_pieces(engine: &mut Engine, tokens: &[u32], piece: usize) -> Vec<f32> {
    let mut sequence = engine.model().sequence();
    let mut logits = Vec::new();
    for tokens in tokens.chunks(piece) {
        let work = Work {
            sequence: &mut sequence,
            tokens,
            logits: Logits::All,
        };
        logits.extend_from_slice(engine.step(&mut [work]).unwrap().rows(0));
    }
    logits
}

/// Logits of every position of a prompt.
pub fn all_logits(engine: &mut Engine, tokens: &[u32]) -> Vec<f32> {
    logits_in_pieces(engine, tokens, tokens.len())
}

/// `n` greedy tokens, ignoring stop ids.
pub fn greedy(engine: &mut Engine, prompt: &[u32], n: usize) -> Vec<u32> {
    let mut sequence = engine.model().sequence();
    let mut tokens = prompt.to_vec();
    let mut generated = Vec::new();
    while generated.len() < n {
        let work = Work {
            sequence: &mut sequence,
            tokens: &tokens,
            logits: Logits::Last,
        };
        let output = engine.step(&mut [work]).unwrap();
        generated.push(argmax(output.last(0)) as u32);
        tokens = vec![*generated.last().unwrap()];
    }
    generated
}

pub fn argmax(row: &[f32]) -> usize {
    (0..row.len())
        .max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)))
        .unwrap()
}

/// FNV-1a over the bits, for comparing many logits at once.
pub fn bits(values: &[f32]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3)
    })
}

/// The files of a model in memory, to be damaged.
#[derive(Clone)]
pub struct Files {
    pub config: Vec<u8>,
    pub weights: Vec<u8>,
    pub tokenizer: Vec<u8>,
    pub generation_config: Vec<u8>,
}

impl Files {
    pub fn read(fixture: &str) -> Files {
        let read = |name| fs::read(folder(fixture).join(name)).unwrap();
        Files {
            config: read("config.json"),
            weights: read("model.safetensors"),
            tokenizer: read("tokenizer.json"),
            generation_config: read("generation_config.json"),
        }
    }

    /// Sets one key of `config.json`, given as a path with dots; `null` stands for absence.
    pub fn set(mut self, key: &str, value: serde_json::Value) -> Files {
        let mut config: serde_json::Value = serde_json::from_slice(&self.config).unwrap();
        let pointer = format!("/{}", key.replace('.', "/"));
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.insert(last.to_owned(), value);
        self.config = serde_json::to_vec(&config).unwrap();
        self
    }

    pub fn load(&self) -> Result<Model, tern_runtime::LoadError> {
        let bytes = ModelBytes {
            config: &self.config,
            weights: &self.weights,
            tokenizer: Some(&self.tokenizer),
            generation_config: Some(&self.generation_config),
        };
        Model::from_bytes(&bytes, &Setup::default().options())
    }

    /// An engine for the model without its tokenizer, which takes most of the time to load.
    pub fn engine(&self, setup: Setup) -> Engine {
        let bytes = ModelBytes {
            config: &self.config,
            weights: &self.weights,
            tokenizer: None,
            generation_config: None,
        };
        let model = Model::from_bytes(&bytes, &setup.options()).unwrap();
        Engine::new(Arc::new(model)).unwrap()
    }

    /// The message of the error that loading gives.
    pub fn error(&self) -> String {
        match self.load() {
            Ok(_) => panic!("this should not load"),
            Err(error) => error.to_string(),
        }
    }
}
