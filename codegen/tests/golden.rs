//! Golden copies: one small kernel for each ISA and family, with its build function, so that a change to a skeleton shows in
//! review as the Rust that it emits. `TERN_BLESS=1 cargo test -p tern-codegen` rewrites them.

use std::path::PathBuf;

use tern_codegen::KernelSet;

/// One small kernel a line, those for several tokens at once last: the ISA's config, then the id.
const KERNELS: &[(&str, &str, &str)] = &[
    (
        "scalar",
        "family = 'lut'\ncode = 't5'",
        "gemv_lut_t5__scalar_p1k12",
    ),
    (
        "scalar",
        "family = 'mad'\ncode = 'b2'",
        "gemv_mad_b2__scalar_p1k12",
    ),
    (
        "scalar",
        "family = 'addsub'\ncode = 'planes'",
        "gemv_addsub_planes__scalar_p1k12",
    ),
    (
        "ssse3",
        "family = 'lut'\ncode = 't2'\nwindow = 4",
        "gemv_lut_t2__ssse3_p1k12w4",
    ),
    (
        "ssse3",
        "family = 'lut'\ncode = 't3'",
        "gemv_lut_t3__ssse3_p1k12",
    ),
    (
        "ssse3",
        "family = 'bitserial'\ncode = 's4'\nwindow = 4",
        "gemv_bitserial_s4__ssse3_p1k12w4",
    ),
    (
        "ssse3",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nwindow = 12",
        "gemv_mad_b2__ssse3_classic_p1k12w12",
    ),
    (
        "ssse3",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'\nwindow = 6",
        "gemv_mad_b2__ssse3_shiftfree_p1k12w6",
    ),
    (
        "ssse3",
        "family = 'addsub'\ncode = 'planes'",
        "gemv_addsub_planes__ssse3_p1k12",
    ),
    (
        "avx2",
        "family = 'lut'\ncode = 'p3'\nwindow = 6",
        "gemv_lut_p3__avx2_p1k12w6",
    ),
    (
        "avx2",
        "family = 'lut'\ncode = 't2'\nwindow = 4",
        "gemv_lut_t2__avx2_p1k12w4",
    ),
    (
        "avx2",
        "family = 'lut'\ncode = 't3'",
        "gemv_lut_t3__avx2_p1k12",
    ),
    (
        "avx2",
        "family = 'bitserial'\ncode = 's4'\nwindow = 4",
        "gemv_bitserial_s4__avx2_p1k12w4",
    ),
    (
        "avx2",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nwindow = 12",
        "gemv_mad_b2__avx2_classic_p1k12w12",
    ),
    (
        "avx2",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'\nwindow = 6",
        "gemv_mad_b2__avx2_shiftfree_p1k12w6",
    ),
    (
        "avx2",
        "family = 'decode'\ncode = 'm5'",
        "gemv_decode_m5__avx2_p1k12",
    ),
    (
        "avx2",
        "family = 'addsub'\ncode = 'planes'",
        "gemv_addsub_planes__avx2_p1k12",
    ),
    (
        "avxvnni",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'",
        "gemv_mad_b2__avxvnni_classic_p1k12",
    ),
    (
        "avxvnni",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'",
        "gemv_mad_b2__avxvnni_shiftfree_p1k12",
    ),
    (
        "avx512bw",
        "family = 'lut'\ncode = 't3'",
        "gemv_lut_t3__avx512bw_p1k12",
    ),
    (
        "avx512bw",
        "family = 'bitserial'\ncode = 's4'\nwindow = 4",
        "gemv_bitserial_s4__avx512bw_p1k12w4",
    ),
    (
        "avx512bw",
        "family = 'lut'\ncode = 'w3'",
        "gemv_lut_w3__avx512bw_p1k12w12",
    ),
    (
        "avx512bw",
        "family = 'addsub'\ncode = 'planes'",
        "gemv_addsub_planes__avx512bw_p1k12",
    ),
    (
        "avx512vnni",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'",
        "gemv_mad_b2__avx512vnni_shiftfree_p2k12",
    ),
    (
        "avx512vbmi",
        "family = 'lut'\ncode = 't5'",
        "gemv_lut_t5__avx512vbmi_p1k12",
    ),
    (
        "avx512vbmi",
        "family = 'lut'\ncode = 't7'",
        "gemv_lut_t7__avx512vbmi_p1k12",
    ),
    (
        "scalar",
        "family = 'mad'\ncode = 'b2'\nscales = 'groups'",
        "gemv_mad_b2_groups__scalar_p1k12",
    ),
    (
        "avx512vbmi",
        "family = 'lut'\ncode = 't5'\nscales = 'groups'",
        "gemv_lut_t5_groups__avx512vbmi_p1k12",
    ),
    (
        "avx512bw",
        "family = 'lut'\ncode = 'w3'\nwindow = 6\nscales = 'groups'",
        "gemv_lut_w3_groups__avx512bw_p1k12w6",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'd5'\nscales = 'groups'",
        "gemv_decode_d5_groups__avx512vbmi_p1k12",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'd5'",
        "gemv_decode_d5__avx512vbmi_p2k12",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'r5'",
        "gemv_decode_r5__avx512vbmi_p1k12",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'd3'",
        "gemv_decode_d3__avx512vbmi_p1k12",
    ),
    (
        "neon",
        "family = 'lut'\ncode = 't2'\nwindow = 4",
        "gemv_lut_t2__neon_p1k12w4",
    ),
    (
        "neon",
        "family = 'lut'\ncode = 't3'",
        "gemv_lut_t3__neon_p1k12",
    ),
    (
        "neon",
        "family = 'lut'\ncode = 'f3'",
        "gemv_lut_f3__neon_p1k12",
    ),
    (
        "neon",
        "family = 'bitserial'\ncode = 's4'\nwindow = 4",
        "gemv_bitserial_s4__neon_p1k12w4",
    ),
    (
        "neon",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nwindow = 12",
        "gemv_mad_b2__neon_classic_p1k12w12",
    ),
    (
        "neon",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'\nwindow = 12",
        "gemv_mad_b2__neon_shiftfree_p1k12w12",
    ),
    (
        "neon",
        "family = 'addsub'\ncode = 'planes'",
        "gemv_addsub_planes__neon_p1k12",
    ),
    (
        "dotprod",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'",
        "gemv_mad_b2__dotprod_shiftfree_p1k12",
    ),
    (
        "dotprod",
        "family = 'decode'\ncode = 'm5'",
        "gemv_decode_m5__dotprod_p1k12",
    ),
    (
        "i8mm",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'",
        "gemv_mad_b2__i8mm_shiftfree_p1k12",
    ),
    (
        "simd128",
        "family = 'lut'\ncode = 't3'",
        "gemv_lut_t3__simd128_p1k12",
    ),
    (
        "simd128",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'",
        "gemv_mad_b2__simd128_classic_p2k12",
    ),
    (
        "simd128",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'",
        "gemv_mad_b2__simd128_shiftfree_p1k12",
    ),
    (
        "simd128",
        "family = 'addsub'\ncode = 'planes'",
        "gemv_addsub_planes__simd128_p1k12",
    ),
    (
        "relaxed",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'",
        "gemv_mad_b2__relaxed_shiftfree_p1k12",
    ),
    (
        "ssse3",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nwindow = 12\nbatch = [1, 2]",
        "gemv_mad_b2__ssse3_classic_p1k12w12n2",
    ),
    (
        "ssse3",
        "family = 'lut'\ncode = 't3'\nbatch = [1, 2]",
        "gemv_lut_t3__ssse3_p1k12n2",
    ),
    (
        "avx2",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nwindow = 12\nbatch = [1, 2]",
        "gemv_mad_b2__avx2_classic_p2k12w12n2",
    ),
    (
        "avx2",
        "family = 'lut'\ncode = 't3'\nbatch = [1, 2]",
        "gemv_lut_t3__avx2_p1k12n2",
    ),
    (
        "avx2",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'\nwindow = 6\nscales = 'groups'\nstrips = 'distant'",
        "gemv_mad_b2_groups__avx2_shiftfree_p2k12w6d",
    ),
    (
        "avx2",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'\nwindow = 6\nscales = 'groups'\nbatch = [1, 2]",
        "gemv_mad_b2_groups__avx2_shiftfree_p1k12w6n2",
    ),
    (
        "avxvnni",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nbatch = [1, 3]",
        "gemv_mad_b2__avxvnni_classic_p1k12n3",
    ),
    (
        "avxvnni",
        "family = 'decode'\ncode = 'm5'\nbatch = [1, 2]",
        "gemv_decode_m5__avxvnni_p1k12n2",
    ),
    (
        "avx512bw",
        "family = 'lut'\ncode = 't3'\nbatch = [1, 2]",
        "gemv_lut_t3__avx512bw_p1k12n2",
    ),
    (
        "avx512bw",
        "family = 'lut'\ncode = 'w3'\nbatch = [1, 2]",
        "gemv_lut_w3__avx512bw_p1k12w12n2",
    ),
    (
        "avx512vnni",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'\nbatch = [1, 2]",
        "gemv_mad_b2__avx512vnni_shiftfree_p1k12n2",
    ),
    (
        "avx512vbmi",
        "family = 'lut'\ncode = 't5'\nbatch = [1, 2]",
        "gemv_lut_t5__avx512vbmi_p1k12n2",
    ),
    (
        "avx512vbmi",
        "family = 'lut'\ncode = 't7'\nbatch = [1, 2]",
        "gemv_lut_t7__avx512vbmi_p1k12n2",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'd5'\nbatch = [1, 2]",
        "gemv_decode_d5__avx512vbmi_p2k12n2",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'r5'\nbatch = [1, 2]",
        "gemv_decode_r5__avx512vbmi_p1k12n2",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'd3'\nbatch = [1, 2]",
        "gemv_decode_d3__avx512vbmi_p1k12n2",
    ),
    (
        "neon",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nwindow = 12\nbatch = [1, 2]",
        "gemv_mad_b2__neon_classic_p1k12w12n2",
    ),
    (
        "neon",
        "family = 'lut'\ncode = 't2'\nwindow = 4\nbatch = [1, 2]",
        "gemv_lut_t2__neon_p1k12w4n2",
    ),
    (
        "neon",
        "family = 'lut'\ncode = 't3'\nbatch = [1, 2]",
        "gemv_lut_t3__neon_p1k12n2",
    ),
    (
        "neon",
        "family = 'lut'\ncode = 'f3'\nbatch = [1, 2]",
        "gemv_lut_f3__neon_p1k12n2",
    ),
    (
        "dotprod",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nbatch = [1, 2]",
        "gemv_mad_b2__dotprod_classic_p1k12n2",
    ),
    (
        "dotprod",
        "family = 'decode'\ncode = 'm5'\nbatch = [1, 2]",
        "gemv_decode_m5__dotprod_p1k12n2",
    ),
    (
        "i8mm",
        "family = 'mad'\ncode = 'b2'\nvariant = 'shiftfree'\nbatch = [1, 2]",
        "gemv_mad_b2__i8mm_shiftfree_p1k12n2",
    ),
    (
        "simd128",
        "family = 'mad'\ncode = 'b2'\nvariant = 'classic'\nbatch = [1, 2]",
        "gemv_mad_b2__simd128_classic_p1k12n2",
    ),
    (
        "simd128",
        "family = 'lut'\ncode = 't3'\nbatch = [1, 2]",
        "gemv_lut_t3__simd128_p1k12n2",
    ),
];

