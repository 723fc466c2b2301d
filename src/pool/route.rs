//! From the host and path of a request to a pool.
//!
//! Routes are looked up by hash, never searched: the cost depends on the labels of the host and the
//! segments of the path, not on how many routes there are. The most specific host that has a
//! matching path wins (exact, then the longest `*.suffix`, then any host), and within it the
//! longest path. A prefix matches whole segments: `/api` takes `/api` and `/api/x`, not `/apis`.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::spec::{HostPattern, PoolName, RouteSpec};

/// The routes of one snapshot.
#[derive(Default)]
pub struct Routes {
    exact: HashMap<String, Paths>,
    /// By suffix with its leading dot.
    suffix: HashMap<String, Paths>,
    any: Paths,
}

#[derive(Default)]
struct Paths {
    by_prefix: HashMap<String, PoolName>,
    longest: usize,
}

impl Routes {
    /// Routes as the configuration lists them; it holds that no two are the same.
    pub fn new(specs: &[RouteSpec]) -> Self {
        let mut routes = Self::default();
        for spec in specs {
            let paths = match &spec.host {
                HostPattern::Any => &mut routes.any,
                HostPattern::Exact(host) => routes.exact.entry(host.clone()).or_default(),
                HostPattern::Suffix(suffix) => routes.suffix.entry(suffix.clone()).or_default(),
            };
            paths.longest = paths.longest.max(spec.path.len());
            paths.by_prefix.insert(spec.path.clone(), spec.pool.clone());
        }
        routes
    }

    /// The pool for a request. `host` may carry a port, a trailing dot and upper case; `path` is
    /// the target without query.
    pub fn find(&self, host: &str, path: &str) -> Option<&PoolName> {
        let host = normalise(host);
        if let Some(pool) = self.exact.get(&*host).and_then(|paths| paths.find(path)) {
            return Some(pool);
        }
        if !self.suffix.is_empty() {
            // From the first dot on, so that at least one label stands before the suffix.
            for (dot, _) in host.match_indices('.').filter(|&(dot, _)| dot > 0) {
                let paths = self.suffix.get(&host[dot..]);
                if let Some(pool) = paths.and_then(|paths| paths.find(path)) {
                    return Some(pool);
                }
            }
        }
        self.any.find(path)
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<&PoolName> {
        // No prefix is longer than the longest one, so a long path costs no more than that.
        let mut end = path.len().min(self.longest);
        while end > 0 {
            let is_whole = end == path.len() || path.as_bytes()[end] == b'/';
            let prefix = path.get(..end).filter(|_| is_whole);
            if let Some(pool) = prefix.and_then(|prefix| self.by_prefix.get(prefix)) {
                return Some(pool);
            }
            let slash = path.as_bytes()[..end].iter().rposition(|&b| b == b'/');
            end = slash.unwrap_or(0);
        }
        self.by_prefix.get("/")
    }
}

/// Host without port and trailing dot, in lower case.
fn normalise(host: &str) -> Cow<'_, str> {
    let without_port = match host.strip_prefix('[') {
        Some(_) => host.find(']').map_or(host, |end| &host[..=end]),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = without_port.strip_suffix('.').unwrap_or(without_port);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(list: &[(&str, &str, &str)]) -> Routes {
        let specs: Vec<RouteSpec> = list
            .iter()
            .map(|&(host, path, pool)| RouteSpec {
                host: match host {
                    "" => HostPattern::Any,
                    host => match host.strip_prefix('*') {
                        Some(suffix) => HostPattern::Suffix(suffix.into()),
                        None => HostPattern::Exact(host.into()),
                    },
                },
                path: path.into(),
                pool: PoolName::parse(pool).unwrap(),
            })
            .collect();
        Routes::new(&specs)
    }

    #[test]
    fn the_most_specific_host_wins_then_the_longest_path() {
        let routes = routes(&[
            ("", "/", "any"),
            ("", "/static", "static"),
            ("app.example.com", "/", "app"),
            ("app.example.com", "/api", "api"),
            ("app.example.com", "/api/v2", "v2"),
            ("*.example.com", "/", "wild"),
            ("*.deep.example.com", "/", "deep"),
            ("only.example.net", "/only", "only"),
        ]);
        for (host, path, pool) in [
            ("app.example.com", "/", "app"),
            ("App.Example.COM:8080", "/x", "app"),
            ("app.example.com.", "/api", "api"),
            ("app.example.com", "/api/", "api"),
            ("app.example.com", "/apis", "app"),
            ("app.example.com", "/api/v2/x", "v2"),
            ("app.example.com", "/api/v21", "api"),
            ("x.example.com", "/api", "wild"),
            ("x.y.example.com", "/", "wild"),
            ("x.deep.example.com", "/", "deep"),
            ("example.com", "/", "any"),
            (".example.com", "/", "any"),
            ("other.org", "/static/a.css", "static"),
            ("only.example.net", "/only/x", "only"),
            ("only.example.net", "/else", "any"),
            ("[::1]:80", "/", "any"),
            ("", "/", "any"),
            ("app.example.com", "*", "app"),
        ] {
            let found = routes.find(host, path).map(PoolName::as_str);
            assert_eq!(found, Some(pool), "{host} {path}");
        }
    }

    #[test]
    fn nothing_matches_without_a_route() {
        let routes = routes(&[("a.test", "/x", "a")]);
        assert_eq!(routes.find("a.test", "/"), None);
        assert_eq!(routes.find("b.test", "/x"), None);
        assert_eq!(routes.find("a.test", "/xé"), None);
    }
}
