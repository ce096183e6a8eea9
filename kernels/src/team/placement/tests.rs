//! Placement on machines that are not here.

use super::*;

fn core(cpus: &[usize], domain: usize, speed: u64) -> Core {
    Core {
        cpus: cpus.to_vec(),
        domain,
        speed,
    }
}

fn place(cores: &[Core], threads: usize) -> Option<Vec<usize>> {
    let cores = cores.to_vec();
    placement(&Topology { cores }, |_| true, threads)
}

/// 8 cores, the second hardware threads numbered after the first.
fn desktop() -> Vec<Core> {
    (0..8).map(|at| core(&[at, at + 8], 0, 0)).collect()
}

/// Sockets of `each` cores with two hardware threads, numbered as servers do: all first ones, socket by socket, then all second ones.
fn sockets(count: usize, each: usize) -> Vec<Core> {
    let all = count * each;
    (0..all)
        .map(|at| core(&[at, at + all], at / each, 0))
        .collect()
}

#[test]
fn siblings_stay_free() {
    assert_eq!(place(&desktop(), 4), Some(vec![0, 1, 2, 3]));
    assert_eq!(place(&desktop(), 8), Some((0..8).collect()));
    let neighbours: Vec<Core> = (0..4).map(|at| core(&[2 * at, 2 * at + 1], 0, 0)).collect();
    assert_eq!(place(&neighbours, 4), Some(vec![0, 2, 4, 6]));
}

#[test]
fn nobody_is_pinned_where_nothing_is_gained() {
    let plain: Vec<Core> = (0..8).map(|at| core(&[at], 0, 0)).collect();
    assert_eq!(place(&plain, 4), None, "neither siblings nor domains");
    assert_eq!(place(&desktop(), 1), None, "no thread to pin");
    assert_eq!(place(&desktop(), 9), None, "more threads than cores");
    assert_eq!(place(&desktop(), 16), None, "every hardware thread");
    assert_eq!(place(&[], 2), None);
}

#[test]
fn fast_cores_come_first() {
    // Two fast cores with two hardware threads, four slow ones with one.
    let mut hybrid: Vec<Core> = (4..8).map(|at| core(&[at], 0, 400)).collect();
    hybrid.extend([core(&[0, 1], 0, 1000), core(&[2, 3], 0, 1000)]);
    assert_eq!(place(&hybrid, 2), Some(vec![0, 2]));
    assert_eq!(place(&hybrid, 6), Some(vec![0, 2, 4, 5, 6, 7]));
}

#[test]
fn domains_are_filled_evenly() {
    let two = sockets(2, 4);
    assert_eq!(place(&two, 2), Some(vec![0, 4]));
    assert_eq!(place(&two, 5), Some(vec![0, 4, 1, 5, 2]));
    let mut uneven = sockets(2, 4);
    uneven.truncate(5);
    assert_eq!(place(&uneven, 4), Some(vec![0, 4, 1, 2]));
    // Several last caches of one socket, without siblings.
    let caches: Vec<Core> = (0..6).map(|at| core(&[at], at / 3, 0)).collect();
    assert_eq!(place(&caches, 4), Some(vec![0, 3, 1, 4]));
}

#[test]
fn every_team_size_up_to_256_threads_gets_cores_of_its_own() {
    let cores = sockets(8, 32);
    for threads in 2..=256 {
        let places = place(&cores, threads).unwrap();
        let distinct: BTreeSet<usize> = places.iter().copied().collect();
        assert_eq!(distinct.len(), threads);
        assert!(distinct.iter().all(|&cpu| cpu < 256), "a sibling is taken");
        let in_domain = |domain| places.iter().filter(|&&cpu| cpu / 32 == domain).count();
        let (least, most) = (0..8)
            .map(in_domain)
            .fold((256, 0), |(a, b), n| (a.min(n), b.max(n)));
        assert!(most - least <= 1, "{threads} threads: {least} to {most}");
    }
    assert_eq!(place(&cores, 257), None);
}

#[test]
fn the_mask_of_a_container_is_kept() {
    let topology = Topology { cores: desktop() };
    let within = |mask: &[usize], threads| placement(&topology, |cpu| mask.contains(&cpu), threads);
    assert_eq!(within(&[10, 2, 3, 5], 3), Some(vec![2, 3, 5]));
    assert_eq!(within(&[10, 2, 3, 5], 4), None, "three cores for four");
    assert_eq!(within(&[2, 11, 5, 13], 3), Some(vec![2, 5, 11]));
    assert_eq!(within(&[2, 3, 5], 3), None, "no siblings are left");
    assert_eq!(within(&[], 2), None);
}

