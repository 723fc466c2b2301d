//! From a file to a [`Config`]: the bytes, the tree, the sections, in this order.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::problems::Findings;
use super::reader::Spot;
use super::{Config, Problems, daemon, keys, node, pools, routes};
use crate::spec::Topology;

/// Bytes of a configuration file. 1,000 pools of 10 backends are about half of it; a larger file is
/// something else, given by mistake.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// Reads the configuration in the file at `path`.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let name = path.display().to_string();
    match read_bounded(path) {
        Ok(bytes) => parse(&bytes, &name),
        Err(error) => Err(Problems::whole(&name, unreadable(&error))),
    }
}

/// One byte more than is allowed, so that [`parse`] sees that it is too much.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(CONFIG_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "does not exist (expected a YAML file)".into(),
        ErrorKind::IsADirectory => "is a directory (expected a YAML file)".into(),
        ErrorKind::PermissionDenied => "may not be read by this user (expected a YAML file)".into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Reads the configuration in `bytes`; problems are about a file called `name`.
pub fn parse(bytes: &[u8], name: &str) -> Result<Config, Problems> {
    let whole = |text: String| Problems::whole(name, text);
    let text = decode(bytes).map_err(whole)?;
    let root = node::read(text).map_err(whole)?;
    let findings = Findings::default();
    let config = Spot {
        path: String::new(),
        node: &root,
        findings: &findings,
    };
    let config = read_config(&config);
    let warnings = findings.settle(name)?;
    match config {
        Some(config) => Ok(Config { warnings, ..config }),
        // A reader that gives nothing has said why; if one forgot, refusing is still right.
        None => Err(whole(
            "is not complete (expected every required key)".into(),
        )),
    }
}

fn decode(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err("is larger than 1MiB (expected a configuration file)".into());
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let (before, _) = bytes.split_at(error.valid_up_to());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8 (expected text)")
    })
}

fn read_config(root: &Spot<'_>) -> Option<Config> {
    if matches!(root.node.value, node::Value::Null) {
        root.problem("is empty (expected at least listeners, pools and routes)");
        return None;
    }
    let root = root.section(keys::ROOT)?;
    let daemon = daemon::read(&root);
    let pools = pools::read(&root);
    let routes = routes::read(&root, &pools.names);
    let topology = Topology {
        pools: pools.specs,
        routes,
    };
    Some(Config { topology, ..daemon })
}
