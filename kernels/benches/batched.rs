//! Batched products: every gemm kernel with the packings of this CPU, unpacking included.
//!
//!     cargo bench -p tern-kernels --bench batched                    # all, some minutes
//!     cargo bench -p tern-kernels --bench batched -- 'product/.*t5'  # those whose name contains this
//!
//! One thread, one matrix of 2560x2560 and 256 tokens. An element is a product of a weight and an activation. `peak` is the dot
//! product of the widest ISA with nothing around it: the elements a second of a product divided by those are the share of the peak
//! that it reaches. `tile` is a kernel on one tile of rows and 256 columns, all of it in the first-level cache: what the blocking
//! could reach at best.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::{
    Batch, Choice, Cpu, Gemm, GemmChoice, Gemv, Kernel, PackedMatrix, Pages, Scratch, Source,
    UnpackKernel, stream,
};

/// A matrix of a small model, and a prompt.
const ROWS: usize = 2560;
const COLS: usize = 2560;
const TOKENS: usize = 256;

/// A trit for each place that follows no pattern a kernel could profit from.
fn trit(row: usize, col: usize) -> i8 {
    let mixed = ((row as u64) << 32 | col as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) % 3) as i8 - 1
}

/// What a product of one shape needs.
struct Product {
    gemv: Gemv,
    gemm: Gemm,
    batch: Batch,
    scratch: Scratch,
    sums: Vec<i32>,
}

impl Product {
    fn new(kernel: Kernel, choice: GemmChoice, rows: usize, cols: usize) -> Product {
        let fill = |row: usize, trits: &mut [i8]| {
            let places = trits.iter_mut().enumerate();
            places.for_each(|(col, t)| *t = trit(row, col));
        };
        let matrix = PackedMatrix::pack(kernel.packing, rows, cols, Pages::Huge, &fill)
            .expect("the shape of a benchmark packs");
        let forced = Choice {
            kernel,
            tile: DEFAULT_TILE,
            source: Source::Forced,
        };
        let gemv = Gemv::new(matrix, forced, 1).expect("packed for this kernel");
        let mut batch = Batch::new(kernel.packing, cols, TOKENS).expect("memory for a batch");
        for (token, mut row) in batch.rows().enumerate() {
            let q: Vec<i8> = (0..cols).map(|col| (token * 89 + col * 37) as i8).collect();
            row.fill(&q);
        }
        let gemm = Gemm::new(&gemv, choice);
        Product {
            scratch: Scratch::new([&gemm]).expect("memory for a block"),
            sums: vec![0; TOKENS * gemm.part_len(0)],
            gemv,
            gemm,
            batch,
        }
    }

    fn run(&mut self) {
        let matrix = black_box(self.gemv.matrix());
        let sums = black_box(&mut self.sums);
        let (batch, scratch) = (&self.batch, &mut self.scratch);
        self.gemm.run_part(matrix, 0, batch, TOKENS, scratch, sums);
    }
}

/// One kernel for each packing whose code and lanes an unpack kernel reads.
fn packings(cpu: &Cpu) -> Vec<(Kernel, UnpackKernel)> {
    let reads = |unpack: &UnpackKernel, kernel: &Kernel| {
        (unpack.code, unpack.lanes) == (kernel.packing.code, kernel.packing.lanes)
    };
    cpu.unpacks()
        .filter_map(|unpack| Some((cpu.kernels().find(|k| reads(&unpack, k))?, unpack)))
        .collect()
}

fn products(criterion: &mut Criterion) {
    let cpu = Cpu::detect();
    let mut group = criterion.benchmark_group("product");
    group.throughput(Throughput::Elements((ROWS * COLS * TOKENS) as u64));
    for (kernel, unpack) in packings(&cpu) {
        for gemm in cpu.gemms() {
            let choice = GemmChoice {
                kernel: gemm,
                unpack: Some(unpack),
            };
            group.bench_function(BenchmarkId::new(gemm.id, kernel.packing), |bencher| {
                let mut product = Product::new(kernel, choice, ROWS, COLS);
                bencher.iter(|| product.run());
            });
        }
    }
    group.finish();
}

fn tiles(criterion: &mut Criterion) {
    let cpu = Cpu::detect();
    let mut group = criterion.benchmark_group("tile");
    for gemm in cpu.gemms() {
        // Which packing hardly matters: with this many tokens unpacking is a small part of the whole.
        let Some((kernel, unpack)) = packings(&cpu).into_iter().next() else {
            return;
        };
        let choice = GemmChoice {
            kernel: gemm,
            unpack: Some(unpack),
        };
        let (rows, cols) = (gemm.vectors * gemm.lanes, 256);
        group.throughput(Throughput::Elements((rows * cols * TOKENS) as u64));
        group.bench_function(
            BenchmarkId::new(gemm.id, format!("{rows}x{cols}")),
            |bencher| {
                let mut product = Product::new(kernel, choice, rows, cols);
                bencher.iter(|| product.run());
            },
        );
    }
    group.finish();
}

fn peak(criterion: &mut Criterion) {
    const LAPS: usize = 1000;
    let (cpu, bytes) = (Cpu::detect(), vec![1; 16 * stream::DOT_BYTES]);
    let Some(isa) = stream::dot_isa(&cpu) else {
        return;
    };
    let mut group = criterion.benchmark_group("peak");
    group.throughput(Throughput::Elements((LAPS * bytes.len()) as u64));
    group.bench_function(isa.name(), |bencher| {
        bencher.iter(|| stream::dot(&cpu, black_box(&bytes), LAPS));
    });
    group.finish();
}

criterion_group! {
    name = batched;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = products, tiles, peak
}
criterion_main!(batched);
