//! The blocks of a page that are marked to be run.

/// What a block is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Console,
    Python,
}

/// A marked block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'t> {
    pub(super) language: Language,
    /// Its first line in the page, from 1.
    pub(super) line: usize,
    pub(super) text: &'t str,
}

/// The blocks of a page behind ` ```console run ` and ` ```python run `, in their order.
pub(super) fn marked(page: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut open, mut at) = (Vec::new(), None, 0);
    for (number, line) in page.split_inclusive('\n').enumerate() {
        let fence = line.trim_end().strip_prefix("```");
        match (fence, open) {
            (Some(info), None) => open = Some((language(info), number + 2, at + line.len())),
            (Some(_), Some((language, line, start))) => {
                let text = &page[start..at];
                blocks.extend(language.map(|language| Block { language, line, text }));
                open = None;
            }
            (None, _) => {}
        }
        at += line.len();
    }
    blocks
}

fn language(info: &str) -> Option<Language> {
    match info {
        "console run" => Some(Language::Console),
        "python run" => Some(Language::Python),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_are_found_with_their_lines() {
        let page = "a\n```console run\n$ b\n```\n```console\n$ c\n```\n```python run\nd\ne\n```\n";
        let found: Vec<_> = marked(page).iter().map(|b| (b.language, b.line, b.text)).collect();
        assert_eq!(found, [(Language::Console, 3, "$ b\n"), (Language::Python, 9, "d\ne\n")]);
    }
}
