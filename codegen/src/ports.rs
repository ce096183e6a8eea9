//! How fast a kernel could be at best: a model of the pipes of two families of CPUs.
//!
//! A model counts what each pipe must do and nothing else: no latencies, no front end, no caches. Its bound is what a kernel reaches
//! when its loads hit the first-level cache and nothing ever waits. It explains which operations are dear; it is no measurement.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::isa::Operation;

/// Pipes as bits.
type Pipes = u32;

/// The pipes of a family of CPUs.
pub struct Model {
    /// The CPUs.
    pub name: &'static str,
    /// Where the numbers come from.
    pub source: &'static str,
    /// What each bit of [`Pipes`] is called.
    names: &'static [&'static str],
    /// For one operation on vectors of so many bytes: the pipes that can take it, once for each time that one of them is busy.
    uses: fn(Operation, usize) -> &'static [Pipes],
}

/// What a model says of some operations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// Cycles at least.
    pub cycles: f64,
    /// The pipes that are busy all the time.
    pub pipes: Vec<&'static str>,
}

/// The models.
pub static MODELS: [Model; 2] = [
    Model {
        name: "AMD Zen 4",
        source: "AMD's optimization guide for Zen 4 and LLVM's scheduling model `znver4`",
        names: &["F0", "F1", "F2", "F3", "load 0", "load 1", "store"],
        uses: zen4,
    },
    Model {
        name: "Intel server with AVX-512 (Ice Lake to Sapphire Rapids)",
        source: "Intel's optimization manual and uops.info",
        names: &["p0", "p1", "p5", "load 0", "load 1", "store"],
        uses: intel,
    },
];

/// Four pipes and two loads of 256 bits: 512-bit operations take two turns. Shuffles and shifts run on two of the pipes, products and
/// bit matrices on the other two.
fn zen4(operation: Operation, bytes: usize) -> &'static [Pipes] {
    const ANY: &[Pipes] = &[0b1111; 2];
    const SHUFFLE: &[Pipes] = &[0b0110; 2];
    const MULTIPLY: &[Pipes] = &[0b1001; 2];
    const LOAD: &[Pipes] = &[0b11_0000; 2];
    const STORE: &[Pipes] = &[0b100_0000; 2];
    let turns = if bytes > 32 { 2 } else { 1 };
    let both = match operation.class() {
        "any" => ANY,
        "shuffle" | "shift" => SHUFFLE,
        "multiply" => MULTIPLY,
        "store" => STORE,
        _ => LOAD,
    };
    match operation {
        // One cache line, whatever the vectors.
        Operation::Prefetch => &both[..1],
        _ => &both[..turns],
    }
}

/// Three pipes up to 256 bits; for 512 bits two of them act as one (`p0`), beside `p5`, and only `p5` shuffles. Shuffles of words
/// and from two registers are several operations. Products are taken for those of servers, which have a second multiplier at `p5`.
fn intel(operation: Operation, bytes: usize) -> &'static [Pipes] {
    let wide = bytes > 32;
    match operation {
        Operation::LookupInTwo => &[0b100, 0b100, 0b101],
        Operation::LookupOfWords => &[0b100, 0b100],
        Operation::Lookup => &[0b100],
        Operation::Shift if !wide => &[0b011],
        Operation::Shift | Operation::ToMask => &[0b001],
        Operation::Multiply | Operation::BitMatrix if !wide => &[0b011],
        Operation::Logic | Operation::Add | Operation::Compare if !wide => &[0b111],
        Operation::Multiply | Operation::BitMatrix => &[0b101],
        Operation::Logic | Operation::Add | Operation::Compare | Operation::FromMask => &[0b101],
        Operation::Load | Operation::Prefetch => &[0b1_1000],
        Operation::Store => &[0b10_0000],
    }
}

impl Model {
    /// The fewest cycles that the pipes need for `counts` operations on vectors of `bytes` bytes.
    ///
    /// Work that only the pipes of a set can do takes at least its amount over the number of those pipes; the slowest set decides.
    pub fn bound(&self, counts: &BTreeMap<Operation, f64>, bytes: usize) -> Bound {
        let work = |set: Pipes| -> f64 {
            let busy = |&(operation, count): &(&Operation, &f64)| {
                let uses = (self.uses)(*operation, bytes);
                uses.iter().filter(|&&pipes| pipes & !set == 0).count() as f64 * count
            };
            counts.iter().map(|each| busy(&each)).sum::<f64>() / f64::from(set.count_ones())
        };
        // Of equal sets the smallest, which comes first among those that hold the same work.
        let (cycles, set) = (1..1 << self.names.len())
            .map(|set: Pipes| (work(set), set))
            .fold(
                (0.0, 0),
                |best, next| if next.0 > best.0 + 1e-9 { next } else { best },
            );
        let named = self.names.iter().enumerate();
        let pipes = named
            .filter(|(bit, _)| set >> bit & 1 == 1)
            .map(|(_, &name)| name);
        Bound {
            cycles,
            pipes: pipes.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(model: &Model, counts: &[(Operation, f64)]) -> f64 {
        model.bound(&counts.iter().copied().collect(), 64).cycles
    }

    #[test]
    fn the_slowest_set_of_pipes_decides() {
        let [zen4, intel] = &MODELS;
        // Four dot products on two pipes, two turns each; four masks more still fit the other two.
        assert_eq!(cycles(zen4, &[(Operation::Multiply, 4.0)]), 4.0);
        let step = [(Operation::Multiply, 4.0), (Operation::Logic, 4.0)];
        assert_eq!(cycles(zen4, &step), 4.0);
        assert_eq!(cycles(intel, &step), 4.0);
        // A lookup in two registers is one operation on one CPU and three on the other.
        assert_eq!(cycles(zen4, &[(Operation::LookupInTwo, 2.0)]), 2.0);
        assert_eq!(cycles(intel, &[(Operation::LookupInTwo, 2.0)]), 4.0);
        assert_eq!(cycles(zen4, &[(Operation::Load, 3.0)]), 3.0);
    }

    #[test]
    fn the_busy_pipes_are_named() {
        let counts = [(Operation::Lookup, 3.0), (Operation::Add, 1.0)].into();
        assert_eq!(MODELS[0].bound(&counts, 64).pipes, ["F1", "F2"]);
        assert_eq!(MODELS[1].bound(&counts, 64).pipes, ["p5"]);
    }
}
