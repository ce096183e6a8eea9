//! `tern inspect`: what a model is made of, and which kernels it will use.

use std::fmt::Write as _;

use serde::Serialize;
use tern_kernels::Tile;
use tern_runtime::config::{ActivationScales, Config, RopeScaling, ScaleRule, WeightSource};
use tern_runtime::{Matrix, PackedSummary, Summary};
use tern_tune::tile_text;

use crate::Ending;
use crate::args::{EngineArgs, JsonArg};
use crate::load::ModelArg;
use crate::output::{BOLD, bytes, count, paint, plural, print, print_json};
use crate::plan::{ProfileUse, ThreadsOf};
use crate::table::{Align, Table};

/// Shows what a model is made of and which kernels it will use, and why.
///
/// Of a model folder only config.json and the headers of the weight files are read, and the first layer of floats that have to be
/// looked at to find their scales. Of a GGUF file also all weights of the first layer. The notes say what was decided where the files are silent, and what looks wrong. The last columns of the table say
/// which kernel and tile the plan chose for each matrix and where that came from: the profile, its nearest entry, the
/// estimate, or --kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern inspect demo
  tern inspect ./bitnet-b1.58-2B-4T --threads 4
  tern inspect demo --profile none --max-isa avx2     what a CPU without AVX-512 would use
  tern inspect demo --json | jq '.matrices[] | {name, kernel, source}'")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    json: JsonArg,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    threads_of: ThreadsOf,
    profile: &'a ProfileUse,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let setup = args.engine.setup()?;
    let (profile, threads_of) = (setup.profile.clone(), setup.threads_of);
    let summary = args.model.model.summary(setup)?;
    if args.json.json {
        print_json(&Report {
            summary: &summary,
            threads_of,
            profile: &profile,
        })?;
    } else {
        print(format_args!(
            "{}\n{}\n{}{}",
            facts(&summary),
            sizes(&summary),
            matrices(&summary, threads_of),
            notes(&summary)
        ))?;
    }
    Ok(Ending::Done)
}

fn model(summary: &Summary) -> String {
    match summary.packed {
        None => summary.model.clone(),
        Some(PackedSummary { matrices, fitting }) => format!(
            "{} (packed; {fitting} of {matrices} ternary matrices as these kernels read them)",
            summary.model
        ),
    }
}

/// Name and value pairs, one a line.
fn facts(summary: &Summary) -> String {
    let config = &summary.config;
    let parameters = &summary.parameters;
    let total = parameters.ternary + parameters.dense + parameters.norms;
    let head = match config.tied_head {
        true => "tied to the embedding",
        false => "separate",
    };
    let lines = [
        ("model", model(summary)),
        ("architecture", architecture(config)),
        ("activation", activation(config)),
        ("attention", attention(config)),
        (
            "vocabulary",
            format!("{} tokens, head {head}", config.vocab_size),
        ),
        (
            "tokenizer",
            summary.tokenizer.clone().unwrap_or("none".to_owned()),
        ),
        ("context", format!("{} positions", config.context)),
        ("ternary weights", quantization(config)),
        (
            "parameters",
            format!(
                "{} ({} ternary, {} dense)",
                count(total),
                count(parameters.ternary),
                count(parameters.dense)
            ),
        ),
    ];
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{} {value}", paint(BOLD, format_args!("{name:<16}")));
        text
    })
}

fn architecture(config: &Config) -> String {
    let sub_norms = match config.has_sub_norms() {
        true => ", sub-norms",
        false => "",
    };
    let head_norms = match config.has_head_norms() {
        true => ", norms of queries and keys",
        false => "",
    };
    format!(
        "{:?}, {} of width {}, feed-forward {}{sub_norms}{head_norms}",
        config.architecture,
        plural(config.layers, "layer"),
        config.hidden_size,
        config.intermediate_size,
    )
}

fn activation(config: &Config) -> String {
    format!(
        "{}, by {}",
        config.activation.name(),
        config.activation_reason
    )
}

/// What a person should know beside the numbers.
fn notes(summary: &Summary) -> String {
    let lines = summary.notes.iter().enumerate();
    lines.fold(String::new(), |mut text, (index, note)| {
        let gap = if index == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}{} {note}", paint(BOLD, "note:"));
        text
    })
}

