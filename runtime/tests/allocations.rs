//! Writing a token takes no memory from the allocator: once buffers have grown, a step of one token allocates nothing, on any number
//! of threads. (Every 64 positions the cache grows by a block.)

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::{FIXTURES, Setup};
use tern_runtime::{Engine, Logits, Sequence, Work};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn write(engine: &mut Engine, sequence: &mut Sequence, logits: Logits, tokens: u32) {
    for token in 0..tokens {
        let work = Work {
            sequence: &mut *sequence,
            tokens: &[token % 7],
            logits,
        };
        engine.step(&mut [work]).expect("room for all positions");
    }
}

/// One test alone, so that nobody else allocates meanwhile.
#[test]
fn a_written_token_allocates_nothing() {
    for fixture in FIXTURES {
        for threads in [1, 2, 5] {
            let setup = Setup {
                threads,
                ..Setup::default()
            };
            let mut engine = setup.engine(fixture);
            let mut sequence = engine.model().sequence();
            for logits in [Logits::Best, Logits::Last, Logits::None] {
                sequence.truncate(0);
                write(&mut engine, &mut sequence, logits, 3);
                let before = ALLOCATIONS.load(Relaxed);
                write(&mut engine, &mut sequence, logits, 40);
                let found = ALLOCATIONS.load(Relaxed) - before;
                assert_eq!(found, 0, "{fixture}, {threads} threads, {logits:?}");
            }
        }
    }
}
