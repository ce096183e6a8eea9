//! Where the time of a step goes: the one recorder of times.
//!
//! Off unless [`Engine::record_times`](crate::Engine::record_times) is called; then every worker has a clock that runs through a
//! region without a gap: at the end of each activity it takes a *lap*, the time since the lap before. Laps are added up where they
//! are taken, by worker and activity. Off, a lap is a look at an `Option`, a dozen times in a region.
//!
//! Waiting is what is left of a region: from the moment that it was ordered until a worker has begun, and from a worker's last lap
//! until all have arrived. While the calling thread works alone, the others wait, too.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

/// What a worker does for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// Tokens to embeddings, and positions to turns.
    Embedding,
    /// Root-mean-square norms.
    Norm,
    /// Activations to int8.
    Quantize,
    /// Int8 activations to what kernels read: tables, for `lut` and `bitserial`.
    Tables,
    /// The query matrix.
    Query,
    /// The key matrix.
    Key,
    /// The value matrix.
    Value,
    /// The matrix after attention.
    Output,
    /// The gate matrix.
    Gate,
    /// The up matrix.
    Up,
    /// The down matrix.
    Down,
    /// Exact sums to scaled outputs, and to the residual stream.
    Scale,
    /// The gate's activation function and product.
    Activate,
    /// Turning queries and keys by their position.
    Rope,
    /// Keys and values to the cache.
    Remember,
    /// Attention over the cache.
    Attention,
    /// Bounds of all logits.
    Screen,
    /// Logits, of all rows of the head or of those that the bounds leave.
    Head,
    /// What the calling thread does beside: checks, memory, preparing regions.
    Other,
    /// Waiting for a region's order to arrive.
    Handoff,
    /// Waiting for a region's slowest worker.
    Slowest,
    /// Waiting while the calling thread works alone.
    Serial,
}

impl Activity {
    /// All, in the order of a layer.
    pub const ALL: [Activity; 22] = [
        Activity::Embedding,
        Activity::Norm,
        Activity::Quantize,
        Activity::Tables,
        Activity::Query,
        Activity::Key,
        Activity::Value,
        Activity::Output,
        Activity::Gate,
        Activity::Up,
        Activity::Down,
        Activity::Scale,
        Activity::Activate,
        Activity::Rope,
        Activity::Remember,
        Activity::Attention,
        Activity::Screen,
        Activity::Head,
        Activity::Other,
        Activity::Handoff,
        Activity::Slowest,
        Activity::Serial,
    ];

    /// A few words for people.
    pub const fn name(self) -> &'static str {
        match self {
            Activity::Embedding => "embedding",
            Activity::Norm => "norms",
            Activity::Quantize => "quantization",
            Activity::Tables => "table building",
            Activity::Query => "q_proj",
            Activity::Key => "k_proj",
            Activity::Value => "v_proj",
            Activity::Output => "o_proj",
            Activity::Gate => "gate_proj",
            Activity::Up => "up_proj",
            Activity::Down => "down_proj",
            Activity::Scale => "scales",
            Activity::Activate => "activation",
            Activity::Rope => "rope",
            Activity::Remember => "cache write",
            Activity::Attention => "attention",
            Activity::Screen => "head, bounds",
            Activity::Head => "head, logits",
            Activity::Other => "other",
            Activity::Handoff => "barrier: start",
            Activity::Slowest => "barrier: slowest",
            Activity::Serial => "barrier: serial part",
        }
    }

    /// Whether a worker waits meanwhile.
    pub const fn is_waiting(self) -> bool {
        matches!(
            self,
            Activity::Handoff | Activity::Slowest | Activity::Serial
        )
    }

    /// The product with a linear layer, by its tensor's name.
    pub(crate) fn of_linear(name: &str) -> Activity {
        match name.rsplit('.').next() {
            Some("q_proj") => Activity::Query,
            Some("k_proj") => Activity::Key,
            Some("v_proj") => Activity::Value,
            Some("o_proj") => Activity::Output,
            Some("gate_proj") => Activity::Gate,
            Some("up_proj") => Activity::Up,
            Some("down_proj") => Activity::Down,
            _ => Activity::Other,
        }
    }
}

/// Times of all steps since recording began.
#[derive(Clone, Debug)]
pub struct Times {
    /// Steps.
    pub steps: u64,
    /// Parallel regions, each of which is a barrier.
    pub regions: u64,
    /// From the beginning to the end of all steps.
    pub total: Duration,
    /// For each worker, a time for each of [`Activity::ALL`].
    workers: Vec<[u64; Activity::ALL.len()]>,
}

impl Times {
    /// Workers, the calling thread among them.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// What `worker` (0 is the calling thread) spent with `activity`.
    ///
    /// # Panics
    ///
    /// If there is no such worker.
    pub fn of(&self, worker: usize, activity: Activity) -> Duration {
        Duration::from_nanos(self.workers[worker][activity as usize])
    }

    /// The share of all workers' time that is in the activities with a name: all but [`Activity::Other`].
    pub fn accounted(&self) -> f64 {
        let named = |worker: &[u64; Activity::ALL.len()]| {
            worker.iter().sum::<u64>() - worker[Activity::Other as usize]
        };
        let named: u64 = self.workers.iter().map(named).sum();
        named as f64 / (self.workers.len() as f64 * self.total.as_nanos() as f64).max(1.0)
    }
}

