//! Tests that call kernels through their raw contract: bytes around every buffer, and kernels that must be caught.

mod batched;
#[cfg(target_arch = "x86_64")]
mod emulated;

use crate::contract::{BuildArgs, GemvArgs, Token};
use crate::cpu::{Cpu, Isa};
use crate::pack::PackedMatrix;
use crate::packing::Code;
use crate::registry::{KernelDesc, Scales};
use crate::{Pages, group_kernels, kernels, reference};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Kernels whose window is one step too long. They exist only for the test that must find them wrong.
mod overflowing {
    #![expect(non_snake_case, reason = "kernels are named by their ids")]
    #![allow(
        unused_imports,
        dead_code,
        reason = "which kernels there are depends on the configs and the target"
    )]
    include!(concat!(env!("OUT_DIR"), "/overflowing.rs"));
}

/// The kernels of AVX-VNNI in the encoding of AVX-512VL.
#[cfg(target_arch = "x86_64")]
mod avx512vl {
    #![expect(non_snake_case, reason = "kernels are named by their ids")]
    #![allow(
        unused_imports,
        reason = "which kernels there are depends on the configs"
    )]
    include!(concat!(env!("OUT_DIR"), "/avx512vl.rs"));
}

/// A buffer between two pages: the one before is full of canary bytes, the one after must not be touched at all.
struct Fenced {
    /// There until the buffer is dropped.
    map: Option<Map>,
    start: usize,
    len: usize,
}

/// Bytes before the buffer, and in what is not yet written.
const CANARY: u8 = 0xa5;

const PAGE: usize = 4096;

thread_local! {
    /// Memory of buffers that were dropped, by its size: most tests want the same sizes a thousand times, and mapping is slow.
    static SPARE: RefCell<BTreeMap<usize, Vec<Map>>> = const { RefCell::new(BTreeMap::new()) };
}

