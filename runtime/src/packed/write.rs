//! Writing a packed model, front to back, with no more in memory than the head and one matrix.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};
use tern_kernels::{PackedMatrix, Packing, Pages, Planner, Shape, WeightScales};

use super::{
    CHECKSUMS, CONFIG, FORMAT, FORMAT_KEY, GENERATION, PACKING_KEY, PAD, PAGE, VERSION,
    VERSION_KEY, checksum, head_copy_part,
};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::dense::DenseMatrix;
use crate::element::Element;
use crate::error::LoadError;
use crate::head::HeadCopy;
use crate::header;
use crate::model::{Files, HeadMode};
use crate::read_options::ReadOptions;
use crate::ternary::{PROJECTIONS, choose, groups, ternary, trits};
use crate::weights::{self, layer_norms, layer_shapes, norm_tensor};

/// From this size on a tensor begins a page.
const LARGE: usize = 1 << 16;

/// Why a packed model was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackFileError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The file cannot be written.
    #[error("the packed model cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The caller stopped it.
    #[error("stopped")]
    Stopped,
}

/// A tensor of the file.
struct Entry {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: usize,
    packing: Option<Packing>,
    content: Content,
}

/// Where its bytes come from.
enum Content {
    /// From here.
    Bytes(Vec<u8>),
    /// The embedding, or the head.
    Dense { is_head: bool },
    /// A part of the head's copy.
    HeadCopy { part: usize },
    /// A matrix of the model, by its name without `.weight`.
    Matrix { name: String, shape: Shape },
}

/// A model that is being packed.
struct Source<'a> {
    files: &'a Files<'a>,
    config: &'a Config,
    /// The same as a file.
    json: Vec<u8>,
    checkpoint: &'a Checkpoint<'a>,
    planner: &'a Planner,
    threads: usize,
    embedding: Option<DenseMatrix>,
    head: Option<DenseMatrix>,
    copy: Option<HeadCopy>,
}

