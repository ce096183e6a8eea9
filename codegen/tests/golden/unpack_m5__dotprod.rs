/// `unpack_m5__dotprod`: code m5 into the dot-product layout on dotprod.
///
/// Panels of 4 rows, 20 columns in 16 bytes a step. A step makes 5 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn unpack_m5__dotprod(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
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
                fields[three] = ((three / 9) | ((three / 3 % 3) << 2)
                    | ((three % 3) << 4)) as u8;
                three += 1;
            }
            fields
        };
        let table_of_pairs0 = vld1q_u8(PAIRS.as_ptr());
        let table_of_pairs1 = vld1q_u8(PAIRS.as_ptr().add(16));
        let table_of_pairs2 = vld1q_u8(PAIRS.as_ptr().add(32));
        let table_of_pairs3 = vld1q_u8(PAIRS.as_ptr().add(48));
        let table_of_bases0 = vld1q_u8(BASES.as_ptr());
        let table_of_threes0 = vld1q_u8(THREES.as_ptr());
        let table_of_threes1 = vld1q_u8(THREES.as_ptr().add(16));
        for _ in 0..steps {
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
            vst1q_u8(out, vandq_u8(pairs, vdupq_n_u8(3)));
            vst1q_u8(
                out.add(stride),
                vandq_u8(shift_right16::<2>(pairs), vdupq_n_u8(3)),
            );
            vst1q_u8(out.add(2 * stride), vandq_u8(threes, vdupq_n_u8(3)));
            vst1q_u8(
                out.add(3 * stride),
                vandq_u8(shift_right16::<2>(threes), vdupq_n_u8(3)),
            );
            vst1q_u8(
                out.add(4 * stride),
                vandq_u8(shift_right16::<4>(threes), vdupq_n_u8(3)),
            );
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(5 * stride);
        }
    }
}
