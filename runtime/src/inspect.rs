//! What a model is made of, how large it is, and which kernel each matrix uses and why.
//!
//! Also without loading: [`inspect`] reads `config.json`, the tokenizer and the headers of the weight files (and where scales have to
//! be looked for, the first layer), looks for damage in the weights, and asks the planner what it would choose.

mod notes;
mod survey;

pub(crate) use notes::{activation as activation_note, rounding as rounding_note};

use std::path::Path;

use serde::Serialize;
use tern_kernels::{Choice, Granularity, Planner, Shape, Tables, WeightScales};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::LoadError;
use crate::head::{HeadCopy, copy_bytes};
use crate::linear::ScalesFound;
use crate::model::{Files, HeadMode, LoadOptions, Model};
use crate::ops::attention::BLOCK;
use crate::packed::Packed;
use crate::sequence::{Dimensions, KvType};
use crate::tensors;
use crate::ternary::{self, PROJECTIONS};
use crate::weights::{self, in_groups, layer_norms, layer_shapes};

/// A model in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether it is a packed model, and how many of the matrices in it are packed as the plan wants them; the others are
    /// converted when they are loaded. `None` for a folder and for a model in memory.
    pub packed: Option<PackedSummary>,
    /// Where the model came from.
    pub model: String,
    /// Its configuration.
    pub config: Config,
    /// What kind of tokenizer it has, and in which file.
    pub tokenizer: Option<String>,
    /// Threads that it is, or would be, split over.
    pub threads: usize,
    /// Number of weights.
    pub parameters: Parameters,
    /// Memory, in bytes.
    pub bytes: Bytes,
    /// The ternary matrices of a layer; all layers are alike.
    pub matrices: Vec<Matrix>,
    /// What was decided for want of a word in the files, what is an approximation, and what looks wrong.
    pub notes: Vec<String>,
}

/// What a packed model's file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PackedSummary {
    /// Its ternary matrices.
    pub matrices: usize,
    /// Those whose packing the planned kernel reads.
    pub fitting: usize,
}

/// Numbers of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// Ternary weights.
    pub ternary: u64,
    /// Weights of the embedding, and of the head where it is separate.
    pub dense: u64,
    /// Weights of the norms.
    pub norms: u64,
}

/// Bytes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Packed ternary matrices, with their padding.
    pub ternary: u64,
    /// The token embedding.
    pub embedding: u64,
    /// The head, where it is not the embedding.
    pub head: u64,
    /// The copy of the head in few bits, which finds the largest logits or takes the head's place; 0 where there is none.
    pub head_copy: u64,
    /// Norms, as `f32`.
    pub norms: u64,
    /// The type of the cache's keys and values.
    pub kv_type: KvType,
    /// The cache of one position in all layers.
    pub cache_per_position: u64,
    /// What decoding one token reads besides the cache: ternary matrices, all of the head or of what takes its place, and norms.
    pub read_per_token: u64,
    /// The same where only the largest logit is wanted, without the rows that bounds do not exclude.
    pub read_per_greedy_token: u64,
}

impl Bytes {
    /// All weights, with the copy of the head.
    pub fn weights(&self) -> u64 {
        self.ternary + self.embedding + self.head + self.head_copy + self.norms
    }
}

/// One of a layer's ternary matrices.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// Its name in the layer, such as `self_attn.q_proj`.
    pub name: &'static str,
    /// Rows (outputs).
    pub rows: usize,
    /// Columns (inputs).
    pub cols: usize,
    /// How many there are: one in each layer.
    pub count: usize,
    /// How many weights share a scale.
    pub scales: ScalesFound,
    /// Columns whose sums are scaled apart, since weights or activations have scales by groups; 0 where all of a row's are one sum.
    pub group: usize,
    /// Packed bytes of one, with padding, and its scales where there are many.
    pub bytes: u64,
    /// `bytes` in bits for each weight.
    pub bits_per_weight: f64,
    /// The kernel's id.
    pub kernel: &'static str,
    /// The kernel's family.
    pub family: &'static str,
    /// The kernel's instruction set.
    pub isa: &'static str,
    /// The byte order.
    pub packing: String,
    /// K tile in K blocks; 0 means all.
    pub tile_k_blocks: usize,
    /// Chunk of rows in the kernel's units; 0 means all.
    pub tile_chunk: usize,
    /// Bytes prefetched ahead.
    pub tile_prefetch: usize,
    /// Who prepares the activations of a single position.
    pub tile_tables: Tables,
    /// Where the choice came from.
    pub source: String,
}

/// Summarises the model in a folder, or packed model, without loading it, as it would be loaded with `options`.
///
/// # Errors
///
/// [`LoadError`] if the configuration or the header of a weight file is unsound.
pub fn inspect(path: &Path, options: &LoadOptions<'_>) -> Result<Summary, LoadError> {
    inspect_files(&Files::open(path, options.reading.i2s_layout)?, options)
}

