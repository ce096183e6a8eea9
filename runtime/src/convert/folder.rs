//! The folder: `config.json`, `model.safetensors`, and what belongs to text.
//!
//! Models that Hugging Face's code runs with int8 activations and one scale for a matrix become packed trits with `weight_scale`, as BitNet is
//! published. All others become floats that are trits times their scales, which any code for the architecture runs.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde_json::{Map, Value, json};
use tern_kernels::{ScaleRule, WeightScales};

use super::plan::{Matrix, floats, group, of_row, values};
use super::{
    ConvertError, Converted, OnProgress, Source, TernaryType, dense_kind, exact_float, vocabulary,
};
use crate::LoadError;
use crate::config::{ActivationScales, Config, RopeScaling, WeightSource};
use crate::gguf::{TensorType, quantize};
use crate::header;
use crate::weights::{dense_names, dense_tensor, layer_norms, layer_shapes, norm_tensor};

/// Bytes that are collected before they are written.
const PIECE: usize = 1 << 20;

/// A tensor of `model.safetensors`.
struct Entry {
    name: String,
    kind: Kind,
    shape: Vec<usize>,
    content: Content,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Four trits a byte.
    U8,
    Float(TensorType),
}

enum Content {
    Values(Vec<f32>),
    Dense(&'static str),
    /// Packed trits of a planned matrix.
    Packed(usize),
    /// Its floats.
    Floats(usize),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::U8 => "U8",
            Kind::Float(TensorType::F16) => "F16",
            Kind::Float(TensorType::Bf16) => "BF16",
            Kind::Float(_) => "F32",
        }
    }

    fn size(self) -> usize {
        match self {
            Kind::U8 => 1,
            Kind::Float(TensorType::F16 | TensorType::Bf16) => 2,
            Kind::Float(_) => 4,
        }
    }
}

impl Entry {
    fn bytes(&self) -> u64 {
        let size = self.kind.size() as u64;
        self.shape
            .iter()
            .fold(size, |bytes, &dim| bytes * dim as u64)
    }
}

/// Writes all files.
pub(super) fn write(
    source: &Source<'_>,
    folder: &Path,
    progress: OnProgress<'_>,
) -> Result<Converted, ConvertError> {
    let matrices = source.matrices(TernaryType::Exact)?;
    let is_packed = is_packed(source, &matrices)?;
    let config = config(source, is_packed)?;
    let entries = source.entries(&matrices, is_packed)?;
    let (files, mut notes) = vocabulary::files(source);
    let mut total = 0;
    let mut small = |name: &str, bytes: &[u8]| {
        total += bytes.len() as u64;
        std::fs::write(folder.join(name), bytes)
    };
    small("config.json", format!("{config:#}\n").as_bytes())?;
    for (name, bytes) in &files {
        small(name, bytes)?;
    }
    if let Some(bytes) = generation(source, &config) {
        small("generation_config.json", &bytes)?;
    }
    let header = file_header(&entries);
    let data: u64 = entries.iter().map(Entry::bytes).sum();
    let bytes = header.len() as u64 + data;
    let mut out = BufWriter::new(File::create_new(folder.join("model.safetensors"))?);
    out.write_all(&header)?;
    let mut done = header.len() as u64;
    for entry in &entries {
        if !progress(done, bytes) {
            return Err(ConvertError::Stopped);
        }
        source.write_entry(entry, &matrices, &mut out)?;
        done += entry.bytes();
    }
    let file = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    progress(bytes, bytes);
    if let RopeScaling::Factors { .. } = source.config.rope_scaling {
        notes.push(
            "rotary scaling is written as a list of factors, which tern reads and transformers refuses: set rope_scaling in config.json to the model's own"
                .to_owned(),
        );
    }
    let kind = match is_packed {
        true => "packed trits",
        false => "floats",
    };
    Ok(Converted {
        bytes: total + bytes,
        matrices: vec![(kind.to_owned(), matrices.len())],
        largest_scale_error: 0.0,
        notes,
    })
}

/// Whether the matrices are written as packed trits.
fn is_packed(source: &Source<'_>, matrices: &[Matrix]) -> Result<bool, ConvertError> {
    if source.config.quantization.activations == ActivationScales::Groups {
        return Ok(false);
    }
    for matrix in matrices {
        let refuse = |reason: &str| {
            Err(ConvertError::unsupported(
                format!("{}.weight", matrix.name),
                reason,
            ))
        };
        if !matches!(matrix.scales, WeightScales::Matrix(_)) {
            return refuse(
                "Hugging Face's form of models with int8 activations has one scale for a matrix, this one has several; `--to gguf` keeps them",
            );
        }
        if !matrix.shape.rows.is_multiple_of(4) {
            return refuse(
                "Hugging Face packs rows by four, and its rows are not a multiple of that; `--to gguf` takes them",
            );
        }
    }
    Ok(true)
}