impl Fenced {
    fn new(len: usize) -> Fenced {
        let whole = len.next_multiple_of(PAGE) + PAGE;
        let spare = SPARE.with_borrow_mut(|spare| spare.get_mut(&whole).and_then(Vec::pop));
        let mut map = spare.unwrap_or_else(|| fenced_map(whole));
        map[..whole].fill(CANARY);
        Fenced {
            map: Some(map),
            start: whole - len,
            len,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let map = self.map.as_mut().expect("memory until it is dropped");
        &mut map[self.start..][..self.len]
    }

    fn check(&self, what: &str) {
        let map = self.map.as_ref().expect("memory until it is dropped");
        assert!(
            map[..self.start].iter().all(|&b| b == CANARY),
            "{what}: bytes before the buffer changed"
        );
        check_after(map, self.start + self.len, what);
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        let map = self.map.take().expect("memory until it is dropped");
        let whole = self.start + self.len;
        SPARE.with_borrow_mut(|spare| spare.entry(whole).or_default().push(map));
    }
}

/// The memory of a [`Fenced`] buffer: its bytes and the page after them.
#[cfg(not(target_family = "wasm"))]
type Map = memmap2::MmapMut;

/// A file of `whole` bytes, mapped two pages longer, so that reading or writing beyond its end ends the process.
#[cfg(not(target_family = "wasm"))]
fn fenced_map(whole: usize) -> Map {
    let name = format!(
        "tern-fence-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let open = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path);
    let file = open.expect("a temporary file");
    std::fs::remove_file(&path).expect("removes its name");
    file.set_len(whole as u64)
        .expect("room in the temporary directory");
    // SAFETY: the file has no name any more, so nothing else can change it.
    let map = unsafe {
        memmap2::MmapOptions::new()
            .len(whole + 2 * PAGE)
            .map_mut(&file)
    };
    map.expect("maps the file")
}

/// A process that is still alive has not touched what comes after the file.
#[cfg(not(target_family = "wasm"))]
fn check_after(_: &Map, _: usize, _: &str) {}

/// WebAssembly cannot protect a page, so canaries stand after the buffer too: they see what is written there, not what is read.
#[cfg(target_family = "wasm")]
type Map = Vec<u8>;

#[cfg(target_family = "wasm")]
fn fenced_map(whole: usize) -> Map {
    vec![CANARY; whole + PAGE]
}

#[cfg(target_family = "wasm")]
fn check_after(map: &Map, end: usize, what: &str) {
    assert!(
        map[end..].iter().all(|&b| b == CANARY),
        "{what}: bytes after the buffer changed"
    );
}

/// The bytes of a sum, or of a scaled product.
type Word = [u8; 4];

/// One token's buffers, each fenced.
struct FencedToken {
    activations: Fenced,
    operand: Fenced,
    out: Fenced,
    /// What a biased code's kernel gets to take back.
    bias: i32,
}

impl FencedToken {
    /// The token of activations `q`, prepared for `kernel`, with outputs for `rows` padded rows that hold `before`.
    fn new(kernel: &KernelDesc, rows: usize, q: &[i8], before: Word) -> FencedToken {
        let (steps, step_cols) = (
            kernel.packing.steps(q.len()),
            kernel.packing.code.step_cols(),
        );
        let mut activations = Fenced::new(steps * step_cols);
        activations.bytes().fill(0);
        for (byte, &q) in activations.bytes().iter_mut().zip(q) {
            *byte = q as u8;
        }
        let mut operand = Fenced::new(steps * kernel.operand_step_bytes);
        let build = BuildArgs {
            activations: activations.bytes().as_ptr().cast(),
            operand: operand.bytes().as_mut_ptr(),
            steps,
        };
        // SAFETY: the buffers have the lengths of the contract, and the callers check the ISA.
        unsafe { (kernel.build)(&build) };
        let mut out = Fenced::new(rows * 4);
        out.bytes().as_chunks_mut().0.fill(before);
        let bias = match kernel.biased {
            true => -q.iter().map(|&q| i32::from(q)).sum::<i32>(),
            false => 0,
        };
        FencedToken {
            activations,
            operand,
            out,
            bias,
        }
    }
}

/// The outputs of `trits` (row by row) and each token's activations by one kernel through its raw contract, in one K block, in fenced
/// buffers, where every output was `before` and each row has a scale.
fn fenced_outputs(
    kernel: &KernelDesc,
    rows: usize,
    trits: &[i8],
    tokens: &[Vec<i8>],
    before: Word,
    scale: impl Fn(usize) -> f32,
) -> Vec<Vec<Word>> {
    let (packing, cols) = (kernel.packing, tokens[0].len());
    let fill = |row: usize, out: &mut [i8]| out.copy_from_slice(&trits[row * cols..][..cols]);
    let matrix = PackedMatrix::pack(packing, rows, cols, Pages::Small, &fill).expect("packs");
    let (steps, panels) = (packing.steps(cols), packing.panels_for(rows));
    assert_eq!(packing.blocks(cols), 1, "one K block");

    let mut weights = Fenced::new(matrix.bytes());
    weights.bytes().copy_from_slice(matrix.data());
    let padded = panels * packing.lanes;
    let each = tokens
        .iter()
        .map(|q| FencedToken::new(kernel, padded, q, before));
    let mut fenced: Vec<FencedToken> = each.collect();

    let mut scales = Fenced::new(panels * packing.lanes * 4);
    for (row, bytes) in scales.bytes().chunks_exact_mut(4).enumerate() {
        bytes.copy_from_slice(&scale(row).to_ne_bytes());
    }

    let pointers = fenced.iter_mut().map(|token| Token {
        operand: token.operand.bytes().as_ptr(),
        out: token.out.bytes().as_mut_ptr().cast(),
        correction: token.bias,
    });
    let pointers: Vec<Token> = pointers.collect();
    let args = GemvArgs {
        weights: weights.bytes().as_ptr(),
        scales: scales.bytes().as_ptr().cast(),
        tokens: pointers.as_ptr(),
        count: pointers.len(),
        steps,
        strips: panels / kernel.panels,
        singles: panels % kernel.panels,
        prefetch: usize::MAX,
    };
    // SAFETY: as for the build functions; the weights are packed for this kernel, and every token has buffers of its own.
    unsafe { (kernel.gemv)(&args) };
    for (buffer, name) in [(&weights, "weights"), (&scales, "scales")] {
        buffer.check(&format!("{} {name}", kernel.id));
    }
    let outputs = fenced.iter_mut().enumerate().map(|(number, token)| {
        for (buffer, name) in [
            (&token.activations, "activations"),
            (&token.operand, "operand"),
            (&token.out, "out"),
        ] {
            buffer.check(&format!("{} {name} of token {number}", kernel.id));
        }
        token.out.bytes().as_chunks().0[..rows].to_vec()
    });
    outputs.collect()
}

/// The sums by one kernel as [`fenced_outputs`] has them. Scales are one: the sums of a kernel that scales are then whole numbers, exact
/// in `f32`.
fn fenced_sums(
    kernel: &KernelDesc,
    rows: usize,
    trits: &[i8],
    tokens: &[Vec<i8>],
) -> Vec<Vec<i32>> {
    let sum = |word| match kernel.scales {
        Scales::Whole => i32::from_ne_bytes(word),
        Scales::Groups => f32::from_ne_bytes(word) as i32,
    };
    let outputs = fenced_outputs(kernel, rows, trits, tokens, [0; 4], |_| 1.0);
    let sums = outputs
        .into_iter()
        .map(|words| words.into_iter().map(sum).collect());
    sums.collect()
}

fn expected(rows: usize, trits: &[i8], tokens: &[Vec<i8>]) -> Vec<Vec<i32>> {
    let of = |q: &Vec<i8>| {
        let mut sums = vec![0; rows];
        reference::gemv(rows, q.len(), |m, k| trits[m * q.len() + k], q, &mut sums);
        sums
    };
    tokens.iter().map(of).collect()
}

/// Numbers of tokens at which something changes for `kernel`: one; for kernels that take several at once those around a batch too.
fn token_counts(kernel: &KernelDesc) -> Vec<usize> {
    let mut counts = vec![1];
    if kernel.batch > 1 {
        let batch = kernel.batch;
        counts.extend([batch - 1, batch, batch + 1, 2 * batch + 1]);
        counts.dedup();
    }
    counts
}

/// Whether `REQUIRE_ISA`, a list with commas, names `isa`.
fn required(isa: Isa) -> bool {
    let names = std::env::var("REQUIRE_ISA").unwrap_or_default();
    names.split(',').any(|name| name.trim() == isa.name())
}

/// Says which kernels this CPU does not run for want of their ISA, and fails if `REQUIRE_ISA` names one of those ISAs.
fn name_skipped<'a>(cpu: &Cpu, kernels: impl Iterator<Item = (&'a str, Isa)>) {
    for (id, isa) in kernels.filter(|(_, isa)| !cpu.has(*isa)) {
        let instead = match cfg!(target_arch = "x86_64") {
            true => ", so only emulated intrinsics run it",
            false => "",
        };
        eprintln!("{id} is skipped: this CPU lacks {isa}{instead}");
        assert!(
            !required(isa),
            "REQUIRE_ISA asks for {isa}, which this CPU lacks"
        );
    }
}

