//! Input files are regular files: a named pipe would wait for somebody to write into it, a device never end.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Whether a folder has such an entry: a link that leads nowhere, or where nobody may look, is one, so that reading it is
/// an error and not the same as its absence.
pub(crate) fn exists(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => {
            !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
    }
}

/// Opens a regular file for reading.
///
/// # Errors
/// The system's, and [`io::ErrorKind::InvalidInput`] for folders, pipes, sockets and devices, in words.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Before opening, too: opening a named pipe waits.
    check(&metadata(path)?)?;
    let file = File::open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// All bytes of a regular file.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All of a regular file, as text.
///
/// # Errors
/// As [`open`], and [`io::ErrorKind::InvalidData`] for what is no UTF-8.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 from byte {at} on"))
    })
}

/// What the system says of a file; of a link that leads nowhere, that it is one.
///
/// # Errors
/// The system's.
pub(crate) fn metadata(path: &Path) -> io::Result<Metadata> {
    std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            io::Error::new(io::ErrorKind::NotFound, "it is a link that leads nowhere")
        }
        _ => error,
    })
}

fn check(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => {
            let words = format!("it is {}, not a regular file", kind(metadata.file_type()));
            Err(io::Error::new(io::ErrorKind::InvalidInput, words))
        }
    }
}

fn kind(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "something else" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_everything_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(read(&file).unwrap(), b"text");
        assert!(read(folder.path()).unwrap_err().to_string().contains("a folder"));
        std::fs::write(&file, b"ab\xff").unwrap();
        assert!(read_to_string(&file).unwrap_err().to_string().contains("byte 2"));
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_sockets_are_refused() {
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("a device"));
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(read(&socket).unwrap_err().to_string().contains("a socket"));
    }
}
