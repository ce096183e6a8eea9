//! A model in memory: configuration, packed weights, tokenizer. Immutable once loaded.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tern_kernels::{Pages, Planner, Shape, available_memory};

use crate::chat::{ChatTemplate, TemplateError, TemplateSource};
use crate::checkpoint::{Checkpoint, WeightFile, map_folder, read_file};
use crate::config::Config;
use crate::error::{LoadError, TokenizerError};
use crate::gguf::I2sLayout;
use crate::gguf_model::GgufModel;
use crate::inspect;
use crate::note::Note;
use crate::ops::rope::Rope;
use crate::packed::{self, Packed};
use crate::read_options::ReadOptions;
use crate::sequence::{Dimensions, KvType, Sequence};
use crate::text::TextFiles;
use crate::tokenizer::Tokenizer;
use crate::weights::{self, Weights, layer_shapes};

/// Longest configuration file accepted; real ones have about a kilobyte.
const MAX_CONFIG: u64 = 16 << 20;

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
    /// Whether the weights of a packed model stay in its file.
    pub residence: Residence,
    /// How sequences hold keys and values.
    pub kv: KvType,
    /// What the user says of the files.
    pub reading: ReadOptions,
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
    /// As [`HeadMode::Exact`], but within six standard deviations instead of bounds, from a copy in four bits as two planes: half as much to
    /// read, and the largest logit may be missed.
    Screened4,
    /// By a copy in eight bits, as three planes, that takes the head's place: approximate, off by some 0.02 of the logits' size.
    Q8,
    /// By a copy in six bits, as two planes, that takes the head's place: approximate, off by some 0.04 of the logits' size.
    Q6,
}

/// Where the weights of a packed model are (see [`pack`](crate::pack)). Those of a folder are always packed to memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residence {
    /// In memory if it has room for them, else in the file.
    #[default]
    Auto,
    /// In memory of their own, on huge pages, compared with their checksums on the way.
    Memory,
    /// In the mapped file: nothing is read before it is needed, and the system may give the memory to others meanwhile. Whoever shortens the
    /// file while it is used ends the program.
    File,
}

