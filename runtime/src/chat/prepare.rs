//! What is changed in a template before it is compiled.
//!
//! Two things, found with the engine's own lexer, so that nothing looks like something else here than there:
//!
//! * `{% generation %}` and `{% endgeneration %}`, which only mark for training what the model said, become a condition that always holds.
//! * A namespace is the one thing that a template can change, so a value could come to hold itself: `{% set ns.a = ns %}`. The engine follows such
//!   a ring until the stack ends, whatever the fuel. So what is assigned to a namespace is copied on the way ([`HELD`]), as deep as real
//!   templates go and no deeper.

use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The filter that copies. Templates have no reason to call one of this name.
pub(super) const HELD: &str = "tern_held";
/// Lists within lists that a namespace may hold.
const MAX_DEPTH: usize = 32;
/// Values that are copied in one rendering.
const MAX_COPIES: usize = 1 << 22;

/// The template as it is to be compiled. What the lexer refuses is left for the compiler to refuse.
///
/// # Errors
///
/// An assignment to a namespace in a form that no real template has.
pub(super) fn prepare(source: &str, syntax: SyntaxConfig) -> Result<String, Error> {
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    let mut block: Option<Vec<(Token<'_>, Span)>> = None;
    for token in tokenize(source, false, syntax) {
        let Ok((token, span)) = token else {
            return Ok(source.to_owned());
        };
        match (token, block.as_mut()) {
            (Token::BlockStart, _) => block = Some(Vec::new()),
            (Token::BlockEnd, Some(tokens)) => {
                edit(tokens, &mut edits)?;
                block = None;
            }
            (token, Some(tokens)) => tokens.push((token, span)),
            _ => (),
        }
    }
    let mut prepared = String::with_capacity(source.len() + 32 * edits.len());
    let mut from = 0;
    for (start, end, text) in edits {
        prepared.push_str(&source[from..start]);
        prepared.push_str(&text);
        from = end;
    }
    prepared.push_str(&source[from..]);
    Ok(prepared)
}

/// What is to be changed in one block, in the order of the text.
fn edit(
    tokens: &[(Token<'_>, Span)],
    edits: &mut Vec<(usize, usize, String)>,
) -> Result<(), Error> {
    let place = |span: &Span| (span.start_offset as usize, span.end_offset as usize);
    let mut replace = |span: &Span, text: &str| {
        let (start, end) = place(span);
        edits.push((start, end, text.to_owned()));
    };
    match tokens {
        [(Token::Ident("generation"), span)] => replace(span, "if true"),
        [(Token::Ident("endgeneration"), span)] => replace(span, "endif"),
        [(Token::Ident("set"), _), rest @ ..] => {
            let assign = rest
                .iter()
                .position(|(token, _)| matches!(token, Token::Assign));
            let target = &rest[..assign.unwrap_or(rest.len())];
            let has =
                |wanted: fn(&Token<'_>) -> bool| target.iter().any(|(token, _)| wanted(token));
            if !has(|token| matches!(token, Token::Dot)) {
                return Ok(());
            }
            // Several targets, or a filter behind a block, whose result might be anything.
            if has(|token| matches!(token, Token::Comma | Token::ParenOpen | Token::Pipe)) {
                return Err(Error::new(
                    ErrorKind::SyntaxError,
                    "an attribute can be set in the form `set name.attribute = value` only",
                ));
            }
            if let (Some(assign), Some((_, last))) = (assign, rest.last()) {
                let (start, end) = (place(&rest[assign].1).1, place(last).1);
                edits.push((start, start, " (".to_owned()));
                edits.push((end, end, format!(") | {HELD} ")));
            }
        }
        _ => (),
    }
    Ok(())
}

/// Copies what is assigned to a namespace; a namespace in it becomes a dictionary of what it holds now. `copies` counts over a rendering.
///
/// # Errors
///
/// It is too deep, too much, or a macro.
pub(super) fn held(value: &Value, copies: &AtomicUsize) -> Result<Value, Error> {
    copy(value, MAX_DEPTH, copies)
}

fn copy(value: &Value, depth: usize, copies: &AtomicUsize) -> Result<Value, Error> {
    let refused = |what: &'static str| Error::new(ErrorKind::InvalidOperation, what);
    if copies.fetch_add(1, Ordering::Relaxed) > MAX_COPIES {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number => {}
        ValueKind::String | ValueKind::Bytes => {}
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if depth == 0 => {
            return Err(refused("what a namespace holds is nested too deeply"));
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| copy(&item, depth - 1, copies));
            let items: Vec<Value> = items.collect::<Result<_, _>>()?;
            return Ok(match value.is_tuple() {
                true => Value::from(Tuple::from(items)),
                false => Value::from(items),
            });
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let held = copy(&value.get_item(&key)?, depth - 1, copies)?;
                pairs.push((copy(&key, depth - 1, copies)?, held));
            }
            return Ok(Value::from_pairs(pairs));
        }
        _ => {
            return Err(refused(
                "a namespace can hold texts, numbers, lists and dictionaries only",
            ));
        }
    }
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(source: &str) -> Result<String, Error> {
        prepare(source, SyntaxConfig::default())
    }

    #[test]
    fn only_what_is_assigned_to_an_attribute_is_copied() {
        let cases = [
            ("{% set a = 1 %}{{ a.b }}", "{% set a = 1 %}{{ a.b }}"),
            (
                "{%- set n.a = b.c == 1 -%}x",
                "{%- set n.a = ( b.c == 1) | tern_held  -%}x",
            ),
            (
                "{% set n.a = '%}' ~ \"=\" %}",
                "{% set n.a = ( '%}' ~ \"=\") | tern_held  %}",
            ),
            ("{# {% set n.a = n %} #}", "{# {% set n.a = n %} #}"),
            (
                "{% raw %}{% set n.a = n %}{% endraw %}",
                "{% raw %}{% set n.a = n %}{% endraw %}",
            ),
            ("{{ '{% set n.a = n %}' }}", "{{ '{% set n.a = n %}' }}"),
            ("{% set n.a %}x{% endset %}", "{% set n.a %}x{% endset %}"),
            (
                "{%- generation -%}x{% endgeneration +%}",
                "{%- if true -%}x{% endif +%}",
            ),
            ("{% set n.a = ", "{% set n.a = "),
        ];
        for (source, expected) in cases {
            assert_eq!(prepared(source).unwrap(), expected);
        }
        for odd in [
            "{% set n.a, b = n, 1 %}",
            "{% set (n.a) = n %}",
            "{% set n.a | default(n) %}{% endset %}",
        ] {
            assert!(prepared(odd).is_err(), "{odd}");
        }
    }
}
