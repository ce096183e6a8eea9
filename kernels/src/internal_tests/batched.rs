//! The two halves of batched products through their raw contracts.

use super::{CANARY, Fenced, name_skipped, overflowing};
use crate::codes;
use crate::contract::{GemmArgs, UnpackArgs};
use crate::cpu::Cpu;
use crate::packing::Packing;
use crate::registry::{GemmDesc, UnpackDesc, gemms, unpacks};

/// Unpacks `steps` steps of a panel in fenced buffers, `spread` times as far apart as a panel's own bytes, with `gap` bytes
/// between quads, and compares every byte.
fn check_unpack(kernel: &UnpackDesc, steps: usize, spread: usize, gap: usize) {
    let packing = Packing {
        code: kernel.code,
        lanes: kernel.lanes,
        panels: spread,
        block: steps,
        group: 0,
    };
    let (step_bytes, step_cols) = (packing.panel_step_bytes(), kernel.code.step_cols());
    let (step_stride, stride) = (spread * step_bytes, 4 * kernel.lanes + gap);
    let trit = |row: usize, col: usize| ((row * 31 + col * 17 + row * col) % 7 % 3) as i8 - 1;
    let mut weights = Fenced::new((steps - 1) * step_stride + step_bytes);
    for step in 0..steps {
        for row in 0..kernel.lanes {
            let trits: Vec<i8> = (0..step_cols)
                .map(|i| trit(row, step * step_cols + i))
                .collect();
            let bytes = &mut weights.bytes()[step * step_stride..][..step_bytes];
            codes::encode(&packing, row, &trits, bytes);
        }
    }
    let period = (1..=4).find(|n| (n * step_cols).is_multiple_of(4)).unwrap();
    let quads = steps.next_multiple_of(period) * step_cols / 4;
    let mut out = Fenced::new((quads - 1) * stride + 4 * kernel.lanes);
    let args = UnpackArgs {
        weights: weights.bytes().as_ptr(),
        step_stride,
        steps,
        out: out.bytes().as_mut_ptr(),
        stride,
    };
    // SAFETY: the buffers have the lengths of the contract, and the callers check the ISA.
    unsafe { (kernel.unpack)(&args) };
    weights.check(kernel.id);
    out.check(kernel.id);
    for (at, &found) in out.bytes().iter().enumerate() {
        let (quad, within) = (at / stride, at % stride);
        let (row, col) = (within / 4, 4 * quad + within % 4);
        let expected = match (row < kernel.lanes, col < steps * step_cols) {
            (false, _) => found == CANARY,
            (true, true) => found == (trit(row, col) + 1) as u8,
            (true, false) => found <= 2,
        };
        assert!(
            expected,
            "{} {steps} steps: row {row} column {col} is {found}",
            kernel.id
        );
    }
}

/// Unpacks runs of every length up to one that no chunk divides.
pub fn unpack_stays_within(kernel: &UnpackDesc) {
    for steps in 1..=9 {
        for spread in [1, 2, 5] {
            for gap in [0, 64] {
                check_unpack(kernel, steps, spread, gap);
            }
        }
    }
}

#[test]
fn unpack_kernels_touch_nothing_outside_their_buffers() {
    let cpu = Cpu::detect();
    name_skipped(&cpu, unpacks().map(|k| (k.id, k.isa)));
    for kernel in unpacks().filter(|k| cpu.has(k.isa)) {
        unpack_stays_within(kernel);
    }
}

/// Whether `kernel` adds exact products to the sums of `tokens` tokens and touches nothing else, for bytes and activations given by
/// place: `u(row, col)` and `a(token, col)`. The rows are those of `strips` strips of `vectors` vectors.
fn multiplies(
    kernel: &GemmDesc,
    [strips, vectors]: [usize; 2],
    quads: usize,
    tokens: usize,
    u: impl Fn(usize, usize) -> u8,
    a: impl Fn(usize, usize) -> i8,
) -> bool {
    // Strides beyond what is needed, so that a kernel that ignores them is found.
    let strip_rows = vectors * kernel.lanes;
    let (rows, strip_bytes) = (strips * strip_rows, 4 * quads * strip_rows);
    let (strip_stride, token_stride, out_stride) = (strip_bytes + 32, 4 * quads + 12, rows + 5);
    let mut weights = Fenced::new((strips - 1) * strip_stride + strip_bytes);
    for (strip, bytes) in weights.bytes().chunks_mut(strip_stride).enumerate() {
        for (at, byte) in bytes[..strip_bytes].iter_mut().enumerate() {
            let (quad, row, col) = (at / (4 * strip_rows), at / 4 % strip_rows, at % 4);
            *byte = u(strip * strip_rows + row, 4 * quad + col);
        }
    }
    let mut activations = Fenced::new((tokens - 1) * token_stride + 4 * quads);
    for (at, byte) in activations.bytes().iter_mut().enumerate() {
        *byte = a(at / token_stride, at % token_stride) as u8;
    }
    let mut out = Fenced::new(4 * ((tokens - 1) * out_stride + rows));
    let args = GemmArgs {
        weights: weights.bytes().as_ptr(),
        strips,
        strip_stride,
        vectors,
        quads,
        activations: activations.bytes().as_ptr().cast(),
        token_stride,
        tokens,
        out: out.bytes().as_mut_ptr().cast(),
        out_stride,
    };
    // SAFETY: the buffers have the lengths of the contract, and the callers check the ISA.
    unsafe { (kernel.gemm)(&args) };
    for buffer in [&weights, &activations, &out] {
        buffer.check(kernel.id);
    }
    let before = i32::from_ne_bytes([CANARY; 4]);
    out.bytes().chunks_exact(4).enumerate().all(|(at, found)| {
        let (token, row) = (at / out_stride, at % out_stride);
        let sum: i32 = (0..4 * quads)
            .filter(|_| row < rows)
            .map(|col| i32::from(u(row, col)) * i32::from(a(token, col)))
            .sum();
        i32::from_ne_bytes([found[0], found[1], found[2], found[3]]) == before + sum
    })
}

