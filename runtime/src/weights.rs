//! From a checkpoint's tensors to matrices in the planned packings.
//!
//! Each ternary matrix is described by its rows of trits ([`Trits`]), whatever the file holds. Packing
//! asks for rows from many threads; nothing but the packed form is kept.
//!
//! Tensor names are those of `transformers` (`model.layers.{i}.self_attn.q_proj.weight`, …).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tern_kernels::{Buffer, Choice, Gemv, PackError, PackedMatrix, Pages, Shape, WeightScales};

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::{Config, WeightSource};
use crate::dense::DenseMatrix;
use crate::error::{CheckpointError, LoadError};
use crate::head::HeadCopy;
use crate::linear::{Batched, Linear, Norm, Projection};
use crate::model::{HeadMode, LoadOptions, Progress};
use crate::packed::{Packed, head_copy_part};
use crate::trits::Trits;

/// Why a bias is refused.
const NO_BIAS: &str = "tern runs linear layers without bias";

/// All weights of a model.
pub(crate) struct Weights {
    pub embedding: DenseMatrix,
    pub layers: Vec<Layer>,
    pub final_norm: Vec<f32>,
    /// The head, where it is not the embedding and nothing takes its place.
    pub head: Option<DenseMatrix>,
    /// A copy of the head in few bits, where one is wanted and pays.
    pub head_copy: Option<HeadCopy>,
    /// Matrices that a packed model had in another packing than the plan's.
    pub converted: usize,
}

impl Weights {
    /// The head, which may be the embedding. Not to be asked for where a quantized copy takes its place.
    pub fn head(&self) -> &DenseMatrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

/// One layer, in the order of the forward pass.
pub(crate) struct Layer {
    pub attention_norm: Vec<f32>,
    pub qkv: Projection,
    pub attention_sub_norm: Option<Vec<f32>>,
    pub output: Projection,
    pub ffn_norm: Vec<f32>,
    pub gate_up: Projection,
    pub ffn_sub_norm: Option<Vec<f32>>,
    pub down: Projection,
}

impl Layer {
    /// The ternary linear layers, in order.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        let groups = [&self.qkv, &self.output, &self.gate_up, &self.down];
        groups.into_iter().flat_map(Projection::linears)
    }
}

