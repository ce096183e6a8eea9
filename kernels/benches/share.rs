//! The share of the dot product's peak that batched products reach, on one thread and on two.
//!
//!     cargo bench -p tern-kernels --bench share                    # all packings of this CPU
//!     cargo bench -p tern-kernels --bench share -- avx2_r2n6 b2    # those whose names contain all these words
//!
//! A matrix of 2560x2560 and 256 tokens, unpacking included. Other programs and the clock change what a CPU can do within
//! milliseconds, so a product is timed between two runs of the peak (the dot product of the widest ISA with nothing around it, on
//! as many threads at once), and what is stated is the median of their ratios. Criterion times one thing after another, which on
//! a shared machine compares two different machines.

use std::hint::black_box;
use std::time::Instant;

use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::team::Session;
use tern_kernels::{
    Batch, Buffer, Choice, Cpu, Gemm, GemmChoice, GemmPart, Gemv, Kernel, PackedMatrix, Pages,
    Source, Team, UnpackKernel, stream,
};

/// A matrix of a small model, and a prompt.
const ROWS: usize = 2560;
const COLS: usize = 2560;
const TOKENS: usize = 256;

/// Products of each kernel that are timed.
const ROUNDS: usize = 15;

/// Laps of the peak: about a third of the products of the matrix.
const LAPS: usize = ROWS * COLS * TOKENS / 3 / PEAK_BYTES / stream::DOT_PRODUCTS;

/// Bytes that the peak multiplies in a lap: they fit a first-level cache.
const PEAK_BYTES: usize = 16 * stream::DOT_BYTES;

/// What a product needs.
struct Product {
    gemv: Gemv,
    gemm: Gemm,
    batch: Batch,
    parts: Vec<GemmPart>,
}

impl Product {
    fn new(kernel: Kernel, choice: GemmChoice, threads: usize) -> Product {
        let fill = |row: usize, trits: &mut [i8]| {
            for (col, t) in trits.iter_mut().enumerate() {
                let mixed = ((row as u64) << 32 | col as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                *t = ((mixed >> 40) % 3) as i8 - 1;
            }
        };
        let matrix = PackedMatrix::pack(kernel.packing, ROWS, COLS, Pages::Huge, &fill)
            .expect("the shape of a benchmark packs");
        let forced = Choice {
            kernel,
            tile: DEFAULT_TILE,
            source: Source::Forced,
        };
        let gemv = Gemv::new(matrix, forced, threads).expect("packed for this kernel");
        let mut batch = Batch::new(kernel.packing, COLS, TOKENS).expect("memory for a batch");
        for (token, mut row) in batch.rows().enumerate() {
            let q: Vec<i8> = (0..COLS).map(|col| (token * 89 + col * 37) as i8).collect();
            row.fill(&q);
        }
        let gemm = Gemm::new(&gemv, choice);
        Product {
            parts: gemm.parts(TOKENS).expect("memory for the sums"),
            gemv,
            gemm,
            batch,
        }
    }

    /// Products of a weight and an activation in a second.
    fn speed(&mut self, session: &mut Session<'_>) -> f64 {
        let start = Instant::now();
        let (matrix, batch) = (self.gemv.matrix(), &self.batch);
        self.gemm.run_on(session, matrix, batch, &mut self.parts);
        (ROWS * COLS * TOKENS) as f64 / start.elapsed().as_secs_f64()
    }
}

/// Products in a second of the peak on all threads of a team.
fn peak(cpu: &Cpu, session: &mut Session<'_>, bytes: &[u8]) -> f64 {
    let start = Instant::now();
    session.run(|_| {
        black_box(stream::dot(cpu, black_box(bytes), LAPS));
    });
    (session.threads() * LAPS * PEAK_BYTES * stream::DOT_PRODUCTS) as f64
        / start.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times one product between peaks, and prints its line.
fn race(cpu: &Cpu, kernel: Kernel, choice: GemmChoice, threads: usize) {
    let mut product = Product::new(kernel, choice, threads);
    // From the start of a cache line on: loads that cross lines would make a lower peak. Written to, because pages that never were
    // share one physical page, at which the first-level cache of some CPUs guesses wrong.
    let mut bytes = Buffer::zeroed(PEAK_BYTES, Pages::Small).expect("some kilobytes");
    bytes.fill(1);
    let (mut speeds, mut shares) = (Vec::new(), Vec::new());
    Team::new(threads).session(|session| {
        product.speed(session);
        let mut before = peak(cpu, session, &bytes);
        for _ in 0..ROUNDS {
            let speed = product.speed(session);
            let after = peak(cpu, session, &bytes);
            speeds.push(speed);
            // Harmonic: as if the peak had run for the same time before and after.
            shares.push(speed * (1.0 / before + 1.0 / after) / 2.0);
            before = after;
        }
    });
    println!(
        "{:<28} {:<16} {threads} {:>8.1} G/s {:>6.3} of the peak",
        choice.kernel.id,
        kernel.packing.to_string(),
        median(&mut speeds) / 1e9,
        median(&mut shares),
    );
}

fn main() {
    // Cargo passes `--bench`; what else stands there are words that a line must contain.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let cpu = Cpu::detect();
    let Some(isa) = stream::dot_isa(&cpu) else {
        println!("this CPU has no dot product to compare with");
        return;
    };
    println!(
        "peak: the dot product of {isa}; {ROWS}x{COLS}, {TOKENS} tokens; threads, speed, share"
    );
    let reads = |unpack: &UnpackKernel, kernel: &Kernel| {
        (unpack.code, unpack.lanes) == (kernel.packing.code, kernel.packing.lanes)
    };
    for unpack in cpu.unpacks() {
        let Some(kernel) = cpu.kernels().find(|k| reads(&unpack, k)) else {
            continue;
        };
        for gemm in cpu.gemms() {
            let name = format!("{} {} {}", gemm.id, unpack.id, kernel.packing);
            if !words.iter().all(|word| name.contains(word.as_str())) {
                continue;
            }
            let choice = GemmChoice {
                kernel: gemm,
                unpack: Some(unpack),
            };
            for threads in [1, 2] {
                race(&cpu, kernel, choice, threads);
            }
        }
    }
}
