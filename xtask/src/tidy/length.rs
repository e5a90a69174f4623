//! How long a function and a file may be.

/// Lines that a function may have, from its signature to its closing brace: a screen.
const MAX_FUNCTION_LINES: usize = 70;

/// Lines that a file may have: past that it is usually two subjects.
const MAX_FILE_LINES: usize = 500;

/// Lines that an example of a crate may have, which its users copy. Programs that write reports are the benches'.
const MAX_EXAMPLE_LINES: usize = 80;

/// Files that are longer and wait for their cut. Nothing is added here; what is short enough again is removed.
const LONG_FILES: &[&str] = &[];

/// A file that is too long, or one that is named as such and is not any more.
pub(super) fn long_file(path: &str, text: &str) -> Option<String> {
    judge_file(path, text, LONG_FILES)
}

fn judge_file(path: &str, text: &str, known: &[&str]) -> Option<String> {
    let lines = text.lines().count();
    let example = path.starts_with("crates/") && path.contains("/examples/");
    let most = if example { MAX_EXAMPLE_LINES } else { MAX_FILE_LINES };
    match (lines > most, known.contains(&path)) {
        (true, false) => Some(format!(
            "{path}: {lines} lines, more than {most}: which of them are another subject?"
        )),
        (false, true) => Some(format!(
            "{path}: {lines} lines: remove it from the list of long files (xtask/src/tidy/length.rs)"
        )),
        _ => None,
    }
}

/// Functions that do not fit on a screen. Formatted code is taken for granted: a function ends with the first brace that
/// stands as far to the right as its signature.
pub(super) fn long_functions(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        // As far to the right as the signature begins: the rest of it, and the brace that closes the body.
        let level = |line: &&str| {
            line.strip_prefix(indent).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '))
        };
        let last = |line: &&str| level(line) && line.ends_with([';', '}']);
        let Some(end) = lines[start..].iter().position(last) else { continue };
        if lines[start + end].trim_start() == "}" && end + 1 > MAX_FUNCTION_LINES {
            findings.push(format!(
                "{path}:{}: {name} has {} lines, more than {MAX_FUNCTION_LINES}: what of it is a step by itself?",
                start + 1,
                end + 1
            ));
        }
    }
    findings
}

/// The name of the function that a line begins to define.
fn function_name(line: &str) -> Option<&str> {
    const BEFORE: [&str; 5] = ["pub", "const", "async", "unsafe", "extern"];
    let (before, after) = line.trim_start().split_once("fn ")?;
    let qualifies =
        |word: &str| BEFORE.iter().any(|known| word.starts_with(known)) || word.starts_with('"');
    let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (before.split_whitespace().all(qualifies) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found_and_the_list_of_them_shrinks() {
        let lines = |count: usize| "//! A.\n".repeat(count);
        assert_eq!(judge_file("a.rs", &lines(MAX_FILE_LINES), &[]), None);
        let found = judge_file("a.rs", &lines(MAX_FILE_LINES + 1), &[]).unwrap();
        assert!(found.starts_with("a.rs: 501 lines"), "{found}");
        assert_eq!(judge_file("a.rs", &lines(MAX_FILE_LINES + 1), &["a.rs"]), None);
        let found = judge_file("a.rs", &lines(MAX_FILE_LINES), &["a.rs"]).unwrap();
        assert!(found.contains("remove it from the list"), "{found}");
        let example = "crates/a/examples/b.rs";
        assert_eq!(judge_file(example, &lines(MAX_EXAMPLE_LINES), &[]), None);
        assert!(judge_file(example, &lines(MAX_EXAMPLE_LINES + 1), &[]).is_some());
    }

    #[test]
    fn long_functions_are_found_by_their_braces() {
        let body = |lines: usize| "    work();\n".repeat(lines);
        let short = format!("pub(crate) fn short() {{\n{}}}\n", body(MAX_FUNCTION_LINES - 2));
        assert!(long_functions("a.rs", &short).is_empty());
        let long = format!("struct A;\n\nconst fn long() {{\n{}}}\n", body(MAX_FUNCTION_LINES - 1));
        let found = long_functions("a.rs", &long);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a.rs:3: long has 71 lines"), "{found:?}");
        let deeper = body(69).replace("    work", "        work");
        let with_inner = format!("fn outer() {{\n    fn inner() {{\n{deeper}    }}\n}}\n");
        assert_eq!(long_functions("a.rs", &with_inner).len(), 2);
        // Neither a signature alone nor a text about one is a function.
        let none =
            format!("fn bodiless(\n    a: u8,\n);\n// fn long\nlet fnord = 1;\n{}}}\n", body(90));
        assert!(long_functions("a.rs", &none).is_empty());
    }
}
