/// `unpack_b2__neon`: code b2 into the dot-product layout on neon.
///
/// Panels of 4 rows, 16 columns in 16 bytes a step. A step makes 4 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn unpack_b2__neon(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for _ in 0..steps {
            let codes = vld1q_u8(weights);
            vst1q_u8(out, vandq_u8(codes, vdupq_n_u8(3)));
            vst1q_u8(out.add(stride), vandq_u8(vshrq_n_u8::<2>(codes), vdupq_n_u8(3)));
            vst1q_u8(
                out.add(2 * stride),
                vandq_u8(vshrq_n_u8::<4>(codes), vdupq_n_u8(3)),
            );
            vst1q_u8(out.add(3 * stride), vshrq_n_u8::<6>(codes));
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(4 * stride);
        }
    }
}
