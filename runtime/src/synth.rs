//! Models with random weights, of any shape, for speed and load tests.
//!
//! What a token costs depends on a model's shape and not on its weights, so a shape can be timed before anybody trained it. The weights
//! are drawn so that the numbers stay as tame as in trained models: every sub-layer adds equally much to the residual stream, and the best
//! logit stands out by as many standard deviations as wanted.
//!
//! A model is written front to back, from a few rows at a time: it may be larger than the memory.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::Config;
use crate::element::{bf16_to_f32, f32_to_bf16};
use crate::error::ConfigError;
use crate::random::Xoshiro256PlusPlus;
use crate::weights::{layer_norms, layer_shapes};

/// Standard deviations by which the best logit stands out, unless the user says otherwise: as in trained models.
pub const HEAD_SPREAD: f64 = 8.0;

/// Bytes that are drawn and written at a time.
const PIECE: usize = 1 << 20;

/// Values in the table of normally distributed numbers: those of as many equal shares of probability.
const QUANTILES: usize = 1 << 12;

/// The shape of a model, in the words of `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SynthShape {
    /// `bitnet`, with norms before the output and down projections, or `llama`, without.
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of one head; `hidden_size / num_attention_heads` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions at most.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// `relu2` or `silu`.
    pub hidden_act: String,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
}

/// Known shapes: those of public models, and the largest two of bitnet.cpp's made-up ones, whose speed its report gives.
const KNOWN: &[(&str, &str)] = &[
    (
        "bitnet-2b4t",
        include_str!("../../configs/synth/bitnet-2b4t.toml"),
    ),
    (
        "bitnet-3b",
        include_str!("../../configs/synth/bitnet-3b.toml"),
    ),
    (
        "llama3-8b-1.58",
        include_str!("../../configs/synth/llama3-8b-1.58.toml"),
    ),
    (
        "falcon3-10b",
        include_str!("../../configs/synth/falcon3-10b.toml"),
    ),
    ("70b", include_str!("../../configs/synth/70b.toml")),
    ("100b", include_str!("../../configs/synth/100b.toml")),
];

/// Why no model can be made of a shape.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// It is not TOML, or not a shape.
    #[error("{name} is not the shape of a model: {reason}")]
    Malformed {
        /// What the user calls it.
        name: String,
        /// The parser's reason.
        reason: String,
    },
    /// tern would not run it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The best logit would stand out by more than a whole vector.
    #[error(
        "a head spread of {spread} is not above 0 and below {limit:.1}, the square root of hidden_size"
    )]
    Spread {
        /// What was asked for.
        spread: f64,
        /// The bound.
        limit: f64,
    },
    /// The shape's frequencies would not be numbers, or its scales too small or too large for bf16.
    #[error(
        "rope_theta {theta} and a head spread of {spread} give numbers that are 0 or not finite"
    )]
    Number {
        /// The shape's.
        theta: f64,
        /// What was asked for.
        spread: f64,
    },
    /// The destination does not take it, or somebody stopped it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A model to be written.
#[derive(Clone, Debug)]
pub struct Synth {
    shape: SynthShape,
    config: Config,
    seed: u64,
    spread: f64,
}

/// A tensor of the file.
struct Tensor {
    name: String,
    /// As safetensors call it.
    dtype: &'static str,
    shape: Vec<usize>,
    values: Values,
}

/// What a tensor holds.
#[derive(Clone, Copy)]
enum Values {
    /// Four random trits a byte.
    Trits,
    /// Normally distributed bf16 of variance 1. Tensors of the same stream are the same.
    Normal { stream: u64 },
    /// One bf16, repeated.
    Constant(f32),
}

impl SynthShape {
    /// The names of the known shapes.
    pub fn known() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, _)| *name)
    }

    /// A known shape by its name.
    pub fn of_name(name: &str) -> Option<SynthShape> {
        let (name, text) = KNOWN.iter().find(|(known, _)| *known == name)?;
        Some(SynthShape::parse(text, name).expect("the tests parse all of them"))
    }

    /// Reads a shape from TOML. `name` is what messages call it.
    ///
    /// # Errors
    /// [`SynthError::Malformed`].
    pub fn parse(text: &str, name: &str) -> Result<SynthShape, SynthError> {
        toml::from_str(text).map_err(|error| SynthError::Malformed {
            name: name.to_owned(),
            reason: error.to_string().trim().replace('\n', " "),
        })
    }
}

