//! How tokens are chosen: options of the commands that generate text.

use clap::error::ErrorKind;
use tern_runtime::Sampling;

use crate::args::usage_error;
use crate::output::remark;

/// The options.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Temperature: 0 always takes the most likely token, 1 samples what the model predicts
    #[arg(
        long,
        value_name = "T",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    temp: f32,
    /// Sample only among the K most likely tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Sample only among the most likely tokens that together have probability P
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Sample no token whose probability is less than P times that of the most likely one
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    min_p: f32,
    /// Seed of the random generator: a text can be repeated
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl SamplingArgs {
    /// The library's form of it. Ends the program as clap does where a number is out of range; says so where one has no effect.
    pub fn checked(&self, command: &str) -> Sampling {
        let sampling = self.sampling();
        if let Err(error) = sampling.validate() {
            usage_error(command, ErrorKind::ValueValidation, error);
        }
        if sampling.temperature == 0.0 && sampling != Sampling::default() {
            remark(
                "note: at --temp 0 the most likely token is taken; --seed, --top-k, --top-p and --min-p change nothing",
            );
        }
        sampling
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: self.seed,
        }
    }
}
