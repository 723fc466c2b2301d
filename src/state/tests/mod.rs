//! Every way in which a state file can be found, and every way in which it is written.
//!
//! By subject: `load`, what is found; `save`, what is written, also by halves; `access`, where it may
//! be and whose it is; `contents`, any model and any garbage.

mod access;
mod contents;
mod load;
mod save;

use super::*;
use crate::pool::model::PoolModel;
use crate::pool::testing::member;
use crate::spec::{Intent, PoolName};

struct Place {
    folder: tempfile::TempDir,
    file: StateFile,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::open(folder.path().join("state.json"));
    Place { folder, file }
}

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.at(name), bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn broken(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| name.contains(".broken-")).collect()
    }
}

/// A model that is told from others by its number.
fn model(number: u64) -> Model {
    let pool = PoolModel {
        members: vec![member(number, Intent::Active)],
        ..PoolModel::default()
    };
    Model {
        next_generation: number + 1,
        pools: [(PoolName::parse("web").unwrap(), pool)].into(),
        applied: [].into(),
    }
}

fn bytes(model: &Model) -> Vec<u8> {
    format::encode(model, 1).unwrap()
}