fn attention(config: &Config) -> String {
    format!(
        "{} of width {}, {} for keys and values, RoPE base {}{}",
        plural(config.heads, "head"),
        config.head_dim,
        config.kv_heads,
        config.rope_theta,
        match &config.rope_scaling {
            RopeScaling::None => String::new(),
            RopeScaling::Linear { factor } => format!(", linear scaling by {factor}"),
            RopeScaling::Llama3 { factor, .. } => format!(", llama3 scaling by {factor}"),
            RopeScaling::Yarn { factor, .. } => format!(", YaRN scaling by {factor}"),
            RopeScaling::Factors { .. } => ", a factor for each frequency".to_owned(),
        }
    )
}

fn quantization(config: &Config) -> String {
    let weights = match config.quantization.weights {
        WeightSource::Offline => "packed in the file",
        WeightSource::Online => "made from master weights while loading (absmean)",
        WeightSource::Exact => "floats that are ternary",
        WeightSource::Blocks => "in the GGUF file, each matrix in its type",
    };
    let activations = match config.quantization.activations {
        ActivationScales::Token => "int8 activations by position",
        ActivationScales::Groups => "int8 activations by groups",
    };
    let scale = match config.quantization.scale {
        ScaleRule::Multiply => "scales multiply",
        ScaleRule::Divide => "scales divide",
    };
    let linear_norms = match config.quantization.linear_norm_eps {
        Some(_) => ", a norm before every linear layer",
        None => "",
    };
    format!("{weights}, {scale}, {activations}{linear_norms}")
}

/// Bytes by part.
fn sizes(summary: &Summary) -> String {
    let parts = &summary.bytes;
    let context = summary.config.context;
    let mut table = Table::new(&[
        ("memory", Align::Left),
        ("bytes", Align::Right),
        ("", Align::Right),
    ]);
    let mut row =
        |name: &str, value: u64| table.row([name.to_owned(), value.to_string(), bytes(value)]);
    row("ternary matrices, packed", parts.ternary);
    row("token embedding", parts.embedding);
    if parts.head > 0 {
        row("head", parts.head);
    }
    if parts.head_copy > 0 {
        row("copy of the head in few bits", parts.head_copy);
    }
    row("norms", parts.norms);
    row("all weights", parts.weights());
    row("read for each token", parts.read_per_token);
    if parts.read_per_greedy_token < parts.read_per_token {
        row("read for each greedy token", parts.read_per_greedy_token);
    }
    let kv = parts.kv_type;
    row(
        &format!("keys and values of a position ({kv})"),
        parts.cache_per_position,
    );
    row(
        &format!("keys and values of {context} positions ({kv})"),
        summary.cache_bytes(context),
    );
    table.to_string()
}

/// How many of a matrix's weights share a scale.
fn scales(matrix: &Matrix) -> String {
    match matrix.scales.group {
        0 => matrix.scales.granularity.name().to_owned(),
        columns => format!("{columns} columns"),
    }
}

/// The plan.
fn matrices(summary: &Summary, threads_of: ThreadsOf) -> String {
    let mut table = Table::new(&[
        ("matrix", Align::Left),
        ("rows x cols", Align::Right),
        ("count", Align::Right),
        ("bits", Align::Right),
        ("a scale for", Align::Left),
        ("kernel", Align::Left),
        ("tile", Align::Left),
        ("chosen by", Align::Left),
    ]);
    for matrix in &summary.matrices {
        table.row([
            matrix.name.to_owned(),
            format!("{}x{}", matrix.rows, matrix.cols),
            matrix.count.to_string(),
            format!("{:.3}", matrix.bits_per_weight),
            scales(matrix),
            matrix.kernel.to_owned(),
            tile_text(&Tile {
                k_blocks: matrix.tile_k_blocks,
                chunk: matrix.tile_chunk,
                prefetch: matrix.tile_prefetch,
                tables: matrix.tile_tables,
            }),
            matrix.source.clone(),
        ]);
    }
    let whose = match threads_of {
        ThreadsOf::Profile => " (of the profile)",
        ThreadsOf::User | ThreadsOf::Cores => "",
    };
    let threads = plural(summary.threads, "thread");
    format!("{table}planned for {threads}{whose}\n")
}
