//! The thread team: every worker runs once per region, nothing is lost or left running, panics
//! arrive at the caller.

#![cfg(not(target_family = "wasm"))] // which has no threads

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tern_kernels::team::{SPIN, Team};

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