impl Synth {
    /// A model of `shape` whose best logit stands out by `spread` standard deviations. The same seed gives the same bytes.
    ///
    /// # Errors
    /// [`SynthError`] if tern could not run it.
    pub fn new(shape: SynthShape, seed: u64, spread: f64) -> Result<Synth, SynthError> {
        let json = config_json(&shape, seed);
        let config = Config::parse(json.as_bytes(), "the shape")?;
        let limit = (config.hidden_size as f64).sqrt();
        if !(spread > 0.0 && spread < limit) {
            return Err(SynthError::Spread { spread, limit });
        }
        let theta = shape.rope_theta;
        let synth = Synth {
            shape,
            config,
            seed,
            spread,
        };
        let widths = [synth.config.query_width(), synth.config.intermediate_size];
        let scales = widths.map(|cols| synth.scale("o_proj", cols));
        let is_sound = |scale: &f32| bf16_to_f32(f32_to_bf16(*scale)).is_normal();
        match theta.is_finite() && scales.iter().all(is_sound) {
            true => Ok(synth),
            false => Err(SynthError::Number { theta, spread }),
        }
    }

    /// The text of `config.json`.
    pub fn config(&self) -> String {
        config_json(&self.shape, self.seed)
    }

    /// A text that says what the model is, for whoever finds it.
    pub fn readme(&self) -> String {
        format!(
            "# A model with random weights\n\n\
             Written by `tern synth` {} (seed {}, head spread {}) to measure speed and memory. Its ternary weights are random numbers and\n\
             its text is nonsense: do not publish it as a model.\n",
            env!("CARGO_PKG_VERSION"),
            self.seed,
            self.spread
        )
    }

    /// Ternary weights.
    pub fn ternary_weights(&self) -> u64 {
        let layer = layer_shapes(&self.config).into_iter();
        let layer: u64 = layer.map(|(_, s)| s.rows as u64 * s.cols as u64).sum();
        layer * self.config.layers as u64
    }

    /// Writes the weights as safetensors. `progress` hears of the bytes written and of all bytes; where it says `false` the writing ends.
    ///
    /// # Errors
    /// [`SynthError::Io`]; of kind [`io::ErrorKind::Interrupted`] if `progress` ended it.
    pub fn write(
        &self,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), SynthError> {
        let tensors = self.tensors();
        let header = header(&tensors);
        let total = header.len() as u64 + tensors.iter().map(Tensor::bytes).sum::<u64>();
        out.write_all(&header)?;
        let mut done = header.len() as u64;
        let normal = quantiles();
        let mut piece = vec![0; PIECE];
        for (index, tensor) in tensors.iter().enumerate() {
            let stream = match tensor.values {
                Values::Normal { stream } => stream,
                _ => index as u64,
            };
            let mut random = Xoshiro256PlusPlus::new(self.seed ^ stream.rotate_left(32));
            let mut left = tensor.bytes();
            while left > 0 {
                let len = left.min(PIECE as u64) as usize;
                tensor.values.fill(&mut random, &normal, &mut piece[..len]);
                out.write_all(&piece[..len])?;
                left -= len as u64;
                done += len as u64;
                if !progress(done, total) {
                    return Err(io::Error::from(io::ErrorKind::Interrupted).into());
                }
            }
        }
        Ok(())
    }