/// Packs the model in folder or GGUF file `path`, read as `reading` says, which the packed one then states, as `planner` plans for `threads` threads, and writes it to `out`. Returns its bytes.
///
/// `progress` is told how many bytes are written and how many there will be; it returns false to stop. Whoever calls makes sure that an
/// incomplete file is not left behind.
///
/// # Errors
///
/// [`PackFileError`].
pub fn pack(
    path: &Path,
    reading: ReadOptions,
    planner: &Planner,
    threads: usize,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<u64, PackFileError> {
    let files = Files::open(path, reading.i2s_layout)?;
    let config = reading.applied(files.configuration()?);
    let checkpoint = files.checkpoint()?;
    if files.is_packed() {
        return Err(LoadError::Packed {
            file: files.names().model.clone(),
            reason: "is packed already; name the folder that it was made of".to_owned(),
        }
        .into());
    }
    let json = match reading.changes_config() {
        true => config_json(&files, &config)?,
        false => files.config().into_owned(),
    };
    let total = weights::check(&checkpoint, &config)?;
    let mut source = Source {
        files: &files,
        config: &config,
        json,
        checkpoint: &checkpoint,
        planner,
        threads,
        embedding: None,
        head: None,
        copy: None,
    };
    // Finding scales may read all weights, so whoever wants to stop is heard before anything is written.
    let mut go_on = || match progress(0, total) {
        true => Ok(()),
        false => Err(PackFileError::Stopped),
    };
    go_on()?;
    source.make_dense()?;
    let entries = source.entries(&mut go_on)?;
    source.write(entries, out, progress)
}

/// `config.json` where the user has something otherwise than the model's own, of which everything else is kept.
fn config_json(files: &Files<'_>, config: &Config) -> Result<Vec<u8>, LoadError> {
    let own: Option<Value> = serde_json::from_slice(&files.config()).ok();
    let mut json = match own {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    json.remove("quantization_config");
    if let Value::Object(map) = config.to_json() {
        json.extend(map);
    }
    let json = Value::Object(json).to_string().into_bytes();
    let read = Config::parse(&json, &files.names().config);
    let is_same = read.map(|read| {
        let (read, wanted) = (read.quantization, config.quantization);
        read.activations == wanted.activations
            && read.scale == wanted.scale
            && read.linear_norm_eps == wanted.linear_norm_eps
    });
    let detail = match is_same {
        Ok(true) => return Ok(json),
        Ok(false) => String::new(),
        Err(error) => format!(" ({error})"),
    };
    let reason = format!(
        "cannot be packed with these scales, which no config.json of its class says{detail}; pack it without --act-scales and --weight-scales, \
         and give them where the packed model is run"
    );
    Err(LoadError::Packed {
        file: files.names().model.clone(),
        reason,
    })
}

impl Source<'_> {
    /// Embedding and head, whose copy must be made before its sizes are known.
    fn make_dense(&mut self) -> Result<(), LoadError> {
        // The container has no blocks.
        let dense = |name: &str| {
            let matrix = weights::dense_matrix(self.checkpoint, self.config, name, Pages::Huge)?;
            match matrix.element() {
                Some(_) => Ok(matrix),
                None => matrix
                    .widened(Pages::Huge)
                    .map_err(|error| weights::pack_error(name, &error)),
            }
        };
        let embedding = dense("model.embed_tokens.weight")?;
        let head = match self.config.tied_head {
            true => None,
            false => Some(dense("lm_head.weight")?),
        };
        let scored = head.as_ref().unwrap_or(&embedding);
        let copy = HeadCopy::new(HeadMode::Exact, scored, self.planner.cpu(), Pages::Huge);
        self.copy = copy.map_err(|error| weights::pack_error("lm_head", &error))?;
        (self.embedding, self.head) = (Some(embedding), head);
        Ok(())
    }

    /// All tensors but padding and checksums.
    fn entries(
        &self,
        go_on: &mut dyn FnMut() -> Result<(), PackFileError>,
    ) -> Result<Vec<Entry>, PackFileError> {
        let mut entries = Vec::new();
        let names = self.files.names();
        let own = [
            (CONFIG, Some(self.json.clone())),
            (GENERATION, self.files.generation().map(<[u8]>::to_vec)),
        ];
        for (name, bytes) in own {
            entries.extend(bytes.map(|bytes| of_bytes(name, bytes)));
        }
        let text = self.files.text().parts().into_iter();
        entries.extend(text.map(|(name, bytes)| of_bytes(name, bytes)));
        let hidden = self.config.hidden_size;
        entries.push(self.floats("model.norm.weight", hidden)?);
        for layer in 0..self.config.layers {
            let of_layer = |name: &str| format!("model.layers.{layer}.{name}");
            for (name, len) in layer_norms(self.config) {
                let stored = norm_tensor(self.checkpoint, &of_layer(name));
                let values = self
                    .checkpoint
                    .floats(&stored, &[len])
                    .map_err(LoadError::from)?
                    .to_vec();
                entries.push(of_floats(&of_layer(&format!("{name}.weight")), &values));
            }
            if self.config.quantization.linear_norm_eps.is_some() {
                for (name, shape) in layer_shapes(self.config) {
                    let name = of_layer(&format!("{name}.rms_norm.weight"));
                    entries.push(self.floats(&name, shape.cols)?);
                }
            }
        }
        self.add_dense(&mut entries);
        let shapes = layer_shapes(self.config);
        for layer in 0..self.config.layers {
            for range in PROJECTIONS {
                go_on()?;
                self.add_projection(layer, &shapes[range], &names.model, &mut entries)?;
            }
        }
        Ok(entries)
    }

    fn floats(&self, name: &str, len: usize) -> Result<Entry, LoadError> {
        let values = self.checkpoint.floats(name, &[len])?.to_vec();
        Ok(of_floats(name, &values))
    }

    fn add_dense(&self, entries: &mut Vec<Entry>) {
        let dense = [
            ("model.embed_tokens.weight", &self.embedding, false),
            ("lm_head.weight", &self.head, true),
        ];
        for (name, matrix, is_head) in dense {
            entries.extend(matrix.as_ref().map(|matrix| Entry {
                name: name.to_owned(),
                dtype: match matrix.element() {
                    Some(Element::Bf16) => "BF16",
                    Some(Element::F16) => "F16",
                    Some(Element::F32) | None => "F32",
                },
                shape: vec![matrix.rows(), matrix.cols()],
                bytes: matrix.data().len(),
                packing: None,
                content: Content::Dense { is_head },
            }));
        }
        let parts = self.copy.iter().flat_map(|copy| copy.planes().parts());
        entries.extend(parts.enumerate().map(|(part, bytes)| Entry {
            name: head_copy_part(part),
            dtype: "U8",
            shape: vec![bytes.len()],
            bytes: bytes.len(),
            packing: None,
            content: Content::HeadCopy { part },
        }));
    }

    /// The ternary matrices of a layer that have the same input, and their scales.
    fn add_projection(
        &self,
        layer: usize,
        parts: &[(&str, Shape)],
        model: &str,
        entries: &mut Vec<Entry>,
    ) -> Result<(), LoadError> {
        let part = |&(name, shape): &(&str, Shape)| {
            let name = format!("model.layers.{layer}.{name}");
            let matrix = ternary(self.checkpoint, self.config, &name, shape)?;
            Ok::<_, LoadError>((name, shape, matrix.scales))
        };
        let parts: Vec<_> = parts.iter().map(part).collect::<Result<_, _>>()?;
        let scales: Vec<&WeightScales> = parts.iter().map(|(.., scales)| scales).collect();
        let groups = groups(self.config, &scales);
        for ((name, shape, scales), group) in parts.into_iter().zip(groups) {
            let choice = choose(self.planner, &name, shape, self.threads, group)?;
            let packing = weights::in_groups(choice.kernel.packing, group);
            let bytes = packing.matrix_bytes(shape.rows, shape.cols);
            let bytes = bytes.ok_or_else(|| LoadError::Pack {
                matrix: format!("{model}: {name}"),
                reason: format!("its size as {packing} is beyond this machine's"),
            })?;
            entries.push(of_scales(
                &format!("{name}.weight_scale"),
                scales,
                shape,
                group,
            ));
            entries.push(Entry {
                name: format!("{name}.weight"),
                dtype: "U8",
                shape: vec![bytes],
                bytes,
                packing: Some(packing),
                content: Content::Matrix { name, shape },
            });
        }
        Ok(())
    }

    fn write(
        &mut self,
        entries: Vec<Entry>,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<u64, PackFileError> {
        let entries = padded(entries);
        let header = file_header(&entries);
        let data: usize = entries.iter().map(|entry| entry.bytes).sum();
        let total = (header.len() + data) as u64;
        let mut sums = vec![checksum(&header)];
        out.write_all(&header)?;
        let mut done = header.len() as u64;
        for entry in &entries {
            if !progress(done, total) {
                return Err(PackFileError::Stopped);
            }
            if entry.name == CHECKSUMS {
                let bytes: Vec<u8> = sums
                    .iter()
                    .flat_map(|sum: &u64| sum.to_le_bytes())
                    .collect();
                out.write_all(&bytes)?;
            } else {
                self.content(entry, &mut |bytes| {
                    sums.push(checksum(bytes));
                    out.write_all(bytes)
                })?;
            }
            done += entry.bytes as u64;
        }
        progress(done, total);
        Ok(total)
    }

    /// Hands the bytes of a tensor to `put`.
    fn content(
        &mut self,
        entry: &Entry,
        put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), PackFileError> {
        match &entry.content {
            Content::Bytes(bytes) => put(bytes)?,
            Content::Dense { is_head } => {
                let matrix = if *is_head {
                    &self.head
                } else {
                    &self.embedding
                };
                put(matrix.as_ref().map_or(&[], DenseMatrix::data))?;
            }
            Content::HeadCopy { part } => {
                let copy = self.copy.as_ref().map(HeadCopy::planes);
                put(copy.map_or(&[], |planes| planes.parts()[*part]))?;
            }
            Content::Matrix { name, shape } => {
                // The head is written by now.
                (self.embedding, self.head, self.copy) = (None, None, None);
                let packing = entry.packing.expect("every matrix has one");
                let (tensor, trits) = trits(self.checkpoint, self.config, name, *shape)?;
                let fill = |row: usize, out: &mut [i8]| trits.read_row(row, out);
                let matrix =
                    PackedMatrix::pack(packing, shape.rows, shape.cols, Pages::Huge, &fill);
                let matrix = matrix.map_err(|error| weights::not_packed(&tensor, &trits, error))?;
                put(matrix.data())?;
            }
        }
        Ok(())
    }
}

fn of_bytes(name: &str, bytes: Vec<u8>) -> Entry {
    Entry {
        name: name.to_owned(),
        dtype: "U8",
        shape: vec![bytes.len()],
        bytes: bytes.len(),
        packing: None,
        content: Content::Bytes(bytes),
    }
}

fn of_floats(name: &str, values: &[f32]) -> Entry {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Entry {
        dtype: "F32",
        shape: vec![values.len()],
        ..of_bytes(name, bytes)
    }
}

/// Weight scales: one, one for each row, or for each row and group of the packing.
fn of_scales(name: &str, scales: WeightScales, shape: Shape, packed: usize) -> Entry {
    match scales {
        WeightScales::Matrix(scale) => of_floats(name, &[scale]),
        WeightScales::Rows(scales) => of_floats(name, &scales),
        WeightScales::Groups { group, scales } => {
            let blocks = shape.cols.div_ceil(packed);
            let rows = scales.chunks_exact(shape.cols.div_ceil(group));
            let each = rows.flat_map(|row| (0..blocks).map(|block| row[block * packed / group]));
            let entry = of_floats(name, &each.collect::<Vec<f32>>());
            Entry {
                shape: vec![shape.rows, blocks],
                ..entry
            }
        }
    }
}

/// The tensors with padding before large ones, and the checksums.
fn padded(entries: Vec<Entry>) -> Vec<Entry> {
    let (mut all, mut offset): (Vec<Entry>, usize) = (Vec::new(), 0);
    for entry in entries {
        let gap = offset.next_multiple_of(PAGE) - offset;
        // Numbers that are used where the file is mapped must lie where numbers do, however few they are.
        let is_large = entry.bytes >= LARGE || matches!(entry.content, Content::Dense { .. });
        if is_large && gap > 0 {
            all.push(of_bytes(&format!("{PAD}{}", all.len()), vec![0; gap]));
            offset += gap;
        }
        offset += entry.bytes;
        all.push(entry);
    }
    let count = all.len() + 1;
    all.push(Entry {
        dtype: "U64",
        shape: vec![count],
        ..of_bytes(CHECKSUMS, vec![0; 8 * count])
    });
    all
}

/// The header with its length before it, so long that the data begins a page.
fn file_header(entries: &[Entry]) -> Vec<u8> {
    let mut facts = Map::new();
    let mut fact = |key: String, value: String| facts.insert(key, Value::String(value));
    fact(FORMAT_KEY.to_owned(), FORMAT.to_owned());
    fact(VERSION_KEY.to_owned(), VERSION.to_owned());
    for entry in entries {
        if let Some(packing) = entry.packing {
            fact(format!("{PACKING_KEY}{}", entry.name), packing.to_string());
        }
    }
    let tensors = entries.iter().map(|entry| {
        let bytes = entry.bytes as u64;
        (&entry.name[..], entry.dtype, &entry.shape[..], bytes)
    });
    header::write(facts, tensors, PAGE)
}
