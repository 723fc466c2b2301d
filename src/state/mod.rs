//! The state file: what the admin API changed, kept across restarts.
//!
//! Beside `state.json` stand, in the same folder:
//!
//! | file | what it is |
//! | --- | --- |
//! | `state.json.previous` | the one before the last save |
//! | `state.json.tmp`, `state.json.previous.tmp` | a save under way, or one that a crash cut short; never read |
//! | `state.json.lock` | locked (flock) by the proxy that writes here, with its pid |
//! | `state.json.broken-<unix seconds>` | what could not be read, set aside; the newest [`BROKEN_MAX`] |
//!
//! A save writes the temporary file and syncs it, links what is there as the previous copy, renames
//! the temporary file into place and syncs the folder. What always holds, whenever the machine
//! stops: the file is there and whole, or it never was and its previous copy is; once
//! [`StateFile::save`] returned `Ok`, the file is what was saved. Two proxies never write to one
//! file.
//!
//! Who calls it: `server` opens, checks and loads at start, and releases when another process takes
//! over; [`crate::control`] saves, through its [`Store`], one save at a time. What the bytes mean is
//! in [`format`]; what the model means is the model's business.

mod format;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use crate::control::Store;
use crate::pool::model::{Model, UnixMillis};

pub use format::{STATE_BYTES_MAX, VERSION};

/// Set-aside files that are kept; older ones are removed, so that a proxy that is restarted over
/// and over does not fill the disk.
pub const BROKEN_MAX: usize = 5;

/// Readable for the group that deploys, writable for the proxy alone.
const MODE: u32 = 0o640;

