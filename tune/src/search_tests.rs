//! The search with made-up kernels and a made-up clock: every sample costs what the table says and nothing else.

use super::*;

/// Candidate times in µs, with noise that repeats exactly.
struct Fake {
    us: Vec<f64>,
    /// Relative noise of a sample.
    noise: f64,
    /// Time that admitting a candidate takes.
    admission: Duration,
    refused: Vec<Index>,
    clock: Duration,
    cancel_after: Duration,
    state: u64,
    sampled: Vec<usize>,
    entered: Vec<Vec<Index>>,
    /// The machine slows down by this factor per second: what interleaving must not mind.
    drift: f64,
}

impl Fake {
    fn new(us: &[f64]) -> Fake {
        Fake {
            us: us.to_vec(),
            noise: 0.0,
            admission: Duration::from_millis(1),
            refused: Vec::new(),
            clock: Duration::ZERO,
            cancel_after: Duration::MAX,
            state: 0x9e37_79b9_7f4a_7c15,
            sampled: vec![0; us.len()],
            entered: Vec::new(),
            drift: 0.0,
        }
    }

    fn random(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Searches kernels with these plain tiles.
    fn run(&mut self, kernels: &[Vec<Index>], budget: Duration) -> Ranking {
        let plain = |plain: &Vec<Index>| Tiles {
            plain: plain.clone(),
            variations: vec![Vec::new(); plain.len()],
            kind: 0,
        };
        let kernels: Vec<Tiles> = kernels.iter().map(plain).collect();
        search(self, &kernels, budget)
    }
}

#[test]
fn a_candidate_without_rivals_is_timed_all_the_same() {
    let mut fake = Fake::new(&[20.0]);
    let ranking = fake.run(&[vec![0]], Duration::from_secs(1));
    assert_eq!(ranking.decision, Decision::OnlyOne);
    let spread = ranking.rows[0].spread.as_ref().expect("samples");
    assert!((spread.median - 20.0).abs() < 1e-9, "{}", spread.median);
}

impl Bench for Fake {
    fn admit(&mut self, candidate: Index) -> Result<(), String> {
        self.clock += self.admission;
        match self.refused.contains(&candidate) {
            true => Err("row 3: 7, expected 8".to_string()),
            false => Ok(()),
        }
    }

    fn sample(&mut self, candidate: Index) -> f64 {
        let noise = 1.0 + self.noise * (2.0 * self.random() - 1.0);
        let drift = 1.0 + self.drift * self.clock.as_secs_f64();
        let us = self.us[candidate] * noise * drift;
        self.clock += Duration::from_secs_f64(us * 4.0 / 1e6);
        self.sampled[candidate] += 1;
        us
    }

    fn enter(&mut self, candidates: &[Index]) {
        self.entered.push(candidates.to_vec());
    }

    fn elapsed(&self) -> Duration {
        self.clock
    }

    fn cancelled(&self) -> bool {
        self.clock >= self.cancel_after
    }
}

const AMPLE: Duration = Duration::from_secs(60);

/// Three kernels: default tiles 0, 3, 6; the fastest tile of all is 5, of the second kernel.
fn three_kernels() -> (Vec<Vec<Index>>, Vec<f64>) {
    let kernels = vec![vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8]];
    (
        kernels,
        vec![90.0, 94.0, 88.0, 110.0, 81.0, 80.0, 300.0, 290.0, 10.0],
    )
}

#[test]
fn the_fastest_tile_of_a_surviving_kernel_wins() {
    let (kernels, us) = three_kernels();
    let ranking = Fake::new(&us).run(&kernels, AMPLE);
    assert_eq!(ranking.winner, Some(5));
    assert_eq!(ranking.decision, Decision::Margin);
    assert_eq!(ranking.rows[5].outcome, Outcome::Won);
    assert_eq!(ranking.rows[5].spread.as_ref().unwrap().median, 80.0);
}

