//! `tern bench`: how fast a model reads prompts and writes tokens, in the conventions of llama-bench.

mod print;
mod system;
mod test;
mod times;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::error::ErrorKind;
use serde::Serialize;
use tern_kernels::{Cpu, Pages};
use tern_runtime::{HeadUse, KvType, Logits, Sequence, Work};
use tern_tune::{Random, Spread, bandwidth, check_writable, dot_peak, write_atomically};

use crate::Ending;
use crate::args::{
    EngineArgs, HeadArg, IsaArg, KernelArg, KvArg, LoadArg, Numbers, ProfileArg, ReadArgs,
    ThreadsArg, thread_counts, usage_error,
};
use crate::interrupt::Watch;
use crate::load::{Loaded, ModelArg};
use crate::output::{plural, remark, warn};
use crate::progress::Bar;
use print::{Format, Printer};
use system::{Energy, cpu_seconds, major_faults, peak_memory, reset_peak_memory};
use test::{PromptAndText, Test};
use times::TokenTime;

/// Rounds of the streaming bandwidth before each repetition.
const STREAM_ROUNDS: usize = 5;

/// Rounds of the dot product's peak before each repetition of a prompt.
const DOT_ROUNDS: usize = 5;

/// Measures how fast a model reads prompts and writes tokens.
///
/// Conventions are those of llama-bench: pp512 reads a prompt of 512 tokens, tg128 writes 128, each several times after a warm-up,
/// and neither tokenization nor sampling is counted. Beside tokens a second it says what limits them: the bytes of weights and cache
/// that a token reads, how many of them come a second, and which share that is of the streaming bandwidth, which is measured
/// before every repetition; for a prompt, whose tokens share the weights, the share of the CPU's dot product that the ternary
/// matrices alone make use of, measured likewise; the seconds that all cores together spend on a token; the most memory that the program had; and the
/// energy of a token, where the system tells it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tern bench ./model                            pp512 and tg128 with one thread and with all cores
  tern bench demo -p 128 -n 64                  the bundled model has room for 256 tokens
  tern bench ./model -t 1,2 -r 3 -o json        for machines
  tern bench ./model -p 0 --profile-time        where the time of a written token goes
  tern bench ./model -p 0 -n 64 -d 0,1024       writing only, from the start and after 1024 tokens
  tern synth --shape llama3-8b-1.58 ./random && tern bench ./random")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Tokens of prompts to read, separated by commas; 0 for none
    #[arg(short = 'p', long, value_name = "LIST", default_value = "512")]
    n_prompt: Numbers,
    /// Numbers of tokens to write, separated by commas; 0 for none
    #[arg(short = 'n', long, value_name = "LIST", default_value = "128")]
    n_gen: Numbers,
    /// A prompt and a text after it, as one test; may be given several times (-pg will do, too)
    #[arg(long, value_name = "PROMPT,TOKENS")]
    pg: Vec<PromptAndText>,
    /// Tokens that are in the cache before a test, separated by commas
    #[arg(short = 'd', long, value_name = "LIST", default_value = "0")]
    n_depth: Numbers,
    /// Thread counts, separated by commas [default: 1 and all usable cores]
    #[arg(short, long, value_name = "LIST", value_parser = thread_counts)]
    threads: Option<Numbers>,
    /// Repetitions of each test
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    repetitions: u64,
    /// How results are printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Md)]
    output: Format,
    /// Do not run each test once before it counts
    #[arg(long)]
    no_warmup: bool,
    /// Also say where a token's time goes: kernels by matrix, tables, norms, attention, head, barriers (one more repetition, recorded)
    #[arg(long)]
    profile_time: bool,
    /// Draw that as well, as SVG
    #[arg(long, value_name = "FILE", requires = "profile_time")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    kernel: KernelArg,
    #[command(flatten)]
    isa: IsaArg,
    #[command(flatten)]
    head: HeadArg,
    #[command(flatten)]
    load: LoadArg,
    #[command(flatten)]
    kv: KvArg,
    #[command(flatten)]
    read: ReadArgs,
}

