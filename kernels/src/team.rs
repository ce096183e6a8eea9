//! The resident thread team: fork-join regions that cost about a microsecond.
//!
//! One token of a 30-layer model is 150 to 200 small parallel regions. A general thread pool
//! spends 10 to 30 us on each of them, which is as much time as the arithmetic; a team that is
//! already awake and polls for its next region spends well under one. So the threads of a [`Team`]
//! live as long as the team, are woken once for a [`Session`] (a token), and between the regions of
//! a session they spin. Spinning is bounded twice, because it starves the very threads that it waits
//! for when threads share a core (llama.cpp#13079: a factor of 200): every microsecond or two the
//! core is offered to others, and after [`SPIN`] the thread sleeps until it is woken.
//!
//! # Protocol
//!
//! The caller is worker 0. A region is:
//!
//! 1. the caller writes the job, then adds one to `generation`, then wakes the workers that sleep;
//! 2. each worker sees the new generation, reads the job, runs it, and stores the generation in the
//!    `done` field of its own slot (one cache line per worker, so arrivals do not contend);
//! 3. the caller runs its share and waits until every slot holds the generation.
//!
//! Every worker takes part in every region, so once all have arrived nobody reads the job until the
//! next generation. That is what makes it sound to hand out a closure that borrows from the
//! caller's stack, and to overwrite the job for the next region.
//!
//! Sleeping uses the store-then-load handshake on both sides: the sleeper raises `asleep` and then
//! looks at the condition once more; the waker makes the condition true and then looks at `asleep`.
//! A `SeqCst` fence stands between the two steps on both sides, so at least one of the two threads
//! sees what the other stored, and no wake-up is lost.

mod columns;
mod pieces;
mod placement;

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

pub use columns::{Columns, Split, Strips};
use pieces::Queues;
pub(crate) use pieces::runs;
pub use pieces::{bounds, pieces};
use placement::Places;

/// How long a thread polls before it sleeps.
///
/// Longer than the serial stretches inside a token (tens of microseconds), so that a session wakes
/// its workers once; short enough that an idle team is asleep before anybody notices.
pub const SPIN: Duration = Duration::from_micros(50);

/// Polls between two offers of the core to other threads, at 10 to 60 ns each.
///
/// Systems like to wake a thread on the core of its waker, here a caller that goes on to spin. Were
/// the core not offered, such a worker would run only when the caller gave up, after all of
/// [`SPIN`]; and as it then spins in turn, every region would take twice that (measured: 103 us
/// instead of 0.4).
const POLLS: usize = 32;

/// The same where the threads outnumber the cores: whoever polls is likely in another's way.
const POLLS_WHEN_CROWDED: usize = 1;

/// Keeps each thread's flags on its own cache lines. 128 bytes, since x86 prefetches lines in pairs
/// and some ARM cores have lines of 128 bytes.
#[repr(align(128))]
struct Padded<T>(T);

/// A borrowed closure without its type and lifetime.
#[derive(Clone, Copy)]
struct Job {
    closure: *const (),
    call: unsafe fn(*const (), usize),
}

impl Job {
    fn new<F: Fn(usize) + Sync>(f: &F) -> Job {
        /// # Safety
        ///
        /// `closure` points to a live `F`, which may be called from this thread.
        unsafe fn call<F: Fn(usize)>(closure: *const (), worker: usize) {
            // SAFETY: promised by the caller.
            unsafe { (*closure.cast::<F>())(worker) }
        }
        Job {
            closure: (&raw const *f).cast(),
            call: call::<F>,
        }
    }
}

/// What the caller writes and all workers read: one cache line holds the whole order.
struct Order {
    /// The number of the newest region.
    generation: AtomicUsize,
    /// The newest region's closure; `None` sends the workers home.
    job: UnsafeCell<Option<Job>>,
}

// SAFETY: `job` is written by the caller only (`publish`), at times when no worker reads it, and
// read by workers only between seeing a generation and arriving at it (`worker_loop`); see the
// protocol above. The closure behind it is `Sync` (`Job::new`).
unsafe impl Sync for Order {}

// SAFETY: as for `Sync`; a `Job` owns nothing.
unsafe impl Send for Order {}

