//! Whole files: those of the `gguf` package, split models, keys of every type, and the writer.

use std::fs;

use tern_runtime::gguf::{Array, Gguf, GgufError, Header, TensorType, Value, WriteError, quantize};

use crate::formats::fixture;
use crate::raw::{Raw, string};

fn numbers() -> Vec<f32> {
    let bytes = fixture("blocks.safetensors");
    let fixture = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let numbers = fixture.tensor("numbers").unwrap().data().to_vec();
    let fours = numbers.as_chunks::<4>().0.iter();
    fours.map(|four| f32::from_le_bytes(*four)).collect()
}

fn row(kind: TensorType, values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    quantize::row(kind, values, &mut bytes).unwrap();
    bytes
}

/// What `make.py` writes with the package.
fn header() -> Result<Header, WriteError> {
    let mut header = Header::new();
    header.set("general.architecture", "llama")?;
    header.set("test.uint8", 200u8)?;
    header.set("test.int8", -100i8)?;
    header.set("test.uint16", 60_000u16)?;
    header.set("test.int16", -30_000i16)?;
    header.set("test.uint32", 4_000_000_000u32)?;
    header.set("test.int32", -2_000_000_000i32)?;
    header.set("test.float32", 1.5f32)?;
    header.set("test.bool", true)?;
    header.set("test.uint64", 1u64 << 63)?;
    header.set("test.int64", -(1i64 << 62))?;
    header.set("test.float64", 0.1f64)?;
    header.set("test.string", "naïve ▁tokens")?;
    let strings = ["<s>", "", "▁a", "日本"].map(str::to_owned);
    header.set("test.strings", &strings[..])?;
    header.set("test.integers", &[1i32, -2, 3][..])?;
    header.set("test.floats", &[0.5f32, -1.25][..])?;
    header.tensor("norm.weight", &[40], TensorType::F32)?;
    header.tensor("embd.weight", &[32, 3], TensorType::F16)?;
    for kind in [TensorType::Tq1_0, TensorType::Tq2_0, TensorType::Q8_0] {
        header.tensor(
            &format!("{}.weight", kind.name().to_lowercase()),
            &[256, 2],
            kind,
        )?;
    }
    Ok(header)
}

#[test]
fn written_files_are_those_of_the_gguf_package() {
    let expected = fixture("written.gguf");
    let numbers = numbers();
    let header = header().unwrap();
    assert_eq!(header.file_bytes(), expected.len() as u64);
    let mut writer = header.begin(Vec::new()).unwrap();
    writer
        .put("norm.weight", &row(TensorType::F32, &numbers[..40]))
        .unwrap();
    for values in numbers.chunks_exact(256).take(3) {
        writer
            .put("embd.weight", &row(TensorType::F16, &values[..32]))
            .unwrap();
    }
    for kind in [TensorType::Tq1_0, TensorType::Tq2_0, TensorType::Q8_0] {
        let name = format!("{}.weight", kind.name().to_lowercase());
        // Pieces of any size will do.
        for piece in row(kind, &numbers[..512]).chunks(37) {
            writer.put(&name, piece).unwrap();
        }
    }
    assert_eq!(writer.finish().unwrap(), expected);
}

