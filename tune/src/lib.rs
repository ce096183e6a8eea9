//! Measures ternary kernels on this machine: finds the fastest for each matrix shape, and compares the families.
//!
//! Which kernel is fastest, and with which tile, depends on the CPU, on the shape and on how many threads share the
//! memory; the same instructions can differ by a factor of two. So tern does not guess: it measures the kernels that
//! are compiled in (it never compiles any) and writes the winners to a profile, which the planner of `tern-kernels`
//! reads. This crate knows shapes, not models, and the runtime does not know this crate.
//!
//! * [`shapes`]: the matrices of known models, as a worklist.
//! * [`tune()`]: the tuner. [`verify()`] asks whether a new one would find the same, [`recheck()`] whether a profile still holds,
//!   [`paired_runoff`] times two candidates.
//! * [`mod@replay`]: search strategies compared on the log of a tuning.
//! * [`compare()`]: lookup tables against add/sub and multiply-add, as table, CSV and chart.
//! * [`study()`]: the comparison at several thread counts and what explains it, as a page with figures.
//! * [`bandwidth()`]: how fast this machine reads memory, the ruler for both.
//! * [`profiles`]: merging and comparing profiles.
//! * [`mod@write`]: profiles and records on disk, whole or not at all. [`records_of`] reads what records say of a kernel.
//!
//! Inside: `measure.rs` has the only clock, `rotation.rs` keeps weights cold, `screen.rs` and `search.rs` decide.
//!
//! # Example
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use std::time::Duration;
//! use tern_kernels::{Cpu, Pages, Shape};
//! use tern_tune::{TuneOptions, Work, tune};
//!
//! let cpu = Cpu::detect();
//! let work = [Work::alone(Shape { rows: 96, cols: 120 }, 1)];
//! let options = TuneOptions {
//!     threads: vec![1],
//!     budget: Duration::from_millis(200),
//!     ..TuneOptions::new(&cpu)
//! };
//! let tuning = tune(&cpu, &work, &options, &mut |step| eprintln!("{step}"), &AtomicBool::new(false))?;
//! println!("{}", tuning.profile.to_toml());
//! # Ok::<(), tern_tune::TuneError>(())
//! ```

#![forbid(unsafe_code)]

pub mod bandwidth;
mod bench;
mod candidates;
mod chart;
pub mod compare;
mod contender;
mod crossover;
mod effort;
pub mod environment;
mod error;
mod figure;
mod finals;
mod host;
mod job;
mod log;
mod measure;
mod noise;
mod pages;
pub mod profiles;
mod progress;
mod random;
pub mod recheck;
mod records;
pub mod replay;
mod report;
mod rotation;
mod runoff;
mod screen;
mod search;
pub mod shapes;
mod spread;
pub mod study;
mod totals;
pub mod tune;
pub mod verify;
pub mod write;

pub use bandwidth::{Bandwidth, RulerRounds, bandwidth};
pub use bench::Residence;
pub use compare::{CompareOptions, Comparison, ComparisonRow, compare};
pub use effort::{default_budget, default_threads};
pub use environment::Environment;
pub use error::TuneError;
pub use figure::stacked::{Stack, StackPart};
pub use host::now_utc;
pub use job::{Job, Trial};
pub use log::{Log, LogError};
pub use measure::Candidate;
pub use noise::Noise;
pub use progress::{Progress, plural, tile_text};
pub use random::Random;
pub use recheck::{Recheck, Rechecked, Rival, recheck};
pub use records::{Recorded, RecordsError, records_of};
pub use runoff::{Runoff, RunoffOptions, paired_runoff};
pub use search::{Decision, Outcome, Stage};
pub use shapes::{MatrixShape, ModelShapes, ShapesError, Work, merge_work};
pub use spread::Spread;
pub use study::{Study, StudyOptions, dot_peak, study};
pub use totals::{Total, totals};
pub use tune::{Past, TuneOptions, Tuning, tune, tune_further};
pub use verify::{Agreement, Verification, verify};
pub use write::{
    NewDirectory, NewFile, Turn, WriteError, check_new_directory, check_writable, create_directory,
    default_profile_path, write_atomically, write_new, write_profile,
};
