//! The GGUF file: which tensors it has, and their bytes.

use std::io::Write;

use tern_kernels::{ScaleRule, WeightScales};

use super::plan::{I2_S, Matrix, floats, group, is_plain_i2_s, of_row};
use super::{ConvertError, Converted, OnProgress, Source, TernaryType, dense_kind, metadata};
use crate::config::RopeScaling;
use crate::gguf::{Header, TensorType, Writer, quantize};
use crate::gguf_model::{HeadRows, count, names};
use crate::ops::rope::Rope;
use crate::weights::{dense_names, dense_tensor, layer_norms, norm_tensor};

/// Bytes that are collected before they are written.
const PIECE: usize = 1 << 20;

/// A tensor of the file.
enum Entry {
    /// Embedding or head, as it is.
    Dense(&'static str),
    /// Norms, as f32: by their name in the checkpoint, and length.
    Norm(String, usize),
    /// One of the planned matrices.
    Matrix(usize),
    /// What the rotary frequencies are divided by.
    Factors(Vec<f32>),
}

/// Writes all of it.
pub(super) fn write(
    source: &Source<'_>,
    wanted: TernaryType,
    out: &mut dyn Write,
    progress: OnProgress<'_>,
) -> Result<Converted, ConvertError> {
    let config = &source.config;
    if config.quantization.linear_norm_eps.is_some() {
        return Err(ConvertError::unsupported(
            "a norm before every linear layer (use_rms_norm)",
            "no architecture of GGUF files has it; only `--to hf` keeps it",
        ));
    }
    let matrices = source.matrices(wanted)?;
    let mut header = Header::new();
    let mut notes = metadata::keys(source, &mut header, &matrices)?;
    let entries = entries(source, &matrices, &mut header)?;
    let total = header.file_bytes();
    let mut writer = header.begin(out)?;
    let mut done = 0;
    for (name, entry) in &entries {
        if !progress(done, total) {
            return Err(ConvertError::Stopped);
        }
        done += source.put(&mut writer, name, entry, &matrices)?;
    }
    writer.finish()?;
    progress(total, total);
    let largest_scale_error = matrices.iter().map(|m| m.scale_error).fold(0.0, f64::max);
    notes.extend(rounded_inverses(source, &matrices));
    let is_plain = |matrix: &&Matrix| {
        let kind = matrix.kind;
        matches!(kind, TensorType::F16 | TensorType::Bf16 | TensorType::F32)
    };
    let plain = matrices.iter().filter(is_plain).count();
    if plain > 0 {
        notes.push(format!(
            "{plain} matrices are stored as floats, since no ternary type that is written has their shape or scales exactly"
        ));
    }
    notes.extend(odd_i2_s(&matrices));
    let is_iq2_bn = |matrix: &&Matrix| matrix.kind == TensorType::Iq2Bn;
    let odd = matrices.iter().filter(is_iq2_bn).count();
    if odd > 0 {
        notes.push(format!(
            "{odd} matrices are IQ2_BN, for their rows are not a multiple of 128, as other programs need for I2_S: ik_llama.cpp reads it, bitnet.cpp does not"
        ));
    }
    Ok(Converted {
        bytes: total,
        matrices: count(matrices.iter().map(|matrix| matrix.kind.to_string())),
        largest_scale_error,
        notes,
    })
}

/// A note where scales divide in the source and their inverse is all that the file has of them.
fn rounded_inverses(source: &Source<'_>, matrices: &[Matrix]) -> Option<String> {
    let is_lost = source.config.quantization.scale == ScaleRule::Divide
        && source.divisors(matrices).is_none();
    let errors = matrices.iter().map(|matrix| matrix.scale_error);
    let error = errors.fold(0.0, f64::max);
    (is_lost && error > 0.0).then(|| {
        format!(
            "scales that divide are stored as their inverse, which multiplies, rounded by {error:.1e} of themselves at most"
        )
    })
}

/// A note where other programs read I2_S wrongly.
fn odd_i2_s(matrices: &[Matrix]) -> Option<String> {
    let is_odd = |matrix: &&Matrix| matrix.kind == I2_S && !is_plain_i2_s(matrix.shape);
    let odd = matrices.iter().filter(is_odd);
    let first = odd.clone().next()?;
    let advice = match first.shape.cols.is_multiple_of(64) {
        true => "`--to gguf` takes IQ2_BN for them, which ik_llama.cpp reads",
        false => "no type is written that others read",
    };
    Some(format!(
        "{} matrices in I2_S, such as {} with {} columns, have rows that are not a multiple of 128: tern reads them, bitnet.cpp and ik_llama.cpp \
         read them wrongly; {advice}",
        odd.count(),
        first.name,
        first.shape.cols
    ))
}

/// All tensors in the order of the file, entered in its header.
fn entries(
    source: &Source<'_>,
    matrices: &[Matrix],
    header: &mut Header,
) -> Result<Vec<(String, Entry)>, ConvertError> {
    let config = &source.config;
    let mut entries = Vec::new();
    let mut add = |name: &str, dims: &[u64], kind: TensorType, entry: Entry| {
        let name = names::in_gguf(name).unwrap_or_else(|| name.to_owned());
        header.tensor(&name, dims, kind)?;
        entries.push((name, entry));
        Ok::<(), ConvertError>(())
    };
    let dims = [config.hidden_size as u64, config.vocab_size as u64];
    for &name in dense_names(config) {
        let kind = dense_kind(
            &dense_tensor(&source.checkpoint, config, name).map_err(crate::LoadError::from)?,
        );
        add(name, &dims, kind, Entry::Dense(name))?;
    }
    if matches!(
        config.rope_scaling,
        RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. }
    ) {
        let factors = Rope::factors(config.head_dim, config.rope_theta, &config.rope_scaling);
        let len = factors.len() as u64;
        add(
            "rope_freqs.weight",
            &[len],
            TensorType::F32,
            Entry::Factors(factors),
        )?;
    }
    let per_layer = matrices.len() / config.layers;
    for layer in 0..config.layers {
        for (name, len) in layer_norms(config) {
            let name = format!("model.layers.{layer}.{name}");
            let stored = norm_tensor(&source.checkpoint, &name);
            let entry = Entry::Norm(stored, len);
            add(
                &format!("{name}.weight"),
                &[len as u64],
                TensorType::F32,
                entry,
            )?;
        }
        let own = matrices.iter().enumerate().skip(layer * per_layer);
        for (index, matrix) in own.take(per_layer) {
            let Matrix {
                name, shape, kind, ..
            } = matrix;
            let dims = [shape.cols as u64, shape.rows as u64];
            add(
                &format!("{name}.weight"),
                &dims,
                *kind,
                Entry::Matrix(index),
            )?;
        }
    }
    let norm = "model.norm.weight";
    let entry = Entry::Norm(norm.to_owned(), config.hidden_size);
    add(norm, &dims[..1], TensorType::F32, entry)?;
    Ok(entries)
}

