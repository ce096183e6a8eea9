//! Which matrices a model multiplies with: the tuner's worklist.
//!
//! What a product costs depends on its shape and not on its weights, so a model can be tuned for without having it.
//! The shapes of known models are in `configs/models` (its README states the format) and embedded here; a file of the
//! same format can be named instead. Kernels never see a model: only the worklist does.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tern_kernels::Shape;

use crate::error::TuneError;

/// The largest number of rows or columns that is measured: eight times the widest known model.
const SIDE_MAX: usize = 1 << 18;

/// The largest number of weights in one matrix that is measured (2 GiB of packed weights at 2 bits).
const WEIGHTS_MAX: usize = 1 << 33;

/// Longer files are refused before they are parsed: all known models together are a hundredth of this.
const FILE_MAX: u64 = 1 << 20;

/// The largest number of layers, and of equal matrices in one layer.
const COUNT_MAX: usize = 1 << 16;

/// Names of models with the text of their files.
macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../configs/models/", $name, ".toml")))),+]
    };
}

/// The files of `configs/models`, sorted by name.
const EMBEDDED: &[(&str, &str)] = embedded![
    "bitcpm4-cann-1b",
    "bitcpm4-cann-8b",
    "bitnet-2b4t",
    "bitnet-3b",
    "bitnet-embedding-0.6b",
    "bitnet-embedding-270m",
    "bitnet-large",
    "bitnet-xl",
    "falcon-e-1b",
    "falcon-e-3b",
    "falcon3-10b",
    "falcon3-1b",
    "falcon3-3b",
    "falcon3-7b",
    "llama3-8b-1.58",
    "ternary-bonsai-1.7b",
    "ternary-bonsai-27b",
    "ternary-bonsai-4b",
    "ternary-bonsai-8b",
    "trilm-1.1b",
    "trilm-1.5b",
    "trilm-190m",
    "trilm-2.4b",
    "trilm-3.9b",
    "trilm-390m",
    "trilm-560m",
    "trilm-830m",
    "trilm-99m",
];

/// One distinct product and how often one token needs it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Rows x columns of the matrix.
    #[serde(serialize_with = "crate::report::as_text")]
    pub shape: Shape,
    /// Products of this shape per token.
    pub count: usize,
    /// How often a token's activations are prepared for them: `count` if every product has an input of its own, less where products
    /// share theirs. Of an input that products of several shapes share, each bears its part.
    pub inputs: f64,
}

impl Work {
    /// A product each of whose inputs is its own.
    pub const fn alone(shape: Shape, count: usize) -> Work {
        let inputs = count as f64;
        Work {
            shape,
            count,
            inputs,
        }
    }

    /// Products that share one input, on average.
    pub fn sharing(&self) -> f64 {
        (self.count as f64 / self.inputs).max(1.0)
    }

    /// Weights that one token reads for this shape: what the shape's share of a token's time is proportional to.
    pub fn weights(&self) -> u128 {
        self.shape.rows as u128 * self.shape.cols as u128 * self.count as u128
    }
}

/// Some equal matrices of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixShape {
    /// What the matrices are called in the model, for people.
    pub name: String,
    /// Outputs (M).
    pub rows: usize,
    /// Inputs (K).
    pub cols: usize,
    /// Such matrices in one layer.
    pub count: usize,
    /// What they are multiplied with: matrices that name the same input share its prepared form. Without a name each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// The ternary matrices of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShapes {
    /// The model's short name: its file's name without `.toml`.
    pub name: String,
    /// Where the dimensions come from.
    pub source: String,
    /// Equal layers in the model.
    pub layers: usize,
    /// The matrices of one layer.
    #[serde(rename = "matrix")]
    pub matrices: Vec<MatrixShape>,
}

/// Why no shapes were found under a name or in a file.
#[derive(Debug, thiserror::Error)]
pub enum ShapesError {
    /// Neither an embedded name nor a file.
    #[error(
        "no shapes named `{name}`; known are {known}; a file of your own is given by its path (./{name}.toml)"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The embedded names.
        known: String,
    },
    /// The file could not be read.
    #[error("cannot read shapes from {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file, or what the device gives, is far too long.
    #[error(
        "{file} is too large for a shapes file (more than {FILE_MAX} bytes); is this the right file?"
    )]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The file is not TOML of this format.
    #[error("{file} is not a shapes file: {reason}; configs/models/README.md has the format")]
    Format {
        /// The file.
        file: String,
        /// Line and reason.
        reason: String,
    },
    /// A number in the file is of no use.
    #[error("{file}: {what} is {found}, expected {expected}")]
    Value {
        /// The file.
        file: String,
        /// Which number.
        what: String,
        /// What it is.
        found: usize,
        /// What it may be.
        expected: String,
    },
}

