//! Single fields, read leniently: null is nothing, and what stands in quotes by mistake counts.

use serde_json::Value;

use crate::input::TEXT_FIELDS;

/// Why a field cannot be used: what it is, and what was expected.
pub(super) type Wrong = String;

fn wrong(name: &str, value: &Value, expected: &str) -> Wrong {
    let found = match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "a string".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    };
    format!("{name}: must be {expected}, not {found}")
}

/// What is there and not null.
pub(super) fn given(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !value.is_null())
}

/// True or false, also in quotes, as one client sends it, and as 1 and 0.
pub(super) fn truth(name: &str, value: Option<Value>) -> Result<Option<bool>, Wrong> {
    let Some(value) = given(value) else { return Ok(None) };
    let said = match &value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" | "" => Some(false),
            _ => None,
        },
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        _ => None,
    };
    said.map(Some).ok_or_else(|| wrong(name, &value, "true or false"))
}

/// A whole number that is not negative, also in quotes; 0 is nothing.
pub(super) fn count(name: &str, value: Option<Value>) -> Result<Option<usize>, Wrong> {
    let Some(value) = given(value) else { return Ok(None) };
    let said = match &value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let count = said.ok_or_else(|| wrong(name, &value, "a whole number, at least 0"))?;
    // More than any pool has.
    Ok(Some(usize::try_from(count).unwrap_or(usize::MAX)).filter(|&count| count > 0))
}

/// As [`count`]; -1 is nothing, too: a model's own limit in vLLM's words.
pub(super) fn limit(name: &str, value: Option<Value>) -> Result<Option<usize>, Wrong> {
    count(name, value.filter(|value| value.as_i64() != Some(-1)))
}

/// What JavaScript and others write as `5.0`.
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
}

/// A string.
pub(super) fn string(name: &str, value: Option<Value>) -> Result<Option<String>, Wrong> {
    match given(value) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(name, &other, "a string")),
    }
}

/// The texts of a pool: strings, or objects with a text; `fields` names the fields to take, if the client did.
pub(super) fn texts(name: &str, value: Value, fields: &[String]) -> Result<Vec<String>, Wrong> {
    let Value::Array(values) = value else {
        return Err(wrong(name, &value, "an array of strings"));
    };
    let text =
        |(index, value)| text(value, fields).map_err(|reason| format!("{name}[{index}]: {reason}"));
    values.into_iter().enumerate().map(text).collect()
}

/// The names in a list of fields.
pub(super) fn names(name: &str, value: Option<Value>) -> Result<Vec<String>, Wrong> {
    match given(value) {
        None => Ok(Vec::new()),
        Some(Value::Array(values)) => {
            let named = |value| string(name, Some(value)).map(Option::unwrap_or_default);
            values.into_iter().map(named).collect()
        }
        Some(other) => Err(wrong(name, &other, "an array of names")),
    }
}

/// A text, of an object in its fields or in the parts of its `content`.
pub(super) fn text(value: Value, fields: &[String]) -> Result<String, Wrong> {
    let mut object = match value {
        Value::String(text) => return Ok(text),
        Value::Object(object) => object,
        other => return Err(wrong("text", &other, "a string, or an object with a `text`")),
    };
    if !fields.is_empty() {
        let parts = fields.iter().filter_map(|field| object.get(field)?.as_str());
        return Ok(parts.collect::<Vec<_>>().join(" "));
    }
    for field in ["text"].iter().chain(&TEXT_FIELDS) {
        match object.remove(*field) {
            Some(Value::String(text)) => return Ok(text),
            Some(Value::Array(parts)) if *field == "content" => return content(&parts),
            _ => {}
        }
    }
    Err("text: must be a string, or an object with a `text`".into())
}

/// The texts among the parts of a message.
fn content(parts: &[Value]) -> Result<String, Wrong> {
    let part = |part: &Value| match part.get("type").and_then(Value::as_str) {
        None | Some("text") => part.get("text").and_then(Value::as_str).map(str::to_string),
        Some(_) => None,
    };
    let texts: Option<Vec<String>> = parts.iter().map(part).collect();
    texts
        .map(|texts| texts.join("\n"))
        .ok_or_else(|| "only texts can be ranked, no pictures".into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_clients_write_for_true_and_numbers_is_understood() {
        for (value, expected) in [
            (json!(true), Some(true)),
            (json!("true"), Some(true)),
            (json!("False"), Some(false)),
            (json!(1), Some(true)),
            (json!(null), None),
        ] {
            assert_eq!(truth("a", Some(value)), Ok(expected));
        }
        for (value, expected) in [
            (json!(3), Some(3)),
            (json!(3.0), Some(3)),
            (json!("3"), Some(3)),
            (json!(0), None),
            (json!(null), None),
        ] {
            assert_eq!(count("a", Some(value)), Ok(expected));
        }
        assert_eq!(
            count("top_n", Some(json!(-1))).unwrap_err(),
            "top_n: must be a whole number, at least 0, not -1"
        );
        assert!(count("a", Some(json!(1.5))).is_err() && truth("a", Some(json!("yes?"))).is_err());
    }

    #[test]
    fn texts_are_found_in_what_holds_them() {
        let found = |value| text(value, &[]);
        assert_eq!(found(json!("a")), Ok("a".into()));
        assert_eq!(found(json!({"text": "a", "title": "b"})), Ok("a".into()));
        assert_eq!(found(json!({"content": "a"})), Ok("a".into()));
        let parts = json!({"content": [{"type": "text", "text": "a"}, {"text": "b"}]});
        assert_eq!(found(parts), Ok("a\nb".into()));
        let picture =
            json!({"content": [{"type": "image_url", "image_url": {"url": "file:///a"}}]});
        assert!(found(picture).unwrap_err().contains("pictures"));
        assert!(found(json!(3)).is_err() && found(json!({"title": "a"})).is_err());
        let named = text(json!({"title": "a", "body": "b"}), &["title".into(), "body".into()]);
        assert_eq!(named, Ok("a b".into()));
        let error = texts("documents", json!(["a", 3]), &[]).unwrap_err();
        assert_eq!(
            error,
            "documents[1]: text: must be a string, or an object with a `text`, not 3"
        );
    }
}