/// Multiplies all residues of vectors and tokens around the register tile, for each of these numbers of quads.
fn multiplies_all(kernel: &GemmDesc, quads: &[usize]) {
    for vectors in 1..=2 * kernel.vectors + 1 {
        for tokens in 1..=2 * kernel.tokens + 1 {
            for &quads in quads {
                let strips = 1 + (vectors + tokens + quads) % 3;
                let u = |row: usize, col: usize| ((row * 5 + col * 3) % 7 % 3) as u8;
                let a = |token: usize, col: usize| (token * 91 + col * 37) as i8;
                assert!(
                    multiplies(kernel, [strips, vectors], quads, tokens, u, a),
                    "{} on {strips} strips of {vectors} vectors, {quads} quads, {tokens} tokens",
                    kernel.id
                );
            }
        }
    }
}

/// Multiplies within a window and beyond it.
pub fn gemm_stays_within(kernel: &GemmDesc) {
    let window = kernel.window.unwrap_or(3);
    multiplies_all(kernel, &[1, 2, window, window + 1]);
}

#[test]
fn gemm_kernels_touch_nothing_outside_their_buffers() {
    let cpu = Cpu::detect();
    let mut ran = 0;
    name_skipped(&cpu, gemms().map(|k| (k.id, k.isa)));
    for kernel in gemms().filter(|k| cpu.has(k.isa)) {
        gemm_stays_within(kernel);
        ran += 1;
    }
    assert!(ran > 0, "no gemm kernel ran");
}

/// Whether `kernel` survives a window of its length, filled with the largest products of both signs.
fn survives(kernel: &GemmDesc) -> bool {
    let quads = kernel.window.unwrap_or(1);
    let filled = |a: i8| {
        multiplies(
            kernel,
            [1, kernel.vectors],
            quads,
            kernel.tokens,
            |_, _| 2,
            |_, _| a,
        )
    };
    filled(-128) && filled(127)
}

/// Fails unless `wrong`, whose window is a quad too long, overflows, and the kernel of `gemms` with the right one does not.
pub fn catch(wrong: &GemmDesc, mut gemms: impl Iterator<Item = &'static GemmDesc>) {
    let tile = |k: &GemmDesc| (k.isa, k.vectors, k.tokens);
    let right = gemms.find(|k| tile(k) == tile(wrong));
    let right = right.expect("a kernel whose window is one shorter");
    assert!(survives(right), "{} overflows within its window", right.id);
    assert!(
        !survives(wrong),
        "{} has a window beyond the bound, but no test found it",
        wrong.id
    );
}

#[test]
fn a_gemm_window_that_is_one_longer_is_caught() {
    let cpu = Cpu::detect();
    let mut caught = Vec::new();
    name_skipped(&cpu, overflowing::GEMMS.iter().map(|k| (k.id, k.isa)));
    for wrong in overflowing::GEMMS.iter().filter(|k| cpu.has(k.isa)) {
        catch(wrong, gemms());
        caught.push(wrong.id);
    }
    eprintln!("overflows found: {caught:?}");
    assert!(
        !caught.is_empty() || !cpu.has(crate::Isa::Avx2),
        "no vector kernel was probed"
    );
}

/// As for the matrix-vector kernels of AVX-VNNI: more CPUs have the encoding of AVX-512VL.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_gemm_kernels_of_avxvnni_are_right_in_the_encoding_of_avx512vl() {
    use super::avx512vl;
    if !avx512vl::detected() {
        // Whether it must be here is the business of the test of the matrix-vector kernels.
        eprintln!("skipped: this CPU lacks AVX-512VL or its dot products");
        return;
    }
    for kernel in avx512vl::GEMMS {
        multiplies_all(kernel, &[1, 2, 3, 4, 5]);
        assert!(survives(kernel), "{}", kernel.id);
    }
    assert!(!avx512vl::GEMMS.is_empty(), "no gemm kernel of avxvnni");
}
