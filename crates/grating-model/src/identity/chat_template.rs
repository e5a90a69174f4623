//! Chat templates: rendered once, with marks in the places of query and text, and cut there into a prompt as data.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value, json};

use crate::template::{Answer, Template, YesNoTemplate};

/// Instructions of the template engine until a template is taken for one that does not end.
const FUEL: u64 = 200_000;
/// Templates of published models have a few kilobytes.
const MAX_BYTES: usize = 1 << 20;

/// A chat template and what it is rendered with.
#[derive(Debug, Clone)]
pub(super) struct ChatTemplate {
    /// The file that it comes from, for messages.
    pub(super) file: String,
    pub(super) source: String,
    /// Names of special tokens, and the arguments that sentence-transformers hands on.
    pub(super) variables: Map<String, Value>,
    /// Contents as lists of parts, as processors of images want them, or as plain text.
    pub(super) structured: bool,
}

/// A prompt that a chat template makes of a query and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    /// With `{instruction}` (where there is a place for it), `{query}` and `{document}`.
    pub(super) words: String,
    pub(super) default_instruction: String,
}

/// Texts that are in no template, and that trimming, escaping or changing the case of would change.
const MARKS: [[&str; 3]; 2] = [
    [" \u{e000}Ab<&\"'\u{e001}\n", "\n\u{e002}Cd<&\"'\u{e003} ", " \u{e004}Ef<&\"'\u{e005} "],
    ["\u{e000}x\u{e001}", " \u{e002} long, long, long \u{e003}", "\u{e004}\u{e005}"],
];

impl ChatTemplate {
    /// Whether the template knows the roles by which sentence-transformers hands over a pair.
    pub(super) fn is_for_pairs(&self) -> bool {
        ["query", "document"].iter().all(|role| {
            ["\"", "'"].iter().any(|quote| self.source.contains(&format!("{quote}{role}{quote}")))
        })
    }

    /// The prompt; `instruction` is the one that sentence-transformers gives by default.
    ///
    /// # Errors
    /// Why there is none, in words that follow the file's name.
    pub(super) fn prompt(&self, instruction: Option<&str>) -> Result<Prompt, String> {
        let [system, query, document] = MARKS[0];
        let with = self.render_marks(Some(system), query, document)?;
        let place = with.matches(system).count();
        if place > 1 {
            return Err("puts the instruction into the prompt more than once".into());
        }
        if let Some(instruction) = instruction {
            // Without a place for it the template drops it, as the reference does.
            return Ok(Prompt { words: with, default_instruction: instruction.into() }.places());
        }
        let without = self.render_marks(None, query, document)?;
        if let Some((before, after)) = with.split_once(system)
            && let Some(default) = without.strip_prefix(before).and_then(|w| w.strip_suffix(after))
            && !default.contains(query)
            && !default.contains(document)
        {
            let default_instruction = default.to_string();
            return Ok(Prompt { words: with, default_instruction }.places());
        }
        Ok(Prompt { words: without, default_instruction: String::new() }.places())
    }

    /// Renders with marks, and with others to see that nothing but them changes.
    fn render_marks(
        &self,
        system: Option<&str>,
        query: &str,
        document: &str,
    ) -> Result<String, String> {
        let rendered = self.render(system, query, document)?;
        if !rendered.contains('\u{e000}') && !rendered.contains('\u{e002}') && system.is_none() {
            return Err("has no place for a query and a text".into());
        }
        for (mark, letter, what) in [(query, '\u{e002}', "query"), (document, '\u{e004}', "text")] {
            match rendered.matches(mark).count() {
                1 if rendered.matches(letter).count() == 1 => {}
                0 if !rendered.contains(letter) => {
                    return Err(format!("has no place for the {what} of a pair"));
                }
                0 => return Err(format!("changes the {what} (trims or escapes it)")),
                _ => return Err(format!("puts the {what} into the prompt more than once")),
            }
        }
        let [other_system, other_query, other_document] = MARKS[1];
        let other = self.render(system.map(|_| other_system), other_query, other_document)?;
        let mut expected =
            rendered.replacen(query, other_query, 1).replacen(document, other_document, 1);
        if let Some(system) = system {
            expected = expected.replacen(system, other_system, 1);
        }
        match other == expected {
            true => Ok(rendered),
            false => Err("makes another prompt of another query or text".into()),
        }
    }