#[test]
fn files_of_the_gguf_package_are_read() {
    let bytes = fixture("written.gguf");
    let file = Gguf::from_bytes("written.gguf", &bytes).unwrap();
    assert_eq!(
        (file.version(), file.parts(), file.notes().len()),
        (3, 1, 0)
    );
    let metadata = file.metadata();
    assert_eq!(metadata.iter().count(), 16);
    assert_eq!(metadata.iter().next().unwrap().0, "general.architecture");
    assert_eq!(
        metadata.require::<&str>("general.architecture").unwrap(),
        "llama"
    );
    assert_eq!(metadata.value("test.uint8"), Some(Value::U8(200)));
    assert_eq!(metadata.value("test.int8"), Some(Value::I8(-100)));
    assert_eq!(metadata.value("test.uint16"), Some(Value::U16(60_000)));
    assert_eq!(metadata.value("test.int16"), Some(Value::I16(-30_000)));
    assert_eq!(
        metadata.require::<u32>("test.uint32").unwrap(),
        4_000_000_000
    );
    assert_eq!(
        metadata.require::<i32>("test.int32").unwrap(),
        -2_000_000_000
    );
    assert_eq!(metadata.require::<f32>("test.float32").unwrap(), 1.5);
    assert!(metadata.require::<bool>("test.bool").unwrap());
    assert_eq!(metadata.require::<u64>("test.uint64").unwrap(), 1 << 63);
    assert_eq!(metadata.value("test.int64"), Some(Value::I64(-(1 << 62))));
    assert_eq!(metadata.require::<f32>("test.float64").unwrap(), 0.1);
    assert_eq!(
        metadata.require::<&str>("test.string").unwrap(),
        "naïve ▁tokens"
    );
    let strings = metadata.require::<Vec<&str>>("test.strings").unwrap();
    assert_eq!(strings, ["<s>", "", "▁a", "日本"]);
    assert_eq!(
        metadata.require::<Vec<i32>>("test.integers").unwrap(),
        [1, -2, 3]
    );
    assert_eq!(
        metadata.require::<Vec<f32>>("test.floats").unwrap(),
        [0.5, -1.25]
    );
    assert_eq!(metadata.get::<u32>("absent").unwrap(), None);

    let names: Vec<&str> = file.tensors().map(|tensor| tensor.name()).collect();
    assert_eq!(names[..2], ["norm.weight", "embd.weight"]);
    let embedding = file.tensor("embd.weight").unwrap();
    assert_eq!((embedding.rows(), embedding.cols()), (3, 32));
    assert_eq!(embedding.dims(), [32, 3]);
    let mut found = [0.0; 40];
    let norm = file.tensor("norm.weight").unwrap();
    assert_eq!(norm.rows(), 1);
    norm.read_row_f32(0, &mut found).unwrap();
    assert_eq!(found, numbers()[..40]);
    let error = file.tensor("output.weight").err().unwrap();
    assert!(
        error.to_string().contains("\"output.weight\" is missing"),
        "{error}"
    );
    assert!(matches!(
        norm.ternary().err().unwrap(),
        GgufError::NotTernary { .. }
    ));
}

#[test]
fn wrong_values_name_key_value_and_type() {
    let bytes = fixture("written.gguf");
    let file = Gguf::from_bytes("m.gguf", &bytes).unwrap();
    let metadata = file.metadata();
    let cases = [
        (
            metadata.require::<u32>("test.int32").map(|_| ()),
            "m.gguf: metadata key \"test.int32\" is -2000000000 (i32); expected an integer from 0 to 4294967295",
        ),
        (
            metadata.require::<u32>("test.string").map(|_| ()),
            "m.gguf: metadata key \"test.string\" is \"naïve ▁tokens\" (string); expected an integer from 0 to 4294967295",
        ),
        (
            metadata.require::<f32>("test.strings").map(|_| ()),
            "m.gguf: metadata key \"test.strings\" is an array of 4 string; expected a number",
        ),
        (
            metadata.require::<&str>("test.bool").map(|_| ()),
            "m.gguf: metadata key \"test.bool\" is true (bool); expected a string of UTF-8",
        ),
        (
            metadata.require::<bool>("test.uint8").map(|_| ()),
            "m.gguf: metadata key \"test.uint8\" is 200 (u8); expected true or false (bool)",
        ),
        (
            metadata.require::<Vec<u32>>("test.integers").map(|_| ()),
            "m.gguf: metadata key \"test.integers\" is an array of 3 i32; expected an array of integers from 0 to 4294967295",
        ),
        (
            metadata.require::<Array>("test.float64").map(|_| ()),
            "m.gguf: metadata key \"test.float64\" is 0.1 (f64); expected an array",
        ),
        (
            metadata.require::<u32>("llama.block_count").map(|_| ()),
            "m.gguf: metadata key \"llama.block_count\" is missing; expected an integer from 0 to 4294967295",
        ),
        (
            metadata.per_layer("test.strings", 4).map(|_| ()),
            "m.gguf: metadata key \"test.strings\" is an array of 4 string; expected an integer from 0, or an array of 4 of them",
        ),
        (
            metadata.per_layer("test.integers", 4).map(|_| ()),
            "m.gguf: metadata key \"test.integers\" is an array of 3 i32; expected an integer from 0, or an array of 4 of them",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found.unwrap_err().to_string(), expected);
    }
    assert_eq!(
        metadata.per_layer("test.uint8", 2).unwrap(),
        Some(vec![200, 200])
    );
    assert_eq!(metadata.per_layer("absent", 2).unwrap(), None);
}

