//! The bits of the logits do not depend on how they are computed.
//!
//! For every fixture model: every kernel that this CPU runs, forced in turn, times 1, 2 and 3
//! threads, times with and without a profile, times the prompt in pieces of 1, of 7 and whole. And
//! batches, passes and earlier texts do not matter either.

mod common;

use common::{FIXTURES, Files, Setup, all_logits, bits, engine, folder, logits_in_pieces, prompts};
use tern_kernels::{Cpu, Entry, Force, Kernel, Profile, Tables, Tile};
use tern_runtime::{KvType, Logits, Model, Work};

/// Longer than a piece of 7, and not a multiple of it.
const TOKENS: usize = 10;

/// A profile that gives every matrix this kernel with a tile that the planner would not choose.
fn profile(fixture: &str, kernel: Kernel) -> Profile {
    let cpu = Cpu::detect();
    let matrices = Model::matrices(&folder(fixture)).unwrap();
    let mut shapes: Vec<_> = matrices.iter().map(|matrix| matrix.shape).collect();
    shapes.sort();
    shapes.dedup();
    let entries = shapes.into_iter().map(|shape| Entry {
        tile: Tile {
            k_blocks: 2,
            chunk: 3,
            prefetch: 0,
            tables: Tables::Own,
        },
        ..Entry::of(shape, 2, &kernel)
    });
    Profile::new(&cpu, "2026-01-01T00:00:00Z", entries.collect())
}

fn every_way_gives_the_same_bits(fixture: &str) {
    let p33 = prompts(fixture).pop().unwrap();
    let tokens = &p33.tokens[..TOKENS];
    let expected = bits(&all_logits(&mut engine(fixture), tokens));
    let files = Files::read(fixture);
    let cpu = Cpu::detect();
    let mut ran = Vec::new();
    for kernel in cpu.kernels() {
        for threads in [1, 2, 3] {
            for tuned in [false, true] {
                let setup = Setup {
                    force: Some(Force::Id(kernel.id.to_owned())),
                    profile: tuned.then(|| profile(fixture, kernel)),
                    threads,
                    ..Setup::default()
                };
                let mut engine = files.engine(setup);
                let summary = engine.model().summary();
                assert!(
                    summary
                        .matrices
                        .iter()
                        .all(|matrix| matrix.kernel == kernel.id)
                );
                for piece in [1, 7, TOKENS] {
                    let found = bits(&logits_in_pieces(&mut engine, tokens, piece));
                    let id = kernel.id;
                    assert_eq!(found, expected, "{fixture} {id} {threads} {tuned} {piece}");
                }
            }
        }
        ran.push(kernel.id);
    }
    assert!(ran.len() > 1, "only {ran:?} ran");
    eprintln!("{fixture}: {} kernels", ran.len());
}

/// One test for each fixture, so that they run side by side.
macro_rules! same_bits {
    ($($name:ident: $fixture:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            every_way_gives_the_same_bits($fixture);
        })*

        #[test]
        fn no_fixture_is_forgotten() {
            assert_eq!([$($fixture),*], common::FIXTURES);
        }
    };
}

same_bits! {
    bitnet_odd_packed: "bitnet-odd-packed",
    bitnet_tiny_bf16: "bitnet-tiny-bf16",
    bitnet_tiny_packed: "bitnet-tiny-packed",
    llama_autobit_online_rmsnorm: "llama-autobit-online-rmsnorm",
    llama_bitnet_odd: "llama-bitnet-odd",
    llama_bitnet_rmsnorm_tiny: "llama-bitnet-rmsnorm-tiny",
    llama_bitnet_tiny: "llama-bitnet-tiny",
}

const KV_TYPES: [KvType; 3] = [KvType::F32, KvType::F16, KvType::I8];

/// For every type of cache: token by token, in pieces and passes of any size, with any number of
/// threads; heads with and without a rest beside vectors of 16, shared keys and own ones.
#[test]
fn every_cache_gives_the_same_bits() {
    for fixture in FIXTURES {
        let mut different = Vec::new();
        for kv in KV_TYPES {
            let engine = |threads| {
                let setup = Setup {
                    threads,
                    kv,
                    ..Setup::default()
                };
                setup.engine(fixture)
            };
            let mut one = engine(1);
            let vocab_size = one.model().config().vocab_size as u32;
            let context = one.model().config().context;
            let tokens: Vec<u32> = (0..150).map(|i| i * 89 % vocab_size).collect();
            let tokens = &tokens[..tokens.len().min(context)];
            let expected = bits(&logits_in_pieces(&mut one, tokens, 1));
            for (threads, piece, pass) in [(1, 150, 1000), (2, 150, 64), (3, 66, 50), (5, 7, 3)] {
                let mut engine = engine(threads).with_pass(pass);
                let found = bits(&logits_in_pieces(&mut engine, tokens, piece));
                assert_eq!(found, expected, "{fixture} {kv} {threads} {piece} {pass}");
            }
            different.push(expected);
        }
        different.dedup();
        assert_eq!(different.len(), 3, "{fixture}: the types of cache differ");
    }
}