impl Order {
    /// Orders the region `generation`.
    ///
    /// # Safety
    ///
    /// Every worker has arrived at the generation before, and the closure behind `job` stays alive
    /// until every worker has arrived at this one.
    unsafe fn publish(&self, generation: usize, job: Option<Job>) {
        // SAFETY: no worker reads the job before it sees the new generation, which is stored below.
        unsafe { *self.job.get() = job };
        self.generation.store(generation, Release);
    }

    /// The newest job.
    ///
    /// # Safety
    ///
    /// The calling worker has seen the newest generation and has not arrived at it.
    unsafe fn job(&self) -> Option<Job> {
        // SAFETY: the caller of the team writes the job again only after this worker has arrived.
        unsafe { *self.job.get() }
    }
}

/// What one worker tells the caller.
struct Slot {
    /// The newest generation that this worker has finished.
    done: AtomicUsize,
    /// The worker sleeps, or is about to.
    asleep: AtomicBool,
    /// The caller sleeps until this worker has finished, or is about to.
    caller_asleep: AtomicBool,
}

/// What the caller and the workers share.
struct Shared {
    order: Padded<Order>,
    /// Worker `w` has slot `w - 1`: worker 0 is the caller.
    slots: Box<[Padded<Slot>]>,
    /// Of each worker, the caller among them.
    queues: Queues,
    /// The first panic of a worker in the current region.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Who to wake: the thread that last went to sleep as the caller.
    caller: Mutex<Option<Thread>>,
    /// [`POLLS`] or [`POLLS_WHEN_CROWDED`].
    polls: usize,
}

impl Shared {
    fn new(workers: usize, polls: usize) -> Shared {
        let slot = || Slot {
            done: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            caller_asleep: AtomicBool::new(false),
        };
        Shared {
            order: Padded(Order {
                generation: AtomicUsize::new(0),
                job: UnsafeCell::new(None),
            }),
            slots: (0..workers).map(|_| Padded(slot())).collect(),
            queues: Queues::new(workers + 1),
            panic: Mutex::new(None),
            caller: Mutex::new(None),
            polls,
        }
    }

    /// The caller's side of the join: returns once the worker of `slot` arrived at `generation`.
    fn wait_for_worker(&self, slot: &Slot, generation: usize) {
        let arrived = || slot.done.load(Acquire) == generation;
        if poll(self.polls, arrived) {
            return;
        }
        *lock(&self.caller) = Some(thread::current());
        wait(self.polls, &slot.caller_asleep, arrived);
    }

    /// The worker's side of the join.
    fn arrive(&self, slot: &Slot, generation: usize) {
        slot.done.store(generation, Release);
        fence(SeqCst);
        if must_wake(&slot.caller_asleep)
            && let Some(caller) = &*lock(&self.caller)
        {
            caller.unpark();
        }
    }
}

/// A thread's whole life after it is spawned as `worker`.
fn worker_loop(shared: &Shared, worker: usize) {
    let Padded(slot) = &shared.slots[worker - 1];
    let Padded(order) = &shared.order;
    let mut generation = 0;
    loop {
        wait(shared.polls, &slot.asleep, || {
            order.generation.load(Acquire) != generation
        });
        generation = order.generation.load(Relaxed);
        // SAFETY: the generation was just seen and `arrive` comes below.
        let Some(job) = (unsafe { order.job() }) else {
            return;
        };
        // A panic is the caller's business and must not take this thread, which others wait for,
        // with it. The caller resumes it, so no state that it broke goes unnoticed.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the caller keeps the closure alive until `arrive`, and it is `Sync`.
            unsafe { (job.call)(job.closure, worker) }
        }));
        if let Err(payload) = outcome {
            keep_first(&shared.panic, payload);
        }
        shared.arrive(slot, generation);
    }
}

/// Keeps a region's first panic. Further ones are leaked: dropping a payload may itself panic.
fn keep_first(kept: &Mutex<Option<Box<dyn Any + Send>>>, payload: Box<dyn Any + Send>) {
    let mut kept = lock(kept);
    match *kept {
        None => *kept = Some(payload),
        Some(_) => mem::forget(payload),
    }
}