/// `config.json`: that of a folder with what has changed, or one made of the configuration.
fn config(source: &Source<'_>, is_packed: bool) -> Result<Value, ConvertError> {
    let mut config: Config = source.config.clone();
    config.quantization.weights = match is_packed {
        true => WeightSource::Offline,
        false => WeightSource::Exact,
    };
    // Other programs know no token by its name alone.
    config.eos_token_ids = source.ends();
    let mut json = config.to_json();
    let name = "config.json";
    let read = Config::parse(json.to_string().as_bytes(), name);
    let (wanted, read) = (config.quantization, read.map(|read| read.quantization));
    let is_same = read.is_ok_and(|read| {
        read.activations == wanted.activations && read.linear_norm_eps == wanted.linear_norm_eps
    });
    if source.reading.activation_scales.is_some() && !is_same {
        return Err(ConvertError::unsupported(
            "this way to round activations",
            "no config.json of the model's class says it: convert without --act-scales and give it where the model is run, or `--to gguf`",
        ));
    }
    if let (Value::Object(map), Some(bos)) = (&mut json, source.bos_id()) {
        map.insert("bos_token_id".to_owned(), json!(bos));
    }
    Ok(json)
}

/// `generation_config.json`: that of a folder, or, as transformers looks there alone for what ends a text, one with the ids of `config.json`.
fn generation(source: &Source<'_>, config: &Value) -> Option<Vec<u8>> {
    if let Some(bytes) = source.files.generation() {
        return Some(bytes.to_vec());
    }
    let ids = ["bos_token_id", "eos_token_id"].map(|key| (key.to_owned(), config[key].clone()));
    let ids = ids.into_iter().filter(|(_, id)| !id.is_null());
    let ids: Map<String, Value> = ids.collect();
    let json = format!("{:#}\n", Value::Object(ids.clone()));
    (!ids.is_empty()).then(|| json.into_bytes())
}

