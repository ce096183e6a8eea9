/// `unpack_b2__avx2`: code b2 into the dot-product layout on avx2.
///
/// Panels of 8 rows, 16 columns in 32 bytes a step. A step makes 4 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn unpack_b2__avx2(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for _ in 0..steps {
            let codes = _mm256_loadu_si256(weights.cast());
            _mm256_storeu_si256(
                out.cast(),
                _mm256_and_si256(codes, _mm256_set1_epi8(3)),
            );
            _mm256_storeu_si256(
                out.add(stride).cast(),
                _mm256_and_si256(_mm256_srli_epi16::<2>(codes), _mm256_set1_epi8(3)),
            );
            _mm256_storeu_si256(
                out.add(2 * stride).cast(),
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), _mm256_set1_epi8(3)),
            );
            _mm256_storeu_si256(
                out.add(3 * stride).cast(),
                _mm256_and_si256(_mm256_srli_epi16::<6>(codes), _mm256_set1_epi8(3)),
            );
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(4 * stride);
        }
    }
}
