//! Explanations: every kernel of the built-in configs has one, and its counts are those of the generator's arithmetic.

use tern_codegen::explain::{explain, explain_gemm, explain_unpack};
use tern_codegen::isa::{Isa, Operation};
use tern_codegen::{KernelSet, budget, config_dir};

fn kernels() -> KernelSet {
    KernelSet::from_dir(&config_dir()).expect("the configs are part of the repository")
}

#[test]
fn every_kernel_is_explained() {
    for spec in kernels().specs() {
        let explained = explain(spec).unwrap_or_else(|reason| panic!("{}: {reason}", spec.id()));
        assert_eq!(explained.id, spec.id());
        let reason = explained.window_reason.unwrap_or_default();
        let bound = format!("= {}", explained.window_max);
        assert!(
            reason.ends_with(&bound) || !budget::is_narrow(spec),
            "{}: the window is at most {}, but the reason is: {reason}",
            explained.id,
            explained.window_max,
        );
        let counted = spec.isa.arch() == Some("x86_64");
        assert_eq!(
            !explained.predictions.is_empty(),
            counted,
            "{}",
            explained.id
        );
        for prediction in explained.predictions {
            let speed = prediction.weights_per_cycle;
            assert!(
                speed > 1.0 && speed < 1000.0,
                "{}: {prediction:?}",
                explained.id
            );
        }
    }
}

#[test]
fn stated_operations_are_those_that_are_emitted() {
    for spec in kernels().specs() {
        let explained = explain(spec).expect("every kernel is explained");
        let memory = [Operation::Load, Operation::Store, Operation::Prefetch];
        let computing = explained
            .operations
            .iter()
            .filter(|c| !memory.contains(&c.operation));
        let share = |window: usize| window as f64 / spec.window as f64;
        let counted: f64 = computing
            .map(|c| c.per_step as f64 + share(c.per_window))
            .sum();
        let (counted, stated) = (counted / spec.panels as f64, budget::operations(spec));
        // The last column's bits need not move up, and of two equal shifts the compiler keeps one: neither is worth a term.
        assert!(
            explained.operations.is_empty() || (counted / stated - 1.0).abs() < 0.08,
            "{}: `budget::operations` states {stated:.2} a panel and step, but {counted:.2} are emitted",
            explained.id,
        );
    }
}

#[test]
fn the_models_see_what_the_kernels_were_designed_for() {
    let set = kernels();
    let explained = |family: &str, isa: Isa| {
        let spec = set.of_isa(isa).find(|spec| spec.id().contains(family));
        explain(spec.expect("a kernel of that family")).expect("it is explained")
    };
    // Four dot products for 16 columns of 16 rows, whose pipes are never idle: 64 weights a cycle.
    let mad = explained("shiftfree", Isa::Avx512vnni);
    assert_eq!(mad.predictions[0].weights_per_cycle, 64.0);
    // A lookup in two registers is three operations on Intel, so tables of 128 are dearer there.
    let lut = explained("lut_t5", Isa::Avx512vbmi);
    assert!(lut.predictions[0].weights_per_cycle > lut.predictions[1].weights_per_cycle);
}

#[test]
fn every_kernel_of_batched_products_is_explained() {
    let set = kernels();
    let unpacks = set.unpacks().iter().map(explain_unpack);
    for explained in unpacks.chain(set.gemms().iter().map(explain_gemm)) {
        let explained = explained.expect("every intrinsic is of known kind");
        let isa = Isa::from_name(explained.isa).unwrap();
        let counted = isa.arch() == Some("x86_64");
        assert_eq!(
            !explained.predictions.is_empty(),
            counted,
            "{}",
            explained.id
        );
        for prediction in explained.predictions {
            let speed = prediction.per_cycle;
            assert!(
                speed > 1.0 && speed < 1000.0,
                "{}: {prediction:?}",
                explained.id
            );
        }
        if let Some(window) = explained.window {
            let reason = explained.window_reason.unwrap();
            assert!(
                reason.ends_with(&format!("= {window}")),
                "{}: {reason}",
                explained.id
            );
        }
    }
}

#[test]
fn stated_operations_of_batched_products_are_those_that_are_emitted() {
    for spec in kernels().gemms() {
        let explained = explain_gemm(spec).expect("every kernel is explained");
        let memory = [Operation::Load, Operation::Store];
        let computing = explained
            .operations
            .iter()
            .filter(|c| !memory.contains(&c.operation));
        // Where there is no window the sums go to memory at the end of a run, which is no term.
        let share = |c: usize| spec.window.map_or(0.0, |window| c as f64 / window as f64);
        let counted: f64 = computing
            .map(|c| c.per_step as f64 + share(c.per_window))
            .sum();
        let stated = budget::gemm_operations(spec);
        assert!(
            explained.operations.is_empty() || (counted / stated - 1.0).abs() < 1e-9,
            "{}: `budget::gemm_operations` states {stated:.2}, but {counted:.2} are emitted",
            explained.id,
        );
    }
    // A product and a sum on four pipes, two of which multiply: 64 products a cycle but for the ends of windows.
    let avx2 = explain_gemm(&tern_codegen::GemmSpec::new(Isa::Avx2, 2, 6)).unwrap();
    let speed = avx2.predictions[0].per_cycle;
    assert!((62.0..64.0).contains(&speed), "{speed}");
}
