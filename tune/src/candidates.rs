//! The candidates for one shape: kernels times tiles.

use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::{Code, Family, Force, Kernel, Packing, Planner, Rigor, Shape, Tables, Tile};

use crate::effort;
use crate::measure::Candidate;
use crate::search::Tiles;

/// K tiles in K blocks, beside the default of one and beside all of K: how long a chunk's sums stay in L1 against how
/// long a block's tables do.
const K_TILES: &[usize] = &[2, 4];
const ALL_K_TILES: &[usize] = &[2, 3, 4, 8];

/// Strips in a chunk. Only with a K tile of several blocks does the size of a chunk change the order of memory.
const CHUNKS: &[usize] = &[2, 8];
const ALL_CHUNKS: &[usize] = &[1, 2, 4, 8, 16];

/// Prefetch distances in bytes, beside the default.
const PREFETCHES: &[usize] = &[0, 2048, 4096, 12288];
const ALL_PREFETCHES: &[usize] = &[0, 1024, 2048, 4096, 6144, 12288, 16384, 24576];

/// Every prefetch distance that a patient tuning tries, from short to long.
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
    /// The tiles of each kernel.
    pub kernels: Vec<Tiles>,
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
        Field::build(kernels, shape, threads, &[Tables::Shared], Rigor::Patient)
    }

    /// The tiles that a tuning of this rigor tries. Where they are of several kinds of tables, a race must time the preparation too.
    pub(crate) fn of_rigor(
        kernels: impl IntoIterator<Item = Kernel>,
        shape: Shape,
        threads: usize,
        rigor: Rigor,
    ) -> Field {
        Field::build(kernels, shape, threads, effort::tables(rigor), rigor)
    }

    fn build(
        kernels: impl IntoIterator<Item = Kernel>,
        shape: Shape,
        threads: usize,
        tables: &[Tables],
        rigor: Rigor,
    ) -> Field {
        let mut field = Field {
            candidates: Vec::new(),
            kernels: Vec::new(),
        };
        // The family says what a kernel computes with, the code how many bytes it reads, and in how many streams.
        let mut kinds: Vec<(Family, Code, bool)> = Vec::new();
        for kernel in kernels {
            let mut add = |tile| {
                field.candidates.push(Candidate { kernel, tile });
                field.candidates.len() - 1
            };
            let plain = plain_tiles(kernel, rigor);
            let variations: Vec<Vec<Tile>> = plain
                .iter()
                .map(|&tile| variations(kernel, tile, shape, threads, (tables, rigor)))
                .collect();
            let plain = plain.into_iter().map(&mut add).collect();
            let variations = variations
                .into_iter()
                .map(|tiles| tiles.into_iter().map(&mut add).collect())
                .collect();
            let mean = (kernel.family, kernel.packing.code, kernel.is_distant());
            let kind = kinds.iter().position(|kind| *kind == mean);
            let kind = kind.unwrap_or_else(|| {
                kinds.push(mean);
                kinds.len() - 1
            });
            field.kernels.push(Tiles {
                plain,
                variations,
                kind,
            });
        }
        field
    }
}

/// The tiles of a kernel that differ from the default, which is the first, in how far ahead they prefetch.
fn plain_tiles(kernel: Kernel, rigor: Rigor) -> Vec<Tile> {
    if kernel.family == Family::Reference {
        return vec![kernel.default_tile()];
    }
    let prefetches = match rigor {
        Rigor::Exhaustive => ALL_PREFETCHES,
        _ => PREFETCHES,
    };
    let first = kernel.default_tile();
    let mut others = prefetches.to_vec();
    others.push(DEFAULT_TILE.prefetch);
    others.retain(|&prefetch| prefetch != first.prefetch);
    std::iter::once(first.prefetch)
        .chain(others)
        .map(|prefetch| Tile { prefetch, ..first })
        .collect()
}

/// The same tile with own tables, if those are wanted, and with the other orders in which a worker can walk its part. Not with both:
/// only the order of memory builds each own table once.
fn variations(
    kernel: Kernel,
    tile: Tile,
    shape: Shape,
    threads: usize,
    (tables, rigor): (&[Tables], Rigor),
) -> Vec<Tile> {
    if kernel.family == Family::Reference {
        return Vec::new();
    }
    let own = Tile {
        tables: Tables::Own,
        ..tile
    };
    // Where the operand is the activations themselves there is no table to own, and products with tables of workers' own are not cut into pieces
    // that workers share.
    let has_tables = kernel.operand_step_bytes > kernel.packing.code.step_cols();
    let own = (has_tables && tables.contains(&Tables::Own)).then_some(own);
    // The streams of distant strips are as far apart as a chunk is long: they want all rows.
    let orders = match kernel.is_distant() {
        true => Vec::new(),
        false => orders(kernel.packing, shape, threads, rigor),
    };
    let orders = orders.into_iter();
    let orders = orders.map(|(k_blocks, chunk)| Tile {
        k_blocks,
        chunk,
        ..tile
    });
    own.into_iter().chain(orders).collect()
}

/// The distinct orders in which a worker can walk its part, beside the order of memory, as (K tile, chunk).
fn orders(packing: Packing, shape: Shape, threads: usize, rigor: Rigor) -> Vec<(usize, usize)> {
    let (k_tiles, chunks) = match rigor {
        Rigor::Exhaustive => (ALL_K_TILES, ALL_CHUNKS),
        _ => (K_TILES, CHUNKS),
    };
    let blocks = packing.blocks(shape.cols);
    let strips = shape
        .rows
        .div_ceil(packing.lanes * packing.panels)
        .div_ceil(threads);
    let mut orders = Vec::new();
    for k_tile in k_tiles
        .iter()
        .copied()
        .filter(|&tile| tile < blocks)
        .chain([0])
    {
        // A K tile of one block walks in the order of memory whatever the chunk, which is the default's order.
        for chunk in chunks
            .iter()
            .copied()
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
    use crate::bench::Index;
    use tern_kernels::Cpu;

    #[test]
    fn the_default_tile_is_first_and_no_tile_comes_twice() {
        let cpu = Cpu::detect();
        for (rows, cols) in [(6912, 2560), (2560, 6912), (64, 64), (1, 1)] {
            for threads in [1, 2, 64] {
                let shape = Shape { rows, cols };
                let rigor = Rigor::ALL[1 + threads % 3];
                let field = Field::of_rigor(cpu.kernels(), shape, threads, rigor);
                for tiles in &field.kernels {
                    let tile = |index: Index| field.candidates[index].tile;
                    let kernel = field.candidates[tiles.plain[0]].kernel;
                    assert_eq!(tile(tiles.plain[0]), kernel.default_tile());
                    let mut sorted: Vec<Tile> = tiles.all().map(tile).collect();
                    let count = sorted.len();
                    sorted.sort();
                    sorted.dedup();
                    assert_eq!(sorted.len(), count, "{} {rows}x{cols}", kernel.id);
                    for (&plain, variations) in tiles.plain.iter().zip(&tiles.variations) {
                        let alike = |&other: &Index| tile(other).prefetch == tile(plain).prefetch;
                        assert!(variations.iter().all(alike));
                    }
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
