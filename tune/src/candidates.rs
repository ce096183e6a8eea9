//! The candidates for one shape: kernels times tiles.

use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::{Family, Force, Kernel, Packing, Planner, Shape, Tile};

use crate::measure::Candidate;
use crate::search::Index;

/// K tiles in K blocks, beside the default of one and beside all of K: how long a chunk's sums stay in L1 against how
/// long a block's tables do.
const K_TILES: [usize; 2] = [2, 4];

/// Strips in a chunk. Only with a K tile of several blocks does the size of a chunk change the order of memory.
const CHUNKS: [usize; 2] = [2, 8];

/// Prefetch distances in bytes, beside the default.
const PREFETCHES: [usize; 3] = [0, 1024, 16384];

/// The candidates for one shape and thread count, in the order that decides ties.
#[derive(Debug)]
pub(crate) struct Field {
    pub candidates: Vec<Candidate>,
    /// For each kernel the indices of its tiles, the default tile first.
    pub kernels: Vec<Vec<Index>>,
}

/// All kernels that the planner may choose here, in order of preference; `force` is what the planner was made with. The
/// planner's own choice is first, so that a tie leaves things as they are without tuning, then come the widest vectors,
/// so that the most promising are measured even if the time does not suffice for all. The reference takes part only
/// where it is wanted by name.
pub(crate) fn kernels(
    planner: &Planner,
    force: Option<&Force>,
    shape: Shape,
    threads: usize,
) -> Vec<Kernel> {
    let wanted = |kernel: &Kernel| match force {
        None => kernel.family != Family::Reference,
        Some(Force::Family(family)) => kernel.family == *family,
        Some(Force::Id(id)) => kernel.id == id,
    };
    let preferred = planner.choose(shape, threads).kernel;
    let mut kernels: Vec<Kernel> = planner.cpu().kernels().filter(wanted).collect();
    // A stable sort: within an ISA the registry's order holds.
    kernels.sort_by_key(|kernel| (*kernel != preferred, std::cmp::Reverse(kernel.isa)));
    kernels
}

impl Field {
    /// All tiles of `kernels`, which come in order of preference.
    pub(crate) fn new(
        kernels: impl IntoIterator<Item = Kernel>,
        shape: Shape,
        threads: usize,
    ) -> Field {
        let mut field = Field {
            candidates: Vec::new(),
            kernels: Vec::new(),
        };
        for kernel in kernels {
            let first = field.candidates.len();
            let tiles = tiles(kernel, shape, threads).into_iter();
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

/// The tiles worth trying for a kernel, the default first. None differ only in numbers that change nothing.
fn tiles(kernel: Kernel, shape: Shape, threads: usize) -> Vec<Tile> {
    if kernel.family == Family::Reference {
        return vec![DEFAULT_TILE];
    }
    let mut tiles = Vec::new();
    for (k_blocks, chunk) in orders(kernel.packing, shape, threads) {
        for prefetch in std::iter::once(DEFAULT_TILE.prefetch).chain(PREFETCHES) {
            tiles.push(Tile {
                k_blocks,
                chunk,
                prefetch,
            });
        }
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