/// A file's keys can be copied to another, to the bit.
#[test]
fn keys_are_copied_as_they_are() {
    let bytes = fixture("written.gguf");
    let file = Gguf::from_bytes("m.gguf", &bytes).unwrap();
    let mut header = Header::new();
    for (key, value) in file.metadata().iter() {
        header.set(key, value).unwrap();
    }
    for tensor in file.tensors() {
        header
            .tensor(tensor.name(), tensor.dims(), tensor.kind())
            .unwrap();
    }
    let mut writer = header.begin(Vec::new()).unwrap();
    for tensor in file.tensors() {
        writer.put(tensor.name(), tensor.data()).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), bytes);
}

#[test]
fn the_writer_refuses_what_no_reader_would_take() {
    let mut header = Header::new();
    header.set("a", 1u32).unwrap();
    let error = header.set("a", 2u32).unwrap_err().to_string();
    assert!(error.contains("\"a\": the key is set already"), "{error}");
    assert!(header.set("", 1u32).is_err());
    assert!(header.set("general.alignment", 64u32).is_err());
    header.tensor("x", &[8], TensorType::F32).unwrap();
    let mut refused = |name: &str, dims: &[u64], kind| {
        let error = header.tensor(name, dims, kind).unwrap_err();
        error.to_string()
    };
    assert!(refused("x", &[8], TensorType::F32).contains("there already"));
    assert!(refused("y", &[8, 0], TensorType::F32).contains("[8, 0]"));
    assert!(refused("y", &[8; 5], TensorType::F32).contains("1 to 4 dimensions"));
    assert!(refused("y", &[8], TensorType::Tq1_0).contains("block of 256"));
    assert!(refused(&"y".repeat(64), &[8], TensorType::F32).contains("64 bytes"));
    header.tensor("y", &[8], TensorType::F32).unwrap();

    let begin = || {
        let mut header = Header::new();
        header.tensor("x", &[8], TensorType::F32).unwrap();
        header.tensor("y", &[8], TensorType::F32).unwrap();
        header.begin(Vec::new()).unwrap()
    };
    let error = begin().put("y", &[0; 32]).unwrap_err().to_string();
    assert_eq!(
        error,
        "\"y\" with 32 bytes was given when \"x\" with 32 bytes was due"
    );
    assert!(begin().put("x", &[0; 33]).is_err());
    let mut writer = begin();
    writer.put("x", &[0; 32]).unwrap();
    writer.put("y", &[0; 31]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert_eq!(
        error,
        "the end of the file was given when \"y\" with 1 bytes was due"
    );
    let mut writer = begin();
    writer.put("x", &[0; 32]).unwrap();
    writer.put("y", &[0; 32]).unwrap();
    assert!(writer.put("z", &[]).is_err());
}

fn part(number: u16, count: u16, tensors: i32, name: &str) -> Raw {
    Raw::new()
        .key("split.no", 2, &number.to_le_bytes())
        .key("split.count", 2, &count.to_le_bytes())
        .key("split.tensors.count", 5, &tensors.to_le_bytes())
        .key("general.name", 8, &string(name))
        .tensor(name, &[2], 0, 0)
        .data([f32::from(number).to_le_bytes(), [0; 4]].concat())
}

#[test]
fn split_models_are_read_as_one() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |number: u16| {
        temporary
            .path()
            .join(format!("m-{number:05}-of-00003.gguf"))
    };
    for (number, name) in [(0, "a"), (1, "b"), (2, "c")] {
        fs::write(path(number + 1), part(number, 3, 3, name).bytes()).unwrap();
    }
    let file = Gguf::open(&path(1)).unwrap();
    assert_eq!((file.parts(), file.tensors().len()), (3, 3));
    assert_eq!(
        file.metadata().require::<&str>("general.name").unwrap(),
        "a"
    );
    for (name, number) in [("a", 0.0), ("b", 1.0), ("c", 2.0)] {
        let mut found = [9.0; 2];
        let tensor = file.tensor(name).unwrap();
        tensor.read_row_f32(0, &mut found).unwrap();
        assert_eq!(found, [number, 0.0]);
        assert!(
            tensor
                .file()
                .ends_with(&format!("m-{:05}-of-00003.gguf", number as u32 + 1))
        );
    }
    let fails = |words: &[&str], number: u16| {
        let error = Gguf::open(&path(number)).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    };
    fails(&["file 2 of a model in 3 files", "-00001-of-00003.gguf"], 2);
    fs::write(path(3), part(1, 3, 3, "c").bytes()).unwrap();
    fails(&["m-00003-of-00003.gguf", "file 2 of 3", "file 3 of 3"], 1);
    fs::write(path(3), part(2, 3, 3, "b").bytes()).unwrap();
    fails(&["tensor \"b\" is there twice"], 1);
    fs::write(path(3), part(2, 3, 3, "c").bytes()).unwrap();
    fs::write(path(1), part(0, 3, 4, "a").bytes()).unwrap();
    fails(&["3 tensors together", "says 4"], 1);
    fs::remove_file(path(3)).unwrap();
    fails(&["file 3 of 3 is missing", "m-00003-of-00003.gguf"], 1);
    let other = temporary.path().join("renamed.gguf");
    fs::write(&other, part(0, 3, 3, "a").bytes()).unwrap();
    let error = Gguf::open(&other).unwrap_err().to_string();
    assert!(
        error.contains("does not end in -00001-of-00003.gguf"),
        "{error}"
    );
}

