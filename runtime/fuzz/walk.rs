//! What fuzz targets and the replay of the corpus (`tests/gguf/corpus.rs`) do with a file: read all that can be read of it.

use tern_runtime::LoadError;
use tern_runtime::fuzzing::gguf_model;
use tern_runtime::gguf::{Gguf, GgufError, GgufOptions, I2sLayout, Value};

/// Opens a GGUF file in each layout of I2_S, and reads every value and every row. Errors are as good as success here; panics are not.
pub fn gguf(bytes: &[u8]) -> Result<(), GgufError> {
    let mut result = Ok(());
    for i2s_layout in I2sLayout::ALL.into_iter().rev() {
        let options = GgufOptions { i2s_layout };
        // The last layout is the usual one, whose result is returned.
        result = Gguf::from_bytes_with("fuzzed", bytes, options).map(|file| read(&file));
    }
    result
}

/// The same file as a model: hyper-parameters, names, scales, tokenizer, template, and a few tokens through a small one.
pub fn model(bytes: &[u8]) -> Result<(), LoadError> {
    gguf_model(bytes, I2sLayout::default())
}

fn read(file: &Gguf<'_>) {
    let metadata = file.metadata();
    for (key, value) in metadata.iter() {
        assert!(metadata.value(key).is_some(), "{key}");
        std::hint::black_box(value.to_string());
        if let Value::Array(array) = value {
            assert_eq!(array.iter().count(), array.len(), "{key}");
        }
        let _ = metadata.get::<u32>(key);
        let _ = metadata.get::<f32>(key);
        let _ = metadata.get::<&str>(key);
        let _ = metadata.get::<Vec<&str>>(key);
        let _ = metadata.get::<Vec<i32>>(key);
        let _ = metadata.per_layer(key, 3);
    }
    for tensor in file.tensors() {
        std::hint::black_box(tensor.survey());
        let mut numbers = vec![0.0; tensor.cols()];
        let last = tensor.rows() - 1;
        for row in [0, last / 2, last] {
            let _ = tensor.read_row_f32(row, &mut numbers);
            let Ok(ternary) = tensor.ternary() else {
                continue;
            };
            let (mut trits, mut scales) = ternary.buffers();
            if ternary.read_row(row, &mut trits, &mut scales).is_ok() {
                assert!(trits.iter().all(|trit| (-1..=1).contains(trit)));
                assert!(scales.iter().all(|scale| scale.is_finite()));
            }
        }
    }
}
