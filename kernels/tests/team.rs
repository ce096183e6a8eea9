//! The thread team: every worker runs once per region, nothing is lost or left running, panics
//! arrive at the caller.

#![cfg(not(target_family = "wasm"))] // which has no threads

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tern_kernels::team::{self, Columns, SPIN, Split, Strips, Team};

/// Fewer, as many and more threads than the cores of a small machine.
const THREADS: [usize; 4] = [1, 2, 3, 8];

/// The panic message of `f`, which must panic.
fn panic_message(f: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload
            .downcast_ref::<&str>()
            .expect("a message")
            .to_string(),
    }
}

/// Sleeps until the workers of any team have surely given up polling and sleep.
fn let_them_sleep() {
    thread::sleep(200 * SPIN);
}

#[test]
fn every_worker_runs_once_per_region() {
    for threads in THREADS {
        let mut team = Team::new(threads);
        assert_eq!(team.threads(), threads);
        let ran: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
        team.session(|session| {
            assert_eq!(session.threads(), threads);
            for region in 1..=100 {
                session.run(|worker| {
                    ran[worker].fetch_add(1, Relaxed);
                });
                assert!(ran.iter().all(|ran| ran.load(Relaxed) == region));
            }
        });
    }
}

#[test]
fn workers_keep_their_threads_and_worker_0_is_the_caller() {
    let mut team = Team::new(3);
    let mut ids: [Vec<ThreadId>; 3] = Default::default();
    for _ in 0..10 {
        team.session(|session| {
            session.run_parts(&mut ids, |_, ids| ids.push(thread::current().id()));
        });
    }
    assert!(ids[0].iter().all(|&id| id == thread::current().id()));
    assert!(
        ids.iter()
            .all(|ids| ids.len() == 10 && ids.iter().all(|&id| id == ids[0]))
    );
    assert!(ids[0][0] != ids[1][0] && ids[1][0] != ids[2][0] && ids[0][0] != ids[2][0]);
}

/// Each region reads what all workers wrote in the one before, with nothing between but the barrier.
#[test]
fn a_region_is_a_barrier() {
    for threads in THREADS {
        let mut team = Team::new(threads);
        let (mut old, mut new) = (vec![1_u64; threads], vec![0_u64; threads]);
        let mix = |worker, old: &[u64]| {
            old.iter().fold(worker as u64, |sum, &x| {
                sum.wrapping_mul(31).wrapping_add(x)
            })
        };
        team.session(|session| {
            for _ in 0..10_000 {
                session.run_parts(&mut new, |worker, sum| *sum = mix(worker, &old));
                assert!((0..threads).all(|worker| new[worker] == mix(worker, &old)));
                std::mem::swap(&mut old, &mut new);
            }
        });
    }
}

/// The workers add to plain memory by turns; a lost or doubled region changes the sum.
#[test]
fn hundred_thousand_regions_add_up() {
    const REGIONS: usize = 100_000;
    for threads in THREADS {
        let mut team = Team::new(threads);
        let mut sums = vec![0_usize; threads];
        let start = Instant::now();
        team.session(|session| {
            for region in 0..REGIONS {
                session.run_parts(&mut sums, |worker, sum| *sum += region * (worker + 1));
            }
        });
        eprintln!(
            "{threads} threads: {:?} a region",
            start.elapsed() / REGIONS as u32
        );
        let once = REGIONS * (REGIONS - 1) / 2;
        assert!(
            sums.iter()
                .enumerate()
                .all(|(worker, &sum)| sum == once * (worker + 1))
        );
    }
}

#[test]
fn parts_are_disjoint_and_may_be_fewer_than_workers() {
    let mut team = Team::new(4);
    for len in 0..=4 {
        let mut parts: Vec<Vec<usize>> = vec![Vec::new(); len];
        team.session(|session| session.run_parts(&mut parts, |worker, part| part.push(worker)));
        assert!(
            parts
                .iter()
                .enumerate()
                .all(|(worker, part)| *part == [worker])
        );
    }
}

#[test]
fn more_parts_than_workers_are_refused() {
    let mut team = Team::new(2);
    let mut parts = [0; 3];
    let message = panic_message(|| {
        team.session(|session| session.run_parts(&mut parts, |_, part| *part = 1));
    });
    assert_eq!(message, "3 parts do not fit a team of 2 threads");
    assert_eq!(parts, [0; 3]);
}

