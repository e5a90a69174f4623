//! Renderings of measured tables: Markdown and SVG of each, and the page in docs/.

mod bars;
mod headline;
mod markdown;
mod page;
mod readme;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub(crate) use readme::check as check_readme;

use super::cells::write_whole;
use super::table::Table;
use crate::process::root;

/// Arguments of `cargo xtask bench report`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReportArgs {
    /// Folder that `bench` wrote; of several, equal tables are put together [default: docs/measurements/benchmarks,
    /// the tables of the page as it is]
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// Leave files as they are; fail where they would change
    #[arg(long)]
    check: bool,
}

/// Where the page's tables and figures are kept, from the root of the workspace.
const KEPT: &str = "docs/measurements/benchmarks";
const PAGE: &str = "docs/measurements/benchmarks.md";
/// What the default model's profiles save.
const PROFILES: &str = "docs/measurements/default-profiles.md";
/// Where the pictures of the summary before all measurements are.
const SUMMARY: &str = "docs/measurements";

/// A drawing of a table.
struct Figure {
    file: String,
    title: String,
    svg: String,
}

/// Its lines and its bars.
fn figures(table: &Table) -> Result<Vec<Figure>> {
    let figure = |name: &str, title: &str, svg: String| Figure {
        file: format!("{}-{name}.svg", table.name),
        title: title.to_owned(),
        svg,
    };
    let lines = table.charts.iter().map(|c| Ok(figure(&c.name, &c.title, c.svg()?)));
    let bars = bars::of(table);
    let bars = bars.iter().map(|(name, bars)| Ok(figure(name, &bars.title, bars.svg()?)));
    lines.chain(bars).collect()
}

/// Writes NAME.json, NAME.md and the figures of one table.
pub(super) fn write_table(folder: &Path, table: &Table) -> Result<()> {
    let path = |suffix: &str| folder.join(format!("{}{suffix}", table.name));
    let figures = figures(table)?;
    write_whole(&path(".json"), &(serde_json::to_string_pretty(table)? + "\n"))?;
    write_whole(&path(".md"), &markdown::table(table, &figures, ""))?;
    figures.iter().try_for_each(|figure| write_whole(&folder.join(&figure.file), &figure.svg))
}

/// Makes the page anew.
pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let kept = root().join(KEPT);
    let from = if args.from.is_empty() { std::slice::from_ref(&kept) } else { &args.from };
    let tables = read_tables(from)?;
    ensure!(!tables.is_empty(), "there is no measured table in {from:?}");
    let drawn: Vec<(Table, Vec<Figure>)> = tables
        .into_iter()
        .map(|table| figures(&table).map(|figures| (table, figures)))
        .collect::<Result<_>>()?;
    let mut files = vec![(root().join(PAGE), page::page(&drawn))];
    for bars in drawn.iter().filter_map(|(table, _)| summary::of(table)) {
        files.push((kept.join("summary.svg"), bars.svg()?));
    }
    files.extend(summary_pictures(&drawn)?);
    for (table, figures) in &drawn {
        let json = serde_json::to_string_pretty(table)? + "\n";
        files.push((kept.join(format!("{}.json", table.name)), json));
        files.extend(figures.iter().map(|figure| (kept.join(&figure.file), figure.svg.clone())));
    }
    for (path, text) in &files {
        if args.check {
            let same = fs::read_to_string(path).is_ok_and(|found| found == *text);
            ensure!(same, "{} is not what its tables give", path.display());
        } else {
            fs::create_dir_all(path.parent().unwrap_or(&kept))?;
            write_whole(path, text)?;
        }
    }
    Ok(())
}

/// The pictures of the summary, with their files.
fn summary_pictures(drawn: &[(Table, Vec<Figure>)]) -> Result<Vec<(PathBuf, String)>> {
    let folder = root().join(SUMMARY);
    let mut files = Vec::new();
    for (file, bars) in drawn.iter().flat_map(|(table, _)| summary::systems(table)) {
        files.push((folder.join(file), bars.svg()?));
    }
    let page = fs::read_to_string(root().join(PROFILES)).context(PROFILES)?;
    let pruning = summary::pruning(&page).with_context(|| PROFILES.to_owned())?;
    files.push((folder.join("summary-pruning.svg"), pruning.svg()?));
    Ok(files)
}

/// The tables of all folders, in the order of the page.
fn read_tables(folders: &[PathBuf]) -> Result<Vec<Table>> {
    let mut tables: Vec<Table> = Vec::new();
    for name in super::tables::names() {
        for folder in folders {
            let path = folder.join(format!("{name}.json"));
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let table: Table = serde_json::from_str(&text)
                .with_context(|| format!("{} is no table", path.display()))?;
            match tables.last_mut().filter(|last| last.name == name) {
                Some(last) => last.join(table).with_context(|| format!("{}", path.display()))?,
                None => tables.push(table),
            }
        }
    }
    Ok(tables)
}

/// The page in the repository is what its tables give.
#[cfg(test)]
#[test]
fn the_page_is_generated() {
    if root().join(PAGE).exists() {
        run(&ReportArgs { from: Vec::new(), check: true }).unwrap();
    }
}
