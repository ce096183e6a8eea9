//! Which intrinsics the generated text names.

use std::collections::BTreeSet;

/// The names of the intrinsics in `text`, each with the number that is its constant, if it has one.
pub fn intrinsics_in(text: &str) -> BTreeSet<(&str, Option<i64>)> {
    let starts = text.match_indices("_mm").map(|(at, _)| at);
    let whole = starts.filter(|&at| !text[..at].ends_with(of_a_name));
    let named = whole.map(|at| {
        let rest = &text[at..];
        let end = rest.find(|c| !of_a_name(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let constant = rest
            .strip_prefix("::<")
            .and_then(|rest| rest.split_once('>'));
        (name, constant.and_then(|(constant, _)| number(constant)))
    });
    named.collect()
}

/// Whether `c` may stand in a name.
fn of_a_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// The number that `literal` spells in decimal, hexadecimal or binary digits; `None` for a name. A line that the printer broke has
/// spaces and a comma around it.
fn number(literal: &str) -> Option<i64> {
    let digits: String = literal.chars().filter(|&c| of_a_name(c)).collect();
    let digits = digits.replace('_', "");
    let (digits, radix) = match digits.get(..2) {
        Some("0x") => (&digits[2..], 16),
        Some("0b") => (&digits[2..], 2),
        _ => (&*digits, 10),
    };
    i64::from_str_radix(digits, radix).ok()
}

#[test]
fn names_and_constants_are_found() {
    let text = "x_mm_no(_mm_a_b::<0b10_00>(y), _mm256_c(z),\n _mm512_d::<\n 0xca,\n>(_mm_e::<_MM_HINT_T1>(), _mm512_d::<17>())";
    let expected = [
        ("_mm256_c", None),
        ("_mm512_d", Some(17)),
        ("_mm512_d", Some(0xca)),
        ("_mm_a_b", Some(8)),
        ("_mm_e", None),
    ];
    assert!(intrinsics_in(text).into_iter().eq(expected));
}