/// [`inspect`] of files that are open.
pub(crate) fn inspect_files(
    files: &Files<'_>,
    options: &LoadOptions<'_>,
) -> Result<Summary, LoadError> {
    let (planner, threads, kv) = (&options.planner, options.threads, options.kv);
    let names = files.names();
    let reading = options.reading;
    let config = reading.applied(files.configuration()?);
    let checkpoint = files.checkpoint()?;
    let packed = files.as_packed(true)?;
    match &packed {
        None => weights::check(&checkpoint, &config)?,
        Some(packed) => weights::check_packed(&checkpoint, &config, packed)?,
    };
    let dense = |name: &str| {
        // It stays in memory as it is in the file.
        let tensor = weights::dense_tensor(&checkpoint, &config, name)?;
        Ok::<u64, LoadError>(tensor.data.len() as u64)
    };
    let embedding = dense("model.embed_tokens.weight")?;
    let head = if config.tied_head {
        0
    } else {
        dense("lm_head.weight")?
    };
    let scored = if config.tied_head { embedding } else { head };
    let shape = (config.vocab_size, config.hidden_size);
    let copy = copy_bytes(HeadMode::default(), shape, scored, planner.cpu());
    let matrices = planned(&checkpoint, &config, packed.as_ref(), options)?;
    let summary = Summary::new(
        names.model.clone(),
        &config,
        (threads, kv),
        Head {
            embedding,
            head,
            copy: copy.0,
            read: scored,
            read_greedy: if copy.1 > 0 { copy.1 } else { scored },
        },
        matrices,
    );
    let mut notes = Vec::new();
    let open = files.notes().filter(|note| !reading.settles(note));
    notes.extend(open.map(|note| note.text));
    if packed.is_none() {
        notes.extend(tensors::check(&checkpoint, &config)?);
        notes.extend(survey::survey(&checkpoint, &config));
    }
    notes.extend(summary.notes.iter().cloned());
    notes.extend(notes::unloaded_vocabulary(files.text(), &config));
    Ok(Summary {
        tokenizer: files.text().described(),
        packed: packed.map(|packed| packed_summary(&packed, &config, planner, threads)),
        notes,
        ..summary
    })
}

/// The matrices of the first layer as they would be loaded.
fn planned(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    packed: Option<&Packed<'_>>,
    options: &LoadOptions<'_>,
) -> Result<Vec<Matrix>, LoadError> {
    let shapes = layer_shapes(config);
    let mut matrices = Vec::new();
    for range in PROJECTIONS {
        let parts = &shapes[range];
        let scales = |(name, shape): &(&str, Shape)| {
            let name = format!("model.layers.0.{name}");
            match packed {
                Some(packed) => {
                    let scales = ternary::packed_scales(checkpoint, packed, &name, *shape);
                    scales.map_err(LoadError::from)
                }
                None => ternary::scales(checkpoint, config, &name, *shape),
            }
        };
        let scales: Vec<WeightScales> = parts.iter().map(scales).collect::<Result<_, _>>()?;
        let groups = ternary::groups(config, &scales.iter().collect::<Vec<_>>());
        for ((&(name, shape), scales), group) in parts.iter().zip(&scales).zip(groups) {
            let choice = ternary::choose(&options.planner, name, shape, options.threads, group)?;
            let packing = in_groups(choice.kernel.packing, group);
            let bytes = packing.matrix_bytes(shape.rows, shape.cols);
            let found = ScalesFound::of(scales);
            let each = (config.layers, group, bytes.unwrap_or(usize::MAX));
            matrices.push(Matrix::new(name, shape, each, &choice, found));
        }
    }
    Ok(matrices)
}

fn packed_summary(
    packed: &Packed<'_>,
    config: &Config,
    planner: &Planner,
    threads: usize,
) -> PackedSummary {
    let layers = (0..config.layers).flat_map(|layer| {
        let shapes = layer_shapes(config).into_iter();
        shapes.map(move |(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape))
    });
    let fits = |(name, shape): &(String, Shape)| {
        packed.packing(name).is_some_and(|found| {
            let choice = ternary::choose(planner, name, *shape, threads, found.group);
            choice.is_ok_and(|choice| choice.kernel.reads(found))
        })
    };
    let matrices: Vec<(String, Shape)> = layers.collect();
    PackedSummary {
        matrices: matrices.len(),
        fitting: matrices.iter().filter(|matrix| fits(matrix)).count(),
    }
}

