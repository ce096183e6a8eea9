//! Golden copies: one small kernel for each ISA and family, with its build function, so that a change to a skeleton shows in
//! review as the Rust that it emits. `TERN_BLESS=1 cargo test -p tern-codegen` rewrites them.

use std::path::PathBuf;

use tern_codegen::KernelSet;

/// One small kernel a line: the ISA's config, then the id.
const KERNELS: [(&str, &str, &str); 23] = [
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
        "family = 'addsub'\ncode = 'planes'",
        "gemv_addsub_planes__avx2_p1k12",
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
        "avx512vbmi",
        "family = 'decode'\ncode = 'd5'",
        "gemv_decode_d5__avx512vbmi_p2k12",
    ),
    (
        "avx512vbmi",
        "family = 'decode'\ncode = 'd3'",
        "gemv_decode_d3__avx512vbmi_p1k12",
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
];

#[test]
fn kernels_read_as_they_did_when_they_were_reviewed() {
    let bless = std::env::var_os("TERN_BLESS").is_some();
    for (isa, row, id) in KERNELS {
        // Some have two panels, so that strips and the single panels after them are both seen.
        let panels = if id.ends_with("p2k12") { 2 } else { 1 };
        let config = format!("[[gemv]]\n{row}\npanels = [{panels}]\nblock = [12]\n");
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
