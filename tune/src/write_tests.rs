//! What can go wrong with a file, on a real file system. Permission is tested by paths that even root may not write.

use super::*;

/// A directory of its own for each test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tern-write-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_written_and_replaced_and_nothing_else_is_left() {
    let scratch = Scratch::new("replace");
    let path = scratch.0.join("profile.toml");
    write_atomically(&path, "first").unwrap();
    write_atomically(&path, "second").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    assert_eq!(scratch.names(), ["profile.toml"]);
}

#[test]
fn who_reads_and_writes_in_turn_loses_nothing() {
    let scratch = Scratch::new("turn");
    let path = scratch.0.join("numbers");
    write_atomically(&path, "").unwrap();
    let add = |number: usize| {
        let _turn = Turn::of(&path);
        let old = fs::read_to_string(&path).unwrap();
        write_atomically(&path, &format!("{old}{number}\n")).unwrap();
    };
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || (0..10).for_each(|i| add(first * 10 + i)));
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    let mut numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..40));
    assert_eq!(scratch.names(), ["numbers"]);
}

#[test]
fn a_missing_directory_is_named() {
    let scratch = Scratch::new("missing");
    let path = scratch.0.join("no").join("such").join("profile.toml");
    let error = write_atomically(&path, "text").unwrap_err();
    assert!(matches!(error, WriteError::NoDirectory { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("no/such/profile.toml"), "{message}");
    assert!(message.contains("does not exist"), "{message}");
    assert!(scratch.names().is_empty());
}

#[test]
fn a_path_below_a_file_is_refused_and_the_file_is_unchanged() {
    let scratch = Scratch::new("below");
    let file = scratch.0.join("file");
    write_atomically(&file, "keep me").unwrap();
    assert!(write_atomically(&file.join("profile.toml"), "text").is_err());
    let error = create_directory(&file.join("directory"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("file is in the way"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "keep me");
}

#[test]
fn a_directory_is_not_a_file() {
    let scratch = Scratch::new("directory");
    for path in [scratch.0.clone(), PathBuf::from("/"), PathBuf::from("..")] {
        let error = write_atomically(&path, "text").unwrap_err();
        assert!(matches!(error, WriteError::NotAFile(_)), "{error:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_place_where_nobody_may_write_is_refused_with_advice() {
    // No user may create files in /proc; the kernel says "no such file" or "not permitted", depending on its version.
    let message = write_atomically(Path::new("/proc/tern.toml"), "text")
        .unwrap_err()
        .to_string();
    assert!(message.contains("/proc/tern.toml"), "{message}");
}

#[test]
fn each_reason_has_its_own_advice() {
    let path = Path::new("/somewhere/profile.toml");
    let message = |kind: io::ErrorKind| WriteError::new(path, 1234, kind.into()).to_string();
    let denied = message(io::ErrorKind::PermissionDenied);
    assert!(
        denied.contains("no permission to write in /somewhere"),
        "{denied}"
    );
    let full = message(io::ErrorKind::StorageFull);
    assert!(
        full.contains("no space left") && full.contains("1234 bytes"),
        "{full}"
    );
    assert!(message(io::ErrorKind::ReadOnlyFilesystem).contains("no permission"));
    assert!(message(io::ErrorKind::Interrupted).contains("/somewhere/profile.toml"));
}

/// `/dev/full` says "no space left" to every write: what a full disk does. It is a device and stays one.
#[cfg(target_os = "linux")]
#[test]
fn a_device_is_written_directly_and_may_be_full() {
    write_atomically(Path::new("/dev/null"), "text").unwrap();
    let error = write_atomically(Path::new("/dev/full"), "new").unwrap_err();
    assert!(matches!(error, WriteError::Full { .. }), "{error:?}");
    assert!(is_special(Path::new("/dev/full")));
}

#[test]
fn an_abandoned_file_leaves_the_old_one_and_no_rest() {
    let scratch = Scratch::new("abandoned");
    let path = scratch.0.join("profile.toml");
    fs::write(&path, "old").unwrap();
    check_writable(&path).unwrap();
    let mut file = NewFile::create(&path).unwrap();
    file.add(b"half").unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(scratch.names(), ["profile.toml"]);
}

#[cfg(unix)]
#[test]
fn permissions_of_the_old_file_are_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("permissions");
    let path = scratch.0.join("profile.toml");
    write_atomically(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    write_atomically(&path, "new").unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed() {
    let scratch = Scratch::new("link");
    let (real, link) = (scratch.0.join("real.toml"), scratch.0.join("link.toml"));
    fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    write_atomically(&link, "new").unwrap();
    assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_new_directory_is_whole_or_not_there() {
    let scratch = Scratch::new("directory");
    let path = scratch.0.join("a/b");
    let fill = |path: &Path| {
        let directory = NewDirectory::create(path)?;
        write_atomically(&directory.file("x"), "x")?;
        directory.finish()
    };
    fill(&path).unwrap();
    assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "x");
    assert!(matches!(fill(&path), Err(WriteError::Exists(_))));
    // Given up, it leaves no trace; an empty directory is replaced.
    let empty = scratch.0.join("empty");
    drop(NewDirectory::create(&empty).unwrap());
    assert_eq!(scratch.names(), ["a"]);
    fs::create_dir(&empty).unwrap();
    fill(&empty).unwrap();
    assert!(empty.join("x").is_file());
}

#[cfg(unix)]
#[test]
fn what_a_new_directory_cannot_replace_is_refused_before_it_is_filled() {
    let scratch = Scratch::new("replaced");
    let (empty, link) = (scratch.0.join("empty"), scratch.0.join("link"));
    fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink(&empty, &link).unwrap();
    for bad in [
        link,
        empty.join(".."),
        PathBuf::from("/proc"),
        PathBuf::from("/"),
    ] {
        assert!(NewDirectory::create(&bad).is_err(), "{}", bad.display());
    }
    assert!(empty.is_dir());
}