impl ModelShapes {
    /// Finds embedded shapes by name, or reads them from a file if `name` has a path separator or ends in `.toml`.
    ///
    /// # Errors
    /// An unknown name (the message lists the known ones), or a file that is missing, malformed or absurd.
    pub fn find(name: &str) -> Result<ModelShapes, ShapesError> {
        if name.contains(['/', '\\']) || name.ends_with(".toml") {
            let text = read(Path::new(name)).map_err(|source| ShapesError::Read {
                file: name.to_string(),
                source,
            })?;
            if text.len() as u64 > FILE_MAX {
                let file = name.to_string();
                return Err(ShapesError::TooLarge { file });
            }
            let text = String::from_utf8(text).map_err(|error| ShapesError::Format {
                file: name.to_string(),
                reason: error.utf8_error().to_string(),
            })?;
            return ModelShapes::from_toml(&text, name);
        }
        match EMBEDDED
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            Some((known, text)) => ModelShapes::from_toml(text, &format!("{known}.toml")),
            None => Err(ShapesError::Unknown {
                name: name.to_string(),
                known: ModelShapes::names().join(", "),
            }),
        }
    }

    /// The names of the embedded models, sorted.
    pub fn names() -> Vec<&'static str> {
        EMBEDDED.iter().map(|(name, _)| *name).collect()
    }

    /// Ternary weights of the whole model.
    pub fn weights(&self) -> u128 {
        self.work().iter().map(Work::weights).sum()
    }

    /// Parses and checks the text of a shapes file; `file` is only for messages.
    ///
    /// # Errors
    /// Text that is not of this format, and dimensions or counts that are zero or absurdly large.
    pub fn from_toml(text: &str, file: &str) -> Result<ModelShapes, ShapesError> {
        let model: ModelShapes = toml::from_str(text).map_err(|error| ShapesError::Format {
            file: file.to_string(),
            reason: error.to_string().trim_end().to_string(),
        })?;
        let check = |what: String, found: usize, max: usize| {
            if (1..=max).contains(&found) {
                return Ok(());
            }
            let expected = format!("1 to {max}");
            Err(ShapesError::Value {
                file: file.to_string(),
                what,
                found,
                expected,
            })
        };
        check("layers".to_string(), model.layers, COUNT_MAX)?;
        check(
            "the number of [[matrix]] entries".to_string(),
            model.matrices.len(),
            COUNT_MAX,
        )?;
        for matrix in &model.matrices {
            check(format!("rows of `{}`", matrix.name), matrix.rows, SIDE_MAX)?;
            check(format!("cols of `{}`", matrix.name), matrix.cols, SIDE_MAX)?;
            check(
                format!("count of `{}`", matrix.name),
                matrix.count,
                COUNT_MAX,
            )?;
            let other = model
                .matrices
                .iter()
                .find(|other| other.input.is_some() && other.input == matrix.input);
            if let Some(other) = other.filter(|other| other.cols != matrix.cols) {
                return Err(ShapesError::Value {
                    file: file.to_string(),
                    what: format!("cols of `{}`", matrix.name),
                    found: matrix.cols,
                    expected: format!("{}, since `{}` has the same input", other.cols, other.name),
                });
            }
            let weights = matrix.rows.saturating_mul(matrix.cols);
            check(
                format!("rows * cols of `{}`", matrix.name),
                weights,
                WEIGHTS_MAX,
            )?;
        }
        Ok(model)
    }

    /// The distinct shapes of the whole model, most expensive first.
    pub fn work(&self) -> Vec<Work> {
        merge_work(self.matrices.iter().map(|matrix| {
            let shape = Shape {
                rows: matrix.rows,
                cols: matrix.cols,
            };
            let count = matrix.count * self.layers;
            let inputs = count as f64 / self.sharing(matrix) as f64;
            Work {
                shape,
                count,
                inputs,
            }
        }))
    }

    /// Matrices of a layer that have the same input as each of `matrix`.
    fn sharing(&self, matrix: &MatrixShape) -> usize {
        match &matrix.input {
            None => 1,
            Some(_) => {
                let same = self.matrices.iter().filter(|m| m.input == matrix.input);
                same.map(|m| m.count).sum()
            }
        }
    }
}