/// Fails unless `kernel` returns the reference's sums for some weights of `rows` and `cols` and activations that differ from token to
/// token, in fenced buffers, for every number of tokens around a batch.
fn check(kernel: &KernelDesc, rows: usize, cols: usize) {
    let trits: Vec<i8> = (0..rows * cols)
        .map(|i| (i * 7 % 11 % 3) as i8 - 1)
        .collect();
    for count in token_counts(kernel) {
        let q = |token: usize| (0..cols).map(|k| (k * 37 + token * 59) as i8).collect();
        let tokens: Vec<Vec<i8>> = (0..count).map(q).collect();
        assert_eq!(
            fenced_sums(kernel, rows, &trits, &tokens),
            expected(rows, &trits, &tokens),
            "{} {rows}x{cols} with {count} tokens",
            kernel.id
        );
    }
}

/// Panels in as many strips as show how a kernel walks them: where they are distant, a strip alone does not.
fn panels_in_strips(kernel: &KernelDesc) -> usize {
    match kernel.is_distant() {
        true => 2 * kernel.panels,
        false => kernel.panels,
    }
}

/// Fails unless `kernel` adds to what its outputs hold: sums, or `f32` products of sums and scales, first multiplied and then added.
fn check_adds(kernel: &KernelDesc) {
    let rows = kernel.packing.lanes * (panels_in_strips(kernel) + 1);
    let cols = kernel.packing.block.min(33) * kernel.packing.code.step_cols();
    let trits: Vec<i8> = (0..rows * cols)
        .map(|i| (i * 5 % 7 % 3) as i8 - 1)
        .collect();
    let q = |token: usize| (0..cols).map(|k| (k * 91 + token * 17) as i8).collect();
    let tokens: Vec<Vec<i8>> = (0..=kernel.batch).map(q).collect();
    // Neither powers of two nor alike, so that a fused product or another row's scale shows.
    let scale = |row: usize| (row as f32 - 20.5) / 7e3;
    let before = match kernel.scales {
        Scales::Whole => (-1_234_567_i32).to_ne_bytes(),
        Scales::Groups => 0.3f32.to_ne_bytes(),
    };
    let added = |(row, sum): (usize, i32)| match kernel.scales {
        Scales::Whole => (i32::from_ne_bytes(before) + sum).to_ne_bytes(),
        Scales::Groups => (f32::from_ne_bytes(before) + sum as f32 * scale(row)).to_ne_bytes(),
    };
    let sums = expected(rows, &trits, &tokens).into_iter();
    let sums: Vec<Vec<Word>> = sums
        .map(|sums| sums.into_iter().enumerate().map(added).collect())
        .collect();
    let found = fenced_outputs(kernel, rows, &trits, &tokens, before, scale);
    assert!(found == sums, "{} does not add to its outputs", kernel.id);
}

