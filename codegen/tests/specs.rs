//! Configs: what is accepted becomes kernels, what is not is refused with file, row and reason.

use std::path::{Path, PathBuf};

use tern_codegen::isa::Isa;
use tern_codegen::spec::{self, Code};
use tern_codegen::{
    Error, GemmSpec, KernelSet, KernelSpec, Scales, Strips, Target, UnpackSpec, budget, config_dir,
    write,
};

const X86_64: Target<'static> = Target {
    arch: "x86_64",
    features: "",
};

/// The message that a config for `isa` is refused with.
fn refusal(isa: &str, config: &str) -> String {
    let set = KernelSet::from_texts([(format!("{isa}.toml"), config.to_owned())]);
    match set {
        Ok(set) => panic!("accepted {:?}", set.specs()),
        Err(error) => error.to_string(),
    }
}

/// A row of a lookup kernel with five trits.
fn t5(panels: &str, block: &str, more: &str) -> String {
    format!(
        "[[gemv]]\nfamily = \"lut\"\ncode = \"t5\"\npanels = {panels}\nblock = {block}\n{more}\n"
    )
}

fn assert_mentions(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
}

#[test]
fn a_tile_that_does_not_divide_is_refused() {
    let message = refusal("avx512vbmi", &t5("[1]", "[49]", ""));
    assert_mentions(
        &message,
        &["avx512vbmi.toml", "row 1", "block = 49", "window of 6"],
    );
}

#[test]
fn too_many_registers_are_refused() {
    let good = t5("[1]", "[48]", "");
    let message = refusal("avx512vbmi", &format!("{good}{}", t5("[16]", "[48]", "")));
    assert_mentions(
        &message,
        &["row 2", "panels = 16", "39 vector registers", "has 32"],
    );
}

#[test]
fn a_window_beyond_the_bound_is_refused() {
    let message = refusal("avx512vbmi", &t5("[1]", "[49]", "window = 7"));
    assert_mentions(&message, &["row 1", "window = 7", "after 6", "overflow"]);
    let mad = "[[gemv]]\nfamily = \"mad\"\ncode = \"b2\"\nvariant = \"shiftfree\"\npanels = [1]\nblock = [9]\nwindow = 9\n";
    assert_mentions(&refusal("avx2", mad), &["window = 9", "after 8"]);
}

#[test]
fn a_block_beyond_the_bound_of_16_bits_is_refused() {
    let message = refusal("avx512vbmi", &t5("[1]", "[1548]", ""));
    assert_mentions(&message, &["block = 1548", "after 1542"]);
}

#[test]
fn what_an_isa_cannot_spell_is_refused() {
    let message = refusal("avx2", &t5("[1]", "[6]", ""));
    assert_mentions(&message, &["avx2 has no lut kernel for code t5", "lut t3"]);
    assert_mentions(
        &refusal("scalar", &t5("[2]", "[6]", "")),
        &["panels = 2", "one panel"],
    );
}

#[test]
fn a_sparse_prefetch_asks_for_one_line_in_a_window() {
    let row = t5("[2]", "[48]", "prefetch = [\"dense\", \"sparse\"]");
    let set = KernelSet::from_texts([("avx512vbmi.toml".to_owned(), row)]).unwrap();
    let prefetches = |id: &str| set.show(id).unwrap().matches("_mm_prefetch").count();
    // Two lines in each step's text, one in each window's; strips and single panels, whole windows and the rest of one.
    assert_eq!(prefetches("gemv_lut_t5__avx512vbmi_p2k48"), 2 * (2 + 1));
    assert_eq!(prefetches("gemv_lut_t5__avx512vbmi_p2k48s"), 2 * (1 + 1));
    assert_mentions(
        &refusal("scalar", &t5("[1]", "[6]", "prefetch = [\"sparse\"]")),
        &["scalar kernels do not prefetch"],
    );
    assert_mentions(
        &refusal("avx512vbmi", &t5("[1]", "[6]", "prefetch = []")),
        &["must not be empty"],
    );
}

#[test]
fn distant_strips_read_packings_of_single_panels() {
    let row = t5("[2]", "[48]", "strips = \"distant\"");
    let set = KernelSet::from_texts([("avx512vbmi.toml".to_owned(), row)]).unwrap();
    let [spec] = set.specs() else {
        panic!("{:?}", set.specs())
    };
    assert_eq!(spec.id(), "gemv_lut_t5__avx512vbmi_p2k48d");
    assert_eq!(spec.packing(), "t5_l64_p1_k48");
    assert_mentions(
        &refusal("avx512vbmi", &t5("[1]", "[48]", "strips = \"distant\"")),
        &["strips = \"distant\"", "one panel"],
    );
    assert_mentions(
        &refusal("avx512vbmi", &t5("[2]", "[48]", "strips = \"near\"")),
        &["near", "adjacent", "distant"],
    );
}