impl Source<'_> {
    /// Writes a tensor; returns its bytes.
    fn put(
        &self,
        writer: &mut Writer<&mut dyn Write>,
        name: &str,
        entry: &Entry,
        matrices: &[Matrix],
    ) -> Result<u64, ConvertError> {
        match entry {
            Entry::Dense(hf) => {
                let tensor = dense_tensor(&self.checkpoint, &self.config, hf);
                let data = tensor.map_err(crate::LoadError::from)?.data;
                for piece in data.chunks(PIECE) {
                    writer.put(name, piece)?;
                }
                Ok(data.len() as u64)
            }
            Entry::Norm(hf, len) => {
                let floats = self.checkpoint.floats(hf, &[*len]);
                let values = floats.map_err(crate::LoadError::from)?.to_vec();
                put_floats(writer, name, &values)
            }
            Entry::Factors(factors) => put_floats(writer, name, factors),
            Entry::Matrix(index) => self.put_matrix(writer, name, &matrices[*index]),
        }
    }

    fn put_matrix(
        &self,
        writer: &mut Writer<&mut dyn Write>,
        tensor: &str,
        matrix: &Matrix,
    ) -> Result<u64, ConvertError> {
        let Matrix {
            name,
            shape,
            kind,
            scales,
            ..
        } = matrix;
        let source = self.trits(matrix)?;
        let order = HeadRows::of(&self.config, name, shape.cols);
        let mut trits = vec![0; shape.cols];
        let (mut bytes, mut written) = (Vec::new(), 0);
        let mut encoder = quantize::I2sEncoder::default();
        let refuse = |error| ConvertError::matrix(&format!("{name}.weight"), &error);
        for row in 0..shape.rows {
            let row = order.map_or(row, |order| order.of_file(row));
            source.read_row(row, &mut trits);
            if *kind == I2_S {
                encoder.row(&trits, &mut bytes).map_err(refuse)?;
            } else {
                let (own, group) = (of_row(scales, row, shape.cols), group(scales, shape.cols));
                put_row(*kind, &trits, own, group, &mut bytes).map_err(refuse)?;
            }
            if bytes.len() >= PIECE {
                writer.put(tensor, &bytes)?;
                written += bytes.len() as u64;
                bytes.clear();
            }
        }
        if let (true, WeightScales::Matrix(scale)) = (*kind == I2_S, scales) {
            encoder.finish(*scale, &mut bytes).map_err(refuse)?;
        }
        writer.put(tensor, &bytes)?;
        Ok(written + bytes.len() as u64)
    }

    /// What each matrix's sums are divided by, where scales divide; others read the inverse, which is rounded. Not where f16 rounds that once
    /// more: then tern should compute with what the file's type says, as others do.
    pub(super) fn divisors(&self, matrices: &[Matrix]) -> Option<Vec<f32>> {
        let are_exact = matrices.iter().all(|matrix| matrix.scale_error == 0.0);
        match self.config.quantization.scale {
            ScaleRule::Divide if are_exact => matrices.iter().map(|m| m.divisor).collect(),
            _ => None,
        }
    }
}

fn put_floats(
    writer: &mut Writer<&mut dyn Write>,
    name: &str,
    values: &[f32],
) -> Result<u64, ConvertError> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    writer.put(name, &bytes)?;
    Ok(bytes.len() as u64)
}

/// A row of any type but I2_S.
fn put_row(
    kind: TensorType,
    trits: &[i8],
    scales: &[f32],
    group: usize,
    out: &mut Vec<u8>,
) -> Result<(), crate::gguf::QuantizeError> {
    if kind == TensorType::Iq2Bn {
        return quantize::trits(kind, trits, scales, out);
    }
    if !matches!(kind, TensorType::Tq1_0 | TensorType::Tq2_0) {
        return quantize::row(kind, &floats(trits, scales, group), out);
    }
    if scales.len() == 1 || group == kind.block() {
        return quantize::trits(kind, trits, scales, out);
    }
    let blocks = trits.len() / kind.block();
    let each: Vec<f32> = (0..blocks)
        .map(|block| scales[block * kind.block() / group])
        .collect();
    quantize::trits(kind, trits, &each, out)
}
