/// `unpack_f3__neon`: code f3 into the dot-product layout on neon.
///
/// Panels of 16 rows, 24 columns in 80 bytes a step. A step makes 6 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn unpack_f3__neon(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        const TRITS: [u8; 32] = {
            let (mut entries, mut n) = ([0; 32], 0);
            while n < 27 {
                let value = n;
                entries[n] = (value / 9 % 3 + value / 3 % 3 * 4 + value % 3 * 16) as u8;
                n += 1;
            }
            entries
        };
        let trits0 = vld1q_u8(TRITS.as_ptr());
        let trits1 = vld1q_u8(TRITS.as_ptr().add(16));
        // Transposes bytes within 32-bit lanes: four columns become the quads of four quarters of
        // the rows.
        let (even, low) = (
            vreinterpretq_u8_s16(vdupq_n_s16(0x00ff)),
            vreinterpretq_u8_s32(vdupq_n_s32(0x0000_ffff)),
        );
        let store_quad = |[a, b, c, d]: [uint8x16_t; 4], out: *mut u8| {
            let (ab_even, ab_odd) = (
                vbslq_u8(even, a, shift_left16::<8>(b)),
                vbslq_u8(even, shift_right16::<8>(a), b),
            );
            let (cd_even, cd_odd) = (
                vbslq_u8(even, c, shift_left16::<8>(d)),
                vbslq_u8(even, shift_right16::<8>(c), d),
            );
            vst1q_u8(out, vbslq_u8(low, ab_even, shift_left32::<16>(cd_even)));
            vst1q_u8(out.add(16), vbslq_u8(low, ab_odd, shift_left32::<16>(cd_odd)));
            vst1q_u8(out.add(32), vbslq_u8(low, shift_right32::<16>(ab_even), cd_even));
            vst1q_u8(out.add(48), vbslq_u8(low, shift_right32::<16>(ab_odd), cd_odd));
        };
        for _ in 0..steps {
            let (fifths, places) = (vld1q_u8(weights.add(64)), vdupq_n_u8(17));
            let (codes, bits) = (vld1q_u8(weights), vandq_u8(fifths, places));
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsliq_n_u8::<4>(codes, bits),
            );
            let column0 = vandq_u8(trits, vdupq_n_u8(3));
            let column1 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column2 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsriq_n_u8::<4>(bits, codes),
            );
            let column3 = vandq_u8(trits, vdupq_n_u8(3));
            let column4 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column5 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            let (codes, bits) = (
                vld1q_u8(weights.add(16)),
                vandq_u8(vshrq_n_u8::<1>(fifths), places),
            );
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsliq_n_u8::<4>(codes, bits),
            );
            let column6 = vandq_u8(trits, vdupq_n_u8(3));
            let column7 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column8 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsriq_n_u8::<4>(bits, codes),
            );
            let column9 = vandq_u8(trits, vdupq_n_u8(3));
            let column10 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column11 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            let (codes, bits) = (
                vld1q_u8(weights.add(32)),
                vandq_u8(vshrq_n_u8::<2>(fifths), places),
            );
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsliq_n_u8::<4>(codes, bits),
            );
            let column12 = vandq_u8(trits, vdupq_n_u8(3));
            let column13 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column14 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsriq_n_u8::<4>(bits, codes),
            );
            let column15 = vandq_u8(trits, vdupq_n_u8(3));
            let column16 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column17 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            let (codes, bits) = (
                vld1q_u8(weights.add(48)),
                vandq_u8(vshrq_n_u8::<3>(fifths), places),
            );
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsliq_n_u8::<4>(codes, bits),
            );
            let column18 = vandq_u8(trits, vdupq_n_u8(3));
            let column19 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column20 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            let trits = vqtbl2q_u8(
                uint8x16x2_t(trits0, trits1),
                vsriq_n_u8::<4>(bits, codes),
            );
            let column21 = vandq_u8(trits, vdupq_n_u8(3));
            let column22 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let column23 = vandq_u8(vshrq_n_u8::<4>(trits), vdupq_n_u8(3));
            store_quad([column0, column1, column2, column3], out);
            store_quad([column4, column5, column6, column7], out.add(stride));
            store_quad([column8, column9, column10, column11], out.add(2 * stride));
            store_quad([column12, column13, column14, column15], out.add(3 * stride));
            store_quad([column16, column17, column18, column19], out.add(4 * stride));
            store_quad([column20, column21, column22, column23], out.add(5 * stride));
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(6 * stride);
        }
    }
}

/// `a >> BY` in unsigned 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_right16<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vshrq_n_u16::<BY>(vreinterpretq_u16_u8(a)))
}

/// `a >> BY` in unsigned 32-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_right32<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vshrq_n_u32::<BY>(vreinterpretq_u32_u8(a)))
}

/// `a << BY` in 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_left16<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vshlq_n_u16::<BY>(vreinterpretq_u16_u8(a)))
}

/// `a << BY` in 32-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_left32<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vshlq_n_u32::<BY>(vreinterpretq_u32_u8(a)))
}
