/// `gemm_i8__avxvnni_r2n1`: the dot-product layout times many tokens on avxvnni.
///
/// Tiles of 2 vectors of 8 rows, and 1 tokens.
/// 5 of 16 vector registers. Sums are `i32` throughout.
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn gemm_i8__avxvnni_r2n1(args: &GemmArgs) {
    let GemmArgs { strip_stride, vectors, quads, token_stride, out_stride, .. } = *args;
    let stride = vectors * 32;
    let (mut activations, mut sums) = (args.activations.cast::<u8>(), args.out);
    let mut left = args.tokens;
    // SAFETY: by the contract of `GemmArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        while left >= 1 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors / 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = _mm256_setzero_si256();
                    let mut sum1_0 = _mm256_setzero_si256();
                    for _ in 0..quads / 2 {
                        // Two quads a turn: the compiler unrolls the inner loop.
                        for _ in 0..2 {
                            let codes0 = _mm256_loadu_si256(at.cast());
                            let codes1 = _mm256_loadu_si256(at.add(32).cast());
                            let a = _mm256_set1_epi32(
                                four.cast::<i32>().read_unaligned(),
                            );
                            sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, codes0, a);
                            sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, codes1, a);
                            at = at.wrapping_add(stride);
                            four = four.wrapping_add(4);
                        }
                    }
                    if quads % 2 == 1 {
                        let codes0 = _mm256_loadu_si256(at.cast());
                        let codes1 = _mm256_loadu_si256(at.add(32).cast());
                        let a = _mm256_set1_epi32(four.cast::<i32>().read_unaligned());
                        sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, codes0, a);
                        sum1_0 = _mm256_dpbusd_avx_epi32(sum1_0, codes1, a);
                    }
                    let rows = out.cast::<u8>();
                    _mm256_storeu_si256(
                        rows.cast(),
                        _mm256_add_epi32(sum0_0, _mm256_loadu_si256(rows.cast())),
                    );
                    _mm256_storeu_si256(
                        rows.add(32).cast(),
                        _mm256_add_epi32(sum1_0, _mm256_loadu_si256(rows.add(32).cast())),
                    );
                    weights = weights.wrapping_add(64);
                    out = out.wrapping_add(16);
                }
                for _ in 0..vectors % 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = _mm256_setzero_si256();
                    for _ in 0..quads {
                        let codes0 = _mm256_loadu_si256(at.cast());
                        let a = _mm256_set1_epi32(four.cast::<i32>().read_unaligned());
                        sum0_0 = _mm256_dpbusd_avx_epi32(sum0_0, codes0, a);
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    _mm256_storeu_si256(
                        rows.cast(),
                        _mm256_add_epi32(sum0_0, _mm256_loadu_si256(rows.cast())),
                    );
                    weights = weights.wrapping_add(32);
                    out = out.wrapping_add(8);
                }
                strip = strip.wrapping_add(strip_stride);
            }
            activations = activations.wrapping_add(token_stride);
            sums = sums.wrapping_add(out_stride);
            left -= 1;
        }
    }
}