impl Model {
    /// Summarises the loaded model.
    pub fn summary(&self) -> Summary {
        let config = &self.config;
        let layer = &self.weights.layers[0];
        let matrices = layer_shapes(config).into_iter().zip(layer.linears());
        let matrices = matrices.map(|((name, shape), linear)| {
            let gemv = &linear.gemv;
            let matrix = gemv.matrix();
            let each = (config.layers, matrix.packing().group, matrix.bytes());
            Matrix::new(name, shape, each, gemv.choice(), linear.granularity)
        });
        let weights = &self.weights;
        let head = weights.head.as_ref();
        let copy = weights.head_copy.as_ref();
        let copy_bytes = copy.map_or(0, |copy| copy.planes().bytes() as u64);
        let read = match copy {
            Some(HeadCopy::Quantized(_)) => copy_bytes,
            _ => weights.head().bytes() as u64,
        };
        let head = Head {
            embedding: weights.embedding.bytes() as u64,
            head: head.map_or(0, |head| head.bytes() as u64),
            copy: copy_bytes,
            read,
            read_greedy: copy.map_or(read, HeadCopy::bytes_read),
        };
        let mut summary = Summary::new(
            self.name.clone(),
            config,
            (self.threads(), self.kv()),
            head,
            matrices.collect(),
        );
        summary.tokenizer = self.tokenizer_description().map(str::to_owned);
        let tokenizer = self.tokenizer().ok();
        let vocabulary = tokenizer.and_then(|tokenizer| notes::vocabulary(tokenizer, config));
        summary.notes.extend(vocabulary);
        summary
    }
}

/// Bytes of what makes logits.
struct Head {
    embedding: u64,
    head: u64,
    copy: u64,
    /// What all logits of a token read.
    read: u64,
    /// What the largest reads at least.
    read_greedy: u64,
}

impl Summary {
    fn new(
        model: String,
        config: &Config,
        (threads, kv): (usize, KvType),
        head: Head,
        matrices: Vec<Matrix>,
    ) -> Summary {
        let dense = config.vocab_size as u64 * config.hidden_size as u64;
        let norms = norm_weights(config);
        let ternary = |each: fn(&Matrix) -> u64| {
            matrices
                .iter()
                .map(|m| each(m) * m.count as u64)
                .sum::<u64>()
        };
        let ternary_bytes = ternary(|m| m.bytes);
        let notes = notes::notes(config, &matrices);
        Summary {
            packed: None,
            model,
            config: config.clone(),
            tokenizer: None,
            threads,
            parameters: Parameters {
                ternary: ternary(|m| m.rows as u64 * m.cols as u64),
                dense: if config.tied_head { dense } else { 2 * dense },
                norms,
            },
            bytes: Bytes {
                ternary: ternary_bytes,
                embedding: head.embedding,
                head: head.head,
                head_copy: head.copy,
                norms: 4 * norms,
                kv_type: kv,
                cache_per_position: Dimensions::of(config, kv).position_bytes() as u64,
                read_per_token: ternary_bytes + head.read + 4 * norms,
                read_per_greedy_token: ternary_bytes + head.read_greedy + 4 * norms,
            },
            matrices,
            notes,
        }
    }

    /// Bytes of the cache of a sequence of `positions`: whole blocks are allocated.
    pub fn cache_bytes(&self, positions: usize) -> u64 {
        self.bytes.cache_per_position * positions.next_multiple_of(BLOCK) as u64
    }
}

impl Matrix {
    fn new(
        name: &'static str,
        shape: Shape,
        (count, group, packed): (usize, usize, usize),
        choice: &Choice,
        scales: ScalesFound,
    ) -> Matrix {
        let kernel = choice.kernel;
        let factors = match scales.granularity {
            Granularity::Matrix => 0,
            Granularity::Row => shape.rows,
            Granularity::Group => shape.rows * shape.cols.div_ceil(group.max(1)),
        };
        let bytes = packed.saturating_add(4 * factors);
        Matrix {
            name,
            rows: shape.rows,
            cols: shape.cols,
            count,
            scales,
            group,
            bytes: bytes as u64,
            bits_per_weight: 8.0 * bytes as f64 / (shape.rows as f64 * shape.cols as f64),
            kernel: kernel.id,
            family: kernel.family.name(),
            isa: kernel.isa.name(),
            packing: kernel.packing.to_string(),
            tile_k_blocks: choice.tile.k_blocks,
            tile_chunk: choice.tile.chunk,
            tile_prefetch: choice.tile.prefetch,
            tile_tables: choice.tile.tables,
            source: choice.source.to_string(),
        }
    }
}

/// Weights of all norms.
fn norm_weights(config: &Config) -> u64 {
    let own: usize = layer_norms(config).into_iter().map(|(_, len)| len).sum();
    let linear_norms: usize = match config.quantization.linear_norm_eps {
        Some(_) => layer_shapes(config)
            .iter()
            .map(|(_, shape)| shape.cols)
            .sum(),
        None => 0,
    };
    ((own + linear_norms) * config.layers + config.hidden_size) as u64
}
