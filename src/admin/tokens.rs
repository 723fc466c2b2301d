//! The tokens of the admin API on TCP: one file each, two at once while one replaces the other.
//!
//! A set is read whole or not at all; reading it again swaps it in one step, so that a request sees
//! the old set or the new one. Comparing takes the same time whatever the token: every one is
//! compared, over a fixed length.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use subtle::{Choice, ConstantTimeEq};

/// Shorter ones could be guessed: 16 random bytes are beyond that.
pub const TOKEN_BYTES_MIN: usize = 16;

/// Longer ones are refused; tokens are compared over this length.
pub const TOKEN_BYTES_MAX: usize = 256;

/// The tokens that are taken now. Clones share one set.
#[derive(Clone)]
pub struct Tokens {
    files: Arc<[(String, PathBuf)]>,
    set: Arc<ArcSwap<Vec<Token>>>,
}

struct Token {
    name: String,
    padded: Padded,
}

struct Padded {
    bytes: [u8; TOKEN_BYTES_MAX],
    length: u64,
}

impl Tokens {
    /// Reads the files, by the names that become the actors. Says every problem.
    pub fn load(files: Vec<(String, PathBuf)>) -> Result<Self, String> {
        let (set, warnings) = read_all(&files)?;
        warn_of(&warnings);
        Ok(Self {
            files: files.into(),
            set: Arc::new(ArcSwap::from_pointee(set)),
        })
    }

    /// Reads the same files and says what is wrong with them; the set stays.
    pub fn check(&self) -> Result<(), String> {
        read_all(&self.files).map(|_| ())
    }

    /// Reads the same files again; the old set stays if there is a problem. Gives warnings back.
    pub fn reload(&self) -> Result<Vec<String>, String> {
        let (set, warnings) = read_all(&self.files)?;
        self.set.store(Arc::new(set));
        warn_of(&warnings);
        Ok(warnings)
    }

    /// The name of a token, if it is one.
    pub(super) fn name_of(&self, token: &str) -> Option<String> {
        let asked = Padded::of(token)?;
        let set = self.set.load();
        // No early end: how long this takes does not say which one came close.
        let mut name = None;
        for token in set.iter() {
            if bool::from(token.padded.is(&asked)) {
                name = Some(token.name.clone());
            }
        }
        name
    }
}

impl Padded {
    fn of(token: &str) -> Option<Self> {
        let mut bytes = [0; TOKEN_BYTES_MAX];
        bytes
            .get_mut(..token.len())?
            .copy_from_slice(token.as_bytes());
        let length = u64::try_from(token.len()).ok()?;
        Some(Self { bytes, length })
    }

    fn is(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes) & self.length.ct_eq(&other.length)
    }
}

fn warn_of(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

fn read_all(files: &[(String, PathBuf)]) -> Result<(Vec<Token>, Vec<String>), String> {
    if files.is_empty() {
        return Err("there is no token (expected at least one token file)".to_owned());
    }
    let (mut set, mut warnings, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (name, file) in files {
        match read(file) {
            Ok((padded, is_open)) => {
                if is_open {
                    warnings.push(format!(
                        "token {name:?}: {} is readable by everyone (expected mode 0600 or 0640)",
                        file.display()
                    ));
                }
                let name = name.clone();
                set.push(Token { name, padded });
            }
            Err(problem) => {
                problems.push(format!("token {name:?}: {}: {problem}", file.display()));
            }
        }
    }
    match problems.is_empty() {
        true => Ok((set, warnings)),
        false => Err(problems.join("\n")),
    }
}

fn read(file: &Path) -> Result<(Padded, bool), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let metadata = std::fs::metadata(file).map_err(|error| error.to_string())?;
    let token = text.trim();
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
    match Padded::of(token) {
        Some(padded) if is_token && fits => {
            Ok((padded, metadata.permissions().mode() & 0o004 != 0))
        }
        _ => Err(format!(
            "found {} bytes (expected one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} printable ASCII characters, such as from `openssl rand -hex 32`)",
            token.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str, mode: u32) -> (String, PathBuf) {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        (name.to_owned(), file)
    }

    #[test]
    fn a_token_is_known_by_its_name_and_only_whole() {
        let folder = tempfile::tempdir().unwrap();
        let old = write(folder.path(), "old", "0123456789abcdef\n", 0o600);
        let new = write(folder.path(), "new", "fedcba9876543210", 0o600);
        let tokens = Tokens::load(vec![old, new]).unwrap();
        assert_eq!(tokens.name_of("0123456789abcdef").as_deref(), Some("old"));
        assert_eq!(tokens.name_of("fedcba9876543210").as_deref(), Some("new"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdef\0",
            "0123456789abcdeF",
            &"x".repeat(300),
        ] {
            assert_eq!(tokens.name_of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn bad_token_files_are_all_named_and_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let good = write(folder.path(), "good", "0123456789abcdef", 0o600);
        let tokens = Tokens::load(vec![good.clone()]).unwrap();
        std::fs::write(&good.1, "short").unwrap();
        let file = good.1.display();
        assert_eq!(
            tokens.reload().unwrap_err(),
            format!(
                "token \"good\": {file}: found 5 bytes (expected one line of 16 to 256 printable ASCII characters, such as from `openssl rand -hex 32`)"
            )
        );
        assert_eq!(tokens.name_of("0123456789abcdef").as_deref(), Some("good"));
        let missing = ("gone".to_owned(), folder.path().join("gone"));
        let problems = Tokens::load(vec![good, missing]).err().unwrap();
        assert_eq!(problems.lines().count(), 2, "{problems}");
        assert!(Tokens::load(Vec::new()).is_err());
    }

    #[test]
    fn reading_again_takes_the_new_token_and_warns_of_an_open_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), "deploy", "0123456789abcdef", 0o600);
        let tokens = Tokens::load(vec![file]).unwrap();
        let (_, path) = write(folder.path(), "deploy", "fedcba9876543210", 0o644);
        assert_eq!(
            tokens.reload().unwrap(),
            [format!(
                "token \"deploy\": {} is readable by everyone (expected mode 0600 or 0640)",
                path.display()
            )]
        );
        assert_eq!(tokens.name_of("0123456789abcdef"), None);
        assert_eq!(
            tokens.name_of("fedcba9876543210").as_deref(),
            Some("deploy")
        );
    }
}