/// Fails unless `kernel` returns the reference's sums in fenced buffers where rows, steps, windows and blocks end.
fn stays_within(kernel: &KernelDesc) {
    let step = kernel.packing.code.step_cols();
    let longest = kernel.packing.block.min(3 * kernel.window.min(32) + 1) * step;
    for cols in [1, step, step + 1, longest - 1, longest] {
        for rows in [1, kernel.packing.lanes * panels_in_strips(kernel) + 1] {
            check(kernel, rows, cols);
        }
    }
    check_adds(kernel);
}

#[test]
fn kernels_touch_nothing_outside_their_buffers() {
    let cpu = Cpu::detect();
    let mut ran = 0;
    let all = || kernels().chain(group_kernels());
    name_skipped(&cpu, all().map(|k| (k.id, k.isa)));
    for kernel in all().filter(|k| cpu.has(k.isa)) {
        stays_within(kernel);
        ran += 1;
    }
    assert!(ran > 1, "only the reference ran");
}

/// The activations and weights that fill a window of `kernel` to its bound, in every way that an extreme can be reached.
fn extremes(kernel: &KernelDesc) -> Vec<(Vec<i8>, Vec<i8>)> {
    let cols = kernel.window * kernel.packing.code.step_cols();
    let all = |trit: i8, activation: i8| (vec![trit; cols], vec![activation; cols]);
    let mut cases: Vec<_> = [-1, 1]
        .into_iter()
        .flat_map(|t| [all(t, -128), all(t, 127)])
        .collect();
    // Digits are largest where a sum just misses the next multiple of the radix: walk one activation of every group.
    for trit in [-1, 1] {
        for a in -128..=127i8 {
            cases.push((vec![trit; cols], vec![a; cols]));
        }
    }
    // Every second column clear: a group's sum then reaches other digits.
    if kernel.packing.code != Code::B2 {
        for a in -128..=127i8 {
            let trits = (0..cols)
                .map(|k| i8::from(k % 5 != 4 && k % 2 == 0))
                .collect();
            cases.push((trits, vec![a; cols]));
        }
    }
    cases
}

