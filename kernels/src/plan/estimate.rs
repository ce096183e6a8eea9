//! The closed form: what a kernel costs on a CPU that nobody tuned, from cache sizes and from what the generator knows of the kernel.
//!
//! It only has to rank kernels, in no time. Terms are added, since none hides the others fully. The constants are those of no special
//! CPU; they were checked against exhaustive tunings (see `tern profile verify`, which times the estimate beside a profile's winners).

use crate::cpu::Caches;
use crate::plan::Shape;
use crate::registry::{GemmDesc, KernelDesc};

/// Bytes a cycle that one stream brings from memory to a core.
const STREAM: f64 = 4.0;

/// By how much more each doubling of the streams brings: a core's own prefetchers end at the end of a page, each stream somewhere else.
const STREAM_GAIN: f64 = 0.12;

/// Bytes a cycle from the second-level cache.
const L2: f64 = 32.0;

/// Cycles to prepare a byte of activations, where two products share it.
const PREPARE: f64 = 0.5;

/// First-level data cache where its size is unknown, a small one.
const UNKNOWN_L1: usize = 32 << 10;

/// Cycles a weight of a product by one core.
///
/// * Vector operations, two a cycle. (Each kernel's step fits the registers by the generator's budget, and what several panels save is
///   in its operations.)
/// * The K block's prepared activations, which stay in the first-level cache from strip to strip if they take no more than half of it, and
///   come from the second otherwise.
/// * The weights, which come from memory: a model is larger than the caches, whatever a single matrix is.
/// * The preparation, which all rows share.
pub(crate) fn estimate(kernel: &KernelDesc, shape: Shape, caches: &Caches) -> f64 {
    let packing = &kernel.packing;
    let weights = kernel.weights_per_step() as f64;
    let operations = kernel.ops_per_step / 2.0 / weights;

    let l1 = match caches.l1d {
        0 => UNKNOWN_L1,
        l1d => l1d,
    };
    let step = kernel.operand_step_bytes as f64;
    let cols = packing.code.step_cols() as f64;
    // A block is never longer than the matrix.
    let steps = packing.block.min(packing.steps(shape.cols).max(1));
    let reloads = match steps * kernel.operand_step_bytes > l1 / 2 {
        true => step / weights / kernel.panels as f64 / L2,
        false => 0.0,
    };

    let rate = STREAM * (1.0 + STREAM_GAIN * (kernel.streams() as f64).log2());
    let memory = packing.panel_step_bytes() as f64 / weights / rate;

    let prepare = PREPARE * step / cols / shape.rows.max(1) as f64;
    operations + reloads + memory + prepare
}

/// Cycles for a row, a token and a quad by the closed form: two vector operations and two loads a cycle, of which the loads hide
/// half behind the operations.
pub(crate) fn gemm_estimate(kernel: &GemmDesc) -> f64 {
    let loads = (kernel.vectors + kernel.tokens) as f64;
    let products = (kernel.vectors * kernel.tokens * kernel.lanes) as f64;
    (kernel.ops_per_quad / 2.0 + loads / 4.0) / products
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::registry::{Family, kernels};

    const SHAPE: Shape = Shape {
        rows: 2560,
        cols: 2560,
    };

    #[test]
    fn the_closed_form_takes_the_widest_vectors_that_the_cap_allows() {
        let caches = Caches::default();
        for cap in [Isa::Ssse3, Isa::Avx2, Isa::AvxVnni] {
            let cost = |k: &KernelDesc| estimate(k, SHAPE, &caches);
            let best = kernels()
                .filter(|k| k.isa <= cap && k.family != Family::Reference && k.batch == 1)
                .min_by(|a, b| cost(a).total_cmp(&cost(b)));
            // Which kernels are in the binary depends on its target and configs.
            let Some(best) = best.filter(|_| kernels().any(|k| k.isa == cap)) else {
                continue;
            };
            assert_eq!(best.isa, cap, "{}", best.id);
        }
    }

    #[test]
    fn few_rows_and_small_caches_cost_tables_most() {
        let large = Caches {
            l1d: 64 << 10,
            l2: 1 << 20,
            l3: 0,
        };
        let small = Caches {
            l1d: 4 << 10,
            ..large
        };
        let few = Shape { rows: 64, ..SHAPE };
        for kernel in kernels().filter(|k| k.family == Family::Lut) {
            let cost = estimate(kernel, SHAPE, &large);
            assert!(cost > 0.0 && cost.is_finite(), "{}", kernel.id);
            assert!(estimate(kernel, few, &large) > cost, "{}", kernel.id);
            assert!(estimate(kernel, SHAPE, &small) >= cost, "{}", kernel.id);
        }
    }
}
