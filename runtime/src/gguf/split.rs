//! Models in several files, `NAME-00001-of-00005.gguf` and so on, which belong together by a count in each.

use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::header;
use super::metadata::Metadata;
use super::metadata_of;
use crate::checkpoint::WeightFile;

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

fn wrong(file: &str, reason: String) -> GgufError {
    GgufError::Split {
        file: file.to_owned(),
        reason,
    }
}

/// Number of files of the model; 1 where the file does not say that there are more.
fn count(metadata: Metadata<'_>) -> Result<u32, GgufError> {
    Ok(metadata.get::<u32>(COUNT)?.unwrap_or(1).max(1))
}

/// The paths of the other files of the model whose first is `path`.
pub(super) fn others(path: &Path, metadata: Metadata<'_>) -> Result<Vec<PathBuf>, GgufError> {
    let count = count(metadata)?;
    if count == 1 {
        return Ok(Vec::new());
    }
    let number = metadata.require::<u32>(NUMBER)?;
    if number != 0 {
        return Err(wrong(
            metadata.file,
            format!(
                "this is file {} of a model in {count} files; name the first of them, …-00001-of-{count:05}.gguf",
                u64::from(number) + 1
            ),
        ));
    }
    let end = format!("-00001-of-{count:05}.gguf");
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(stem) = name.and_then(|name| name.strip_suffix(&end)) else {
        return Err(wrong(
            metadata.file,
            format!(
                "this is the first of {count} files, but its name does not end in {end}, so the others cannot be found; give all of them \
                 their names back"
            ),
        ));
    };
    // As many as the file claims, but each is looked for before the next.
    let mut paths = Vec::new();
    for number in 2..=count {
        let other = path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"));
        if !other.exists() {
            return Err(wrong(
                metadata.file,
                format!(
                    "file {number} of {count} is missing; expected it at {}",
                    other.display()
                ),
            ));
        }
        paths.push(other);
    }
    Ok(paths)
}

/// Refuses the bytes of one file of several.
pub(super) fn refuse(metadata: Metadata<'_>) -> Result<(), GgufError> {
    match count(metadata)? {
        1 => Ok(()),
        count => Err(wrong(
            metadata.file,
            format!("a model in {count} files cannot be read from memory; name the first file"),
        )),
    }
}

/// Compares what each file says of itself with its place.
pub(super) fn check(
    files: &[WeightFile<'_>],
    headers: &[header::Header],
    tensors: usize,
) -> Result<(), GgufError> {
    if files.len() == 1 {
        return Ok(());
    }
    for (index, (file, header)) in files.iter().zip(headers).enumerate() {
        let metadata = metadata_of(file, header);
        let (number, count) = (metadata.require::<u32>(NUMBER)?, count(metadata)?);
        if number as usize != index || count as usize != files.len() {
            return Err(wrong(
                file.name(),
                format!(
                    "it says that it is file {} of {count}, and its name that it is file {} of {}; the files are of several models, \
                     download them again",
                    u64::from(number) + 1,
                    index + 1,
                    files.len()
                ),
            ));
        }
    }
    let first = metadata_of(&files[0], &headers[0]);
    match first.get::<u64>(TENSORS)? {
        Some(expected) if expected != tensors as u64 => Err(wrong(
            first.file,
            format!(
                "the model's files have {tensors} tensors together, the first says {expected}; download them again"
            ),
        )),
        _ => Ok(()),
    }
}