/// Locks; no code that can panic runs under our locks, so poison would carry no news.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls `ready` for about [`SPIN`], offering the core every `polls` times. Returns whether it became
/// true.
fn poll(polls: usize, ready: impl Fn() -> bool) -> bool {
    let mut since = None;
    loop {
        for _ in 0..polls {
            if ready() {
                return true;
            }
            hint::spin_loop();
        }
        thread::yield_now();
        if since.get_or_insert_with(Instant::now).elapsed() >= SPIN {
            return ready();
        }
    }
}

/// Returns once `ready`: polls, then sleeps with `asleep` raised until [`must_wake`] lowers it.
///
/// Being woken without cause (a session begins, a stale unpark) only makes it poll again.
fn wait(polls: usize, asleep: &AtomicBool, ready: impl Fn() -> bool) {
    while !poll(polls, &ready) {
        asleep.store(true, Relaxed);
        fence(SeqCst);
        if ready() {
            asleep.store(false, Relaxed);
            return;
        }
        while asleep.load(Relaxed) {
            thread::park();
        }
    }
}

/// Lowers `asleep` if it is up; then the thread that raised it is to be unparked.
///
/// Between making the sleeper's condition true and calling this stands a `SeqCst` fence.
/// The load first keeps the usual case, nobody sleeps, free of writes to the other's cache line.
fn must_wake(asleep: &AtomicBool) -> bool {
    asleep.load(Relaxed)
        && asleep
            .compare_exchange(true, false, Relaxed, Relaxed)
            .is_ok()
}

/// Ends the process if a region is left by unwinding while workers may still run its closure.
///
/// Nothing in [`Session::run`] is known to panic there (the closure itself is caught); this guard
/// makes soundness independent of that.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        process::abort();
    }
}

/// Threads that stay, and run regions together with the thread that calls.
///
/// Dropping the team ends and joins its threads. A team of one thread has none: its regions are
/// plain calls.
pub struct Team {
    shared: Arc<Shared>,
    /// Workers 1 and up.
    workers: Vec<JoinHandle<()>>,
    generation: usize,
    /// Where they run. Dropped after they have ended.
    places: Places,
}

impl Team {
    /// A team of `threads` workers, counting the caller.
    ///
    /// # Panics
    ///
    /// If `threads` is 0 or the system refuses to start a thread; see [`Team::try_new`].
    pub fn new(threads: usize) -> Team {
        match Team::try_new(threads) {
            Ok(team) => team,
            Err(error) => panic!("cannot start a team of {threads} threads: {error}"),
        }
    }