#[test]
fn a_slow_kernel_leaves_before_its_tiles_are_tried() {
    let (kernels, us) = three_kernels();
    let mut fake = Fake::new(&us);
    let ranking = fake.run(&kernels, AMPLE);
    assert_eq!(
        ranking.rows[6].outcome,
        Outcome::Eliminated {
            stage: Stage::Kernels,
            ratio: 300.0 / 81.0
        }
    );
    // Candidate 8 would have been the fastest of all, but its kernel was 3 times too slow with its first two tiles.
    assert_eq!(ranking.rows[8].outcome, Outcome::NotRun);
    assert_eq!(
        (fake.sampled[6], fake.sampled[7], fake.sampled[8]),
        (5, 5, 0)
    );
    assert_eq!(fake.entered[0], [0, 3, 6, 1, 4, 7]);
    // Bars at 1.3, 1.2 and 1.15, and then all tiles of the kernels that are left.
    assert_eq!(fake.entered[1], [0, 1, 4]);
    assert_eq!(fake.entered[3], [0, 3, 1, 4, 2, 5]);
}

#[test]
fn slow_tiles_get_fewer_samples_than_the_finalists() {
    let (kernels, us) = three_kernels();
    let mut fake = Fake::new(&us);
    let ranking = fake.run(&kernels, AMPLE);
    assert!(fake.sampled[1] < fake.sampled[5], "{:?}", fake.sampled);
    assert!(matches!(
        ranking.rows[1].outcome,
        Outcome::Eliminated {
            stage: Stage::Tiles,
            ..
        }
    ));
}

#[test]
fn variations_are_tried_only_for_the_best_tiles() {
    // Plain tiles 0 to 5 with one variation each, 6 to 11; the best of all is that of tile 3.
    let us = [
        90.0, 100.0, 90.5, 91.0, 96.0, 92.0, 89.0, 10.0, 88.5, 84.0, 10.0, 91.5,
    ];
    let tiles = Tiles {
        plain: (0..6).collect(),
        variations: (6..12).map(|index| vec![index]).collect(),
        kind: 0,
    };
    let mut fake = Fake::new(&us);
    let ranking = search(&mut fake, &[tiles], AMPLE);
    assert_eq!(ranking.winner, Some(9));
    for unlikely in [7, 10] {
        assert_eq!(ranking.rows[unlikely].outcome, Outcome::NotRun);
    }
    assert!(matches!(
        ranking.rows[11].outcome,
        Outcome::Eliminated {
            stage: Stage::Variations,
            ..
        }
    ));
}

#[test]
fn the_best_of_another_kind_comes_to_the_run_off() {
    let kernel = |kind: usize, first: Index| Tiles {
        plain: vec![first, first + 1],
        variations: vec![Vec::new(); 2],
        kind,
    };
    // The second kind is a tenth behind in the races, but not in the long run; the third is too far behind.
    let mut fake = Fake::new(&[90.0, 92.0, 99.0, 101.0, 130.0, 131.0]);
    let kernels = [kernel(0, 0), kernel(1, 2), kernel(2, 4)];
    let rules = Rules::new(Rigor::Patient, AMPLE);
    let raced = race(&mut fake, &kernels, &rules, &mut ());
    assert_eq!(raced.finalists, [0, 1, 2]);
    fake.us[2] = 85.0;
    let finals = run_off(&mut fake, &raced.finalists, 160, AMPLE);
    let ranking = raced.decide(finals);
    assert_eq!(ranking.winner, Some(2));
    assert!(matches!(ranking.rows[0].outcome, Outcome::RunnerUp { .. }));
    assert!(matches!(
        ranking.rows[1].outcome,
        Outcome::Eliminated {
            stage: Stage::RunOff,
            ..
        }
    ));
}