#[test]
fn every_skeleton_takes_scales_by_groups() {
    let pairs = Isa::ALL
        .into_iter()
        .flat_map(|isa| isa.skeletons().iter().map(move |&pair| (isa, pair)));
    for (isa, (family, code)) in pairs {
        let (family, code) = (family.name(), code.name());
        let variant = match (isa, family) {
            (Isa::Scalar, _) => "",
            (_, "mad") => "variant = \"classic\"",
            _ => "",
        };
        // A window of one step divides any block.
        let row = format!(
            "[[gemv]]\nfamily = \"{family}\"\ncode = \"{code}\"\n{variant}\npanels = [1]\nblock = [4]\nwindow = 1\nscales = \"groups\"\n"
        );
        let set = KernelSet::from_texts([(format!("{}.toml", isa.name()), row)]).unwrap();
        let [spec] = set.specs() else {
            panic!("one kernel")
        };
        assert_eq!(spec.scales, Scales::Groups);
        let text = set.show(&spec.id()).unwrap();
        // Rows are only ever touched as the scaled sums of a whole block.
        assert_mentions(&text, &["its scale, as `f32`, to `out`", "args.scales"]);
    }
}

#[test]
fn batches_need_their_registers_a_skeleton_and_a_kernel_for_the_rest() {
    let row = t5("[2]", "[48]", "batch = [1, 2]");
    let set = KernelSet::from_texts([("avx512vbmi.toml".to_owned(), row)]).unwrap();
    let widths: Vec<usize> = set.specs().iter().map(|spec| spec.batch).collect();
    assert_eq!(widths, [1, 2]);
    let text = set.show("gemv_lut_t5__avx512vbmi_p2k48n2").unwrap();
    assert_mentions(
        &text,
        &[".as_chunks::<2>()", "gemv_lut_t5__avx512vbmi_p2k48("],
    );
    assert_mentions(
        &refusal("avx512vbmi", &t5("[2]", "[48]", "batch = [2]")),
        &[
            "avx512vbmi.toml",
            "row 1",
            "gemv_lut_t5__avx512vbmi_p2k48n2",
            "left to gemv_lut_t5__avx512vbmi_p2k48, which no row",
            "batch = [1, 2]",
        ],
    );
    assert_mentions(
        &refusal("avx512vbmi", &t5("[4]", "[48]", "batch = [1, 3]")),
        &[
            "row 1",
            "panels = 4 with batch = 3 needs 38 vector registers",
            "has 32",
        ],
    );
    for batch in ["[0]", "[17]"] {
        assert_mentions(
            &refusal(
                "avx512vbmi",
                &t5("[1]", "[48]", &format!("batch = {batch}")),
            ),
            &["from 1 to 16"],
        );
    }
    assert_mentions(
        &refusal("avx512vbmi", &t5("[1]", "[48]", "batch = []")),
        &["batch must not be empty"],
    );
    assert_mentions(
        &refusal("scalar", &t5("[1]", "[48]", "batch = [1, 2]")),
        &["lut t5 kernels of scalar take one token at a time"],
    );
    let addsub = "[[gemv]]\nfamily = \"addsub\"\ncode = \"planes\"\npanels = [1]\nblock = [8]\nbatch = [1, 2]\n";
    assert_mentions(&refusal("avx2", addsub), &["addsub planes kernels of avx2"]);
}

#[test]
fn variants_belong_to_mad() {
    let message = refusal("avx512vbmi", &t5("[1]", "[6]", "variant = \"classic\""));
    assert_mentions(&message, &["variant \"classic\" belongs to mad"]);
    let mad = "[[gemv]]\nfamily = \"mad\"\ncode = \"b2\"\npanels = [1]\nblock = [8]\n";
    assert_mentions(
        &refusal("avx512vnni", mad),
        &["variant = \"classic\" or \"shiftfree\""],
    );
}

