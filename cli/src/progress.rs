//! Progress on standard error: bars on a terminal, a line for each result elsewhere, nothing with `--quiet`.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tern_kernels::Isa;

use crate::output::{is_quiet, plural, remark};

/// What is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(300);

/// A progress bar that appears only when the work takes a while, and disappears when it is dropped.
pub struct Bar {
    template: &'static str,
    what: &'static str,
    start: Instant,
    bar: OnceLock<ProgressBar>,
}

impl Bar {
    /// A bar that counts bytes.
    pub fn bytes(what: &'static str) -> Bar {
        Bar::new(
            what,
            "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}",
        )
    }

    /// A bar that counts tokens.
    pub fn tokens(what: &'static str) -> Bar {
        Bar::new(what, "{msg} {wide_bar} {pos} of {len} tokens, {eta} left")
    }

    /// A bar that counts rounds.
    pub fn rounds(what: &'static str) -> Bar {
        Bar::new(what, "{msg} {wide_bar} {pos} of {len} rounds")
    }

    fn new(what: &'static str, template: &'static str) -> Bar {
        Bar {
            template,
            what,
            start: Instant::now(),
            bar: OnceLock::new(),
        }
    }

    /// Shows that `done` of `total` are done. May be called from several threads.
    pub fn set(&self, done: u64, total: u64) {
        if self.start.elapsed() < PATIENCE {
            return;
        }
        let bar = self
            .bar
            .get_or_init(|| bar(self.template).with_message(self.what));
        if bar.length() != Some(total) {
            bar.set_length(total);
        }
        bar.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

/// Hidden where standard error is no terminal.
fn bar(template: &str) -> ProgressBar {
    let target = match is_quiet() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let style = ProgressStyle::with_template(template).expect("a constant template");
    ProgressBar::with_draw_target(Some(0), target).with_style(style.progress_chars("━━┄"))
}

/// Shows how a tuning or a comparison advances. It is drawn only when something happens: a thread that redraws it would
/// disturb the measurements.
pub struct Measuring {
    line: ProgressBar,
    start: Instant,
    /// What the present part of a study is, ending in a space; empty if there are no parts.
    part: String,
    job: String,
}

impl Measuring {
    /// Nothing measured yet.
    pub fn new() -> Measuring {
        Measuring::on(bar("{msg}"))
    }

    /// The same with a bar for the part of `budget` that has passed.
    pub fn within(budget: Duration) -> Measuring {
        let line = bar("{bar:20} {percent:>3} % {msg}");
        line.set_length(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX));
        Measuring::on(line)
    }

    fn on(line: ProgressBar) -> Measuring {
        line.set_message("preparing …");
        line.tick();
        Measuring {
            line,
            start: Instant::now(),
            part: String::new(),
            job: String::new(),
        }
    }

    /// An instruction set runs all its kernels.
    pub fn proving(&mut self, isa: Isa) {
        self.line.set_message(format!("proving {isa} …"));
        self.line.tick();
    }

    /// Takes the next step.
    pub fn step(&mut self, step: &tern_tune::Progress) {
        use tern_tune::Progress;
        if let Some(length) = self.line.length().filter(|&length| length > 0) {
            let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(length);
            self.line.set_position(passed.min(length));
        }
        match step {
            Progress::Part { .. } if self.line.is_hidden() => remark(step),
            Progress::Part { index, total, name } => {
                self.part = format!("{index}/{total} {name} ");
                self.job.clear();
                self.line.set_message(self.part.clone());
            }
            Progress::Job {
                index,
                total,
                shape,
                threads,
            } => {
                self.job = format!("[{index}/{total}] {shape}, {}", plural(*threads, "thread"));
                self.line.set_message(format!("{}{}", self.part, self.job));
            }
            Progress::Stage { name, candidates } => {
                let candidates = plural(*candidates, "candidate");
                self.line
                    .set_message(format!("{}{}: {name}, {candidates}", self.part, self.job));
            }
            Progress::RunOffs { .. } => {
                self.job.clear();
                self.line.set_message(format!("{}{step}", self.part));
            }
            Progress::Turn { .. } => self.line.set_message(format!("{}{step}", self.part)),
            // On a terminal the final table says it better.
            Progress::Done { .. } if self.line.is_hidden() => remark(step),
            Progress::Done { .. } => {}
        }
        self.line.tick();
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}
