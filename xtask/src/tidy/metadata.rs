//! The part of `cargo metadata` that the checks read.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde::Deserialize;

/// The workspace and the whole graph of its dependencies.
#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    workspace_members: HashSet<String>,
    resolve: Resolve,
}

/// One package; only its own manifest's data.
#[derive(Deserialize)]
pub(super) struct Package {
    id: String,
    pub(super) name: String,
    pub(super) manifest_path: PathBuf,
    pub(super) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: Kind,
}

/// Which of the tables.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(from = "Option<String>")]
pub(super) enum Kind {
    /// `[dependencies]`, and `[build-dependencies]`: both are in the product.
    #[default]
    Normal,
    /// `[dev-dependencies]`
    Dev,
}

impl From<Option<String>> for Kind {
    fn from(kind: Option<String>) -> Self {
        if kind.as_deref() == Some("dev") { Self::Dev } else { Self::Normal }
    }
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    #[serde(default)]
    kind: Kind,
}

impl Metadata {
    /// The packages of the workspace.
    pub(super) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Names of all packages that `member` is built with, directly or not, without dev-dependencies.
    pub(super) fn closure(&self, member: &Package) -> HashSet<&str> {
        let names: HashMap<&str, &str> =
            self.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
        let nodes: HashMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut seen = HashSet::new();
        let mut waiting = vec![member.id.as_str()];
        while let Some(id) = waiting.pop() {
            for edge in nodes.get(id).iter().flat_map(|node| &node.deps) {
                let built = edge.dep_kinds.iter().any(|kind| kind.kind == Kind::Normal);
                if built && seen.insert(edge.pkg.as_str()) {
                    waiting.push(&edge.pkg);
                }
            }
        }
        seen.into_iter().filter_map(|id| names.get(id).copied()).collect()
    }
}