/// The same for batched products: a small tile shows all that a large one has, and every code is unpacked in its own way.
const BATCHED: &[(&str, &str, &str)] = &[
    ("avx2", "[[unpack]]\ncode = ['b2']", "unpack_b2__avx2"),
    ("avx2", "[[unpack]]\ncode = ['t3']", "unpack_t3__avx2"),
    ("avx2", "[[unpack]]\ncode = ['s4']", "unpack_s4__avx2"),
    ("avx2", "[[unpack]]\ncode = ['m5']", "unpack_m5__avx2"),
    (
        "avx512bw",
        "[[unpack]]\ncode = ['w3']",
        "unpack_w3__avx512bw",
    ),
    (
        "avx512bw",
        "[[unpack]]\ncode = ['planes']",
        "unpack_planes__avx512bw",
    ),
    (
        "avx512vbmi",
        "[[unpack]]\ncode = ['t5']",
        "unpack_t5__avx512vbmi",
    ),
    (
        "avx512vbmi",
        "[[unpack]]\ncode = ['t7']",
        "unpack_t7__avx512vbmi",
    ),
    ("dotprod", "[[unpack]]\ncode = ['m5']", "unpack_m5__dotprod"),
    (
        "scalar",
        "[[gemm]]\nvectors = [1]\ntokens = [1]",
        "gemm_i8__scalar_r1n1",
    ),
    (
        "avx2",
        "[[gemm]]\nvectors = [2]\ntokens = [2]",
        "gemm_i8__avx2_r2n2",
    ),
    (
        "avx512vnni",
        "[[gemm]]\nvectors = [2]\ntokens = [3]",
        "gemm_i8__avx512vnni_r2n3",
    ),
    ("ssse3", "[[unpack]]\ncode = ['t2']", "unpack_t2__ssse3"),
    (
        "avx512vnni",
        "[[unpack]]\ncode = ['b2']",
        "unpack_b2__avx512vnni",
    ),
    (
        "avx512vbmi",
        "[[unpack]]\ncode = ['d3']",
        "unpack_d3__avx512vbmi",
    ),
    (
        "avx512vbmi",
        "[[unpack]]\ncode = ['r5']",
        "unpack_r5__avx512vbmi",
    ),
    (
        "avx512vbmi",
        "[[unpack]]\ncode = ['d5']",
        "unpack_d5__avx512vbmi",
    ),
    ("neon", "[[unpack]]\ncode = ['t2']", "unpack_t2__neon"),
    ("neon", "[[unpack]]\ncode = ['f3']", "unpack_f3__neon"),
    ("neon", "[[unpack]]\ncode = ['b2']", "unpack_b2__neon"),
    (
        "simd128",
        "[[unpack]]\ncode = ['planes']",
        "unpack_planes__simd128",
    ),
    (
        "ssse3",
        "[[gemm]]\nvectors = [2]\ntokens = [1]",
        "gemm_i8__ssse3_r2n1",
    ),
    (
        "avxvnni",
        "[[gemm]]\nvectors = [2]\ntokens = [1]",
        "gemm_i8__avxvnni_r2n1",
    ),
    (
        "neon",
        "[[gemm]]\nvectors = [2]\ntokens = [1]",
        "gemm_i8__neon_r2n1",
    ),
    (
        "dotprod",
        "[[gemm]]\nvectors = [2]\ntokens = [1]",
        "gemm_i8__dotprod_r2n1",
    ),
    (
        "i8mm",
        "[[gemm]]\nvectors = [1]\ntokens = [4]",
        "gemm_i8__i8mm_r1n4",
    ),
    (
        "simd128",
        "[[gemm]]\nvectors = [2]\ntokens = [1]",
        "gemm_i8__simd128_r2n1",
    ),
];

#[test]
fn kernels_read_as_they_did_when_they_were_reviewed() {
    let bless = std::env::var_os("TERN_BLESS").is_some();
    let gemv = KERNELS.iter().map(|&(isa, row, id)| {
        // Some have two panels, so that strips and the single panels after them are both seen.
        let panels = if id.contains("p2k12") { 2 } else { 1 };
        let config = format!("[[gemv]]\n{row}\npanels = [{panels}]\nblock = [12]\n");
        (isa, config, id)
    });
    let batched = BATCHED
        .iter()
        .map(|&(isa, config, id)| (isa, config.to_owned(), id));
    for (isa, config, id) in gemv.into_iter().chain(batched) {
        let set = KernelSet::from_texts([(format!("{isa}.toml"), config)]).unwrap();
        let text = set.show(id).unwrap();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{id}.rs"));
        if bless {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            golden == text,
            "{id} is emitted differently than in {}; if the change is meant, review it after\n\
             TERN_BLESS=1 cargo test -p tern-codegen",
            path.display()
        );
    }
}