#[test]
fn a_panic_reaches_the_caller_and_the_team_lives_on() {
    for threads in THREADS {
        let mut team = Team::new(threads);
        for culprit in 0..threads {
            let finished = AtomicUsize::new(0);
            let message = panic_message(|| {
                team.session(|session| {
                    session.run(|worker| {
                        assert_ne!(worker, culprit, "worker {worker} fails");
                        finished.fetch_add(1, Relaxed);
                    });
                });
            });
            assert!(
                message.contains(&format!("worker {culprit} fails")),
                "{message}"
            );
            assert_eq!(
                finished.load(Relaxed),
                threads - 1,
                "the others finish their region"
            );

            let after = AtomicUsize::new(0);
            team.run(|_| {
                after.fetch_add(1, Relaxed);
            });
            assert_eq!(after.load(Relaxed), threads);
        }
    }
}

#[test]
fn panics_of_all_workers_are_one_panic() {
    let mut team = Team::new(3);
    let message = panic_message(|| team.run(|worker| panic!("worker {worker} fails")));
    assert_eq!(message, "worker 0 fails");
    team.run(|_| ());
}

#[test]
fn sleeping_workers_wake_for_a_region_and_for_a_session() {
    for threads in THREADS {
        let mut team = Team::new(threads);
        let ran = AtomicUsize::new(0);
        let count = |_| {
            ran.fetch_add(1, Relaxed);
        };
        for _ in 0..5 {
            let_them_sleep();
            team.run(count);
            let_them_sleep();
            team.session(|session| {
                session.run(count);
                let_them_sleep();
                session.run(count);
            });
        }
        assert_eq!(ran.load(Relaxed), 15 * threads);
    }
}

/// The caller goes to sleep on a slow worker, whichever it is.
#[test]
fn a_slow_worker_is_waited_for() {
    let mut team = Team::new(3);
    for slow in 0..3 {
        let done = AtomicBool::new(false);
        team.run(|worker| {
            if worker == slow {
                thread::sleep(Duration::from_millis(20));
                done.store(true, Relaxed);
            }
        });
        assert!(done.load(Relaxed));
    }
}

#[test]
fn a_team_can_be_dropped_at_any_time() {
    for threads in THREADS {
        drop(Team::new(threads));

        let mut team = Team::new(threads);
        team.run(|_| ());
        drop(team);

        let mut team = Team::new(threads);
        team.run(|_| ());
        let_them_sleep();
        drop(team);
    }
}

#[test]
fn a_team_can_move_to_another_thread() {
    let mut team = Team::new(3);
    team.run(|_| ());
    let mut team = thread::spawn(move || {
        let here = thread::current().id();
        team.run(|worker| {
            assert_eq!(worker == 0, thread::current().id() == here);
            // Long enough that the caller sleeps and must be woken on its new thread.
            thread::sleep(Duration::from_millis(if worker == 0 { 0 } else { 5 }));
        });
        team
    })
    .join()
    .expect("the regions succeed");
    team.run(|_| ());
}

/// Drops whose effects must be over when `drop` returns: the closure's borrows end with the region.
#[test]
fn regions_may_borrow_from_the_stack() {
    let mut team = Team::new(3);
    for round in 0..1000 {
        let local = vec![round; 64];
        let total = AtomicUsize::new(0);
        team.run(|worker| {
            total.fetch_add(local.iter().sum::<usize>() + worker, Relaxed);
        });
        drop(local);
        assert_eq!(total.into_inner(), 3 * 64 * round + 3);
    }
}

#[test]
fn a_session_returns_the_callers_value() {
    assert_eq!(Team::new(2).session(|session| session.threads() * 21), 42);
}

#[test]
fn a_team_without_threads_is_an_error() {
    let error = Team::try_new(0).err().expect("no team of nobody");
    assert_eq!(error.to_string(), "a team needs at least one thread");
}

/// Runs `f` on a thread of its own and fails if it takes longer than any loaded machine should need.
fn in_bounded_time(what: &str, f: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        f();
        // Nobody listens after the limit.
        let _ = done.send(());
    });
    // A panic of `f` drops the sender, which is not a timeout; it arrives by `join`.
    let late = is_done.recv_timeout(Duration::from_secs(120));
    let is_late = late == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    assert!(!is_late, "{what} does not end");
    if let Err(payload) = thread.join() {
        panic::resume_unwind(payload);
    }
}

/// A number below `n` that looks random.
fn scrambled(seed: usize, n: usize) -> usize {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as usize % n
}

