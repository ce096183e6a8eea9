/// `unpack_planes__simd128`: code planes into the dot-product layout on simd128.
///
/// Panels of 16 rows, 8 columns in 32 bytes a step. A step makes 2 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn unpack_planes__simd128(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        // Transposes bytes within 32-bit lanes: four columns become the quads of four quarters of
        // the rows.
        let (even, low) = (i16x8_splat(0x00ff), i32x4_splat(0x0000_ffff));
        let store_quad = |[a, b, c, d]: [v128; 4], out: *mut u8| {
            let (ab_even, ab_odd) = (
                v128_bitselect(a, i16x8_shl(b, 8), even),
                v128_bitselect(u16x8_shr(a, 8), b, even),
            );
            let (cd_even, cd_odd) = (
                v128_bitselect(c, i16x8_shl(d, 8), even),
                v128_bitselect(u16x8_shr(c, 8), d, even),
            );
            v128_store(out.cast(), v128_bitselect(ab_even, i32x4_shl(cd_even, 16), low));
            v128_store(
                out.add(16).cast(),
                v128_bitselect(ab_odd, i32x4_shl(cd_odd, 16), low),
            );
            v128_store(
                out.add(32).cast(),
                v128_bitselect(u32x4_shr(ab_even, 16), cd_even, low),
            );
            v128_store(
                out.add(48).cast(),
                v128_bitselect(u32x4_shr(ab_odd, 16), cd_odd, low),
            );
        };
        for _ in 0..steps {
            let one = i8x16_splat(1);
            let (plus, minus) = (
                v128_load(weights.cast()),
                v128_load(weights.add(16).cast()),
            );
            let column0 = i8x16_sub(
                i8x16_add(one, v128_and(u16x8_shr(plus, 7), one)),
                v128_and(u16x8_shr(minus, 7), one),
            );
            let column1 = i8x16_sub(
                i8x16_add(one, v128_and(u16x8_shr(plus, 6), one)),
                v128_and(u16x8_shr(minus, 6), one),
            );
            let column2 = i8x16_sub(
                i8x16_add(one, v128_and(u16x8_shr(plus, 5), one)),
                v128_and(u16x8_shr(minus, 5), one),
            );
            let column3 = i8x16_sub(
                i8x16_add(one, v128_and(u16x8_shr(plus, 4), one)),
                v128_and(u16x8_shr(minus, 4), one),
            );
            let column4 = i8x16_sub(
                i8x16_add(one, v128_and(u16x8_shr(plus, 3), one)),
                v128_and(u16x8_shr(minus, 3), one),
            );
            let column5 = i8x16_sub(
                i8x16_add(one, v128_and(u16x8_shr(plus, 2), one)),
                v128_and(u16x8_shr(minus, 2), one),
            );
            let column6 = i8x16_sub(
                i8x16_add(one, v128_and(u16x8_shr(plus, 1), one)),
                v128_and(u16x8_shr(minus, 1), one),
            );
            let column7 = i8x16_sub(
                i8x16_add(one, v128_and(plus, one)),
                v128_and(minus, one),
            );
            store_quad([column0, column1, column2, column3], out);
            store_quad([column4, column5, column6, column7], out.add(stride));
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(2 * stride);
        }
    }
}
