use super::*;
use tern_kernels::Family;

fn key(kernel: &str) -> (String, Tile) {
    (kernel.to_string(), tern_kernels::plan::DEFAULT_TILE)
}

#[test]
fn stages_are_put_on_one_scale() {
    // In the first stage the machine was twice as slow.
    let first = HashMap::from([
        (key("a"), vec![20.0, 20.0]),
        (key("b"), vec![22.0]),
        (key("c"), vec![60.0]),
    ]);
    let last = HashMap::from([(key("a"), vec![10.0]), (key("b"), vec![11.0])]);
    let all = on_one_scale(vec![(Stage::Kernels, first), (Stage::RunOff, last)]);
    assert_eq!(all[&key("a")], [10.0, 10.0, 10.0]);
    assert_eq!(all[&key("c")], [30.0]);
}

/// Made-up trials in which tile and kernel have a known price.
fn made_up() -> (Recorded, Index) {
    let cpu = Cpu::detect();
    let kernels = cpu
        .kernels()
        .filter(|k| k.batch == 1 && k.family == Family::Mad);
    let shape = Shape {
        rows: 640,
        cols: 2560,
    };
    let field = Field::of_rigor(kernels, shape, 1, Rigor::Exhaustive);
    let best = field.candidates.len() / 2;
    let samples = |index: Index| -> Vec<f64> {
        let kernel = field.candidates[index].kernel == field.candidates[best].kernel;
        let level = match (index == best, kernel) {
            (true, _) => 100.0,
            (_, true) => 108.0,
            _ => 150.0,
        };
        (0..20)
            .map(|round| level * (1.0 + 0.01 * f64::from(round % 3)))
            .collect()
    };
    let samples = (0..field.candidates.len()).map(samples).collect();
    let recorded = Recorded {
        shape,
        threads: 1,
        count: 3,
        field,
        samples,
    };
    (recorded, best)
}

#[test]
fn thorough_strategies_find_the_best_and_no_strategy_beats_it() {
    let (recorded, best) = made_up();
    let kernel = recorded.field.candidates[best].kernel.id;
    let recorded = [recorded];
    let minute = Duration::from_secs(60);
    for strategy in Strategy::ALL {
        let found = run_strategy(&Cpu::detect(), strategy, &recorded, minute);
        // The estimate may be a kernel of another family, which is not among these.
        let Some((_, picked, _, ratio)) = found.picks.first() else {
            assert_eq!(strategy, Strategy::Estimate);
            continue;
        };
        assert!(*ratio >= 1.0 && found.worst == *ratio, "{strategy:?}");
        assert_eq!(found.token, [(1, *ratio)]);
        if matches!(strategy, Strategy::Exhaustive | Strategy::Halving) {
            assert_eq!((picked.as_str(), *ratio), (kernel, 1.0), "{strategy:?}");
        }
        if strategy == Strategy::Estimate {
            assert_eq!((found.samples, found.seconds), (0, 0.0));
        } else {
            assert!(found.samples > 0 && found.seconds > 0.0, "{strategy:?}");
        }
    }
    // The same log gives the same result.
    let twice =
        [1, 2].map(|_| run_strategy(&Cpu::detect(), Strategy::Patient, &recorded, minute).picks);
    assert_eq!(twice[0], twice[1]);
}