/// A narrower cache changes logits by its rounding and no more.
#[test]
fn narrower_caches_are_close() {
    for fixture in FIXTURES {
        let tokens = prompts(fixture).pop().unwrap().tokens;
        let logits = |kv| {
            let setup = Setup {
                kv,
                ..Setup::default()
            };
            all_logits(&mut setup.engine(fixture), &tokens)
        };
        let expected = logits(KvType::F32);
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let whole = norm(&mut expected.iter().copied());
        for (kv, bound) in [(KvType::F16, 0.03), (KvType::I8, 0.1)] {
            let found = logits(kv);
            let difference = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
            let relative = (difference / whole).sqrt();
            assert!(relative < bound, "{fixture} {kv}: {relative}");
        }
    }
}

/// Several texts in one step, each at its own place, against each alone.
#[test]
fn a_batch_does_not_matter() {
    for kv in KV_TYPES {
        a_batch_does_not_matter_with(kv);
    }
}

fn a_batch_does_not_matter_with(kv: KvType) {
    let fixture = "bitnet-odd-packed";
    let mut engine = Setup {
        threads: 2,
        kv,
        ..Setup::default()
    }
    .engine(fixture);
    let prompts = prompts(fixture);
    let alone: Vec<Vec<f32>> = prompts
        .iter()
        .map(|prompt| all_logits(&mut engine, &prompt.tokens))
        .collect();

    let mut sequences: Vec<_> = prompts.iter().map(|_| engine.model().sequence()).collect();
    // The long prompt is ahead by 20 positions when the others begin.
    let ahead = Work {
        sequence: &mut sequences[2],
        tokens: &prompts[2].tokens[..20],
        logits: Logits::None,
    };
    engine.step(&mut [ahead]).unwrap();
    let starts = [0, 0, 20];
    let mut work: Vec<Work<'_>> = sequences
        .iter_mut()
        .zip(&prompts)
        .zip(starts)
        .map(|((sequence, prompt), start)| Work {
            sequence,
            tokens: &prompt.tokens[start..],
            logits: Logits::All,
        })
        .collect();
    let output = engine.step(&mut work).unwrap();
    let width = alone[0].len();
    for (index, start) in starts.into_iter().enumerate() {
        assert_eq!(
            bits(output.rows(index)),
            bits(&alone[index][start * width..]),
            "{index}"
        );
    }
}

/// Passes of any size, more positions than a block of the cache, and a sequence that held another
/// text before.
#[test]
fn passes_and_earlier_texts_do_not_matter() {
    let fixture = "llama-bitnet-odd";
    let tokens: Vec<u32> = (0..150).map(|i| i * 89 % 257).collect();
    let mut engine = engine(fixture);
    let expected = bits(&all_logits(&mut engine, &tokens));
    for pass in [1, 5, 64, 1000] {
        engine = engine.with_pass(pass);
        assert_eq!(
            bits(&all_logits(&mut engine, &tokens)),
            expected,
            "pass of {pass}"
        );
    }
    let mut sequence = engine.model().sequence();
    for text in [[9; 140].as_slice(), &tokens] {
        sequence.truncate(if text[0] == 9 { 0 } else { 30 });
        sequence.truncate(0);
        let work = Work {
            sequence: &mut sequence,
            tokens: text,
            logits: Logits::All,
        };
        let found = bits(engine.step(&mut [work]).unwrap().rows(0));
        assert_eq!(found == expected, text[0] != 9);
    }
}

/// What is kept by a truncation stays valid.
#[test]
fn a_sequence_goes_on_from_where_it_was_cut() {
    let mut engine = engine("bitnet-tiny-packed");
    let tokens: Vec<u32> = (0..90).map(|i| i * 37 % 512).collect();
    let expected = all_logits(&mut engine, &tokens);
    let mut sequence = engine.model().sequence();
    let mut step = |length: usize, tokens: &[u32]| {
        sequence.truncate(length);
        let work = Work {
            sequence: &mut sequence,
            tokens,
            logits: Logits::All,
        };
        engine.step(&mut [work]).unwrap().rows(0).to_vec()
    };
    step(0, &tokens[..70]);
    step(66, &[1, 2, 3]);
    let found = step(66, &tokens[66..]);
    assert_eq!(bits(&found), bits(&expected[66 * 512..]));
}