/// Adds up the laps of all workers.
pub(crate) struct Recorder {
    epoch: Instant,
    steps: AtomicU64,
    regions: AtomicU64,
    /// Nanoseconds of all steps.
    total: AtomicU64,
    workers: Box<[Worker]>,
}

/// What one worker writes, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Worker {
    /// Nanoseconds for each of [`Activity::ALL`].
    spent: [AtomicU64; Activity::ALL.len()],
    /// Of the newest region: when it began, and its last lap.
    began: AtomicU64,
    ended: AtomicU64,
    /// Whether it has.
    has_begun: AtomicBool,
}

impl Worker {
    /// Only one thread at a time adds to a worker's times.
    fn add(&self, activity: Activity, nanoseconds: u64) {
        let spent = &self.spent[activity as usize];
        spent.store(spent.load(Relaxed) + nanoseconds, Relaxed);
    }
}

impl Recorder {
    /// Nothing recorded.
    pub fn new(workers: usize) -> Recorder {
        Recorder {
            epoch: Instant::now(),
            steps: AtomicU64::new(0),
            regions: AtomicU64::new(0),
            total: AtomicU64::new(0),
            workers: (0..workers).map(|_| Worker::default()).collect(),
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Counts a step that began at `start`.
    pub fn count_step(&self, start: Instant) {
        self.steps.fetch_add(1, Relaxed);
        let taken = start.elapsed().as_nanos() as u64;
        self.total.fetch_add(taken, Relaxed);
    }

    /// What was recorded.
    pub fn times(&self) -> Times {
        let of_worker =
            |worker: &Worker| std::array::from_fn(|index| worker.spent[index].load(Relaxed));
        Times {
            steps: self.steps.load(Relaxed),
            regions: self.regions.load(Relaxed),
            total: Duration::from_nanos(self.total.load(Relaxed)),
            workers: self.workers.iter().map(of_worker).collect(),
        }
    }
}

/// One worker's clock.
pub(crate) struct Clock<'r> {
    recorder: Option<&'r Recorder>,
    worker: usize,
    /// The last lap.
    since: u64,
    /// When the calling thread began to work alone.
    alone: u64,
}

impl<'r> Clock<'r> {
    /// The calling thread's, started; still if nothing is recorded.
    pub fn new(recorder: Option<&'r Recorder>) -> Clock<'r> {
        let since = recorder.map_or(0, Recorder::now);
        Clock {
            recorder,
            worker: 0,
            since,
            alone: since,
        }
    }

    /// Adds the time since the last lap to an activity.
    #[inline]
    pub fn lap(&mut self, activity: Activity) {
        if let Some(recorder) = self.recorder {
            let now = recorder.now();
            recorder.workers[self.worker].add(activity, now.saturating_sub(self.since));
            self.since = now;
        }
    }

    /// The calling thread is about to order a region.
    pub fn order(&mut self) -> Region<'r> {
        self.lap(Activity::Other);
        self.end_alone();
        if let Some(recorder) = self.recorder {
            for worker in &recorder.workers {
                worker.began.store(self.since, Relaxed);
                worker.ended.store(self.since, Relaxed);
                worker.has_begun.store(false, Relaxed);
            }
        }
        Region {
            recorder: self.recorder,
        }
    }

    /// Until now the other workers have waited for the calling thread.
    fn end_alone(&mut self) {
        if let Some(recorder) = self.recorder {
            for worker in recorder.workers.iter().skip(1) {
                worker.add(Activity::Serial, self.since - self.alone);
            }
            self.alone = self.since;
        }
    }

    /// The region is over.
    pub fn join(&mut self) {
        if let Some(recorder) = self.recorder {
            let (ordered, now) = (self.since, recorder.now());
            for worker in &recorder.workers {
                let (began, ended) = (worker.began.load(Relaxed), worker.ended.load(Relaxed));
                worker.add(Activity::Handoff, began.saturating_sub(ordered));
                worker.add(Activity::Slowest, now.saturating_sub(ended));
            }
            recorder.regions.fetch_add(1, Relaxed);
            (self.since, self.alone) = (now, now);
        }
    }

    /// The calling thread is at the end of a step.
    pub fn finish(mut self) {
        self.lap(Activity::Other);
        self.end_alone();
    }
}

/// A region, for its workers to take clocks from.
#[derive(Clone, Copy)]
pub(crate) struct Region<'r> {
    recorder: Option<&'r Recorder>,
}

impl<'r> Region<'r> {
    /// The clock of `worker`, who begins, or goes on where it ended in this region.
    pub fn begin(self, worker: usize) -> Clock<'r> {
        let since = self.recorder.map_or(0, |recorder| {
            let own = &recorder.workers[worker];
            if own.has_begun.load(Relaxed) {
                return own.ended.load(Relaxed);
            }
            let now = recorder.now();
            own.began.store(now, Relaxed);
            own.has_begun.store(true, Relaxed);
            now
        });
        Clock {
            recorder: self.recorder,
            worker,
            since,
            alone: since,
        }
    }

    /// The worker of `clock` ends with its last lap.
    pub fn end(self, clock: &Clock<'_>) {
        if let Some(recorder) = self.recorder {
            recorder.workers[clock.worker]
                .ended
                .store(clock.since, Relaxed);
        }
    }
}