/// The result of one test with one number of threads. Names that llama-bench has too mean the same.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Measured {
    /// `pp512`, `tg128`, …
    test: String,
    model_filename: String,
    /// Bytes of weights in memory.
    model_size: u64,
    model_n_params: u64,
    cpu_info: String,
    engine: &'static str,
    n_threads: usize,
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    /// How keys and values are kept.
    type_k: KvType,
    type_v: KvType,
    /// Nanoseconds and tokens a second of each repetition, their mean and standard deviation.
    avg_ns: f64,
    stddev_ns: f64,
    avg_ts: f64,
    stddev_ts: f64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
    /// Bytes of weights and cache that writing one token reads, on average; none for prompts, whose tokens share them.
    bytes_per_token: Option<u64>,
    /// The same a second, 10^9 of them.
    gb_per_s: Option<f64>,
    /// Streaming bandwidth in the same rounds, 10^9 bytes a second: median and all rounds.
    stream_gb_per_s: f64,
    stream_samples: Vec<f64>,
    /// Rows of the head that were scored for a token where bounds were used.
    head_rows_per_token: Option<f64>,
    /// Bytes of the head and its copy that a token read, part of `bytes_per_token`.
    head_bytes_per_token: u64,
    /// Bytes a second over the streaming bandwidth: the median over the repetitions.
    bandwidth_share: Option<f64>,
    /// For prompts, the peak of the dot product of bytes in the same rounds, 10^9 products a second: median and all rounds; none where the
    /// CPU has no dot product.
    dot_g_per_s: Option<f64>,
    dot_samples: Vec<f64>,
    /// Ternary weights times tokens a second over that peak: the median over the repetitions.
    dot_share: Option<f64>,
    /// Seconds of all cores together for a token, where the system tells them.
    core_seconds_per_token: Option<f64>,
    /// The most memory that the program had during the test, where the system tells it.
    peak_bytes: Option<u64>,
    /// Pages that had to be fetched from a disk for a token, where the system tells it: of a model that stays in its file.
    major_faults_per_token: Option<f64>,
    /// Energy of the CPU's packages for a token, where the system tells it.
    joules_per_token: Option<f64>,
    /// Where the time of a token goes, if that was asked for.
    token_time: Option<TokenTime>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Ending> {
    let tests = args.tests();
    if tests.is_empty() {
        let message = "nothing to do: -p and -n are 0 and there is no --pg";
        usage_error("bench", ErrorKind::ValueValidation, message);
    }
    if let Some(svg) = &args.svg {
        // Before anything is measured.
        check_writable(svg)?;
    }
    let cpu = args.isa.cpu();
    let mut printer = Printer::new(args.output);
    let mut times = Vec::new();
    for (index, threads) in args.thread_counts(&cpu).into_iter().enumerate() {
        let engine = EngineArgs {
            threads: ThreadsArg::exactly(threads),
            profile: args.profile.clone(),
            kernel: args.kernel.clone(),
            isa: args.isa.clone(),
            head: args.head,
            load: args.load,
            kv: args.kv,
            read: args.read,
        };
        // What is to be said of profile and model is the same for all.
        let mut loaded = match index {
            0 => args.model.model.load(engine.setup()?)?,
            _ => args.model.model.load_again(engine.setup_again()?)?,
        };
        // Before anything is measured: nobody wants to wait for half of the results.
        check(&tests, loaded.model.config().context)?;
        let watch = Watch::new();
        for test in &tests {
            let Some(measured) = measure(args, &cpu, &mut loaded, threads, test, &watch)? else {
                warn("stopped; what was printed before is complete");
                printer.finish()?;
                return Ok(Ending::Interrupted);
            };
            if let Some(time) = &measured.token_time {
                let name = format!("{}, {}", measured.test, plural(threads, "thread"));
                times.push((name, time.clone()));
            }
            printer.add(measured)?;
        }
    }
    printer.finish()?;
    if let Some(svg) = &args.svg {
        let times: Vec<_> = times
            .iter()
            .map(|(name, time)| (name.clone(), time))
            .collect();
        let model = format!("{} on {}", args.model.model, cpu.brand);
        let figure = times::figure("Where a token's time goes".to_owned(), model, &times);
        write_atomically(svg, &figure.to_svg())?;
        remark(format_args!("wrote {}", svg.display()));
    }
    Ok(Ending::Done)
}