/// What takes files and threads, which WebAssembly has not.
#[cfg(not(target_family = "wasm"))]
mod on_a_system {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Two nodes, the first with two last caches; cores of two hardware threads, but the last, which is slow and has one; cpu 7 is off.
    fn fake(root: &Path) {
        let siblings = ["0,4", "1,5", "2,6", "3", "0,4", "1,5", "2,6"];
        let caches = ["0,4", "1,5", "2-3,6", "2-3,6", "0,4", "1,5", "2-3,6"];
        for (cpu, (siblings, cache)) in siblings.into_iter().zip(caches).enumerate() {
            let at = format!("system/cpu/cpu{cpu}");
            write(
                root,
                &format!("{at}/topology/thread_siblings_list"),
                &format!("{siblings}\n"),
            );
            write(root, &format!("{at}/cache/index2/level"), "2\n");
            write(
                root,
                &format!("{at}/cache/index2/shared_cpu_list"),
                &format!("{siblings}\n"),
            );
            write(root, &format!("{at}/cache/index3/level"), "3\n");
            write(
                root,
                &format!("{at}/cache/index3/shared_cpu_list"),
                &format!("{cache}\n"),
            );
            let capacity = if cpu == 3 { "512\n" } else { "1024\n" };
            write(root, &format!("{at}/cpu_capacity"), capacity);
        }
        write(root, "system/cpu/cpu7/uevent", "");
        write(root, "system/cpu/cpufreq/boost", "1\n");
        write(root, "system/node/node0/cpulist", "0-1,4-5\n");
        write(root, "system/node/node1/cpulist", "2-3,6\n");
        write(root, "system/node/has_cpu", "0-1\n");
    }

    #[test]
    fn the_system_tells_the_topology() {
        let folder = tempfile::tempdir().unwrap();
        fake(folder.path());
        let topology = Topology::read(folder.path()).unwrap();
        let expected = [
            core(&[0, 4], 0, 1024),
            core(&[1, 5], 1, 1024),
            core(&[2, 6], 2, 1024),
            core(&[3], 2, 512),
        ];
        assert_eq!(topology.cores, expected);
        assert_eq!(place(&topology.cores, 3), Some(vec![0, 1, 2]));
    }

    #[test]
    fn what_the_system_does_not_tell_is_no_topology() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Topology::read(folder.path()), None);
        assert_eq!(Topology::read(&folder.path().join("absent")), None);
        let siblings = "system/cpu/cpu0/topology/thread_siblings_list";
        for nonsense in ["", "x", "3-1", "0-99999999999", "0-9999999", "-", ","] {
            write(folder.path(), siblings, nonsense);
            assert_eq!(Topology::read(folder.path()), None, "{nonsense:?}");
        }
        // Neither nodes nor caches nor speeds: one domain.
        write(folder.path(), siblings, "0-1\n");
        let topology = Topology::read(folder.path()).unwrap();
        assert_eq!(topology.cores, [core(&[0], 0, 0)]);
    }

    #[test]
    fn a_little_more_frequency_is_no_other_kind_of_core() {
        let folder = tempfile::tempdir().unwrap();
        for (cpu, khz) in [5_700_000, 6_000_000, 5_700_000, 4_300_000]
            .iter()
            .enumerate()
        {
            let at = format!("system/cpu/cpu{cpu}");
            let siblings = format!("{at}/topology/thread_siblings_list");
            write(folder.path(), &siblings, &cpu.to_string());
            let frequency = format!("{at}/cpufreq/cpuinfo_max_freq");
            write(folder.path(), &frequency, &khz.to_string());
        }
        let topology = Topology::read(folder.path()).unwrap();
        let speeds: Vec<u64> = topology.cores.iter().map(|core| core.speed).collect();
        assert_eq!(speeds, [6_000_000, 6_000_000, 6_000_000, 4_300_000]);
    }

    /// Pinning is for the threads that a team starts: whoever made it runs where it did.
    #[test]
    fn the_caller_stays_where_it_was() {
        let before = affinity::mask();
        let mut team = crate::Team::new(2);
        team.run(|_| ());
        assert_eq!(affinity::mask(), before);
    }

    /// A thread that is pinned may run there only, and its starter where it did.
    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn a_worker_is_kept_on_its_place() {
        let before = affinity::mask().unwrap();
        let last = *before.last().unwrap();
        let places = Places {
            cpus: vec![*before.first().unwrap(), last],
        };
        let pin = places.pin(1);
        let worker = std::thread::spawn(move || {
            pin();
            affinity::mask().unwrap()
        });
        assert_eq!(worker.join().unwrap(), BTreeSet::from([last]));
        assert_eq!(affinity::mask(), Some(before));
    }
}