/// Teams of up to 256 threads on however few cores: uneven cores are workers that take up to a hundred times as long as others, and
/// workers that the system takes the core from, each at random places. Every region ends, and every worker runs once in each.
#[test]
fn regions_end_on_any_topology() {
    for threads in [1, 2, 3, 5, 16, 61, 128, 256] {
        in_bounded_time(&format!("a team of {threads}"), move || {
            let mut team = Team::new(threads);
            let mut ran = vec![0_usize; threads];
            let regions = 30;
            team.session(|session| {
                for region in 0..regions {
                    session.run_parts(&mut ran, |worker, ran| {
                        *ran += 1;
                        match scrambled(region * 1009 + worker, 20) {
                            0 => thread::sleep(Duration::from_micros(300)),
                            1..3 => thread::yield_now(),
                            _ => {
                                // Every fourth core is slow, and so is the caller's in every other region.
                                let is_slow = worker % 4 == 3 || (worker == 0 && region % 2 == 0);
                                let turns = if is_slow { 10_000 } else { 100 };
                                (0..turns).for_each(|_| std::hint::spin_loop());
                            }
                        }
                    });
                }
            });
            assert!(ran.iter().all(|&ran| ran == regions), "{ran:?}");
        });
    }
}

/// Panics at random places of large teams: each arrives, and no later region hangs.
#[test]
fn large_teams_survive_panics() {
    for threads in [2, 16, 256] {
        in_bounded_time(&format!("a team of {threads}"), move || {
            let mut team = Team::new(threads);
            for region in 0..20 {
                let culprit = scrambled(region * 31 + threads, 2 * threads);
                let run = || {
                    team.run(|worker| {
                        if worker == scrambled(region, threads) {
                            thread::sleep(Duration::from_micros(200));
                        }
                        assert_ne!(worker, culprit, "worker {worker} fails");
                    });
                };
                let outcome = panic::catch_unwind(AssertUnwindSafe(run));
                assert_eq!(outcome.is_err(), culprit < threads, "{region}");
            }
        });
    }
}

#[test]
fn splits_are_even_ordered_and_whole() {
    for workers in 1..=256 {
        for (len, size) in [(0, 1), (1, 1), (7, 4), (20, 128), (2560, 128), (128_257, 4)] {
            let split = Split::even(len, size, workers);
            let ranges: Vec<_> = (0..workers).map(|worker| split.range(worker)).collect();
            assert_eq!((ranges[0].start, ranges[workers - 1].end), (0, len));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            let units = ranges.iter().map(|range| range.len().div_ceil(size));
            let (least, most) = (units.clone().min(), units.max());
            assert!(
                most <= least.map(|least| least + 1),
                "{len} {size} {workers}"
            );
            assert!(
                ranges
                    .iter()
                    .all(|range| range.start == len || range.start % size == 0)
            );
            assert!(split.range(workers).is_empty() && split.range(usize::MAX).is_empty());
        }
    }
}

/// Every worker writes its columns of every row, and nothing else.
#[test]
fn strips_are_a_workers_columns_of_every_row() {
    for threads in [1, 2, 3, 8, 64] {
        let mut team = Team::new(threads);
        let bounds: Vec<usize> = (0..=threads).map(|w| w * w).collect();
        let (uneven, even) = (Split::at(bounds), Split::even(40, 3, threads));
        let mut first = vec![f32::NAN; 3 * uneven.len()];
        let mut second = vec![f32::NAN; 2 * even.len()];
        let mut matrices = [
            Columns::new(&mut first, &uneven),
            Columns::new(&mut second, &even),
        ];
        let mut parts = vec![(); threads];
        team.session(|session| {
            session.run_columns(&mut parts, &mut matrices, |worker, (), strips| {
                strips.rows(0).for_each(|row| row.fill(worker as f32));
                let [of_first, of_second] = strips.pair([0, 1], 1);
                of_first.iter_mut().for_each(|x| *x += 0.5);
                of_second.fill(worker as f32);
                strips.row(1, 0).fill(-1.0);
            });
        });
        for worker in 0..threads {
            for (row, plus) in [0.0, 0.5, 0.0].into_iter().enumerate() {
                let columns = &first[row * uneven.len()..][uneven.range(worker)];
                assert!(columns.iter().all(|&x| x == worker as f32 + plus));
            }
            let columns = &second[even.len()..][even.range(worker)];
            assert!(columns.iter().all(|&x| x == worker as f32));
        }
        assert!(second[..even.len()].iter().all(|&x| x == -1.0));
    }
}

