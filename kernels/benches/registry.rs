//! Every kernel of the registry that this CPU runs, for people who work on one of them.
//!
//!     cargo bench -p tern-kernels --bench registry                          # all, some minutes
//!     cargo bench -p tern-kernels --bench registry -- lut_t5                # those whose name contains this
//!     cargo bench -p tern-kernels --bench registry -- 'product/.*avx512'    # a regular expression works too
//!     cargo bench -p tern-kernels --bench registry -- --save-baseline before # then change it, then --baseline before
//!
//! A kernel that takes several tokens at once gets that many, and its weights count once for each.
//!
//! One thread and one matrix that stays in cache: this shows what a kernel's instructions cost. What it is worth from
//! memory, where a model's weights are, is the business of `tern compare`, and which kernel to use that of `tern tune`.
//! `TERN_BENCH_SHAPE=ROWSxCOLS` sets another shape than 1280x2560.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::{
    Choice, Cpu, Family, Gemv, Kernel, Operand, PackedMatrix, Pages, Shape, Source,
};

/// The shape from `TERN_BENCH_SHAPE`, or one whose packed weights fit a second-level cache of 1 MiB.
fn shape() -> Shape {
    let Ok(text) = std::env::var("TERN_BENCH_SHAPE") else {
        return Shape {
            rows: 1280,
            cols: 2560,
        };
    };
    let sides = text.split_once('x').and_then(|(rows, cols)| {
        Some(Shape {
            rows: rows.parse().ok()?,
            cols: cols.parse().ok()?,
        })
    });
    match sides {
        Some(shape) if shape.rows > 0 && shape.cols > 0 => shape,
        _ => panic!("TERN_BENCH_SHAPE is `{text}`, expected ROWSxCOLS, for example 6912x2560"),
    }
}

/// A trit for each place that follows no pattern a kernel could profit from.
fn trit(row: usize, col: usize) -> i8 {
    let mixed = ((row as u64) << 32 | col as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) % 3) as i8 - 1
}

fn activations(cols: usize) -> Vec<i8> {
    (0..cols)
        .map(|col| {
            (col as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes()[5] as i8
        })
        .collect()
}

/// The kernels to bench, one at a time. The reference is left out: it takes a hundred times as long as the others.
fn kernels(cpu: &Cpu) -> Vec<Kernel> {
    cpu.kernels()
        .filter(|kernel| kernel.family != Family::Reference)
        .collect()
}

fn products(criterion: &mut Criterion) {
    let (cpu, shape) = (Cpu::detect(), shape());
    let mut group = criterion.benchmark_group("product");
    for kernel in kernels(&cpu) {
        let products = shape.rows * shape.cols * kernel.batch;
        group.throughput(Throughput::Elements(products as u64));
        group.bench_function(BenchmarkId::new(kernel.id, shape), |bencher| {
            // Inside, so that a filter also saves the packing of what it leaves out.
            let fill = |row: usize, trits: &mut [i8]| {
                trits
                    .iter_mut()
                    .enumerate()
                    .for_each(|(col, t)| *t = trit(row, col));
            };
            let matrix =
                PackedMatrix::pack(kernel.packing, shape.rows, shape.cols, Pages::Huge, &fill)
                    .expect("the shape of a benchmark packs");
            let choice = Choice {
                kernel,
                tile: DEFAULT_TILE,
                source: Source::Forced,
            };
            let gemv = Gemv::new(matrix, choice, 1).expect("packed for this kernel");
            let mut tokens: Vec<Operand> = (0..kernel.batch)
                .map(|_| Operand::new(kernel, shape.cols).expect("memory for an operand"))
                .collect();
            for operand in &mut tokens {
                operand.build(&activations(shape.cols));
            }
            let tokens: Vec<&Operand> = tokens.iter().collect();
            let mut sums = vec![0; kernel.batch * gemv.part_len(0)];
            bencher.iter(|| gemv.run_part(0, black_box(&tokens), black_box(&mut sums)));
        });
    }
    group.finish();
}

fn operands(criterion: &mut Criterion) {
    let (cpu, shape) = (Cpu::detect(), shape());
    let mut group = criterion.benchmark_group("operand");
    group.throughput(Throughput::Elements(shape.cols as u64));
    for kernel in kernels(&cpu) {
        group.bench_function(BenchmarkId::new(kernel.id, shape.cols), |bencher| {
            let mut operand = Operand::new(kernel, shape.cols).expect("memory for one operand");
            let activations = activations(shape.cols);
            bencher.iter(|| operand.build(black_box(&activations)));
        });
    }
    group.finish();
}

criterion_group! {
    name = registry;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = products, operands
}
criterion_main!(registry);