#[test]
fn nothing_that_is_zero_empty_double_or_unknown_is_accepted() {
    assert_mentions(
        &refusal("avx512vbmi", &t5("[0]", "[6]", "")),
        &["at least 1"],
    );
    assert_mentions(
        &refusal("avx512vbmi", &t5("[1]", "[0]", "")),
        &["at least 1"],
    );
    assert_mentions(
        &refusal("avx512vbmi", &t5("[]", "[6]", "")),
        &["must not be empty"],
    );
    assert_mentions(&refusal("avx512vbmi", &t5("[1, 1]", "[6]", "")), &["twice"]);
    assert_mentions(
        &refusal("avx512vbmi", &t5("[1]", "[6]", "colour = 3")),
        &["colour"],
    );
    assert_mentions(&refusal("avx512vbmi", "[[gemv"), &["avx512vbmi.toml"]);
    assert_mentions(
        &refusal("sse9", ""),
        &["sse9.toml", "must be an ISA", "avx2"],
    );
    assert_mentions(
        &refusal("avx512vbmi", &t5("[18446744073709551615]", "[6]", "")),
        &["avx512vbmi.toml"],
    );
}

#[test]
fn a_directory_without_configs_is_refused() {
    let dir = std::env::temp_dir().join(format!("tern-no-configs-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let error = write(&dir, &X86_64, &dir).unwrap_err();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(matches!(error, Error::NoConfigs(_)), "{error}");
    assert!(matches!(
        write(Path::new("/nowhere"), &X86_64, &dir),
        Err(Error::Io { .. })
    ));
}

#[test]
fn ids_are_distinct_and_named_after_their_parts() {
    let set = KernelSet::from_dir(&config_dir()).unwrap();
    let mut ids: Vec<String> = set.specs().iter().map(|spec| spec.id()).collect();
    for (spec, id) in set.specs().iter().zip(&ids) {
        let (what, how) = id.split_once("__").unwrap();
        let groups = if spec.scales == Scales::Groups {
            "_groups"
        } else {
            ""
        };
        assert_eq!(
            what,
            format!("gemv_{}_{}{groups}", spec.family.name(), spec.code.name())
        );
        let batch = match spec.batch {
            1 => String::new(),
            n => format!("n{n}"),
        };
        let strips = match spec.strips {
            Strips::Adjacent => "",
            Strips::Distant => "d",
        };
        let end = how.trim_end_matches('s');
        assert!(end.ends_with(&format!("{batch}{strips}")), "{id}");
        assert!(
            how.starts_with(spec.isa.name())
                && how.contains(&format!("p{}k{}", spec.panels, spec.block))
        );
        assert!(set.show(id).is_ok());
        assert_eq!(KernelSpec::from_id(id).as_ref(), Ok(spec));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), set.specs().len());
    for arch in ["x86_64", "aarch64", "wasm32"] {
        let built = |spec: &&KernelSpec| spec.isa.arch().is_none_or(|of| of == arch);
        let kernels = set.specs().iter().filter(built).count();
        assert!(
            kernels <= 170,
            "{kernels} kernels for {arch}: the build time is bounded"
        );
    }
    assert!(matches!(
        set.show("gemv_lut_t5__avx512vbmi_p9k9"),
        Err(Error::UnknownKernel(_))
    ));
}

/// How many ISAs `arch` may have, plain Rust among them.
fn isas_of(arch: &str) -> usize {
    let on = |isa: &Isa| isa.arch().is_none_or(|a| a == arch);
    Isa::ALL.iter().filter(|isa| on(isa)).count()
}

#[test]
fn the_same_configs_give_the_same_bytes() {
    let emit = |name: &str| {
        let out = std::env::temp_dir().join(format!("tern-emit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&out).unwrap();
        write(&config_dir(), &X86_64, &out).unwrap();
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        paths.sort();
        let texts: Vec<_> = paths
            .iter()
            .map(|p| {
                (
                    p.file_name().unwrap().to_owned(),
                    std::fs::read_to_string(p).unwrap(),
                )
            })
            .collect();
        std::fs::remove_dir_all(&out).unwrap();
        texts
    };
    let (first, second) = (emit("a"), emit("b"));
    assert_eq!(first, second);
    let vector = isas_of("x86_64") - 1;
    assert_eq!(
        first.len(),
        (1 + vector + 3) + (vector + 2),
        "one file an ISA of the target, the registry, the overflowing kernels and those of AVX-VNNI in another encoding; and with \
         emulated intrinsics one file a vector ISA, the registry and the overflowing kernels"
    );
    for (name, text) in &first {
        assert!(
            !text.contains("comment!("),
            "{name:?} holds a comment marker"
        );
        assert!(
            !text.contains(env!("CARGO_MANIFEST_DIR")),
            "{name:?} holds a path of this machine"
        );
    }
}

#[test]
fn another_target_gets_only_what_it_can_compile() {
    // A module holds what it is built with, since an engine refuses all of it for one unknown instruction. A CPU is asked later.
    let targets = [
        ("aarch64", "", 4),
        ("wasm32", "", 1),
        ("wasm32", "multivalue,simd128", 2),
        ("wasm32", "relaxed-simd,simd128", 3),
    ];
    for (arch, features, isas) in targets {
        let out = std::env::temp_dir().join(format!("tern-emit-{arch}-{}", std::process::id()));
        std::fs::create_dir_all(&out).unwrap();
        write(&config_dir(), &Target { arch, features }, &out).unwrap();
        let text = std::fs::read_to_string(out.join("kernels.rs")).unwrap();
        let files = std::fs::read_dir(&out).unwrap().count();
        std::fs::remove_dir_all(&out).unwrap();
        assert!(text.contains("gemv_lut_t5__scalar") && !text.contains("x86_"));
        assert_eq!(files, isas + 2, "{arch} with {features:?}");
    }
}

#[test]
fn webassembly_prefetches_nothing() {
    let set = KernelSet::from_dir(&config_dir()).unwrap();
    let text = set.file(Isa::Simd128).unwrap();
    assert!(text.contains("v128_load") && !text.contains("ahead"));
    let sparse = "[[gemv]]\nfamily = \"addsub\"\ncode = \"planes\"\npanels = [1]\nblock = [8]\nprefetch = [\"sparse\"]\n";
    assert_mentions(
        &refusal("simd128", sparse),
        &["simd128 kernels do not prefetch"],
    );
}

#[test]
fn the_least_of_all_windows_is_used_unless_a_row_says_less() {
    let set = KernelSet::from_texts([(
        "avx512vbmi.toml".to_owned(),
        t5("[1]", "[45]", "window = 5"),
    )])
    .unwrap();
    let spec = &set.specs()[0];
    assert_eq!((spec.window, budget::window_max(spec)), (5, Ok(6)));
    assert_eq!(spec.id(), "gemv_lut_t5__avx512vbmi_p1k45w5");
}

#[test]
fn ids_that_name_nothing_do_not_parse() {
    for id in [
        "",
        "gemv",
        "gemv_lut_t5__avx512vbmi",
        "gemv_lut_t5__avx512vbmi_p1",
        "gemv_lut_t5__avx512vbmi_p01k48",
        "gemv_lut_t5__avx512vbmi_p1k48w6",
        "gemv_lut_t5__avx512vbmi_p1k48_x",
        "gemv_lut_t5__avx512vbmi_p1k48ss",
        "gemv_lut_t5__avx512vbmi_p1k48sw5",
        "gemv_lut_t5__scalar_p1k48s",
        "gemv_lut_t5__avx2_p1k48",
        "gemm_lut_t5__avx512vbmi_p1k48",
        "gemv_lut_t5__avx512vbmi_p1k48n",
        "gemv_lut_t5__avx512vbmi_p1k48n1",
        "gemv_lut_t5__avx512vbmi_p1k48n02",
        "gemv_lut_t5__avx512vbmi_p1k48n2w5",
        "gemv_lut_t5__scalar_p1k48n2",
    ] {
        assert!(KernelSpec::from_id(id).is_err(), "{id}");
    }
    for id in [
        "gemv_lut_t5__avx512vbmi_p1k45w5",
        "gemv_lut_t5__avx512vbmi_p1k45w5s",
        "gemv_lut_t5_groups__avx512vbmi_p1k54",
        "gemv_lut_t5__avx512vbmi_p1k45w5n2s",
        "gemv_mad_b2__avx2_classic_p2k1024n4",
    ] {
        assert_eq!(KernelSpec::from_id(id).unwrap().id(), id);
    }
}

#[test]
fn ids_of_batched_products_parse_and_print_both_ways() {
    let set = KernelSet::from_dir(&config_dir()).unwrap();
    for spec in set.unpacks() {
        assert_eq!(UnpackSpec::from_id(&spec.id()).as_ref(), Ok(spec));
        let text = set.show(&spec.id()).unwrap();
        assert!(text.contains(&format!("pub unsafe fn {}(", spec.id())));
    }
    for spec in set.gemms() {
        assert_eq!(GemmSpec::from_id(&spec.id()).as_ref(), Ok(spec));
        let text = set.show(&spec.id()).unwrap();
        assert!(text.contains(&format!("pub unsafe fn {}(", spec.id())));
    }
    let narrow = GemmSpec::from_id("gemm_i8__avx2_r2n4w63").unwrap();
    assert_eq!(
        (narrow.window, narrow.id().as_str()),
        (Some(63), "gemm_i8__avx2_r2n4w63")
    );
    for id in [
        "gemm_i8__avx2_r2n4w64",
        "gemm_i8__avx2_r2n4w65",
        "gemm_i8__avx2_r02n4",
        "gemm_i8__avx2_r0n4",
        "gemm_i8__avx512vnni_r2n4w3",
        "gemm_i8__avx512bw_r2n4",
        "gemm_i8__avx2",
    ] {
        assert!(GemmSpec::from_id(id).is_err(), "{id}");
    }
    for id in ["unpack_t5__avx2", "unpack_b2__scalar", "unpack_t9__avx2"] {
        assert!(UnpackSpec::from_id(id).is_err(), "{id}");
    }
}

#[test]
fn rows_of_batched_products_that_cannot_be_built_are_refused() {
    let gemm =
        |vectors: &str, tokens: &str| format!("[[gemm]]\nvectors = {vectors}\ntokens = {tokens}\n");
    assert_mentions(
        &refusal("avx2", &gemm("[4]", "[4]")),
        &["avx2.toml", "row 1", "22 vector registers", "has 16"],
    );
    assert_mentions(
        &refusal("avx512vbmi", &gemm("[1]", "[1]")),
        &["avx512vbmi has no multiply-add kernels"],
    );
    assert_mentions(&refusal("avx2", &gemm("[0]", "[1]")), &["1 to 16"]);
    assert_mentions(&refusal("avx2", &gemm("[]", "[1]")), &["must not be empty"]);
    assert_mentions(&refusal("avx2", &gemm("[1, 1]", "[1]")), &["twice"]);
    assert_mentions(
        &refusal("avx2", "[[unpack]]\ncode = [\"t5\"]\n"),
        &["no matrix-vector kernel for code t5"],
    );
    assert_mentions(
        &refusal("i8mm", &gemm("[1]", "[3]")),
        &["tokens = 3 must be 1 or even"],
    );
    assert_mentions(
        &refusal("scalar", "[[unpack]]\ncode = [\"b2\"]\n"),
        &["decoded trit by trit"],
    );
}

#[test]
fn every_packing_of_vectors_has_a_kernel_that_unpacks_it() {
    let set = KernelSet::from_dir(&config_dir()).unwrap();
    let mut missing = Vec::new();
    for (isa, code) in Code::ALL
        .into_iter()
        .flat_map(|code| Isa::ALL.map(|isa| (isa, code)))
    {
        let packed = isa.skeletons().iter().any(|(_, c)| *c == code);
        if isa == Isa::Scalar || !packed {
            continue;
        }
        // That of an ISA whose kernels run there too will do, where its panels are as many rows.
        let lanes = spec::lanes(isa, code);
        let serves = |unpack: &&UnpackSpec| {
            (unpack.code, unpack.lanes()) == (code, lanes) && isa.includes(unpack.isa)
        };
        if !set.unpacks().iter().any(|unpack| serves(&unpack)) {
            missing.push(format!("{} on {}", code.name(), isa.name()));
        }
    }
    assert!(missing.is_empty(), "nothing unpacks {missing:?}");
}

#[test]
fn every_isa_that_multiplies_has_several_tiles_of_batched_products() {
    let set = KernelSet::from_dir(&config_dir()).unwrap();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.has_gemm()) {
        let tiles = set.gemms().iter().filter(|spec| spec.isa == isa).count();
        let enough = if isa == Isa::Scalar { 1 } else { 2 };
        assert!(tiles >= enough, "{}: {tiles} tiles", isa.name());
    }
}

#[test]
fn an_isa_includes_those_whose_features_it_has() {
    assert!(Isa::AvxVnni.includes(Isa::Avx2) && !Isa::Avx2.includes(Isa::AvxVnni));
    assert!(Isa::I8mm.includes(Isa::Neon) && !Isa::I8mm.includes(Isa::Dotprod));
    assert!(Isa::Avx512vbmi.includes(Isa::Avx512vnni) && Isa::Neon.includes(Isa::Scalar));
    assert!(!Isa::Avx512vbmi.includes(Isa::Neon) && !Isa::Simd128.includes(Isa::Ssse3));
}
