//! The unix socket of the admin API: made so that nobody meets it half made, and taken away only by
//! who made it.
//!
//! The steps: bind under a name beside the path, set mode and group, only then listen, and rename
//! into place. Until it listens nobody can connect, and the rename replaces a stale socket in one
//! step. The guard remembers the inode; at its end the path is removed only if it is still that.

use std::fmt::Display;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::net::UnixListener;

/// Owner and group may connect.
const MODE: u32 = 0o660;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Removes the socket when dropped, if it is still the one that was made.
#[derive(Debug)]
pub struct SocketGuard {
    path: PathBuf,
    made: (u64, u64),
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        if identity(&self.path).ok() == Some(self.made) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path` with mode 0660 and, if named, that group. A socket on which nobody answers is
/// replaced, one on which somebody does is an error. Every error says what to do.
pub fn bind_unix(path: &Path, group: Option<&str>) -> io::Result<(UnixListener, SocketGuard)> {
    let gid = group.map(gid_of).transpose()?;
    make_sure_nobody_answers(path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(said(
            ErrorKind::NotFound,
            format!("there is no folder {} for the socket", folder.display()),
        ));
    }
    let beside = folder.join(format!(".tg{}.{:x}", std::process::id(), fastrand::u16(..)));
    let made = make(&beside, gid, group.unwrap_or_default());
    let placed = made.and_then(|listener| {
        let made = identity(&beside)?;
        fs::rename(&beside, path)?;
        let guard = SocketGuard {
            path: path.to_path_buf(),
            made,
        };
        Ok((UnixListener::from_std(listener)?, guard))
    });
    placed.map_err(|error| {
        let _ = fs::remove_file(&beside);
        said(error.kind(), format!("{}: {error}", path.display()))
    })
}

fn said(kind: ErrorKind, what: impl Display) -> io::Error {
    io::Error::new(kind, what.to_string())
}

fn make(
    path: &Path,
    gid: Option<u32>,
    group: &str,
) -> io::Result<std::os::unix::net::UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    if let Some(gid) = gid {
        chown(path, None, Some(gid)).map_err(|error| {
            said(
                error.kind(),
                format!("cannot give the socket to group {group:?}: {error} (the process must be in that group)"),
            )
        })?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn make_sure_nobody_answers(path: &Path) -> io::Result<()> {
    let at = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(said(error.kind(), format!("{at}: {error}"))),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let what = format!("{at} is there and is no socket; it was left alone");
            return Err(said(ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path)?;
    match rustix::net::connect(&socket, &address).map_err(io::Error::from) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // A full queue is somebody's, too.
        Ok(()) => Err(answered(path)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(answered(path)),
        Err(error) => Err(said(error.kind(), format!("{at}: {error}"))),
    }
}

fn answered(path: &Path) -> io::Error {
    let what = format!("another tidegate answers at {}", path.display());
    said(ErrorKind::AddrInUse, what)
}

/// The id of a group by its name in `/etc/group`, or by number.
fn gid_of(group: &str) -> io::Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let groups = fs::read_to_string("/etc/group")?;
    gid_in(&groups, group).ok_or_else(|| {
        said(
            ErrorKind::NotFound,
            format!("there is no group {group:?} in /etc/group (a group id works too)"),
        )
    })
}

fn gid_in(groups: &str, group: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        (name == group).then(|| gid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn only_file(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_and_goes_with_its_guard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let own_group = fs::metadata(folder.path()).unwrap().gid().to_string();
        let (listener, guard) = bind_unix(&path, Some(&own_group)).unwrap();
        assert_eq!(mode_of(&path), 0o660);
        assert_eq!(only_file(folder.path()), ["admin.sock"]);
        let client = tokio::net::UnixStream::connect(&path).await;
        assert!(client.is_ok());
        drop((listener, guard));
        assert!(only_file(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        // Closed, but its file stays: what a killed process leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_listener, _guard) = bind_unix(&path, None).unwrap();
        let error = bind_unix(&path, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("another tidegate answers at {}", path.display())
        );
        assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn the_guard_leaves_alone_what_somebody_else_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (first, first_guard) = bind_unix(&path, None).unwrap();
        drop(first);
        let (_second, _second_guard) = bind_unix(&path, None).unwrap();
        drop(first_guard);
        assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_said_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "kept").unwrap();
        let text = |path: &Path, group| bind_unix(path, group).unwrap_err().to_string();
        assert_eq!(
            text(&file, None),
            format!(
                "{} is there and is no socket; it was left alone",
                file.display()
            )
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        let missing = folder.path().join("missing");
        assert_eq!(
            text(&missing.join("admin.sock"), None),
            format!("there is no folder {} for the socket", missing.display())
        );
        assert_eq!(
            text(&folder.path().join("a"), Some("no-such-group")),
            "there is no group \"no-such-group\" in /etc/group (a group id works too)"
        );
        assert_eq!(only_file(folder.path()), ["file"]);
    }

    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\ndeploy:x:1007:a,b\nbroken\n";
        assert_eq!(gid_in(groups, "deploy"), Some(1007));
        assert_eq!(gid_in(groups, "dep"), None);
        assert_eq!(gid_in(groups, "broken"), None);
    }
}
