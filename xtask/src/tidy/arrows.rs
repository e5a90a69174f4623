//! Which crate may use which: the arrows of docs/architecture.md.

use std::collections::{BTreeSet, HashSet};

use super::metadata::{Kind, Metadata, Package};

/// Every crate of the product with the in-house crates it uses: all of these, and no others.
const ARROWS: &[(&str, &[&str])] = &[
    ("grating-chart", &[]),
    ("grating-memory", &[]),
    ("grating-io", &["grating-memory"]),
    ("grating-sched", &[]),
    ("grating-prune", &[]),
    ("grating-backend", &[]),
    ("grating-quant", &["grating-backend"]),
    ("grating-kernels", &["grating-backend", "grating-memory", "grating-quant"]),
    ("grating-cpu", &["grating-backend", "grating-kernels", "grating-quant"]),
    ("grating-model", &["grating-backend", "grating-io", "grating-memory", "grating-quant"]),
    ("grating-default-model", &[]),
    ("grating-candle", &["grating-backend"]),
    ("grating-cuda", &["grating-backend"]),
    (
        "grating-engine",
        &["grating-backend", "grating-io", "grating-model", "grating-prune", "grating-sched"],
    ),
    (
        "grating",
        &[
            "grating-backend",
            "grating-candle",
            "grating-chart",
            "grating-cpu",
            "grating-cuda",
            "grating-default-model",
            "grating-engine",
            "grating-io",
            "grating-model",
            "grating-prune",
            "grating-sched",
        ],
    ),
    ("grating-python", &["grating", "grating-cli"]),
    ("grating-server", &["grating"]),
    ("grating-cli", &["grating", "grating-server"]),
];

/// Tools of the workspace: they use anything and nothing uses them.
pub(super) const TOOLS: &[&str] = &[
    "grating-benches",
    "grating-conformance",
    "grating-cuda-emulated",
    "grating-examples",
    "xtask",
];

/// Outside crates that have one place in the product.
const OUTSIDE: &[(&str, &str)] = &[
    ("candle-core", "grating-candle"),
    ("cudarc", "grating-cuda"),
    ("tokenizers", "grating-model"),
    ("ndarray", "grating-prune"),
    ("hf-hub", "grating"),
    ("ureq", "grating"),
    ("anyhow", "grating-cli"),
    ("clap", "grating-cli"),
    ("indicatif", "grating-cli"),
    ("pyo3", "grating-python"),
    ("axum", "grating-server"),
    ("tokio", "grating-server"),
];

/// What a crate must never be built with, however far down: it would then know of tensors,
/// threads or text.
const NEVER: &[(&str, &[&str])] = &[
    ("grating-io", &["candle-core", "ndarray", "rayon", "tokenizers"]),
    ("grating-sched", &["candle-core", "ndarray", "rayon", "tokenizers", "crossbeam-channel"]),
    ("grating-prune", &["candle-core", "rayon", "tokenizers", "crossbeam-channel"]),
    ("grating-kernels", &["candle-core", "ndarray", "tokenizers", "crossbeam-channel"]),
    (
        "grating-backend",
        &["candle-core", "ndarray", "rayon", "tokenizers", "crossbeam-channel", "thiserror"],
    ),
    ("grating-cpu", &["candle-core", "ndarray", "tokenizers", "crossbeam-channel"]),
    ("grating-model", &["candle-core", "ndarray", "hf-hub", "ureq"]),
    ("grating-engine", &["candle-core", "hf-hub", "ureq"]),
    // Nothing but the server waits on sockets. Candle is in builds for Metal alone.
    ("grating", &["candle-core", "tokio"]),
    ("grating-server", &["candle-core", "clap"]),
    ("grating-cli", &["candle-core"]),
];

/// Everything that differs from the tables, in words.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let members: HashSet<&str> = metadata.members().map(|p| p.name.as_str()).collect();
    let mut findings = Vec::new();
    for &(name, _) in ARROWS.iter().filter(|(name, _)| !members.contains(name)) {
        findings.push(format!("{name} is in the table of arrows and not in the workspace"));
    }
    for package in metadata.members() {
        if TOOLS.contains(&package.name.as_str()) {
            continue;
        }
        match ARROWS.iter().find(|(name, _)| *name == package.name) {
            Some((_, allowed)) => {
                in_house(package, allowed, &members, &mut findings);
                outside(package, &mut findings);
                never(metadata, package, &mut findings);
            }
            None => findings.push(format!(
                "{} is not in the table of arrows (xtask/src/tidy/arrows.rs): add what it may use",
                package.name
            )),
        }
    }
    findings
}