/// The shapes of a layer's seven ternary matrices, with their names.
pub(crate) fn layer_shapes(config: &Config) -> [(&'static str, Shape); 7] {
    let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
    let (query, kv) = (config.query_width(), config.kv_width());
    [
        (
            "self_attn.q_proj",
            Shape {
                rows: query,
                cols: hidden,
            },
        ),
        (
            "self_attn.k_proj",
            Shape {
                rows: kv,
                cols: hidden,
            },
        ),
        (
            "self_attn.v_proj",
            Shape {
                rows: kv,
                cols: hidden,
            },
        ),
        (
            "self_attn.o_proj",
            Shape {
                rows: hidden,
                cols: query,
            },
        ),
        (
            "mlp.gate_proj",
            Shape {
                rows: ffn,
                cols: hidden,
            },
        ),
        (
            "mlp.up_proj",
            Shape {
                rows: ffn,
                cols: hidden,
            },
        ),
        (
            "mlp.down_proj",
            Shape {
                rows: hidden,
                cols: ffn,
            },
        ),
    ]
}

/// The lengths of a layer's own norms, with their names.
pub(crate) fn layer_norms(config: &Config) -> Vec<(&'static str, usize)> {
    let mut norms = vec![
        ("input_layernorm", config.hidden_size),
        ("post_attention_layernorm", config.hidden_size),
    ];
    if config.has_sub_norms() {
        norms.push(("self_attn.attn_sub_norm", config.query_width()));
        norms.push(("mlp.ffn_sub_norm", config.intermediate_size));
    }
    norms
}

/// Checks name, dtype and shape of every tensor that the model needs, by the headers alone: a wrong
/// file should not take minutes to be found out. Returns the bytes to be packed or copied.
pub(crate) fn check(checkpoint: &Checkpoint<'_>, config: &Config) -> Result<u64, CheckpointError> {
    let hidden = config.hidden_size;
    let dense = |name: &str| {
        let tensor = checkpoint.floats(name, &[config.vocab_size, hidden])?;
        Ok::<u64, CheckpointError>(tensor.data.len() as u64)
    };
    let mut total = dense("model.embed_tokens.weight")?;
    if !config.tied_head {
        total += dense("lm_head.weight")?;
    }
    let norms = layer_norms(config);
    for layer in 0..config.layers {
        for (name, shape) in layer_shapes(config) {
            let name = format!("model.layers.{layer}.{name}");
            total += check_linear(checkpoint, config, &name, shape)?;
        }
        for (name, len) in &norms {
            checkpoint.floats(&format!("model.layers.{layer}.{name}.weight"), &[*len])?;
        }
    }
    checkpoint.floats("model.norm.weight", &[hidden])?;
    Ok(total)
}

/// Checks the tensors of one ternary linear layer; returns the bytes of its matrix.
fn check_linear(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    name: &str,
    shape: Shape,
) -> Result<u64, CheckpointError> {
    checkpoint.refuse(&format!("{name}.bias"), NO_BIAS)?;
    let tensor = checkpoint.tensor(
        &format!("{name}.weight"),
        &format!("a ternary matrix of {shape}"),
    )?;
    if config.quantization.linear_norm_eps.is_some() {
        checkpoint.floats(&format!("{name}.rms_norm.weight"), &[shape.cols])?;
    }
    match config.quantization.weights {
        WeightSource::Offline => {
            Trits::stored(&tensor, shape)?;
            // One number, so its value is checked too.
            weight_scale(checkpoint, name)?;
        }
        WeightSource::Online => {
            tensor.floats(&[shape.rows, shape.cols])?;
        }
    }
    Ok(tensor.data.len() as u64)
}

/// The stored scale of a linear layer: one finite, positive number.
fn weight_scale(checkpoint: &Checkpoint<'_>, name: &str) -> Result<f32, CheckpointError> {
    let name = format!("{name}.weight_scale");
    let tensor = checkpoint.tensor(&name, "bf16, f16 or f32 of shape [1]")?;
    // Some exporters write a scalar.
    let shape: &[usize] = if tensor.shape.is_empty() { &[] } else { &[1] };
    let scale = tensor.floats(shape)?.to_vec()[0];
    if scale.is_finite() && scale > 0.0 {
        return Ok(scale);
    }
    Err(tensor.wrong_value(scale.to_string(), "a finite number above zero"))
}

/// The trits of a ternary linear layer as the checkpoint has them, and their scale.
pub(crate) fn trits<'a>(
    checkpoint: &'a Checkpoint<'_>,
    config: &Config,
    name: &str,
    shape: Shape,
) -> Result<(Tensor<'a>, Trits<'a>, f32), LoadError> {
    let tensor = checkpoint.tensor(&format!("{name}.weight"), "a ternary matrix")?;
    let (trits, scale) = match config.quantization.weights {
        WeightSource::Offline => (
            Trits::stored(&tensor, shape)?,
            weight_scale(checkpoint, name)?,
        ),
        WeightSource::Online => Trits::from_masters(&tensor, shape)?,
    };
    Ok((tensor, trits, scale))
}

/// As [`check`] for a packed model; returns the bytes to be copied.
pub(crate) fn check_packed(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    packed: &Packed<'_>,
) -> Result<u64, LoadError> {
    let mut total = 0;
    let mut add = |tensor: &str| {
        let tensor = checkpoint.tensor(tensor, "the weights of a packed model")?;
        total += tensor.data.len() as u64;
        Ok::<(), CheckpointError>(())
    };
    add("model.embed_tokens.weight")?;
    if !config.tied_head {
        add("lm_head.weight")?;
    }
    for layer in 0..config.layers {
        for (name, _) in layer_shapes(config) {
            add(&format!("model.layers.{layer}.{name}.weight"))?;
        }
    }
    // Norms and scales are small, so all of them are compared with their checksums here.
    let mut small = vec!["model.norm.weight".to_owned()];
    for layer in 0..config.layers {
        let of_layer = |name: &str| format!("model.layers.{layer}.{name}");
        let norms = layer_norms(config).into_iter();
        small.extend(norms.map(|(name, _)| of_layer(&format!("{name}.weight"))));
        for (name, _) in layer_shapes(config) {
            small.push(of_layer(&format!("{name}.weight_scale")));
            if config.quantization.linear_norm_eps.is_some() {
                small.push(of_layer(&format!("{name}.rms_norm.weight")));
            }
        }
    }
    for name in small {
        packed.part(&name)?;
    }
    Ok(total)
}