#[test]
fn strips_beyond_a_matrix_and_one_strip_twice_are_refused() {
    let mut team = Team::new(1);
    let split = Split::even(4, 1, 1);
    let mut refuse = |what: fn(&mut Strips<'_>)| {
        let mut matrix = [0.0; 8];
        let mut matrices = [Columns::new(&mut matrix, &split)];
        panic_message(|| {
            team.session(|session| {
                session.run_columns(&mut [()], &mut matrices, |_, (), strips| what(strips));
            });
        })
    };
    refuse(|strips| strips.row(0, 2).fill(1.0));
    refuse(|strips| strips.row(1, 0).fill(1.0));
    refuse(|strips| strips.pair([0, 0], 0)[0].fill(1.0));
    panic_message(|| {
        let _columns = Columns::new(&mut [0.0; 7], &split);
    });
    panic_message(|| drop(Split::at(vec![0, 3, 2])));
    panic_message(|| drop(Split::at(vec![1, 3])));
    panic_message(|| drop(Split::even(1, 1, 0)));
}

/// For any number of workers and pieces: bounds ascend, cover all, and a worker's pieces halve, as far as whole units allow.
#[test]
fn pieces_halve() {
    for workers in [1, 2, 3, 7, 64, 256] {
        for pieces in [1, 2, 5, 10] {
            for (units, size) in [(0, 1), (1, 5), (7, 3), (4096, 1), (100_000, 64)] {
                let bounds = team::bounds(workers, pieces, units, |unit| unit * size);
                assert_eq!(bounds.len(), workers * pieces + 1);
                assert!(bounds.is_sorted() && bounds[0] == 0);
                assert_eq!(bounds[workers * pieces], units);
                let share = units as f64 / workers as f64;
                for (place, bound) in bounds.windows(2).enumerate() {
                    let half = (place % pieces + 1).min(pieces - 1);
                    let expected = share / (1_u64 << half) as f64;
                    let found = (bound[1] - bound[0]) as f64;
                    assert!(
                        (found - expected).abs() <= 1.0,
                        "{place}: {found} {expected}"
                    );
                }
            }
        }
    }
    assert_eq!(team::pieces(usize::MAX, 1), 1);
    assert_eq!(team::pieces(64 << 10, 2), 1);
    assert_eq!(team::pieces(256 << 10, 2), 3);
    assert_eq!(team::pieces(usize::MAX, 2), 10);
}

/// Every piece is run once, with its own columns, on teams with sleepers, slow cores and idle ones; and what a worker that sleeps has not
/// begun goes to its neighbours.
#[test]
fn every_piece_is_run_once_on_any_topology() {
    for threads in [1, 2, 3, 16, 128, 256] {
        in_bounded_time(&format!("pieces of a team of {threads}"), move || {
            let mut team = Team::new(threads);
            let mut ran = vec![Vec::new(); threads];
            for (region, pieces) in [1, 6, 3].into_iter().cycle().take(12).enumerate() {
                let bounds: Vec<usize> = (0..=threads * pieces).collect();
                let split = Split::at(bounds);
                let mut matrix = vec![0.0; 2 * threads * pieces];
                let mut matrices = [Columns::new(&mut matrix, &split)];
                ran.iter_mut().for_each(Vec::clear);
                team.session(|session| {
                    session.run_pieces(
                        &mut ran,
                        pieces,
                        &mut matrices,
                        |worker, place, ran, strips| {
                            if worker == region % threads && ran.is_empty() {
                                thread::sleep(Duration::from_millis(1));
                            }
                            ran.push(place);
                            for row in strips.rows(0) {
                                row[0] += (place + 1) as f32;
                            }
                        },
                    );
                });
                let mut all: Vec<usize> = ran.concat();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..threads * pieces));
                let expected = (0..2)
                    .flat_map(|_| 1..=threads * pieces)
                    .map(|place| place as f32);
                assert!(matrix.into_iter().eq(expected));
            }
        });
    }
}

#[test]
fn a_late_worker_loses_pieces_to_the_others() {
    let mut team = Team::new(2);
    let mut ran = [0, 0];
    team.session(|session| {
        session.run_pieces(&mut ran, 10, &mut [], |worker, _, ran, _| {
            if worker == 1 {
                thread::sleep(Duration::from_millis(20));
            }
            *ran += 1;
        });
    });
    assert_eq!(ran[0] + ran[1], 20);
    assert!(ran[0] >= 10, "{ran:?}");
}
