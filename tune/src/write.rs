//! Files that are either whole or not there.
//!
//! A file is written beside its destination, flushed to the disk and then renamed over it. So a reader never sees
//! half a profile, and an interrupted or failed tuning leaves the old one as it was. The only writer of all programs
//! here: profiles, records and logits go through [`NewFile`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;
use tern_kernels::{Cpu, Profile};

/// Why a file was not written. Whatever was there before is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The path has no file name, or is a directory.
    #[error("cannot write {0}: it is no file; name a file to write")]
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
        "cannot write {path}: no space left on the disk (at least {bytes} bytes needed); free some or choose another path with --out"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// Bytes that were to be written so far.
        bytes: usize,
    },
    /// A record already stands there.
    #[error("{0} exists already and is never overwritten; name another folder, or remove it")]
    Exists(PathBuf),
    /// A file already stands there that is not to be overwritten.
    #[error("{0} exists already and is not overwritten; choose another name, or remove it")]
    FileExists(PathBuf),
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
    let mut file = NewFile::create(path)?;
    file.add(text.as_bytes())?;
    file.finish()
}

/// As [`write_atomically`], but a file that stands there already is left alone.
///
/// # Errors
/// [`WriteError::FileExists`] for such a file; the message names the path and what to do.
pub fn write_new(path: &Path, text: &str) -> Result<(), WriteError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(WriteError::FileExists(path.to_path_buf()));
    }
    let mut file = NewFile::create(path)?;
    file.add(text.as_bytes())?;
    file.finish_new()
}

/// Fails early if a file at `path` could not be written: before the measuring, not after it.
///
/// # Errors
/// See [`WriteError`].
pub fn check_writable(path: &Path) -> Result<(), WriteError> {
    match is_special(path) {
        true => Ok(()),
        false => NewFile::create(path).map(drop),
    }
}

/// Whether something that is no ordinary file, such as /dev/stdout, stands at `path`.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// How often, and how long apart, a lock is tried.
const TURN_TRIES: u32 = 500;
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// The right to change a file by reading it and writing it anew, while it lives. Others that want it wait: so two programs that each add
/// to a profile at the same moment lose nothing of the other's.
#[derive(Debug)]
pub struct Turn {
    /// The lock ends with it.
    _directory: Option<File>,
}

impl Turn {
    /// Waits for the right to change the file at `path`.
    ///
    /// What is locked is its directory, so that no other file appears. On a system, or a file system, without such locks there is no
    /// waiting, and the last one to write wins. Nor does anybody wait for long: a program that holds the lock for seconds is stopped or lost.
    pub fn of(path: &Path) -> Turn {
        // A link is followed, since what it points to is replaced.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let directory = File::open(directory(&place)).ok();
        for _ in 0..TURN_TRIES {
            match directory.as_ref().map(File::try_lock) {
                Some(Err(TryLockError::WouldBlock)) => std::thread::sleep(TURN_PAUSE),
                _ => break,
            }
        }
        Turn {
            _directory: directory,
        }
    }
}

/// A file in the making. It lies beside its destination, under a name that nobody can foresee, until
/// [`NewFile::finish`] moves it there; dropped before, it leaves no trace. Devices and pipes cannot be replaced and
/// are written directly.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    target: Target,
    /// Bytes so far.
    bytes: usize,
}

#[derive(Debug)]
enum Target {
    /// A temporary file, and where it is to go.
    Ordinary(BufWriter<NamedTempFile>, PathBuf),
    Special(BufWriter<File>),
}