    /// As transformers renders it (`render_jinja_template`).
    fn render(&self, system: Option<&str>, query: &str, document: &str) -> Result<String, String> {
        let failed = |error: Error| format!("cannot be rendered with a query and a text: {error}");
        if self.source.len() > MAX_BYTES {
            return Err(format!(
                "has {} bytes, at most {MAX_BYTES} are expected",
                self.source.len()
            ));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(failed)?);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let content = |text: &str| match self.structured {
            true => json!([{ "type": "text", "text": text }]),
            false => json!(text),
        };
        let message = |role: &str, text: &str| json!({ "role": role, "content": content(text) });
        let messages: Vec<Value> = (system.map(|system| message("system", system)).into_iter())
            .chain([message("query", query), message("document", document)])
            .collect();
        let mut context =
            json!({ "tools": null, "documents": null, "add_generation_prompt": false });
        if let Some(context) = context.as_object_mut() {
            context.extend(self.variables.clone());
            context.insert("messages".into(), Value::Array(messages));
        }
        let template = environment.template_from_str(&self.source).map_err(failed)?;
        template.render(Serde(&context)).map_err(failed)
    }
}

impl Prompt {
    /// Names of places instead of marks.
    fn places(self) -> Self {
        let [system, query, document] = MARKS[0];
        let words = self.words.replace(system, "{instruction}");
        let words = words.replace(query, "{query}").replace(document, "{document}");
        Prompt { words, ..self }
    }

    /// As a template, cut where a tokenizer with these control tokens cuts by itself.
    ///
    /// # Errors
    /// What cannot be had, in words that follow the file's name.
    pub(super) fn template(
        &self,
        control: &[String],
        yes: Answer,
        no: Option<Answer>,
    ) -> Result<YesNoTemplate, String> {
        let Template::YesNo(known) = Template::qwen3_reranker() else {
            unreachable!("the template of a decoder")
        };
        let default_instruction = self.default_instruction.clone();
        if self.words == known.spelled() {
            return Ok(YesNoTemplate { default_instruction, yes, no, ..known });
        }
        let (before, behind) =
            self.words.split_once("{document}").ok_or("has no place for the text")?;
        // Up to the last control token before any place, and from the first one behind all of them: seams that cost
        // nothing.
        let fixed = before.find('{').map_or(before, |at| &before[..at]);
        let prefix =
            control.iter().filter_map(|token| fixed.rfind(token.as_str())).max().unwrap_or(0);
        let asked = behind.rfind('}').map_or(0, |at| at + 1);
        let first = control.iter().filter_map(|token| behind[asked..].find(token.as_str())).min();
        let suffix = first.map_or(behind.len(), |at| asked + at);
        let template = YesNoTemplate {
            prefix: before[..prefix].into(),
            body: format!("{}{{document}}{}", &before[prefix..], &behind[..suffix]).into(),
            suffix: behind[suffix..].into(),
            default_instruction,
            yes,
            no,
        };
        template.body_parts().map_err(|_| "has braces that are no places")?;
        Ok(template)
    }

    /// Whether this is the prompt of Qwen3-Reranker, whatever its default instruction.
    pub(super) fn is_qwen3_reranker(&self) -> bool {
        let Template::YesNo(known) = Template::qwen3_reranker() else {
            unreachable!("the template of a decoder")
        };
        self.words == known.spelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate {
            file: "chat_template.jinja".into(),
            source: source.into(),
            variables: Map::new(),
            structured: false,
        }
    }

    /// As fine-tunes of Qwen3-Reranker carry it.
    const QWEN3: &str = r#"{%- set i = messages | selectattr("role", "eq", "system") | map(attribute="content") | first | default("Given a web search query, retrieve relevant passages that answer the query") -%}
{%- set q = messages | selectattr("role", "eq", "query") | map(attribute="content") | first -%}
{%- set d = messages | selectattr("role", "eq", "document") | map(attribute="content") | first -%}
<|im_start|>system
Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: {{ i }}
<Query>: {{ q }}
<Document>: {{ d }}<|im_end|>
<|im_start|>assistant
<think>

</think>


"#;

