//! Logits and tokens against Hugging Face transformers, for every fixture model.

mod common;

use std::sync::{Arc, Mutex};

use common::{Expected, FIXTURES, all_logits, engine, greedy, prompts};
use tern_runtime::Event;

/// Within 1e-3 of Hugging Face everywhere. The prompts were chosen so that no int8 activation lies
/// so close to a rounding boundary that float noise would decide it.
#[test]
fn prompt_logits_match() {
    for fixture in FIXTURES {
        let expected = Expected::read(fixture);
        let mut engine = engine(fixture);
        for prompt in prompts(fixture) {
            let found = all_logits(&mut engine, &prompt.tokens);
            let expected = expected.floats(&format!("logits.{}", prompt.name));
            assert_eq!(found.len(), expected.len());
            let distance = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let largest = distance.fold(0.0, f32::max);
            eprintln!(
                "{fixture} {}: largest difference {largest:.1e}",
                prompt.name
            );
            // The measured ones are below 1e-5. A wrong operation gives 1e-2 and more.
            assert!(largest < 1e-4, "{fixture} {}: {largest}", prompt.name);
        }
    }
}

#[test]
fn greedy_tokens_match() {
    for fixture in FIXTURES {
        let mut engine = engine(fixture);
        for prompt in prompts(fixture) {
            assert_eq!(prompt.greedy.len(), 32);
            let found = greedy(&mut engine, &prompt.tokens, 32);
            assert_eq!(found, prompt.greedy, "{fixture} {}", prompt.name);
        }
    }
}

/// Every int8 activation and scale of p7, and the residual stream after every layer: the fastest way
/// to the first wrong operation.
#[test]
fn every_linear_input_of_p7_matches() {
    for fixture in FIXTURES {
        let expected = Arc::new(Expected::read(fixture));
        let mut engine = engine(fixture);
        let layers = engine.model().config().layers;
        let seen = Arc::new(Mutex::new(0));
        let (sink, stored) = (Arc::clone(&seen), Arc::clone(&expected));
        engine.observe(Some(Box::new(move |event| {
            *sink.lock().unwrap() += 1;
            match event {
                Event::Quantized {
                    position,
                    linear,
                    values,
                    scale,
                    ..
                } => {
                    let all = stored.bytes(&format!("lin.p7.{linear}.q"));
                    let row = &all[position * values.len()..][..values.len()];
                    assert_eq!(values, row, "{fixture} {linear} position {position}");
                    let stored = stored.floats(&format!("lin.p7.{linear}.scale"))[position];
                    assert!((scale / stored - 1.0).abs() < 1e-5, "{fixture} {linear}");
                }
                // Hugging Face does not keep the last layer's residual, our fixtures do.
                Event::Residual {
                    position,
                    layer,
                    values,
                    ..
                } => {
                    let all = stored.floats(&format!("hidden.p7.layer{layer:02}.out"));
                    let row = &all[position * values.len()..][..values.len()];
                    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4 * b.abs().max(1.0);
                    assert!(values.iter().zip(row).all(close), "{fixture} layer {layer}");
                }
                _ => unreachable!("no other events exist"),
            }
        })));
        let p7 = prompts(fixture)
            .into_iter()
            .find(|prompt| prompt.name == "p7")
            .unwrap();
        all_logits(&mut engine, &p7.tokens);
        assert_eq!(*seen.lock().unwrap(), layers * (7 + 1) * 7, "{fixture}");
    }
}