    /// A team of `threads` workers, counting the caller.
    ///
    /// There may be more threads than cores: regions then cost switches between threads, no more.
    ///
    /// # Errors
    ///
    /// If the system refuses to start a thread (the threads started so far are ended again), or if
    /// `threads` is 0.
    pub fn try_new(threads: usize) -> io::Result<Team> {
        let Some(others) = threads.checked_sub(1) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a team needs at least one thread",
            ));
        };
        // Where the number of cores is unknown, spinning is the safe guess: it is bounded.
        let cores = thread::available_parallelism().map_or(usize::MAX, usize::from);
        let polls = if threads > cores {
            POLLS_WHEN_CROWDED
        } else {
            POLLS
        };
        let mut team = Team {
            shared: Arc::new(Shared::new(others, polls)),
            workers: Vec::new(),
            generation: 0,
            places: Places::choose(threads),
        };
        for worker in 1..threads {
            let shared = Arc::clone(&team.shared);
            let thread = thread::Builder::new().name(format!("tern-worker-{worker}"));
            let pin = team.places.pin(worker);
            team.workers.push(thread.spawn(move || {
                pin();
                worker_loop(&shared, worker);
            })?);
        }
        Ok(team)
    }

    /// The number of workers, counting the caller.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Wakes the team and calls `f`, which starts regions.
    ///
    /// Workers get ready while the caller does the first serial work of `f`, and stay awake as long
    /// as no serial stretch between two regions is longer than [`SPIN`]. After a longer one the next
    /// region wakes them again.
    pub fn session<R>(&mut self, f: impl FnOnce(&mut Session<'_>) -> R) -> R {
        self.wake();
        f(&mut Session { team: self })
    }

    /// A session of one region: see [`Session::run`].
    pub fn run(&mut self, f: impl Fn(usize) + Sync) {
        self.region(&f);
    }

    fn wake(&self) {
        fence(SeqCst);
        for (worker, Padded(slot)) in self.workers.iter().zip(&self.shared.slots) {
            if must_wake(&slot.asleep) {
                worker.thread().unpark();
            }
        }
    }

    /// The number of the next region.
    fn next_generation(&self) -> usize {
        self.generation.wrapping_add(1)
    }

    fn region<F: Fn(usize) + Sync>(&mut self, f: &F) {
        self.generation = self.next_generation();
        if self.workers.is_empty() {
            return f(0);
        }
        let guard = AbortOnUnwind;
        // SAFETY: the region before ended with every worker's arrival, as this one does below, and
        // `f` outlives it. `guard` rules out the one other way to leave this function. `&mut self`
        // keeps regions from overlapping.
        unsafe {
            self.shared
                .order
                .0
                .publish(self.generation, Some(Job::new(f)))
        };
        self.wake();
        let own = panic::catch_unwind(AssertUnwindSafe(|| f(0)));
        for Padded(slot) in &self.shared.slots {
            self.shared.wait_for_worker(slot, self.generation);
        }
        mem::forget(guard);
        let theirs = lock(&self.shared.panic).take();
        if let Some(payload) = own.err().or(theirs) {
            panic::resume_unwind(payload);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let generation = self.next_generation();
        // SAFETY: every region ended with every worker's arrival, and there is no closure.
        unsafe { self.shared.order.0.publish(generation, None) };
        self.wake();
        for worker in self.workers.drain(..) {
            // A worker catches all panics, so there is no outcome to look at.
            let _ = worker.join();
        }
    }
}

/// The right to start regions on a team that is awake. Lent by [`Team::session`].
pub struct Session<'team> {
    team: &'team mut Team,
}

impl Session<'_> {
    /// The number of workers, counting the caller.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// One region: calls `f(worker)` once on every worker `0..threads` (0 is the calling thread)
    /// and returns when all have returned. So a region is also the barrier between two steps.
    ///
    /// # Panics
    ///
    /// Resumes the caller's own panic, or else the first of a worker's panics, after every worker
    /// has finished. The team can be used again.
    pub fn run(&mut self, f: impl Fn(usize) + Sync) {
        self.team.region(&f);
    }

    /// One region over parts: calls `f(worker, &mut parts[worker])` on the worker of each part.
    /// Workers beyond the last part have nothing to do.
    ///
    /// # Panics
    ///
    /// If there are more parts than workers, and as [`Session::run`] does.
    pub fn run_parts<P: Send>(&mut self, parts: &mut [P], f: impl Fn(usize, &mut P) + Sync) {
        let threads = self.threads();
        assert!(
            parts.len() <= threads,
            "{} parts do not fit a team of {threads} threads",
            parts.len()
        );
        let parts = Parts {
            first: parts.as_mut_ptr(),
            len: parts.len(),
        };
        self.team.region(&|worker| {
            // SAFETY: a region passes each worker number once, and `parts` is borrowed until it
            // ends.
            if let Some(part) = unsafe { parts.get(worker) } {
                f(worker, part);
            }
        });
    }
}

/// A mutable slice that the workers of a region divide among themselves.
struct Parts<P> {
    first: *mut P,
    len: usize,
}

// SAFETY: `Parts` only hands out `&mut P`, for disjoint elements (the contract of `get`), and `P`
// may be moved between threads.
unsafe impl<P: Send> Sync for Parts<P> {}

impl<P> Parts<P> {
    /// Part `index`, if there is one.
    ///
    /// # Safety
    ///
    /// The slice is still mutably borrowed, and no other reference to part `index` exists.
    #[expect(
        clippy::mut_from_ref,
        reason = "each worker takes another element of the slice"
    )]
    unsafe fn get(&self, index: usize) -> Option<&mut P> {
        // SAFETY: `index` is inside the slice; the caller vouches for the borrow.
        (index < self.len).then(|| unsafe { &mut *self.first.add(index) })
    }
}