    fn control() -> Vec<String> {
        ["<|im_start|>", "<|im_end|>"].map(String::from).to_vec()
    }

    #[test]
    fn qwen3_rerankers_prompt_is_known_by_what_it_renders() {
        let template = template(QWEN3);
        assert!(template.is_for_pairs());
        let prompt = template.prompt(None).unwrap();
        assert!(prompt.is_qwen3_reranker(), "{prompt:?}");
        let as_template = prompt.template(&control(), "yes".into(), Some("no".into())).unwrap();
        assert_eq!(Template::YesNo(as_template), Template::qwen3_reranker());
        let prompt = template.prompt(Some("Find it")).unwrap();
        assert_eq!(prompt.default_instruction, "Find it");
        assert!(prompt.is_qwen3_reranker());
    }

    #[test]
    fn another_prompt_becomes_data() {
        let source = "{%- for m in messages -%}{%- if m.role == 'query' -%}<|im_start|>system\n{{ m.content }}<|im_end|>\n\
                      {%- elif m.role == 'document' %}\n<|im_start|>user\n{{ m.content }}<|im_end|>\n{% endif -%}{%- endfor -%}\
                      {{ '<|im_start|>assistant\n' }}";
        let prompt = template(source).prompt(None).unwrap();
        let got = prompt.template(&control(), Answer::Id(7), None).unwrap();
        assert_eq!(got.prefix, "");
        // A break before `{%-` and one after `%}` are not part of the prompt.
        let body = "<|im_start|>system\n{query}<|im_end|><|im_start|>user\n{document}";
        assert_eq!(got.body, body.into());
        assert_eq!(got.suffix, "<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!((got.yes, got.no), (Answer::Id(7), None));
    }

    #[test]
    fn what_stands_behind_the_text_is_the_bodys_up_to_a_control_token() {
        let cut = |words: &str| {
            let prompt = Prompt { words: words.into(), default_instruction: String::new() };
            let cut = prompt.template(&control(), Answer::Id(0), None).unwrap();
            (cut.prefix, cut.body.to_string(), cut.suffix)
        };
        let expected = |parts: [&str; 3]| {
            let [prefix, body, suffix] = parts.map(String::from);
            (prefix, body, suffix)
        };
        assert_eq!(
            cut("Check.\n<Document> {document}\n<Query> {query} {instruction} ??"),
            expected(["", "Check.\n<Document> {document}\n<Query> {query} {instruction} ??", ""])
        );
        assert_eq!(
            cut(
                "a<|im_start|>b {query}<|im_end|>{document}\nc<|im_end|>{instruction} d<|im_end|>e<|im_end|>"
            ),
            expected([
                "a",
                "<|im_start|>b {query}<|im_end|>{document}\nc<|im_end|>{instruction} d",
                "<|im_end|>e<|im_end|>"
            ])
        );
    }

    #[test]
    fn what_is_no_prompt_of_a_pair_says_why() {
        let q =
            "{{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}";
        let d = "{{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}";
        let trimmed = d.replace("first }}", "first | trim }}");
        let reason = |source: &str| {
            let prompt = template(source).prompt(None);
            prompt.and_then(|p| p.template(&control(), "y".into(), None)).unwrap_err()
        };
        for (source, expected) in [
            (
                "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
                "no place",
            ),
            (q, "text of a pair"),
            (&*format!("{q}{d}{d}"), "more than once"),
            (&*format!("{q}{trimmed}"), "changes the text"),
            (
                &*format!(
                    "{q}{{{{ messages | length }}}}{d}{{{{ {}|length }}}}",
                    "messages[0].content"
                ),
                "another prompt",
            ),
            (
                "{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}",
                "rendered",
            ),
            ("{% if %}", "rendered"),
            ("{{ raise_exception('only chat') }}", "only chat"),
        ] {
            let reason = reason(source);
            assert!(reason.contains(expected), "{source}: {reason}");
        }
    }
}
