//! Models by what the user calls them: a folder, or the word for the bundled one.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tern_kernels::Pages;
use tern_runtime::{Engine, LoadOptions, Model, Summary, Tokenizer};

use crate::bundled;
use crate::output::{remark, warn};
use crate::plan::Setup;
use crate::progress::Bar;

/// Which model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// The one that is part of the program.
    Demo,
    /// A folder as published on Hugging Face, a GGUF file, or a packed model's.
    Path(PathBuf),
}

impl FromStr for ModelName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("expected a model folder, or `demo` for the bundled model"),
            bundled::NAME => Ok(ModelName::Demo),
            path => Ok(ModelName::Path(path.into())),
        }
    }
}

impl std::fmt::Display for ModelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelName::Demo => f.write_str("demo (bundled)"),
            ModelName::Path(path) => path.display().fmt(f),
        }
    }
}

/// `MODEL`.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelArg {
    /// Model folder as published on Hugging Face (config.json, model.safetensors, tokenizer.json), a GGUF file (of a split model the
    /// first), the file that `tern pack` made of either, or `demo` for the bundled model (a folder of that name is ./demo)
    #[arg(value_name = "MODEL")]
    pub model: ModelName,
}

/// Refuses the word for the bundled model where a command needs files, `doing` something with them ("packed"), unless a model of the
/// user's has that name.
pub fn refuse_bundled(path: &Path, doing: &str) -> anyhow::Result<()> {
    if path == Path::new(bundled::NAME) && !path.is_file() && !path.join("config.json").exists() {
        bail!(
            "{0}: the bundled model is part of the program and cannot be {doing}; its files are in tern's repository, in the folder {0}/model",
            bundled::NAME
        );
    }
    Ok(())
}

/// An error of doing something with the model at `path`, with the path where the error does not begin with it.
pub fn naming(error: impl Into<anyhow::Error>, doing: &str, path: &Path) -> anyhow::Error {
    let (error, path) = (error.into(), path.display().to_string());
    match error.to_string().starts_with(&path) {
        true => error.context(format!("cannot {doing} the model")),
        false => error.context(format!("cannot {doing} {path}")),
    }
}

impl ModelName {
    /// Loads the model with a progress bar, starts its threads, and says what a person should know about it.
    pub fn load(&self, setup: Setup) -> anyhow::Result<Loaded> {
        let loaded = self.load_again(setup)?;
        self.announce(&loaded.model);
        Ok(loaded)
    }

    /// The same for a model that was loaded before, of which everything was said.
    pub fn load_again(&self, setup: Setup) -> anyhow::Result<Loaded> {
        let start = Instant::now();
        let bar = Bar::bytes("loading");
        let progress = |progress: tern_runtime::Progress| bar.set(progress.done, progress.total);
        let options = LoadOptions {
            planner: setup.planner,
            threads: setup.threads,
            pages: Pages::Huge,
            head: setup.head,
            residence: setup.residence,
            kv: setup.kv,
            reading: setup.reading,
            progress: Some(&progress),
        };
        let model = match self {
            ModelName::Demo => Model::from_bytes(&bundled::MODEL, &options),
            ModelName::Path(path) => Model::load(path, &options),
        };
        drop(bar);
        let model = Arc::new(model.context("cannot load the model")?);
        let engine = Engine::new(Arc::clone(&model))?;
        Ok(Loaded {
            model,
            engine,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn announce(&self, model: &Model) {
        if model.converted() > 0 {
            remark(format_args!(
                "{} matrices of {self} were packed for other kernels and had to be converted; `tern pack` packs the model's folder for these",
                model.converted()
            ));
        }
        for warning in model.warnings() {
            warn(format_args!("{self}: {warning}"));
        }
        for note in model.tokenizer().map(Tokenizer::notes).unwrap_or_default() {
            warn(format_args!("the tokenizer of {self}: {note}"));
        }
    }

    /// Describes the model; of a folder only the configuration and the headers are read.
    pub fn summary(&self, setup: Setup) -> anyhow::Result<Summary> {
        let options = LoadOptions {
            threads: setup.threads,
            kv: setup.kv,
            reading: setup.reading,
            ..LoadOptions::new(setup.planner)
        };
        let summary = match self {
            ModelName::Path(path) => tern_runtime::inspect(path, &options)?,
            ModelName::Demo => {
                let summary = Model::from_bytes(&bundled::MODEL, &options)?.summary();
                Summary {
                    model: self.to_string(),
                    ..summary
                }
            }
        };
        Ok(summary)
    }
}

/// A model that is ready to run.
pub struct Loaded {
    /// The model.
    pub model: Arc<Model>,
    /// Its threads.
    pub engine: Engine,
    /// How long loading took.
    pub seconds: f64,
}
