//! The contract between the generated kernels and the code that calls them.
//!
//! It is stated once, here, and cited by every generated function. Generated code sees nothing else of this crate.

/// One token's side of a [`GemvArgs`].
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Prepared activations of the K block.
    pub operand: *const u8,
    /// Sums, one for each padded row; products with scales, as `f32`, where the kernel has [`Scales::Groups`](crate::Scales).
    pub out: *mut i32,
    /// A constant that belongs to every row's sum: what the code's bias costs, taken back.
    pub correction: i32,
}

/// What one call of a kernel works on: a run of units of one K block, and any number of tokens.
///
/// For every token and every row of the units the kernel adds `sum over the K block of weight * activation` to the token's
/// `out`. A kernel of batch width 1 takes the tokens one after another; a wider one reads the weights once for several.
///
/// # Safety contract
///
/// * `weights` points to the bytes of the units in the kernel's packing: `strips` whole strips, then `singles` strips of one
///   panel, each `steps` steps long. For a kernel with distant strips the packing has single panels, `strips` times as many as
///   the kernel takes at once, then `singles`: panel j of strip i is panel `j * strips + i`.
/// * `tokens` points to `count` tokens. The `operand` of each points to the K block's `steps * operand_step_bytes` bytes that
///   the kernel's own build function wrote; its `out` to one `i32` for every padded row of the units, which nothing else
///   reads or writes during the call.
/// * For a kernel with [`Scales::Groups`](crate::Scales) `scales` points to one `f32` for every padded row of the units; the others
///   do not read it.
/// * `steps` is at least one and at most the block of the packing.
/// * The CPU has the kernel's ISA.
///
/// No alignment is asked for, and a kernel touches no byte outside these ranges (prefetches do not touch).
#[derive(Clone, Copy, Debug)]
pub struct GemvArgs {
    /// Packed weights of the first unit.
    pub weights: *const u8,
    /// The K block's weight scale of each row.
    pub scales: *const f32,
    /// The tokens.
    pub tokens: *const Token,
    /// Number of tokens.
    pub count: usize,
    /// Steps in the K block.
    pub steps: usize,
    /// Units of all the packing's panels.
    pub strips: usize,
    /// Units of one panel that follow them.
    pub singles: usize,
    /// Bytes ahead of the weights to prefetch into the L2 cache; 0 prefetches nothing useful and costs next to nothing.
    #[allow(dead_code, reason = "WebAssembly and plain Rust have no prefetch")]
    pub prefetch: usize,
}

/// A matrix-vector kernel.
pub type GemvFn = unsafe fn(&GemvArgs);

/// What one call of a build function works on: some steps of one token's activations.
///
/// # Safety contract
///
/// * `activations` points to `steps * step_cols` signed bytes, zero beyond the last column.
/// * `operand` points to `steps * operand_step_bytes` bytes to overwrite, which nothing else uses during the call.
/// * The CPU has the kernel's ISA.
#[derive(Clone, Copy, Debug)]
pub struct BuildArgs {
    /// Activations of the first step.
    pub activations: *const i8,
    /// Where the first step's prepared form goes.
    pub operand: *mut u8,
    /// Steps to prepare.
    pub steps: usize,
}

/// A function that prepares activations for the kernels of a packing: lookup tables, or the activations in another order.
pub type BuildFn = unsafe fn(&BuildArgs);

/// What one call of a streaming read works on: `streams` runs of `len` bytes, each `len` after the one before.
///
/// # Safety contract
///
/// `bytes` points to `len * streams` readable bytes, `len` is a multiple of 256, and the CPU has the function's ISA.
#[derive(Clone, Copy, Debug)]
pub struct ReadArgs {
    /// First byte.
    pub bytes: *const u8,
    /// Bytes in each stream.
    pub len: usize,
    /// Streams read side by side.
    pub streams: usize,
}