fn in_house(
    package: &Package,
    allowed: &[&str],
    members: &HashSet<&str>,
    findings: &mut Vec<String>,
) {
    let name = &package.name;
    let used = |kind: Kind| -> BTreeSet<&str> {
        let of_kind = package.dependencies.iter().filter(|d| d.kind == kind);
        of_kind.map(|d| d.name.as_str()).filter(|d| members.contains(d)).collect()
    };
    let normal = used(Kind::Normal);
    for dependency in normal.iter().filter(|d| !allowed.contains(d)) {
        findings.push(format!("{name} uses {dependency}: not an arrow of the architecture"));
    }
    for dependency in allowed.iter().filter(|d| !normal.contains(*d)) {
        findings
            .push(format!("{name} no longer uses {dependency}: remove the arrow from the table"));
    }
    // Tests may look further down and aside, never up or at the tools.
    for dependency in used(Kind::Dev) {
        if reachable(dependency, name) || TOOLS.contains(&dependency) {
            findings.push(format!("{name}'s tests use {dependency}, which is above it"));
        }
    }
}

/// Whether the arrows lead from `from` to `to`.
fn reachable(from: &str, to: &str) -> bool {
    let next = ARROWS.iter().find(|(name, _)| *name == from).map_or(&[][..], |(_, used)| used);
    next.iter().any(|&name| name == to || reachable(name, to))
}

fn outside(package: &Package, findings: &mut Vec<String>) {
    for dependency in package.dependencies.iter().filter(|d| d.kind == Kind::Normal) {
        if let Some((_, owner)) = OUTSIDE.iter().find(|(name, _)| *name == dependency.name)
            && *owner != package.name
        {
            let (name, dependency) = (&package.name, &dependency.name);
            findings.push(format!("{name} uses {dependency}, whose one place is {owner}"));
        }
    }
}

