//! What the kernel tests share: seeded matrices and activations, the reference's sums, and the account of what ran.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use tern_kernels::{
    Choice, Cpu, Gemv, Isa, Kernel, Operand, PackedMatrix, Packing, Pages, Source, Tables, Tile,
    kernels, reference,
};

/// A small generator whose numbers never change (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn trit(&mut self) -> i8 {
        self.below(3) as i8 - 1
    }

    /// Any activation; the extremes come often.
    pub fn activation(&mut self) -> i8 {
        match self.below(8) {
            0 => -128,
            1 => 127,
            _ => self.next() as i8,
        }
    }
}

/// A ternary matrix, row by row, and the activations of some tokens.
#[derive(Clone)]
pub struct Case {
    pub rows: usize,
    pub cols: usize,
    pub trits: Vec<i8>,
    pub tokens: Vec<Vec<i8>>,
}

impl Case {
    pub fn random(rows: usize, cols: usize, tokens: usize, seed: u64) -> Case {
        let mut rng = Rng(seed);
        let trits = (0..rows * cols).map(|_| rng.trit()).collect();
        let tokens = (0..tokens)
            .map(|_| (0..cols).map(|_| rng.activation()).collect())
            .collect();
        Case {
            rows,
            cols,
            trits,
            tokens,
        }
    }

    /// What every kernel must return: the sums of all rows, one token after another.
    pub fn reference(&self) -> Vec<i32> {
        let mut out = vec![0; self.rows * self.tokens.len()];
        for (x, y) in self.tokens.iter().zip(out.chunks_exact_mut(self.rows)) {
            reference::gemv(
                self.rows,
                self.cols,
                |m, k| self.trits[m * self.cols + k],
                x,
                y,
            );
        }
        out
    }

    pub fn pack(&self, kernel: Kernel) -> PackedMatrix {
        self.pack_as(kernel.packing)
    }

    pub fn pack_as(&self, packing: Packing) -> PackedMatrix {
        let fill = |row: usize, out: &mut [i8]| {
            out.copy_from_slice(&self.trits[row * self.cols..][..self.cols]);
        };
        PackedMatrix::pack(packing, self.rows, self.cols, Pages::Small, &fill).unwrap()
    }

    /// That very kernel's sums, whatever the number of tokens, with the rows split over `threads` workers.
    pub fn run(&self, kernel: Kernel, tile: Tile, threads: usize) -> Vec<i32> {
        let choice = Choice {
            kernel,
            tile,
            source: Source::Forced,
        };
        let gemv = Gemv::new(self.pack(kernel), choice, threads).unwrap();
        let gemv = gemv.alone();
        let mut out = vec![i32::MIN; self.rows * self.tokens.len()];
        gemv.run(&self.operands(kernel).iter().collect::<Vec<_>>(), &mut out);
        out
    }

    pub fn operands(&self, kernel: Kernel) -> Vec<Operand> {
        let build = |x: &Vec<i8>| {
            let mut operand = Operand::new(kernel, self.cols).unwrap();
            operand.build(x);
            operand
        };
        self.tokens.iter().map(build).collect()
    }

    /// Fails with the kernel, shape, tile and first wrong row.
    pub fn check(&self, kernel: Kernel, tile: Tile, threads: usize) {
        let (found, expected) = (self.run(kernel, tile, threads), self.reference());
        if let Some(at) = (0..expected.len()).find(|&i| found[i] != expected[i]) {
            panic!(
                "{} on {}x{}, {tile:?}, {threads} workers: token {} row {} is {}, expected {}",
                kernel.id,
                self.rows,
                self.cols,
                at / self.rows,
                at % self.rows,
                found[at],
                expected[at]
            );
        }
    }
}

/// Tokens that show all that a kernel does with them: one, or two whole batches and one more.
pub fn several(kernel: &Kernel) -> usize {
    match kernel.batch {
        1 => 1,
        batch => 2 * batch + 1,
    }
}

/// Numbers of tokens at which something changes for a kernel that takes several at once.
pub fn counts(batch: usize) -> Vec<usize> {
    let mut counts = vec![1, batch - 1, batch, batch + 1, 2 * batch + 1];
    counts.dedup();
    counts
}

/// The most weights of a matrix in the tests of large shapes, by `TERN_TEST_WEIGHTS`: for CPUs that are slow because they are emulated.
pub fn most_weights() -> usize {
    let Ok(most) = std::env::var("TERN_TEST_WEIGHTS") else {
        return usize::MAX;
    };
    eprintln!("TERN_TEST_WEIGHTS={most}: larger matrices are cut or left out");
    most.parse().expect("TERN_TEST_WEIGHTS is a number")
}

pub const WHOLE: Tile = Tile {
    k_blocks: 0,
    chunk: 0,
    prefetch: 0,
    tables: Tables::Shared,
};

/// The CPU and all the kernels that it runs. Says which kernels are skipped, and fails where `REQUIRE_ISA` (a list of ISA names
/// with commas) names an ISA that is absent.
pub fn runnable(test: &str) -> (Cpu, Vec<Kernel>) {
    let cpu = Cpu::detect();
    let run: Vec<Kernel> = cpu.kernels().collect();
    let skipped: Vec<&str> = kernels()
        .filter(|k| !cpu.has(k.isa))
        .map(|k| k.id)
        .collect();
    eprintln!(
        "{test}: {} kernels run, skipped for want of their ISA: {skipped:?}",
        run.len()
    );
    let required = std::env::var("REQUIRE_ISA").unwrap_or_default();
    for name in required
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let isa: Isa = name.parse().unwrap_or_else(|e| panic!("REQUIRE_ISA: {e}"));
        assert!(
            run.iter().any(|k| k.isa == isa),
            "REQUIRE_ISA={name}, but no kernel of it ran"
        );
    }
    assert!(run.len() > 1, "only the reference ran");
    (cpu, run)
}
