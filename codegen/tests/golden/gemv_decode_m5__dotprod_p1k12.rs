/// `gemv_decode_m5__dotprod_p1k12`: five trits decoded by small constant tables, multiply-add on dotprod.
///
/// Packing `m5_l4_p1_k12`: 4 rows x 20 columns in 16 bytes a step and panel, 1.600 bits a weight.
/// 22 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 131071). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/mixed.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn gemv_decode_m5__dotprod_p1k12(args: &GemvArgs) {
    // The fields of the first two trits, by the upper six bits of a code.
    const PAIRS: [u8; 64] = {
        let (mut fields, mut index) = ([0; 64], 0);
        while index < 64 {
            let pair = index / 7;
            fields[index] = ((pair / 3) | ((pair % 3) << 2)) as u8;
            index += 1;
        }
        fields
    };
    // What a pair is worth, by its fields.
    const BASES: [u8; 16] = {
        let (mut bases, mut pair) = ([0; 16], 0);
        while pair < 9 {
            bases[(pair / 3) | ((pair % 3) << 2)] = 28 * pair as u8;
            pair += 1;
        }
        bases
    };
    // The fields of the last three trits, by what is left.
    const THREES: [u8; 32] = {
        let (mut fields, mut three) = ([0; 32], 0);
        while three < 27 {
            fields[three] = ((three / 9) | ((three / 3 % 3) << 2) | ((three % 3) << 4))
                as u8;
            three += 1;
        }
        fields
    };
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = vreinterpretq_u8_s32(vdupq_n_s32(correction));
            let table_of_pairs0 = vld1q_u8(PAIRS.as_ptr());
            let table_of_pairs1 = vld1q_u8(PAIRS.as_ptr().add(16));
            let table_of_pairs2 = vld1q_u8(PAIRS.as_ptr().add(32));
            let table_of_pairs3 = vld1q_u8(PAIRS.as_ptr().add(48));
            let table_of_bases0 = vld1q_u8(BASES.as_ptr());
            let table_of_threes0 = vld1q_u8(THREES.as_ptr());
            let table_of_threes1 = vld1q_u8(THREES.as_ptr().add(16));
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0 = vdupq_n_u8(0);
                let mut sum0_1 = vdupq_n_u8(0);
                let mut sum0_2 = vdupq_n_u8(0);
                let mut at = operand;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    prefetch_line(ahead);
                    let activations0 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.cast::<i32>().read_unaligned()),
                    );
                    let activations1 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.add(4).cast::<i32>().read_unaligned()),
                    );
                    let activations2 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.add(8).cast::<i32>().read_unaligned()),
                    );
                    let activations3 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.add(12).cast::<i32>().read_unaligned()),
                    );
                    let activations4 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.add(16).cast::<i32>().read_unaligned()),
                    );
                    let codes = vld1q_u8(weights);
                    let upper = vshrq_n_u8::<2>(codes);
                    let pairs = vqtbl4q_u8(
                        uint8x16x4_t(
                            table_of_pairs0,
                            table_of_pairs1,
                            table_of_pairs2,
                            table_of_pairs3,
                        ),
                        upper,
                    );
                    let rest = vsubq_u8(codes, vqtbl1q_u8(table_of_bases0, pairs));
                    let threes = vqtbl2q_u8(
                        uint8x16x2_t(table_of_threes0, table_of_threes1),
                        rest,
                    );
                    sum0_0 = dot(sum0_0, vandq_u8(pairs, vdupq_n_u8(3)), activations0);
                    sum0_1 = dot(sum0_1, vandq_u8(pairs, vdupq_n_u8(12)), activations1);
                    sum0_0 = dot(sum0_0, vandq_u8(threes, vdupq_n_u8(3)), activations2);
                    sum0_1 = dot(sum0_1, vandq_u8(threes, vdupq_n_u8(12)), activations3);
                    sum0_2 = dot(sum0_2, vandq_u8(threes, vdupq_n_u8(48)), activations4);
                    weights = weights.add(16);
                    at = at.add(20);
                }
                vst1q_u8(
                    out,
                    add32(
                        add32(
                            add32(
                                add32(sum0_0, shift_right_signed32::<2>(sum0_1)),
                                shift_right_signed32::<4>(sum0_2),
                            ),
                            total,
                        ),
                        vld1q_u8(out),
                    ),
                );
                out = out.add(16);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `m5_l4_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn build_m5__dotprod(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<u8>(), args.steps * 20),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 20),
        )
    };
    for (step, out) in activations.chunks_exact(20).zip(operand.chunks_exact_mut(20)) {
        out.copy_from_slice(step);
    }
}

/// `a + b` in 32-bit lanes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// `a >> BY` in signed 32-bit lanes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn shift_right_signed32<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_s32(vshrq_n_s32::<BY>(vreinterpretq_s32_u8(a)))
}

/// `sum` in 32-bit lanes plus the products of signed bytes, four in each lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(sum: uint8x16_t, u: uint8x16_t, s: uint8x16_t) -> uint8x16_t {
    let mut sum = sum;
    // SAFETY: works on three registers and touches nothing else.
    unsafe {
        core::arch::asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in (vreg) u, in
            (vreg) s, options(pure, nomem, nostack, preserves_flags)
        )
    };
    sum
}

/// Asks for the cache line at `at`, which may be any address, in the second-level cache.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn prefetch_line(at: *const u8) {
    // SAFETY: a prefetch neither reads nor writes, whatever the address.
    unsafe {
        core::arch::asm!(
            "prfm pldl2keep, [{}]", in (reg) at, options(nomem, nostack, preserves_flags)
        )
    };
}