    /// All tensors, in the order of the file.
    fn tensors(&self) -> Vec<Tensor> {
        let config = &self.config;
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let floats = |name: String, shape: &[usize], values| Tensor {
            name,
            dtype: "BF16",
            shape: shape.to_vec(),
            values,
        };
        let embedding = Values::Normal { stream: u64::MAX };
        let mut tensors = vec![floats(
            "model.embed_tokens.weight".to_owned(),
            &[vocab, hidden],
            embedding,
        )];
        for layer in 0..config.layers {
            for (name, shape) in layer_shapes(config) {
                let name = format!("model.layers.{layer}.{name}");
                let rows = shape.rows / 4;
                tensors.push(Tensor {
                    name: format!("{name}.weight"),
                    dtype: "U8",
                    shape: vec![rows, shape.cols],
                    values: Values::Trits,
                });
                let scale = Values::Constant(self.scale(&name, shape.cols));
                tensors.push(floats(format!("{name}.weight_scale"), &[1], scale));
            }
            for (name, len) in layer_norms(config) {
                let name = format!("model.layers.{layer}.{name}.weight");
                tensors.push(floats(name, &[len], Values::Constant(1.0)));
            }
        }
        tensors.push(floats(
            "model.norm.weight".to_owned(),
            &[hidden],
            Values::Constant(1.0),
        ));
        if !config.tied_head {
            // The embedding's numbers: so a token's own logit stands out there too.
            tensors.push(floats(
                "lm_head.weight".to_owned(),
                &[vocab, hidden],
                embedding,
            ));
        }
        tensors
    }

    /// The scale of a matrix. Its products have variance 1 for inputs of variance 1, those into the residual stream one such that all of
    /// them together leave the token's own embedding as much of the stream as makes its logit stand out: with a cosine of `c` by
    /// `c sqrt(hidden)` standard deviations.
    fn scale(&self, name: &str, cols: usize) -> f32 {
        // Two trits of three are not 0.
        let unit = (1.5 / cols as f64).sqrt();
        let into_stream = name.ends_with("o_proj") || name.ends_with("down_proj");
        if !into_stream {
            return unit as f32;
        }
        let cosine = self.spread / (self.config.hidden_size as f64).sqrt();
        let added = (1.0 / (cosine * cosine) - 1.0) / (2.0 * self.config.layers as f64);
        (unit * added.sqrt()) as f32
    }
}

impl Tensor {
    fn bytes(&self) -> u64 {
        let size = if self.dtype == "U8" { 1 } else { 2 };
        size * self.shape.iter().map(|&n| n as u64).product::<u64>()
    }
}

impl Values {
    fn fill(self, random: &mut Xoshiro256PlusPlus, normal: &[u16; QUANTILES], out: &mut [u8]) {
        match self {
            Values::Trits => {
                for out in out.chunks_mut(4) {
                    let bits = random.next();
                    for (i, out) in out.iter_mut().enumerate() {
                        // 81 ways, each as likely as the others to one part in 800.
                        let sixteen = bits >> (16 * i) & 0xffff;
                        *out = FOUR_TRITS[((sixteen * 81) >> 16) as usize];
                    }
                }
            }
            Values::Normal { .. } => {
                for out in out.chunks_mut(8) {
                    let bits = random.next();
                    for (i, out) in out.chunks_mut(2).enumerate() {
                        let twelve = (bits >> (16 * i)) as usize % QUANTILES;
                        out.copy_from_slice(&normal[twelve].to_le_bytes()[..out.len()]);
                    }
                }
            }
            Values::Constant(value) => {
                let bytes = f32_to_bf16(value).to_le_bytes();
                for (out, byte) in out.iter_mut().zip(bytes.into_iter().cycle()) {
                    *out = byte;
                }
            }
        }
    }
}

/// The bytes of four codes 0, 1 or 2 each.
const FOUR_TRITS: [u8; 81] = {
    let mut bytes = [0; 81];
    let mut i = 0;
    while i < 81 {
        bytes[i] = (i % 3 + (i / 3 % 3) * 4 + (i / 9 % 3) * 16 + (i / 27) * 64) as u8;
        i += 1;
    }
    bytes
};

/// Numbers of a normal distribution as bf16: the middles of shares of equal probability, so that any of them is as likely.
fn quantiles() -> Box<[u16; QUANTILES]> {
    let mut table = Box::new([0; QUANTILES]);
    // The distribution function, summed up in small steps: no formula of its inverse is needed.
    const STEP: f64 = 1.0 / 4096.0;
    let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let (mut x, mut below) = (-6.0, 0.0);
    for (i, entry) in table.iter_mut().enumerate() {
        let wanted = (i as f64 + 0.5) / QUANTILES as f64;
        while below < wanted && x < 6.0 {
            below += density(x + STEP / 2.0) * STEP;
            x += STEP;
        }
        *entry = f32_to_bf16(x as f32);
    }
    table
}