fn never(metadata: &Metadata, package: &Package, findings: &mut Vec<String>) {
    let Some((_, banned)) = NEVER.iter().find(|(name, _)| *name == package.name) else { return };
    let built_with = metadata.closure(package);
    for dependency in banned.iter().filter(|d| built_with.contains(*d)) {
        let name = &package.name;
        findings.push(format!(
            "{name} is built with {dependency}, which it must not know \
             (cargo tree -p {name} -e normal,build -i {dependency})"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Metadata of a workspace with `crates`: name, dependencies as (name, kind).
    fn workspace(crates: &[(&str, &[(&str, &str)])], outside: &[(&str, &[&str])]) -> Metadata {
        let kind = |kind: &str| if kind.is_empty() { Value::Null } else { json!(kind) };
        let mut packages = Vec::new();
        let mut nodes = Vec::new();
        for (name, deps) in crates {
            let declared: Vec<_> =
                deps.iter().map(|(d, k)| json!({"name": d, "kind": kind(k)})).collect();
            let edges: Vec<_> = deps
                .iter()
                .map(|(d, k)| json!({"pkg": d, "dep_kinds": [{"kind": kind(k), "target": null}]}))
                .collect();
            packages.push(json!({
                "id": name, "name": name, "manifest_path": "Cargo.toml", "dependencies": declared,
            }));
            nodes.push(json!({"id": name, "deps": edges}));
        }
        for (name, deps) in outside {
            let edges: Vec<_> =
                deps.iter().map(|d| json!({"pkg": d, "dep_kinds": [{"kind": null}]})).collect();
            packages.push(json!({
                "id": name, "name": name, "manifest_path": "Cargo.toml", "dependencies": [],
            }));
            nodes.push(json!({"id": name, "deps": edges}));
        }
        let members: Vec<_> = crates.iter().map(|(name, _)| name).collect();
        serde_json::from_value(json!({
            "packages": packages, "workspace_members": members, "resolve": {"nodes": nodes},
        }))
        .unwrap()
    }

    const MEMORY: (&str, &str) = ("grating-memory", "");
    const ENGINE: &[(&str, &str)] = &[
        ("grating-backend", ""),
        ("grating-io", ""),
        ("grating-model", ""),
        ("grating-prune", ""),
        ("grating-sched", ""),
    ];
    const MODEL: &[(&str, &str)] = &[
        ("grating-backend", ""),
        ("grating-io", ""),
        MEMORY,
        ("grating-quant", ""),
        ("tokenizers", ""),
    ];
    const CLI: &[(&str, &str)] =
        &[("grating", ""), ("grating-server", ""), ("clap", ""), ("grating-io", "dev")];
    const GRATING: &[(&str, &str)] = &[
        ("grating-backend", ""),
        ("grating-candle", ""),
        ("grating-chart", ""),
        ("grating-cpu", ""),
        ("grating-cuda", ""),
        ("grating-default-model", ""),
        ("grating-engine", ""),
        ("grating-io", ""),
        ("grating-model", ""),
        ("grating-prune", ""),
        ("grating-sched", ""),
    ];

    /// The workspace as it should be, with one crate's dependencies replaced.
    fn with(changed: &str, deps: &[(&str, &str)], outside: &[(&str, &[&str])]) -> Vec<String> {
        let mut crates: Vec<(&str, &[(&str, &str)])> = vec![
            ("grating-memory", &[]),
            ("grating-io", &[("grating-memory", ""), ("proptest", "dev")]),
            ("grating-sched", &[]),
            ("grating-prune", &[("ndarray", "")]),
            ("grating-backend", &[]),
            ("grating-quant", &[("grating-backend", "")]),
            ("grating-kernels", &[("grating-backend", ""), MEMORY, ("grating-quant", "")]),
            (
                "grating-cpu",
                &[("grating-backend", ""), ("grating-kernels", ""), ("grating-quant", "")],
            ),
            ("grating-model", MODEL),
            ("grating-chart", &[]),
            ("grating-default-model", &[]),
            ("grating-candle", &[("grating-backend", ""), ("candle-core", "")]),
            ("grating-cuda", &[("grating-backend", ""), ("cudarc", "")]),
            ("grating-engine", ENGINE),
            ("grating", GRATING),
            ("grating-server", &[("grating", ""), ("axum", ""), ("tokio", "")]),
            ("grating-cli", CLI),
            ("grating-python", &[("grating", ""), ("grating-cli", ""), ("pyo3", "")]),
            ("xtask", &[("clap", ""), ("grating-io", "dev")]),
        ];
        match crates.iter_mut().find(|(name, _)| *name == changed) {
            Some(place) => place.1 = deps,
            None => crates.push((changed, deps)),
        }
        check(&workspace(&crates, outside))
    }

    #[test]
    fn the_tables_themselves_pass() {
        assert_eq!(with("grating-sched", &[], &[]), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_too_many_and_one_too_few() {
        let found = with("grating-prune", &[("grating-sched", "")], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("grating-prune uses grating-sched"), "{found:?}");
        let found = with("grating-model", &[], &[]);
        assert!(found[1].starts_with("grating-model no longer uses grating-io"), "{found:?}");
        let found = with("grating-cli", &[CLI, &[("grating-io", "build")]].concat(), &[]);
        assert!(found[0].starts_with("grating-cli uses grating-io"), "{found:?}");
    }

    #[test]
    fn tests_look_down_only_and_nothing_uses_the_tools() {
        let found = with("grating-io", &[MEMORY, ("grating-model", "dev")], &[]);
        assert!(found[0].contains("above it"), "{found:?}");
        let found = with("grating-sched", &[("xtask", "")], &[]);
        assert!(found[0].contains("uses xtask"), "{found:?}");
        let found = with("grating-sched", &[("xtask", "dev")], &[]);
        assert!(found[0].contains("xtask"), "{found:?}");
    }

    #[test]
    fn outside_crates_keep_to_their_place() {
        let found = with("grating", &[GRATING, &[("tokenizers", "")]].concat(), &[]);
        assert_eq!(found, ["grating uses tokenizers, whose one place is grating-model"]);
        // A test may use what its crate may not.
        assert!(with("grating", &[GRATING, &[("tokenizers", "dev")]].concat(), &[]).is_empty());
    }

    #[test]
    fn a_banned_crate_is_found_behind_others() {
        let outside: &[(&str, &[&str])] =
            &[("helper", &["deeper"]), ("deeper", &["rayon"]), ("rayon", &[])];
        let found = with("grating-io", &[MEMORY, ("helper", "")], outside);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("grating-io is built with rayon"), "{found:?}");
        assert!(with("grating-io", &[MEMORY, ("helper", "dev")], outside).is_empty());
    }

    #[test]
    fn crates_and_table_must_name_each_other() {
        let found = with("grating-new", &[], &[]);
        assert!(found[0].contains("not in the table"), "{found:?}");
        let found = check(&workspace(&[("grating-io", &[])], &[]));
        assert!(found.iter().any(|f| f.starts_with("grating-cli is in the table")), "{found:?}");
    }
}