impl Args {
    /// All tests, in llama-bench's order: prompts, texts, both.
    fn tests(&self) -> Vec<Test> {
        let numbers =
            |list: &Numbers| -> Vec<usize> { list.0.iter().map(|&n| n as usize).collect() };
        let pairs = self.pg.iter().map(|pair| (pair.prompt, pair.text));
        let prompts = numbers(&self.n_prompt).into_iter().map(|n| (n, 0));
        let texts = numbers(&self.n_gen).into_iter().map(|n| (0, n));
        let all: Vec<(usize, usize)> = prompts.chain(texts).chain(pairs).collect();
        let of_depth = |depth| {
            let all = all.clone().into_iter();
            all.map(move |(prompt, text)| Test {
                prompt,
                text,
                depth,
            })
        };
        let tests = numbers(&self.n_depth).into_iter().flat_map(of_depth);
        tests.filter(|test| test.tokens() > 0).collect()
    }

    fn thread_counts(&self, cpu: &Cpu) -> Vec<usize> {
        match &self.threads {
            Some(list) => list.0.iter().map(|&count| count as usize).collect(),
            None if cpu.cores > 1 => vec![1, cpu.cores],
            None => vec![1],
        }
    }
}

/// Whether the model has room for all tests.
fn check(tests: &[Test], context: usize) -> anyhow::Result<()> {
    for test in tests {
        let positions = test.depth + test.tokens();
        if positions > context {
            anyhow::bail!(
                "{} needs {positions} positions, but the model has {context}; choose smaller numbers with -p, -n and -d",
                test.name()
            );
        }
    }
    Ok(())
}

/// One repetition.
struct Sample {
    seconds: f64,
    /// Rows of the head that were scored where bounds were used, for each token.
    head_rows: f64,
    /// Bytes of the head and its copy that were read, for each token.
    head_bytes: f64,
    peak_bytes: Option<u64>,
    core_seconds: Option<f64>,
    major_faults: Option<f64>,
    joules: Option<f64>,
}

/// All repetitions of a test; `None` if the user stopped it.
fn measure(
    args: &Args,
    cpu: &Cpu,
    loaded: &mut Loaded,
    threads: usize,
    test: &Test,
    watch: &Watch,
) -> anyhow::Result<Option<Measured>> {
    let energy = Energy::of_system();
    let repetitions = args.repetitions as usize;
    let rounds = repetitions + usize::from(!args.no_warmup);
    let all_rounds = rounds + usize::from(args.profile_time);
    let bar = Bar::rounds("measuring");
    let mut samples = Vec::new();
    let mut limits = Limits::default();
    for round in 0..rounds {
        bar.set(round as u64, all_rounds as u64);
        let counts = round >= rounds - repetitions;
        if counts {
            limits.measure(cpu, threads, test)?;
        }
        let Some(sample) = repeat(loaded, test, &energy, watch, false)? else {
            return Ok(None);
        };
        if counts {
            samples.push(sample);
        }
    }
    let mut token_time = None;
    if args.profile_time {
        bar.set(rounds as u64, all_rounds as u64);
        // Its own repetition: looking at the clock takes time.
        if repeat(loaded, test, &energy, watch, true)?.is_none() {
            return Ok(None);
        }
        let times = loaded.engine.times();
        token_time = times.map(|times| TokenTime::of(&times, test.tokens()));
        loaded.engine.record_times(false);
    }
    drop(bar);
    let measured = summarize(loaded, cpu, threads, test, &samples, limits);
    Ok(Some(Measured {
        token_time,
        ..measured
    }))
}

/// What the machine can do at most, measured before each sample.
#[derive(Default)]
struct Limits {
    /// Streaming bandwidth, 10^9 bytes a second.
    stream: Vec<f64>,
    /// For prompts, the dot product's peak, 10^9 products a second; nothing where the CPU has none.
    dot: Vec<f64>,
}