/// Loads all weights: packs those of a checkpoint, reads those of a packed model.
pub(crate) fn load(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    options: &LoadOptions<'_>,
    packed: Option<&Packed<'_>>,
) -> Result<Weights, LoadError> {
    let loader = Loader {
        checkpoint,
        config,
        options,
        packed,
        converted: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        total: match packed {
            None => check(checkpoint, config)?,
            Some(packed) => check_packed(checkpoint, config, packed)?,
        },
    };
    let hidden = config.hidden_size;
    let final_norm = loader.norm("model.norm", hidden)?;
    let embedding = loader.dense("model.embed_tokens.weight")?;
    let head = match config.tied_head {
        true => None,
        false => Some(loader.dense("lm_head.weight")?),
    };
    let head_copy = loader.head_copy(head.as_ref().unwrap_or(&embedding))?;
    // A copy that takes the head's place leaves nothing for it to do.
    let head = head.filter(|_| !matches!(head_copy, Some(HeadCopy::Quantized(_))));
    let layers = (0..config.layers)
        .map(|index| loader.layer(index))
        .collect::<Result<_, _>>()?;
    Ok(Weights {
        embedding,
        layers,
        final_norm,
        head,
        head_copy,
        converted: loader.converted.into_inner(),
    })
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint<'a>,
    config: &'a Config,
    options: &'a LoadOptions<'a>,
    /// The checkpoint as a packed model, if it is one.
    packed: Option<&'a Packed<'a>>,
    /// Matrices whose packing there is not the plan's.
    converted: AtomicUsize,
    /// Bytes of the file that are packed or copied.
    done: AtomicU64,
    total: u64,
}

