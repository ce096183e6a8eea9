//! A model in memory: configuration, packed weights, tokenizer. Immutable once loaded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tern_kernels::{Pages, Planner, Shape};

use crate::checkpoint::{Checkpoint, WeightFile, map_folder, read_file};
use crate::config::Config;
use crate::error::{CheckpointError, LoadError, TokenizerError};
use crate::json::Object;
use crate::ops::rope::Rope;
use crate::sequence::{Dimensions, Sequence};
use crate::tokenizer::Tokenizer;
use crate::weights::{self, Weights, layer_shapes};

/// Longest configuration file accepted; real ones have about a kilobyte.
const MAX_CONFIG: u64 = 16 << 20;
/// Longest tokenizer accepted; the largest published ones have about 30 MB.
const MAX_TOKENIZER: u64 = 256 << 20;

/// How to load a model.
pub struct LoadOptions<'a> {
    /// Chooses the kernel, and so the packing, of every matrix.
    pub planner: Planner,
    /// Threads that will run the model, at least 1; every matrix is split over them.
    pub threads: usize,
    /// Pages of the packed weights.
    pub pages: Pages,
    /// How logits are made.
    pub head: HeadMode,
    /// Called as weights are packed.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// How logits are made of the final hidden state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadMode {
    /// By the head itself. Where only the largest logits are wanted ([`Logits::Best`](crate::Logits::Best) and its like) bounds
    /// from a copy in few bits say which of its rows are read. The result is that of [`HeadMode::Full`], to the bit.
    #[default]
    Exact,
    /// By the head itself, all of it: no copy to hold, four times as much to read.
    Full,
    /// As [`HeadMode::Exact`], but within six standard deviations instead of bounds: less to hold, and the largest logit may be missed.
    Screened4,
    /// By a copy in eight bits, as three planes, that takes the head's place: approximate, off by some 0.02 of the logits' size.
    Q8,
    /// By a copy in six bits, as two planes, that takes the head's place: approximate, off by some 0.04 of the logits' size.
    Q6,
}

/// How far loading has come, in bytes of weights in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes packed so far.
    pub done: u64,
    /// All bytes to pack.
    pub total: u64,
}

impl LoadOptions<'_> {
    /// All usable cores, huge pages, no progress report.
    pub fn new(planner: Planner) -> Self {
        let threads = planner.cpu().cores.max(1);
        LoadOptions {
            planner,
            threads,
            pages: Pages::Huge,
            head: HeadMode::default(),
            progress: None,
        }
    }
}

/// The contents of a model's files, for a model that is part of the program.
#[derive(Clone, Copy)]
pub struct ModelBytes<'a> {
    /// `config.json`.
    pub config: &'a [u8],
    /// `model.safetensors`.
    pub weights: &'a [u8],
    /// `tokenizer.json`.
    pub tokenizer: Option<&'a [u8]>,
    /// `generation_config.json`.
    pub generation_config: Option<&'a [u8]>,
}

/// A loaded model. Share it as an [`Arc`](std::sync::Arc) between an [`Engine`](crate::Engine) and
/// whoever needs its tokenizer.
pub struct Model {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) weights: Weights,
    pub(crate) rope: Rope,
    tokenizer: Option<Tokenizer>,
    stop_ids: Vec<u32>,
    threads: usize,
}

impl Model {
    /// Loads a model from a folder as published on Hugging Face: `config.json`,
    /// `model.safetensors` or its shards with their index, and, where they exist, `tokenizer.json`
    /// and `generation_config.json`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file, what was found and what was expected.
    pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Model, LoadError> {
        let optional = |name: &str, expected, limit| match path.join(name) {
            file if file.exists() => read_file(&file, expected, limit).map(Some),
            _ => Ok(None),
        };
        let config = read_config(path)?;
        let generation = optional("generation_config.json", "generation defaults", MAX_CONFIG)?;
        let tokenizer = optional("tokenizer.json", "the model's tokenizer", MAX_TOKENIZER)?;
        let names = Names::in_folder(path);
        // A configuration that cannot be run is found before gigabytes are mapped.
        let parsed = Config::parse(&config, &names.config)?;
        let files = map_folder(path)?;
        let parts = Parts {
            names,
            config: parsed,
            files: &files,
        };
        parts.load(tokenizer.as_deref(), generation.as_deref(), options)
    }

    /// Loads a model from memory.
    ///
    /// # Errors
    ///
    /// As [`Model::load`].
    pub fn from_bytes(
        bytes: &ModelBytes<'_>,
        options: &LoadOptions<'_>,
    ) -> Result<Model, LoadError> {
        let names = Names::in_memory();
        let config = Config::parse(bytes.config, &names.config)?;
        let files = [WeightFile::borrowed("model.safetensors", bytes.weights)];
        let parts = Parts {
            names,
            config,
            files: &files,
        };
        parts.load(bytes.tokenizer, bytes.generation_config, options)
    }