impl Limits {
    fn measure(&mut self, cpu: &Cpu, threads: usize, test: &Test) -> anyhow::Result<()> {
        let found = bandwidth(cpu, threads, Pages::Huge, STREAM_ROUNDS)?;
        self.stream.push(found.gb_per_s.median);
        if test.text == 0 {
            let found = dot_peak(cpu, threads, DOT_ROUNDS)?;
            self.dot.extend(found.map(|peak| peak.g_per_s.median));
        }
        Ok(())
    }
}

/// One repetition; `None` if the user stopped it.
fn repeat(
    loaded: &mut Loaded,
    test: &Test,
    energy: &Energy,
    watch: &Watch,
    is_recorded: bool,
) -> anyhow::Result<Option<Sample>> {
    let vocab_size = loaded.model.config().vocab_size;
    // The same in every repetition.
    let mut random = Random::new(1);
    let mut sequence = loaded.model.sequence();
    let before = take(&mut random, vocab_size, test.depth);
    let prompt = take(&mut random, vocab_size, test.prompt);
    let text = take(&mut random, vocab_size, test.text);
    // The ruler's memory is not the model's.
    let is_reset = reset_peak_memory();
    if !read(loaded, &mut sequence, &before, watch)? {
        return Ok(None);
    }
    let (cores, faults, joules) = (cpu_seconds(), major_faults(), energy.joules());
    let scored = loaded.engine.head_use();
    if is_recorded {
        loaded.engine.record_times(true);
    }
    let start = Instant::now();
    if !read(loaded, &mut sequence, &prompt, watch)? {
        return Ok(None);
    }
    for token in text {
        if watch.stopped() {
            return Ok(None);
        }
        step(loaded, &mut sequence, &[token], Logits::Best)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let used = loaded.engine.head_use();
    let positions = |used: HeadUse| used.screened + used.full + used.quantized;
    let positions = (positions(used) - positions(scored)).max(1) as f64;
    let spent = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    Ok(Some(Sample {
        seconds,
        head_rows: (used.rows - scored.rows) as f64 / positions,
        head_bytes: (used.bytes - scored.bytes) as f64 / positions,
        peak_bytes: peak_memory().filter(|_| is_reset),
        core_seconds: spent(cores, cpu_seconds()),
        major_faults: spent(faults, major_faults()),
        joules: energy.since(joules),
    }))
}

/// Reads a prompt, in as many passes as the engine would make of it; whether it came to its end.
fn read(
    loaded: &mut Loaded,
    sequence: &mut Sequence,
    tokens: &[u32],
    watch: &Watch,
) -> anyhow::Result<bool> {
    let passes = tokens.chunks(loaded.engine.pass());
    let last = passes.len().saturating_sub(1);
    for (index, tokens) in passes.enumerate() {
        if watch.stopped() {
            return Ok(false);
        }
        let logits = if index == last {
            Logits::Best
        } else {
            Logits::None
        };
        step(loaded, sequence, tokens, logits)?;
    }
    Ok(!watch.stopped())
}

fn step(
    loaded: &mut Loaded,
    sequence: &mut Sequence,
    tokens: &[u32],
    logits: Logits,
) -> anyhow::Result<()> {
    let work = Work {
        sequence,
        tokens,
        logits,
    };
    let stepped = loaded.engine.step(&mut [work]);
    stepped.context("cannot run the model")?;
    Ok(())
}

/// Tokens without meaning: what they are changes no time.
fn take(random: &mut Random, vocab_size: usize, count: usize) -> Vec<u32> {
    (0..count)
        .map(|_| random.below(vocab_size) as u32)
        .collect()
}

fn summarize(
    loaded: &Loaded,
    cpu: &Cpu,
    threads: usize,
    test: &Test,
    samples: &[Sample],
    limits: Limits,
) -> Measured {
    let Limits { stream, dot } = limits;
    let summary = loaded.model.summary();
    let (parameters, bytes) = (summary.parameters, summary.bytes);
    let tokens = test.tokens() as f64;
    let samples_ns: Vec<u64> = samples.iter().map(|s| (s.seconds * 1e9) as u64).collect();
    let samples_ts: Vec<f64> = samples.iter().map(|s| tokens / s.seconds).collect();
    let (avg_ns, stddev_ns) = mean_and_deviation(samples_ns.iter().map(|&ns| ns as f64));
    let (avg_ts, stddev_ts) = mean_and_deviation(samples_ts.iter().copied());
    let per_token = |of: fn(&Sample) -> Option<f64>| {
        let all: Option<Vec<f64>> = samples.iter().map(of).collect();
        let all = all.filter(|all| !all.is_empty())?;
        Some(mean_and_deviation(all.iter().copied()).0 / tokens)
    };
    // On average a token sees the cache of half the text.
    let positions = (test.depth as f64) + (test.text as f64 + 1.0) / 2.0;
    let mean = |of: fn(&Sample) -> f64| mean_and_deviation(samples.iter().map(of)).0;
    let is_screened = bytes.read_per_greedy_token < bytes.read_per_token;
    let head_rows_per_token = is_screened.then(|| mean(|sample| sample.head_rows));
    let head_bytes = mean(|sample| sample.head_bytes);
    let read = (bytes.ternary + bytes.norms) as f64
        + head_bytes
        + bytes.cache_per_position as f64 * positions;
    let bytes_per_token = (test.prompt == 0).then_some(read as u64);
    let gb_per_s = bytes_per_token.map(|bytes| bytes as f64 * avg_ts / 1e9);
    // Of each repetition and the bandwidth just before it: both drift on a machine that others use too.
    let shares = samples_ts.iter().zip(&stream);
    let shares: Vec<f64> = shares.map(|(ts, gb)| read * ts / 1e9 / gb).collect();
    let products = parameters.ternary as f64 / 1e9;
    let dot_shares = samples_ts.iter().zip(&dot);
    let dot_shares: Vec<f64> = dot_shares.map(|(ts, dot)| products * ts / dot).collect();
    let of_some = |values: &[f64]| (!values.is_empty()).then(|| median(values));
    Measured {
        test: test.name(),
        model_filename: loaded.model.name().to_owned(),
        model_size: bytes.weights(),
        model_n_params: parameters.ternary + parameters.dense + parameters.norms,
        cpu_info: cpu.brand.clone(),
        engine: concat!("tern ", env!("CARGO_PKG_VERSION")),
        n_threads: threads,
        n_prompt: test.prompt,
        n_gen: test.text,
        n_depth: test.depth,
        type_k: loaded.model.kv(),
        type_v: loaded.model.kv(),
        avg_ns,
        stddev_ns,
        avg_ts,
        stddev_ts,
        samples_ns,
        samples_ts,
        bytes_per_token,
        gb_per_s,
        stream_gb_per_s: median(&stream),
        stream_samples: stream,
        bandwidth_share: bytes_per_token.map(|_| median(&shares)),
        dot_g_per_s: of_some(&dot),
        dot_share: of_some(&dot_shares),
        dot_samples: dot,
        head_rows_per_token,
        head_bytes_per_token: head_bytes as u64,
        core_seconds_per_token: per_token(|sample| sample.core_seconds),
        peak_bytes: samples.iter().filter_map(|sample| sample.peak_bytes).max(),
        major_faults_per_token: per_token(|sample| sample.major_faults),
        joules_per_token: per_token(|sample| sample.joules),
        token_time: None,
    }
}

/// Mean and standard deviation (of a sample, as llama-bench has it); no deviation of a single value.
fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    let deviation = if count > 1.0 {
        (squares / (count - 1.0)).sqrt()
    } else {
        0.0
    };
    (mean, deviation)
}

fn median(values: &[f64]) -> f64 {
    Spread::of(values.to_vec()).map_or(f64::NAN, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_are_those_of_a_sample() {
        let (mean, deviation) = mean_and_deviation([1.0, 2.0, 3.0, 4.0].into_iter());
        assert_eq!(mean, 2.5);
        assert!((deviation - 1.290_994).abs() < 1e-6);
        assert_eq!(mean_and_deviation([7.0].into_iter()), (7.0, 0.0));
    }

    #[test]
    fn tokens_are_in_the_vocabulary_and_not_all_the_same() {
        let tokens = take(&mut Random::new(1), 50, 200);
        assert!(tokens.iter().all(|&token| token < 50));
        let mut distinct = tokens.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 40, "{}", distinct.len());
        assert_eq!(tokens, take(&mut Random::new(1), 50, 200));
    }
}
