/// `gemm_i8__avx512vnni_r2n3`: the dot-product layout times many tokens on avx512vnni.
///
/// Tiles of 2 vectors of 16 rows, and 3 tokens.
/// 9 of 32 vector registers. Sums are `i32` throughout.
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn gemm_i8__avx512vnni_r2n3(args: &GemmArgs) {
    let GemmArgs { strip_stride, vectors, quads, token_stride, out_stride, .. } = *args;
    let stride = vectors * 64;
    let (mut activations, mut sums) = (args.activations.cast::<u8>(), args.out);
    let mut left = args.tokens;
    // Hidden from the compiler, which would add them up in the inner loop.
    let distance2 = core::hint::black_box(2 * token_stride);
    // SAFETY: by the contract of `GemmArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        while left >= 3 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors / 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = _mm512_setzero_si512();
                    let mut sum1_0 = _mm512_setzero_si512();
                    let mut sum0_1 = _mm512_setzero_si512();
                    let mut sum1_1 = _mm512_setzero_si512();
                    let mut sum0_2 = _mm512_setzero_si512();
                    let mut sum1_2 = _mm512_setzero_si512();
                    for _ in 0..quads {
                        let codes0 = _mm512_loadu_si512(at.cast());
                        let codes1 = _mm512_loadu_si512(at.add(64).cast());
                        let a = _mm512_set1_epi32(four.cast::<i32>().read_unaligned());
                        sum0_0 = _mm512_dpbusd_epi32(sum0_0, codes0, a);
                        sum1_0 = _mm512_dpbusd_epi32(sum1_0, codes1, a);
                        let a = _mm512_set1_epi32(
                            four.add(token_stride).cast::<i32>().read_unaligned(),
                        );
                        sum0_1 = _mm512_dpbusd_epi32(sum0_1, codes0, a);
                        sum1_1 = _mm512_dpbusd_epi32(sum1_1, codes1, a);
                        let a = _mm512_set1_epi32(
                            four.add(distance2).cast::<i32>().read_unaligned(),
                        );
                        sum0_2 = _mm512_dpbusd_epi32(sum0_2, codes0, a);
                        sum1_2 = _mm512_dpbusd_epi32(sum1_2, codes1, a);
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_0, _mm512_loadu_si512(rows.cast())),
                    );
                    _mm512_storeu_si512(
                        rows.add(64).cast(),
                        _mm512_add_epi32(sum1_0, _mm512_loadu_si512(rows.add(64).cast())),
                    );
                    let rows = out.add(out_stride).cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_1, _mm512_loadu_si512(rows.cast())),
                    );
                    _mm512_storeu_si512(
                        rows.add(64).cast(),
                        _mm512_add_epi32(sum1_1, _mm512_loadu_si512(rows.add(64).cast())),
                    );
                    let rows = out.add(2 * out_stride).cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_2, _mm512_loadu_si512(rows.cast())),
                    );
                    _mm512_storeu_si512(
                        rows.add(64).cast(),
                        _mm512_add_epi32(sum1_2, _mm512_loadu_si512(rows.add(64).cast())),
                    );
                    weights = weights.wrapping_add(128);
                    out = out.wrapping_add(32);
                }
                for _ in 0..vectors % 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = _mm512_setzero_si512();
                    let mut sum0_1 = _mm512_setzero_si512();
                    let mut sum0_2 = _mm512_setzero_si512();
                    for _ in 0..quads {
                        let codes0 = _mm512_loadu_si512(at.cast());
                        let a = _mm512_set1_epi32(four.cast::<i32>().read_unaligned());
                        sum0_0 = _mm512_dpbusd_epi32(sum0_0, codes0, a);
                        let a = _mm512_set1_epi32(
                            four.add(token_stride).cast::<i32>().read_unaligned(),
                        );
                        sum0_1 = _mm512_dpbusd_epi32(sum0_1, codes0, a);
                        let a = _mm512_set1_epi32(
                            four.add(distance2).cast::<i32>().read_unaligned(),
                        );
                        sum0_2 = _mm512_dpbusd_epi32(sum0_2, codes0, a);
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_0, _mm512_loadu_si512(rows.cast())),
                    );
                    let rows = out.add(out_stride).cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_1, _mm512_loadu_si512(rows.cast())),
                    );
                    let rows = out.add(2 * out_stride).cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_2, _mm512_loadu_si512(rows.cast())),
                    );
                    weights = weights.wrapping_add(64);
                    out = out.wrapping_add(16);
                }
                strip = strip.wrapping_add(strip_stride);
            }
            activations = activations.wrapping_add(3 * token_stride);
            sums = sums.wrapping_add(3 * out_stride);
            left -= 3;
        }
        // Tokens that fill no tile go through narrower ones.
        while left >= 1 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors / 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = _mm512_setzero_si512();
                    let mut sum1_0 = _mm512_setzero_si512();
                    for _ in 0..quads {
                        let codes0 = _mm512_loadu_si512(at.cast());
                        let codes1 = _mm512_loadu_si512(at.add(64).cast());
                        let a = _mm512_set1_epi32(four.cast::<i32>().read_unaligned());
                        sum0_0 = _mm512_dpbusd_epi32(sum0_0, codes0, a);
                        sum1_0 = _mm512_dpbusd_epi32(sum1_0, codes1, a);
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_0, _mm512_loadu_si512(rows.cast())),
                    );
                    _mm512_storeu_si512(
                        rows.add(64).cast(),
                        _mm512_add_epi32(sum1_0, _mm512_loadu_si512(rows.add(64).cast())),
                    );
                    weights = weights.wrapping_add(128);
                    out = out.wrapping_add(32);
                }
                for _ in 0..vectors % 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = _mm512_setzero_si512();
                    for _ in 0..quads {
                        let codes0 = _mm512_loadu_si512(at.cast());
                        let a = _mm512_set1_epi32(four.cast::<i32>().read_unaligned());
                        sum0_0 = _mm512_dpbusd_epi32(sum0_0, codes0, a);
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    _mm512_storeu_si512(
                        rows.cast(),
                        _mm512_add_epi32(sum0_0, _mm512_loadu_si512(rows.cast())),
                    );
                    weights = weights.wrapping_add(64);
                    out = out.wrapping_add(16);
                }
                strip = strip.wrapping_add(strip_stride);
            }
            activations = activations.wrapping_add(token_stride);
            sums = sums.wrapping_add(out_stride);
            left -= 1;
        }
    }
}
