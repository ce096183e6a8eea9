//! Type ids that tern does not read: what they are, who writes them, and what to do instead.
//!
//! The ids up to 42 are llama.cpp's, with holes where it removed types; its forks reuse some of them and add others. Facts from the headers
//! of llama.cpp, ik_llama.cpp, bitnet.cpp, T-MAC's and PrismML's forks.

/// What is known of an id.
pub(super) struct Foreign {
    /// Type and writer.
    pub found: String,
    /// Why it is refused, and what to do.
    pub advice: &'static str,
}

const OTHER_TYPE: &str = "tern reads F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K and the ternary types: download the model in one of \
     these, or quantize it again from its original";
const ACTIVATIONS: &str =
    "it is used for activations and stands in no sound model file: download the file again";
const TABLES: &str = "the order of its bytes depends on the program that was generated for the machine that wrote it, and the file \
     does not say which: download the model as I2_S, or convert it again";

/// Types by id, with the program that writes them.
const TYPES: &[(u32, &str, &str, &str)] = &[
    (3, "Q4_1", "llama.cpp", OTHER_TYPE),
    (4, "Q4_2", "llama.cpp of 2023", OTHER_TYPE),
    (5, "Q4_3", "llama.cpp of 2023", OTHER_TYPE),
    (6, "Q5_0", "llama.cpp", OTHER_TYPE),
    (7, "Q5_1", "llama.cpp", OTHER_TYPE),
    (9, "Q8_1", "llama.cpp", ACTIVATIONS),
    (10, "Q2_K", "llama.cpp", OTHER_TYPE),
    (11, "Q3_K", "llama.cpp", OTHER_TYPE),
    (13, "Q5_K", "llama.cpp", OTHER_TYPE),
    (15, "Q8_K", "llama.cpp", ACTIVATIONS),
    (16, "IQ2_XXS", "llama.cpp", OTHER_TYPE),
    (17, "IQ2_XS", "llama.cpp", OTHER_TYPE),
    (18, "IQ3_XXS", "llama.cpp", OTHER_TYPE),
    (19, "IQ1_S", "llama.cpp", OTHER_TYPE),
    (20, "IQ4_NL", "llama.cpp", OTHER_TYPE),
    (21, "IQ3_S", "llama.cpp", OTHER_TYPE),
    (22, "IQ2_S", "llama.cpp", OTHER_TYPE),
    (23, "IQ4_XS", "llama.cpp", OTHER_TYPE),
    (24, "I8", "llama.cpp", OTHER_TYPE),
    (25, "I16", "llama.cpp", OTHER_TYPE),
    (26, "I32", "llama.cpp", OTHER_TYPE),
    (27, "I64", "llama.cpp", OTHER_TYPE),
    (28, "F64", "llama.cpp", OTHER_TYPE),
    (29, "IQ1_M", "llama.cpp", OTHER_TYPE),
    (
        31,
        "Q4_0_4_4 of llama.cpp in 2024, or I1 of T-MAC's fork",
        "",
        TABLES,
    ),
    (
        32,
        "Q4_0_4_8 of llama.cpp in 2024, or I3 of T-MAC's fork",
        "",
        TABLES,
    ),
    (
        33,
        "Q4_0_8_8 of llama.cpp in 2024, or I4 of T-MAC's fork",
        "",
        TABLES,
    ),
    (37, "I8_S", "bitnet.cpp", ACTIVATIONS),
    (38, "TL1 (tables for ARM)", "bitnet.cpp", TABLES),
    (
        39,
        "TL2 (tables for x86) of bitnet.cpp, or MXFP4 of llama.cpp",
        "",
        TABLES,
    ),
    (40, "NVFP4", "llama.cpp", OTHER_TYPE),
    (
        41,
        "Q1_0 (weights of one bit)",
        "llama.cpp and PrismML's fork",
        OTHER_TYPE,
    ),
    (97, "Q8_0_X4", "ik_llama.cpp", ACTIVATIONS),
    (98, "Q8_1_X4", "ik_llama.cpp", ACTIVATIONS),
    (99, "Q8_2_X4", "ik_llama.cpp", ACTIVATIONS),
    (133, "Q6_0", "ik_llama.cpp", OTHER_TYPE),
    (136, "Q8_K64", "ik_llama.cpp", ACTIVATIONS),
    (137, "IQ2_K", "ik_llama.cpp", OTHER_TYPE),
    (138, "IQ3_K", "ik_llama.cpp", OTHER_TYPE),
    (139, "IQ4_K", "ik_llama.cpp", OTHER_TYPE),
    (140, "IQ5_K", "ik_llama.cpp", OTHER_TYPE),
    (141, "IQ6_K", "ik_llama.cpp", OTHER_TYPE),
    (144, "IQ4_KS", "ik_llama.cpp", OTHER_TYPE),
    (145, "IQ2_KS", "ik_llama.cpp", OTHER_TYPE),
    (146, "IQ4_KSS", "ik_llama.cpp", OTHER_TYPE),
    (147, "Q8_K16", "ik_llama.cpp", ACTIVATIONS),
    (148, "Q8_K32", "ik_llama.cpp", ACTIVATIONS),
    (149, "Q8_KR8", "ik_llama.cpp", ACTIVATIONS),
    (150, "Q8_K128", "ik_llama.cpp", ACTIVATIONS),
    (151, "Q8_KV", "ik_llama.cpp", OTHER_TYPE),
    (152, "IQ5_KS", "ik_llama.cpp", OTHER_TYPE),
    (153, "IQ2_KT", "ik_llama.cpp", OTHER_TYPE),
    (154, "IQ3_KT", "ik_llama.cpp", OTHER_TYPE),
    (155, "IQ4_KT", "ik_llama.cpp", OTHER_TYPE),
    (156, "IQ3_KS", "ik_llama.cpp", OTHER_TYPE),
    (157, "IQ2_KL", "ik_llama.cpp", OTHER_TYPE),
    (158, "IQ1_KT", "ik_llama.cpp", OTHER_TYPE),
];

