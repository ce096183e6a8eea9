/// `unpack_b2__avx512vnni`: code b2 into the dot-product layout on avx512vnni.
///
/// Panels of 16 rows, 16 columns in 64 bytes a step. A step makes 4 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn unpack_b2__avx512vnni(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for _ in 0..steps {
            let codes = _mm512_loadu_si512(weights.cast());
            _mm512_storeu_si512(
                out.cast(),
                _mm512_and_si512(codes, _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(codes), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(2 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<4>(codes), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(3 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<6>(codes), _mm512_set1_epi8(3)),
            );
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(4 * stride);
        }
    }
}