/// Reads memory with the widest loads of an ISA and returns a mix of all of it, so that no load can be left out.
pub type ReadFn = unsafe fn(&ReadArgs) -> u64;

/// What one call of a dot product works on: the same bytes again and again.
///
/// # Safety contract
///
/// `bytes` points to `len` readable bytes, `len` is a multiple of 768 and not zero, and the CPU has the function's ISA.
#[derive(Clone, Copy, Debug)]
pub struct DotArgs {
    /// First byte.
    pub bytes: *const u8,
    /// Bytes that are multiplied in each lap.
    pub len: usize,
    /// How often all of them are multiplied.
    pub laps: usize,
}

/// Multiplies every byte with two of the first few and adds the products up, as the kernels of an ISA that multiply do, and
/// returns a mix of the sums, so that no product can be left out. The sums wrap.
pub type DotFn = unsafe fn(&DotArgs) -> u64;

/// What one call of an unpack function works on: a run of steps of one panel, within a K block.
///
/// It writes the *dot-product layout*: quads of four columns, in each quad the rows of the panel in order, for each row the four
/// bytes `u = t + 1` of its columns.
///
/// # Safety contract
///
/// * `weights` points to the panel's part of the run's first step; its part of each following step lies `step_stride` bytes further
///   on. All `steps` of them are readable.
/// * `out` points to the panel's rows in the first quad, and each following quad lies `stride` bytes further on. There is a quad for
///   every four columns of the run, rounded up to whole quads after as many steps as make whole quads; for each, `4 * lanes` bytes
///   are overwritten, which nothing else uses during the call. Columns beyond the run are filled with any of 0, 1 and 2.
/// * The CPU has the kernel's ISA.
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "wasm32"
    )),
    allow(
        dead_code,
        reason = "only generated kernels read it, and plain Rust has none"
    )
)]
#[derive(Clone, Copy, Debug)]
pub struct UnpackArgs {
    /// The panel's weights in the first step.
    pub weights: *const u8,
    /// Bytes from a step to the next.
    pub step_stride: usize,
    /// Steps to unpack.
    pub steps: usize,
    /// The panel's rows in the first quad.
    pub out: *mut u8,
    /// Bytes from a quad to the next.
    pub stride: usize,
}

/// A function that unpacks a code into the dot-product layout.
pub type UnpackFn = unsafe fn(&UnpackArgs);

/// What one call of a batched product works on: strips of rows in the dot-product layout, and any number of tokens.
///
/// For every token and every row the kernel adds `sum of u * activation` to the token's sum, modulo 2^32.
///
/// # Safety contract
///
/// * `weights` points to the first strip, and each following one lies `strip_stride` bytes further on. In each of the `strips` strips
///   `quads` quads of `vectors * lanes * 4` bytes follow each other and are readable, all of them 0, 1 or 2 where the sum is to be
///   exact.
/// * `activations` points to the first token's `4 * quads` activations, and each following token's lie `token_stride` bytes further on.
/// * `out` points to the first token's `strips * vectors * lanes` sums, and each following token's lie `out_stride` sums further on.
///   Nothing else reads or writes them during the call.
/// * The CPU has the kernel's ISA.
#[derive(Clone, Copy, Debug)]
pub struct GemmArgs {
    /// The first strip of weights.
    pub weights: *const u8,
    /// Number of strips.
    pub strips: usize,
    /// Bytes from a strip to the next.
    pub strip_stride: usize,
    /// Vectors of rows in a strip, each the kernel's `lanes` rows.
    pub vectors: usize,
    /// Quads of columns.
    pub quads: usize,
    /// The first token's activations.
    pub activations: *const i8,
    /// Bytes from a token's activations to the next token's.
    pub token_stride: usize,
    /// Number of tokens.
    pub tokens: usize,
    /// The first token's sums.
    pub out: *mut i32,
    /// Sums from a token to the next.
    pub out_stride: usize,
}

/// A batched product.
pub type GemmFn = unsafe fn(&GemmArgs);
