//! The log of tunings: every trial as one JSON line, only ever appended to.
//!
//! It serves two purposes. A tuning that was interrupted, in whatever way, goes on from what its lines say; and a tuning that was logged
//! can be replayed with another strategy (`replay.rs`). A line stands by itself: host, kernel, tile, shape, threads, where the
//! weights were, all samples. It is written with one call, so a reader sees whole lines but for one that the end of the program cut.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tern_kernels::profile::{RUSTC, kernel_set};
use tern_kernels::{Cpu, Pages, Rigor, Shape, Tile};

use crate::bench::Residence;
use crate::host;
use crate::measure::Clock;
use crate::search::{Outcome, Raced, Stage};
use crate::spread::Spread;
use crate::tune::{Order, TuneOptions};

/// A longer line is no line of a log: the samples of a whole stage of one candidate take a hundredth.
const LINE_MAX: u64 = 16 << 20;

/// Seconds after which an interrupted tuning is not gone on with: a machine changes in a day.
const RESUMED_AGE_MAX: u64 = 24 * 3600;

/// Why a log cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be opened, read or written.
    #[error("cannot use the log {path}: {source}; name another file with --log, or `none`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is no log of tern, its first line is not one of a tuning; name another file")]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// Another tuning writes to it.
    #[error(
        "another tuning is writing to the log {path}; wait for it, since two at a time disturb each other, or name another file with --log"
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

/// What a tuning is about: one that is the same may go on where another one ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// When, UTC.
    pub date: String,
    /// The same in seconds since 1970.
    #[serde(default)]
    pub unix_seconds: u64,
    /// Version of tern.
    pub engine: String,
    pub task: Task,
}

/// See [`Begin`]: all that makes two tunings the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The CPU's key.
    pub host: String,
    /// The machine's name: others with the same CPU may share the log's folder.
    pub machine: String,
    /// Names of the ISAs that may be used.
    pub isas: Vec<String>,
    /// Fingerprint of all kernels.
    pub kernels: String,
    pub rustc: String,
    pub rigor: Rigor,
    pub huge_pages: bool,
    /// What `--kernel` names.
    pub force: Option<String>,
    pub orders: Vec<LoggedOrder>,
}

/// One shape and thread count of a [`Task`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedOrder {
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    pub count: usize,
    pub inputs: f64,
}

/// A candidate's samples in one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedTrial {
    /// The CPU's key.
    pub host: String,
    pub kernel: String,
    pub tile: Tile,
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    pub stage: Stage,
    /// Where the weights were.
    pub weights: Residence,
    /// Microseconds per product, one for each round.
    pub samples_us: Vec<f64>,
    /// Why it was not timed: it is not exact, or could not be set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A way to multiply several tokens at once, timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedBatch {
    /// The CPU's key.
    pub host: String,
    /// A kernel of batched products, or `gemv` for the kernel for one token and its forms.
    pub kernel: String,
    /// The packing that the weights are in.
    pub packing: String,
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    pub tokens: usize,
    /// Where the weights were.
    pub weights: Residence,
    /// Microseconds for one token, one for each round.
    pub samples_us: Vec<f64>,
}

/// A winner on huge and on small pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedPages {
    /// The CPU's key.
    pub host: String,
    /// Where the weights were.
    pub weights: Residence,
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    pub kernel: String,
    pub tile: Tile,
    /// Microseconds per product, the median of each block.
    pub huge_us: Vec<f64>,
    pub small_us: Vec<f64>,
}

/// The end of the races of a shape and thread count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoggedRace {
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    /// Kernel and tile of each candidate, in the order of the numbers in `raced`.
    pub candidates: Vec<(String, Tile)>,
    pub raced: Raced,
    pub screened: Vec<(String, Outcome)>,
    pub builds: Vec<(String, Option<Spread>)>,
    pub warm_us: Vec<(String, f64)>,
    /// What a prompt's token costs in the packing of each finalist.
    #[serde(default)]
    pub prompt_us: Vec<f64>,
    pub seconds: f64,
}