impl Residence {
    /// Whether a file of so many bytes is mapped.
    fn is_file(self, bytes: usize) -> bool {
        match self {
            Residence::Auto => {
                // A little is for the cache of texts and for others.
                let room = available_memory().map(|room| room - room / 16);
                room.is_some_and(|room| bytes > room)
            }
            Residence::Memory => false,
            Residence::File => true,
        }
    }
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
    /// All usable cores, huge pages, keys and values in `f32`, no progress report.
    pub fn new(planner: Planner) -> Self {
        let threads = planner.cpu().cores.max(1);
        LoadOptions {
            planner,
            threads,
            pages: Pages::Huge,
            head: HeadMode::default(),
            residence: Residence::default(),
            kv: KvType::default(),
            reading: ReadOptions::default(),
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
    tokenizer_description: Option<String>,
    template: TemplateSource,
    stop_ids: Vec<u32>,
    warnings: Vec<String>,
    is_gguf: bool,
    threads: usize,
    kv: KvType,
}

impl Model {
    /// Loads a model from a folder as published on Hugging Face: `config.json`,
    /// `model.safetensors` or its shards with their index, and, where they exist, `tokenizer.json`
    /// (or tiktoken's or SentencePiece's `tokenizer.model`) and `generation_config.json`. Or from a GGUF file, of a split model the first; or from the file that
    /// [`pack`](crate::pack) made of either.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file, what was found and what was expected.
    pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Model, LoadError> {
        Files::open(path, options.reading.i2s_layout)?.load(options)
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
        let files = Files {
            names: Names::in_memory(),
            config: bytes.config.to_vec(),
            generation: bytes.generation_config.map(<[u8]>::to_vec),
            text: TextFiles::in_memory(bytes.tokenizer),
            weights: vec![WeightFile::borrowed("model.safetensors", bytes.weights)],
            is_packed: false,
            gguf: None,
        };
        files.load(options)
    }

    /// Loads a model from a GGUF file in memory. `name` stands for the file in messages.
    ///
    /// # Errors
    ///
    /// As [`Model::load`]; one of several files of a model is refused.
    pub fn from_gguf(
        name: &str,
        bytes: &[u8],
        options: &LoadOptions<'_>,
    ) -> Result<Model, LoadError> {
        Files::gguf_in_memory(name, bytes, options.reading.i2s_layout)?.load(options)
    }

    /// The ternary matrices of a layer, for tuning; of a folder only `config.json` is read.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if there is no usable `config.json`.
    pub fn matrices(path: &Path) -> Result<Vec<LayerMatrix>, LoadError> {
        let config = match path.is_file() {
            true => Files::open(path, I2sLayout::default())?.configuration()?,
            false => Config::parse(&read_config(path)?, &Names::in_folder(path).config)?,
        };
        Ok(layer_matrices(&config))
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

    /// [`Model::warnings`] of a model that is not loaded, as [`pack`](crate::pack) reads it with the same options.
    ///
    /// # Errors
    ///
    /// As [`Model::load`], as far as it does not look at weights.
    pub fn warnings_without_loading(
        path: &Path,
        reading: ReadOptions,
    ) -> Result<Vec<String>, LoadError> {
        let files = Files::open(path, reading.i2s_layout)?;
        let config = reading.applied(files.configuration()?);
        Ok(files.open_warnings(&config, reading).collect())
    }

    /// Matrices of a packed model that were converted, because the plan wants another packing than the file has. Packing the model again
    /// saves that time.
    pub fn converted(&self) -> usize {
        self.weights.converted
    }

    /// The path of its folder or file, or `"(in memory)"`.
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
    /// [`TokenizerError::Absent`] or [`TokenizerError::AbsentInGguf`] if the model has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, TokenizerError> {
        let absent = || {
            let model = self.name.clone();
            match self.is_gguf {
                true => TokenizerError::AbsentInGguf { model },
                false => TokenizerError::Absent { model },
            }
        };
        self.tokenizer.as_ref().ok_or_else(absent)
    }

    /// What kind of tokenizer it has, and in which file.
    pub(crate) fn tokenizer_description(&self) -> Option<&str> {
        self.tokenizer_description.as_deref()
    }

    /// The model's chat template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if there is none or it is wrong.
    pub fn chat_template(&self) -> Result<ChatTemplate, TemplateError> {
        self.template.template(&self.name)
    }

    /// A chat template from elsewhere, made for this model: it learns what the model's files call begin and end of text.
    pub fn adapt_template(&self, template: ChatTemplate) -> ChatTemplate {
        self.template.prepare(template)
    }

    /// Tokens that end a text or a turn, sorted: those of `config.json`, of `generation_config.json`, of `tokenizer_config.json` and GGUF
    /// metadata, and the known end-of-turn tokens of the tokenizer.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// What may make its results wrong: guesses for want of a word in its files, and what looks wrong in them. One sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Threads that the matrices are split over.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How its sequences hold keys and values.
    pub fn kv(&self) -> KvType {
        self.kv
    }

    /// An empty sequence for this model.
    pub fn sequence(&self) -> Sequence {
        Sequence::new(self.dimensions())
    }

    /// What its sequences look like.
    pub(crate) fn dimensions(&self) -> Dimensions {
        Dimensions::of(&self.config, self.kv)
    }
}

/// What messages call the files.
pub(crate) struct Names {
    pub model: String,
    pub config: String,
    generation: String,
}

impl Names {
    pub fn in_folder(path: &Path) -> Names {
        let file = |name: &str| path.join(name).display().to_string();
        Names {
            model: path.display().to_string(),
            config: file("config.json"),
            generation: file("generation_config.json"),
        }
    }

    /// Of the parts of a packed model.
    pub fn in_file(path: &Path) -> Names {
        let model = path.display().to_string();
        let part = |name: &str| format!("{model}: {name}");
        Names {
            config: part(packed::CONFIG),
            generation: part(packed::GENERATION),
            model,
        }
    }

    fn in_memory() -> Names {
        Names {
            model: "(in memory)".to_owned(),
            ..Names::in_folder(Path::new(""))
        }
    }
}

/// The files of a model, or of a packed one the parts of its file.
pub(crate) struct Files<'a> {
    names: Names,
    config: Vec<u8>,
    generation: Option<Vec<u8>>,
    text: TextFiles,
    weights: Vec<WeightFile<'a>>,
    is_packed: bool,
    /// All of it, if it is a GGUF file; then there is nothing in the other fields but names and text.
    gguf: Option<GgufModel<'a>>,
}

impl Files<'static> {
    /// Reads the small files and maps the large ones.
    pub fn open(path: &Path, layout: I2sLayout) -> Result<Files<'static>, LoadError> {
        match path.is_file() {
            true if is_gguf(path) => Files::gguf(path, layout),
            true => Files::packed(path),
            false => Files::folder(path),
        }
    }

    fn gguf(path: &Path, layout: I2sLayout) -> Result<Files<'static>, LoadError> {
        Ok(Files::of_gguf(path, GgufModel::open(path, layout)?))
    }

    fn folder(path: &Path) -> Result<Files<'static>, LoadError> {
        let optional = |name: &str, expected, limit| match path.join(name) {
            file if file.exists() => read_file(&file, expected, limit).map(Some),
            _ => Ok(None),
        };
        let config = read_config(path)?;
        let generation = optional("generation_config.json", "generation defaults", MAX_CONFIG)?;
        let text = TextFiles::in_folder(path)?;
        let names = Names::in_folder(path);
        // A configuration that cannot be run is found before gigabytes are mapped.
        Config::parse(&config, &names.config)?;
        Ok(Files {
            names,
            config,
            generation,
            text,
            weights: map_folder(path)?,
            is_packed: false,
            gguf: None,
        })
    }

    fn packed(path: &Path) -> Result<Files<'static>, LoadError> {
        let weights = vec![WeightFile::map(path)?];
        let names = Names::in_file(path);
        let packed = Packed::open(&weights[0], true)?;
        let part = |name: &str| Ok::<_, LoadError>(packed.part(name)?.map(<[u8]>::to_vec));
        let generation = part(packed::GENERATION)?;
        let text = TextFiles::in_packed(&names.model, |name| packed.part(name))?;
        let config = part(packed::CONFIG)?.unwrap_or_default();
        Ok(Files {
            names,
            config,
            generation,
            text,
            weights,
            is_packed: true,
            gguf: None,
        })
    }
}

