//! From a checkpoint's tensors to matrices in the planned packings.
//!
//! Each ternary matrix is described by its rows of trits ([`Trits`]), whatever the file holds. Packing
//! asks for rows from many threads; nothing but the packed form is kept.
//!
//! Tensor names are those of `transformers` (`model.layers.{i}.self_attn.q_proj.weight`, …).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tern_kernels::{
    Buffer, Choice, Gemv, GroupGemv, PackError, PackedMatrix, Packing, Pages, ScaleRule, Shape,
    WeightScales,
};

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::{ActivationScales, Config};
use crate::dense::DenseMatrix;
use crate::error::{CheckpointError, LoadError};
use crate::head::HeadCopy;
use crate::linear::{Batched, Linear, Norm, Projection, ScalesFound};
use crate::model::{HeadMode, LoadOptions, Progress};
use crate::packed::{Packed, head_copy_part};
use crate::product::Product;
use crate::tensors;
use crate::ternary::{self, PROJECTIONS, Ternary};
use crate::trits::Trits;

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
    /// Of each head's queries, and of its keys.
    pub head_norms: Option<[Vec<f32>; 2]>,
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
    if config.has_head_norms() {
        norms.push(("self_attn.q_norm", config.head_dim));
        norms.push(("self_attn.k_norm", config.head_dim));
    }
    norms
}

/// A norm's tensor by the name of [`layer_norms`], or by that which the first BitNet b1.58 models gave it.
pub(crate) fn norm_tensor(checkpoint: &Checkpoint<'_>, name: &str) -> String {
    let tensor = format!("{name}.weight");
    let first = [
        ("self_attn.attn_sub_norm", "self_attn.inner_attn_ln"),
        ("mlp.ffn_sub_norm", "mlp.ffn_layernorm"),
    ];
    let older = first.into_iter().find_map(|(name, older)| {
        let layer = tensor.strip_suffix(&format!("{name}.weight"))?;
        Some(format!("{layer}{older}.weight"))
    });
    match older {
        Some(older) if checkpoint.has(&older) && !checkpoint.has(&tensor) => older,
        _ => tensor,
    }
}

/// Checks name, dtype and shape of every tensor that the model needs, by the headers alone: a wrong
/// file should not take minutes to be found out. Refuses tensors that it should not have. Returns the bytes to be packed or copied.
pub(crate) fn check(checkpoint: &Checkpoint<'_>, config: &Config) -> Result<u64, LoadError> {
    let hidden = config.hidden_size;
    let mut total = 0;
    for name in dense_names(config) {
        total += dense_tensor(checkpoint, config, name)?.data.len() as u64;
    }
    let norms = layer_norms(config);
    for layer in 0..config.layers {
        for (name, shape) in layer_shapes(config) {
            let name = format!("model.layers.{layer}.{name}");
            total += ternary::check(checkpoint, config, &name, shape)?;
        }
        for (name, len) in &norms {
            let name = norm_tensor(checkpoint, &format!("model.layers.{layer}.{name}"));
            checkpoint.floats(&name, &[*len])?;
        }
    }
    checkpoint.floats("model.norm.weight", &[hidden])?;
    tensors::check(checkpoint, config)?;
    Ok(total)
}

/// The embedding, and the head where it is a matrix of its own.
pub(crate) fn dense_names(config: &Config) -> &'static [&'static str] {
    const NAMES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];
    match config.tied_head {
        true => &NAMES[..1],
        false => &NAMES,
    }
}

/// Embedding or head, in any type that has the shape.
pub(crate) fn dense_tensor<'a>(
    checkpoint: &'a Checkpoint<'_>,
    config: &Config,
    name: &str,
) -> Result<Tensor<'a>, CheckpointError> {
    let shape = [config.vocab_size, config.hidden_size];
    let tensor = checkpoint.tensor(name, &format!("bf16, f16 or f32 of shape {shape:?}"))?;
    match tensor.blocks {
        Some(_) => tensor.check_shape(&shape)?,
        None => {
            tensor.floats(&shape)?;
        }
    }
    Ok(tensor)
}