#[test]
fn only_the_best_kernels_go_on() {
    let us: Vec<f64> = (0..20).map(|c| 100.0 + f64::from(c)).collect();
    let kernels: Vec<Vec<Index>> = (0..10).map(|k| vec![k, k + 10]).collect();
    let mut fake = Fake::new(&us);
    let ranking = fake.run(&kernels, AMPLE);
    let raced_on =
        |&index: &Index| fake.sampled[index] > 3 * Rules::new(Rigor::Patient, AMPLE).rounds;
    let all: Vec<Index> = (0..10).collect();
    assert_eq!(all.iter().copied().filter(raced_on).count(), 6);
    assert!(matches!(
        ranking.rows[6].outcome,
        Outcome::Eliminated {
            stage: Stage::Kernels,
            ..
        }
    ));
}

#[test]
fn equal_candidates_nearly_always_go_to_the_first_in_the_default_order() {
    let mut first = 0;
    for seed in 1..=100 {
        let mut fake = Fake::new(&[100.0, 100.2, 100.4, 99.9]);
        (fake.noise, fake.drift) = (0.03, 0.5);
        fake.state = seed * 0x9e37_79b9;
        let ranking = fake.run(&[vec![0], vec![1], vec![2, 3]], AMPLE);
        first += usize::from(ranking.winner == Some(0));
    }
    // The noise of one sample is ten times the difference: now and then it hides the first from the run-off.
    assert!(first >= 90, "{first} of 100");
}

#[test]
fn a_challenger_wins_by_more_than_the_noise() {
    for seed in 1..=50 {
        let mut fake = Fake::new(&[100.0, 96.0]);
        (fake.noise, fake.drift) = (0.03, 0.5);
        fake.state = seed * 0x9e37_79b9;
        let ranking = fake.run(&[vec![0], vec![1]], AMPLE);
        assert_eq!(
            (ranking.winner, ranking.decision),
            (Some(1), Decision::Margin),
            "seed {seed}"
        );
        assert!(matches!(ranking.rows[0].outcome, Outcome::RunnerUp { .. }));
    }
}

#[test]
fn a_clear_run_off_ends_early_and_an_unclear_one_runs_to_its_end() {
    let mut clear = Fake::new(&[100.0, 97.0]);
    clear.run(&[vec![0, 1]], AMPLE);
    let mut unclear = Fake::new(&[100.0, 99.0]);
    unclear.noise = 0.05;
    unclear.run(&[vec![0, 1]], AMPLE);
    assert!(
        clear.sampled[0] < unclear.sampled[0],
        "{:?} {:?}",
        clear.sampled,
        unclear.sampled
    );
    assert!(unclear.sampled[0] > 1000);
}

#[test]
fn an_inexact_candidate_is_a_row_with_its_reason_and_never_chosen() {
    let mut fake = Fake::new(&[100.0, 1.0]);
    fake.refused = vec![1];
    let ranking = fake.run(&[vec![0], vec![1]], AMPLE);
    assert_eq!(ranking.winner, Some(0));
    assert_eq!(ranking.decision, Decision::OnlyOne);
    assert_eq!(
        ranking.rows[1].outcome,
        Outcome::Invalid("row 3: 7, expected 8".to_string())
    );
    assert_eq!(fake.sampled[1], 0);
}

#[test]
fn without_a_valid_candidate_there_is_no_winner() {
    let mut fake = Fake::new(&[100.0]);
    fake.refused = vec![0];
    let ranking = fake.run(&[vec![0]], AMPLE);
    assert_eq!(ranking.winner, None);
}

#[test]
fn the_budget_is_exceeded_by_little_and_still_gives_a_winner() {
    let kernels: Vec<Vec<Index>> = (0..10).map(|k| (k * 20..k * 20 + 20).collect()).collect();
    let us: Vec<f64> = (0..200).map(|c| 1000.0 + f64::from(c)).collect();
    for budget_ms in [1, 50, 200, 1000, 5000] {
        let budget = Duration::from_millis(budget_ms);
        let mut fake = Fake::new(&us);
        let ranking = fake.run(&kernels, budget);
        assert!(ranking.winner.is_some());
        // At the least, one round of the candidates that were admitted in time.
        let round = Duration::from_micros(4 * 1200) * 200;
        assert!(
            fake.clock <= budget.max(Duration::from_millis(100)) + round,
            "{:?}",
            fake.clock
        );
    }
}

