//! Files that are either whole or not there.
//!
//! A file is written beside its destination, flushed to the disk and then renamed over it. So a reader never sees
//! half a profile, and an interrupted or failed tuning leaves the old one as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tern_kernels::{Cpu, Profile};

/// Why a file was not written. Whatever was there before is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The path has no file name, or is a directory.
    #[error("{0} is not the path of a file; name a file to write")]
    NotAFile(PathBuf),
    /// The directory of the file does not exist.
    #[error(
        "cannot write {path}: the directory {directory} does not exist; create it or choose another path"
    )]
    NoDirectory {
        /// The file.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
    /// The user may not write there.
    #[error(
        "cannot write {path}: no permission to write in {directory}; choose another path with --out"
    )]
    Permission {
        /// The file.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
    /// The disk, or the user's share of it, is full.
    #[error(
        "cannot write {path}: no space left on the disk ({bytes} bytes needed); free some or choose another path with --out"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The size of the text.
        bytes: usize,
    },
    /// Something else.
    #[error("cannot write {path}: {source}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
    #[error(
        "there is no default place for a profile: neither XDG_CONFIG_HOME nor HOME is an absolute path; name a file with --out"
    )]
    NoHome,
}

impl WriteError {
    fn new(path: &Path, bytes: usize, source: io::Error) -> WriteError {
        let (path, directory) = (path.to_path_buf(), directory(path).to_path_buf());
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                WriteError::NoDirectory { path, directory }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                WriteError::Permission { path, directory }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                WriteError::Full { path, bytes }
            }
            io::ErrorKind::IsADirectory => WriteError::NotAFile(path),
            _ => WriteError::Other { path, source },
        }
    }
}

/// The directory that `path` lies in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes `text` to `path`, whole or not at all.
///
/// # Errors
/// See [`WriteError`]; the message names the path and what to do.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), WriteError> {
    let not_a_file = || WriteError::NotAFile(path.to_path_buf());
    let name = path.file_name().ok_or_else(not_a_file)?;
    if path.is_dir() {
        return Err(not_a_file());
    }
    // A link is followed, so that what it points to is replaced and not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory(&target).join(temporary_name);
    let result = write_and_rename(&temporary, &target, text);
    if result.is_err() {
        // It may not exist at all; that is just as well.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(|source| WriteError::new(path, text.len(), source))
}

fn write_and_rename(temporary: &Path, target: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    if let Ok(old) = fs::metadata(target) {
        // Keep what the user set on the file, such as a profile that a group may read.
        fs::set_permissions(temporary, old.permissions())?;
    }
    fs::rename(temporary, target)?;
    // The rename itself is on the disk once the directory is. Not every system can flush one; the file is whole
    // anyway.
    if let Ok(directory) = File::open(directory(target)) {
        let _ = directory.sync_all();
    }
    Ok(())
}

/// Creates a directory and those above it, as far as they are missing.
///
/// # Errors
/// See [`WriteError`].
pub fn create_directory(path: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => WriteError::Other {
            path: path.to_path_buf(),
            source: io::Error::other("a file is in the way of the directory"),
        },
        _ => WriteError::new(path, 0, source),
    })
}

/// Writes a profile to `path`, whole or not at all.
///
/// # Errors
/// See [`WriteError`].
pub fn write_profile(profile: &Profile, path: &Path) -> Result<(), WriteError> {
    write_atomically(path, &profile.to_toml())
}

/// The file in which the profile of `cpu` is looked for by default; its directories are created.
///
/// # Errors
/// See [`WriteError`].
pub fn default_profile_path(cpu: &Cpu) -> Result<PathBuf, WriteError> {
    let path = Profile::default_path(cpu).ok_or(WriteError::NoHome)?;
    create_directory(directory(&path))?;
    Ok(path)
}

/// Adds the entries of a new profile to an old one of the same CPU: where both have a shape and thread count, the new
/// entry stays. Date and engine are the new one's.
pub fn merge_profiles(old: Profile, mut new: Profile) -> Profile {
    let key = |entry: &tern_kernels::Entry| (entry.rows, entry.cols, entry.threads);
    for entry in old.entries {
        if !new.entries.iter().any(|newer| key(newer) == key(&entry)) {
            new.entries.push(entry);
        }
    }
    new.entries.sort_by_key(key);
    new
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
