//! Which matrix shapes to measure: those of models, by name or by folder.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tern_runtime::Model;
use tern_tune::{ModelShapes, Work, merge_work};

use crate::bundled;
use crate::load::ModelName;
use crate::output::{print, print_json};
use crate::table::{Align, Table};

/// What `--shapes` takes in place of a name to list the names.
const LIST: &str = "list";

/// `--model` and `--shapes`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShapesArgs {
    /// Measure the matrix shapes of this model folder (only its config.json is read), or of `demo`; may be repeated
    #[arg(long, value_name = "MODEL")]
    model: Vec<ModelName>,
    /// Measure the matrix shapes of known models, by name (`list` lists them), or of a .toml file
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    shapes: Vec<String>,
}

/// What to measure.
pub struct Worklist {
    /// The models, for people.
    pub names: Vec<String>,
    /// Their shapes, most expensive first.
    pub work: Vec<Work>,
}

impl ShapesArgs {
    /// Whether the user named nothing.
    pub fn is_empty(&self) -> bool {
        self.model.is_empty() && self.shapes.is_empty()
    }

    /// Whether the user asked for the names of the known models.
    pub fn wants_list(&self) -> bool {
        self.shapes.iter().any(|name| name == LIST)
    }

    /// The shapes that the user named.
    pub fn worklist(&self) -> anyhow::Result<Worklist> {
        worklist(&self.model, &self.shapes)
    }
}

/// The shapes of some model folders and of some known models.
pub fn worklist(models: &[ModelName], known: &[String]) -> anyhow::Result<Worklist> {
    let (mut names, mut work) = (Vec::new(), Vec::new());
    for model in models {
        let found = match model {
            ModelName::Demo => Model::matrices_from_bytes(bundled::MODEL.config),
            ModelName::Path(path) => Model::matrices(path),
        };
        let found = found.with_context(|| format!("cannot read the shapes of {model}"))?;
        work.extend(found.into_iter().map(|matrix| Work {
            shape: matrix.shape,
            count: matrix.layers,
            inputs: matrix.layers as f64 / matrix.sharing as f64,
        }));
        names.push(model.to_string());
    }
    for name in known {
        let model = ModelShapes::find(name)?;
        work.extend(model.work());
        names.push(model.name);
    }
    Ok(Worklist {
        names,
        work: merge_work(work),
    })
}

/// What `--shapes list --json` prints of a model.
#[derive(Serialize)]
struct Known {
    name: String,
    weights: u128,
    source: String,
}

/// Prints the known models, smallest first.
pub fn list_known(json: bool) -> anyhow::Result<()> {
    let mut known = Vec::new();
    for name in ModelShapes::names() {
        let model = ModelShapes::find(name)?;
        known.push(Known {
            weights: model.weights(),
            name: model.name,
            source: model.source,
        });
    }
    known.sort_by_key(|model| model.weights);
    if json {
        return print_json(&known);
    }
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("billion ternary weights", Align::Right),
        ("source", Align::Left),
    ]);
    for model in known {
        let billions = model.weights as f64 / 1e9;
        table.row([model.name, format!("{billions:.3}"), model.source]);
    }
    print(table)
}

/// A time limit in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(pub f64);

impl Seconds {
    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }
}

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = text.parse::<f64>().ok();
        // A day is more than any tuning needs; the lower limit is a round of measurements.
        let seconds = seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds));
        seconds
            .map(Seconds)
            .ok_or("expected a number of seconds from 0.1 to 86400")
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits() {
        assert_eq!("0.5".parse(), Ok(Seconds(0.5)));
        for bad in ["", "0", "-1", "nan", "inf", "1e30", "5s"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }
}