impl<'a> Files<'a> {
    /// A GGUF file in memory.
    pub fn gguf_in_memory(
        name: &str,
        bytes: &'a [u8],
        layout: I2sLayout,
    ) -> Result<Files<'a>, LoadError> {
        let gguf = GgufModel::from_bytes(name, bytes, layout)?;
        Ok(Files::of_gguf(Path::new(name), gguf))
    }

    fn of_gguf(path: &Path, gguf: GgufModel<'a>) -> Files<'a> {
        Files {
            names: Names::in_file(path),
            config: Vec::new(),
            generation: None,
            text: gguf.text.clone(),
            weights: Vec::new(),
            is_packed: false,
            gguf: Some(gguf),
        }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// `config.json`; of a GGUF file one that says the same.
    pub fn config(&self) -> Cow<'_, [u8]> {
        match &self.gguf {
            None => Cow::Borrowed(&self.config),
            Some(gguf) => Cow::Owned(gguf.config.to_json().to_string().into_bytes()),
        }
    }

    /// The configuration.
    pub fn configuration(&self) -> Result<Config, LoadError> {
        match &self.gguf {
            None => Ok(Config::parse(&self.config, &self.names.config)?),
            Some(gguf) => Ok(gguf.config.clone()),
        }
    }

    /// The weights.
    pub fn checkpoint(&self) -> Result<Checkpoint<'_>, LoadError> {
        match &self.gguf {
            None => Ok(Checkpoint::parse(&self.weights, &self.names.model)?),
            Some(gguf) => Ok(Checkpoint::of_gguf(gguf, &self.names.model)),
        }
    }

    /// The GGUF file, if it is one.
    pub fn as_gguf(&self) -> Option<&GgufModel<'a>> {
        self.gguf.as_ref()
    }

    /// Notes on the file.
    pub fn notes(&self) -> impl Iterator<Item = Note> {
        self.gguf.iter().flat_map(|gguf| gguf.notes.iter().cloned())
    }

    /// All notes that are worth a warning where the model is used with this configuration.
    pub fn warnings(&self, config: &Config) -> impl Iterator<Item = Note> {
        let notes = self.notes().chain(inspect::activation_note(config));
        let all = notes.chain(inspect::rounding_note(config));
        all.filter(|note| note.is_warning)
    }

    /// The text of those that the user has not settled.
    pub fn open_warnings(
        &self,
        config: &Config,
        reading: ReadOptions,
    ) -> impl Iterator<Item = String> {
        let open = self.warnings(config);
        let open = open.filter(move |note| !reading.settles(note));
        open.map(|note| note.text)
    }

    /// `generation_config.json`.
    pub fn generation(&self) -> Option<&[u8]> {
        self.generation.as_deref()
    }

    /// Tokenizer and chat template.
    pub fn text(&self) -> &TextFiles {
        &self.text
    }

    pub fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// As a packed model, if it is one.
    pub fn as_packed(&self, is_mapped: bool) -> Result<Option<Packed<'_>>, LoadError> {
        match self.is_packed {
            true => Packed::open(&self.weights[0], is_mapped).map(Some),
            false => Ok(None),
        }
    }

    /// Loads the model.
    pub fn load(self, options: &LoadOptions<'_>) -> Result<Model, LoadError> {
        assert!(options.threads > 0, "a model needs at least one thread");
        let names = &self.names;
        let reading = options.reading;
        let config = reading.applied(self.configuration()?);
        let warnings = self.open_warnings(&config, reading).collect();
        let tokenizer = self.text.tokenizer(config.vocab_size)?;
        let generation = self.generation.as_deref();
        let generation = generation.map(|json| (json, &names.generation[..]));
        let stop_ids = &config.eos_token_ids;
        let stop_ids = self
            .text
            .stop_ids(stop_ids, generation, tokenizer.as_ref())?;
        let checkpoint = self.checkpoint()?;
        let bytes: usize = self.weights.iter().map(|file| file.bytes().len()).sum();
        let packed = self.as_packed(options.residence.is_file(bytes))?;
        let weights = weights::load(&checkpoint, &config, options, packed.as_ref())?;
        Ok(Model {
            name: names.model.clone(),
            rope: Rope::new(config.head_dim, config.rope_theta, &config.rope_scaling),
            config,
            weights,
            tokenizer,
            tokenizer_description: self.text.described(),
            template: self.text.template,
            stop_ids,
            warnings,
            is_gguf: self.gguf.is_some(),
            threads: options.threads,
            kv: options.kv,
        })
    }
}

pub(crate) fn read_config(folder: &Path) -> Result<Vec<u8>, LoadError> {
    // A name that stands for nothing may have been meant as any kind of model's.
    if let Ok(false) = folder.try_exists() {
        return Err(LoadError::NotThere {
            path: folder.display().to_string(),
            expected: "a Hugging Face model folder, a GGUF file, or a packed model, as `tern pack` writes it",
        });
    }
    let expected = "a Hugging Face model folder with config.json, model.safetensors and \
                    tokenizer.json";
    let config = folder.join("config.json");
    if !config.exists()
        && let Some(file) = gguf_in(folder)
    {
        return Err(LoadError::GgufInFolder {
            folder: folder.display().to_string(),
            file: file.display().to_string(),
        });
    }
    read_file(&config, expected, MAX_CONFIG)
}

/// The first GGUF file in a folder, by name: of a split model the one that is to be named.
fn gguf_in(folder: &Path) -> Option<PathBuf> {
    let files = folder.read_dir().ok()?;
    let paths = files.filter_map(|entry| Some(entry.ok()?.path()));
    let is_named_so = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
    };
    paths.filter(is_named_so).min()
}

fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == *b"GGUF"
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
