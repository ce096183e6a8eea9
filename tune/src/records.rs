//! What records of earlier comparisons say of a kernel: the other end of `report.rs` and `study/record.rs`.
//!
//! A record is a folder under `bench-results/<cpu>/` with a `comparison.csv`, and a report has a `standings.csv` beside it. Anything
//! else in the tree is passed by. Files are somebody's: they are capped, and one that is no record is an error that names its line.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Larger files are refused: a record's are some kilobytes.
const FILE_MAX: u64 = 16 << 20;

/// Folders below the given one that are looked into: `<cpu>/<date>-<commit>`.
const DEPTH: usize = 2;

/// The tables of a record whose lines each time one kernel.
const TABLES: [&str; 2] = ["comparison.csv", "standings.csv"];

/// One line of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The record's folder.
    #[serde(skip_deserializing)]
    pub record: PathBuf,
    /// Rows of the matrix.
    pub rows: usize,
    /// Its columns.
    pub cols: usize,
    /// Where the weights were: `memory` or `cache`.
    pub residence: String,
    /// Threads.
    pub threads: usize,
    /// The kernel's id.
    pub kernel: String,
    /// Microseconds for one product.
    pub time_us: f64,
    /// Weights a second, all threads together.
    pub weights_per_s: f64,
    /// Weights a cycle of each core, in records that state it.
    #[serde(default)]
    pub weights_per_cycle: Option<f64>,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// The system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a record's table.
    #[error("{path} is no table of a record: {reason}; expected what `tern compare --out` writes")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        reason: String,
    },
    /// A record's tables are small.
    #[error("{path} is too large for a table of a record: expected at most {FILE_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// What the records in and below `dir` say of the kernel `id`: record by record in the order of their paths, weights in memory first,
/// every shape, residence and number of threads of a record once.
///
/// # Errors
///
/// `dir` or a table in it cannot be read, is too large or is no table of a record.
pub fn records_of(dir: &Path, id: &str) -> Result<Vec<Recorded>, RecordsError> {
    let mut found = Vec::new();
    walk(dir, DEPTH, &mut |folder| {
        let mut lines: Vec<Recorded> = Vec::new();
        for path in TABLES.map(|name| folder.join(name)) {
            if path.is_file() {
                lines.extend(table(&path)?.into_iter().filter(|line| line.kernel == id));
            }
        }
        let place = |line: &Recorded| {
            (
                line.residence != "memory",
                line.threads,
                std::cmp::Reverse(line.rows.saturating_mul(line.cols)),
                line.cols,
            )
        };
        // Sorting is stable: of two tables that have the same line, the first's stays.
        lines.sort_by_key(place);
        lines.dedup_by_key(|line| place(line));
        found.extend(lines.into_iter().map(|line| Recorded {
            record: folder.to_owned(),
            ..line
        }));
        Ok(())
    })?;
    Ok(found)
}

/// Visits `dir` and the folders up to `depth` below it, sorted.
fn walk(
    dir: &Path,
    depth: usize,
    visit: &mut impl FnMut(&Path) -> Result<(), RecordsError>,
) -> Result<(), RecordsError> {
    visit(dir)?;
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| RecordsError::Io {
        path: dir.to_owned(),
        source,
    })?;
    // Not through links, which may lead anywhere.
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut folders: Vec<PathBuf> = (entries.iter().filter(|entry| is_folder(entry)))
        .map(fs::DirEntry::path)
        .collect();
    folders.sort();
    folders
        .iter()
        .try_for_each(|folder| walk(folder, depth - 1, visit))
}

/// The lines of a table.
fn table(path: &Path) -> Result<Vec<Recorded>, RecordsError> {
    let io = |source| RecordsError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(RecordsError::TooLarge {
            path: path.to_owned(),
        });
    }
    let lines: Result<Vec<Recorded>, csv::Error> = csv::Reader::from_reader(bytes.as_slice())
        .deserialize()
        .collect();
    let lines = lines
        .map_err(|error| without_kind(&error.to_string()))
        .and_then(|lines| {
            let sane = |line: &Recorded| line.time_us > 0.0 && line.weights_per_s > 0.0;
            match lines.iter().position(|line| !sane(line)) {
                // The header is line 1.
                Some(at) => Err(format!(
                    "line {}: a time or speed that is not above 0",
                    at + 2
                )),
                None => Ok(lines),
            }
        });
    lines.map_err(|reason| RecordsError::Malformed {
        path: path.to_owned(),
        reason,
    })
}

/// A message of the CSV reader without the `CSV parse error: ` or the like that it begins with.
fn without_kind(message: &str) -> String {
    let rest = message.split_once("error: ");
    rest.map_or(message, |(_, rest)| rest).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "rows,cols,residence,threads,pages,kernel,time_us,weights_per_s";

    fn write(folder: &Path, name: &str, text: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn every_place_of_a_record_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let record = root.path().join("cpu/2026-01-01-abc");
        let comparison = format!(
            "{HEAD},weights_per_cycle\n8,40,cache,1,huge,a,1.0,320e6,12.5\n16,40,memory,1,huge,a,2.0,320e6,\n\
             16,40,memory,1,huge,b,9.0,1e6,\n"
        );
        write(&record, "comparison.csv", &comparison);
        let standings = format!(
            "by,{HEAD}\nisa,16,40,memory,1,huge,a,2.5,256e6\ncode,8,40,memory,1,huge,a,1.5,2e6\n"
        );
        write(&record, "standings.csv", &standings);
        write(&root.path().join("cpu"), "notes.txt", "no record");

        let lines = records_of(root.path(), "a").unwrap();
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line.rows, line.residence.as_str(), line.time_us))
            .collect();
        assert_eq!(
            told,
            [(16, "memory", 2.0), (8, "memory", 1.5), (8, "cache", 1.0)]
        );
        assert_eq!(lines[2].weights_per_cycle, Some(12.5));
        assert!(lines.iter().all(|line| line.record == record));
        assert!(records_of(root.path(), "c").unwrap().is_empty());
        assert_eq!(records_of(&record, "b").unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_record_is_an_error_with_file_and_line() {
        let root = tempfile::tempdir().unwrap();
        let complaint = |text: &str| {
            write(root.path(), "comparison.csv", text);
            records_of(root.path(), "a").unwrap_err().to_string()
        };
        for (text, expected) in [
            ("rows,cols\n1,2\n", "missing field"),
            (&format!("{HEAD}\n1,2,memory,one,huge,a,1,1\n"), "line: 2"),
            (&format!("{HEAD}\n1,2,memory,1,huge,a,0,1\n"), "line 2"),
            (&format!("{HEAD}\n1,2,memory,1,huge,a,NaN,1\n"), "line 2"),
            (&format!("{HEAD}\n1,2\n"), "line: 2"),
        ] {
            let said = complaint(text);
            assert!(
                said.contains("comparison.csv") && said.contains(expected),
                "{said}"
            );
        }
        let missing = records_of(&root.path().join("nothing"), "a").unwrap_err();
        assert!(missing.to_string().contains("nothing"), "{missing}");
        fs::write(
            root.path().join("comparison.csv"),
            [0xff, 0xfe, b'\n', 0xff],
        )
        .unwrap();
        assert!(records_of(root.path(), "a").is_err());
    }
}