#[test]
fn when_time_is_up_during_admission_the_rest_stay_out() {
    let mut fake = Fake::new(&[100.0, 50.0, 25.0]);
    fake.admission = Duration::from_secs(1);
    let ranking = fake.run(&[vec![0], vec![1], vec![2]], Duration::from_secs(6));
    assert_eq!(ranking.winner, Some(1));
    assert_eq!(ranking.decision, Decision::Interrupted);
    assert_eq!(ranking.rows[2].outcome, Outcome::NotRun);
}

#[test]
fn without_a_run_off_the_races_rank_the_finalists() {
    let mut fake = Fake::new(&[100.0, 101.0, 100.5]);
    let kernel = |kind: usize| Tiles {
        plain: vec![kind],
        variations: vec![Vec::new()],
        kind,
    };
    let kernels = [kernel(0), kernel(1), kernel(2)];
    let rules = Rules::new(Rigor::Patient, AMPLE);
    let raced = race(&mut fake, &kernels, &rules, &mut ());
    assert_eq!(raced.finalists, [0, 1, 2]);
    let ranking = raced.decide(Finals::new(3));
    assert_eq!(ranking.decision, Decision::Interrupted);
    assert_eq!(ranking.winner, Some(0));
    assert_eq!(ranking.rows[2].outcome, Outcome::RunnerUp { ratio: 1.005 });
    assert!(matches!(
        ranking.rows[1].outcome,
        Outcome::Eliminated {
            stage: Stage::Kernels,
            ..
        }
    ));
}

#[test]
fn who_stayed_to_the_end_comes_before_who_left_early() {
    let kernel = |kind: usize| Tiles {
        plain: vec![kind],
        variations: vec![Vec::new()],
        kind,
    };
    let mut fake = Fake::new(&[100.0, 101.0, 102.0]);
    let rules = Rules::new(Rigor::Patient, AMPLE);
    let kernels = [kernel(0), kernel(1), kernel(2)];
    let raced = race(&mut fake, &kernels, &rules, &mut ());
    assert_eq!(raced.finalists, [0, 1, 2]);
    let mut finals = Finals::new(3);
    let mut blocks = |us: [f64; 3], count: usize| {
        fake.us = us.to_vec();
        for _ in 0..count {
            finals.add_block(&mut fake, &[0, 1, 2], AMPLE);
        }
        finals.left().to_vec()
    };
    // The third is behind the second for sure and leaves; the first would too if its blocks did not differ so.
    assert_eq!(blocks([100.0, 100.0, 105.0], 1), [0, 1, 2]);
    assert_eq!(blocks([130.0, 100.0, 105.0], 1), [0, 1]);
    assert_eq!(blocks([110.0, 100.0, 1.0], 3), [0, 1]);
    let ranking = raced.decide(finals);
    assert_eq!(ranking.winner, Some(1));
    assert!(matches!(ranking.rows[0].outcome, Outcome::RunnerUp { .. }));
    assert!(matches!(
        ranking.rows[2].outcome,
        Outcome::Eliminated {
            stage: Stage::RunOff,
            ..
        }
    ));
}

#[test]
fn a_cancelled_search_ends_with_what_it_knows() {
    let (kernels, us) = three_kernels();
    let mut fake = Fake::new(&us);
    fake.cancel_after = Duration::from_millis(4);
    let ranking = fake.run(&kernels, AMPLE);
    assert_eq!(ranking.winner, Some(0));
    assert!(fake.clock < Duration::from_millis(20), "{:?}", fake.clock);
}

#[test]
fn the_same_bench_gives_the_same_ranking() {
    let (kernels, us) = three_kernels();
    let run = || {
        let mut fake = Fake::new(&us);
        fake.noise = 0.1;
        format!("{:?}", fake.run(&kernels, AMPLE))
    };
    assert_eq!(run(), run());
}