#[test]
fn files_that_cannot_be_opened_say_why() {
    let temporary = tempfile::tempdir().unwrap();
    let error = Gguf::open(&temporary.path().join("absent.gguf")).unwrap_err();
    assert!(matches!(error, GgufError::Read { .. }), "{error}");
    let error = Gguf::open(temporary.path()).unwrap_err().to_string();
    assert!(error.contains("a folder, pipe or device"), "{error}");
    let empty = temporary.path().join("empty.gguf");
    fs::write(&empty, []).unwrap();
    assert!(matches!(
        Gguf::open(&empty).unwrap_err(),
        GgufError::Empty { .. }
    ));
}

/// Both layouts of type 42, told apart by what follows.
#[test]
fn layouts_of_type_42_are_told_apart() {
    let file = |rows, id, next: Option<u64>, len| {
        let mut raw = Raw::new().tensor("w", &[256, rows], id, 0);
        if let Some(offset) = next {
            raw = raw.tensor("v", &[8], 0, offset);
        }
        raw.zeros(len).bytes()
    };
    for (rows, next, len, expected, why) in [
        (
            16,
            Some(1152),
            1184,
            TensorType::Q2_0,
            "all offsets fit that alone",
        ),
        (
            16,
            Some(1088),
            1120,
            TensorType::Q2_0Group128,
            "all offsets fit that alone",
        ),
        (16, None, 1152, TensorType::Q2_0, "the file ends where"),
        (
            16,
            None,
            1088,
            TensorType::Q2_0Group128,
            "the file ends where",
        ),
        // Without the padding at the end.
        (1, None, 72, TensorType::Q2_0, "the file ends where"),
        (1, None, 68, TensorType::Q2_0Group128, "the file ends where"),
    ] {
        let bytes = file(rows, 42, next, len);
        let file = Gguf::from_bytes("q.gguf", &bytes).unwrap();
        assert_eq!(
            file.tensor("w").unwrap().kind(),
            expected,
            "{rows} rows, {len} bytes"
        );
        assert!(file.notes()[0].contains(why), "{:?}", file.notes());
    }
    // A truncated file of one layout is not a whole one of the other, and one that fits both is refused.
    for (rows, next, len) in [(16, None, 1100), (1, None, 96), (1, Some(96), 128)] {
        let bytes = file(rows, 42, next, len);
        let error = Gguf::from_bytes("q.gguf", &bytes).unwrap_err();
        assert!(matches!(error, GgufError::Q2Layout { .. }), "{error}");
    }
    let bytes = file(16, 42, Some(1088), 1100);
    let error = Gguf::from_bytes("q.gguf", &bytes).unwrap_err();
    assert!(matches!(error, GgufError::Truncated { .. }), "{error}");
}