impl Loader<'_> {
    fn progress(&self, bytes: usize) {
        let done = self.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if let Some(progress) = self.options.progress {
            progress(Progress {
                done,
                total: self.total,
            });
        }
    }

    fn layer(&self, index: usize) -> Result<Layer, LoadError> {
        let config = self.config;
        let norm = |name: &str, len| self.norm(&format!("model.layers.{index}.{name}"), len);
        let sub_norm = |name: &str, len| match config.has_sub_norms() {
            true => norm(name, len).map(Some),
            false => Ok(None),
        };
        let [q, k, v, o, gate, up, down] = layer_shapes(config);
        let group = |parts: &[(&str, Shape)]| {
            let linear = |(name, shape): &(&str, Shape)| {
                self.linear(format!("model.layers.{index}.{name}"), *shape)
            };
            Ok::<_, LoadError>(Projection::new(
                parts.iter().map(linear).collect::<Result<_, _>>()?,
            ))
        };
        Ok(Layer {
            attention_norm: norm("input_layernorm", config.hidden_size)?,
            attention_sub_norm: sub_norm("self_attn.attn_sub_norm", config.query_width())?,
            ffn_norm: norm("post_attention_layernorm", config.hidden_size)?,
            ffn_sub_norm: sub_norm("mlp.ffn_sub_norm", config.intermediate_size)?,
            qkv: group(&[q, k, v])?,
            output: group(&[o])?,
            gate_up: group(&[gate, up])?,
            down: group(&[down])?,
        })
    }

    fn norm(&self, name: &str, len: usize) -> Result<Vec<f32>, CheckpointError> {
        Ok(self
            .checkpoint
            .floats(&format!("{name}.weight"), &[len])?
            .to_vec())
    }

    fn dense(&self, name: &str) -> Result<DenseMatrix, LoadError> {
        let (rows, cols) = (self.config.vocab_size, self.config.hidden_size);
        let tensor = self.checkpoint.floats(name, &[rows, cols])?;
        let matrix = match self.packed {
            None => DenseMatrix::copy(tensor, rows, cols, self.options.pages)
                .map_err(|error| pack_error(name, &error))?,
            Some(packed) => {
                let bytes = packed.storage(name, self.options.pages)?;
                let matrix = DenseMatrix::from_bytes(tensor.element, rows, cols, bytes);
                matrix.ok_or_else(|| {
                    let place = format!("{name}, {:?}", tensor.element);
                    pack_error(&place, &"it does not lie as tern pack writes it")
                })?
            }
        };
        self.progress(tensor.data.len());
        Ok(matrix)
    }

    /// The copy of the head that the options ask for: from a packed model that has it as this program makes it, or made anew.
    fn head_copy(&self, head: &DenseMatrix) -> Result<Option<HeadCopy>, LoadError> {
        let (mode, pages, cpu) = (
            self.options.head,
            self.options.pages,
            self.options.planner.cpu(),
        );
        if let Some(packed) = self.packed
            && mode == HeadMode::Exact
            && HeadCopy::pays(mode, head, cpu)
        {
            let names = (0..).map(head_copy_part);
            let stored = names.take_while(|name| packed.has(name));
            let parts: Vec<Buffer> = stored
                .map(|name| packed.buffer(&name, pages))
                .collect::<Result<_, _>>()?;
            let shape = (head.rows(), head.cols());
            if let Some(copy) = HeadCopy::from_parts(mode, shape, cpu, parts) {
                return Ok(Some(copy));
            }
        }
        HeadCopy::new(mode, head, cpu, pages).map_err(|error| pack_error("lm_head", &error))
    }

    fn linear(&self, name: String, shape: Shape) -> Result<Linear, LoadError> {
        let quantization = self.config.quantization;
        let norm = match quantization.linear_norm_eps {
            None => None,
            Some(eps) => {
                let weight = self.norm(&format!("{name}.rms_norm"), shape.cols)?;
                Some(Norm { weight, eps })
            }
        };
        let tensor = format!("{name}.weight");
        let (gemv, scale) = match self.packed {
            Some(packed) => (
                self.packed_matrix(packed, &tensor, shape)?,
                weight_scale(self.checkpoint, &name)?,
            ),
            None => {
                let (tensor, trits, scale) = trits(self.checkpoint, self.config, &name, shape)?;
                (self.pack(&tensor, &trits, shape)?, scale)
            }
        };
        self.progress(self.checkpoint.tensor(&tensor, "")?.data.len());
        let options = self.options;
        Ok(Linear {
            name,
            batched: Batched::plan(&options.planner, &gemv, options.threads),
            gemv,
            scales: WeightScales::Matrix(scale),
            rule: quantization.scale,
            norm,
        })
    }

    /// Small pages if the user wants them, or if the profile found them faster.
    fn pages(&self, shape: Shape) -> Pages {
        match self.options.pages {
            Pages::Huge => self.options.planner.pages(shape, self.options.threads),
            Pages::Small => Pages::Small,
        }
    }

    fn pack(
        &self,
        tensor: &Tensor<'_>,
        trits: &Trits<'_>,
        shape: Shape,
    ) -> Result<Gemv, LoadError> {
        let options = self.options;
        let choice = options.planner.choose(shape, options.threads);
        let fill = |row: usize, out: &mut [i8]| trits.read_row(row, out);
        let (packing, pages) = (choice.kernel.packing, self.pages(shape));
        let matrix = PackedMatrix::pack(packing, shape.rows, shape.cols, pages, &fill)
            .map_err(|error| not_packed(tensor, trits, error))?;
        self.join(&tensor.name, matrix, choice)
    }

    /// A matrix of a packed model. Where the plan wants another packing it is converted, unless it stays in the file: then the best kernel
    /// that reads it as it is takes it.
    fn packed_matrix(
        &self,
        packed: &Packed<'_>,
        tensor: &str,
        shape: Shape,
    ) -> Result<Gemv, LoadError> {
        let options = self.options;
        let (rows, cols, pages) = (shape.rows, shape.cols, self.pages(shape));
        let mut choice = options.planner.choose(shape, options.threads);
        let found = packed.packing(tensor);
        if packed.is_mapped()
            && let Some(found) = found
            && let Some(fitting) = options.planner.choose_for(shape, options.threads, found)
        {
            choice = fitting;
        }
        let matrix = packed.matrix(tensor, rows, cols, pages)?;
        if found.is_some_and(|found| choice.kernel.reads(found)) {
            return self.join(tensor, matrix, choice);
        }
        self.converted.fetch_add(1, Ordering::Relaxed);
        let fill = |row: usize, out: &mut [i8]| matrix.unpack_row(row, out);
        let converted = PackedMatrix::pack(choice.kernel.packing, rows, cols, pages, &fill);
        let converted = converted.map_err(|error| pack_error(tensor, &error))?;
        self.join(tensor, converted, choice)
    }

    fn join(&self, name: &str, matrix: PackedMatrix, choice: Choice) -> Result<Gemv, LoadError> {
        Gemv::new(matrix, choice, self.options.threads).map_err(|error| pack_error(name, &error))
    }
}

/// Why a matrix of the checkpoint was not packed.
pub(crate) fn not_packed(tensor: &Tensor<'_>, trits: &Trits<'_>, error: PackError) -> LoadError {
    match error {
        PackError::NotATrit { row, .. } => {
            let found = format!("something that is not a trit in row {row}");
            tensor.wrong_value(found, trits.expected()).into()
        }
        error => pack_error(&tensor.name, &error),
    }
}

pub(crate) fn pack_error(matrix: &str, error: &dyn std::fmt::Display) -> LoadError {
    LoadError::Pack {
        matrix: matrix.to_owned(),
        reason: error.to_string(),
    }
}
