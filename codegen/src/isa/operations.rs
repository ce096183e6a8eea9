//! What each x86 intrinsic does, and how many of each kind emitted statements hold: counted from the text that is compiled, so
//! that no count can be forgotten.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use serde::Serialize;

/// A kind of vector operation, as far as the pipes of a CPU tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A shuffle of bytes in one register: a lookup in a table of 16 or 64, or eight bits picked for each byte.
    Lookup,
    /// A shuffle of bytes in two registers: a lookup in a table of 128.
    LookupInTwo,
    /// A shuffle of 16-bit words.
    LookupOfWords,
    /// And, or, exclusive or, and their mixtures.
    Logic,
    /// Additions and subtractions, under a mask or not.
    Add,
    /// Shifts of lanes by a constant.
    Shift,
    /// Comparisons into a vector.
    Compare,
    /// Highest bits into a mask register.
    ToMask,
    /// A mask register into bytes of ones and zeros.
    FromMask,
    /// Products: of lanes, of neighbours, dot products; conversions to floating point, which share their pipes.
    Multiply,
    /// A bit matrix times each byte.
    BitMatrix,
    /// Loads, also of one value into all lanes.
    Load,
    /// Stores.
    Store,
    /// Requests for a cache line.
    Prefetch,
}

impl Operation {
    /// The name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Lookup => "lookup",
            Operation::LookupInTwo => "lookup in two registers",
            Operation::LookupOfWords => "lookup of words",
            Operation::Logic => "and, or, xor",
            Operation::Add => "addition",
            Operation::Shift => "shift",
            Operation::Compare => "comparison",
            Operation::ToMask => "move to a mask",
            Operation::FromMask => "move from a mask",
            Operation::Multiply => "product",
            Operation::BitMatrix => "bit matrix",
            Operation::Load => "load",
            Operation::Store => "store",
            Operation::Prefetch => "prefetch",
        }
    }

    /// The class of pipes that run it; `ports` says which pipes of a CPU belong to a class.
    pub const fn class(self) -> &'static str {
        match self {
            Operation::Lookup | Operation::LookupInTwo | Operation::LookupOfWords => "shuffle",
            Operation::Logic | Operation::Add | Operation::Compare | Operation::FromMask => "any",
            Operation::Shift | Operation::ToMask => "shift",
            Operation::Multiply | Operation::BitMatrix => "multiply",
            Operation::Load | Operation::Prefetch => "load",
            Operation::Store => "store",
        }
    }

    /// What the intrinsic `name` does: `Some(None)` for constants and parts of a load, `None` where it is not known here.
    fn of_intrinsic(name: &str) -> Option<Option<Operation>> {
        let stem = ["_mm512_", "_mm256_", "_mm_"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))?;
        let stem = stem.strip_prefix("mask_").unwrap_or(stem);
        let operation = match stem.split('_').next()? {
            // Zeros and constants stay in registers; a load of one value is counted where its address is read. Casts cost nothing.
            "setzero" | "set1" | "broadcast" | "broadcastsi128" => return Some(None),
            "castps" | "castsi128" | "castsi256" | "castsi512" => return Some(None),
            // Lanes that change places take the same pipes as bytes.
            "shuffle" | "unpacklo" => Operation::Lookup,
            "permutexvar" if stem.ends_with("epi16") => Operation::LookupOfWords,
            "permutexvar" | "multishift" => Operation::Lookup,
            "permutex2var" => Operation::LookupInTwo,
            "and" | "andnot" | "or" | "xor" | "ternarylogic" => Operation::Logic,
            "add" | "adds" | "sub" => Operation::Add,
            "slli" | "srli" | "srai" => Operation::Shift,
            "cmpgt" => Operation::Compare,
            "movepi8" => Operation::ToMask,
            "movm" => Operation::FromMask,
            "mullo" | "madd" | "maddubs" | "dpbusd" | "mul" | "cvtepi32" => Operation::Multiply,
            "gf2p8affine" => Operation::BitMatrix,
            "loadu" => Operation::Load,
            "storeu" => Operation::Store,
            "prefetch" => Operation::Prefetch,
            _ => return None,
        };
        Some(Some(operation))
    }
}

/// How many operations of each kind `statements` hold.
///
/// # Errors
///
/// An intrinsic that is not known here; the message says what to do.
pub fn count(statements: TokenStream) -> Result<BTreeMap<Operation, usize>, String> {
    let mut counts = BTreeMap::new();
    add(statements, &mut counts)?;
    Ok(counts)
}

fn add(tokens: TokenStream, counts: &mut BTreeMap<Operation, usize>) -> Result<(), String> {
    for token in tokens {
        let operation = match token {
            TokenTree::Group(group) => {
                add(group.stream(), counts)?;
                None
            }
            TokenTree::Ident(ident) => match ident.to_string().as_str() {
                "read_unaligned" => Some(Operation::Load),
                name if name.starts_with("_mm") => {
                    Operation::of_intrinsic(name).ok_or_else(|| {
                        format!("say what {name} does, in codegen/src/isa/operations.rs")
                    })?
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(operation) = operation {
            *counts.entry(operation).or_default() += 1;
        }
    }
    Ok(())
}