/// Whether `kernel` returns the reference's sums for all of [`extremes`], each in every place of a batch.
fn survives(kernel: &KernelDesc) -> bool {
    extremes(kernel).iter().all(|(trits, q)| {
        let tokens = vec![q.clone(); kernel.batch];
        fenced_sums(kernel, 1, trits, &tokens) == expected(1, trits, &tokens)
    })
}

/// Fails unless `wrong`, whose window is a step too long, overflows, and the kernel of `kernels` with the right one does not.
fn catch(wrong: &KernelDesc, mut kernels: impl Iterator<Item = &'static KernelDesc>) {
    let kind = |k: &KernelDesc| (k.isa, k.packing.code, k.variant, k.batch);
    let right = kernels
        .find(|k| kind(k) == kind(wrong) && k.window + 1 == wrong.window)
        .expect("a kernel whose window is one shorter");
    assert!(survives(right), "{} overflows within its window", right.id);
    assert!(
        !survives(wrong),
        "{} has a window beyond the bound, but no test found it",
        wrong.id
    );
}

#[test]
fn a_window_that_is_one_longer_is_caught() {
    let cpu = Cpu::detect();
    let mut caught = Vec::new();
    name_skipped(&cpu, overflowing::KERNELS.iter().map(|k| (k.id, k.isa)));
    for wrong in overflowing::KERNELS.iter().filter(|k| cpu.has(k.isa)) {
        catch(wrong, kernels());
        caught.push(wrong.id);
    }
    eprintln!("overflows found: {caught:?}");
    assert!(
        !caught.is_empty() || cpu.isas() == [crate::Isa::Scalar],
        "no vector kernel was probed"
    );
}

/// Fails unless `kernel` returns the reference's sums for all residues of columns and rows, over the longest sums at both ends,
/// and for what fills a window in every way.
#[cfg(target_arch = "x86_64")]
fn matches_reference(kernel: &KernelDesc) {
    let (step, lanes) = (kernel.packing.code.step_cols(), kernel.packing.lanes);
    let block = kernel.packing.block * step;
    for cols in (1..=2 * step + 1).chain([block - 1, block]) {
        check(kernel, lanes + 1, cols);
    }
    for rows in 1..=(panels_in_strips(kernel) + 1) * lanes + 1 {
        check(kernel, rows, 2 * step + 1);
    }
    for (trit, activation) in [(-1, -128), (1, -128), (-1, 127), (1, 127)] {
        let trits = vec![trit; block];
        let tokens = vec![vec![activation; block]; kernel.batch];
        assert_eq!(
            fenced_sums(kernel, 1, &trits, &tokens),
            expected(1, &trits, &tokens),
            "{} on {block} columns of {trit} times {activation}",
            kernel.id
        );
    }
    assert!(survives(kernel), "{} overflows", kernel.id);
}

/// CPUs with AVX-VNNI are rarer than those with AVX-512VL, and the same instructions have another encoding there.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernels_of_avxvnni_are_right_in_the_encoding_of_avx512vl() {
    if !avx512vl::detected() {
        eprintln!("skipped: this CPU lacks AVX-512VL or its dot products");
        // Whatever has 512-bit dot products has those of 256 bits too.
        assert!(
            !required(Isa::Avx512vnni),
            "REQUIRE_ISA asks for avx512vnni, but this CPU lacks what the kernels of avxvnni need in its place"
        );
        return;
    }
    for kernel in avx512vl::KERNELS {
        matches_reference(kernel);
        for (rows, cols) in [(640, 2560), (2560, 6912)] {
            let block = kernel.packing.block * kernel.packing.code.step_cols();
            check(kernel, rows, cols.min(block));
        }
    }
    eprintln!("{} kernels ran", avx512vl::KERNELS.len());
}