    /// The ternary matrices of a layer, for tuning; reads only `config.json`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if there is no usable `config.json`.
    pub fn matrices(path: &Path) -> Result<Vec<LayerMatrix>, LoadError> {
        let names = Names::in_folder(path);
        Ok(layer_matrices(&Config::parse(
            &read_config(path)?,
            &names.config,
        )?))
    }

    /// [`Model::matrices`] of a `config.json` in memory.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it is not usable.
    pub fn matrices_from_bytes(config: &[u8]) -> Result<Vec<LayerMatrix>, LoadError> {
        Ok(layer_matrices(&Config::parse(
            config,
            &Names::in_memory().config,
        )?))
    }

    /// The folder's path, or `"(in memory)"`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tokenizer.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Absent`] if the model has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, TokenizerError> {
        let absent = || TokenizerError::Absent {
            model: self.name.clone(),
        };
        self.tokenizer.as_ref().ok_or_else(absent)
    }

    /// Tokens that end a text, sorted: those of `config.json`, of `generation_config.json`, and the
    /// known end-of-turn tokens of the tokenizer.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Threads that the matrices are split over.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// An empty sequence for this model.
    pub fn sequence(&self) -> Sequence {
        Sequence::new(Dimensions::of(&self.config))
    }
}

/// What messages call the files.
pub(crate) struct Names {
    pub model: String,
    pub config: String,
    generation: String,
    tokenizer: String,
}

impl Names {
    pub fn in_folder(path: &Path) -> Names {
        let file = |name: &str| path.join(name).display().to_string();
        Names {
            model: path.display().to_string(),
            config: file("config.json"),
            generation: file("generation_config.json"),
            tokenizer: file("tokenizer.json"),
        }
    }

    fn in_memory() -> Names {
        Names {
            model: "(in memory)".to_owned(),
            ..Names::in_folder(Path::new(""))
        }
    }
}

/// A model with its files at hand and its configuration checked.
struct Parts<'a> {
    names: Names,
    config: Config,
    files: &'a [WeightFile<'a>],
}

impl Parts<'_> {
    fn load(
        self,
        tokenizer: Option<&[u8]>,
        generation: Option<&[u8]>,
        options: &LoadOptions<'_>,
    ) -> Result<Model, LoadError> {
        assert!(options.threads > 0, "a model needs at least one thread");
        let Parts {
            names,
            config,
            files,
        } = self;
        let mut stop_ids = config.eos_token_ids.clone();
        if let Some(json) = generation {
            stop_ids.extend(Object::parse(json, &names.generation)?.ids("eos_token_id")?);
        }
        let tokenizer = match tokenizer {
            None => None,
            Some(json) => {
                let tokenizer = Tokenizer::parse(json, &names.tokenizer)?;
                tokenizer.check_vocabulary(config.vocab_size, &names.tokenizer)?;
                Some(tokenizer)
            }
        };
        stop_ids.extend(tokenizer.iter().flat_map(Tokenizer::end_of_turn_ids));
        stop_ids.sort_unstable();
        stop_ids.dedup();
        let weights = weights::load(&Checkpoint::parse(files, &names.model)?, &config, options)?;
        Ok(Model {
            name: names.model,
            rope: Rope::new(config.head_dim, config.rope_theta),
            config,
            weights,
            tokenizer,
            stop_ids,
            threads: options.threads,
        })
    }
}

pub(crate) fn read_config(folder: &Path) -> Result<Vec<u8>, LoadError> {
    let expected = "a Hugging Face model folder with config.json, model.safetensors and \
                    tokenizer.json";
    refuse_gguf(folder)?;
    read_file(&folder.join("config.json"), expected, MAX_CONFIG)
}

/// Says what is wrong where a model is named as for most other programs, by its one file.
fn refuse_gguf(path: &Path) -> Result<(), CheckpointError> {
    let mut magic = [0; 4];
    let gguf = path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"GGUF";
    match gguf {
        true => Err(CheckpointError::Gguf {
            file: path.display().to_string(),
        }),
        false => Ok(()),
    }
}

/// A ternary matrix that every layer of a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerMatrix {
    /// Its name in the checkpoint, after the layer's and without `.weight`.
    pub name: &'static str,
    /// Rows x columns.
    pub shape: Shape,
    /// Layers that have it.
    pub layers: usize,
    /// Matrices of the layer with the same input, itself included: they share prepared activations.
    pub sharing: usize,
}

fn layer_matrices(config: &Config) -> Vec<LayerMatrix> {
    // A norm of its own makes each linear layer's input its own.
    let shared = config.quantization.linear_norm_eps.is_none();
    let sharing = |name: &str| match name {
        "self_attn.q_proj" | "self_attn.k_proj" | "self_attn.v_proj" if shared => 3,
        "mlp.gate_proj" | "mlp.up_proj" if shared => 2,
        _ => 1,
    };
    let matrix = |(name, shape)| LayerMatrix {
        name,
        shape,
        layers: config.layers,
        sharing: sharing(name),
    };
    layer_shapes(config).into_iter().map(matrix).collect()
}