/// A block of rounds of a run-off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedBlock {
    /// The CPU's key.
    #[serde(default)]
    pub host: String,
    /// The finalists' kernels and tiles, in order.
    #[serde(default)]
    pub candidates: Vec<(String, Tile)>,
    pub rows: usize,
    pub cols: usize,
    pub threads: usize,
    /// Microseconds per product, for each finalist in order; none for those that had left.
    pub samples_us: Vec<Vec<f64>>,
    /// Who takes part in the next block.
    pub left: Vec<usize>,
}

/// What a line says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    Begin(Begin),
    /// The races of a shape and thread count begin, perhaps for the second time.
    Races {
        rows: usize,
        cols: usize,
        threads: usize,
    },
    Trial(LoggedTrial),
    Batch(LoggedBatch),
    Pages(LoggedPages),
    Race(Box<LoggedRace>),
    Block(LoggedBlock),
    /// The tuning came to its end, and its result was saved.
    End {},
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// The tuning's name.
    run: String,
    /// Seconds of tuning before this line, those before an interruption too.
    at: f64,
    record: Record,
}

/// A tuning of a log.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub name: String,
    pub begin: Begin,
    pub records: Vec<Record>,
    /// Seconds that it had taken.
    pub seconds: f64,
    pub has_ended: bool,
}

/// Samples by kernel and tile.
pub(crate) type CandidateSamples = HashMap<(String, Tile), Vec<f64>>;

/// What an interrupted tuning had found out.
#[derive(Default)]
pub(crate) struct Unfinished {
    pub seconds: f64,
    pub races: HashMap<(Shape, usize), LoggedRace>,
    /// For each race the last samples of each of its candidates.
    pub samples: HashMap<(Shape, usize), CandidateSamples>,
    pub blocks: HashMap<(Shape, usize), Vec<LoggedBlock>>,
}

/// A log that is appended to.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    run: String,
    clock: Clock,
    /// Seconds before the clock started.
    offset: f64,
    /// Why the last line could not be written.
    failure: Option<LogError>,
}

impl Log {
    /// Opens the log at `path`, or begins it.
    ///
    /// # Errors
    /// See [`LogError`]. A file that is no log is left alone.
    pub fn open(path: &Path) -> Result<Log, LogError> {
        let failed = |source| LogError::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::Busy {
                    path: path.to_path_buf(),
                });
            }
            // Not every file system knows locks.
            Err(TryLockError::Error(_)) => {}
        }
        let length = file.metadata().map_err(failed)?.len();
        if length > 0 {
            check_first_line(path)?;
            // The end of the program may have cut the last line: the next one begins on a line of its own.
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(failed)?;
            }
        }
        Ok(Log {
            file,
            path: path.to_path_buf(),
            run: String::new(),
            clock: Clock::start(),
            offset: 0.0,
            failure: None,
        })
    }

    /// Begins a tuning, or goes on with the last one if that is the same and was interrupted.
    pub(crate) fn begin(&mut self, task: &Task) -> Result<Option<Unfinished>, LogError> {
        let mut runs = runs(&self.path)?;
        self.clock = Clock::start();
        let now = host::unix_seconds();
        runs.retain(|run| {
            let age = now.saturating_sub(run.begin.unix_seconds);
            !run.has_ended && age <= RESUMED_AGE_MAX && run.begin.task == *task
        });
        if let Some(run) = runs.pop() {
            self.run = run.name.clone();
            self.offset = run.seconds;
            return Ok(Some(unfinished(run)));
        }
        let date = host::now_utc();
        self.run = format!("{date}-{}", std::process::id());
        self.offset = 0.0;
        self.add(Record::Begin(Begin {
            date,
            unix_seconds: now,
            engine: env!("CARGO_PKG_VERSION").to_string(),
            task: task.clone(),
        }));
        self.failure.take().map_or(Ok(None), Err)
    }

    /// Appends a line. A disk that is full costs the log its end, not the tuning: see [`Log::failure`].
    pub(crate) fn add(&mut self, record: Record) {
        let at = self.offset + self.clock.elapsed().as_secs_f64();
        let run = self.run.clone();
        let line = serde_json::to_string(&Line { run, at, record }).map_err(io::Error::other);
        // After a line that could not be written whole, the next one begins anew.
        let start = if self.failure.is_some() { "\n" } else { "" };
        let line = line.map(|line| format!("{start}{line}\n"));
        let written = line.and_then(|line| self.file.write_all(line.as_bytes()));
        if let Err(source) = written {
            self.failure = Some(LogError::Io {
                path: self.path.clone(),
                source,
            });
        }
    }

    /// Notes that the result of the tuning is saved: there is nothing left to go on with.
    pub fn finish(&mut self) {
        self.add(Record::End {});
    }

    /// Why the last line that failed could not be written.
    pub fn failure(&mut self) -> Option<LogError> {
        self.failure.take()
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the file at `path` begins as a log does.
fn check_first_line(path: &Path) -> Result<(), LogError> {
    let mut first = String::new();
    let read =
        File::open(path).and_then(|file| BufReader::new(file.take(LINE_MAX)).read_line(&mut first));
    // One that was cut by a full disk is all there is.
    let is_cut = || !first.ends_with('\n') && first.starts_with("{\"run\":\"");
    let is_line = || serde_json::from_str::<Line>(&first).is_ok() || is_cut();
    match read {
        Ok(_) if is_line() => Ok(()),
        Err(source) if source.kind() != io::ErrorKind::InvalidData => Err(LogError::Io {
            path: path.to_path_buf(),
            source,
        }),
        _ => Err(LogError::NotALog {
            path: path.to_path_buf(),
        }),
    }
}

/// All tunings of a log, in order. Lines that are cut or damaged are left out.
///
/// # Errors
/// See [`LogError`].
pub(crate) fn runs(path: &Path) -> Result<Vec<Run>, LogError> {
    let failed = |source| LogError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut runs: Vec<Run> = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LINE_MAX);
        if limited.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(runs);
        }
        let Ok(Line { run, at, record }) = serde_json::from_slice(&line) else {
            continue;
        };
        if let Record::Begin(begin) = record {
            runs.push(Run {
                name: run,
                begin,
                records: Vec::new(),
                seconds: 0.0,
                has_ended: false,
            });
            continue;
        }
        // Tunings that ran at the same time have their lines among each other.
        let Some(of) = runs.iter_mut().rev().find(|of| of.name == run) else {
            continue;
        };
        if at.is_finite() {
            of.seconds = of.seconds.max(at);
        }
        match record {
            Record::End {} => of.has_ended = true,
            record => of.records.push(record),
        }
    }
}