/// Embedding or head in memory, in the type that it has in the file.
pub(crate) fn dense_matrix(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    name: &str,
    pages: Pages,
) -> Result<DenseMatrix, LoadError> {
    let (rows, cols) = (config.vocab_size, config.hidden_size);
    let tensor = dense_tensor(checkpoint, config, name)?;
    let no_memory = |error| pack_error(name, &error);
    match tensor.blocks {
        None => {
            DenseMatrix::copy(tensor.floats(&[rows, cols])?, rows, cols, pages).map_err(no_memory)
        }
        Some(blocks) => Ok(DenseMatrix::copy_blocks(blocks, pages).map_err(no_memory)??),
    }
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
    for name in dense_names(config) {
        add(name)?;
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
        let head_norms = match config.has_head_norms() {
            true => Some([
                norm("self_attn.q_norm", config.head_dim)?,
                norm("self_attn.k_norm", config.head_dim)?,
            ]),
            false => None,
        };
        let shapes = layer_shapes(config);
        let [qkv, output, gate_up, down] =
            PROJECTIONS.map(|range| self.projection(index, &shapes[range]));
        Ok(Layer {
            attention_norm: norm("input_layernorm", config.hidden_size)?,
            head_norms,
            attention_sub_norm: sub_norm("self_attn.attn_sub_norm", config.query_width())?,
            ffn_norm: norm("post_attention_layernorm", config.hidden_size)?,
            ffn_sub_norm: sub_norm("mlp.ffn_sub_norm", config.intermediate_size)?,
            qkv: qkv?,
            output: output?,
            gate_up: gate_up?,
            down: down?,
        })
    }

    /// Linear layers with the same input.
    fn projection(&self, layer: usize, parts: &[(&str, Shape)]) -> Result<Projection, LoadError> {
        let part = |&(name, shape): &(&str, Shape)| (format!("model.layers.{layer}.{name}"), shape);
        let parts: Vec<(String, Shape)> = parts.iter().map(part).collect();
        let mut loaded = match self.packed {
            None => self.pack_all(&parts)?,
            Some(packed) => self.read_all(packed, &parts)?,
        };
        let mut matrices: Vec<_> = loaded.iter_mut().map(|one| &mut one.matrix).collect();
        // Without memory for it they stay where they are.
        let _ = PackedMatrix::gather(&mut matrices);
        let group = match self.config.quantization.activations {
            ActivationScales::Token => 0,
            ActivationScales::Groups => loaded[0].group,
        };
        let linears = parts.into_iter().zip(loaded);
        let linears = linears.map(|((name, shape), loaded)| self.linear(name, shape, loaded));
        Ok(Projection::new(linears.collect::<Result<_, _>>()?, group))
    }

    fn norm(&self, name: &str, len: usize) -> Result<Vec<f32>, CheckpointError> {
        let tensor = norm_tensor(self.checkpoint, name);
        Ok(self.checkpoint.floats(&tensor, &[len])?.to_vec())
    }

    fn dense(&self, name: &str) -> Result<DenseMatrix, LoadError> {
        let (rows, cols) = (self.config.vocab_size, self.config.hidden_size);
        let (bytes, matrix) = match self.packed {
            None => (
                dense_tensor(self.checkpoint, self.config, name)?.data.len(),
                dense_matrix(self.checkpoint, self.config, name, self.options.pages)?,
            ),
            Some(packed) => {
                let tensor = self.checkpoint.floats(name, &[rows, cols])?;
                let bytes = packed.storage(name, self.options.pages)?;
                let matrix = DenseMatrix::from_bytes(tensor.element, rows, cols, bytes);
                let matrix = matrix.ok_or_else(|| {
                    let place = format!("{name}, {:?}", tensor.element);
                    pack_error(&place, &"it does not lie as tern pack writes it")
                })?;
                (tensor.data.len(), matrix)
            }
        };
        self.progress(bytes);
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

    /// Packs the matrices of a checkpoint that have the same input.
    fn pack_all(&self, parts: &[(String, Shape)]) -> Result<Vec<Loaded>, LoadError> {
        let matrix = |(name, shape): &(String, Shape)| {
            ternary::ternary(self.checkpoint, self.config, name, *shape)
        };
        let matrices: Vec<Ternary<'_>> = parts.iter().map(matrix).collect::<Result<_, _>>()?;
        let scales: Vec<&WeightScales> = matrices.iter().map(|matrix| &matrix.scales).collect();
        let groups = ternary::groups(self.config, &scales);
        let all = matrices.into_iter().zip(parts).zip(groups);
        all.map(|((matrix, (name, shape)), group)| {
            let Ternary {
                tensor,
                trits,
                scales,
            } = matrix;
            let options = self.options;
            let choice = ternary::choose(&options.planner, name, *shape, options.threads, group)?;
            let packing = in_groups(choice.kernel.packing, group);
            let fill = |row: usize, out: &mut [i8]| trits.read_row(row, out);
            let pages = self.pages(*shape);
            let matrix = PackedMatrix::pack(packing, shape.rows, shape.cols, pages, &fill)
                .map_err(|error| not_packed(&tensor, &trits, error))?;
            Ok(Loaded {
                matrix,
                choice,
                scales,
                group,
            })
        })
        .collect()
    }

    /// Reads the matrices of a packed model that have the same input.
    fn read_all(
        &self,
        packed: &Packed<'_>,
        parts: &[(String, Shape)],
    ) -> Result<Vec<Loaded>, LoadError> {
        let scales = |(name, shape): &(String, Shape)| {
            ternary::packed_scales(self.checkpoint, packed, name, *shape)
        };
        let scales: Vec<WeightScales> = parts.iter().map(scales).collect::<Result<_, _>>()?;
        let groups = ternary::groups(self.config, &scales.iter().collect::<Vec<_>>());
        let all = parts.iter().zip(scales).zip(groups);
        all.map(|(((name, shape), scales), group)| {
            let tensor = format!("{name}.weight");
            let (matrix, choice) = self.packed_matrix(packed, &tensor, *shape, group)?;
            Ok(Loaded {
                matrix,
                choice,
                scales,
                group,
            })
        })
        .collect()
    }

    fn linear(&self, name: String, shape: Shape, loaded: Loaded) -> Result<Linear, LoadError> {
        let quantization = self.config.quantization;
        let norm = match quantization.linear_norm_eps {
            None => None,
            Some(eps) => {
                let weight = self.norm(&format!("{name}.rms_norm"), shape.cols)?;
                Some(Norm { weight, eps })
            }
        };
        let tensor = format!("{name}.weight");
        self.progress(self.checkpoint.tensor(&tensor, "")?.data.len());
        let Loaded {
            matrix,
            choice,
            scales,
            group,
        } = loaded;
        let granularity = ScalesFound::of(&scales);
        let options = self.options;
        let (gemv, scales) = match group {
            0 => {
                let gemv = Gemv::new(matrix, choice, options.threads)
                    .map_err(|error| pack_error(&tensor, &error))?;
                // Where all weights are zero the scale may be, and nothing can be divided by it.
                let is_divisor = quantization.scale == ScaleRule::Divide;
                let scales = scales.map(|scale| match scale {
                    0.0 if is_divisor => 1.0,
                    scale => scale,
                });
                (Product::Whole(gemv), scales)
            }
            _ => {
                // Those of groups multiply.
                let scales = scales.map(|scale| match quantization.scale {
                    ScaleRule::Divide if scale != 0.0 => 1.0 / scale,
                    _ => scale,
                });
                let gemv = GroupGemv::with_scales(matrix, &scales, choice, options.threads)
                    .map_err(|error| pack_error(&tensor, &error))?;
                (Product::Groups(gemv), WeightScales::Matrix(1.0))
            }
        };
        Ok(Linear {
            name,
            batched: Batched::plan(&options.planner, &gemv, options.threads),
            gemv,
            scales,
            granularity,
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

    /// A matrix of a packed model, with groups of so many columns, 0 for none. Where the plan wants another packing it is converted, unless it stays in the file: then the best kernel
    /// that reads it as it is takes it.
    fn packed_matrix(
        &self,
        packed: &Packed<'_>,
        tensor: &str,
        shape: Shape,
        group: usize,
    ) -> Result<(PackedMatrix, Choice), LoadError> {
        let options = self.options;
        let (rows, cols, pages) = (shape.rows, shape.cols, self.pages(shape));
        let found = packed.packing(tensor);
        let mut choice = ternary::choose(&options.planner, tensor, shape, options.threads, group)?;
        if packed.is_mapped()
            && let Some(found) = found.filter(|found| found.group == group)
            && let Some(fitting) = match group {
                0 => options.planner.choose_for(shape, options.threads, found),
                _ => options.planner.choose_groups_for(shape, found),
            }
        {
            choice = fitting;
        }
        let matrix = packed.matrix(tensor, rows, cols, pages)?;
        if found.is_some_and(|found| found.group == group && choice.kernel.reads(found)) {
            return Ok((matrix, choice));
        }
        self.converted.fetch_add(1, Ordering::Relaxed);
        let fill = |row: usize, out: &mut [i8]| matrix.unpack_row(row, out);
        let packing = in_groups(choice.kernel.packing, group);
        let converted = PackedMatrix::pack(packing, rows, cols, pages, &fill);
        let converted = converted.map_err(|error| pack_error(tensor, &error))?;
        Ok((converted, choice))
    }
}

/// A matrix in memory, and what makes a linear layer of it.
struct Loaded {
    matrix: PackedMatrix,
    choice: Choice,
    scales: WeightScales,
    /// Columns of a group of the packing, 0 for none.
    group: usize,
}

/// A kernel's packing with groups of so many columns, 0 for none.
pub(crate) fn in_groups(packing: Packing, group: usize) -> Packing {
    match group {
        0 => packing,
        group => packing.grouped(group),
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
