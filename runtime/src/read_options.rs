//! What the user says of a model whose files are silent or wrong: the same words wherever a model is read, to be run, packed or converted.

use crate::config::{Activation, ActivationScales, Config, ScaleRule};
use crate::gguf::I2sLayout;
use crate::note::{Note, Setting};

/// How the files of a model are read, where they do not say it or say it wrongly. By default as they are, and what they do not say is guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The function of the feed-forward gate, where the file's is wrong or missing.
    pub activation: Option<Activation>,
    /// How many activations share a scale, where the model's files do not say, or wrongly.
    pub activation_scales: Option<ActivationScales>,
    /// What weight scales do to sums, where the file has the inverse of those that it should have.
    pub weight_scales: Option<ScaleRule>,
    /// How the trits of I2_S lie in a GGUF file, which nothing in it tells.
    pub i2s_layout: I2sLayout,
}

impl ReadOptions {
    /// A model's configuration with what the user says of it.
    pub(crate) fn applied(&self, config: Config) -> Config {
        config
            .with_activation(self.activation)
            .with_scales(self.activation_scales, self.weight_scales)
    }

    /// Whether the user has said what a note leaves open.
    pub(crate) fn settles(&self, note: &Note) -> bool {
        note.settled_by.is_some_and(|setting| match setting {
            Setting::Activation => self.activation.is_some(),
            Setting::ActivationScales => self.activation_scales.is_some(),
            Setting::WeightScales => self.weight_scales.is_some(),
        })
    }

    /// Whether the configuration is another one than that of the files.
    pub(crate) fn changes_config(&self) -> bool {
        let ReadOptions {
            activation,
            activation_scales,
            weight_scales,
            i2s_layout: _,
        } = self;
        activation.is_some() || activation_scales.is_some() || weight_scales.is_some()
    }
}
