//! The candidates for one shape: kernels times tiles.

use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::{Family, Force, Kernel, Packing, Planner, Shape, Tables, Tile};

use crate::measure::Candidate;
use crate::search::Index;

/// K tiles in K blocks, beside the default of one and beside all of K: how long a chunk's sums stay in L1 against how
/// long a block's tables do.
const K_TILES: [usize; 2] = [2, 4];

/// Strips in a chunk. Only with a K tile of several blocks does the size of a chunk change the order of memory.
const CHUNKS: [usize; 2] = [2, 8];

/// Prefetch distances in bytes, beside the default.
const PREFETCHES: [usize; 3] = [0, 4096, 12288];

/// Every prefetch distance that is tried, from short to long.
pub(crate) fn prefetches() -> Vec<usize> {
    let mut distances = PREFETCHES.to_vec();
    distances.push(DEFAULT_TILE.prefetch);
    distances.sort_unstable();
    distances.dedup();
    distances
}

/// The candidates for one shape and thread count, in the order that decides ties.
#[derive(Debug)]
pub(crate) struct Field {
    pub candidates: Vec<Candidate>,
    /// For each kernel the indices of its tiles, the default tile first.
    pub kernels: Vec<Vec<Index>>,
}

/// All kernels that the planner may choose here, in order of preference; `force` is what the planner was made with.
/// The planner's own choice is first, so that a tie leaves things as they are without tuning, then come the widest
/// vectors, so that the most promising are measured even if the time does not suffice for all. The reference takes
/// part only where it is wanted by name.
pub(crate) fn kernels(
    planner: &Planner,
    force: Option<&Force>,
    shape: Shape,
    threads: usize,
) -> Vec<Kernel> {
    // Kernels for several tokens at once are no candidates for a single one.
    let wanted = |kernel: &Kernel| match force {
        None => kernel.family != Family::Reference && kernel.batch == 1,
        Some(Force::Family(family)) => kernel.family == *family && kernel.batch == 1,
        Some(Force::Id(id)) => kernel.id == id,
    };
    let preferred = planner.choose(shape, threads).kernel;
    let mut kernels: Vec<Kernel> = planner.cpu().kernels().filter(wanted).collect();
    // A stable sort: within an ISA the registry's order holds.
    kernels.sort_by_key(|kernel| (*kernel != preferred, std::cmp::Reverse(kernel.isa)));
    kernels
}

impl Field {
    /// All tiles of `kernels`, which come in order of preference, with shared tables.
    pub(crate) fn new(
        kernels: impl IntoIterator<Item = Kernel>,
        shape: Shape,
        threads: usize,
    ) -> Field {
        Field::of_tables(kernels, shape, threads, &[Tables::Shared])
    }

    /// The same with tables of these kinds: a race with several kinds must time the preparation too.
    pub(crate) fn of_tables(
        kernels: impl IntoIterator<Item = Kernel>,
        shape: Shape,
        threads: usize,
        tables: &[Tables],
    ) -> Field {
        let mut field = Field {
            candidates: Vec::new(),
            kernels: Vec::new(),
        };
        for kernel in kernels {
            let first = field.candidates.len();
            let tiles = tiles(kernel, shape, threads)
                .into_iter()
                .filter(|tile| tables.contains(&tile.tables));
            field
                .candidates
                .extend(tiles.map(|tile| Candidate { kernel, tile }));
            field
                .kernels
                .push((first..field.candidates.len()).collect());
        }
        field
    }
}

/// The tiles worth trying for a kernel, the default first. None differ only in numbers that change nothing. Those
/// that differ from the default in one thing come before those that differ in two: if the time does not suffice for
/// all, the more telling ones were measured.
fn tiles(kernel: Kernel, shape: Shape, threads: usize) -> Vec<Tile> {
    if kernel.family == Family::Reference {
        return vec![DEFAULT_TILE];
    }
    let orders = orders(kernel.packing, shape, threads);
    let tile = |(k_blocks, chunk): (usize, usize), prefetch| Tile {
        k_blocks,
        chunk,
        prefetch,
        tables: Tables::Shared,
    };
    let others = PREFETCHES
        .into_iter()
        .filter(|&prefetch| prefetch != DEFAULT_TILE.prefetch);
    let others: Vec<usize> = others.collect();
    let mut tiles: Vec<Tile> = orders
        .iter()
        .map(|&order| tile(order, DEFAULT_TILE.prefetch))
        .collect();
    tiles.splice(
        1..1,
        others.iter().map(|&prefetch| tile(orders[0], prefetch)),
    );
    // Own tables only in the default order, which is the one that builds each of them once.
    let own: Vec<Tile> = tiles[..=others.len()]
        .iter()
        .map(|&shared| Tile {
            tables: Tables::Own,
            ..shared
        })
        .collect();
    tiles.extend(own);
    for &order in &orders[1..] {
        tiles.extend(others.iter().map(|&prefetch| tile(order, prefetch)));
    }
    tiles
}

/// The distinct orders in which a worker can walk its part, as (K tile, chunk).
fn orders(packing: Packing, shape: Shape, threads: usize) -> Vec<(usize, usize)> {
    let blocks = packing.blocks(shape.cols);
    let strips = shape
        .rows
        .div_ceil(packing.lanes * packing.panels)
        .div_ceil(threads);
    let mut orders = vec![(DEFAULT_TILE.k_blocks, DEFAULT_TILE.chunk)];
    for k_tile in K_TILES.into_iter().filter(|&tile| tile < blocks).chain([0]) {
        // A K tile of one block walks in the order of memory whatever the chunk, which is the default's order.
        for chunk in CHUNKS
            .into_iter()
            .filter(|&chunk| blocks > 1 && chunk < strips)
        {
            orders.push((k_tile, chunk));
        }
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::Cpu;

    #[test]
    fn the_default_tile_is_first_and_no_tile_comes_twice() {
        let cpu = Cpu::detect();
        for (rows, cols) in [(6912, 2560), (2560, 6912), (64, 64), (1, 1)] {
            for threads in [1, 2, 64] {
                for kernel in cpu.kernels() {
                    let tiles = tiles(kernel, Shape { rows, cols }, threads);
                    assert_eq!(tiles[0], DEFAULT_TILE);
                    let mut sorted = tiles.clone();
                    sorted.sort();
                    sorted.dedup();
                    assert_eq!(sorted.len(), tiles.len(), "{} {rows}x{cols}", kernel.id);
                }
            }
        }
    }

    #[test]
    fn the_planners_choice_is_first_and_the_reference_only_on_demand() {
        let planner = Planner::new(Cpu::detect(), None, None).unwrap();
        let shape = Shape {
            rows: 640,
            cols: 2560,
        };
        let all = kernels(&planner, None, shape, 1);
        assert_eq!(all[0], planner.choose(shape, 1).kernel);
        assert!(all.iter().all(|kernel| kernel.family != Family::Reference));
        let expected = planner
            .cpu()
            .kernels()
            .filter(|k| k.family != Family::Reference && k.batch == 1)
            .count();
        assert_eq!(all.len(), expected);

        let force = Force::Family(Family::Reference);
        let planner = Planner::new(Cpu::detect(), None, Some(force.clone())).unwrap();
        let forced = kernels(&planner, Some(&force), shape, 1);
        assert_eq!(forced.len(), 1);
        assert_eq!(forced[0].family, Family::Reference);
    }
}