impl NewFile {
    /// Begins to write the file at `path`.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn create(path: &Path) -> Result<NewFile, WriteError> {
        if path.is_dir() || path.file_name().is_none() {
            return Err(WriteError::NotAFile(path.to_path_buf()));
        }
        let target = if is_special(path) {
            let file = OpenOptions::new().write(true).open(path);
            file.map(|file| Target::Special(BufWriter::new(file)))
        } else {
            // A link is followed, so that what it points to is replaced and not the link.
            let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
            temporary(directory(&place)).map(|file| Target::Ordinary(BufWriter::new(file), place))
        };
        Ok(NewFile {
            target: target.map_err(|source| WriteError::new(path, 0, source))?,
            path: path.to_path_buf(),
            bytes: 0,
        })
    }

    /// Adds `bytes` at the end.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.bytes += bytes.len();
        let written = match &mut self.target {
            Target::Ordinary(file, _) => file.write_all(bytes),
            Target::Special(file) => file.write_all(bytes),
        };
        written.map_err(|source| WriteError::new(&self.path, self.bytes, source))
    }

    /// Moves the file to its place, with all bytes on the disk.
    ///
    /// # Errors
    /// See [`WriteError`]. What stood there before is then unchanged.
    pub fn finish(self) -> Result<(), WriteError> {
        self.finish_by(replace)
    }

    /// As [`NewFile::finish`], but only where nothing stands there.
    ///
    /// # Errors
    /// [`WriteError::FileExists`]. See [`WriteError`].
    fn finish_new(self) -> Result<(), WriteError> {
        let path = self.path.clone();
        let finished = self.finish_by(|file, place| {
            file.as_file().sync_all()?;
            let moved = file.persist_noclobber(place);
            moved.map(drop).map_err(|error| error.error)
        });
        finished.map_err(|error| match error {
            WriteError::Other { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                WriteError::FileExists(path)
            }
            error => error,
        })
    }

    fn finish_by(
        self,
        put: impl FnOnce(NamedTempFile, &Path) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let finished = match self.target {
            Target::Special(mut file) => file.flush(),
            Target::Ordinary(file, place) => match file.into_inner() {
                Ok(file) => put(file, &place),
                Err(error) => Err(error.into_error()),
            },
        };
        finished.map_err(|source| WriteError::new(&self.path, self.bytes, source))
    }
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn replace(file: NamedTempFile, place: &Path) -> io::Result<()> {
    if let Ok(old) = fs::metadata(place) {
        // Keep what the user set on the file, such as a profile that a group may read.
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(place).map_err(|error| error.error)?;
    // The rename itself is on the disk once the directory is. Not every system can flush one; the file is whole
    // anyway.
    if let Ok(directory) = File::open(directory(place)) {
        let _ = directory.sync_all();
    }
    Ok(())
}

fn temporary(directory: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tern-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Temporary files are private by default; this one is to become an ordinary file, within the user's umask.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
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

/// Fails if something stands at `path` that a new directory would replace; an ordinary empty directory may stand there.
///
/// # Errors
/// [`WriteError::Exists`].
pub fn check_new_directory(path: &Path) -> Result<(), WriteError> {
    let is_empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let is_free = is_empty || fs::symlink_metadata(path).is_err();
    match is_free && can_be_replaced(path) {
        true => Ok(()),
        false => Err(WriteError::Exists(path.to_path_buf())),
    }
}

/// A directory in the making. It is filled under a name that nobody can foresee, beside its place, and moved there by
/// [`NewDirectory::finish`]: it is whole or not there. Dropped before, it leaves no trace.
#[derive(Debug)]
pub struct NewDirectory {
    path: PathBuf,
    temporary: tempfile::TempDir,
}

impl NewDirectory {
    /// Begins the directory at `path`, which must not exist, or be empty.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn create(path: &Path) -> Result<NewDirectory, WriteError> {
        check_new_directory(path)?;
        let parent = directory(path);
        create_directory(parent)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tern-").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As for files: an ordinary directory, within the user's umask.
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let temporary = builder.tempdir_in(parent);
        Ok(NewDirectory {
            temporary: temporary.map_err(|source| WriteError::new(path, 0, source))?,
            path: path.to_path_buf(),
        })
    }

    /// Where a file of it is written.
    pub fn file(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Moves it to its place.
    ///
    /// # Errors
    /// See [`WriteError`]. What stood there before is then unchanged.
    pub fn finish(self) -> Result<(), WriteError> {
        let NewDirectory { path, temporary } = self;
        // Where renaming does not replace an empty directory.
        #[cfg(not(unix))]
        let _ = fs::remove_dir(&path);
        let moved = fs::rename(temporary.path(), &path);
        moved.map_err(|source| WriteError::new(&path, 0, source))?;
        // It has moved: there is nothing left to remove.
        let _ = temporary.keep();
        if let Ok(parent) = File::open(directory(&path)) {
            let _ = parent.sync_all();
        }
        Ok(())
    }
}

/// Whether a new directory can take the place of what is at `path`, if anything is: not of a link, of a directory that programs are in, or of the
/// root of a file system. To find that out at the end would be late.
fn can_be_replaced(path: &Path) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else {
        return path.file_name().is_some();
    };
    let (Some(_), Ok(place)) = (path.file_name(), fs::canonicalize(path)) else {
        return false;
    };
    let is_in_use = std::env::current_dir().is_ok_and(|here| here.starts_with(&place));
    #[cfg(unix)]
    let is_root = {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(directory(path)).is_ok_and(|parent| parent.dev() != found.dev())
    };
    #[cfg(not(unix))]
    let is_root = false;
    !found.is_symlink() && !is_in_use && !is_root
}

/// Writes files, given by name and text, into a new directory, and returns their paths. It is whole or not there.
///
/// # Errors
/// See [`WriteError`].
pub fn write_directory(
    path: &Path,
    files: &[(String, String)],
) -> Result<Vec<PathBuf>, WriteError> {
    let directory = NewDirectory::create(path)?;
    for (name, text) in files {
        write_atomically(&directory.file(name), text)?;
    }
    directory.finish()?;
    Ok(files.iter().map(|(name, _)| path.join(name)).collect())
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

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