/// What an id that [`super::types::TensorType`] does not know stands for.
pub(super) fn describe(id: u32) -> Foreign {
    if let Some(&(_, name, writer, advice)) = TYPES.iter().find(|known| known.0 == id) {
        let found = match writer {
            "" => name.to_owned(),
            writer => format!("{name} of {writer}"),
        };
        return Foreign { found, advice };
    }
    let (found, advice) = match id {
        159..=161 | 200..=399 => (
            "rows interleaved for one kind of CPU by ik_llama.cpp",
            "its order of bytes is for that program's kernels only: download the file that was not repacked (without _R4 or _R8)",
        ),
        // As signed numbers these are negative.
        0x8000_0000.. => (
            "which no program writes",
            "the file is damaged, download it again",
        ),
        _ => (
            "which tern does not know",
            "the file is damaged, or from a program newer than this one: download the model as one of F16, Q8_0, Q4_0, Q4_K, Q6_K, TQ1_0, \
             TQ2_0 or I2_S",
        ),
    };
    Foreign {
        found: found.to_owned(),
        advice,
    }
}

/// Of a known type whose size does not fit the file: which other type has that id.
pub(super) fn namesake(id: u32) -> Option<&'static str> {
    Some(match id {
        30 => {
            "30 is BF16 in llama.cpp and I2, whose bytes follow no portable order, in T-MAC's fork"
        }
        36 => "36 is I2_S in bitnet.cpp and was IQ4_NL_4_4 in llama.cpp of 2024",
        42 => {
            "42 is Q2_0 in llama.cpp and PrismML's fork, TL2 in bitnet.cpp since July 2026, and q2b1 in older forks"
        }
        142 => "142 is PQ2_0 in PrismML's fork and was IQ2_TN in ik_llama.cpp of 2024",
        143 => "143 is PTQ1_0 in PrismML's fork and was IQ1_TN in ik_llama.cpp of 2024",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::types::TensorType;
    use super::*;

    #[test]
    fn no_id_is_both_known_and_foreign() {
        for (id, name, ..) in TYPES {
            assert!(TensorType::of_id(*id).is_none(), "{id}: {name}");
        }
        let ids: Vec<u32> = TYPES.iter().map(|known| known.0).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
