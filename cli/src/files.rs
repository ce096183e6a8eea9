//! Reading texts, and writing files that appear whole or not at all.

use std::fs;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use tempfile::NamedTempFile;

/// Longest text that is read; far beyond any context.
const TEXT_MAX: u64 = 1 << 30;

/// Reads a text file, or standard input if `path` is `-`.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        return read_all(io::stdin().lock(), "standard input");
    }
    let name = path.display().to_string();
    if path.is_dir() {
        bail!("{name} is a folder; expected a text file");
    }
    let file = fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
    read_all(file, &name)
}

fn read_all(source: impl io::Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(TEXT_MAX + 1).read_to_end(&mut bytes);
    if read.with_context(|| format!("cannot read {name}"))? as u64 > TEXT_MAX {
        bail!("{name} has more than {TEXT_MAX} bytes; expected a text");
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow!("{name} is not UTF-8 text (byte {at} is the first that is not); convert it, for example with iconv")
    })
}

/// Fails early if a file at `path` could not be written: before a minute of tuning, not after it.
pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    if is_special(path) {
        return Ok(());
    }
    NewFile::create(path).map(drop)
}

/// Whether something that is no ordinary file, such as /dev/stdout, stands at `path`.
pub fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// A file in the making. It lies beside its destination until [`NewFile::finish`] moves it there; dropped before, it
/// leaves no trace. Devices and pipes cannot be replaced and are written directly.
pub struct NewFile {
    path: PathBuf,
    target: Target,
}

enum Target {
    /// A temporary file, and where it is to go.
    Ordinary(BufWriter<NamedTempFile>, PathBuf),
    Special(BufWriter<fs::File>),
}

impl NewFile {
    /// Begins to write the file at `path`.
    pub fn create(path: &Path) -> anyhow::Result<NewFile> {
        if path.is_dir() || path.file_name().is_none() {
            bail!(
                "cannot write {}: it is a folder; name a file",
                path.display()
            );
        }
        let target = if is_special(path) {
            let file = fs::OpenOptions::new().write(true).open(path);
            Target::Special(BufWriter::new(
                file.map_err(|error| cannot_write(path, &error))?,
            ))
        } else {
            // What a link points to is replaced, not the link.
            let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let file = temporary(folder_of(&place)).map_err(|error| cannot_write(path, &error))?;
            Target::Ordinary(BufWriter::new(file), place)
        };
        Ok(NewFile {
            path: path.to_owned(),
            target,
        })
    }

    /// Adds `bytes`.
    pub fn add(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = match &mut self.target {
            Target::Ordinary(file, _) => file.write_all(bytes),
            Target::Special(file) => file.write_all(bytes),
        };
        written.map_err(|error| cannot_write(&self.path, &error))
    }

    /// Moves the file to its place, with all bytes on the disk.
    pub fn finish(self) -> anyhow::Result<()> {
        let finished = match self.target {
            Target::Special(mut file) => file.flush(),
            Target::Ordinary(file, place) => file
                .into_inner()
                .map_err(|error| error.into_error())
                .and_then(|file| {
                    file.as_file().sync_all()?;
                    file.persist(place).map_err(|error| error.error)?;
                    Ok(())
                }),
        };
        finished.map_err(|error| cannot_write(&self.path, &error))
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Says why `path` was not written, and what to do.
fn cannot_write(path: &Path, error: &io::Error) -> anyhow::Error {
    let folder = folder_of(path).display();
    let reason = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("the folder {folder} does not exist; create it or choose another path")
        }
        io::ErrorKind::NotADirectory => format!("{folder} is no folder; choose another path"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("no permission to write in {folder}; choose another path")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "no space left on the disk; free some or choose another path".to_owned()
        }
        _ => error.to_string(),
    };
    anyhow!("cannot write {}: {reason}", path.display())
}

#[cfg(unix)]
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    // Temporary files are private by default; this one is to become an ordinary file, within the user's umask.
    let permissions = fs::Permissions::from_mode(0o666);
    tempfile::Builder::new()
        .prefix(".tern-")
        .suffix(".tmp")
        .permissions(permissions)
        .tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".tern-")
        .suffix(".tmp")
        .tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_finished_and_an_abandoned_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let mut file = NewFile::create(&path).unwrap();
        file.add(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(names(), 0);
        let mut file = NewFile::create(&path).unwrap();
        file.add(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), names()),
            (b"whole".as_slice(), 1)
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let error = read_all(&b"abc\xff"[..], "x").unwrap_err().to_string();
        assert!(error.contains("byte 3"), "{error}");
    }
}
