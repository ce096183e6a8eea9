//! The parts of a study, one after another, and how they share the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tern_kernels::{Cpu, Kernel, Planner, Shape};

use super::race::Course;
use super::{Ceiling, Standing, Study, StudyOptions, TileMap, peak, tiles};
use crate::bench::Residence;
use crate::candidates::kernels;
use crate::compare::{CompareOptions, compare};
use crate::error::TuneError;
use crate::measure::Clock;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::shapes::Work;

/// Parts beside the comparisons: ceilings, codes, ISAs, tiles.
const OTHER_PARTS: usize = 4;

/// The part of the budget that the comparisons share.
const COMPARISONS_SHARE: f64 = 0.5;

/// The part of the time that is left for the best kernel of each code, and then of each ISA.
pub(super) const CODES_SHARE: f64 = 0.4;
pub(super) const ISAS_SHARE: f64 = 0.6;

/// Rounds over the dot product.
const PEAK_ROUNDS: usize = 31;

/// What all parts need.
pub(super) struct Parts<'a> {
    cpu: &'a Cpu,
    options: &'a StudyOptions,
    cancel: &'a AtomicBool,
    /// Thread counts in order, each once.
    threads: Vec<usize>,
    /// The shape and the threads of the parts that explain.
    place: (Shape, usize),
    /// Every kernel that may run.
    kernels: Vec<Kernel>,
    screen: Screen,
    /// Parts that have begun.
    begun: usize,
    clock: Clock,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        cpu: &'a Cpu,
        work: &[Work],
        options: &'a StudyOptions,
        cancel: &'a AtomicBool,
    ) -> Result<Parts<'a>, TuneError> {
        let mut threads = options.threads.clone();
        threads.sort_unstable();
        threads.dedup();
        let shape = super::largest(work.iter().map(|work| work.shape));
        let (Some(&most), Some(shape)) = (threads.last(), shape) else {
            return Err(TuneError::NoWork);
        };
        let planner = Planner::new(cpu.clone(), None, None)?;
        Ok(Parts {
            cpu,
            options,
            cancel,
            threads,
            place: (shape, most),
            kernels: kernels(&planner, None, shape, most),
            screen: Screen::default(),
            begun: 0,
            clock: Clock::start(),
        })
    }

    pub(super) fn seconds(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    pub(super) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn begin(&mut self, name: &'static str, progress: &mut dyn FnMut(&Progress)) {
        self.begun += 1;
        let (index, total) = (self.begun, self.threads.len() + OTHER_PARTS);
        progress(&Progress::Part { index, total, name });
    }

    fn left(&self) -> Duration {
        self.options.budget.saturating_sub(self.clock.elapsed())
    }

    fn has_time(&self) -> bool {
        !self.left().is_zero() && !self.cancelled()
    }

    /// Compares the families with each number of threads, as long as the user does not stop it.
    pub(super) fn compare(
        &mut self,
        study: &mut Study,
        work: &[Work],
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), TuneError> {
        let share = COMPARISONS_SHARE / self.threads.len() as f64;
        for threads in self.threads.clone() {
            self.begin("all families side by side", progress);
            if self.cancelled() {
                continue;
            }
            let options = CompareOptions {
                threads,
                pages: self.options.pages,
                budget: self.options.budget.mul_f64(share),
                cache: true,
                rounds: self.options.rounds,
            };
            let comparison = compare(self.cpu, work, &options, progress, self.cancel)?;
            study.comparisons.push(comparison);
        }
        Ok(())
    }

    /// What each number of threads can reach at the most.
    pub(super) fn ceilings(
        &mut self,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<Ceiling>, TuneError> {
        self.begin("ceilings", progress);
        let ceiling = |&threads: &usize| {
            let dot = peak::dot_peak_until(self.cpu, threads, PEAK_ROUNDS, self.cancel)?;
            Ok(Ceiling { threads, dot })
        };
        self.threads.iter().map(ceiling).collect()
    }

    /// The best kernel of each group, from memory and in cache.
    pub(super) fn standings(
        &mut self,
        name: &'static str,
        share: f64,
        group: impl Fn(&Kernel) -> String,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<Standing>, TuneError> {
        self.begin(name, progress);
        let budget = self.left().mul_f64(share / 2.0);
        let mut standings = Vec::new();
        for residence in [Residence::Memory, Residence::Cache] {
            if self.has_time() {
                let mut screen = std::mem::take(&mut self.screen);
                let course = self.course(residence);
                let found = course.run(&self.kernels, &group, &mut screen, budget, progress);
                self.screen = screen;
                standings.extend(found?);
            }
        }
        Ok(standings)
    }

    /// Maps of the tiles of some kernels' kinds.
    pub(super) fn tiles(
        &mut self,
        study: &Study,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<TileMap>, TuneError> {
        self.begin("tiles", progress);
        let best = study.best_kernels(self.place);
        let mut maps = Vec::new();
        for (done, id) in best.iter().enumerate() {
            let kernel = self.kernels.iter().find(|kernel| kernel.id == *id);
            if let (Some(&kernel), true) = (kernel, self.has_time()) {
                let budget = self.left() / (best.len() - done) as u32;
                let course = self.course(Residence::Memory);
                let map = tiles::map(&course, kernel, &self.kernels, budget, progress)?;
                maps.push(map);
            }
        }
        Ok(maps)
    }

    fn course(&self, residence: Residence) -> Course<'a> {
        let (shape, threads) = self.place;
        Course {
            cpu: self.cpu,
            cancel: self.cancel,
            pages: self.options.pages,
            rounds: self.options.rounds,
            shape,
            threads,
            residence,
        }
    }
}
