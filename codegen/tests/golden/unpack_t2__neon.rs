/// `unpack_t2__neon`: code t2 into the dot-product layout on neon.
///
/// Panels of 16 rows, 4 columns in 16 bytes a step. A step makes a quad of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn unpack_t2__neon(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        const TRITS: [u8; 16] = {
            let (mut entries, mut n) = ([0; 16], 0);
            while n < 9 {
                let value = n;
                entries[n] = (value / 3 % 3 + value % 3 * 4) as u8;
                n += 1;
            }
            entries
        };
        let trits0 = vld1q_u8(TRITS.as_ptr());
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
            let codes = vld1q_u8(weights);
            let trits = vqtbl1q_u8(trits0, vandq_u8(codes, vdupq_n_u8(15)));
            let column0 = vandq_u8(trits, vdupq_n_u8(3));
            let column1 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            let trits = vqtbl1q_u8(trits0, vshrq_n_u8::<4>(codes));
            let column2 = vandq_u8(trits, vdupq_n_u8(3));
            let column3 = vandq_u8(vshrq_n_u8::<2>(trits), vdupq_n_u8(3));
            store_quad([column0, column1, column2, column3], out);
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(stride);
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