/// What a run had found out.
fn unfinished(run: Run) -> Unfinished {
    let mut found = Unfinished {
        seconds: run.seconds,
        ..Unfinished::default()
    };
    let key = |rows, cols, threads| (Shape { rows, cols }, threads);
    for record in run.records {
        match record {
            Record::Races {
                rows,
                cols,
                threads,
            } => {
                let key = key(rows, cols, threads);
                found.samples.remove(&key);
                found.races.remove(&key);
                found.blocks.remove(&key);
            }
            Record::Trial(trial)
                if trial.weights == Residence::Memory && trial.refused.is_none() =>
            {
                let of = found
                    .samples
                    .entry(key(trial.rows, trial.cols, trial.threads));
                let candidate = (trial.kernel, trial.tile);
                of.or_default().insert(candidate, trial.samples_us);
            }
            Record::Race(race) => {
                let key = key(race.rows, race.cols, race.threads);
                found.races.insert(key, *race);
            }
            Record::Block(block) => {
                let of = found
                    .blocks
                    .entry(key(block.rows, block.cols, block.threads));
                of.or_default().push(block);
            }
            Record::Trial(_)
            | Record::Batch(_)
            | Record::Pages(_)
            | Record::Begin(_)
            | Record::End {} => {}
        }
    }
    found
}

impl Task {
    pub(crate) fn new(cpu: &Cpu, orders: &[Order], options: &TuneOptions) -> Task {
        let orders = orders.iter().map(|order| LoggedOrder {
            rows: order.work.shape.rows,
            cols: order.work.shape.cols,
            threads: order.threads,
            count: order.work.count,
            inputs: order.work.inputs,
        });
        Task {
            host: cpu.key(),
            machine: host::name(),
            isas: cpu
                .isas()
                .iter()
                .map(|isa| isa.name().to_string())
                .collect(),
            kernels: kernel_set(),
            rustc: RUSTC.to_string(),
            rigor: options.rigor,
            huge_pages: options.pages == Pages::Huge,
            force: options.force.as_ref().map(|force| format!("{force:?}")),
            orders: orders.collect(),
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