/// At most one byte more than [`FILE_MAX`]: a device or a pipe has no size to ask for.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(FILE_MAX + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// Whether a shape, wherever it comes from (a profile, a model, a shapes file), is one that can be measured.
///
/// # Errors
/// [`TuneError::Shape`].
pub(crate) fn check_shape(shape: Shape) -> Result<(), TuneError> {
    let sides = [shape.rows, shape.cols];
    let is_sane = sides.iter().all(|side| (1..=SIDE_MAX).contains(side))
        && shape.rows.saturating_mul(shape.cols) <= WEIGHTS_MAX;
    match is_sane {
        true => Ok(()),
        false => Err(TuneError::Shape {
            shape,
            side: SIDE_MAX,
            weights: WEIGHTS_MAX,
        }),
    }
}

/// Adds up the counts and inputs of equal shapes and orders them by the weights that a token reads, most first (equal ones by
/// shape, so that the order never depends on the order of the input).
pub fn merge_work(items: impl IntoIterator<Item = Work>) -> Vec<Work> {
    let mut sums: BTreeMap<Shape, Work> = BTreeMap::new();
    for item in items {
        let none = Work {
            shape: item.shape,
            count: 0,
            inputs: 0.0,
        };
        let sum = sums.entry(item.shape).or_insert(none);
        sum.count = sum.count.saturating_add(item.count);
        sum.inputs += item.inputs;
    }
    let mut work: Vec<Work> = sums.into_values().collect();
    work.sort_by_key(|item| std::cmp::Reverse(item.weights()));
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_file_parses_and_is_named_as_its_file() {
        for (name, text) in EMBEDDED {
            let model = ModelShapes::from_toml(text, name).unwrap();
            assert_eq!(&model.name, name);
            assert!(
                model.source.starts_with("https://"),
                "{name}: {}",
                model.source
            );
            assert!(!model.work().is_empty());
        }
        assert!(EMBEDDED.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/models");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let stem = path.file_stem().unwrap().to_str().unwrap();
                assert!(
                    ModelShapes::names().contains(&stem),
                    "{stem} is not embedded"
                );
            }
        }
    }

    /// The published sizes (billions of ternary weights) are a check on every dimension at once.
    #[test]
    fn shapes_add_up_to_the_published_number_of_ternary_weights() {
        let published = [
            ("bitnet-2b4t", 2.084),
            ("bitnet-large", 0.679),
            ("bitnet-3b", 3.221),
            ("bitnet-embedding-0.6b", 0.440),
            ("bitnet-embedding-270m", 0.100),
            ("llama3-8b-1.58", 6.979),
            ("falcon3-1b", 1.132),
            ("falcon3-3b", 2.422),
            ("falcon3-7b", 6.650),
            ("falcon3-10b", 9.500),
            ("falcon-e-1b", 1.585),
            ("falcon-e-3b", 2.919),
        ];
        for (name, billions) in published {
            let weights = ModelShapes::find(name).unwrap().weights();
            assert!(
                (weights as f64 / 1e9 - billions).abs() < 0.001,
                "{name}: {weights}"
            );
        }
    }

    /// For other models all parameters are published: there the embeddings and, unless tied, the head are to be added.
    #[test]
    fn shapes_and_embeddings_add_up_to_the_published_number_of_parameters() {
        // Name, billions of parameters, words in the vocabulary, matrices of so many rows.
        let published = [
            ("trilm-99m", 0.0998, 50304, 2),
            ("trilm-190m", 0.190, 50304, 2),
            ("trilm-390m", 0.392, 50304, 2),
            ("trilm-560m", 0.569, 50304, 2),
            ("trilm-830m", 0.834, 50304, 2),
            ("trilm-1.1b", 1.15, 50432, 2),
            ("trilm-1.5b", 1.515, 50432, 2),
            ("trilm-2.4b", 2.46, 50304, 2),
            ("trilm-3.9b", 3.99, 50688, 2),
            ("ternary-bonsai-1.7b", 1.72, 151_936, 1),
            ("ternary-bonsai-4b", 4.02, 151_936, 1),
            ("ternary-bonsai-8b", 8.19, 151_936, 2),
            ("ternary-bonsai-27b", 26.9, 248_320, 2),
            ("bitcpm4-cann-1b", 1.62, 73_448, 2),
            ("bitcpm4-cann-8b", 8.18, 73_448, 2),
        ];
        for (name, billions, vocabulary, matrices) in published {
            let model = ModelShapes::find(name).unwrap();
            let embeddings = vocabulary * model.matrices[0].cols as u128 * matrices;
            let parameters = (model.weights() + embeddings) as f64 / 1e9;
            let error = parameters / billions - 1.0;
            assert!(error.abs() < 0.004, "{name}: {parameters}");
        }
    }

    #[test]
    fn every_file_states_its_number_of_weights() {
        for (name, text) in EMBEDDED {
            let model = ModelShapes::from_toml(text, name).unwrap();
            let billions = model.weights() as f64 / 1e9;
            let line = format!("# {billions:.3} billion ternary weights. ");
            assert!(text.starts_with(&line), "{name}: {line}");
        }
    }

    #[test]
    fn equal_shapes_are_merged_and_the_most_expensive_comes_first() {
        let work = ModelShapes::find("bitnet-2b4t").unwrap().work();
        let list: Vec<_> = work
            .iter()
            .map(|w| (w.shape.rows, w.shape.cols, w.count, w.sharing()))
            .collect();
        // q, k and v share an input, gate and up another; of the two 2560x2560 matrices o has its own.
        let expected = [
            (6912, 2560, 60, 2.0),
            (2560, 6912, 30, 1.0),
            (2560, 2560, 60, 1.5),
            (640, 2560, 60, 3.0),
        ];
        assert_eq!(list, expected);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = ModelShapes::find("bitnet-9b").unwrap_err().to_string();
        assert!(message.contains("`bitnet-9b`"), "{message}");
        assert!(message.contains("bitnet-2b4t, bitnet-3b"), "{message}");
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        let message = |text: &str| {
            ModelShapes::from_toml(text, "mine.toml")
                .unwrap_err()
                .to_string()
        };
        assert!(message("not toml at all").contains("mine.toml is not a shapes file"));
        let head = "name = \"a\"\nsource = \"b\"\nlayers = 1\n";
        assert!(message(head).contains("matrix"));
        let zero = format!("{head}[[matrix]]\nname = \"q\"\nrows = 0\ncols = 8\ncount = 1\n");
        assert!(
            message(&zero).contains("rows of `q` is 0, expected 1 to"),
            "{}",
            message(&zero)
        );
        let other = format!(
            "{head}[[matrix]]\nname = \"q\"\nrows = 8\ncols = 8\ncount = 1\ninput = \"x\"\n\
             [[matrix]]\nname = \"k\"\nrows = 8\ncols = 16\ncount = 1\ninput = \"x\"\n"
        );
        assert!(
            message(&other).contains("cols of `k` is 16, expected 8, since `q` has the same input"),
            "{}",
            message(&other)
        );
        let huge =
            format!("{head}[[matrix]]\nname = \"q\"\nrows = 262144\ncols = 262144\ncount = 1\n");
        assert!(
            message(&huge).contains("rows * cols of `q`"),
            "{}",
            message(&huge)
        );
        let negative = format!("{head}[[matrix]]\nname = \"q\"\nrows = -1\ncols = 8\ncount = 1\n");
        assert!(message(&negative).contains("not a shapes file"));
        let unknown = format!("{head}color = 1\n");
        assert!(message(&unknown).contains("color"));
    }

    #[test]
    fn absurd_shapes_are_not_measured() {
        let check = |rows, cols| check_shape(Shape { rows, cols });
        assert!(check(1, 1).is_ok() && check(SIDE_MAX, WEIGHTS_MAX / SIDE_MAX).is_ok());
        for (rows, cols) in [
            (0, 8),
            (8, 0),
            (SIDE_MAX + 1, 1),
            (1, usize::MAX),
            (SIDE_MAX, SIDE_MAX),
        ] {
            let message = check(rows, cols).unwrap_err().to_string();
            assert!(message.contains(&format!("{rows}x{cols}")), "{message}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_without_end_is_refused() {
        let message = ModelShapes::find("/dev/zero").unwrap_err().to_string();
        assert!(message.contains("/dev/zero is too large"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = ModelShapes::find("./no/such.toml").unwrap_err().to_string();
        assert!(message.contains("./no/such.toml"), "{message}");
    }
}