/// Why a state file cannot be used, found before anything else is begun.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The folder is not there, or is none.
    #[error("state.file: the folder {} cannot be used: {cause}", folder.display())]
    Folder {
        /// Where the file would be.
        folder: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A file cannot be created in the folder.
    #[error("state.file: {} cannot be created: {cause}", path.display())]
    NotWritable {
        /// What could not be created.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The file is there and this user may not read it.
    #[error("state.file: {} cannot be read: {cause}", path.display())]
    NotReadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Another proxy has it.
    #[error("state.file: another proxy (pid {holder}) uses it: {} is locked", lock.display())]
    Locked {
        /// The lock's file.
        lock: PathBuf,
        /// Who wrote its pid there.
        holder: String,
    },
    /// [`StateFile::release`] was called.
    #[error("state.file: {} was handed over to another process", path.display())]
    Released {
        /// The file.
        path: PathBuf,
    },
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The model, unless there was none that could be read.
    pub model: Option<Model>,
    /// What was wrong, and where it went; told to whoever starts the proxy.
    pub warnings: Vec<String>,
}

/// One state file.
pub struct StateFile {
    path: PathBuf,
    /// Held by a whole save, so that two never write the same temporary file.
    lock: Mutex<Lock>,
}

enum Lock {
    Free,
    /// The lock goes when this file is closed, however the process ends.
    Held(#[expect(dead_code, reason = "held open, never read")] File),
    Released,
}

impl StateFile {
    /// Names a state file; touches nothing.
    pub fn open(path: PathBuf) -> Self {
        Self {
            path,
            lock: Mutex::new(Lock::Free),
        }
    }

    /// Makes sure that the file can be read and written here and by nobody else, and takes its lock.
    pub fn check(&self) -> Result<(), Unusable> {
        self.hold(&mut self.lock.lock().unwrap_or_else(PoisonError::into_inner))?;
        let temporary = self.beside(".tmp");
        let written = create(&temporary).and_then(|_| fs::remove_file(&temporary));
        written.map_err(|cause| Unusable::NotWritable {
            path: temporary,
            cause,
        })?;
        match File::open(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                Err(Unusable::NotReadable {
                    path: self.path.clone(),
                    cause,
                })
            }
            _ => Ok(()),
        }
    }

    /// Gives the lock back for good: another process takes over. Later saves are refused.
    pub fn release(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Lock::Released;
    }

    /// Reads the file, or its previous copy if it is broken. What is broken is set aside.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        let previous = self.beside(".previous");
        let is_missing = match self.read(&self.path, &mut loaded) {
            Found::Model(model) => {
                loaded.model = Some(*model);
                return loaded;
            }
            Found::Nothing => true,
            Found::Broken => false,
        };
        match self.read(&previous, &mut loaded) {
            Found::Model(model) => {
                loaded.model = Some(*model);
                let why = if is_missing { "is missing" } else { "was broken" };
                loaded.warn(format!(
                    "state: {} {why}; its previous copy {} is used, so the last change may be lost \
                     (remove both to start from the configuration alone)",
                    self.path.display(),
                    previous.display()
                ));
            }
            Found::Nothing | Found::Broken if loaded.warnings.is_empty() => {}
            Found::Nothing | Found::Broken => loaded.warn(
                "state: there is no whole copy; the configuration is used, with everything probed first"
                    .into(),
            ),
        }
        loaded
    }

    fn read(&self, path: &Path, loaded: &mut Loaded) -> Found {
        let wrong = match read_bounded(path) {
            Ok(bytes) => match format::decode(&bytes) {
                Ok(model) => return Found::Model(Box::new(model)),
                Err(wrong) => wrong,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => error.to_string(),
        };
        let went = match self.set_aside(path) {
            Ok(aside) => format!("set aside as {}", aside.display()),
            Err(error) => format!("it could not be set aside: {error}"),
        };
        loaded.warn(format!(
            "state: {} is broken: {wrong}; {went}",
            path.display()
        ));
        Found::Broken
    }

    /// Renames a broken file to a name of its own, and removes the oldest of those.
    fn set_aside(&self, path: &Path) -> io::Result<PathBuf> {
        let seconds = now().as_secs();
        let mut aside = self.beside(&format!(".broken-{seconds}"));
        for number in 2..=BROKEN_MAX {
            if fs::symlink_metadata(&aside).is_err() {
                break;
            }
            aside = self.beside(&format!(".broken-{seconds}-{number}"));
        }
        fs::rename(path, &aside)?;
        if let Err(error) = self.prune() {
            tracing::warn!(target: "tidegate::state", %error, "old set-aside state files stay");
        }
        Ok(aside)
    }

    fn prune(&self) -> io::Result<()> {
        let prefix = self.name(".broken-");
        let mut broken = Vec::new();
        for entry in fs::read_dir(self.folder())? {
            let name = entry?.file_name();
            let rest = name.to_str().zip(prefix.to_str());
            let rest = rest.and_then(|(name, prefix)| name.strip_prefix(prefix));
            if let Some(rest) = rest {
                broken.push((age_key(rest), self.folder().join(&name)));
            }
        }
        broken.sort_unstable();
        let surplus = broken.len().saturating_sub(BROKEN_MAX);
        for (_, path) in broken.drain(..surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Takes the lock unless it is held already.
    fn hold(&self, lock: &mut Lock) -> Result<(), Unusable> {
        match lock {
            Lock::Held(_) => return Ok(()),
            Lock::Released => {
                return Err(Unusable::Released {
                    path: self.path.clone(),
                });
            }
            Lock::Free => {}
        }
        let folder = self.folder();
        fs::read_dir(&folder).map_err(|cause| Unusable::Folder { folder, cause })?;
        let path = self.beside(".lock");
        let not_writable = |cause| Unusable::NotWritable {
            path: path.clone(),
            cause,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(MODE);
        let mut file = options.open(&path).map_err(not_writable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = (&file).take(20).read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "unknown" } else { holder };
                return Err(Unusable::Locked {
                    holder: holder.to_owned(),
                    lock: path,
                });
            }
            Err(error) => return Err(not_writable(error.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(not_writable)?;
        *lock = Lock::Held(file);
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    fn name(&self, suffix: &str) -> OsString {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        name
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.folder().join(self.name(suffix))
    }
}

impl Store for StateFile {
    /// After an error the file is as it was; only when the folder cannot be synced, it may be either.
    fn save(&self, model: &Model) -> io::Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.hold(&mut lock).map_err(io::Error::other)?;
        let saved_at = UnixMillis::try_from(now().as_millis()).unwrap_or(UnixMillis::MAX);
        let bytes = format::encode(model, saved_at).map_err(io::Error::other)?;
        let temporary = self.beside(".tmp");
        let mut file = create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        drop(file);
        self.keep_previous()?;
        fs::rename(&temporary, &self.path)?;
        File::open(self.folder())?.sync_all()
    }
}

impl StateFile {
    /// Makes what is there the previous copy too. A link, so that the file itself is never missing;
    /// by way of a third name, since a link does not replace.
    fn keep_previous(&self) -> io::Result<()> {
        let (previous, link) = (self.beside(".previous"), self.beside(".previous.tmp"));
        remove_if_there(&link)?;
        match fs::hard_link(&self.path, &link) {
            Ok(()) => fs::rename(&link, &previous),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // A file system without links: between this rename and the next only the previous copy
            // is there, and a start then uses it.
            Err(_) => fs::rename(&self.path, &previous),
        }
    }
}

enum Found {
    Model(Box<Model>),
    Nothing,
    Broken,
}

impl Loaded {
    fn warn(&mut self, warning: String) {
        tracing::error!(target: "tidegate::state", "{warning}");
        self.warnings.push(warning);
    }
}

fn create(path: &Path) -> io::Result<File> {
    remove_if_there(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(MODE).open(path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before it is opened: opening a named pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let bound = STATE_BYTES_MAX as u64 + 1;
    File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The order of set-aside files: by their second, then by their number. What is not of this form
/// counts as oldest.
fn age_key(rest: &str) -> (u64, u64) {
    let (seconds, number) = rest.split_once('-').unwrap_or((rest, "1"));
    (seconds.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

fn now() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
