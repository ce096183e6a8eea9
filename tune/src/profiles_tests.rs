use tern_kernels::{Cpu, Rigor, Shape};

use super::*;
use crate::random::Random;

/// A profile with few different keys, dates and times, so that all kinds of ties come up.
fn any(random: &mut Random) -> Profile {
    let date = |random: &mut Random| format!("2026-11-{:02}T00:00:00Z", 1 + random.below(3));
    let mut entries = BTreeMap::new();
    let mut batches = BTreeMap::new();
    for _ in 0..random.below(6) {
        let shape = Shape {
            rows: 8 << random.below(2),
            cols: 64,
        };
        let threads = 1 + random.below(2);
        let kernel = ["k0", "k1", "k2"][random.below(3)];
        let entry = Entry {
            rigor: Rigor::ALL[random.below(4)],
            date: date(random),
            median_us: random.below(3) as f64,
            noisy: random.below(4) == 0,
            ..Entry::by_hand(shape, threads, kernel)
        };
        let batch = BatchEntry {
            rows: shape.rows,
            cols: shape.cols,
            threads,
            tokens: 2 + 3 * random.below(2),
            packing: "p".to_owned(),
            kernel: kernel.to_owned(),
            fingerprint: String::new(),
            rigor: entry.rigor,
            date: date(random),
            median_us: random.below(3) as f64,
            mad_us: 0.0,
        };
        entries.insert(entry.key(), entry);
        batches.insert(batch.key(), batch);
    }
    let cpu = Cpu::detect();
    let profile = Profile {
        engine: ["0.1", "0.2"][random.below(2)].to_owned(),
        batches: batches.into_values().collect(),
        ..Profile::new(&cpu, &date(random), entries.into_values().collect())
    };
    profile.settled()
}

#[test]
fn merging_is_associative_commutative_and_idempotent() {
    let mut random = Random::new(1);
    let join = |a: &Profile, b: &Profile| merge(a.clone(), b.clone()).unwrap();
    let mut changed = 0;
    for _ in 0..2000 {
        let [a, b, c] = [any(&mut random), any(&mut random), any(&mut random)];
        assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        assert_eq!(join(&a, &b), join(&b, &a));
        assert_eq!(join(&a, &a), a);
        assert_eq!(join(&join(&a, &b), &b), join(&a, &b));
        changed += usize::from(join(&a, &b) != a);
    }
    assert!(changed > 1000, "the profiles of the test differ too little");
}

#[test]
fn rigor_comes_before_age_and_age_before_speed() {
    let shape = Shape { rows: 8, cols: 64 };
    let entry = |rigor, date: &str, median_us| Entry {
        rigor,
        date: date.to_owned(),
        median_us,
        ..Entry::by_hand(shape, 1, "k")
    };
    let of = |entry: Entry| Profile::new(&Cpu::detect(), "2026-01-01T00:00:00Z", vec![entry]);
    let [old, new] = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"];
    let best = |a: &Entry, b: &Entry| {
        let merged = merge(of(a.clone()), of(b.clone())).unwrap();
        assert_eq!(merged.entries.len(), 1);
        merged.entries[0].clone()
    };
    let patient = entry(Rigor::Patient, old, 9.0);
    let measured = entry(Rigor::Measure, new, 1.0);
    assert_eq!(best(&patient, &measured), patient);
    let newer = entry(Rigor::Patient, new, 9.5);
    assert_eq!(best(&patient, &newer), newer);
    let faster = entry(Rigor::Patient, new, 9.4);
    assert_eq!(best(&faster, &newer), faster);
    let forced = Entry {
        noisy: true,
        ..entry(Rigor::Exhaustive, new, 1.0)
    };
    assert_eq!(best(&forced, &measured), measured);
}

#[test]
fn other_cpus_are_refused() {
    let here = Profile::new(&Cpu::detect(), "2026-01-01T00:00:00Z", Vec::new());
    let mut other = here.clone();
    other.host.key = "zilog-80".to_owned();
    let error = merge(here, other).unwrap_err();
    assert!(error.to_string().contains("zilog-80"), "{error}");
}

#[test]
fn differences_are_other_choices_and_missing_entries() {
    let shape = Shape { rows: 8, cols: 64 };
    let entry = |threads, kernel: &str, median_us| Entry {
        median_us,
        ..Entry::by_hand(shape, threads, kernel)
    };
    let of = |entries| Profile::new(&Cpu::detect(), "2026-01-01T00:00:00Z", entries);
    let a = of(vec![
        entry(1, "k", 1.0),
        entry(2, "k", 1.0),
        entry(3, "k", 1.0),
    ]);
    let b = of(vec![entry(1, "k", 2.0), entry(2, "other", 1.0)]);
    let found = differences(&a, &b);
    let names: Vec<&str> = found.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["8x64 x2", "8x64 x3"]);
    assert!(
        found[0]
            .second
            .as_ref()
            .unwrap()
            .choice
            .starts_with("other ")
    );
    assert_eq!(found[1].second, None);
    assert!(differences(&a, &a).is_empty());
}