fn header(tensors: &[Tensor]) -> Vec<u8> {
    let mut text =
        String::from("{\"__metadata__\":{\"format\":\"pt\",\"tern\":\"random weights\"}");
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes();
        let Tensor {
            name, dtype, shape, ..
        } = tensor;
        let _ = write!(
            text,
            ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
        );
        start = end;
    }
    text.push('}');
    // The data begins at a multiple of eight bytes.
    while text.len() % 8 != 0 {
        text.push(' ');
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.into_bytes());
    bytes
}

fn config_json(shape: &SynthShape, seed: u64) -> String {
    let class = match shape.model_type.as_str() {
        "llama" => "LlamaForCausalLM",
        _ => "BitNetForCausalLM",
    };
    let mut config = serde_json::to_value(shape).expect("numbers and strings are JSON");
    config["architectures"] = json!([class]);
    config["rms_norm_eps"] = json!(1e-5);
    config["torch_dtype"] = json!("bfloat16");
    config["quantization_config"] = json!({
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
    });
    config["tern_synth"] = json!(format!(
        "random weights, seed {seed}: for measurements only"
    ));
    let mut text = serde_json::to_string_pretty(&config).expect("a value is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Engine, HeadMode, LoadOptions, Logits, Model, ModelBytes, Sampler, Sampling, Work,
    };
    use std::sync::Arc;
    use tern_kernels::{Cpu, Planner};

    fn tiny(model_type: &str, tied: bool) -> SynthShape {
        SynthShape {
            model_type: model_type.to_owned(),
            hidden_size: 128,
            intermediate_size: 352,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: None,
            vocab_size: 1000,
            max_position_embeddings: 64,
            rope_theta: 10_000.0,
            hidden_act: "relu2".to_owned(),
            tie_word_embeddings: tied,
        }
    }

    fn bytes(synth: &Synth) -> Vec<u8> {
        let mut out = Vec::new();
        let mut last = (0, 0);
        synth
            .write(&mut out, &mut |done, total| {
                last = (done, total);
                true
            })
            .unwrap();
        assert_eq!(last, (out.len() as u64, out.len() as u64));
        out
    }

    /// An engine of a written model.
    fn engine(config: &str, weights: &[u8], head: HeadMode, threads: usize) -> Engine {
        let model = ModelBytes {
            config: config.as_bytes(),
            weights,
            tokenizer: None,
            generation_config: None,
        };
        let planner = Planner::new(Cpu::detect(), None, None).unwrap();
        let options = LoadOptions {
            head,
            threads: threads.max(1),
            ..LoadOptions::new(planner)
        };
        Engine::new(Arc::new(Model::from_bytes(&model, &options).unwrap())).unwrap()
    }

    #[test]
    fn every_known_shape_is_one_that_runs() {
        for (name, weights) in [
            ("bitnet-2b4t", 2.084e9),
            ("llama3-8b-1.58", 6.98e9),
            ("100b", 100e9),
        ] {
            let shape = SynthShape::of_name(name).unwrap();
            let synth = Synth::new(shape, 1, HEAD_SPREAD).unwrap();
            let found = synth.ternary_weights() as f64;
            assert!((found / weights - 1.0).abs() < 0.02, "{name}: {found}");
        }
        for name in SynthShape::known() {
            let shape = SynthShape::of_name(name).unwrap();
            Synth::new(shape, 1, HEAD_SPREAD).unwrap();
        }
        assert!(SynthShape::of_name("nobody").is_none());
    }

    #[test]
    fn a_written_model_loads_and_its_best_logit_stands_out_as_asked() {
        for (model_type, tied) in [("bitnet", true), ("bitnet", false), ("llama", true)] {
            let synth = Synth::new(tiny(model_type, tied), 7, 5.0).unwrap();
            let (config, weights) = (synth.config(), bytes(&synth));
            assert_eq!(weights, bytes(&synth), "the same seed gives the same bytes");
            let other = Synth::new(tiny(model_type, tied), 8, 5.0).unwrap();
            assert_ne!(weights, bytes(&other));
            let mut engine = engine(&config, &weights, HeadMode::Exact, Cpu::detect().cores);
            let model = Arc::clone(engine.model());
            let mut sequence = model.sequence();
            let tokens: Vec<u32> = (0..40).map(|i| i * 37 % 1000).collect();
            let work = Work {
                sequence: &mut sequence,
                tokens: &tokens,
                logits: Logits::All,
            };
            let mut step = [work];
            let found = engine.step(&mut step).unwrap();
            let mut spreads = Vec::new();
            for (row, &token) in found.rows(0).chunks(1000).zip(&tokens) {
                let mean = row.iter().sum::<f32>() / 1000.0;
                let deviation =
                    (row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 1000.0).sqrt();
                spreads.push((row[token as usize] - mean) / deviation);
            }
            let mean = spreads.iter().sum::<f32>() / spreads.len() as f32;
            // The model is small and, without sub-norms, its stream is only about as wide as planned.
            assert!((3.0..8.0).contains(&mean), "{model_type}: {mean}");
        }
    }

    /// A head of more than 8 MiB, which is screened: the tokens and their logits are those of the full head, whatever the threads, and few
    /// rows are scored for them.
    #[test]
    fn greedy_tokens_by_bounds_are_those_of_the_full_head() {
        let shape = SynthShape {
            vocab_size: 33_000,
            max_position_embeddings: 512,
            ..tiny("bitnet", false)
        };
        let synth = Synth::new(shape, 3, 6.0).unwrap();
        let (config, weights) = (synth.config(), bytes(&synth));
        let best = |head, threads| {
            let mut engine = engine(&config, &weights, head, threads);
            let model = Arc::clone(engine.model());
            let mut sequence = model.sequence();
            let mut found = Vec::new();
            let mut random = Xoshiro256PlusPlus::new(9);
            for _ in 0..300 {
                let tokens = [(random.next() % 33_000) as u32];
                let work = Work {
                    sequence: &mut sequence,
                    tokens: &tokens,
                    logits: Logits::Best,
                };
                let mut step = [work];
                let output = engine.step(&mut step).unwrap();
                let token = crate::sample::argmax(output.last(0)).unwrap();
                found.push((token, output.last(0)[token as usize].to_bits()));
            }
            (found, engine.head_use())
        };
        let (expected, unused) = best(HeadMode::Full, 2);
        assert_eq!((unused.screened, unused.full), (0, 300));
        for threads in [1, 2, 3] {
            let (found, used) = best(HeadMode::Exact, threads);
            assert_eq!(found, expected);
            assert_eq!((used.screened, used.full), (300, 0));
            assert!(used.rows < 300 * 3300, "{used:?}");
        }
    }

    /// The same for sampled texts, whatever the filters: the same tokens for the same seeds, from fewer bytes where bounds help.
    #[test]
    fn sampled_tokens_by_bounds_are_those_of_the_full_head() {
        let shape = SynthShape {
            vocab_size: 33_000,
            max_position_embeddings: 512,
            ..tiny("bitnet", false)
        };
        let synth = Synth::new(shape, 4, 6.0).unwrap();
        let (config, weights) = (synth.config(), bytes(&synth));
        let sampling = |temperature, top_k, top_p, min_p, seed| Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        };
        let draws = |head, threads, sampling: &Sampling| {
            let mut engine = engine(&config, &weights, head, threads);
            let model = Arc::clone(engine.model());
            let mut sequence = model.sequence();
            let mut sampler = Sampler::new(sampling.clone()).unwrap();
            let (mut token, mut found) = (1, Vec::new());
            for _ in 0..60 {
                let work = Work {
                    sequence: &mut sequence,
                    tokens: &[token],
                    logits: sampling.logits(),
                };
                token = sampler
                    .sample(engine.step(&mut [work]).unwrap().last(0))
                    .unwrap();
                found.push(token);
            }
            (found, engine.head_use())
        };
        for seed in 0..5 {
            for (sampling, helps) in [
                (sampling(1.0, 40, 1.0, 0.0, seed), true),
                (sampling(0.7, 5, 0.9, 0.0, seed), true),
                (sampling(1.5, 100, 0.95, 0.02, seed), true),
                (sampling(1.0, 1, 1.0, 0.0, seed), true),
                (sampling(1.0, 0, 1.0, 0.05, seed), true),
                (sampling(2.0, 0, 1.0, 0.3, seed), true),
                (sampling(1.0, 0, 0.9, 0.05, seed), false),
                (sampling(1.0, 20_000, 1.0, 0.0, seed), false),
                (sampling(1.0, 0, 1.0, 0.0, seed), false),
            ] {
                let (expected, full) = draws(HeadMode::Full, 2, &sampling);
                let (found, used) = draws(HeadMode::Exact, 1 + seed as usize % 3, &sampling);
                assert_eq!(found, expected, "{sampling:?}");
                assert_eq!(used.screened, if helps { 60 } else { 0 }, "{sampling:?}");
                assert_eq!(used.bytes < full.bytes, helps, "{sampling:?} {used:?}");
            }
        }
    }

    /// Logits of a quantized head are close to those of the head, for all positions of a prompt, and the same bits whatever the threads.
    #[test]
    fn a_quantized_head_is_close_and_does_not_depend_on_threads() {
        let synth = Synth::new(tiny("bitnet", false), 5, 6.0).unwrap();
        let (config, weights) = (synth.config(), bytes(&synth));
        let all = |head, threads| {
            let mut engine = engine(&config, &weights, head, threads);
            let mut sequence = engine.model().sequence();
            let tokens: Vec<u32> = (0..30).map(|i| i * 37 % 1000).collect();
            let work = Work {
                sequence: &mut sequence,
                tokens: &tokens,
                logits: Logits::All,
            };
            let found = engine.step(&mut [work]).unwrap().rows(0).to_vec();
            (found, engine.model().summary().bytes)
        };
        let (exact, full_bytes) = all(HeadMode::Full, 2);
        let size = exact.iter().map(|x| x * x).sum::<f32>();
        for (head, most) in [(HeadMode::Q8, 0.022), (HeadMode::Q6, 0.06)] {
            let (found, found_bytes) = all(head, 1);
            assert_eq!(found, all(head, 3).0);
            let rest = found.iter().zip(&exact).map(|(a, b)| (a - b).powi(2));
            let error = (rest.sum::<f32>() / size).sqrt();
            assert!(error > most / 4.0 && error < most, "{head:?}: {error}");
            // The head itself is not kept beside it.
            assert_eq!(found_bytes.head, 0);
            assert!(found_bytes.weights() < full_bytes.weights());
        }
    }

    #[test]
    fn what_cannot_run_is_refused_and_who_stops_it_stops_it() {
        let odd = SynthShape {
            num_key_value_heads: 3,
            ..tiny("bitnet", true)
        };
        let error = Synth::new(odd, 1, 8.0).unwrap_err().to_string();
        assert!(error.contains("num_key_value_heads"), "{error}");
        let infinite = SynthShape {
            rope_theta: f64::INFINITY,
            ..tiny("bitnet", true)
        };
        assert!(Synth::new(infinite, 1, 8.0).is_err());
        assert!(Synth::new(tiny("bitnet", true), 1, 1e-45).is_err());
        let error = Synth::new(tiny("bitnet", true), 1, 20.0).unwrap_err();
        assert!(error.to_string().contains("below 11.3"), "{error}");
        let error = SynthShape::parse("layers = 1", "x.toml")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("x.toml") && error.contains("layers"),
            "{error}"
        );
        let synth = Synth::new(tiny("bitnet", true), 1, 8.0).unwrap();
        let stopped = synth.write(&mut Vec::new(), &mut |_, _| false).unwrap_err();
        assert!(
            matches!(stopped, SynthError::Io(error) if error.kind() == io::ErrorKind::Interrupted)
        );
    }

    #[test]
    fn the_table_is_of_a_normal_distribution() {
        let table = quantiles();
        let values = table.iter().map(|&bits| f64::from(bf16_to_f32(bits)));
        let values: Vec<f64> = values.collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| x * x).sum::<f64>() / n;
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02,
            "{mean} {variance}"
        );
        assert!(values.is_sorted());
    }
}