impl Source<'_> {
    fn bos_id(&self) -> Option<u32> {
        match self.files.as_gguf() {
            Some(model) => {
                let metadata = model.gguf.metadata();
                metadata.get::<u32>("tokenizer.ggml.bos_token_id").ok()?
            }
            None => {
                let json: Value = serde_json::from_slice(&self.files.config()).ok()?;
                u32::try_from(json["bos_token_id"].as_u64()?).ok()
            }
        }
    }

    fn entries(&self, matrices: &[Matrix], is_packed: bool) -> Result<Vec<Entry>, ConvertError> {
        let config = &self.config;
        let mut entries = Vec::new();
        for &name in dense_names(config) {
            let tensor = dense_tensor(&self.checkpoint, config, name).map_err(LoadError::from)?;
            let kind = match dense_kind(&tensor) {
                kind @ (TensorType::Bf16 | TensorType::F16) => kind,
                _ => TensorType::F32,
            };
            entries.push(Entry {
                name: name.to_owned(),
                kind: Kind::Float(kind),
                shape: vec![config.vocab_size, config.hidden_size],
                content: Content::Dense(name),
            });
        }
        entries.push(self.norm("model.norm", config.hidden_size)?);
        let per_layer = layer_shapes(config).len();
        for layer in 0..config.layers {
            for (name, len) in layer_norms(config) {
                entries.push(self.norm(&format!("model.layers.{layer}.{name}"), len)?);
            }
            let matrices = matrices.iter().enumerate().skip(layer * per_layer);
            for (index, matrix) in matrices.take(per_layer) {
                self.add_matrix(index, matrix, is_packed, &mut entries)?;
            }
        }
        Ok(entries)
    }

    fn norm(&self, name: &str, len: usize) -> Result<Entry, ConvertError> {
        let stored = norm_tensor(&self.checkpoint, name);
        let floats = self.checkpoint.floats(&stored, &[len]);
        let values = floats.map_err(LoadError::from)?.to_vec();
        Ok(of_values(format!("{name}.weight"), values))
    }

    fn add_matrix(
        &self,
        index: usize,
        matrix: &Matrix,
        is_packed: bool,
        entries: &mut Vec<Entry>,
    ) -> Result<(), ConvertError> {
        let Matrix { name, shape, .. } = matrix;
        if self.config.quantization.linear_norm_eps.is_some() {
            entries.push(self.norm(&format!("{name}.rms_norm"), shape.cols)?);
        }
        if !is_packed {
            entries.push(Entry {
                name: format!("{name}.weight"),
                kind: Kind::Float(exact_float(values(&matrix.scales), TensorType::Bf16)),
                shape: vec![shape.rows, shape.cols],
                content: Content::Floats(index),
            });
            return Ok(());
        }
        let scale = match (self.config.quantization.scale, matrix.divisor) {
            (ScaleRule::Divide, Some(divisor)) => divisor,
            _ => of_row(&matrix.scales, 0, shape.cols)[0],
        };
        entries.push(of_values(format!("{name}.weight_scale"), vec![scale]));
        entries.push(Entry {
            name: format!("{name}.weight"),
            kind: Kind::U8,
            shape: vec![shape.rows / 4, shape.cols],
            content: Content::Packed(index),
        });
        Ok(())
    }

    fn write_entry(
        &self,
        entry: &Entry,
        matrices: &[Matrix],
        out: &mut impl std::io::Write,
    ) -> Result<(), ConvertError> {
        let refuse = |error| ConvertError::matrix(&entry.name, &error);
        let Kind::Float(kind) = entry.kind else {
            return self.put_packed(entry, matrices, out);
        };
        match &entry.content {
            Content::Values(values) => {
                let mut bytes = Vec::new();
                quantize::row(kind, values, &mut bytes).map_err(refuse)?;
                out.write_all(&bytes)?;
            }
            Content::Dense(name) => {
                let tensor = dense_tensor(&self.checkpoint, &self.config, name);
                let tensor = tensor.map_err(LoadError::from)?;
                let Some(blocks) = tensor.blocks else {
                    out.write_all(tensor.data)?;
                    return Ok(());
                };
                let (mut values, mut bytes) = (vec![0.0; blocks.cols()], Vec::new());
                for row in 0..blocks.rows() {
                    let read = blocks.read_row_f32(row, &mut values);
                    read.map_err(LoadError::from)?;
                    bytes.clear();
                    quantize::row(kind, &values, &mut bytes).map_err(refuse)?;
                    out.write_all(&bytes)?;
                }
            }
            Content::Floats(index) => {
                let Matrix { shape, scales, .. } = &matrices[*index];
                let source = self.trits(&matrices[*index])?;
                let (mut trits, mut bytes) = (vec![0; shape.cols], Vec::new());
                let group = group(scales, shape.cols);
                for row in 0..shape.rows {
                    source.read_row(row, &mut trits);
                    self.check_trits(&entry.name, row, &trits)?;
                    let scales = of_row(scales, row, shape.cols);
                    let values = floats(&trits, scales, group);
                    quantize::row(kind, &values, &mut bytes).map_err(refuse)?;
                    if bytes.len() >= PIECE {
                        out.write_all(&bytes)?;
                        bytes.clear();
                    }
                }
                out.write_all(&bytes)?;
            }
            Content::Packed(_) => {}
        }
        Ok(())
    }

    /// Row `r` of a quarter shares its bytes with those one, two and three quarters below.
    fn put_packed(
        &self,
        entry: &Entry,
        matrices: &[Matrix],
        out: &mut impl std::io::Write,
    ) -> Result<(), ConvertError> {
        let Content::Packed(index) = entry.content else {
            return Ok(());
        };
        let shape = matrices[index].shape;
        let source = self.trits(&matrices[index])?;
        let (mut trits, quarter) = (vec![0; shape.cols], shape.rows / 4);
        let mut bytes = vec![0u8; shape.cols];
        for row in 0..quarter {
            bytes.fill(0);
            for part in 0..4 {
                let row = row + part * quarter;
                source.read_row(row, &mut trits);
                self.check_trits(&entry.name, row, &trits)?;
                for (byte, &trit) in bytes.iter_mut().zip(&trits) {
                    *byte |= ((trit + 1) as u8) << (2 * part);
                }
            }
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    fn check_trits(&self, name: &str, row: usize, trits: &[i8]) -> Result<(), ConvertError> {
        match trits.iter().position(|trit| !(-1..=1).contains(trit)) {
            None => Ok(()),
            Some(column) => Err(ConvertError::unsupported(
                name,
                format!(
                    "row {row}, column {column} is no trit: the input is damaged, download it again"
                ),
            )),
        }
    }
}

/// A few numbers in the smallest type that has them.
fn of_values(name: String, values: Vec<f32>) -> Entry {
    Entry {
        name,
        kind: Kind::Float(exact_float(values.iter().copied(), TensorType::Bf16)),
        shape: vec![values.len()],
        content: Content::Values(values),
    }
}

/// The header, with its length before it.
fn file_header(entries: &[Entry]) -> Vec<u8> {
    let mut metadata = Map::new();
    metadata.insert("format".to_owned(), json!("pt"));
    let tensors = entries.iter().map(|entry| {
        let kind = entry.kind.name();
        (&entry.name[..], kind, &entry.shape[..], entry.bytes())
    });
    header::write(metadata, tensors, 8)
}
